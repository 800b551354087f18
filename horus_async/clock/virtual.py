"""A trio clock that stands still until it is told to move."""

from __future__ import annotations

import math

import trio


class VirtualClock(trio.abc.Clock):
    """Time for a run in virtual time, in seconds from 0.

    It never moves by itself: whoever drives the run calls `jump`, so nothing outside the program can change when
    something happens. (trio's own ``MockClock`` jumps by itself once all tasks sleep, which is too early while a
    worker thread still computes.)

    Args:
        alone: No tasks but those of one run of nodes will run by it.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self.alone = alone
        self._now = 0.0

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Virtual seconds since the clock was made."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """0 for a deadline that has passed; for the others trio may wait for input as long as it likes."""
        return 0.0 if deadline <= self._now else math.inf

    def jump(self, seconds: float) -> None:
        """Move on by ``seconds``, as ``trio.testing.MockClock.jump`` does."""
        self._now += seconds

    def move_to(self, seconds: float) -> None:
        """Move on to ``seconds``; never back."""
        self._now = max(self._now, seconds)
