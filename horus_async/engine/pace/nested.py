"""Virtual time under an event loop whose time is real: a trio run of our own, in a worker thread."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING

from horus_async.clock.event_loop import event_loop, in_trio
from horus_async.limits.threads import start_thread
from horus_async.topics.wake.wakeup import Bell

from .loop import run_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


_LOOK_UP_SECONDS = 0.2
_threads: set[int] = set()
"""Those in which virtual time passes now."""


class NestedRun:
    """A trio run whose clock is virtual, in a thread of its own. It may stand still now and then.

    Args:
        work: What is awaited in it.
        on_cancel: Called, in the thread of the outer loop, when that one is cancelled: it has to end the work, or make
            it stand still.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], *, on_cancel: Callable[[], None]) -> None:
        self.ended = False
        """Whether the work is over."""
        self._work = work
        self._on_cancel = on_cancel
        self._failure: BaseException | None = None
        self._bell = Bell()
        self._moving = False
        self._ending = False
        self._go_on = threading.Semaphore(0)
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._in_thread,), name="horus-async virtual time", daemon=True
        )

    async def go_on(self, *, to_the_end: bool = False) -> None:
        """Let it go on until it stands still or is over, and raise what it raised.

        Args:
            to_the_end: What `stand_still` gives from now on.
        """
        self._bell = Bell()
        self._moving = True
        self._ending = to_the_end
        async with event_loop().group() as group:
            group.start_soon(self._watch_for_cancel)
            if in_trio() is None:
                group.start_soon(self._look_up)
            if self._thread.ident is None:
                start_thread(self._thread)
            else:
                self._go_on.release()
            cancelled: BaseException | None = None
            while self._moving:
                try:
                    with event_loop().scope(shield=True):
                        await self._bell.wait()
                except event_loop().cancelled as error:  # asyncio's own kind heeds no shield
                    self._on_cancel()
                    cancelled = error
            if self.ended:
                self._thread.join()
            group.cancel_scope.cancel()
            if cancelled is not None:
                raise cancelled
        if self._failure is not None:
            raise self._failure

    def stand_still(self) -> bool:
        """Block the thread of the run until it is to go on; whether it is to end then. Called in that thread."""
        self._stops_moving()
        self._go_on.acquire()
        _threads.add(threading.get_ident())
        return self._ending

    def _stops_moving(self) -> None:
        _threads.discard(threading.get_ident())
        bell = self._bell
        self._moving = False
        bell.ring()

    def _in_thread(self) -> None:
        try:
            _threads.add(threading.get_ident())
            run_loop(self._work, virtual=True)
        except BaseException as error:  # noqa: BLE001 - raised again in the outer loop
            self._failure = error
        finally:
            self.ended = True
            self._stops_moving()

    async def _look_up(self) -> None:
        """Wake asyncio now and then: what a signal handler cancels, as IPython's does, it hears of only when awake."""
        while self._moving:
            await event_loop().sleep(_LOOK_UP_SECONDS)

    async def _watch_for_cancel(self) -> None:
        try:
            await event_loop().event().wait()
        finally:
            if self._moving:
                self._on_cancel()


async def run_in_thread(work: Callable[[], Coroutine[Any, Any, None]], *, on_cancel: Callable[[], None]) -> None:
    """Await ``work()`` in a trio run whose clock is virtual, and raise what it raises. See `NestedRun`."""
    await NestedRun(work, on_cancel=on_cancel).go_on()


def threads() -> tuple[int, ...]:
    """Those in which virtual time passes now."""
    return tuple(_threads)
