"""Looks at messages for what a session is to be made on: where redaction runs, and at what was sent."""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from horus_async.recorder.write.screening import Screen
from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import External, Sent
    from horus_async.recorder.options import RecordingOptions
    from horus_async.recorder.triggers.around import Predicate

_log = logging.getLogger("horus_async.recorder")


class WatchingScreen(Screen):
    """Tells of messages for which a predicate holds, and lets the options say what is kept of them. For one thread.

    Args:
        options: How is recorded; with ``around``.
        heard: Told topic and text. There is no value in them: it may be one that is not to be kept.
    """

    def __init__(self, options: RecordingOptions, heard: Callable[[str, str], None]) -> None:
        super().__init__(options)
        assert options.around is not None
        self._predicates = options.around.predicates
        self._heard = heard
        self._of_topic: dict[str, list[Predicate]] = {}
        self.failed: dict[str, int] = {}
        """How often predicates raised, by what they are called."""

    def sent(self, message: Sent) -> Sent | None:
        """As of any screen, once the predicates have seen it."""
        self._look(message.topic, message.payload)
        return super().sent(message)

    def external(self, message: External) -> External | None:
        """As of any screen, once the predicates have seen it."""
        self._look(message.topic, message.payload)
        return super().external(message)

    def _look(self, topic: str, payload: bytes) -> None:
        predicates = self._of_topic.get(topic)
        if predicates is None:
            predicates = [one for one in self._predicates if fnmatchcase(topic, one.topics)]
            self._of_topic[topic] = predicates
        for predicate in predicates:
            try:
                if predicate(topic, decode(payload)):  # each has its own, which it may change
                    self._heard(topic, predicate.name)
            except Exception as error:  # noqa: BLE001 - a user's function; the run comes first
                self._note(topic, predicate, error)

    def _note(self, topic: str, predicate: Predicate, error: Exception) -> None:
        times = self.failed.get(predicate.name, 0) + 1
        self.failed[predicate.name] = times
        if times == 1:
            # The exception's text may hold what must not be written.
            _log.error(
                "around: %s failed with %s on %s: it is taken for no", predicate.name, type(error).__name__, topic
            )
