"""Topics: how much passes through, in one process and between two, beside plain copies and pyzmq.

The round trips between processes are in ``processes`` and ``zmq_peer``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns

from .sampling import BYTES, CannotMeasureError

MIB = 1 << 20
_SECONDS = 1.0
_WITHIN_NS = 10 * NANOSECONDS


def throughput_small(scale: float) -> list[float]:
    """Messages of 64 bytes a second that another process's reader gets while this one sends at full speed."""
    return [_throughput(BYTES, scale) / len(BYTES)]


def throughput_large(scale: float) -> list[float]:
    """Bytes a second in messages of 1 MiB, in the same way."""
    return [_throughput(bytes(MIB), scale)]


def zmq_throughput_small(scale: float) -> list[float]:
    """The same by pyzmq over ``ipc``, which makes the sender wait instead of dropping."""
    return [_zmq_throughput(BYTES, scale) / len(BYTES)]


def zmq_throughput_large(scale: float) -> list[float]:
    """Bytes a second in messages of 1 MiB, in the same way."""
    return [_zmq_throughput(bytes(MIB), scale)]


def _throughput(value: bytes, scale: float) -> float:
    with Topic("bench.flow", capacity=64 * MIB) as topic, Topic("bench.total") as total:
        reader = [sys.executable, "-m", "benchmarks.topics", "ours", str(_SECONDS * scale)]
        with subprocess.Popen(reader) as process:
            return _send_until(lambda: topic.send(value), total.recv, process)


def _zmq_throughput(value: bytes, scale: float) -> float:
    import zmq

    address = f"ipc://{Path.cwd()}/bench-flow"
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(address)

        def answer() -> Any:
            return float(socket.recv()) if socket.poll(0) else None

        def send() -> None:
            if socket.poll(10, zmq.POLLOUT):
                socket.send(value)

        reader = [sys.executable, "-m", "benchmarks.topics", address, str(_SECONDS * scale)]
        with subprocess.Popen(reader) as process:
            return _send_until(send, answer, process)


def _send_until(send: Any, answer: Any, process: subprocess.Popen[bytes]) -> float:
    end = monotonic_ns() + _WITHIN_NS
    try:
        while monotonic_ns() < end:
            for _ in range(50):
                send()
            found = answer()
            if found is not None:
                return float(found)
    finally:
        process.kill()
    raise CannotMeasureError("the reading process gave no answer")


def _count(recv: Any, seconds: float) -> float:
    """Bytes a second, from the first message on."""
    while recv() is None:
        pass
    start = now = monotonic_ns()
    received = 0
    while now < start + seconds * NANOSECONDS:
        value = recv()
        received += 0 if value is None else len(value)
        now = monotonic_ns()
    return received * NANOSECONDS / (now - start)


def _read(how: str, seconds: float) -> None:
    if how == "ours":
        with Topic("bench.flow") as topic, Topic("bench.total") as total:
            total.send(_count(topic.recv, seconds))
            while True:  # until it is killed
                topic.recv()
    import zmq

    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.connect(how)
        socket.send(str(_count(socket.recv, seconds)).encode())
        while True:
            socket.recv()


if __name__ == "__main__":
    _read(sys.argv[1], float(sys.argv[2]))
