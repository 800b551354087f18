"""iceoryx2's side: its Python binding, one process."""

from __future__ import annotations

import ctypes
import os

import iceoryx2 as iox2

from .sampling import BYTES, microseconds_a_call


def bytes_send_recv(scale: float) -> list[float]:
    """64 bytes through one service."""
    iox2.set_log_level(iox2.LogLevel.Fatal)
    node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
    name = iox2.ServiceName.new(f"bench/{os.getpid()}")
    service = node.service_builder(name).publish_subscribe(iox2.Slice[ctypes.c_uint8]).open_or_create()
    publisher = service.publisher_builder().initial_max_slice_len(len(BYTES)).create()
    subscriber = service.subscriber_builder().create()

    def call() -> None:
        sample = publisher.loan_slice_uninit(len(BYTES))
        ctypes.memmove(sample.payload_ptr, BYTES, len(BYTES))
        sample.assume_init().send()
        received = subscriber.receive()
        if received is None:
            raise AssertionError("the message did not arrive")
        ctypes.string_at(received.payload_ptr, len(BYTES))
        received.delete()

    return [microseconds_a_call(call, scale=scale)]
