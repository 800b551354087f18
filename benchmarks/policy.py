"""What recording costs a policy server: ``/act`` for 50 clients with and without a trace, and event loop time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import orjson
import trio

from horus_async.clock.system import perf_ns
from horus_async.policy import Exchange, TraceOptions, TraceRecorder, from_object
from horus_async.policy.model.interface import answer_of

from .sampling import microseconds_a_call
from .serving import SERVE, answers

CLIENTS = 50
STEPS, DIMS = 50, 7
_IMAGE = "QUJD" * 10_000
_BODY = orjson.dumps(
    {"instruction": "pick up the red cup", "state": [0.1 * n for n in range(14)], "image": _IMAGE, "episode_id": "e1"}
)
_REQUEST = b"POST /act HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


async def served_policy(request: dict[str, object]) -> list[list[float]]:  # noqa: ARG001 - every policy takes one
    """A chunk of 50 actions of 7 values after 50 ms, as a policy on an accelerator would answer."""
    await trio.sleep(0.05)
    return _chunk()


def _chunk() -> list[list[float]]:
    return [[(step * DIMS + dim) / 7 for dim in range(DIMS)] for step in range(STEPS)]


def act_recorded(scale: float) -> list[float]:
    """Milliseconds of each request of 50 concurrent clients, with a ``hash_only`` trace."""
    with tempfile.TemporaryDirectory() as folder:
        return _act(scale, "--record", folder)


def act_unrecorded(scale: float) -> list[float]:
    """The same without a trace."""
    return _act(scale)


def _act(scale: float, *arguments: str) -> list[float]:
    policy = "benchmarks.policy:served_policy"
    return answers(_ask_from_all, max(5, round(60 * scale)), *SERVE, policy, "--port", "0", *arguments)


async def _ask_from_all(port: int, requests: int) -> list[float]:
    samples: list[float] = []
    await _until_ready(port)
    async with trio.open_nursery() as nursery:
        for _ in range(CLIENTS):
            nursery.start_soon(_client, port, requests, samples)
    return samples


async def _until_ready(port: int) -> None:
    for _ in range(600):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n")
            if b" 200 " in await stream.receive_some(16):
                return
        await trio.sleep(0.05)
    raise TimeoutError("the server was not ready within 30 s")


async def _client(port: int, requests: int, samples: list[float]) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        for number in range(requests):
            start = perf_ns()
            await stream.send_all(_REQUEST)
            await _answer(stream)
            # The first requests open connections and warm caches on both sides.
            if number >= 2:
                samples.append((perf_ns() - start) / 1e6)


async def _answer(stream: trio.SocketStream) -> None:
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += await _some(stream)
    head = bytes(received[:end]).lower()
    if b" 200 " not in head[:20]:
        raise AssertionError(f"the server answered {bytes(received)!r}")
    left = end + 4 + int(head.split(b"content-length:")[1].split(b"\r\n")[0]) - len(received)
    while left > 0:
        left -= len(await _some(stream))


async def _some(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some(65536)
    if not data:
        raise AssertionError("the server hung up")
    return bytes(data)


def record_loop_time(scale: float) -> list[float]:
    """Microseconds of event loop time to record a request: the call of ``record``."""
    answer = answer_of(_chunk())
    exchange = Exchange(
        body=_BODY,
        arrival_ns=0,
        finished_ns=0,
        request_id="bench",
        status=200,
        policy_ms=50.0,
        queue_ms=0.1,
        mode="python",
        answer=answer,
    )
    with tempfile.TemporaryDirectory() as folder:
        options = TraceOptions(directory=Path(folder), max_pending_mb=4096)
        with TraceRecorder(from_object(served_policy, name="bench"), options) as recorder:
            took = microseconds_a_call(lambda: recorder.record(exchange), scale=scale / 4, batch=200)
    return [took]
