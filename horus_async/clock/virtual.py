"""A trio clock that stands still until told to move."""

from __future__ import annotations

import math

import trio


class VirtualClock(trio.abc.Clock):
    """Time for a run in virtual time, in seconds from 0.

    It never moves by itself: whoever drives the run calls `jump`, so nothing outside the program can affect when
    something happens. (trio's own ``MockClock`` jumps by itself once all tasks sleep, which is too early while a worker
    thread is still computing.)

    Args:
        alone: No tasks but those of one run of nodes will run on it.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self.alone = alone
        self._now = 0.0

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Virtual seconds since the clock was created."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """0 for a deadline that has passed; until any other, trio may wait for input as long as it likes."""
        return 0.0 if deadline <= self._now else math.inf

    def jump(self, seconds: float) -> None:
        """Advance by ``seconds``, as ``trio.testing.MockClock.jump`` does."""
        self._now += seconds

    def move_to(self, seconds: float) -> None:
        """Advance to ``seconds``; never back."""
        if seconds > self._now:
            self._now = seconds
