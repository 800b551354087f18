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
from typing import TYPE_CHECKING, Any

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from contextvars import Context

    from .pace.pace import Turn


_WAITING = frozenset({"GET_AWAITABLE", "GET_ANEXT", "BEFORE_ASYNC_WITH", "YIELD_VALUE", "YIELD_FROM", "SEND"})
"""The instructions of the language with which a coroutine can suspend."""


_TAKES_TOKEN = trio.CapacityLimiter.acquire_on_behalf_of.__name__
"""The function of trio in which a task waits, once it has a token for a thread, and before that is called."""

ENDED = object()
"""Stands for what a coroutine that has ended does not yield any more."""


@functools.cache
def _waits(code: types.CodeType) -> bool:
    return any(instruction.opname in _WAITING for instruction in dis.get_instructions(code))


def may_suspend(coroutine: Any) -> bool:
    """Whether a coroutine that has not begun could suspend: whether its code awaits anything at all."""
    code = getattr(coroutine, "cr_code", None)
    return code is None or _waits(code)


@types.coroutine
def carry(
    coroutine: Any,
    trap: Any,
    turn: Turn | None,
    carrier: Carrier,
    variables: Context,
) -> Generator[Any, Any, None]:
    """Run the rest of a coroutine that has suspended with ``trap``.

    Args:
        coroutine: It was started, by ``send(None)``, in the task that awaits this.
        trap: What it yielded.
        turn: Awaited each time before the coroutine goes on: where one thing runs at a time, its turn has come.
        carrier: Is given what the coroutine waits for, each time.
        variables: The context variables that it sees and sets.
    """
    into_thread = functools.partial(_goes_into_thread, coroutine)
    while True:
        carrier.trap = trap
        error: BaseException | None = None
        value = None
        try:
            value = yield trap
        except BaseException as thrown:  # noqa: BLE001 - it is thrown into the coroutine, whose it is
            error = thrown
        if turn is not None and not isinstance(error, GeneratorExit):
            carrier.thrown = value.error if type(value) is outcome.Error else error  # trio hands on what it raises
            try:
                yield from turn(into_thread).__await__()
            except BaseException as thrown:  # noqa: BLE001 - its turn was that it is cancelled
                error = thrown
            carrier.thrown = None
        try:
            trap = variables.run(coroutine.send, value) if error is None else variables.run(coroutine.throw, error)
        except StopIteration:
            return


async def start_and_carry(coroutine: Awaitable[Any], turn: Turn | None, carrier: Carrier, variables: Context) -> None:
    """Run a coroutine from its start to its end; see `carry`."""
    trap = variables.run(next, coroutine.__await__(), ENDED)
    if trap is not ENDED:
        await carry(coroutine, trap, turn, carrier, variables)


def _goes_into_thread(coroutine: Any) -> bool:
    """Whether a coroutine that has suspended is about to call a function in a worker thread, and has its token.

    True also where that cannot be seen: where it waits for an object that hides what that waits for.
    """
    while (inner := getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)) is not None:
        coroutine = inner
        code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
        if code is not None and code.co_name == _TAKES_TOKEN:
            return True
    return not isinstance(coroutine, (types.CoroutineType, types.GeneratorType))


class Carrier:
    """The task that carries a coroutine. Made in that task, inside of the scope that cancels it."""

    __slots__ = ("_outermost", "_task", "busy", "thrown", "trap")

    def __init__(self) -> None:
        self.busy = True
        """It has not ended."""
        self.trap: Any = None
        """What the coroutine yielded last."""
        self.thrown: BaseException | None = None
        """While it waits for its turn: with what it will go on, if that is an exception."""
        in_trio = trio.lowlevel.in_trio_run()
        self._task: Any = trio.lowlevel.current_task() if in_trio else asyncio_task()
        self._outermost = getattr(self._task, "_cancel_status", None)

    @property
    def waits_for_thread(self) -> bool:
        """Whether it waits for a thread that trio will not abandon, cancelled or not."""
        cell = _abandoning(getattr(self.trap, "abort_func", None))
        return cell is not None and cell.cell_contents is False

    def waits_for_nobody(self) -> None:
        """So it may."""

    def force(self, cancellation: BaseException | None) -> None:
        """Let its cancellation through, which has been asked for: past shields and past threads that it waits for.

        Trio's tasks are reached by names that are not public; where a version of trio has others, nothing happens.

        Args:
            cancellation: For what does not hear of its own any more: see `a_cancellation`.
        """
        if not self.busy:
            return
        if hasattr(self._task, "child_nurseries"):
            self._force(self._task, self.trap, cancellation)
        elif self._task is not None:
            self._task.cancel()  # asyncio's own kind heeds no shield

    def _force(self, task: Any, trap: Any, cancellation: BaseException | None) -> None:
        status = getattr(task, "_cancel_status", None)
        while status is not None and status is not self._outermost:
            scope = getattr(status, "_scope", None)
            if scope is not None and scope.shield:
                scope.shield = False
            status = getattr(status, "_parent", None)
        abort = getattr(trap, "abort_func", None)
        cell = _abandoning(abort)
        goes_on = getattr(task, "_next_send_fn", None) is not None
        if abort is not None and cell is not None and cancellation is not None and not goes_on:
            cell.cell_contents = True  # as if abandon_on_cancel=True had been passed
            if abort(_nothing) is trio.lowlevel.Abort.SUCCEEDED:
                trio.lowlevel.reschedule(task, outcome.Error(cancellation))
        for nursery in task.child_nurseries:
            for child in tuple(nursery.child_tasks):
                self._force(child, _trap_of(child), cancellation)


async def a_cancellation() -> BaseException | None:
    """An exception with which trio cancels a task; None in other event loops."""
    if not trio.lowlevel.in_trio_run():
        return None
    found = None
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            found = cancelled
            raise
    return found


def _trap_of(task: trio.lowlevel.Task) -> Any:
    """What a task has yielded to trio."""
    coroutine: Any = task.coro
    while (inner := _awaits(coroutine)) is not None:
        coroutine = inner
    frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
    return None if frame is None else frame.f_locals.get("obj")


def _awaits(coroutine: Any) -> Any:
    return getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _nothing() -> None:
    """Nobody asks for it."""


def asyncio_task() -> Any:
    """The current task of asyncio."""
    import asyncio

    return asyncio.current_task()


def _abandoning(abort: Any) -> Any:
    """Where trio keeps whether the thread that a task waits for may be abandoned; None where it waits for none."""
    code, cells = getattr(abort, "__code__", None), getattr(abort, "__closure__", None)
    if code is None or not cells or not code.co_filename.endswith("_threads.py"):
        return None
    return dict(zip(code.co_freevars, cells, strict=True)).get("abandon_bool")
