"""The loop one would write without a scheduler: ``trio.sleep_until`` from one deadline to the next."""

from __future__ import annotations

import trio

from horus_async.clock.system import monotonic_ns

from .sampling import RATE, lateness_us


def lateness(scale: float) -> list[float]:
    """A 1 kHz loop that does nothing."""
    return lateness_for(2 * scale)


def lateness_for(seconds: float) -> list[float]:
    """The same for so many seconds."""
    starts: list[tuple[int, int]] = []

    async def loop() -> None:
        origin = trio.current_time() + 0.01
        for tick in range(round(seconds * RATE)):
            await trio.sleep_until(origin + tick / RATE)
            starts.append((tick, monotonic_ns()))

    trio.run(loop)
    return lateness_us(starts)
