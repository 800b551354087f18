"""Virtual time under an event loop whose time is real: a trio run of our own, in a worker thread."""

from __future__ import annotations

import contextvars
import ctypes
import threading
from typing import TYPE_CHECKING

from horus_async.clock.event_loop import event_loop
from horus_async.topics.wake.wakeup import Bell

from .loop import run_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_threads: set[int] = set()
"""Those in which virtual time passes now."""


async def run_in_thread(work: Callable[[], Awaitable[None]], *, on_cancel: Callable[[], None]) -> None:
    """Await ``work()`` in a trio run whose clock is virtual, and raise what it raises.

    ``on_cancel`` is called, in the thread of the outer loop, when that one is cancelled: it has to end the work.
    """
    bell = Bell()
    ended = False
    failure: BaseException | None = None

    def in_thread() -> None:
        nonlocal failure, ended
        _threads.add(threading.get_ident())
        try:
            run_loop(work, virtual=True)
        except BaseException as error:  # noqa: BLE001 - raised again in the outer loop
            failure = error
        finally:
            _threads.discard(threading.get_ident())
            ended = True
            bell.ring()

    async def watch_for_cancel() -> None:
        try:
            await event_loop().event().wait()
        finally:
            if not ended:
                on_cancel()

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(in_thread,), name="horus-async virtual time", daemon=True)
    async with event_loop().group() as group:
        group.start_soon(watch_for_cancel)
        thread.start()
        cancelled: BaseException | None = None
        while not ended:
            try:
                with event_loop().scope(shield=True):
                    await bell.wait()
            except event_loop().cancelled as error:  # asyncio's own kind heeds no shield
                on_cancel()
                cancelled = error
        thread.join()
        group.cancel_scope.cancel()
        if cancelled is not None:
            raise cancelled
    if failure is not None:
        raise failure


def interrupt() -> bool:
    """Raise `KeyboardInterrupt` in what runs in virtual time beside the main thread; False when nothing does."""
    for thread in tuple(_threads):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
    return bool(_threads)
