"""Ctrl-C, SIGTERM and SIGHUP: the first ends every run of the process in order, a second Ctrl-C without waiting.

Code that holds up the event loop is broken off by a second Ctrl-C, and after ``grace`` without one: by an exception of
ours, raised out of the handler, which comes out of a callback like any other failure. A second Ctrl-C while nothing
holds it up leaves behind what has not ended (`Ending.hurry`); the third may come out of the event loop itself.

Only the main thread may set handlers. A run there sets them; for runs in other threads `prepare` sets those of SIGTERM
and SIGHUP when a scheduler is made, and they do what happens without them while no run goes on. That of SIGINT is left
to the event loops, which set their own only where nobody has: if no run is in the main thread, Ctrl-C is an ordinary
`KeyboardInterrupt` there, and when it ends the program, it ends the runs.
"""

from __future__ import annotations

import _thread
import atexit
import functools
import logging
import os
import signal
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import NANOSECONDS, perf_ns
from horus_async.limits import disk
from horus_async.limits.threads import make_urgent
from horus_async.topics.wake.wakeup import current_loop

from .held_up import frame_of, held_up, raise_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import FrameType, TracebackType

    from horus_async.clock.event_loop import Event

    from .held_up import Held

_log = logging.getLogger("horus_async")
_TOLD_AFTER_NS = 500_000_000
"""After a signal, code that holds up the event loop for so long is named."""
_LINES = 1000
"""How long the end of a run waits for a signal of ours: Python handles one between two lines."""
_LOOK = 0.05
"""Seconds between two looks at what holds up the end of a run."""
_BROKEN_OFF_LATER = "is broken off as soon as the call that it waits in returns"
"""No handler can raise anything in a thread other than the main one."""
_AT_EXIT = 10.0
"""Seconds that the exit of the program waits for runs in daemon threads: longer than they take by themselves."""


class Interrupted(SystemExit, KeyboardInterrupt):
    """A run was ended by a signal, everything was shut down, and the process exits with 128 + its number.

    It is a `KeyboardInterrupt` too, so that a program that catches Ctrl-C still does.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.signum).name}"


@define(eq=False)
class _Watched:
    """A run that signals end."""

    stop: Callable[[str], None]
    hurry: Callable[[], None]
    grace: float
    """Seconds."""
    loop: Any = field(factory=lambda: current_loop()[0])
    thread: threading.Thread = field(factory=threading.current_thread)
    process: int = field(factory=os.getpid)
    signum: int = 0
    """Of the first signal that came."""
    hurried: bool = False
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
async def stopped_by_signals(
    stop: Callable[[str], None], hurry: Callable[[], None], grace: float
) -> AsyncIterator[None]:
    """Call ``stop("signal SIGTERM")`` when such a signal comes, and raise `Interrupted` in the end.

    Leaves handlers alone that the program has set itself.

    Args:
        stop: Ends the run.
        hurry: Has it wait for nothing any more. Called for a second Ctrl-C.
        grace: Seconds after which code that holds up the event loop is broken off.
    """
    if not _watched:
        disk.calm()
    watched = _Watched(stop, hurry, grace)
    in_main = watched.thread is threading.main_thread()
    if in_main:
        _set_handlers(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    else:
        _hook_exceptions()
        _end_at_exit()
    _watched.append(watched)
    try:
        yield
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if not watched.signum or not all(isinstance(leaf, KeyboardInterrupt) for leaf in _leaves(error)):
            raise  # else it is what a callback was broken off with, and the run has ended in order
    finally:
        _watched.remove(watched)
        watched.over.set()
        watched.ended.set()
        if not _watched:
            _received.clear()
            disk.calm()
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
    with _handlers_stay:  # nothing more comes from us; what has come is handled between two of these lines
        for _ in range(_LINES):
            if not _own:
                break
    for signum in _before.keys() - _prepared:
        before = _before.pop(signum)
        if signal.getsignal(signum) is _handle:
            signal.signal(signum, before)


def _handle(signum: int, frame: FrameType | None) -> None:
    here = _here()
    if _own and _own[-1][0] == signum:  # also if the run has ended meanwhile
        _, target = _own.pop()
        held = None if target is None else held_up(frame)
        if here and held is not None and not held.delicate and target == held.key:
            for watched in here:
                watched.hurry()
            raise Interrupted(here[0].signum or signum)
        if target is not None:
            _urgent.add(target)  # it got into something meanwhile: it is looked at again
        return
    if not here:
        _as_before(signum, frame)
        return
    _note(signum)
    in_main = any(watched.thread is threading.main_thread() for watched in here)
    for watched in here:
        watched.signum = watched.signum or signum
        watched.stop(f"signal {signal.Signals(signum).name}")
    if len(_received) == 1:
        _start_watching(signum, signal.Signals(signum).name)
    elif signum == signal.SIGINT and in_main:
        _hurry(here, frame)
    if not in_main and not _in_loop():
        raise Interrupted(signum)  # the program itself ends as well; its exit waits for the threads


def _note(signum: int) -> None:
    _received.append(signum)
    if len(_received) > 1:
        disk.hurry()


def _hurry(here: list[_Watched], frame: FrameType | None) -> None:
    """A second Ctrl-C, or a third."""
    is_second = not all(watched.hurried for watched in here)
    for watched in here:
        watched.hurried = True
        watched.hurry()
    held = held_up(frame)
    if held is not None and not held.delicate:
        _say(held, "is broken off")
        raise Interrupted(signal.SIGINT)
    if held is not None:
        _urgent.add(held.key)
    for thread in _threads_beside():
        held = held_up(frame_of(thread))
        if held is not None and raise_in(thread, held.key):
            _say(held, _BROKEN_OFF_LATER)
        elif held is not None:
            _urgent.add(held.key)
    if not is_second:
        raise KeyboardInterrupt  # whatever it breaks


def _here() -> list[_Watched]:
    return [watched for watched in _watched if watched.process == os.getpid()]


def _threads_beside() -> tuple[int, ...]:
    """Those in which virtual time passes beside the main thread."""
    nested = sys.modules.get("horus_async.engine.pace.nested")
    return () if nested is None else nested.threads()


# What holds up the end

_own: list[tuple[int, tuple[int, int] | None]] = []
"""A signal that we sent ourselves, and the callback that it is to break off; None for none."""
_urgent: set[tuple[int, int]] = set()
"""Callbacks that are to be broken off, and were where nothing may be raised."""
_handlers_stay = threading.Lock()
"""A signal of ours may not find the handlers gone."""


def end_held_up(loop_thread: int) -> None:
    """The watchdog has stopped a run whose event loop may not go on: break off what holds it up, as after a signal.

    From the watchdog's thread.
    """
    if not _received:  # otherwise somebody sees to it already
        _start_watching(signal.SIGTERM, "the watchdog's emergency stop", loop_thread)


def _start_watching(*arguments: Any) -> None:
    try:
        _thread.start_new_thread(_watch_over_ends, arguments)  # threading.Thread may not be started in a handler
    except (RuntimeError, MemoryError):
        _log.error("the system allows no thread that breaks off what holds up the end of the run: a second Ctrl-C does")


def _watch_over_ends(signum: int, name: str, only: int | None = None) -> None:
    """Name what holds up an event loop after a signal, and break it off after ``grace``. In a thread of its own.

    Args:
        signum: of the signal.
        name: what ended the runs.
        only: the thread of the event loop, if not all are to end.
    """
    make_urgent()
    since_ns = perf_ns()
    shown_ns = since_ns
    told: set[tuple[int, int]] = set()
    broken: dict[tuple[int, int], int] = {}
    while here := [watched for watched in _here() if only in (None, watched.thread.ident)]:
        here[0].ended.wait(_LOOK)
        grace = max(watched.grace for watched in here)
        if any(watched.hurried for watched in here):
            grace = min(grace, _TOLD_AFTER_NS / NANOSECONDS)
        for thread in {watched.thread.ident for watched in here}.union(_threads_beside() if only is None else ()):
            held = held_up(frame_of(thread))
            if held is None or thread is None or held.delicate:
                continue
            held_ns = perf_ns() - max(since_ns, held.began_ns, broken.get(held.key, 0))
            late = held_ns >= grace * NANOSECONDS
            if late or held.key in _urgent:
                why = f"has not ended within {grace:g} s after {name} and " if late else ""
                if thread == threading.main_thread().ident:
                    _say(held, f"{why}is broken off")  # first, as it may end the program
                    _signal_main(signum, held.key)
                elif held.key in broken or not _break_off_beside(thread, held):
                    continue
                else:
                    _say(held, f"{why}{_BROKEN_OFF_LATER}")
                _urgent.discard(held.key)
                broken[held.key] = perf_ns()
            elif only is None and held_ns >= _TOLD_AFTER_NS and held.key not in told:
                told.add(held.key)
                _say(held, f"holds up the end of the run after {name}; a second Ctrl-C breaks it off")
        if perf_ns() - shown_ns >= _TOLD_AFTER_NS:
            shown_ns = perf_ns()
            _signal_main(signum, None)  # Python does not see one that came just before a call that blocks


def _say(held: Held, what: str) -> None:
    _log.error("%s: it %s", held.text, what, extra={} if held.node is None else {"node": held.node})


def _break_off_beside(thread: int, held: Held) -> bool:
    """Have something raised in a callback beside the main thread; whether that could be done now."""
    for watched in _here():
        watched.hurry()
    return raise_in(thread, held.key)


def _signal_main(signum: int, target: tuple[int, int] | None) -> None:
    """Interrupt what the main thread waits for in the system, and have a callback broken off, if it is still at it."""
    main = threading.main_thread().ident
    with _handlers_stay:
        ours = signal.SIGTERM if signal.getsignal(signal.SIGTERM) is _handle else signum
        if main is not None and signal.getsignal(ours) is _handle and _here() and not _own:
            _own.append((ours, target))
            signal.pthread_kill(main, ours)


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
    here = _here()
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
    for watched in _here():
        watched.stop("stop")
        watched.ended.wait(_AT_EXIT)
