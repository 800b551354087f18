"""Starting threads where the system may allow no more of them, or no memory for one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from horus_async.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Callable

urgent_threads: list[Callable[[], object]] = []
"""What `make_urgent` calls: each puts the calling thread above a loop of real time."""

PATIENCE = 20.0
"""Seconds after which a thread that does not begin is given up: it had no memory to begin with."""


class _Begun(threading.Event):
    """What `threading.Thread.start` waits for. Without an end, it would wait for ever for a thread that has died."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(PATIENCE if timeout is None else timeout)


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        LimitError: the system refuses it. It is not to be joined then.
    """
    thread._started = _Begun()  # type: ignore[attr-defined]  # noqa: SLF001 - what else there is waits without an end
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        if thread.ident is not None:
            raise  # it was started before
        raise LimitError(_refused(thread)) from error
    if thread.ident is None:
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
