"""Running a coroutine inside a task by hand: cheap while it does not suspend, whole once it does.

A tick that never waits for anything is started and finished with one ``send(None)``: no task, no switch. When it does
wait, what it yields is meant for the event loop of the task it was started in (trio's traps and asyncio's futures
both are), so that task stays with it, as its carrier, and hands on what comes. This uses the coroutine protocol of
the language and nothing else, and so works under every event loop.
"""

from __future__ import annotations

import dis
import functools
import types
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator


_WAITING = frozenset({"GET_AWAITABLE", "GET_ANEXT", "BEFORE_ASYNC_WITH", "YIELD_VALUE", "YIELD_FROM", "SEND"})
"""The instructions of the language with which a coroutine can suspend."""


@functools.cache
def _waits(code: types.CodeType) -> bool:
    return any(instruction.opname in _WAITING for instruction in dis.get_instructions(code))


def may_suspend(coroutine: Any) -> bool:
    """Whether a coroutine that has not begun could suspend: whether its code awaits anything at all."""
    code = getattr(coroutine, "cr_code", None)
    return code is None or _waits(code)


class Suspended(Protocol):
    """Keeps what a suspended coroutine waits for."""

    trap: Any


@types.coroutine
def carry(
    coroutine: Coroutine[Any, Any, Any], trap: Any, turn: Callable[[], Awaitable[None]] | None, keeper: Suspended
) -> Generator[Any, Any, None]:
    """Run the rest of a coroutine that has suspended with ``trap``.

    Args:
        coroutine: It was started, by ``send(None)``, in the task that awaits this.
        trap: What it yielded.
        turn: Awaited each time before the coroutine goes on: where one thing runs at a time, its turn has come.
        keeper: Is given what the coroutine waits for, each time.
    """
    while True:
        keeper.trap = trap
        error: BaseException | None = None
        value = None
        try:
            value = yield trap
        except BaseException as thrown:  # noqa: BLE001 - it is thrown into the coroutine, whose it is
            error = thrown
        if turn is not None and not isinstance(error, GeneratorExit):
            yield from turn().__await__()
        try:
            trap = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration:
            return


def waits_for_thread(trap: Any) -> bool:
    """Whether what a coroutine waits for is a thread that trio will not abandon, cancelled or not."""
    cell = _abandoning(trap)
    return cell is not None and cell.cell_contents is False


def abandon_thread(trap: Any) -> None:
    """Let trio abandon the thread that a coroutine waits for when that is cancelled next.

    As if ``abandon_on_cancel=True`` had been passed. Where a version of trio keeps that elsewhere, nothing changes.
    """
    cell = _abandoning(trap)
    if cell is not None:
        cell.cell_contents = True


def _abandoning(trap: Any) -> Any:
    abort = getattr(trap, "abort_func", None)
    code, cells = getattr(abort, "__code__", None), getattr(abort, "__closure__", None)
    if code is None or not cells or not code.co_filename.endswith("_threads.py"):
        return None
    return dict(zip(code.co_freevars, cells, strict=True)).get("abandon_bool")
