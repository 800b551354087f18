"""What a node's run says of itself."""

from __future__ import annotations

from attrs import frozen

SAMPLES = 1024
"""How many of a node's last tick durations the p99 is taken from."""


@frozen
class NodeStats:
    """One node's figures. Durations are execution time on the wall clock, microseconds."""

    ticks: int
    rate: float | None
    """Hz, as declared."""
    mean_us: float
    p99_us: float
    """Over the last `SAMPLES` ticks."""
    max_us: float
    budget_overruns: int
    deadline_misses: int
    """Missed deadlines, and ticks left out because the last one was still busy."""
    errors: int
    restarts: int
    lost: int
    """Messages overwritten before the node read them."""


class Durations:
    """Execution times of one node's ticks, nanoseconds."""

    __slots__ = ("_next", "_samples", "count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.longest = 0
        self._samples: list[int] = []
        self._next = 0

    def add(self, duration_ns: int) -> None:
        """One more tick took ``duration_ns``."""
        self.count += 1
        self.total += duration_ns
        if duration_ns > self.longest:
            self.longest = duration_ns
        samples = self._samples
        if len(samples) < SAMPLES:
            samples.append(duration_ns)
        else:
            samples[self._next] = duration_ns
            self._next = (self._next + 1) % SAMPLES

    def mean_us(self) -> float:
        """Mean over all ticks, 0 before the first."""
        return self.total / self.count / 1000 if self.count else 0.0

    def p99_us(self) -> float:
        """99th percentile (nearest rank) of the last `SAMPLES`, 0 before the first."""
        ordered = sorted(self._samples)
        return ordered[-(-99 * len(ordered) // 100) - 1] / 1000 if ordered else 0.0
