"""What a piece of work takes of the processor: on a busy machine the time on the clock says little."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONG_US = 1_000_000.0


def used_us() -> float:
    """Microseconds of the processor that this process has used, all its threads, the system's part included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


def used_by(work: Callable[[], object]) -> float:
    """Microseconds of the processor for one piece of work."""
    start = used_us()
    work()
    return used_us() - start


def used_a_call(call: Callable[[], object], scale: float) -> list[float]:
    """Microseconds of the processor per call: of five batches, after one call that warms up.

    Args:
        call: what is measured.
        scale: 1.0 for as long as it takes to be exact.
    """
    call()
    calls, took = 1, _used_by_all(call, 1)
    while took < 20_000 * scale and calls < 1 << 20:
        calls *= 2
        took = _used_by_all(call, calls)
    if took > _LONG_US:
        return [took / calls]
    return [_used_by_all(call, calls) / calls for _ in range(5)]


def _used_by_all(call: Callable[[], object], calls: int) -> float:
    start = used_us()
    for _ in range(calls):
        call()
    return used_us() - start
