"""zenoh's side."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import zenoh

from .links import Link
from .sampling import BYTES, microseconds_a_call

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALONE = {"mode": "peer", "scouting": {"multicast": {"enabled": False}}, "listen": {"endpoints": []}}


def bytes_send_recv(scale: float) -> list[float]:
    """64 bytes from a publisher to a subscriber of the same session, so that nothing leaves the process."""
    with zenoh.open(zenoh.Config.from_json5(json.dumps(_ALONE))) as session:
        subscriber = session.declare_subscriber("bench/bytes", zenoh.handlers.FifoChannel(16))
        publisher = session.declare_publisher("bench/bytes")

        def call() -> None:
            publisher.put(BYTES)
            bytes(subscriber.recv().payload)

        return [microseconds_a_call(call, scale=scale)]


@contextmanager
def link(end: int, size: int) -> Iterator[Link]:
    """One end of two sessions over a Unix socket. The sender waits instead of dropping."""
    del size
    which = "listen" if end else "connect"  # the other process is there first
    endpoints = {which: {"endpoints": [f"unixsock-stream/{Path.cwd()}/bench"]}}
    names = ("bench/there", "bench/back")
    with zenoh.open(zenoh.Config.from_json5(json.dumps(_ALONE | endpoints))) as session:
        subscriber = session.declare_subscriber(names[1 - end], zenoh.handlers.FifoChannel(256))
        publisher = session.declare_publisher(names[end], congestion_control=zenoh.CongestionControl.BLOCK)

        def poll() -> object:
            sample = subscriber.try_recv()
            return None if sample is None else bytes(sample.payload)

        yield Link(publisher.put, poll, lambda: bytes(subscriber.recv().payload))
