"""pyzmq's side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import zmq

from .sampling import BYTES, microseconds_a_call, round_trips


def bytes_send_recv(scale: float) -> list[float]:
    """64 bytes through a pair of ``inproc`` sockets."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://bench")
        other.connect("inproc://bench")

        def call() -> None:
            one.send(BYTES)
            other.recv()

        return [microseconds_a_call(call, scale=scale)]


def round_trip_asleep(scale: float) -> list[float]:
    """64 bytes to an echoing process and back over ``ipc``; both sides block in ``recv``."""
    address = f"ipc://{Path.cwd()}/bench"
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(address)
        with subprocess.Popen([sys.executable, "-m", "benchmarks.zmq_peer", address]) as echo:
            try:
                return round_trips(lambda: (socket.send(BYTES), socket.recv())[1], scale=scale)
            finally:
                echo.kill()


def _echo(address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.connect(address)
        while True:
            socket.send(socket.recv())


if __name__ == "__main__":
    _echo(sys.argv[1])
