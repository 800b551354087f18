"""Real time: how a run moves along the monotonic clock."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.clock.timer import TickTimer
from horus_async.clock.trio_testing import movable_clock

from .pace import Pace, nowhere

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio

    from .pace import Busy, Turn, Waited

_FOREVER_NS = 1 << 62


class RealPace(Pace):
    """Real time: the machine's monotonic clock, or whatever clock trio was given in a test.

    Args:
        after: The pace of the run so far, if its time began before.
    """

    virtual = False

    def __init__(self, *, after: Pace | None = None) -> None:
        self._limiter: anyio.CapacityLimiter | None = None
        self._test_clock = movable_clock()
        self._timer = TickTimer() if self._test_clock is None else _EventTimer(self._monotonic_ns)
        if isinstance(after, RealPace) and after._test_clock is self._test_clock is None:  # noqa: SLF001 - as this one
            began_ns = after._start_ns  # noqa: SLF001 - to the nanosecond: sums of small delays grow
        else:
            began_ns = self._monotonic_ns() - (0 if after is None else after.elapsed_ns())
        self._start_ns: int = began_ns
        self._reached_ns = -1

    def _monotonic_ns(self) -> int:
        if self._test_clock is None:
            return monotonic_ns()
        return round(trio.current_time() * NANOSECONDS)

    def start(self) -> None:
        """The clock, now, is where the run begins."""
        self._start_ns = self._monotonic_ns()
        self._reached_ns = -1

    def wall_base_ns(self, shift_ns: int) -> int | None:
        """None under a test clock, whose time of day moves with it and is never set."""
        return self._start_ns + shift_ns if self._test_clock is None else None

    def elapsed_ns(self) -> int:
        """By the monotonic clock, so that setting the wall clock changes nothing."""
        return self._monotonic_ns() - self._start_ns

    def late_at_ns(self) -> int | None:
        """A tick that is due before this moment is late."""
        return self.elapsed_ns()

    def reached(self, at_ns: int) -> bool:
        """Whether `reach` was awaited for it, so that each tick lets other tasks run."""
        return self._reached_ns >= at_ns

    async def reach(self, at_ns: int) -> None:
        """Wait by a timer file descriptor and a short spin; at least one checkpoint."""
        if self.elapsed_ns() < at_ns:
            await self._timer.wait_until(self._start_ns + at_ns)
        else:
            await event_loop().checkpoint()
        if self.elapsed_ns() >= at_ns:
            self._reached_ns = at_ns

    async def settle(self, run: Busy | None = None) -> None:
        """Wait for rounds of the event loop that do not take the callback further: then it is waiting.

        Tasks of one round run in any order, so that only the second round without news says something.
        """
        if run is None:
            return
        seen, quiet = run.resumed, 0
        while run.busy and quiet < 2:
            await event_loop().checkpoint()
            quiet = quiet + 1 if run.resumed == seen else 0
            seen = run.resumed

    async def until_idle(self, run: Waited) -> None:
        """The runtime wakes the pace when a callback ends."""
        if run.busy:
            now_ns = self._monotonic_ns()
            left_ns = _FOREVER_NS if self.give_up_ns is None else max(0, self.give_up_ns - monotonic_ns())
            await self._timer.wait_until(now_ns + left_ns)

    def suspend(self, run: Busy) -> Turn:
        """A tick has suspended; its resumptions are counted for `settle`."""

        async def count_resumption(_: Callable[[], bool] = nowhere) -> None:
            run.resumed += 1
            run.resumed_ns = self._monotonic_ns()

        return count_resumption

    def ended(self, run: Busy) -> None:
        """A tick that had suspended ends."""
        run.held_ns = self._monotonic_ns() - run.resumed_ns

    def thread_limiter(self) -> anyio.CapacityLimiter:
        """One for the whole run."""
        import anyio

        self._limiter = self._limiter or anyio.CapacityLimiter(math.inf)
        return self._limiter

    def wake(self) -> None:
        """Let the timer expire at once."""
        self._timer.wake()

    def close(self) -> None:
        """Close the timer."""
        self._timer.close()


class _EventTimer:
    """`TickTimer` for a trio run whose clock is a test's: sleeping is all there is, and jumps are exact."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._token = trio.lowlevel.current_trio_token()
        self._woken = trio.Event()

    async def wait_until(self, deadline_ns: int) -> bool:
        # half a nanosecond more: the clock counts in seconds, and must not end up just before
        with trio.move_on_at((deadline_ns + 0.5) / NANOSECONDS):
            await self._woken.wait()
        self._woken = trio.Event()
        return self._clock_ns() >= deadline_ns

    def wake(self) -> None:
        with suppress(trio.RunFinishedError):  # nobody waits any more
            self._token.run_sync_soon(self._set)

    def _set(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """Nothing is held."""
