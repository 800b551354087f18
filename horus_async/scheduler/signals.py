"""Ctrl-C, SIGTERM and SIGHUP: the first ends every run of the process in order, a second Ctrl-C at once.

Only the main thread may set handlers. A run there sets them; for runs in other threads `prepare` sets those of SIGTERM
and SIGHUP when a scheduler is made, and they do what happens without them while no run goes on. That of SIGINT is left
to the event loops, which set their own only where nobody has: if no run is in the main thread, Ctrl-C is an ordinary
`KeyboardInterrupt` there, and when it ends the program, it ends the runs.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async.clock.event_loop import event_loop
from horus_async.topics.wake.wakeup import current_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import FrameType, TracebackType

    from horus_async.clock.event_loop import Event

_AT_EXIT = 10.0
"""Seconds that the exit of the program waits for runs in daemon threads: longer than they take by themselves."""


class Interrupted(SystemExit, KeyboardInterrupt):
    """A run was ended by a signal, everything was shut down, and the process exits with 128 + its number.

    It is a `KeyboardInterrupt` too, so that a program that catches Ctrl-C still does.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


@define(eq=False)
class _Watched:
    """A run that signals end."""

    stop: Callable[[str], None]
    loop: Any = field(factory=lambda: current_loop()[0])
    thread: threading.Thread = field(factory=threading.current_thread)
    process: int = field(factory=os.getpid)
    signum: int = 0
    """Of the first signal that came."""
    over: Event = field(factory=lambda: event_loop().event())
    ended: threading.Event = field(factory=threading.Event)


_watched: list[_Watched] = []
"""The runs of this process that go on, and of the one that it was forked from."""
_received: list[int] = []
"""The signals that came while these went on."""
_before: dict[int, Any] = {}
"""Who handled a signal before."""
_prepared: set[int] = set()
"""Those that are ours also while no run goes on."""


def prepare() -> None:
    """Make ready for runs in other threads than the main one; called when a scheduler is made."""
    if threading.current_thread() is threading.main_thread():
        _prepared.update(_set_handlers(signal.SIGTERM, signal.SIGHUP))


@asynccontextmanager
async def stopped_by_signals(stop: Callable[[str], None]) -> AsyncIterator[None]:
    """Call ``stop("signal SIGTERM")`` when such a signal comes, and raise `Interrupted` in the end.

    Leaves handlers alone that the program has set itself.
    """
    watched = _Watched(stop)
    in_main = watched.thread is threading.main_thread()
    if in_main:
        _set_handlers(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    else:
        _hook_exceptions()
        _end_at_exit()
    _watched.append(watched)
    try:
        yield
    finally:
        _watched.remove(watched)
        watched.over.set()
        watched.ended.set()
        if not _watched:
            _received.clear()
            if in_main:
                _restore_handlers()
    if watched.signum:
        await _others_in_loop(watched)
        if watched.signum == signal.SIGINT and in_main and hasattr(sys, "ps1"):
            raise KeyboardInterrupt  # at a prompt, which is not to end
        _hook_exceptions()  # a nursery makes a group of it
        _quieten(watched.loop)
        raise Interrupted(watched.signum)


async def _others_in_loop(watched: _Watched) -> None:
    """Wait for the other runs of this event loop to end, as asyncio would end with the first."""
    for other in tuple(_watched):
        if other.loop is watched.loop and other.signum:
            await other.over.wait()


# The handlers


def _set_handlers(*signals: int) -> set[int]:
    """Set ours where there is none; gives those for which it did."""
    done = set()
    for signum in signals:
        handler = signal.getsignal(signum)
        if _is_default(handler):
            _before[signum] = handler
            signal.signal(signum, _handle)
            done.add(signum)
    return done


def _restore_handlers() -> None:
    for signum in _before.keys() - _prepared:
        before = _before.pop(signum)
        if signal.getsignal(signum) is _handle:
            signal.signal(signum, before)


def _handle(signum: int, frame: FrameType | None) -> None:
    here = [watched for watched in _watched if watched.process == os.getpid()]
    if not here:
        _as_before(signum, frame)
        return
    _received.append(signum)
    in_main = any(watched.thread is threading.main_thread() for watched in here)
    if len(_received) > 1 and signum == signal.SIGINT and in_main:
        nested = sys.modules.get("horus_async.engine.pace.nested")
        if len(_received) > 2 or nested is None or not nested.interrupt():
            raise KeyboardInterrupt
    for watched in here:
        watched.signum = watched.signum or signum
        watched.stop(f"signal {signal.Signals(signum).name}")
    if not in_main and not _in_loop():
        raise Interrupted(signum)  # the program itself ends as well; its exit waits for the threads


def _as_before(signum: int, frame: FrameType | None) -> None:
    """No run goes on: what happens without us."""
    handler = _before.get(signum, signal.SIG_DFL)
    if callable(handler):
        handler(signum, frame)
        return
    signal.signal(signum, handler)
    signal.raise_signal(signum)


def _is_default(handler: Any) -> bool:
    """Whether Python or the event loop set it, not the program."""
    if handler in (signal.SIG_DFL, signal.default_int_handler):
        return True
    module = getattr(getattr(handler, "func", handler), "__module__", "") or ""
    return module.startswith(("trio.", "asyncio.", "anyio."))


def _in_loop() -> bool:
    """Whether the main thread is in an event loop, which an exception at any point might break."""
    trio, asyncio = sys.modules.get("trio"), sys.modules.get("asyncio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return True
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - get_running_loop raises


# The end of the program


def _hook_exceptions() -> None:
    """Let the program end with the right code where an exception of ours, or Ctrl-C, ends it."""
    if sys.excepthook is not _excepthook:
        _hooked.append(sys.excepthook)
        sys.excepthook = _excepthook
    if threading.excepthook is not _thread_excepthook:
        _thread_hooked.append(threading.excepthook)
        threading.excepthook = _thread_excepthook


_hooked: list[Any] = []
"""Those that were there before."""
_thread_hooked: list[Any] = []
"""Of threads."""


def _thread_excepthook(arguments: threading.ExceptHookArgs) -> None:
    if not _is_interruption(arguments.exc_value):  # it has ended what it was to end
        _thread_hooked[-1](arguments)


def _quieten(loop: Any) -> None:
    """Asyncio is not to log `Interrupted` as the exception of a task that nobody awaits any more."""
    if not hasattr(loop, "set_exception_handler"):
        return
    before = loop.get_exception_handler()

    def handle(loop: Any, context: dict[str, Any]) -> None:
        if _is_interruption(context.get("exception")):
            return
        if before is None:
            loop.default_exception_handler(context)
        else:
            before(loop, context)

    loop.set_exception_handler(handle)


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    here = [watched for watched in _watched if watched.process == os.getpid()]
    if isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted) and here:
        for watched in here:
            watched.signum = watched.signum or signal.SIGINT
            watched.stop("signal SIGINT")
        if not hasattr(sys, "ps1"):
            raise SystemExit(128 + signal.SIGINT)
    if _is_interruption(error):
        raise SystemExit(next(_leaves(error)).code)  # type: ignore[attr-defined]
    _hooked[-1](kind, error, traceback)


def _is_interruption(error: BaseException | None) -> bool:
    return error is not None and all(isinstance(leaf, Interrupted) for leaf in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


@functools.cache
def _end_at_exit() -> None:
    atexit.register(_end_runs)


def _end_runs() -> None:
    """The program ends: end the runs in daemon threads, which nobody waits for."""
    for watched in [watched for watched in _watched if watched.process == os.getpid()]:
        watched.stop("stop")
        watched.ended.wait(_AT_EXIT)
