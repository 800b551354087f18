"""Precise waiting: order, early wake-ups, cancellation and clean-up, under trio and asyncio; never how precise."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from horus_async.clock import timer as timer_module
from horus_async.clock.system import monotonic_ns
from horus_async.clock.timer import MAX_LEAD_NS, TickTimer

_MS = 1_000_000
_FAR = 3_600_000 * _MS

Program = Callable[[TickTimer], Awaitable[None]]
Run = Callable[[Program], None]


@pytest.fixture(params=["timerfd", "fallback"])
def _source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a timer descriptor, and as on systems that have none."""
    if request.param == "fallback":
        monkeypatch.setattr(timer_module, "_TimerFd", timer_module._Sleeper)
    elif sys.platform != "linux":
        pytest.skip("no timer file descriptors here")


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest, _source: None) -> Run:
    """Runs a coroutine function with a timer under each event loop."""

    async def with_timer(program: Program) -> None:
        with TickTimer() as timer:
            await program(timer)

    return lambda program: anyio.run(partial(with_timer, program), backend=request.param)


def test_waits_until_each_deadline(run: Run) -> None:
    """Each wait returns True, and not before its deadline, for deadlines ahead, close by and past."""

    async def program(timer: TickTimer) -> None:
        start = monotonic_ns()
        for offset in (3 * _MS, 4 * _MS, 4 * _MS + 50_000, 4 * _MS + 50_001, -_MS, 6 * _MS):
            assert await timer.wait_until(start + offset) is True
            assert monotonic_ns() >= start + offset

    run(program)


def test_others_run_while_it_waits(run: Run) -> None:
    """Waiting leaves the event loop to the other tasks."""

    async def program(timer: TickTimer) -> None:
        order = []

        async def other() -> None:
            await anyio.lowlevel.checkpoint()
            order.append("other")

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await timer.wait_until(monotonic_ns() + 20 * _MS)
            order.append("timer")
        assert order == ["other", "timer"]

    run(program)


def test_a_past_deadline_is_still_a_checkpoint(run: Run) -> None:
    """A program that is always late can be cancelled and does not starve the others."""

    async def program(timer: TickTimer) -> None:
        rounds = 0
        with anyio.CancelScope() as scope:
            while True:
                await timer.wait_until(0)
                rounds += 1
                if rounds == 10:
                    scope.cancel()
        assert rounds == 10

    run(program)


def test_wake_from_another_thread(run: Run) -> None:
    """A wait of an hour ends with False when another thread wakes it, and the next wait is a normal one."""

    async def program(timer: TickTimer) -> None:
        for _ in range(20):
            thread = threading.Thread(target=timer.wake)
            thread.start()
            assert await timer.wait_until(monotonic_ns() + _FAR) is False
            thread.join()
        assert await timer.wait_until(monotonic_ns() + _MS) is True

    run(program)


def test_wake_by_a_task_that_runs_while_it_waits(run: Run) -> None:
    """A wake-up that comes after the wait began ends it."""

    async def program(timer: TickTimer) -> None:
        results = []

        async def waiter() -> None:
            results.append(await timer.wait_until(monotonic_ns() + _FAR))

        async with anyio.create_task_group() as group:
            group.start_soon(waiter)
            await anyio.wait_all_tasks_blocked()
            timer.wake()
        assert results == [False]

    run(program)


def test_wakes_before_a_wait_count_once(run: Run) -> None:
    """Wake-ups with nobody waiting end the next wait, and only that one."""

    async def program(timer: TickTimer) -> None:
        for _ in range(3):
            timer.wake()
        assert await timer.wait_until(monotonic_ns() + _FAR) is False
        assert await timer.wait_until(monotonic_ns() + 2 * _MS) is True

    run(program)


def test_wake_from_a_signal_handler(run: Run) -> None:
    """A signal handler may end the wait of the thread it interrupts."""

    async def program(timer: TickTimer) -> None:
        before = signal.signal(signal.SIGUSR1, lambda *_: timer.wake())
        thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
        try:
            thread.start()
            assert await timer.wait_until(monotonic_ns() + _FAR) is False
        finally:
            thread.join()
            signal.signal(signal.SIGUSR1, before)

    run(program)


def test_cancellation_leaves_a_usable_timer(run: Run) -> None:
    """A cancelled wait raises in the task, and the timer waits correctly afterwards."""

    async def program(timer: TickTimer) -> None:
        for _ in range(3):
            with anyio.move_on_after(0) as scope:
                await timer.wait_until(monotonic_ns() + _FAR)
            assert scope.cancelled_caught
            deadline = monotonic_ns() + 2 * _MS
            assert await timer.wait_until(deadline) is True
            assert monotonic_ns() >= deadline

    run(program)


def test_a_closed_timer_says_so(run: Run) -> None:
    """After close a wait is an error that says what to do, while wake and close are harmless."""

    async def program(timer: TickTimer) -> None:
        timer.close()
        timer.close()
        timer.wake()
        with pytest.raises(RuntimeError, match="make a new TickTimer"):
            await timer.wait_until(0)

    run(program)


@pytest.mark.usefixtures("_source")
@pytest.mark.parametrize("wait", [_MS, 3 * _MS])
def test_many_timers_leave_no_descriptors(wait: int) -> None:
    """A hundred timers used one after another leave as many open descriptors as before."""

    async def program() -> None:
        for _ in range(100):
            with TickTimer() as timer:
                timer.wake()
                await timer.wait_until(monotonic_ns() + wait)

    gc.collect()
    before = len(list(Path("/dev/fd").iterdir()))
    trio.run(program)
    asyncio.run(program())
    gc.collect()

    assert len(list(Path("/dev/fd").iterdir())) == before


def test_the_lead_follows_the_latency_and_stays_bounded() -> None:
    """Late wake-ups arm the timer earlier, early ones later, always between nothing and the limit."""
    with TickTimer() as timer:
        first = timer._lead_ns
        timer._learn(first + 1)
        raised = timer._lead_ns
        timer._learn(0)
        assert raised > timer._lead_ns > first

        for _ in range(1000):
            timer._learn(10 * MAX_LEAD_NS)
        assert timer._lead_ns == MAX_LEAD_NS
        for _ in range(1000):
            timer._learn(-1)
        assert timer._lead_ns == 0


@pytest.mark.skipif(sys.platform != "linux", reason="timer file descriptors are Linux")
def test_both_ways_to_a_timerfd_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the C library, as before Python 3.13, a descriptor is armed, rung and reported as through ``os``."""
    monkeypatch.setattr(timer_module, "_open_timerfd", timer_module._open_timerfd_by_ctypes)

    async def program() -> None:
        with TickTimer() as timer:
            deadline = monotonic_ns() + 3 * _MS
            assert await timer.wait_until(deadline) is True
            assert monotonic_ns() >= deadline
            timer.wake()
            assert await timer.wait_until(monotonic_ns() + _FAR) is False

    trio.run(program)
    fd, arm = timer_module._open_timerfd_by_ctypes()
    os.close(fd)
    with pytest.raises(OSError, match=r"Bad file descriptor|Invalid argument"):
        arm(1)


@pytest.mark.skipif(sys.platform != "linux", reason="timer file descriptors are Linux")
async def test_a_ring_that_came_too_late_ends_nothing() -> None:
    """A ring after the wait it was meant for does not end the next wait, which would spin through the rest."""
    with TickTimer() as timer:
        timer._source.ring()
        at_ns = monotonic_ns() + 3 * _MS
        await timer._source.wait(at_ns, lambda: False)
        assert monotonic_ns() >= at_ns
