"""What holds up an event loop: the callback, or other code of the program, that a thread is in, by its frames."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_CALLERS = {
    ("horus_async.engine.calling", "_call"),
    ("horus_async.engine.runtime", "_go_on"),
    ("horus_async.engine.planning", "_tick_pass"),
    ("horus_async.engine.coroutines", "carry"),
    ("horus_async.engine.coroutines", "start_and_carry"),
    ("horus_async.engine.work", "_carry_work"),
}
"""Functions out of which code of a node is called."""
_WRAPPERS = {("horus_async.engine.reporting", "called"), ("horus_async.engine.reporting", "_awaited")} | {
    ("horus_async.engine.reporting", "_raised_after"),
    ("horus_async.engine.calling", "_awaited"),
}
"""Functions of the engine that stand between those and the node's."""
_RUN = ("horus_async.scheduler.running", "run")
"""What awaits the whole run: what it calls is the engine's, but for what is called out of `_CALLERS`."""
_LOOPS = {("trio._core._run", "unrolled_run"), ("asyncio.events", "_run")}
"""Functions out of which an event loop goes on with a task."""
_LIBRARIES = {"horus_async", "trio", "asyncio", "anyio", "outcome", "sniffio", "attr"}
_DELICATE = {("horus_async.scheduler.unawaited", "_collection"), ("threading", "start")}
"""What the garbage collector calls in the middle of anything; and the start of a thread, in which Python takes the new
thread for the one that starts it."""
_STANDARD = os.path.dirname(os.__file__)  # noqa: PTH120 - looked up on the way out of a signal handler
_OUTWARD = 4
"""In so many frames from the caller on there is the variable that holds what is called."""


@frozen
class Held:
    """Code that a thread is in and that keeps its event loop from going on."""

    text: str
    """Such as ``tick of node 'arm', at arm.py:12 in drive``."""
    node: str | None
    began_ns: int
    """When the callback began, on the system's finest clock; 0 where that is not known."""
    called: int = 0
    """Which callback it is, together with when it began."""
    delicate: bool = False
    """Nothing may be raised there now: inside `logging` its locks would stay held, what is raised in a ``__del__`` or
    for the garbage collector is lost, and a thread that is being started might get it, for which its maker waits."""

    @property
    def key(self) -> tuple[int, int]:
        """Tells callbacks apart."""
        return self.called, self.began_ns


def held_up(frame: FrameType | None) -> Held | None:
    """The code of a node, or else of the program, that ``frame`` belongs to; None while the event loop or we are at it.

    An exception may be raised at that point: it comes out of a callback, or of a task of the program's own.
    """
    innermost, inner, delicate = frame, None, False
    while frame is not None:
        place = _place(frame)
        if place in _CALLERS:
            in_engine = inner is None or _module(inner).startswith("horus_async.engine.")
            if inner is None or (in_engine and _place(inner) not in _WRAPPERS):
                return None
            return _of_callback(frame, _where(innermost), delicate=delicate)
        if place == _RUN or (place in _LOOPS and (inner is None or _package(inner) in _LIBRARIES)):
            return None
        if place in _LOOPS:
            break
        delicate = delicate or place in _DELICATE or place[0] == "logging" or place[1] == "__del__"
        inner, frame = frame, frame.f_back
    return None if frame is None else Held(f"the program's own code, {_where(innermost)}", None, 0, delicate=delicate)


def _of_callback(caller: FrameType, where: str, *, delicate: bool) -> Held | None:
    for called in _locals(caller):
        if hasattr(called, "callbacks"):  # a NodeRun
            kind = "enter_safe_state" if called.kind == "safe_state" else called.kind
            return Held(
                f"{kind} of node {called.name!r}, {where}", called.name, called.started_ns, id(called), delicate
            )
        if hasattr(called, "carrier"):  # a Work
            text = f"background task {called.name} of node {called.run.name!r}, {where}"
            return Held(text, called.run.name, 0, id(called), delicate)
    return None


def _locals(frame: FrameType | None) -> Iterator[Any]:
    for _ in range(_OUTWARD):
        if frame is None:
            return
        variables = frame.f_locals
        if "row" in variables:  # of the native core, which knows whom it has called; nobody else calls out of there
            yield getattr(variables["row"], "running", None)
            return
        yield from (variables[name] for name in ("run", "job", "work") if name in variables)
        frame = frame.f_back


def _where(frame: FrameType | None) -> str:
    """The innermost line that is the program's own, or a library's that it uses."""
    first = frame
    while frame is not None:
        if _package(frame) not in _LIBRARIES and os.path.dirname(frame.f_code.co_filename) != _STANDARD:  # noqa: PTH120
            break
        frame = frame.f_back
    frame = frame or first
    return "" if frame is None else f"at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def frame_of(thread: int | None) -> FrameType | None:
    """Where a thread is now; None when it has ended."""
    return None if thread is None else sys._current_frames().get(thread)  # noqa: SLF001 - the documented way


def raise_in(thread: int, key: tuple[int, int]) -> bool:
    """Raise `KeyboardInterrupt` in a thread other than the main one, as soon as it comes back from what blocks it.

    Returns:
        False if it is not in that callback any more, or where nothing may be raised, and so nothing was.
    """
    import ctypes

    number, exception = ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt)
    held = held_up(frame_of(thread))  # looked at last, so that the thread has no time to get anywhere else
    if held is None or held.delicate or held.key != key:
        return False
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, exception)
    return True


def _place(frame: FrameType) -> tuple[str, str]:
    return _module(frame), frame.f_code.co_name


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _package(frame: FrameType) -> str:
    return _module(frame).partition(".")[0]
