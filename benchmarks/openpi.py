"""openpi's protocol: an observation with two camera images there, a chunk of actions back, beside a bare endpoint."""

from __future__ import annotations

import tempfile
from typing import Any

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, Message, Request

from horus_async.clock.system import perf_ns
from horus_async.policy.model.wire import pack

from .openpi_peer import CHUNK
from .serving import SERVE, answers

_WARM_UP = 50


def served_policy(request: dict[str, Any]) -> dict[str, Any]:
    """A chunk of 50 actions of 8 values, at once."""
    assert request["observation/image"].shape == (224, 224, 3)
    return {"actions": CHUNK}


def bare(scale: float) -> list[float]:
    """Milliseconds an answer of a bare Starlette WebSocket on Hypercorn, which decodes and encodes as ours does."""
    return _answers(scale, "-m", "benchmarks.openpi_peer")


def unrecorded(scale: float) -> list[float]:
    """The same of ``horus-async serve``."""
    return _answers(scale, *SERVE, "benchmarks.openpi:served_policy", "--port", "0")


def recorded(scale: float) -> list[float]:
    """The same with a ``hash_only`` trace."""
    with tempfile.TemporaryDirectory() as folder:
        policy = "benchmarks.openpi:served_policy"
        return _answers(scale, *SERVE, policy, "--port", "0", "--record", folder)


def _answers(scale: float, *arguments: str) -> list[float]:
    return answers(_ask, max(5, round(600 * scale)), *arguments)


async def _ask(port: int, requests: int) -> list[float]:
    import numpy

    dice = numpy.random.default_rng(14)
    image, wrist = dice.integers(0, 256, (2, 224, 224, 3), dtype=numpy.uint8)
    state = dice.random(8, dtype=numpy.float32)
    observation = {"observation/image": image, "observation/wrist_image": wrist, "observation/state": state}
    samples = []
    line = WSConnection(ConnectionType.CLIENT)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(line.send(Request(host="bench", target="/")))
        await _message(stream, line)
        # Encoded and masked once: what is measured is the server.
        frame = line.send(BytesMessage(pack({**observation, "prompt": "pick up the red cup"})))
        for number in range(_WARM_UP + requests):
            start = perf_ns()
            await stream.send_all(frame)
            size = await _message(stream, line)
            if size < CHUNK.nbytes:
                raise AssertionError(f"the server answered {size} bytes")
            if number >= _WARM_UP:
                samples.append((perf_ns() - start) / 1e6)
    return samples


async def _message(stream: trio.SocketStream, line: WSConnection) -> int:
    """Receive one message; returns its size."""
    size = 0
    while True:
        data = await stream.receive_some(65536)
        if not data:
            raise AssertionError("the server hung up")
        line.receive_data(data)
        for event in line.events():
            if isinstance(event, Message):
                size += len(event.data)
                if event.message_finished:
                    return size
