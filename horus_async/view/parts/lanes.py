"""The time line of a node, in buckets: how often it was called, how long the longest took, where it failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Lane:
    """Counts what a node did.

    Args:
        begin_us: Where the time line begins.
        width_us: Of a bucket.
        buckets: How many there are.
    """

    __slots__ = (
        "_begin", "_busy", "_last", "_width", "bad", "calls", "count", "errors", "longest", "longest_at", "skipped",
        "ticks",
    )  # fmt: skip

    def __init__(self, begin_us: int, width_us: int, buckets: int) -> None:
        self._begin, self._width, self._last = begin_us, width_us, buckets - 1
        self.count = [0] * buckets
        self._busy = [0] * buckets
        self.bad = [0] * buckets
        """Anomalies."""
        self.calls = self.ticks = self.errors = self.skipped = self.longest = 0
        """``skipped``: ticks that were due by the node's rate and did not come; ``longest``: µs of a tick."""
        self.longest_at: int | None = None

    def bucket(self, at_us: int) -> int:
        """The bucket of a moment; the first and the last take what is outside."""
        return min(max((at_us - self._begin) // self._width, 0), self._last)

    def add(self, at_us: int, took_us: int) -> None:
        """A call."""
        place = (at_us - self._begin) // self._width
        if not 0 <= place <= self._last:
            place = self.bucket(at_us)
        self.calls += 1
        self.count[place] += 1
        if took_us > self._busy[place]:
            self._busy[place] = took_us

    def note(self, at_us: int) -> None:
        """An anomaly."""
        self.bad[self.bucket(at_us)] += 1

    def fields(self) -> dict[str, Any]:
        """What goes in the page; long rows of zeros are short."""
        return {"count": _packed(self.count), "busy": _packed(self._busy), "bad": _packed(self.bad)}


def _packed(row: Sequence[int]) -> list[int]:
    """A row of numbers in which -n stands for n zeros."""
    packed: list[int] = []
    zeros = 0
    for number in row:
        if number == 0:
            zeros += 1
            continue
        if zeros:
            packed.append(-zeros)
            zeros = 0
        packed.append(number)
    if zeros:
        packed.append(-zeros)
    return packed
