"""A session as a viewer moves about in it: its messages from any time on, and what had been sent by then."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import RecordingError
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.session import Session
from horus_async.recorder.view.moments import first_tick_from

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from horus_async.recorder.messages import RecordedMessage

_RARE = 256
"""Of a topic with no more messages than that all are held, so that the last of them is found however old it is."""
_BACK_NS = 2 * NANOSECONDS
"""So far back the last message of any other topic is looked for."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK_NS = 1_000_000


class Recording:
    """Reads a session.

    Args:
        session: The session; messages are read as they are needed.

    Raises:
        RecordingError: It has no message.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        first = next(session_messages(session), None)
        if first is None:
            raise RecordingError(f"session {session.name!r} has no messages to be shown")
        last_tick = session.last_tick
        ends = [line.now_ns for line in session.scheduler_ticks(last_tick, last_tick)] if last_tick is not None else []
        last_ns = max(first.stamp_ns, *ends, *(message.stamp_ns for message in self._from_tick(last_tick)))
        self.span = max(0, first.stamp_ns), last_ns
        """When its first message was sent, and the last one or the last tick, in nanoseconds since 1970."""
        self._rare: dict[str, list[RecordedMessage]] = {}

    def survey(self, found: Callable[[RecordedMessage], object]) -> None:
        """Read all of it once, in any thread.

        Args:
            found: Told the first message of each topic.
        """
        counts: Counter[str] = Counter()
        for message in session_messages(Session(self._session.path)):
            topic = message.topic
            counts[topic] += 1
            if counts[topic] == 1:
                self._rare[topic] = []
                found(message)
            if counts[topic] <= _RARE:
                self._rare[topic].append(message)
            else:
                self._rare.pop(topic, None)

    def messages_from(self, at_ns: int) -> Iterator[RecordedMessage]:
        """The messages that were sent at a time or later."""
        for message in self._from_tick(self._tick(at_ns)):
            if message.stamp_ns >= at_ns:
                yield message

    def latest_before(self, at_ns: int, topics: Collection[str] = ()) -> list[RecordedMessage]:
        """The last message before a time of each topic, if it is not too old or the topic has few; oldest first.

        Args:
            at_ns: The time.
            topics: Only these; all if empty.
        """
        latest: dict[str, RecordedMessage] = {}
        for topic, messages in [*self._rare.items()]:
            before = bisect_left(messages, at_ns, key=lambda message: message.stamp_ns)
            if before:
                latest[topic] = messages[before - 1]
        for message in self.messages_from(at_ns - _BACK_NS):
            if message.stamp_ns >= at_ns:
                break
            latest[message.topic] = message
        wanted = [message for topic, message in latest.items() if not topics or topic in topics]
        return sorted(wanted, key=lambda message: message.stamp_ns)

    def _from_tick(self, tick: int | None) -> Iterator[RecordedMessage]:
        return session_messages(self._session, start=tick)

    def _tick(self, at_ns: int) -> int | None:
        """The tick to read from; None for the first."""
        if at_ns <= self.span[0]:
            return None
        try:
            moment = _EPOCH + timedelta(microseconds=(at_ns - _TICK_NS) // 1000)
            tick = first_tick_from(self._session, moment)
        except (RecordingError, OverflowError):
            return None
        # what was sent at that time may belong to the tick before
        return self._session.last_tick if tick is None else max(tick - 1, 0)
