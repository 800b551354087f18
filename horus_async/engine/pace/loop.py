"""Starting an event loop for a run of nodes that has it to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run_loop(
    function: Callable[..., Coroutine[Any, Any, None]], *args: Any, virtual: bool, in_asyncio: bool = False
) -> None:
    """``trio.run(function, *args)``, for a run of nodes that has the loop for itself.

    Args:
        function: What runs in it.
        args: Its arguments.
        virtual: Time is, and so the loop is trio's.
        in_asyncio: The loop is asyncio's, for a run in real time.
    """
    if virtual:
        from horus_async.clock.trio_order import tasks_in_order
        from horus_async.clock.virtual import VirtualClock

        with tasks_in_order():
            trio.run(function, *args, clock=VirtualClock(alone=True))
    elif in_asyncio:
        import asyncio

        asyncio.run(function(*args))
    else:
        trio.run(function, *args)
