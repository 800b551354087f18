"""Starting threads where the system may allow no more of them, or no memory for one."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from horus_async.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Callable

urgent_threads: list[Callable[[], object]] = []
"""What `make_urgent` calls: each puts the calling thread above a loop of real time."""

_LOOK = 0.05
"""Seconds between two looks whether a thread that has not begun is still there."""


class _Begun(threading.Event):
    """What `threading.Thread.start` waits for: that the thread's function is called, or the thread is gone without.

    Python itself waits for ever for a thread that has died before that, for want of memory: python/cpython#140746.
    The thread holds the callable that it was started with until its end, and nobody else does. As that is no function
    of Python's, and neither is the lock's, nothing more is needed in a thread that has no memory.
    """

    def __init__(self, thread: Any) -> None:
        super().__init__()
        self._thread = thread
        self._called = threading.Lock()
        self._called.acquire()
        thread._target = partial(_call, self._called, thread._target)  # noqa: SLF001 - there is no other way in
        bootstrap = thread._bootstrap = partial(thread._bootstrap)  # noqa: SLF001 - likewise
        self._lives = weakref.ref(bootstrap)
        self.has_begun = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, without a limit; whether the thread has begun."""
        del timeout
        self.let_go()
        lives = True
        while lives and not self.has_begun:
            lives = self._lives() is not None  # before a last look
            self.has_begun = self._called.acquire(timeout=_LOOK if lives else 0)
        return self.has_begun

    def let_go(self) -> None:
        """From now on the thread alone holds what it was started with."""
        vars(self._thread).pop("_bootstrap", None)


def _call(called: Any, function: Any, *arguments: Any, **options: Any) -> None:
    called.release()
    function(*arguments, **options)


def start_thread(thread: threading.Thread) -> None:
    """Start a thread; when this returns, its function has been called.

    Raises:
        LimitError: the system refuses it, or it had no memory to begin with. It is not to be joined then.
    """
    if thread.ident is not None:
        thread.start()  # raises: it was started before
    begun = thread._started = _Begun(thread)  # type: ignore[attr-defined]  # noqa: SLF001 - see there
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise LimitError(_refused(thread)) from error
    finally:
        begun.let_go()
    if not begun.wait():
        raise LimitError(_refused(thread))


def make_urgent() -> None:
    """The calling thread has to get its turn whatever a loop does, as it is the one that ends it."""
    for make in tuple(urgent_threads):
        make()


def _refused(thread: threading.Thread) -> str:
    return (
        f"the system allows no thread for {thread.name!r}: raise the limits of processes (ulimit -u) and of memory "
        "(ulimit -v), or those of the container"
    )
