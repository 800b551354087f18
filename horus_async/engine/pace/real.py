"""How a run moves through time: along the wall clock, or through virtual time.

Both answer the same questions for the runtime: has a moment been reached, wait for it, let suspended ticks settle.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel
import trio

from horus_async.clock.system import NANOSECONDS, monotonic_ns, wall_ns
from horus_async.clock.timer import TickTimer
from horus_async.clock.virtual import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.engine.node_run import NodeRun

_FOREVER_NS = 1 << 62


def virtual_trio_clock() -> VirtualClock | trio.testing.MockClock | None:
    """The clock of the trio run we are in, if it can be moved by hand."""
    try:
        clock = trio.lowlevel.current_clock()
    except RuntimeError:
        return None
    if isinstance(clock, VirtualClock):
        return clock
    if "trio.testing" in sys.modules and isinstance(clock, trio.testing.MockClock):
        return clock
    return None


class Pace(Protocol):
    """How a run moves through time."""

    virtual: bool

    def start(self) -> None:
        """The run's time begins here."""

    def elapsed_ns(self) -> int:
        """Nanoseconds since `start`."""

    def stamp_ns(self, start_ns: int) -> int:
        """The time for a message's stamp, in a run that began at ``start_ns``."""

    def late_at_ns(self) -> int | None:
        """What a `Timeline` needs to leave out late ticks."""

    def reached(self, at_ns: int) -> bool:
        """Whether that moment has come, moving on to it at once where that needs no waiting."""

    async def reach(self, at_ns: int) -> None:
        """Wait for that moment, or until `wake`."""

    async def settle(self, run: NodeRun | None = None) -> None:
        """Wait until suspended work (at least that of ``run``) waits for time, a message or a thread."""

    async def until_idle(self, run: NodeRun) -> None:
        """Wait until the node's callback has ended, or until `wake`."""

    def wake(self) -> None:
        """Cut `reach` short; from any thread or signal handler."""

    def let_go(self) -> None:
        """No more turns: the run ends, whoever waits for one goes on."""

    def close(self) -> None:
        """Give back what is held."""


class RealPace:
    """Real time: the wall clock, or whatever clock trio was given in a test.

    Args:
        offset_ns: Where the run's time stands already.
    """

    virtual = False

    def __init__(self, *, offset_ns: int = 0) -> None:
        self._test_clock = virtual_trio_clock()
        self._timer = TickTimer() if self._test_clock is None else _EventTimer(self._monotonic_ns)
        self._wall_ns = wall_ns() - offset_ns
        self._start_ns = self._monotonic_ns() - offset_ns
        self._reached_ns = -1

    def _monotonic_ns(self) -> int:
        if self._test_clock is None:
            return monotonic_ns()
        return round(trio.current_time() * NANOSECONDS)

    def stamp_ns(self, start_ns: int) -> int:  # noqa: ARG002 - the wall clock knows
        """The wall clock; under a test clock, one that moves with it."""
        if self._test_clock is None:
            return wall_ns()
        return self._wall_ns + self.elapsed_ns()

    def start(self) -> None:
        """See `Pace`."""
        self._start_ns = self._monotonic_ns()
        self._wall_ns = wall_ns()
        self._reached_ns = -1

    def elapsed_ns(self) -> int:
        """See `Pace`."""
        return self._monotonic_ns() - self._start_ns

    def late_at_ns(self) -> int | None:
        """See `Pace`."""
        return self.elapsed_ns()

    def reached(self, at_ns: int) -> bool:
        """See `Pace`; `reach` must have been awaited, so that each tick lets other tasks run."""
        return self._reached_ns >= at_ns

    async def reach(self, at_ns: int) -> None:
        """See `Pace`."""
        if self.elapsed_ns() < at_ns:
            await self._timer.wait_until(self._start_ns + at_ns)
        else:
            await anyio.lowlevel.checkpoint()
        if self.elapsed_ns() >= at_ns:
            self._reached_ns = at_ns

    async def settle(self, run: NodeRun | None = None) -> None:
        """See `Pace`: as long as rounds of the event loop take it further, it is not waiting.

        Tasks of one round run in any order, so that only the second round without news says something.
        """
        if run is None:
            return
        seen, quiet = run.resumed, 0
        while run.busy and quiet < 2:
            await anyio.lowlevel.checkpoint()
            quiet = quiet + 1 if run.resumed == seen else 0
            seen = run.resumed

    async def until_idle(self, run: NodeRun) -> None:
        """See `Pace`."""
        if run.busy:
            await self._timer.wait_until(self._monotonic_ns() + _FOREVER_NS)

    def wake(self) -> None:
        """See `Pace`."""
        self._timer.wake()

    def let_go(self) -> None:
        """Nobody waits for a turn here."""

    def close(self) -> None:
        """See `Pace`."""
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
        self._token.run_sync_soon(self._set)

    def _set(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """Nothing is held."""
