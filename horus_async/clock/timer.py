"""Waits for an instant to within tens of microseconds, without blocking the event loop.

An event loop sleeps in whole milliseconds (the resolution of epoll's timeout), too coarse for a 1 kHz node. A timer
file descriptor has the kernel's resolution and is awaited like a socket. That leaves the latency of being woken: the
timer is armed earlier by that much, and a short busy wait covers the rest. This lead is measured while running, and
bounded so that the spin stays a small part of a millisecond.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, Self

from .event_loop import event_loop
from .system import CLOCK_MONOTONIC, NANOSECONDS, monotonic_ns, spin_until_monotonic

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

MAX_LEAD_NS: Final = 200_000
"""The longest busy wait, in nanoseconds."""

_FIRST_LEAD_NS: Final = 100_000

# The lead follows the 90th percentile of the wake-up latency: nine steps up after a wake-up that came too late, one
# step down after any other, which balances when one in ten is late.
_LEAD_STEP_NS: Final = 500
_STEPS_UP: Final = 9


class TickTimer:
    """Waits for instants on the monotonic clock, one task at a time, under trio and asyncio.

    Holds a file descriptor: close it, or use it as a context manager.
    """

    def __init__(self) -> None:
        self._source: _Source = _TimerFd() if sys.platform == "linux" else _Sleeper()
        self._woken = False
        self._closed = False
        self._lead_ns = _FIRST_LEAD_NS
        # Reentrant, as a signal handler may call wake() while its own thread is inside wake() or close().
        self._lock = threading.RLock()

    async def wait_until(self, deadline_ns: int) -> bool:
        """Sleep until ``monotonic_ns()`` reaches ``deadline_ns``. Always a checkpoint, even if that is in the past.

        Returns:
            True at the deadline, never before; False if ``wake()`` came first.

        Raises:
            RuntimeError: the timer is closed.
        """
        if self._closed:
            raise RuntimeError("this timer is closed; make a new TickTimer")
        armed_ns = deadline_ns - self._lead_ns
        if armed_ns <= monotonic_ns() or self._woken:
            await event_loop().checkpoint()
        else:
            await self._source.wait(armed_ns, self._is_woken)
            if not self._woken:
                self._learn(monotonic_ns() - armed_ns)
        if self._woken:
            self._woken = False
            return False
        spin_until_monotonic(deadline_ns)
        return True

    def wake(self) -> None:
        """Make the current wait return now, or the next one if there is none. From any thread or signal handler.

        Several calls before the wait returns count as one. Does nothing after ``close()``.
        """
        with self._lock:
            if not self._closed:
                self._woken = True
                self._source.ring()

    def close(self) -> None:
        """Release the file descriptor. Not while a task waits. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _is_woken(self) -> bool:
        return self._woken

    def _learn(self, latency_ns: int) -> None:
        late = latency_ns > self._lead_ns
        lead = self._lead_ns + (_LEAD_STEP_NS * _STEPS_UP if late else -_LEAD_STEP_NS)
        self._lead_ns = min(max(lead, 0), MAX_LEAD_NS)


class _Source(Protocol):
    """What wakes a task at an instant, or earlier when rung."""

    async def wait(self, at_ns: int, is_woken: Callable[[], bool]) -> None:
        """Return at ``at_ns`` or after ``ring()``. ``is_woken`` is called once a later ring can no longer be missed."""

    def ring(self) -> None: ...

    def close(self) -> None: ...


class _TimerFd:
    """A Linux timer file descriptor. It is never read: arming it again clears an expiry.

    ``ring`` uses an event file descriptor beside it, as making the timer itself expire takes ten times as long.
    """

    def __init__(self) -> None:
        self._timer, self._arm = _open_timerfd()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._both = select.epoll()
        self._both.register(self._timer, select.EPOLLIN)
        self._both.register(self._event, select.EPOLLIN)

    async def wait(self, at_ns: int, is_woken: Callable[[], bool]) -> None:
        self._arm(at_ns)
        if is_woken():
            await event_loop().checkpoint()
            return
        while True:
            await event_loop().wait_readable(self._both.fileno())
            if monotonic_ns() >= at_ns:
                return
            with suppress(BlockingIOError):
                os.eventfd_read(self._event)
            if is_woken():  # else the ring was meant for the last wait, which had ended already
                return

    def ring(self) -> None:
        os.eventfd_write(self._event, 1)

    def close(self) -> None:
        self._both.close()
        os.close(self._event)
        os.close(self._timer)


class _Sleeper:
    """The event loop's own timeout, and a pipe to ring through: for systems without timer file descriptors."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    async def wait(self, at_ns: int, is_woken: Callable[[], bool]) -> None:
        del is_woken  # A ring stays in the pipe, so it cannot be missed.
        import anyio

        with anyio.move_on_after((at_ns - monotonic_ns()) / NANOSECONDS):
            await anyio.wait_readable(self._reader)
            os.read(self._reader, 4096)

    def ring(self) -> None:
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            return  # A full pipe is readable, so the wait ends anyway.

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def _open_timerfd() -> tuple[int, Callable[[int], object]]:
    """A timer on the monotonic clock: its descriptor, and a function that arms it for an instant."""
    if sys.version_info >= (3, 13) and sys.platform == "linux":
        fd = os.timerfd_create(CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def arm(at_ns: int) -> object:
            return os.timerfd_settime_ns(fd, flags=os.TFD_TIMER_ABSTIME, initial=at_ns)

        return fd, arm
    return _open_timerfd_by_ctypes()


def _open_timerfd_by_ctypes() -> tuple[int, Callable[[int], object]]:
    """The same through the C library, for Python before 3.13. Constants and structure as in timerfd_create(2)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    timer_abstime = 1

    def check(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    fd = check(libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))

    # struct itimerspec: interval seconds and nanoseconds, then first expiry seconds and nanoseconds
    spec = (ctypes.c_long * 4)()

    def arm(at_ns: int) -> int:
        spec[2], spec[3] = divmod(at_ns, NANOSECONDS)
        return check(libc.timerfd_settime(fd, timer_abstime, ctypes.byref(spec), None))

    return fd, arm
