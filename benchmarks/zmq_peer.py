"""pyzmq's side."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from .links import Link
from .sampling import BYTES, microseconds_a_call

if TYPE_CHECKING:
    from collections.abc import Iterator


def bytes_send_recv(scale: float) -> list[float]:
    """64 bytes through a pair of ``inproc`` sockets."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://bench")
        other.connect("inproc://bench")

        def call() -> None:
            one.send(BYTES)
            other.recv()

        return [microseconds_a_call(call, scale=scale)]


@contextmanager
def link(end: int, size: int) -> Iterator[Link]:
    """One end of a pair of sockets over ``ipc``. The sender waits instead of dropping."""
    del size
    address = f"ipc://{Path.cwd()}/bench"
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        if end == 0:
            socket.bind(address)
        else:
            socket.connect(address)

        def send(value: bytes) -> None:
            if socket.poll(10, zmq.POLLOUT):
                socket.send(value)

        def poll() -> object:
            return socket.recv() if socket.poll(0) else None

        yield Link(socket.send if end else send, poll, socket.recv)
