"""What of a run is recorded, and with which data: decided before anything is kept."""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from horus_async.recorder.options import Redact
from horus_async.topics.codec import as_bytes, decode, encode, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from horus_async.observe import Execution, External, Sent, TickEnd
    from horus_async.recorder.options import RecordingOptions

_log = logging.getLogger("horus_async.recorder")

_REMEMBERED = 4096


class Screen:
    """Applies the include and exclude patterns and the redaction of some options. For one thread.

    Names are matched once each. What a message became is remembered until it comes again, as each comes twice: with
    the execution that sent it, and at the end of its tick, for the digest.
    """

    def __init__(self, options: RecordingOptions) -> None:
        self.excluded: dict[str, int] = {}
        """Messages left out by their topic, by node; those from outside under the empty name."""
        self._options = options
        self._nodes: dict[str, bool] = {}
        self._topics: dict[str, bool] = {}
        self._rules: dict[str, Redact | Callable[[Any], Any] | None] = {}
        self._redacted: dict[tuple[str, str, int], bytes] = {}
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

    def execution(self, execution: Execution) -> Execution | None:
        """What is recorded of an execution; None for nothing."""
        if not self.takes_node(execution.node):
            return None
        kept = self._sent(execution.outputs)
        if len(kept) < len(execution.outputs):
            left_out = len(execution.outputs) - len(kept)
            self.excluded[execution.node] = self.excluded.get(execution.node, 0) + left_out
        return execution._replace(outputs=kept)

    def tick_end(self, end: TickEnd) -> TickEnd:
        """The end of a tick, with the messages that are recorded: the digest tells nothing of the others."""
        return end._replace(sent=self._sent([sent for sent in end.sent if self.takes_node(sent.node)]))

    def external(self, message: External) -> External | None:
        """What is recorded of a message from outside; None for nothing."""
        if not self.takes_topic(message.topic):
            self.excluded[""] = self.excluded.get("", 0) + 1
            return None
        if self._rule(message.topic) is None:
            return message
        return message._replace(payload=self._redact(message.topic, message.payload))

    def _sent(self, messages: Sequence[Sent]) -> list[Sent]:
        return [self._screened(sent) for sent in messages if self.takes_topic(sent.topic)]

    def _screened(self, sent: Sent) -> Sent:
        if self._rule(sent.topic) is None:
            return sent
        key = sent.node, sent.topic, sent.seq
        payload = self._redacted.pop(key, None)
        if payload is None:
            if len(self._redacted) >= _REMEMBERED:
                self._redacted.clear()
            payload = self._redacted[key] = self._redact(sent.topic, sent.payload)
        return sent._replace(payload=payload)

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
