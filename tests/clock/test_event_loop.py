"""The functions of the event loop of the current task: trio's own under trio, anyio's under asyncio."""

from __future__ import annotations

import os
import subprocess
import sys

import anyio
import pytest
import trio

from horus_async.clock.event_loop import event_loop

BACKENDS = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@BACKENDS
def test_each_function_does_what_it_says(backend: str) -> None:
    """Tasks of a group, an event, a scope, a pipe: the same on both."""
    reader, writer = os.pipe()
    seen: list[str] = []

    async def main() -> None:
        loop = event_loop()
        event = loop.event()

        async def wait(what: str) -> None:
            await event.wait()
            seen.append(what)

        async with loop.group() as group:
            group.start_soon(wait, "a task")
            await loop.checkpoint()
            os.write(writer, b"x")
            await loop.wait_readable(reader)
            event.set()
        with loop.scope() as scope:
            scope.cancel()
            with loop.scope(shield=True):
                await loop.sleep(0)
                seen.append("shielded")
            await loop.sleep(60)
        assert scope.cancelled_caught

    try:
        anyio.run(main, backend=backend)
    finally:
        os.close(reader)
        os.close(writer)
    assert seen == ["a task", "shielded"]


@BACKENDS
def test_a_group_whose_tasks_were_all_cancelled_raises_no_group(backend: str) -> None:
    """Whoever cancels from outside sees the one exception that stands for it, as with anyio."""
    seen: list[BaseException] = []

    async def main() -> None:
        loop = event_loop()
        with anyio.CancelScope() as outer:
            try:
                async with loop.group() as group:
                    group.start_soon(loop.sleep, 60)
                    group.start_soon(loop.sleep, 60)
                    await loop.checkpoint()
                    outer.cancel()
                    await loop.sleep(60)
            except BaseException as error:
                seen.append(error)
                raise
        assert outer.cancelled_caught

    anyio.run(main, backend=backend)
    assert [type(error) for error in seen] == [trio.Cancelled if backend == "trio" else seen[0].__class__]
    assert not isinstance(seen[0], BaseExceptionGroup)


@BACKENDS
def test_a_group_raises_what_its_tasks_raised(backend: str) -> None:
    """Beside a failure the cancellations that it brought do not count."""

    async def fail() -> None:
        raise ValueError("mine")

    async def main() -> None:
        loop = event_loop()
        async with loop.group() as group:
            group.start_soon(loop.sleep, 60)
            group.start_soon(fail)

    with pytest.raises(BaseExceptionGroup) as caught:
        anyio.run(main, backend=backend)
    failures, others = caught.value.split(ValueError)
    assert failures is not None
    assert others is None


def test_trio_needs_no_anyio() -> None:
    """In a process that has trio only, none is imported."""
    program = (
        "import sys, trio\nfrom horus_async.clock.event_loop import event_loop\n"
        "async def main():\n    loop = event_loop()\n    async with loop.group() as group:\n"
        "        group.start_soon(loop.sleep, 0)\n    await loop.checkpoint()\n"
        "trio.run(main)\nprint('anyio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"


def test_outside_of_any_event_loop() -> None:
    """Nothing can wait there; whether an error is a cancellation can be asked."""
    with pytest.raises(RuntimeError):
        event_loop().checkpoint().__await__().send(None)
    assert not isinstance(ValueError(), event_loop().cancelled)
