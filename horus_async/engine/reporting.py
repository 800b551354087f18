"""Telling of a node's exceptions: the run, which keeps them as evidence, and then the node's own ``on_error``."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
            told = _tell(on_error, error)
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
        told = _tell(on_error, error)
        if told is not None:
            await _finished(told)
        raise


async def _raised_after(told: Awaitable[Any], error: Exception) -> None:
    await _finished(told)
    raise error


def _tell(on_error: OnError, error: Exception) -> Awaitable[Any] | None:
    try:
        result = on_error(error)
    except Exception:  # noqa: BLE001 - it is told of a failure and cannot make it worse
        _log.exception("on_error failed")
        return None
    return result if inspect.isawaitable(result) else None


async def _finished(told: Awaitable[Any]) -> None:
    try:
        await told
    except Exception:  # noqa: BLE001 - as above
        _log.exception("on_error failed")
