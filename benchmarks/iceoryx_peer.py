"""iceoryx2's side: its Python binding."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import iceoryx2 as iox2

from .links import MIB, Link
from .sampling import BYTES, microseconds_a_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def bytes_send_recv(scale: float) -> list[float]:
    """64 bytes through one service."""
    service = _service(f"bench/{os.getpid()}", 2)
    send, poll = _sender(service, len(BYTES)), _receiver(service)

    def call() -> None:
        send(BYTES)
        if poll() is None:
            raise AssertionError("the message did not arrive")

    return [microseconds_a_call(call, scale=scale)]


@contextmanager
def link(end: int, size: int) -> Iterator[Link]:
    """One end of a service per direction, each with an event to sleep on. The oldest messages are dropped."""
    name = f"bench/{Path.cwd().name}"
    waiting = 64 if size < MIB else 16
    services = [_service(f"{name}/{direction}", waiting) for direction in ("there", "back")]
    events = [_node().service_builder(_name(f"{name}/{which}")).event().open_or_create() for which in ("a", "b")]
    send, poll = _sender(services[end], size), _receiver(services[1 - end])
    notifier = events[end].notifier_builder().create()
    listener = events[1 - end].listener_builder().create()

    def receive() -> object:
        while (found := poll()) is None:
            listener.blocking_wait()
        return found

    yield Link(send, poll, receive, notifier.notify)


def _node() -> Any:
    iox2.set_log_level(iox2.LogLevel.Fatal)
    return iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)


def _name(name: str) -> Any:
    return iox2.ServiceName.new(name)


def _service(name: str, waiting: int) -> Any:
    builder = _node().service_builder(_name(name)).publish_subscribe(iox2.Slice[ctypes.c_uint8])
    return builder.subscriber_max_buffer_size(waiting).open_or_create()


def _sender(service: Any, size: int) -> Callable[[bytes], None]:
    publisher = service.publisher_builder().initial_max_slice_len(size).create()

    def send(value: bytes) -> None:
        sample = publisher.loan_slice_uninit(len(value))
        ctypes.memmove(sample.payload_ptr, value, len(value))
        sample.assume_init().send()

    return send


def _receiver(service: Any) -> Callable[[], bytes | None]:
    subscriber = service.subscriber_builder().create()

    def poll() -> bytes | None:
        received = subscriber.receive()
        if received is None:
            return None
        value = ctypes.string_at(received.payload_ptr, received.payload().len())
        received.delete()
        return value

    return poll
