"""The sides of others, as far as they can do the same. Each function takes the size first, and returns samples."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.sampling import CannotMeasureError

from .processor import used_a_call, used_by, used_us

if TYPE_CHECKING:
    from collections.abc import Callable

_MESSAGE = {"value": 0.5, "tick": 7}
_TEXT = json.dumps(_MESSAGE).encode()
_ALONE = {"mode": "peer", "scouting": {"multicast": {"enabled": False}}, "listen": {"endpoints": []}}


# -- HORUS -------------------------------------------------------------------------------------------------------------


def horus_start(nodes: int, scale: float) -> list[float]:
    """Milliseconds of the processor to make nodes and run one tick."""
    del scale
    return [used_by(lambda: _horus_chain(nodes).tick_once()) / 1000]


def horus_ticks(nodes: int, scale: float) -> list[float]:
    """Microseconds of the processor per tick."""
    scheduler = _horus_chain(nodes)
    scheduler.tick_once()
    scheduler.tick_once()
    count = max(8, round(30_000 * scale / nodes))
    start = used_us()
    for _ in range(count):
        scheduler.tick_once()
    return [(used_us() - start) / count]


def _horus_chain(nodes: int) -> Any:
    import horus

    scheduler: Any = horus.Scheduler(tick_rate=100, deterministic=True)

    def link(index: int) -> Any:
        source, target = f"chain.{index - 1}", f"chain.{index}"

        def step(node: Any) -> None:
            if index:
                node.recv(source)
            node.send(target, _MESSAGE)

        names = {"pubs": [target], "subs": [source] if index else []}
        return horus.Node(name=f"link{index}", tick=step, rate=100, order=index, **names)

    for index in range(nodes):
        scheduler.add(link(index))
    return scheduler


def horus_topics(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor to open topics, and send and receive once on each; it does not close any."""
    import horus

    del scale
    any_topic: Any = horus.Topic

    def work() -> None:
        handles = [any_topic(f"bench.{number}") for number in range(count)]
        for handle in handles:
            handle.send(_MESSAGE)
        _there(handle.recv() for handle in handles)

    return [used_by(work) / 1000]


def horus_subscribers(count: int, scale: float) -> list[float]:
    """Microseconds of the processor to send a message and receive it with each handle."""
    import horus

    any_topic: Any = horus.Topic
    handles = [any_topic("bench.one") for _ in range(count)]

    def call() -> None:
        handles[0].send(_MESSAGE)
        _there(handle.recv() for handle in handles)

    try:
        return used_a_call(call, scale)
    except AssertionError:
        raise CannotMeasureError(f"not each of {count} handles receives") from None


def horus_sizes(size: int, scale: float) -> list[float]:
    """Microseconds of the processor to send and receive text of that length: it takes at most 4 KB."""
    import horus

    any_topic: Any = horus.Topic
    topic, text = any_topic("bench.size"), "x" * size

    def call() -> None:
        topic.send(text)
        _there([topic.recv()])

    return used_a_call(call, scale)


# -- zmq ---------------------------------------------------------------------------------------------------------------


def zmq_sizes(size: int, scale: float) -> list[float]:
    """Microseconds of the processor to send and receive so many bytes, copied on both sides, over ``inproc``."""
    return _zmq(1, bytes(size), scale)


def zmq_subscribers(count: int, scale: float) -> list[float]:
    """Microseconds of the processor to publish a message and receive it with each subscriber, over ``inproc``."""
    return _zmq(count, _TEXT, scale)


def _zmq(count: int, value: bytes, scale: float) -> list[float]:
    import zmq

    with zmq.Context() as context, ExitStack() as opened:
        sender = opened.enter_context(context.socket(zmq.PUB))
        sender.set_hwm(0)
        sender.bind("inproc://bench")
        receivers = [opened.enter_context(context.socket(zmq.SUB)) for _ in range(count)]
        for receiver in receivers:
            receiver.setsockopt(zmq.RCVTIMEO, 10_000)
            receiver.set_hwm(0)
            receiver.connect("inproc://bench")
            receiver.setsockopt(zmq.SUBSCRIBE, b"")
        while not all(receiver.poll(1) for receiver in receivers):  # subscribing takes a while
            sender.send(value)
        for receiver in receivers:
            while receiver.poll(10):
                receiver.recv()

        def call() -> None:
            sender.send(value)
            for receiver in receivers:
                receiver.recv()

        return used_a_call(call, scale)


# -- zenoh -------------------------------------------------------------------------------------------------------------


def zenoh_topics(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor to declare publishers and subscribers, send and receive once, and undeclare."""
    del scale

    def work(session: Any, zenoh: Any) -> None:
        names = [f"bench/{number}" for number in range(count)]
        receivers = [session.declare_subscriber(name, zenoh.handlers.FifoChannel(4)) for name in names]
        senders = [session.declare_publisher(name) for name in names]
        for sender in senders:
            sender.put(_TEXT)
        _there(bytes(receiver.recv().payload) for receiver in receivers)
        for one in (*senders, *receivers):
            one.undeclare()

    return _zenoh(lambda session, zenoh: [used_by(lambda: work(session, zenoh)) / 1000])


def zenoh_sizes(size: int, scale: float) -> list[float]:
    """Microseconds of the processor to send and receive so many bytes, within one session."""
    return _zenoh(lambda session, zenoh: _zenoh_to(session, zenoh, 1, bytes(size), scale))


def zenoh_subscribers(count: int, scale: float) -> list[float]:
    """Microseconds of the processor to publish a message and receive it with each subscriber of the session."""
    return _zenoh(lambda session, zenoh: _zenoh_to(session, zenoh, count, _TEXT, scale))


def _zenoh(work: Callable[[Any, Any], list[float]]) -> list[float]:
    import zenoh

    with zenoh.open(zenoh.Config.from_json5(json.dumps(_ALONE))) as session:
        return work(session, zenoh)


def _zenoh_to(session: Any, zenoh: Any, count: int, value: bytes, scale: float) -> list[float]:
    receivers = [session.declare_subscriber("bench/one", zenoh.handlers.FifoChannel(16)) for _ in range(count)]
    sender = session.declare_publisher("bench/one")

    def call() -> None:
        sender.put(value)
        _there(bytes(receiver.recv().payload) for receiver in receivers)

    return used_a_call(call, scale)


# -- iceoryx2 ----------------------------------------------------------------------------------------------------------


def iceoryx_topics(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor to open services, send and receive once on each, and close them."""
    del scale

    def work() -> None:
        from benchmarks import iceoryx_peer as peer

        services = [peer._service(f"bench/{number}", 2) for number in range(count)]
        senders = [peer._sender(service, len(_TEXT)) for service in services]
        receivers = [peer._receiver(service) for service in services]
        for send in senders:
            send(_TEXT)
        _there(receive() for receive in receivers)
        del senders, receivers, services

    return [used_by(work) / 1000]


def iceoryx_sizes(size: int, scale: float) -> list[float]:
    """Microseconds of the processor to send and receive so many bytes through one service, copied on both sides."""
    return _iceoryx_to(1, bytes(size), scale)


def iceoryx_subscribers(count: int, scale: float) -> list[float]:
    """Microseconds of the processor to publish a message and receive it with each subscriber."""
    return _iceoryx_to(count, _TEXT, scale)


def _iceoryx_to(count: int, value: bytes, scale: float) -> list[float]:
    import ctypes
    import os

    import iceoryx2

    from benchmarks import iceoryx_peer as peer

    builder = peer._node().service_builder(peer._name(f"curves/{os.getpid()}"))
    builder = builder.publish_subscribe(iceoryx2.Slice[ctypes.c_uint8]).max_subscribers(count)
    service = builder.subscriber_max_buffer_size(2).open_or_create()
    send, receivers = peer._sender(service, len(value)), [peer._receiver(service) for _ in range(count)]

    def call() -> None:
        send(value)
        _there(receive() for receive in receivers)

    return used_a_call(call, scale)


def _there(messages: Any) -> None:
    if any(message is None for message in messages):
        raise AssertionError("the message did not arrive")
