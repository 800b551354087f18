"""What of a run is recorded, and with which data: decided before anything is kept."""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from horus_async.recorder.options import Redact
from horus_async.topics.codec import as_bytes, decode, encode, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from horus_async.observe import External, Sent
    from horus_async.recorder.options import RecordingOptions

_log = logging.getLogger("horus_async.recorder")


class Screen:
    """Applies the include and exclude patterns and the redaction of some options. For one thread.

    Names are matched once each.
    """

    def __init__(self, options: RecordingOptions) -> None:
        self.excluded: dict[str, int] = {}
        """Messages left out by their topic, by node; external ones under the empty name."""
        self._options = options
        self._nodes: dict[str, bool] = {}
        self._topics: dict[str, bool] = {}
        self._rules: dict[str, Redact | Callable[[Any], Any] | None] = {}
        self._failed: set[str] = set()

    @classmethod
    def needed(cls, options: RecordingOptions) -> bool:
        """Whether these options leave out or change anything."""
        return bool(screen_fields(options))

    def takes_node(self, name: str) -> bool:
        """Whether a node is recorded."""
        known = self._nodes.get(name)
        if known is None:
            known = self._nodes[name] = _selected(name, self._options.nodes, self._options.exclude_nodes)
        return known

    def takes_topic(self, name: str) -> bool:
        """Whether the messages of a topic are recorded."""
        known = self._topics.get(name)
        if known is None:
            known = self._topics[name] = _selected(name, self._options.topics, self._options.exclude_topics)
        return known

    def sent(self, message: Sent) -> Sent | None:
        """What is recorded of a message that a node sent; None for nothing."""
        if not self.takes_node(message.node):
            return None
        if not self.takes_topic(message.topic):
            self.excluded[message.node] = self.excluded.get(message.node, 0) + 1
            return None
        if self._rule(message.topic) is None:
            return message
        return message._replace(payload=self._redact(message.topic, message.payload))

    def external(self, message: External) -> External | None:
        """What is recorded of an external message; None for nothing."""
        if not self.takes_topic(message.topic):
            self.excluded[""] = self.excluded.get("", 0) + 1
            return None
        if self._rule(message.topic) is None:
            return message
        return message._replace(payload=self._redact(message.topic, message.payload))

    def _rule(self, topic: str) -> Redact | Callable[[Any], Any] | None:
        if topic not in self._rules:
            rules = self._options.redact.items()
            self._rules[topic] = next((rule for pattern, rule in rules if fnmatchcase(topic, pattern)), None)
        return self._rules[topic]

    def _redact(self, topic: str, payload: bytes) -> bytes:
        rule = self._rule(topic)
        if rule is Redact.DROP:
            return b"null"
        try:
            if isinstance(rule, Redact):
                return _hashed(to_json(payload))
            assert rule is not None
            return as_bytes(encode(rule(decode(payload))))
        except Exception as error:  # noqa: BLE001 - a user's function; the run and the secret come first
            if topic not in self._failed:
                self._failed.add(topic)
                # The exception's text may hold what must not be written.
                _log.error("redaction of %s failed with %s: its data is left out", topic, type(error).__name__)
            return b"null"


def screen_fields(options: RecordingOptions) -> dict[str, Any]:
    """What headers and the manifest say of it; nothing where all is recorded as it is."""
    chosen = {
        name: list(getattr(options, name))
        for name, default in (("nodes", ["*"]), ("exclude_nodes", []), ("topics", ["*"]), ("exclude_topics", []))
        if list(getattr(options, name)) != default
    }
    fields: dict[str, Any] = {"filter": chosen} if chosen else {}
    if options.redact:
        fields["redacted"] = {
            pattern: rule.value if isinstance(rule, Redact) else "transform" for pattern, rule in options.redact.items()
        }
    return fields


def _selected(name: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    if any(fnmatchcase(name, pattern) for pattern in exclude):
        return False
    return any(fnmatchcase(name, pattern) for pattern in include)


def _hashed(text: bytes) -> bytes:
    from hashlib import sha256  # few recordings need it

    return b'"sha256:%b"' % sha256(text).hexdigest().encode()
