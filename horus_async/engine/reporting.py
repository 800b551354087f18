"""Telling of a node's exceptions: the run, which keeps them as evidence, and then the node's own ``on_error``."""

from __future__ import annotations

import dis
import inspect
import logging
from types import CodeType
from typing import TYPE_CHECKING, Any

import trio

from horus_async.clock.system import is_time_sleep
from horus_async.nodes.user_frames import begin_with_the_users
from horus_async.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator
    from types import TracebackType

    Callback = Callable[[], Any]
    OnError = Callable[[Exception], Any]
    Report = Callable[[Exception], None]

_log = logging.getLogger("horus_async")


def describe(error: BaseException) -> str:
    """``Type: message``, also of an exception whose own ``__str__`` fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as broken:  # noqa: BLE001 - the evidence must not be lost over it
        return f"{type(error).__name__}: (its message cannot be shown: {type(broken).__name__})"


def name_of(function: Any) -> str:
    """What a function is called, for people."""
    while hasattr(function, "func"):  # a partial
        function = function.func
    return getattr(function, "__qualname__", None) or repr(function)


def note_undeclared(node: str, topic: str, declared: Collection[str]) -> None:
    """Log that a node sends on a topic which it does not declare, although it declares others."""
    if declared:
        pubs = ", ".join(declared)
        meant = did_you_mean(topic, declared)
        text = "node %r sends on %r, which is not among its pubs (%s)%s"
        _log.warning(text, node, topic, pubs, meant, extra={"node": node})


def hint(error: BaseException, *, virtual: bool) -> str | None:
    """What to do about an exception whose own text does not say it; None for most."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for one in error.exceptions if (found := hint(one, virtual=virtual)) is not None), None)
    if not isinstance(error, (TypeError, RuntimeError, AttributeError)):
        return None
    text = str(error)
    if "'coroutine' object" in text:
        return "a coroutine was used like the value that it would give: write 'await' before the call that made it"
    foreign = "unrecognized yield message" in text or any(map(_is_asyncio, _modules(error.__traceback__)))
    if not (foreign or "no running event loop" in text) or not (virtual or trio.lowlevel.in_trio_run()):
        return None
    if virtual:
        return (
            "virtual time (deterministic=True, or a replay) runs under trio, also inside asyncio.run(): for an asyncio "
            "library run in real time, with 'horus-async run --asyncio' or asyncio.run(scheduler.run()), and replay "
            "what its node sent; or use a library for trio or anyio, or trio-asyncio"
        )
    return (
        "this run is under trio: for an asyncio library start it with 'horus-async run --asyncio' or "
        "asyncio.run(scheduler.run()), or use a library for trio or anyio, or trio-asyncio"
    )


def advice_on_blocking(callback: Callback | None) -> str:
    """What to do about a callback that holds up the event loop, with the line where that is plain to see."""
    code = code_of(callback)
    names = getattr(getattr(callback, "func", callback), "__globals__", {})
    for name in [name for name, value in names.items() if is_time_sleep(value)]:
        line = None if code is None else line_of(code, name)
        if code is not None and line is not None:
            return f"time.sleep() at {code.co_filename}:{line} stops every node; write 'await horus_async.sleep(...)'"
    return "let it await in between, or give it compute=True, and a thread of its own"


def code_of(callback: Any) -> CodeType | None:
    """The code of a callback, as far as it is a function of Python."""
    function = inspect.unwrap(getattr(callback, "func", callback))
    return getattr(getattr(function, "__func__", function), "__code__", None)


def line_of(code: CodeType, name: str) -> int | None:
    """The first line of a function, or of those inside it, that mentions a name."""
    for instruction in dis.get_instructions(code):
        if instruction.argval == name and instruction.positions is not None:
            return instruction.positions.lineno
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return next((line for one in inner if (line := line_of(one, name)) is not None), None)


def _modules(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next


def _is_asyncio(module: str) -> bool:
    return module.partition(".")[0] == "asyncio"


def telling(callback: Callback, on_error: OnError, report: Report) -> Callback:
    """The callback, such that what it raises goes to ``report``, then to ``on_error``, and on.

    ``on_error`` is a part of the callback that failed, so that what it does happens in the order of the nodes, in
    every mode; and it is told last, so that whatever it does, the failure is on record.
    """

    def called() -> Any:
        try:
            result = callback()
        except Exception as error:
            report(error)
            told = tell(on_error, error)
            if told is None:
                raise
            return _raised_after(told, error)
        return _awaited(result, on_error, report) if inspect.isawaitable(result) else result

    return called


async def _awaited(result: Awaitable[Any], on_error: OnError, report: Report) -> None:
    try:
        await result
    except Exception as error:
        report(error)
        told = tell(on_error, error)
        if told is not None:
            await finished(told)
        raise


async def _raised_after(told: Awaitable[Any], error: Exception) -> None:
    await finished(told)
    raise error


def tell(on_error: OnError, error: Exception) -> Awaitable[Any] | None:
    """Call ``on_error``; gives what is to be awaited with `finished`, if anything."""
    try:
        result = on_error(error)
    except Exception as failed:  # noqa: BLE001 - it is told of a failure and cannot make it worse
        _say_failed(failed)
        return None
    return result if inspect.isawaitable(result) else None


async def finished(told: Awaitable[Any]) -> None:
    """Await what an asynchronous ``on_error`` does."""
    try:
        await told
    except Exception as failed:  # noqa: BLE001 - as above
        _say_failed(failed)


def _say_failed(failed: Exception) -> None:
    begin_with_the_users(failed)
    _log.error("on_error failed", exc_info=failed)
