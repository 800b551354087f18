"""``examples/hardware/http_gauge.py``, with aiohttp as client and as server on loopback, under ``--asyncio``."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.programs import EXAMPLES, horus

from .robots import Robot, did, sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

web: Any = pytest.importorskip("aiohttp.web")


class Device:
    """A gauge at ``/live``, in a thread; it can vanish and come back at the same port."""

    def __init__(self) -> None:
        self.port = 0
        self.connected: list[Any] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.start()

    def start(self) -> None:
        """Be there."""
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self.thread.start()
        assert ready.wait(60)

    def stop(self) -> None:
        """Be gone, without a word to anybody."""
        if self.thread is not None and self.loop is not None:
            self.loop.call_soon_threadsafe(self.over.set)
            self.thread.join()
            self.thread = None

    def says(self, *texts: str) -> None:
        """Send these to all."""

        async def send() -> None:
            for text in texts:
                for socket in self.connected:
                    await socket.send_str(text)

        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(send(), self.loop).result(60)

    async def _serve(self, ready: threading.Event) -> None:
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/live", self._live)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self.over.wait()
        for socket in self.connected:
            transport = socket._req.transport
            if transport is not None:
                transport.abort()
        await runner.cleanup()

    async def _live(self, request: Any) -> Any:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connected.append(socket)
        async for _ in socket:
            """It takes nothing."""
        self.connected.remove(socket)
        return socket


@pytest.fixture
def device() -> Iterator[Device]:
    """A gauge that is there."""
    device = Device()
    yield device
    device.stop()


@pytest.fixture
def robot(device: Device) -> Robot:
    """The example at it."""
    return Robot("http_gauge.py", [f"http://127.0.0.1:{device.port}/live"], "gauge")


def test_it_is_recorded_and_verified_without_the_device(
    robot: Robot, device: Device, tmp_path: Path, recordings_dir: Path
) -> None:
    """Every message is there; what is none is counted; what reads them does the same again, under trio."""
    bad = ("", "{}", "[]", '{"bar": "much"}', '{"bar": null}')
    robot.run(
        robot.counted(connected=1),
        did(device.says, *(json.dumps({"bar": n / 10}) for n in range(100)), *bad),
        robot.counted(good=100, garbage=len(bad)),
        name="pressed",
        asyncio=True,
    )
    assert [p["bar"] for p in sent("pressed", "gauge", "pressure", recordings_dir)] == [n / 10 for n in range(100)]
    device.stop()
    robot.verify("pressed", "valve", tmp_path)


def test_the_device_vanishes_and_comes_back(robot: Robot, device: Device, recordings_dir: Path) -> None:
    """The driver connects again by itself; meanwhile the valve is open, its safe state."""
    robot.run(
        robot.counted(connected=1),
        did(device.says, '{"bar": 1.0}'),
        robot.counted(good=1),
        did(device.stop),
        did(device.start),
        robot.counted(connected=2),
        did(device.says, '{"bar": 2.5}'),
        robot.counted(good=2),
        name="gone",
        asyncio=True,
    )
    assert [p["bar"] for p in sent("gone", "gauge", "pressure", recordings_dir)] == [1.0, 2.5]
    assert robot.scheduler.stats().nodes["gauge"].errors == 0


def test_a_device_that_is_not_there(robot: Robot, device: Device, recordings_dir: Path) -> None:
    """The run goes on and ends as if it were."""
    device.stop()
    robot.run(lambda: len(robot.scheduler.nodes) > 0, *[lambda: True] * 30, name="none", asyncio=True)
    opened = sent("none", "valve", "valve.open", recordings_dir)
    assert opened
    assert all(opened)


def test_under_trio_the_error_says_what_to_type(device: Device, tmp_path: Path) -> None:
    """With the command."""
    program = EXAMPLES / "hardware" / "http_gauge.py"
    done = horus("run", "--duration", "9", program, "--", f"http://127.0.0.1:{device.port}/live", cwd=tmp_path)
    assert done.returncode == 1
    assert "horus-async run --asyncio" in done.stderr
