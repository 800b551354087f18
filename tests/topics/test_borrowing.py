"""Messages that are read where they lie, and large arrays that are copied once."""

from __future__ import annotations

import gc
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import numpy as np
import orjson
import pytest
import trio
import trio.testing
from attrs import evolve, frozen

from horus_async import (
    BorrowedMessage,
    MessageDecodeError,
    MessageOverwrittenError,
    Node,
    NodeFailure,
    Scheduler,
    Topic,
    TopicError,
    TopicTypeError,
    now_ns,
    sleep,
    tick,
)
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.recorder import ExecutionRecord, open_session
from horus_async.topics import Bus
from horus_async.topics.borrowing import Borrowing
from horus_async.topics.codec import as_bytes, decode, decoding, encode
from tests.replay.sessions import record
from tests.replay.test_verify import verify
from tests.topics.test_arrays import CHOSEN
from tests.topics.test_processes import child, until
from tests.topics.test_ring import new_reader, new_writer

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20


def image(seed: int = 0, size: int = MIB) -> Any:
    """Some pixels."""
    return np.random.default_rng(seed).integers(0, 255, size, np.uint8)


def borrowed(topic: Topic) -> BorrowedMessage:
    """The next message, the block left at once."""
    with topic.borrow() as message:
        assert message is not None
    return message


def overwrite(topic: Topic, size: int = MIB) -> None:
    """Go once round a ring of 4 MiB."""
    for _ in range(9):
        topic.send(image(9, size))


# What a borrowed message is


def test_a_borrowed_array_is_a_read_only_view_of_the_ring() -> None:
    """It is equal to what was sent, lies in the ring's memory, and cannot be written, not even by force."""
    with Topic("t") as topic:
        topic.send({"pixels": image(), "n": 7})
        with topic.borrow() as message:
            assert message is not None
            pixels = message.value["pixels"]
            assert (pixels == image()).all()
            assert message.value["n"] == 7
            region = topic._subscriber._readers[0].region
            assert np.shares_memory(pixels, np.frombuffer(region.view, np.uint8))
            with pytest.raises(ValueError, match="read-only"):
                pixels[0] = 1
            with pytest.raises(ValueError, match="WRITEABLE"):
                pixels.flags.writeable = True
            assert message.valid
            message.check()


def test_a_borrowed_message_has_its_identity_and_is_consumed() -> None:
    """Topic, publisher, sequence number and stamp as of ``recv_message``; each message comes once, in order."""
    with Topic("t") as one, Topic("t") as other:
        for number in range(3):
            one.send(image(number))
        for number in range(3):
            message = borrowed(one)
            expected = other.recv_message()
            assert expected is not None
            for name in ("topic", "seq", "stamp_ns", "publisher"):
                assert getattr(message, name) == getattr(expected, name)
            assert (message.value == image(number)).all()
        with one.borrow() as nothing:
            assert nothing is None
        assert one.lost == 0


@pytest.mark.parametrize("array", CHOSEN.values(), ids=CHOSEN)
def test_arrays_of_all_layouts_can_be_borrowed(array: Any) -> None:
    """Equal in dtype, shape and content, and read-only: also those that no view can show."""
    with Topic("t") as topic:
        topic.send({"a": array})
        with topic.borrow() as message:
            assert message is not None
            back = message.value["a"]
            assert type(back) is np.ndarray
            assert (back.dtype, back.shape) == (array.dtype, array.shape)
            assert repr(back.tolist()) == repr(array.tolist())
            assert not back.flags.writeable
        del back, message


@pytest.mark.parametrize("value", [None, 5, {"a": [1, (2,)]}, b"x" * 10, b"y" * 100_000, "z" * 100_000])
def test_a_value_without_arrays_is_received_as_usual(value: Any) -> None:
    """It is equal, and independent of the ring."""
    with Topic("t") as topic:
        topic.send(value)
        message = borrowed(topic)
        assert message.value == value
        assert type(message.value) is type(value)


def test_text_stays_valid_whatever_comes_after() -> None:
    """A message that is a copy in any case cannot be overwritten."""
    with Topic("t", capacity=4096) as topic:
        topic.send("a")
        with topic.borrow() as message:
            for number in range(1000):
                topic.send(number)
            assert message is not None
            assert message.valid
            assert message.value == "a"


@frozen
class Picture:
    """A message with an array."""

    data: Any
    name: str


def test_classes_are_borrowed_with_their_arrays_in_place() -> None:
    """An attrs class comes back as itself; a topic of another type refuses it as ``recv`` does."""
    with Topic("t", Picture) as topic, Topic("t", int) as numbers:
        topic.send(Picture(image(), "a"))
        value = borrowed(topic).value
        assert type(value) is Picture
        assert not value.data.flags.writeable
        with pytest.raises(TopicTypeError, match=r"int.*Picture"), numbers.borrow():
            pass
        assert not numbers.has_msg()
        del value


def test_a_damaged_message_is_an_error_on_entering() -> None:
    """As for ``recv``, and it is consumed."""
    with Topic("t") as topic, Bus() as bus:
        bus.publisher("t", "p").publish(b"\0\1\0\0garbage that is no message", 5)
        with pytest.raises(MessageDecodeError), topic.borrow():
            pass
        assert not topic.has_msg()


def test_a_closed_handle_lends_nothing() -> None:
    """It is the error that ``recv`` raises."""
    with Topic("t") as topic:
        topic.send(1)
    with pytest.raises(TopicError, match="closed"), topic.borrow():
        pass


# Overwritten meanwhile


def test_a_message_overwritten_while_borrowed_is_an_error() -> None:
    """Leaving the block raises, ``valid`` and ``check`` tell before; the error names the message and the ways out."""
    with Topic("cam.left", capacity=4 * MIB) as topic:
        topic.send(image())

        def use() -> None:
            with topic.borrow() as message:
                assert message is not None
                assert message.valid
                overwrite(topic)
                assert not message.valid
                with pytest.raises(MessageOverwrittenError):
                    message.check()

        with pytest.raises(MessageOverwrittenError, match=r"message 0 .*'cam.left'.*capacity=.*recv\(\)"):
            use()


def fail(topic: Topic, error: BaseException, *, torn: bool) -> None:
    """Fail while a message is borrowed that is overwritten meanwhile, or is not."""
    topic.send(image())
    try:
        with topic.borrow():
            if torn:
                overwrite(topic)
            raise error
    finally:
        topic.recv_all()


def test_errors_in_the_block() -> None:
    """What torn data led to becomes the error about that, with the cause kept; any other error stays what it is."""
    with Topic("t", capacity=4 * MIB) as topic:
        with pytest.raises(MessageOverwrittenError) as caught:
            fail(topic, ValueError("a strange pixel"), torn=True)
        assert isinstance(caught.value.__context__, ValueError)
        with pytest.raises(KeyboardInterrupt):
            fail(topic, KeyboardInterrupt(), torn=True)
        with pytest.raises(ValueError, match="mine"):
            fail(topic, ValueError("mine"), torn=False)


@pytest.mark.parametrize("value", [image(), Picture(image(), "a")], ids=["array", "class"])
def test_nothing_is_made_of_a_message_that_was_overwritten_before_it_was_read(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even its class, whose constructor may do anything, is called with torn data."""
    with Topic("t", capacity=4 * MIB) as topic:
        topic.send(value)
        lend = iter([topic._subscriber.borrow()]).__next__
        overwrite(topic)
        monkeypatch.setattr("horus_async.topics.codec.decoding._Untagger.untag", lambda *_: pytest.fail("torn"))
        with pytest.raises(MessageOverwrittenError), Borrowing("t", lend, topic._receive_loan):
            pass


def test_a_lap_during_the_one_copy_of_an_array_is_noticed() -> None:
    """``recv`` drops a large message that was overwritten while it was copied, and goes on behind the lost ones."""
    armed: list[int] = []

    class Memory(bytearray):
        """Lets the writer come round before the payload is copied."""

        def __getitem__(self, key: Any) -> Any:
            if armed:
                for number in range(1, armed.pop()):
                    write(number)
            return super().__getitem__(key)

    writer = new_writer(1 << 20, memory=Memory)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())

    def write(number: int) -> None:
        writer.write(encode(np.full(100_000, number, np.uint8)), 0, number, 0)

    write(0)
    armed.append(30)
    message = reader.take()

    assert message is not None
    assert message[2] > 15
    assert (decode(message[0]) == message[2]).all()
    assert reader.lost == message[2]


@pytest.mark.parametrize("checked", [False, True])
def test_rings_with_and_without_checksums_lend(checked: bool) -> None:
    """The view holds what was written; with a checksum one that is damaged is not lent."""
    writer = new_writer(1 << 20, checked=checked)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.start())
    writer.write(encode(image(1, 1000)), 0, 0, 0)
    writer.write(encode(image(2, 1000)), 0, 1, 0)
    loan = reader.borrow()
    assert loan is not None
    if checked:  # what is in the ring may change before this processor sees that it does: a copy
        assert loan[1] is None
    else:
        assert loan[1] is not None
        assert not loan[1].overwritten()
    assert (decode(loan[0][0]) == image(1, 1000)).all()
    writer.map[writer.data_at + writer.tail - writer.mask - 1 - 8] ^= 1
    assert (reader.borrow() is None) == checked


# Growing, closing, dying


def test_growth_leaves_what_is_borrowed_alone() -> None:
    """The old generation of a ring that grew is never written again; the next message comes from the new one."""
    with Topic("t", capacity=4096) as topic:
        topic.send(image(1, 600))
        with topic.borrow() as message:
            for number in range(30):
                topic.send(image(number, 50_000))
            assert message is not None
            assert message.valid
            assert (message.value == image(1, 600)).all()
        assert borrowed(topic).value.size == 50_000


def test_views_outlive_the_topic() -> None:
    """Memory that somebody looks into stays mapped after the topic, the message and the files are gone."""
    topic = Topic("t")
    topic.send(image(3))
    with topic.borrow() as message:
        assert message is not None
        view = message.value[10:]
        del message
        topic.close()
        del topic
        gc.collect()
        assert (view == image(3)[10:]).all()
    gc.collect()
    assert (view == image(3)[10:]).all()


def test_memory_goes_with_the_last_view(namespace: str) -> None:
    """A closed topic's mapping is let go when nothing looks into it any more."""

    def maps() -> int:
        return Path("/proc/self/maps").read_text(encoding="utf-8").count(namespace)

    topic = Topic("t")
    topic.send(image())
    view = borrowed(topic).value
    topic.close()
    del topic
    gc.collect()
    assert maps() == 1
    del view
    gc.collect()
    assert maps() == 0


def test_what_a_killed_writer_has_lent_stays(namespace: str) -> None:
    """After ``kill -9``, and after its memory was reclaimed, a borrowed message is as it was."""
    program = """
    import numpy as np
    with Topic("t") as topic:
        topic.send(np.arange(200_000))
        tell("sent"); heard()
    """
    with Topic("t") as topic, child(program) as writer:
        until(topic.has_msg)
        with topic.borrow() as message:
            assert message is not None
            writer.kill()
            until(lambda: topic.recv() is None and not topic._subscriber._readers)
            assert (message.value == np.arange(200_000)).all()
        assert message.valid
        del message


def test_several_publishers_are_merged_by_stamp() -> None:
    """Borrowed messages come in the order of ``recv``, and may be mixed with it."""
    with Bus() as one, Bus() as other, Bus() as third:
        subscriber = third.subscriber("t")
        for number in range(8):
            payload = encode(np.full(1000, number))
            (one, other)[number % 3 == 0].publisher("t", "p").publish(payload, number)
        found = []
        for _ in range(4):
            loan, taken = subscriber.borrow(), subscriber.take()
            assert loan is not None
            assert taken is not None
            found += [int(decode(loan[0][0])[0]), int(decode(taken[0])[0])]
        assert found == list(range(8))
        assert subscriber.borrow() is None


# Waiting for one


async def awaited(topic: Topic) -> BorrowedMessage:
    """The next message, waited for, the block left at once."""
    async with topic.borrow() as message:
        return message


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_async_with_waits_for_the_next_message(backend: str) -> None:
    """It comes as with ``receive``, one after the other, and lies in the ring."""

    async def main() -> list[int]:
        seen: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, seen)
            for number in range(3):
                while len(seen) < number:
                    await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
                topic.send(image(number))
        return seen

    async def look(seen: list[int]) -> None:
        while len(seen) < 3:
            async with topic.borrow() as message:
                region = topic._subscriber._readers[0].region
                assert np.shares_memory(message.value, np.frombuffer(region.view, np.uint8))
                assert not message.value.flags.writeable
                assert (message.value == image(message.seq)).all()
                seen.append(message.seq)

    with Topic("t") as topic:
        assert anyio.run(main, backend=backend) == [0, 1, 2]
        assert topic.lost == 0
        assert not topic.has_msg()


async def test_who_is_cancelled_while_waiting_has_taken_nothing() -> None:
    """The next message is still there, be it sent later or there already."""
    with Topic("t") as topic:
        with trio.move_on_after(0.01) as scope:
            await awaited(topic)
        assert scope.cancelled_caught
        topic.send(image(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await awaited(topic)
        assert scope.cancelled_caught
        assert ((await awaited(topic)).value == image(1)).all()


async def test_who_waits_at_a_handle_that_is_closed_gets_an_error() -> None:
    """As by ``receive``."""

    async def wait() -> None:
        with pytest.raises(TopicError, match="closed"):
            await awaited(topic)

    with Topic("t") as topic:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            topic.close()
    await wait()


async def test_a_waited_for_message_that_is_overwritten_is_an_error() -> None:
    """Leaving the block raises, also where others had their turn meanwhile; what was cancelled stays cancelled."""
    with Topic("t", capacity=4 * MIB) as topic:
        topic.send(image())

        async def use() -> None:
            async with topic.borrow() as message:
                await trio.lowlevel.checkpoint()
                overwrite(topic)
                assert not message.valid

        with pytest.raises(MessageOverwrittenError, match="message 0"):
            await use()
        topic.recv_all()
        topic.send(image())
        with trio.CancelScope() as scope:
            async with topic.borrow():
                overwrite(topic)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught


async def test_a_wrong_message_that_is_waited_for_is_an_error() -> None:
    """One that is damaged or of another class is consumed, as by ``receive``."""
    with Topic("t", Picture) as topic, Topic("t") as other, Bus() as bus:
        bus.publisher("t", "p").publish(b"\0\1\0\0garbage that is no message", 5)
        with pytest.raises(MessageDecodeError):
            await awaited(topic)
        other.send(5)
        with pytest.raises(TopicTypeError, match=r"Picture.*int"):
            await awaited(topic)
        assert not topic.has_msg()


SHOOTS = """
import numpy as np
with Topic("t", capacity=1 << 23) as topic:
    tell("ready")
    for number in range(int(sys.argv[1])):
        heard()
        topic.send({"n": number, "data": np.full(300_000, number, np.uint8)})
    heard()
"""


def test_images_of_another_process_are_waited_for_in_place() -> None:
    """Each wakes the one that waits, and is a view of the other's memory."""
    count = 5

    async def look() -> None:
        for number in range(count):
            await trio.to_thread.run_sync(camera.go)  # most often this one sleeps by then
            async with topic.borrow() as message:
                data = message.value["data"]
                assert message.value["n"] == number
                assert (data == number).all()
                assert not data.flags.writeable
                region = topic._subscriber._readers[0].region
                assert region.pid == camera.process.pid
                assert np.shares_memory(data, np.frombuffer(region.view, np.uint8))

    with Topic("t") as topic, child(SHOOTS, count) as camera:
        assert camera.line() == "ready"
        trio.run(look)
        camera.go()


HUNTED = """
import zlib, numpy as np
rng = np.random.default_rng(int(sys.argv[1]))
with Topic("t", capacity=1 << 21) as topic:
    while True:
        data = rng.integers(0, 256, int(rng.choice((600, 70_000, 300_000, 500_000))), np.uint8)
        topic.send({"data": data, "crc": zlib.crc32(data)})
"""


@pytest.mark.parametrize("seconds", [0.7, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.parametrize("borrow", [False, True], ids=["recv", "borrow"])
def test_no_reader_sees_a_torn_array(borrow: bool, seconds: float) -> None:
    """Two writers at full speed and rings that hold few messages: each array is whole, or known to be overwritten."""
    whole = overwritten = 0
    with Topic("t") as topic, child(HUNTED, 1), child(HUNTED, 2):
        until(topic.has_msg)
        end = monotonic_ns() + round(seconds * NANOSECONDS)
        while monotonic_ns() < end or whole < 100:
            if not borrow:
                value = topic.recv()
                if value is not None:
                    assert zlib.crc32(value["data"]) == value["crc"]
                    whole += 1
                continue
            right = True
            try:
                with topic.borrow() as message:
                    if message is None:
                        continue
                    right = zlib.crc32(message.value["data"]) == message.value["crc"]
            except MessageOverwrittenError:
                overwritten += 1
            else:
                assert right
                whole += 1
            message = None
    assert overwritten == 0 or borrow


def test_no_parser_gets_memory_that_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is parsed of a borrowed message is a copy: orjson ends the process if text changes while it reads it."""
    parsed: list[type] = []

    def loads(text: Any) -> Any:
        parsed.append(type(text))
        return orjson.loads(text)

    monkeypatch.setattr(decoding, "loads", loads)
    with Topic("t") as topic:
        topic.send({"pixels": image(), "n": 7})
        with topic.borrow() as message:
            assert message is not None
            assert message.value["n"] == 7
    overwritten = memoryview(b'{"a":[1]}')  # where a message with buffers was a moment ago
    assert decoding.decode_tagged(overwritten, lambda: None) == {"a": [1]}
    assert parsed == [bytes, bytes]


# Received arrays


def test_large_arrays_are_independent_of_all_else() -> None:
    """Each reader and each call gets memory of its own, writable, whatever was received before and after."""
    with Topic("t") as one, Topic("t") as other:
        one.send({"large": image(1), "small": np.arange(3)})
        values = [one.recv(), other.recv(), one.latest(), one.latest()]
        for number, value in enumerate(values):
            assert (value["large"] == image(1)).all()
            value["large"][:] = number
            value["small"][:] = number
        one.send(image(2))
        one.recv()
        for number, value in enumerate(values):
            assert (value["large"] == number).all()
            assert value["small"].tolist() == [number] * 3


def test_the_newest_of_a_ring_that_ended_can_be_had_twice() -> None:
    """Whoever writes into the newest array does not change what the next one gets."""
    with Topic("t") as topic:
        with Bus() as bus:
            bus.publisher("t", "p").publish(encode(image(1)), 5)
        while topic.recv() is not None:
            pass
        topic.latest()[:] = 0
        assert (topic.latest() == image(1)).all()


def test_a_small_array_does_not_hold_a_large_message() -> None:
    """An array of a few bytes beside a large one owns its memory."""
    with Topic("t") as topic:
        topic.send([image(), np.arange(5)])
        large, small = topic.recv()
        assert small.flags.owndata
        assert large.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.arange(200_000.0).reshape(400, 500)[::2, ::-1],
        np.asfortranarray(np.arange(200_000.0).reshape(400, 500)),
        np.arange(200_000, dtype=">i8"),
        np.arange(200_000).astype("M8[us]"),
        np.zeros(50_000, [("x", "<f4"), ("y", ">f8"), ("z", "i1", (3,))]),
        np.arange(50_000, dtype=np.longdouble),
        np.arange(100_000).astype("U6"),
        np.lib.stride_tricks.as_strided(np.arange(10.0), (20_000, 10), (0, 8)),
    ],
    ids=["slices", "fortran", "big-endian", "dates", "structured", "long double", "text", "broadcast"],
)
def test_large_arrays_of_all_layouts_come_back(array: Any) -> None:
    """Equal, aligned and writable when received; equal and read-only when borrowed."""
    with Topic("t") as one, Topic("t") as other:
        one.send({"a": "odd", "b": array})
        for value, writable in ((one.recv()["b"], True), (borrowed(other).value["b"], False)):
            assert (value.dtype, value.shape) == (array.dtype, array.shape)
            assert (value == array).all()
            assert value.flags.aligned
            assert value.flags.writeable == writable


# Nodes


def camera() -> Node:
    """Sends an image a tick."""
    return Node("camera", tick=lambda n: n.send("image", {"n": tick(), "data": image(tick(), 90_000)}), pubs="image")


def detector() -> Node:
    """Borrows one image a tick and tells its checksum."""

    def look(node: Node) -> None:
        with node.borrow("image") as message:
            if message is not None:
                pixels = message.value["data"]
                node.send("sum", [message.seq, int(pixels.sum()), pixels.flags.writeable, message.valid])

    return Node("detector", tick=look, subs="image", pubs="sum")


def patient_detector() -> Node:
    """The same by a task of one tick that never ends, and waits for each image."""

    async def look(node: Node) -> None:
        while True:
            with trio.move_on_after(0.0007):  # it often waits in vain
                async with node.borrow("image") as message:
                    pixels = message.value["data"]
                    await sleep(0.0003)
                    node.send("sum", [message.seq, int(pixels.sum()), pixels.flags.writeable, message.valid])

    return Node("detector", tick=look, subs="image", pubs="sum")


def waiting_detector() -> Node:
    """The same, one image a tick, waited for."""

    async def look(node: Node) -> None:
        async with node.borrow("image") as message:
            pixels = message.value["data"]
            node.send("sum", [message.seq, int(pixels.sum()), pixels.flags.writeable, message.valid])

    return Node("detector", tick=look, subs="image", pubs="sum")


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_borrowed_message_that_was_waited_for_is_an_input_like_any_other(
    deterministic: bool, recordings_dir: Path
) -> None:
    """It is recorded as taken, and a verification gives it to the node again."""
    record("s", [waiting_detector(), camera()], deterministic=deterministic)

    lines = open_session("s", recordings_dir).executions("detector")
    ticks = [line for line in lines if isinstance(line, ExecutionRecord)]
    assert sum(len(line.inputs) for line in ticks) > 3
    report = verify("s", [waiting_detector()], nodes=["detector"])
    assert report.passed, str(report.first_difference)
    assert report.compared > 3


def test_a_tick_that_waits_for_borrowed_messages_is_verified(recordings_dir: Path) -> None:
    """How often it gave up is recorded, too."""
    record("s", [patient_detector(), camera()], deterministic=True)

    assert len(list(open_session("s", recordings_dir).outputs("detector"))) > 3
    report = verify("s", [patient_detector()], nodes=["detector"])
    assert report.passed, str(report.first_difference)
    assert report.compared > 3


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_borrowed_message_is_an_input_like_any_other(deterministic: bool, recordings_dir: Path) -> None:
    """It is recorded as taken, and the node does the same in a verification, with read-only arrays."""
    record("s", [camera(), detector()], deterministic=deterministic)

    lines = open_session("s", recordings_dir).executions("detector")
    ticks = [line for line in lines if isinstance(line, ExecutionRecord)]
    assert all(len(line.inputs) == len(line.outputs) for line in ticks)
    assert sum(len(line.inputs) for line in ticks) > 3
    report = verify("s", [detector()], nodes=["detector"])
    assert report.passed, str(report.first_difference)
    assert report.compared > 3


@pytest.mark.parametrize("make", [detector, waiting_detector])
def test_a_borrowed_message_from_outside_is_recorded(make: Callable[[], Node], recordings_dir: Path) -> None:
    """Its bytes lie in ``external``, and the node gets them from there when it is verified."""

    def drive(node: Node) -> None:
        outside.send({"n": tick(), "data": image(tick(), 90_000)})

    with Topic("image") as outside:
        record("s", [make(), Node("driver", tick=drive, rate=50)], deterministic=False)
    found = [decode(message.payload) for message in open_session("s", recordings_dir).external()]
    assert len(found) > 3
    for value in found:
        assert (value["data"] == image(value["n"], 90_000)).all()
    report = verify("s", [make()], nodes=["detector"])
    assert report.passed, str(report.first_difference)
    assert report.compared > 3


@pytest.mark.parametrize("make", [detector, waiting_detector])
def test_what_cannot_be_borrowed_is_no_input(make: Callable[[], Node], recordings_dir: Path) -> None:
    """A message of another process that is none is left out and counted, and no verification misses it."""

    def drive(node: Node) -> None:
        publisher.publish(b"\0\1\0\0garbage that is no message", now_ns())
        publisher.publish(encode({"data": image(tick(), 90_000)}), now_ns())

    with Bus() as bus:
        publisher = bus.publisher("image", "stranger")
        scheduler = Scheduler(recording="s").add(make()).add(Node("driver", tick=drive, rate=50))
        scheduler.run_sync(duration=0.5)
    assert scheduler.stats().nodes["detector"].refused > 3
    assert len([*open_session("s", recordings_dir).external()]) > 3
    report = verify("s", [make()], nodes=["detector"])
    assert report.passed, str(report.first_difference)
    assert report.compared > 3


def test_what_a_node_does_with_a_received_array_is_not_recorded(recordings_dir: Path) -> None:
    """A message from outside is recorded as it came, also when the node writes into the array it got."""

    def spoil(node: Node) -> None:
        for value in node.recv_all("image"):
            value[:] = 0

    with Topic("image") as outside:
        driver = Node("driver", tick=lambda _: outside.send(image(1, 90_000)), rate=50)
        record("s", [Node("spoiler", tick=spoil, subs="image"), driver], deterministic=False)
    found = list(open_session("s", recordings_dir).external())
    assert len(found) > 3
    assert all((decode(message.payload) == image(1, 90_000)).all() for message in found)


def test_a_message_overwritten_before_it_is_recorded_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be copied whole for the recording is an error in the node, not a torn message in a file."""
    taken = []

    def copy(payload: Any) -> bytes:
        overwrite(outside)
        return as_bytes(payload)

    def look(node: Node) -> None:
        with node.borrow("image"):
            taken.append(1)

    scheduler = Scheduler(recording="s")
    scheduler.add(Node("n", tick=look, init=lambda _: outside.send(image(0)), subs="image"))
    with Topic("image", capacity=4 * MIB) as outside:
        monkeypatch.setattr("horus_async.engine.ports.as_bytes", copy)
        with pytest.raises(NodeFailure) as caught:
            scheduler.run_sync(duration=5)
    assert isinstance(caught.value.exceptions[0], MessageOverwrittenError)
    assert open_session("s").nodes
    assert [*open_session("s").external()] == []


def test_a_borrowed_message_compares_by_what_it_is() -> None:
    """Where it lies is no part of it."""
    with Topic("t") as one, Topic("t") as other:
        one.send(b"x" * 5000)
        first, second = borrowed(one), borrowed(other)
        assert first == second
        assert evolve(first, seq=5) != second
