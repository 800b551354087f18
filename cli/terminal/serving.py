"""Commands that serve until Ctrl-C, in an event loop of their own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, TypeVar

from horus_async.errors import HorusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

Result = TypeVar("Result")

EXIT_ON_SIGNAL = 128
"""To which the number of a signal is added for an exit code."""


def until_signal(serve: Callable[[trio.Event], Awaitable[Result]]) -> tuple[int | None, Result | None]:
    """Serve until a signal arrives; its number, and the result. A second one cuts it short, and leaves no result.

    Args:
        serve: Serves until an event is set, or ends by itself.
    """
    import trio

    async def wait_for_signal(
        stop: trio.Event, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(*_ending_signals()) as signals:
            task_status.started()
            async for number in signals:
                if received:
                    scope.cancel()
                received.append(number)
                stop.set()

    async def main() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(wait_for_signal, stop, nursery.cancel_scope)
            results.append(await serve(stop))
            nursery.cancel_scope.cancel()

    received: list[int] = []
    results: list[Result] = []
    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise _first_of_ours(group) from None
    return received[0] if received else None, results[0] if results else None


def _ending_signals() -> list[signal.Signals]:
    """Ctrl-C, SIGTERM, and SIGHUP of a closed terminal, unless ``nohup`` has the server outlive it."""
    hangs_up = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


def _first_of_ours(group: BaseExceptionGroup) -> BaseException:
    """The error that ended the server, out of the groups that trio wraps it in."""
    ours = group.subgroup(HorusError)
    found: BaseException = ours if ours is not None else group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
