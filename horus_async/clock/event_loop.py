"""What a task asks of its event loop: trio itself under trio, and anyio under asyncio.

Under trio anyio only passes things on, and its first use costs ten milliseconds of imports. So a run under trio, which
is what most runs are, does without. Neither is imported before it is needed.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType, TracebackType
    from typing import Protocol, Self

    class Event(Protocol):
        """Something that tasks wait for."""

        def set(self) -> object:
            """Let all go on that wait."""

        async def wait(self) -> object:
            """Wait until it is set."""

    class Scope(Protocol):
        """What can be cancelled: the body of a ``with`` statement."""

        @property
        def cancel_called(self) -> bool:
            """Whether it was cancelled."""

        @property
        def cancelled_caught(self) -> bool:
            """Whether it was cancelled, and ended with that."""

        def cancel(self) -> object:
            """Cancel it."""

        def __enter__(self) -> Self: ...

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
        ) -> bool | None: ...


class EventLoop:
    """The functions of one event loop."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        checkpoint: Callable[[], Awaitable[object]],
        wait_readable: Callable[[int], Awaitable[object]],
        sleep: Callable[[float], Awaitable[object]],
        event: Callable[[], Event],
        scope: Callable[..., Scope],
        group: Callable[[], AbstractAsyncContextManager[Any]],
        cancelled: type[BaseException],
    ) -> None:
        self.now = now
        """Its clock, by which scopes have deadlines: seconds."""
        self.checkpoint = checkpoint
        """Let other tasks run, and be cancelled."""
        self.wait_readable = wait_readable
        """Wait until a descriptor is readable."""
        self.sleep = sleep
        """Seconds."""
        self.event = event
        self.scope = scope
        """Takes ``shield=True``: what is cancelled around it does not concern it; and ``deadline=`` of `now`."""
        self.group = group
        """Tasks that end before the body of an ``async with`` statement does: ``start_soon``, ``cancel_scope``."""
        self.cancelled = cancelled
        """What is raised in a task that is cancelled."""


def event_loop() -> EventLoop:
    """The functions of the event loop of the current task. Outside of any, those that wait raise a `RuntimeError`."""
    trio = in_trio()
    return _through_anyio() if trio is None else _of_trio(trio)


def in_trio() -> ModuleType | None:
    """The package trio, where the current task is trio's."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        return None
    sniffio = sys.modules.get("sniffio")
    if sniffio is None:
        return trio
    try:
        return trio if sniffio.current_async_library() == "trio" else None  # trio-asyncio says which of both it is
    except sniffio.AsyncLibraryNotFoundError:
        return trio


@functools.cache
def _of_trio(trio: ModuleType) -> EventLoop:
    return EventLoop(
        now=trio.current_time,
        checkpoint=trio.lowlevel.checkpoint,
        wait_readable=trio.lowlevel.wait_readable,
        sleep=trio.sleep,
        event=trio.Event,
        scope=trio.CancelScope,
        group=_Nursery,
        cancelled=trio.Cancelled,
    )


@functools.cache
def _through_anyio() -> EventLoop:
    import asyncio

    import anyio
    import anyio.lowlevel

    return EventLoop(
        now=anyio.current_time,
        checkpoint=anyio.lowlevel.checkpoint,
        wait_readable=anyio.wait_readable,
        sleep=anyio.sleep,
        event=anyio.Event,
        scope=anyio.CancelScope,
        group=anyio.create_task_group,
        cancelled=asyncio.CancelledError,
    )


class _Nursery:
    """Trio's, which ends with one cancellation where all its tasks ended so, and not with a group of them."""

    def __init__(self) -> None:
        trio: Any = sys.modules["trio"]
        self._cancelled = trio.Cancelled
        self._nursery = trio.open_nursery(strict_exception_groups=True)

    async def __aenter__(self) -> Any:
        return await self._nursery.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            swallowed: bool | None = await self._nursery.__aexit__(kind, error, traceback)
            return swallowed
        except BaseExceptionGroup as group:
            if group.split(self._cancelled)[1] is not None:
                raise
            cancellation: BaseException = group
        while isinstance(cancellation, BaseExceptionGroup):
            cancellation = cancellation.exceptions[0]
        raise cancellation
