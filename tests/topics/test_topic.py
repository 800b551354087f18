"""Topics as a program uses them."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import subprocess
import sys
import threading
from typing import Any

import anyio
import attrs
import numpy as np
import pytest
import trio
import trio.testing

from horus_async.errors import (
    ConfigurationError,
    MessageDecodeError,
    MessageTooLargeError,
    TopicError,
    TopicNameError,
    TopicTypeError,
    ValueNotSupportedError,
)
from horus_async.topics import Bus, Message, Topic
from horus_async.topics.ring import memory


@attrs.frozen
class Twist:
    """A typed message."""

    linear: float
    angular: float = 0.0


@pytest.mark.parametrize(
    "value",
    [
        {"pose": {"x": 1.5, "y": -2}, "list": [1, "a", None, True], "empty": {}, "ünï": "çödé"},
        {"big": "x" * 100_000},
        {"raw": b"\0\xff" * 5000},
        {"nan": math.inf, "tuple": (1, (2,)), "int": 10**40, 5: "five"},
        list(range(10_000)),
        "text",
        0,
        False,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_values_come_back(value: Any) -> None:
    """A handle hears its own sends, and values come back equal, bytes, tuples, large and odd ones included (J.1-51)."""
    with Topic("t") as topic:
        topic.send(value)

        assert topic.recv() == value
        assert topic.recv("nothing") == "nothing"


def test_a_received_value_is_a_copy() -> None:
    """What the sender does to a value after sending it does not reach the receiver, nor one receiver another."""
    with Topic("t") as topic, Topic("t") as other:
        value: dict[str, Any] = {"list": [1], "array": np.zeros(3)}
        topic.send(value)
        value["list"].append(2)
        value["array"][0] = 9
        got = topic.recv()
        got["list"].append(3)
        got["array"][1] = 8

        assert got["array"].tolist() == [0, 8, 0]
        assert other.recv()["list"] == [1]


def test_none_is_a_value() -> None:
    """A None that was sent can be told from an empty topic (J.1-52)."""
    with Topic("t") as topic:
        assert topic.recv_message() is None
        assert topic.recv("empty") == "empty"
        topic.send(None)
        assert topic.has_msg()
        assert topic.recv("empty") is None
        topic.send(None)
        message = topic.recv_message()

        assert message is not None
        assert message.value is None


def test_has_msg_consumes_nothing() -> None:
    """Asking for messages any number of times leaves them there (J.1-52)."""
    with Topic("t") as topic:
        assert not topic.has_msg()
        topic.send(1)
        assert [topic.has_msg() for _ in range(3)] == [True] * 3
        assert topic.recv() == 1
        assert not topic.has_msg()


def test_messages_have_an_identity() -> None:
    """A message knows its topic, number, time and publisher; handles of one process count together."""
    before = memory_time()
    with Topic("t") as one, Topic("t") as other:
        one.send("a")
        other.send("b")
        messages = [one.recv_message(), one.recv_message()]
    after = memory_time()

    assert [(m.value, m.topic, m.seq, m.publisher) for m in messages if m] == [
        ("a", "t", 0, f"topic-{os.getpid()}"),
        ("b", "t", 1, f"topic-{os.getpid()}"),
    ]
    assert before <= messages[0].stamp_ns <= messages[1].stamp_ns <= after  # type: ignore[union-attr]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        messages[0].value = 5  # type: ignore[union-attr, misc]
    assert Message(1, "t", 0, 5, "p") == Message(1, "t", 0, 5, "p")


def memory_time() -> int:
    """The wall clock that stamps are taken from."""
    from horus_async.clock.system import wall_ns

    return wall_ns()


def test_latest_and_recv_all() -> None:
    """The newest value is seen by all without consuming it, also by those who came later; recv_all takes the rest."""
    with Topic("t") as topic:
        assert topic.latest() is None
        assert topic.recv_all() == []
        for number in range(5):
            topic.send(number)
        with Topic("t") as late:
            assert late.latest() == 4
            assert not late.has_msg()

        assert topic.latest() == 4
        assert topic.recv() == 0
        assert topic.recv_all() == [1, 2, 3, 4]
        assert topic.latest() == 4


def test_overflow_is_counted() -> None:
    """A handle that does not read misses the oldest messages, and knows how many (J.1-50)."""
    with Topic("t", capacity=4096) as topic:
        for number in range(1000):
            topic.send(number)
        lost = topic.lost

        assert lost > 0
        assert topic.recv_all() == list(range(lost, 1000))
        assert topic.lost == lost


def test_large_messages() -> None:
    """A message of many megabytes makes the ring grow; one that can never fit is an error that names the limit."""
    with Topic("t", capacity=4096) as topic:
        image = np.arange(6_000_000, dtype=np.uint8).reshape(1000, 2000, 3)
        topic.send({"before": 1})
        topic.send({"image": image})
        with pytest.raises(MessageTooLargeError, match="MESSAGE_LIMIT"):
            topic.send(np.broadcast_to(np.uint8(0), (1 << 28,)))
        topic.send({"after": 1})

        assert topic.recv() == {"before": 1}
        assert np.array_equal(topic.recv()["image"], image)
        assert topic.recv() == {"after": 1}
        assert topic.lost == 0


def test_a_value_that_cannot_be_carried_is_not_sent() -> None:
    """Such a value is an error that names the place, and the topic goes on."""
    with Topic("t") as topic:
        with pytest.raises(ValueNotSupportedError, match=r"value\['a'\]\[1\] is not supported: object"):
            topic.send({"a": [1, object()]})
        topic.send(1)

        assert topic.recv_all() == [1]


def test_typed_topics() -> None:
    """A typed topic takes its type only, and says both names otherwise."""
    with Topic("t", Twist) as topic, Topic("t") as untyped:
        topic.send(Twist(1.0, 0.5))
        assert topic.recv() == Twist(1.0, 0.5)
        with pytest.raises(TopicTypeError, match=r"topic 't' carries .*test_topic\.Twist, not dict"):
            topic.send({"linear": 1.0})
        untyped.send({"linear": 1.0})
        untyped.send(Twist(2.0))
        with pytest.raises(TopicTypeError, match=r"topic 't' was opened for .*test_topic\.Twist, but holds dict"):
            topic.recv()

        assert topic.recv() == Twist(2.0)
        with pytest.raises(TopicTypeError, match="its type has to be a class, not 'Twist'"):
            Topic("t", "Twist")  # type: ignore[arg-type]


def test_damaged_messages_are_consumed() -> None:
    """Bytes that are no message are an error once, and the next message follows."""
    with Topic("t") as topic, Bus() as bus:
        publisher = bus.publisher("t", "broken")
        publisher.publish(b"{", 0)
        publisher.publish(b"5", 1)
        with pytest.raises(MessageDecodeError):
            topic.recv()

        assert topic.recv() == 5


def test_topics_and_buses_meet() -> None:
    """A handle hears the nodes of its process and they hear it, in the same namespace only."""
    with Topic("t") as topic, Bus() as bus, Topic("t", namespace="other-of-this-test") as other:
        subscriber = bus.subscriber("t")
        bus.publisher("t", "node").publish(b"1", 0)
        topic.send(2)

        assert topic.recv_all() == [1, 2]
        assert [(subscriber.take() or b"")[0] for _ in range(2)] == [b"1", b"2"]
        assert not other.has_msg()


def test_bad_arguments() -> None:
    """Bad names, namespaces and capacities are refused, and leave nothing open."""
    with pytest.raises(TopicNameError):
        Topic("a b")
    with pytest.raises(ConfigurationError):
        Topic("t", namespace="a/b")
    with pytest.raises(ConfigurationError):
        Topic("t", capacity=-1)


def test_a_closed_handle() -> None:
    """After close every use is an error; closing twice is fine, and the memory is gone with the last handle."""
    topic, other = Topic("t"), Topic("t")
    folder = memory.root() / topic.namespace
    topic.send(1)
    topic.close()
    topic.close()
    assert folder.exists()
    for action in (lambda: topic.send(1), topic.recv, topic.recv_message):
        with pytest.raises(TopicError, match="closed"):
            action()
    assert other.recv() == 1
    other.close()

    assert not folder.exists()


def test_a_forgotten_handle_warns_and_cleans_up() -> None:
    """A handle that nobody closed is a ResourceWarning, and its memory goes."""
    topic = Topic("t")
    topic.send(1)
    folder = memory.root() / topic.namespace

    with pytest.warns(ResourceWarning, match="Topic 't' .* was never closed"):  # noqa: PT031 - both make it go
        del topic
        gc.collect()
    assert not folder.exists()


async def test_receive_waits_for_a_message(autojump_clock: trio.testing.MockClock) -> None:
    """A waiting task is woken by the send and not by time: nothing polls."""
    with Topic("t") as topic:
        got: list[Any] = []

        async def listen() -> None:
            got.append((await topic.receive(), trio.current_time()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.sleep(1000)
            assert got == []
            topic.send("hello")
            await trio.testing.wait_all_tasks_blocked()
            assert got == [("hello", pytest.approx(trio.current_time()))]
            topic.send("there")
            await trio.sleep(1)
            assert topic.recv() == "there"


async def test_several_tasks_wait_on_one_handle() -> None:
    """Each message goes to one of the tasks that wait; the others wait on."""
    with Topic("t") as topic:
        got: list[Any] = []

        async def listen() -> None:
            got.append(await topic.receive())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(listen)
            for number in range(3):
                await trio.testing.wait_all_tasks_blocked()
                assert len(got) == number
                topic.send(number)
        assert got == [0, 1, 2]


async def test_a_wait_can_be_cancelled() -> None:
    """A cancelled wait leaves no trace, and loses no message."""
    with Topic("t") as topic:
        with trio.move_on_after(0) as scope:
            await topic.receive()
        assert scope.cancelled_caught
        topic.send(1)
        with trio.move_on_after(0) as scope:
            await topic.receive()
        assert scope.cancelled_caught

        assert await topic.receive() == 1
        assert topic._bus._lines["t", False].channel.watchers == ()


async def test_iterating_over_a_full_topic_lets_others_run() -> None:
    """A loop over messages that are all there gives other tasks a turn at each."""
    with Topic("t") as topic:
        for number in range(5):
            topic.send(number)
        with trio.testing.assert_checkpoints():
            assert await topic.receive() == 0


async def test_async_for_ends_when_the_handle_is_closed() -> None:
    """A loop over a topic goes on with each message and ends with the handle."""
    topic = Topic("t")
    got = []

    async def close_later() -> None:
        await trio.testing.wait_all_tasks_blocked()
        topic.send(3)
        await trio.testing.wait_all_tasks_blocked()
        topic.close()

    topic.send(1)
    topic.send(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_later)
        async for value in topic:
            got.append(value)  # noqa: PERF401 - the loop is what is tested

    assert got == [1, 2, 3]
    with pytest.raises(TopicError, match="closed"):
        await topic.receive()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_waiting_and_waking_from_a_thread(backend: str) -> None:
    """Under either event loop a task sleeps until another thread sends."""

    async def main() -> list[Any]:
        with Topic("t") as topic:
            got = []
            waiting = threading.Event()
            topic._subscriber.channel.watch(waiting.set)

            def send() -> None:
                with Topic("t") as other:
                    for number in range(50):
                        other.send(number)
                        assert echo.wait(300)
                        echo.clear()

            echo = threading.Event()
            thread = threading.Thread(target=send)
            thread.start()
            for _ in range(50):
                got.append(await topic.receive())
                echo.set()
            await anyio.to_thread.run_sync(thread.join)
            return got

    assert anyio.run(main, backend=backend) == list(range(50))


def test_waiting_under_plain_asyncio() -> None:
    """Without anyio's help asyncio tasks wait and are woken by one another, and can be cancelled."""

    async def main() -> None:
        with Topic("t") as topic:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(topic.receive(), 0.01)
            listener = asyncio.create_task(topic.receive())
            await asyncio.sleep(0)
            topic.send({"x": 1})
            assert await listener == {"x": 1}

    asyncio.run(main())


def test_a_bell_outlives_its_event_loop() -> None:
    """A send to a bell whose loop has ended does nothing and breaks nothing."""
    from horus_async.topics.wake.wakeup import Bell

    async def make() -> Bell:
        return Bell()

    for bell in (trio.run(make), asyncio.run(make())):
        thread = threading.Thread(target=bell.ring)
        thread.start()
        thread.join()


def test_importing_topics_is_cheap() -> None:
    """Importing topics, sending and receiving needs no event loop library and no NumPy."""
    program = (
        "import sys; from horus_async.topics import Topic\n"
        "with Topic('t') as topic: topic.send({'a': 1}); assert topic.recv() == {'a': 1}\n"
        "print(sorted({'trio', 'anyio', 'asyncio', 'numpy', 'rich', 'lz4', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
