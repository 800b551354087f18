"""How far the wall clock is ahead of the monotonic clock: it changes when somebody sets the wall clock.

On Linux the kernel slews both clocks together when NTP disciplines them, and the monotonic one stands still while the
machine is suspended. So the difference stays the same for days, and changes by what the wall clock was set by, or by
how long the machine slept.
"""

from __future__ import annotations

from .system import monotonic_ns, wall_ns

SET_NS = 1_000_000
"""The wall clock counts as set when it moved by more than this, in nanoseconds."""

_ROUNDS = 5


def wall_shift_ns(known_ns: int | None = None) -> int:
    """Nanoseconds to add to ``monotonic_ns()`` for the wall clock.

    Args:
        known_ns: What it was before. Returned as it is unless the wall clock was set since.
    """
    shift_ns = wall_ns() - monotonic_ns()
    if known_ns is not None and -SET_NS < shift_ns - known_ns < SET_NS:
        return known_ns
    # The machine may have been busy with something else between the two readings: the closest ones count.
    doubt_ns, shift_ns = min(_reading() for _ in range(_ROUNDS))
    if known_ns is not None and abs(shift_ns - known_ns) <= SET_NS + doubt_ns:
        return known_ns
    return shift_ns


def _reading() -> tuple[int, int]:
    """By how much it may be wrong, and the difference of the clocks."""
    before_ns = monotonic_ns()
    wall = wall_ns()
    took_ns = monotonic_ns() - before_ns
    return took_ns // 2, wall - before_ns - took_ns // 2
