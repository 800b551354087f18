"""Does live code still do what was recorded? Recorded inputs and clock in, outputs compared bit by bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.observe import Execution, Observer, Sent
from horus_async.topics.codec import decode, to_json
from horus_async.value_diff import first_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from horus_async.recorder.records import RecordedOutput

    from .live_twin import LiveTwin

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


class Comparison(Observer):
    """Listens to a run in which live nodes shadow recorded ones, and compares what they send."""

    def __init__(self, *, deterministic: bool) -> None:
        self._deterministic = deterministic
        self.compared = 0
        self.differences = 0
        self.first: Difference | None = None
        self.twins: dict[str, LiveTwin] = {}
        """Live nodes by the name under which they are listened to."""
        self._sent: dict[str, list[Sent]] = {}

    def sent(self, message: Sent) -> None:
        """Keep what a live node sent until its tick ends."""
        if message.node in self.twins:
            self._sent.setdefault(message.node, []).append(message)

    def executed(self, execution: Execution) -> None:
        """Compare one tick's outputs with the recorded ones."""
        twin = self.twins.get(execution.node)
        if twin is None:
            return
        self._account_for(twin)
        name = twin.node.name
        sent = self._sent.pop(execution.node, [])
        recorded: Sequence[RecordedOutput]
        if execution.kind == "tick":
            recorded = twin.line.outputs if twin.line is not None else ()
        else:
            recorded = [output for line in twin.lines.special(execution.kind) for output in line.outputs]
        for index in range(max(len(recorded), len(sent))):
            left = recorded[index] if index < len(recorded) else None
            right = sent[index] if index < len(sent) else None
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
