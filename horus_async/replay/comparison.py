"""Does live code still do what was recorded? Recorded inputs and clock in, outputs compared bit by bit."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.engine.ports import Ports
from horus_async.observe import Execution, Observer
from horus_async.recorder.records import ExecutionRecord
from horus_async.topics.codec import decode, encode, to_json
from horus_async.value_diff import first_difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from horus_async.engine.ports import Run
    from horus_async.observe import Sent
    from horus_async.recorder.records import RecordedOutput
    from horus_async.topics import Bus
    from horus_async.topics.ring.reader import Loan
    from horus_async.topics.ring.region import Taken

    from .options import ReplayOptions
    from .players import LiveTwin

    _Identity = tuple[str, int, int]
    """A message of a topic by publisher, sequence number and source."""

SHADOW = "@live"
"""Added to the name of a live node that is only listened to, beside the recorded one that plays."""
NOTHING = "(nothing)"
"""Stands for a message that only one side sent."""


@frozen
class Difference:
    """One place where live code did something else."""

    tick: int
    node: str
    topic: str
    field: str
    """The path inside the message, ``pose.x`` or ``ranges[3]``; empty for the whole value."""
    recorded: Any
    live: Any

    def __str__(self) -> str:
        where = f"tick {self.tick}, node {self.node}, topic {self.topic}"
        field = f", field {self.field}" if self.field else ""
        return f"{where}{field}: recorded {self.recorded!r}, live {self.live!r}"


@frozen
class VerifyReport:
    """What a comparison found."""

    compared: int
    """Messages compared."""
    differences: int
    """Messages that differ, are missing or are too many."""
    first_difference: Difference | None

    @property
    def passed(self) -> bool:
        """At least one message was compared and none differs. Comparing nothing is no pass."""
        return self.compared > 0 and self.differences == 0


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
        self.note(topic, seq, self._run.stamp_ns(), payload)

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
        return 0 if reader.source in self._own else self._run.outside_source(topic, publisher, reader)

    def has_msg(self, topic: str) -> bool:
        """In a session from real time: whether the recorded node took one at this point."""
        if self._ahead is not None and topic in self._recorded_topics:
            return bool(self._expected.get(topic))
        return super().has_msg(topic) or bool(self._early and self._expected.get(topic))


class Comparison(Observer):
    """Listens to a run in which live nodes shadow recorded ones, and compares what they send."""

    def __init__(self, *, deterministic: bool) -> None:
        self._deterministic = deterministic
        self.compared = 0
        self.differences = 0
        self.first: Difference | None = None
        self.twins: dict[str, LiveTwin] = {}

    def executed(self, execution: Execution) -> None:
        """Compare one tick's outputs with the recorded ones."""
        twin = self.twins.get(execution.node)
        if twin is None:
            return
        self._account_for(twin)
        name = twin.node.name
        recorded: Sequence[RecordedOutput]
        if execution.kind == "tick":
            recorded = twin.line.outputs if twin.line is not None else ()
        else:
            recorded = [output for line in twin.lines.special(execution.kind) for output in line.outputs]
        for index in range(max(len(recorded), len(execution.outputs))):
            left = recorded[index] if index < len(recorded) else None
            right = execution.outputs[index] if index < len(execution.outputs) else None
            if right is None and _was_cut_short(execution.error) and not self._deterministic:
                break
            if left is None and twin.line is not None and _was_cut_short(twin.line.error):
                break
            self._compare(name, execution.tick, left, right)

    def finish(self) -> VerifyReport:
        """What was found, with the recorded ticks that live nodes never came to."""
        for twin in self.twins.values():
            while twin.lines.next_tick != math.inf:
                twin.lines.advance(0)
                assert twin.lines.current is not None
                twin.lines.unmatched.append(twin.lines.current)
            self._account_for(twin)
        return VerifyReport(self.compared, self.differences, self.first)

    def _account_for(self, twin: LiveTwin) -> None:
        """Recorded ticks that the live node left out: what they sent is missing."""
        for line in twin.lines.unmatched:
            for output in line.outputs:
                self._compare(twin.node.name, line.tick, output, None)
        twin.lines.unmatched.clear()

    def _compare(self, node: str, tick: int, recorded: RecordedOutput | None, live: Sent | None) -> None:
        self.compared += 1
        topic = recorded.topic if recorded is not None else live.topic  # type: ignore[union-attr]
        left = NOTHING if recorded is None else recorded.payload
        right = NOTHING if live is None else to_json(live.payload)
        if recorded is not None and live is not None and recorded.topic != live.topic:
            self._note(Difference(tick, node, topic, "", f"sent on {topic}", f"sent on {live.topic}"))
        elif left != right:
            values = [decode(side) if isinstance(side, bytes) else side for side in (left, right)]
            field, a, b = first_difference(*values) if NOTHING not in (left, right) else ("", *values)
            self._note(Difference(tick, node, topic, field, a, b))

    def _note(self, difference: Difference) -> None:
        self.differences += 1
        if self.first is None or difference.tick < self.first.tick:
            self.first = difference


def _was_cut_short(error: str | None) -> bool:
    """Whether a tick was cancelled, as those are that still wait when a run ends: what it would have sent is open.

    Where time was real, recording and replay do not end at the same nanosecond, so either may have come further.
    """
    return error is not None and error.startswith("Cancelled")
