"""Timing loops and lateness, the same for every side."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from horus_async.clock.system import monotonic_ns, perf_ns, sleep_until_monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SMALL = {"value": 0.123456789, "tick": 12345}
LARGE = {"ranges": [index * 0.01 + 0.001 for index in range(360)]}
BYTES = bytes(range(64))
RATE = 1000
"""Hz of the scheduler in all runs of nodes."""


class CannotMeasureError(Exception):
    """Something that a side needs is missing; the message says what."""


def microseconds_a_call(
    call: Callable[[], object], *, scale: float, batch: int = 500, between: Callable[[], object] = lambda: None
) -> float:
    """The median over batches of the mean time of a call, in microseconds. ``between`` runs unmeasured."""
    for _ in range(batch):
        call()
    batches = []
    for _ in range(max(5, round(60 * scale))):
        between()
        start = perf_ns()
        for _ in range(batch):
            call()
        batches.append((perf_ns() - start) / batch / 1000)
    return statistics.median(batches)


def microseconds_each(call: Callable[[], object], *, scale: float) -> list[float]:
    """Microseconds of each of many short calls, less what reading the clock takes."""
    samples, clock = [], []
    for _ in range(max(1000, round(20_000 * scale))):
        start = perf_ns()
        call()
        end = perf_ns()
        samples.append(end - start)
        clock.append(perf_ns() - end)
    own = statistics.median(clock)
    return [(took - own) / 1000 for took in samples[len(samples) // 10 :]]


def rest() -> None:
    """Pause as between two ticks of a slow robot: other threads get their turn, and the caches cool down."""
    sleep_until_monotonic(monotonic_ns() + 100_000_000)


def round_trips(call: Callable[[], object], *, scale: float) -> list[float]:
    """Microseconds of each of many calls."""
    for _ in range(100):
        call()
    samples = []
    for _ in range(round(2000 * scale)):
        start = perf_ns()
        call()
        samples.append((perf_ns() - start) / 1000)
    return samples


def lateness_us(starts: Sequence[tuple[int, int]]) -> list[float]:
    """How late each tick started, in microseconds, given only (tick number, nanoseconds at its start).

    The most punctual tick sets the grid, so every side is measured alike, and no side's own account of its deadlines is
    trusted. The first tenth is left out.
    """
    period_ns = 1_000_000_000 // RATE
    against_grid = [start - tick * period_ns for tick, start in starts[len(starts) // 10 :]]
    earliest = min(against_grid)
    return [(late - earliest) / 1000 for late in against_grid]
