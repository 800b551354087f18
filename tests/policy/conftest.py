"""What the policy tests share: a server in the test's own event loop, servers in processes, and policies to serve."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
from attrs import define

from horus_async.policy import TraceReader, from_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

    from horus_async.policy import LoadedPolicy, TraceOptions

ROOT = Path(__file__).parent.parent.parent
_TRIES = 6000
_SERVER_OPTIONS = ("host", "api_key", "allow_hosts", "max_body_mb", "max_bodies_mb", "max_connections")
_SERVING = ("httpx", "hypercorn", "prometheus_client", "starlette")

needs_server = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in _SERVING),
    reason=f"needs the extra serve and httpx: {', '.join(_SERVING)}",
)


def reach(request: dict[str, Any]) -> list[list[float]]:
    """A policy whose answer follows from the state alone."""
    state = request["state"] or [0.0, 0.0]
    return [[value * (step + 1) / 10 for value in state] for step in range(4)]


@define
class Served:
    """A running server and a client of it."""

    url: str
    client: httpx.AsyncClient
    stop: trio.Event

    async def act(self, **fields: Any) -> httpx.Response:
        """One request."""
        return await self.client.post("/act", content=orjson.dumps(fields))

    async def health(self) -> dict[str, Any]:
        """What ``/health`` says."""
        found: dict[str, Any] = (await self.client.get("/health")).json()
        return found

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask ``/health`` until ``condition`` holds; fails after minutes."""
        for _ in range(_TRIES):
            if condition(found := await self.health()):
                return found
            await trio.sleep(0.05)
        raise AssertionError(f"never came true; last health: {found}")


@asynccontextmanager
async def serving(
    policy: Any, *, trace: TraceOptions | None = None, warm: bool = True, **options: Any
) -> AsyncIterator[Served]:
    """A server for ``policy`` on a free port; stopped, with its trace closed, at the end."""
    import httpx

    from horus_async.policy.server.http import ServerOptions, serve_policy
    from horus_async.policy.server.service import ServiceOptions

    server = {name: options.pop(name) for name in _SERVER_OPTIONS if name in options}
    chosen = ServerOptions(port=0, service=ServiceOptions(trace=trace, **options), **server)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve_policy, _loaded(policy), chosen, stop=stop))
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
            served = Served(url, client, stop)
            if warm:
                await served.until(lambda health: bool(health["model_loaded"]))
            yield served
            stop.set()


def _loaded(policy: Any) -> LoadedPolicy | str:
    return policy if isinstance(policy, str) else from_object(policy, name="test")


@define
class ServerProcess:
    """``horus-async serve`` in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    errors: Path

    def finish(self, number: int) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=300)


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(policy: str, *arguments: str, before: str = "") -> ServerProcess:
        code = f"{before}\nfrom horus_async.cli.serve import serve\nserve()"
        errors = tmp_path / f"errors{len(started)}.txt"
        with errors.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", code, policy, "--port", "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "PYTHONUNBUFFERED": "1"},
            )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " on http://" in line, f"the server did not start: {line!r} {errors.read_text()}"
        return ServerProcess(process, line.rsplit(" ", 1)[1].strip(), errors)

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def policy_module(tmp_path: Path) -> Callable[[str], str]:
    """Writes a module ``robot_policy`` and names its attribute ``policy`` as a file."""

    def write(source: str) -> str:
        path = tmp_path / "robot_policy.py"
        path.write_text(source)
        return f"{path}:policy"

    return write


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again until ``condition`` holds; fails after minutes."""
    pause = threading.Event()
    for _ in range(12_000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("never came true")


def read_all(path: Path) -> TraceReader:
    """A trace read to its end, with its lines in ``lines``."""
    with TraceReader(path) as reader:
        reader.lines = [request.line for request in reader.requests()]  # type: ignore[attr-defined]
    return reader


def only_trace(folder: Path) -> Path:
    """The one file of a folder."""
    (path,) = folder.iterdir()
    return path
