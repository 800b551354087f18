"""A thread that has one CPU, and shares it with nothing that it starts.

Linux lets threads and processes inherit the CPUs of the thread that starts them, and has no flag against that, as it
has for priorities. Beside a loop of real time on the same CPU they would starve. So the thread takes back all its CPUs
just before it starts something, which Python tells its audit hooks, and lets go of them with the next tick. In between
it may be moved, which costs it a few microseconds.

Threads that libraries start by themselves, in C, are not announced, nor are processes of ``multiprocessing``: where a
node starts those in ``init``, before the first tick, the CPU is not narrowed yet.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from functools import cache
from threading import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .system import System

_THREADS = "_thread.start_new_thread"
_STARTS = frozenset(
    {
        *(_THREADS, "_thread.start_joinable_thread"),
        *("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
    }
)
"""What Python announces before something is started."""
_pinned: dict[int, Pinned] = {}
"""By the number that Python gives to threads."""


class Pinned:
    """The calling thread runs on one CPU alone, from now to `end`."""

    def __init__(self, thread: int, cpu: int, system: System) -> None:
        self._system = system
        self._thread = thread
        self._one = {cpu}
        self._before = system.cpus(thread)
        self._wide = True
        self._ident = get_ident()
        self._outer = _pinned.get(self._ident)
        """Of a run in a tick of which this one takes place."""
        _listen()
        self._narrow()
        _pinned[self._ident] = self

    def narrow(self) -> None:
        """Back to the one CPU, if it took back the others."""
        if self._wide:
            self._narrow()

    def _narrow(self) -> None:
        self._system.set_cpus(self._thread, self._one)
        self._wide = False

    def widen(self) -> None:
        """Take back all CPUs, as something is about to be started that would inherit the one."""
        if not self._wide:
            self._wide = True
            with suppress(OSError):  # nothing that a program starts is to fail for this
                self._system.set_cpus(self._thread, self._before)

    def end(self) -> None:
        """All CPUs are its own again."""
        if self._outer is not None:
            _pinned[self._ident] = self._outer
        else:
            _pinned.pop(self._ident, None)
        self.widen()


@cache
def _listen() -> None:
    """Once a process: a hook stays for ever, and does nothing where no thread is pinned."""
    sys.addaudithook(_hear)
    if sys.version_info < (3, 12):  # it does not announce threads
        name = "_start_new_thread"
        start = getattr(threading, name)

        def announce(*arguments: Any) -> Any:
            _hear(_THREADS, ())
            return start(*arguments)

        setattr(threading, name, announce)


def _hear(event: str, _: tuple[Any, ...]) -> None:
    if _pinned and event in _STARTS:
        thread = _pinned.get(get_ident())
        if thread is not None:
            thread.widen()
