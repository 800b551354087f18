"""Starting an event loop for a run of nodes that has it to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def run_loop(function: Callable[..., Awaitable[None]], *args: Any, virtual: bool) -> None:
    """``trio.run(function, *args)``, for a run of nodes that has the loop for itself."""
    if not virtual:
        trio.run(function, *args)
        return
    from horus_async.clock.trio_order import tasks_in_order
    from horus_async.clock.virtual import VirtualClock

    with tasks_in_order():
        trio.run(function, *args, clock=VirtualClock(alone=True))
