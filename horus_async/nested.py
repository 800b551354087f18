"""Virtual time under an event loop whose time is real: a trio run of our own, in a worker thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import trio

from .clock.virtual import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def run_in_virtual_time(
    work: Callable[[VirtualClock], Awaitable[None]], *, on_cancel: Callable[[], None]
) -> None:
    """Await ``work(clock)`` in a trio run whose clock is ``clock``, and raise what it raises.

    ``on_cancel`` is called, in the thread of the outer loop, when that one is cancelled: it has to end the work.
    """
    clock = VirtualClock()
    failure: BaseException | None = None

    async def inner() -> None:
        await work(clock)

    def in_thread() -> None:
        nonlocal failure
        try:
            trio.run(inner, clock=clock)
        except BaseException as error:  # noqa: BLE001 - raised again in the outer loop
            failure = error

    ended = False

    async def watch_for_cancel() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if not ended:
                on_cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch_for_cancel)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(in_thread)
        ended = True
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
