"""Which time a piece of work runs in: the machine's, its trio run's, or that of a trio run of its own."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING

from horus_async.clock.trio_testing import movable_clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .pace import Pace

    Work = Callable[[Pace], Awaitable[None]]


async def in_real_time(work: Work, *, after: Pace | None = None) -> None:
    """Await ``work(pace)`` in real time; the run's time goes on from ``after``, if it began there."""
    from .real import RealPace

    with closing(RealPace(after=after)) as pace:
        await work(pace)


async def in_virtual_time(
    work: Work, *, speed: float = math.inf, offset_ns: int = 0, on_cancel: Callable[[], None]
) -> None:
    """Await ``work(pace)`` in virtual time: here if the trio run's clock can be moved, else in a trio run of its own.

    Args:
        work: What is to be done.
        speed: Virtual seconds per second of wall time; ``inf`` for as fast as possible.
        offset_ns: Where the run's time stands already.
        on_cancel: Ends the work, when it is cancelled where it cannot see that.
    """
    from horus_async.clock.virtual import VirtualClock

    from .virtual import VirtualPace

    clock = movable_clock()
    if clock is None:
        from .nested import run_in_thread

        async def work_there() -> None:
            await in_virtual_time(work, speed=speed, offset_ns=offset_ns, on_cancel=on_cancel)

        await run_in_thread(work_there, on_cancel=on_cancel)
        return
    alone = False
    if isinstance(clock, VirtualClock):
        alone, clock.alone = clock.alone, False  # a node may run a scheduler of its own
    with closing(VirtualPace(clock, alone=alone, speed=speed, offset_ns=offset_ns)) as pace:
        await work(pace)
