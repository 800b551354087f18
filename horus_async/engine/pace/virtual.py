"""Virtual time: how a deterministic run or a replay moves through it."""

from __future__ import annotations

import functools
import heapq
import math
import threading
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Abort

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.clock.timer import TickTimer
from horus_async.clock.trio_testing import wait_all_tasks_blocked

from .pace import Pace, nowhere

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio
    from trio.testing import MockClock

    from horus_async.clock.virtual import VirtualClock

    from .pace import Busy, Turn, Waited

_FOREVER_NS = 1 << 100  # stamps of 64 bits, and so replays, can be six centuries apart
_MOST_ROUNDS = 5000
"""Milliseconds of the machine's time that `VirtualPace.until_stuck` waits for the outside world."""
_LONG_NS = 60_000_000_000
"""Of the run's time: what sleeps on and on for longer than this may be given up as what waits for the outside world."""
_TRIOS_OWN = 1
"""Files that an idle trio loop waits for: the one by which other threads wake it."""
_IDLE = ("Trio thread", "AnyIO worker thread")
"""Threads kept for later work; those at work are counted by their limiters."""


class StillPace(Pace):
    """Virtual time for a single tick in which nothing waits. No event loop is needed for that.

    Args:
        offset_ns: Where the run's time stands already.
    """

    virtual = True

    def __init__(self, offset_ns: int) -> None:
        self.offset_ns = offset_ns

    def start(self) -> None:
        """Time stands at 0."""
        self.offset_ns = 0

    def elapsed_ns(self) -> int:
        """Where the run's time stands."""
        return self.offset_ns

    def reached(self, at_ns: int) -> bool:
        """Move on at once: nothing waits for the time in between, but for what has to be started first."""
        if self.suspended:
            return False
        self.offset_ns = max(self.offset_ns, at_ns)
        return True

    async def reach(self, at_ns: int) -> None:
        """Move on at once."""
        self.reached(at_ns)

    def suspend(self, run: Busy) -> Turn:
        """Nothing suspends here."""
        raise AssertionError(f"{run} suspended where nothing can wait")


class VirtualPace(StillPace):
    """Virtual time: it moves when nothing more can happen at the instant it shows.

    What makes it reproducible: suspended ticks go on one at a time, in the order of their nodes, and each runs until
    it waits again before the next one may. Threads that they wait for take no virtual time.

    Args:
        clock: The clock of the trio run.
        alone: No tasks but ours run in it, so there is nobody to be fair to between ticks.
        speed: Virtual seconds per second of wall time; ``inf`` for as fast as possible.
        offset_ns: Where the run's time stands already.
    """

    def __init__(
        self,
        clock: VirtualClock | MockClock,
        *,
        alone: bool,
        speed: float = math.inf,
        offset_ns: int = 0,
    ) -> None:
        super().__init__(offset_ns)
        self._clock = clock
        self._own_clock: Any = clock if alone and speed == math.inf else None
        """A `VirtualClock` that nobody else goes by, and the machine does not pace."""
        self._in_own_loop = alone
        self._threads = set(threading.enumerate())
        self._speed = speed
        self._timer = TickTimer() if speed != math.inf else None
        self._origin = clock.current_time() - offset_ns / NANOSECONDS
        self._paced_from_ns = monotonic_ns() - offset_ns
        self._waiting: list[tuple[float, int, trio.lowlevel.Task]] = []
        self.taking_turns = True
        """Whether suspended ticks go on one at a time: not any more once they are cancelled."""
        self._arrivals = 0
        self._woken = False
        self._settled = False
        """Whether others could run since the last moment: without that a program of late ticks would starve them."""
        self._limiter: anyio.CapacityLimiter | None = None
        self._default_limiter = trio.to_thread.current_default_thread_limiter()
        """Anyio's too."""

    def start(self) -> None:
        """The clock, as it stands now, is where the run begins."""
        self._origin = self._clock.current_time()
        self.offset_ns = 0
        self._paced_from_ns = monotonic_ns()

    def skip(self, ns: int) -> None:
        """Do not wait for so much of the run's time to come."""
        if self._timer is not None:
            self._paced_from_ns -= round(ns / self._speed)

    def reached(self, at_ns: int) -> bool:
        """Whether the clock stands there, moving it where nothing else could happen before."""
        if at_ns <= self.offset_ns and self._settled:
            return True
        if self.suspended or self._own_clock is None:
            return False
        self._own_clock.move_to(self._origin + at_ns / NANOSECONDS)
        self.offset_ns = at_ns
        return True

    def _move_to(self, at_ns: int) -> None:
        missing = self._origin + at_ns / NANOSECONDS - self._clock.current_time()
        if missing > 0:
            self._clock.jump(missing)
        self.offset_ns = at_ns

    async def reach(self, at_ns: int) -> None:
        """Go to where the next suspended tick wakes, and from there to the next, until ``at_ns``."""
        self._woken = False
        await self.settle()
        self._settled = True
        while not self._woken:
            wakes_ns = self._next_deadline_ns()
            if wakes_ns > at_ns:
                await self._wait_for_wall(at_ns)
                if not self._woken:
                    self._move_to(at_ns)
                return
            await self._wait_for_wall(wakes_ns)
            self._pass_deadline(wakes_ns)
            await self.settle()

    def _next_deadline_ns(self) -> int:
        gap = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if gap == math.inf:
            return _FOREVER_NS
        return max(self.offset_ns, round((self._clock.current_time() + gap - self._origin) * NANOSECONDS))

    def _pass_deadline(self, wakes_ns: int) -> None:
        gap = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if gap != math.inf:
            # now + (deadline - now) can end up an ulp before the deadline
            self._clock.jump(max(gap, 0.0) + 2 * math.ulp(self._clock.current_time() + gap))
        self.offset_ns = wakes_ns

    async def _wait_for_wall(self, at_ns: int) -> None:
        if self._timer is not None:
            await self._timer.wait_until(self._paced_from_ns + round(at_ns / self._speed))

    async def settle(self, run: Busy | None = None) -> None:  # noqa: ARG002 - all of them settle here
        """Wait until no task can run, no thread is at work, and every tick that could go on has."""
        while True:
            await wait_all_tasks_blocked()
            if self._threads_at_work():
                if self.gives_up():
                    return
                # threads take no virtual time: look again in a fifth of a millisecond of ours
                await wait_all_tasks_blocked(0.0002)
            elif self._waiting and self._next_deadline_ns() == self.offset_ns:
                # sums that mean the same nanosecond differ by ulps: all of this instant wake before any goes on
                self._pass_deadline(self.offset_ns)
            elif self._waiting:
                trio.lowlevel.reschedule(heapq.heappop(self._waiting)[2])
            else:
                return

    def _threads_at_work(self) -> bool:
        own = self._limiter
        return bool(self._default_limiter.borrowed_tokens or (own is not None and own.borrowed_tokens))

    async def until_idle(self, run: Waited) -> None:
        """Move time on until the callback has ended."""
        self._woken = False
        began_ns = self.offset_ns
        await self.settle()
        while run.busy and not self._woken:
            if self.offset_ns - began_ns > _LONG_NS and self.gives_up():
                return
            wakes_ns = self._next_deadline_ns()
            if wakes_ns == _FOREVER_NS:
                if self.gives_up():
                    return
                if self._nothing_outside():
                    run.waits_for_nobody()
                await wait_all_tasks_blocked(0.001)  # it waits for the outside world
            else:
                await self._wait_for_wall(wakes_ns)
                self._pass_deadline(wakes_ns)
            await self.settle()

    async def until_stuck(self, done: Callable[[], bool], waits: Callable[[], bool], until_ns: int) -> None:
        """Move time on until ``done``, but not for ever.

        Args:
            done: Asked each time that nothing more can happen at an instant.
            waits: Whether nothing but the passing of time will help.
            until_ns: The latest moment.
        """
        await self.settle()
        rounds = 0
        while not done() and rounds < _MOST_ROUNDS:
            wakes_ns = self._next_deadline_ns()
            if wakes_ns != _FOREVER_NS:
                if wakes_ns > until_ns:
                    return
                self._pass_deadline(wakes_ns)
            elif waits():
                return
            else:
                rounds += 1
                await wait_all_tasks_blocked(0.001)  # it waits for the outside world
            await self.settle()

    def _nothing_outside(self) -> bool:
        """Whether no thread and no file can wake a task of this loop, which has no others."""
        if not self._in_own_loop or _files_waited_for() > _TRIOS_OWN:
            return False
        return all(thread.name.startswith(_IDLE) for thread in set(threading.enumerate()) - self._threads)

    def thread_limiter(self) -> anyio.CapacityLimiter:
        """One for the whole run, whose threads are waited for."""
        import anyio

        self._limiter = self._limiter or anyio.CapacityLimiter(math.inf)
        return self._limiter

    def take_turns(self) -> None:
        """From here on suspended ticks go on one at a time, in the order of their nodes."""
        self.taking_turns = True

    def suspend(self, run: Busy) -> Turn:
        """A tick has suspended; it waits for its turn before it goes on."""
        self.suspended += 1
        return functools.partial(self._turn, run)

    def ended(self, run: Busy) -> None:
        """One less to settle."""
        del run
        self.suspended -= 1

    async def _turn(self, run: Busy, into_thread: Callable[[], bool] = nowhere) -> None:
        # Threads are waited for before turns are given. One that has a token is on its way into a thread, still inside
        # the event loop's own code: its turn comes when the thread is done.
        if not self.taking_turns or (self._threads_at_work() and into_thread()):
            return
        self._arrivals += 1
        heapq.heappush(self._waiting, (run.rank, self._arrivals, trio.lowlevel.current_task()))
        await trio.lowlevel.wait_task_rescheduled(lambda _: Abort.FAILED)

    def wake(self) -> None:
        """Cut `reach` and `until_idle` short."""
        self._woken = True
        if self._timer is not None:
            self._timer.wake()

    def let_go(self) -> None:
        """Let all go on at once whose turn has not come."""
        self.taking_turns = False
        while self._waiting:
            trio.lowlevel.reschedule(heapq.heappop(self._waiting)[2])

    def close(self) -> None:
        """Close the timer of a paced replay."""
        if self._timer is not None:
            self._timer.close()


def _files_waited_for() -> int:
    """How many tasks of this loop wait for files, by whichever way the system has for that."""
    figures = trio.lowlevel.current_statistics().io_statistics
    kinds = ("tasks_waiting_read", "tasks_waiting_write", "tasks_waiting")
    return sum(getattr(figures, kind, 0) for kind in kinds)
