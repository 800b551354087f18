"""Waking a task from any thread, under trio and under asyncio, without importing either before it is needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from horus_async.clock.event_loop import event_loop, in_trio

if TYPE_CHECKING:
    from collections.abc import Callable


class Bell:
    """Made in a task that is going to wait. ``ring`` may be called from any thread, any number of times."""

    __slots__ = ("_event", "_new_event", "_run_soon", "_thread")

    waitset = None
    """Other processes do not ring here."""

    def __init__(self) -> None:
        self._new_event = event_loop().event
        self._event = self._new_event()
        self._thread = threading.get_ident()
        self._run_soon = _run_soon()

    def ring(self) -> None:
        """Wake the task that waits, or the next one to do so."""
        if threading.get_ident() == self._thread:
            self._event.set()
            return
        try:
            self._run_soon(self._event_set)
        except RuntimeError:  # the event loop has ended, and the task with it
            return

    def _event_set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Wait until somebody has rung since the last time."""
        await self._event.wait()
        self._event = self._new_event()


def current_loop() -> tuple[Any, bool]:
    """The event loop of the current task (trio's token for it, or asyncio's object), and whether it is trio's."""
    trio = in_trio()
    if trio is not None:
        return trio.lowlevel.current_trio_token(), True
    import asyncio

    return asyncio.get_running_loop(), False


def _run_soon() -> Callable[[Callable[[], None]], object]:
    """How to run a function in the event loop of the current task, from any thread."""
    loop, is_trio = current_loop()
    run_soon: Callable[[Callable[[], None]], object] = loop.run_sync_soon if is_trio else loop.call_soon_threadsafe
    return run_soon
