"""The topics of a live node that is verified: it gets the recorded inputs, and what it sends goes nowhere."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from horus_async.engine.ports import Ports
from horus_async.recorder.records import ExecutionRecord
from horus_async.topics.codec import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.engine.ports import Run
    from horus_async.topics import Bus
    from horus_async.topics.ring.reader import Loan
    from horus_async.topics.ring.region import Taken

    from .options import ReplayOptions

    _Identity = tuple[str, int, int]
    """A message of a topic by publisher, sequence number and source."""

SHADOW = "@live"
"""Added to the name of a live node that is only listened to, beside the recorded one that plays."""


class Ahead:
    """Recorded messages, looked up before they are published.

    In real time a node may have ticked in the middle of a scheduler tick, right after a message came. The replay knows
    the tick, not the middle of it, and so may let the node tick first.
    """

    def __init__(self, replay: ReplayOptions) -> None:
        self._replay = replay
        self._sources: dict[tuple[str, int], Iterator[Any]] = {}
        self._read: dict[tuple[str, int], dict[tuple[str, int], Taken]] = {}

    def find(self, topic: str, publisher: str, seq: int, source: int) -> Taken | None:
        """The message, read from its publisher's file on from where the last one was found."""
        who = publisher, source
        read = self._read.setdefault(who, {})
        taken = read.pop((topic, seq), None)
        if taken is not None:
            return taken
        if who not in self._sources:
            self._sources[who] = self._messages(publisher, source)
        for message in self._sources[who]:
            taken = (message.payload, publisher, message.seq, message.stamp_ns)
            if (message.topic, message.seq) == (topic, seq):
                return taken
            read[message.topic, message.seq] = taken
            if len(read) > _AHEAD:
                del read[next(iter(read))]
        return None

    def _messages(self, publisher: str, source: int) -> Iterator[Any]:
        replay = self._replay
        if source or publisher not in replay.session.nodes:
            messages = replay.session.external(replay.start, replay.stop)
            yield from (m for m in messages if (m.publisher, m.source) == (publisher, source))
            return
        for line in replay.session.executions(publisher, replay.start, replay.stop):
            if isinstance(line, ExecutionRecord):
                yield from line.outputs


_AHEAD = 10_000
"""How many messages of a publisher are kept that others may ask for."""


class ShadowPorts(Ports):
    """What a live node sees of the topics while it is verified: the recorded inputs; what it sends goes nowhere."""

    def __init__(self, node: str, bus: Bus, run: Run, recorded_topics: set[str], ahead: Ahead | None) -> None:
        super().__init__(node, bus, run)
        self._recorded_topics = recorded_topics
        self._ahead = ahead
        self._had: set[tuple[str, _Identity]] = set()
        """Messages that were taken ahead of their publication."""
        self._expected: dict[str, deque[_Identity]] = {}
        self._early: dict[tuple[str, _Identity], Taken] = {}
        self._seqs: dict[str, int] = {}

    def expect(self, line: ExecutionRecord | None) -> None:
        """A tick begins, for which ``line`` says what the recorded one took."""
        if line is None:
            return
        for taken in line.inputs:
            self._recorded_topics.add(taken.topic)
            self._expected.setdefault(taken.topic, deque()).append((taken.publisher, taken.seq, taken.source))

    def publisher(self, topic: str) -> Any:
        """A verified node publishes nothing."""
        raise AssertionError(f"{topic}: send() of a verified node does not get here")

    def send(self, topic: str, value: Any) -> None:
        """Note what would have been sent."""
        payload = encode(value)
        seq = self._seqs[topic] = self._seqs.get(topic, -1) + 1
        self.tell(topic, seq, self._run.stamp_ns(), payload)

    def take(self, topic: str) -> Taken | None:
        """The message that the recorded node took at this point, if it has come by now."""
        if topic not in self._recorded_topics:
            return super().take(topic)
        expected = self._expected.get(topic)
        if not expected:
            return None
        wanted = topic, expected[0]
        taken = self._early.pop(wanted, None)
        while taken is None:
            candidate = super().take(topic)
            if candidate is None:
                taken = None if self._ahead is None else self._ahead.find(topic, *expected[0])
                if taken is None:
                    return None
                self._had.add(wanted)
                break
            key = topic, (candidate[1], candidate[2], self._source(topic, candidate[1]))
            if key in self._had:
                self._had.remove(key)
            elif key == wanted:
                taken = candidate
            else:
                self._early[key] = candidate
        expected.popleft()
        return taken

    def take_loan(self, topic: str) -> Loan | None:
        """The same as something borrowed that nobody overwrites."""
        taken = self.take(topic)
        return None if taken is None else (taken, None)

    def _source(self, topic: str, publisher: str) -> int:
        """The recorded source of the message that was taken last; 0 for one of a recorded node."""
        reader = self.subscriber(topic).reader
        assert reader is not None
        return 0 if reader.source in self._own else self._run.external_source(topic, publisher, reader)

    def has_msg(self, topic: str) -> bool:
        """In a session from real time: whether the recorded node took one at this point."""
        if self._ahead is not None and topic in self._recorded_topics:
            return bool(self._expected.get(topic))
        return super().has_msg(topic) or bool(self._early and self._expected.get(topic))
