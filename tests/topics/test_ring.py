"""The ring against a model, and its memory against its description."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from horus_async.errors import MessageTooLargeError, TopicError
from horus_async.native import core
from horus_async.topics.ring import layout
from horus_async.topics.ring.layout import RING_LIMIT, Word, record_size, rounded_capacity
from horus_async.topics.ring.reader import RingReader
from horus_async.topics.ring.writer import RingWriter
from horus_async.topics.values.payload import MESSAGE_LIMIT

if TYPE_CHECKING:
    from horus_async.topics.ring.region import Cursor, Region


def new_writer(capacity: int = 4096, *, checked: bool = False, memory: type[bytearray] = bytearray) -> RingWriter:
    """A ring in ordinary memory."""
    return RingWriter(
        lambda _, size: memory(size), topic="a/b", namespace="n", capacity=capacity, checked=checked, pid=7
    )


def new_reader(writer: RingWriter, cursor: Cursor) -> RingReader:
    """A reader that finds the generations at the writer."""

    def follow(generation: int) -> Region | None:
        return writer.generations[generation] if generation < len(writer.generations) else None

    return RingReader(cursor, follow)


def drain(reader: RingReader) -> list[Any]:
    """All messages that are left."""
    messages = []
    while (message := reader.take()) is not None:
        messages.append(message)
    return messages


def surely_left(written: list[tuple[bytes, str, int, int]], index: int, capacity: int) -> bool:
    """Whether a message must still be in a ring, given that it makes room by stretches.

    A stretch begins with a message of any size and ends less than a segment behind it. It goes as a whole, and is not
    all filled when its lap ends.
    """
    segment = capacity // layout.SEGMENTS
    sizes = [record_size(len(message[0])) for message in written]
    first, behind = index, sizes[index]  # of the stretch, at the earliest
    while first and behind < segment:
        first -= 1
        behind += sizes[first]
    return sum(sizes[first:]) + max(sizes[first:]) + segment <= capacity


class RingModel(RuleBasedStateMachine):
    """A ring is a deque from which the oldest fall out, and each reader has a place in it."""

    checked = False

    @initialize(capacity=st.sampled_from([4096, 8192]))
    def open(self, capacity: int) -> None:
        """An empty ring with a reader from the start."""
        self.writer = new_writer(capacity, checked=self.checked)
        self.names = ["p0"]
        self.writer.add_publisher("p0")
        self.written: list[tuple[bytes, str, int, int]] = []
        self.left: deque[int] = deque()
        """Indices of messages that surely fit into the ring's newest generation."""
        self.readers = [new_reader(self.writer, self.writer.start())]
        self.begun = [0]
        self.places = [0]
        self.losses = [0]

    @rule(name=st.text(min_size=1, max_size=30))
    def add_publisher(self, name: str) -> None:
        """One more name in the table."""
        assert self.writer.add_publisher(name) == len(self.names)
        self.names.append(name)

    @rule(
        sizes=st.lists(st.integers(0, 300), min_size=1, max_size=60),
        publisher=st.integers(0, 100),
        stamp=st.integers(-(2**63), 2**63 - 1),
        parts=st.integers(0, 3),
    )
    def write(self, sizes: list[int], publisher: int, stamp: int, parts: int) -> None:
        """Some messages of small and medium size."""
        for size in sizes:
            self._write(size, publisher % len(self.names), stamp, parts)

    @rule(size=st.integers(1000, 20_000))
    def write_large(self, size: int) -> None:
        """A message that may make the ring grow."""
        self._write(size, 0, 5, 0)

    def _write(self, size: int, publisher: int, stamp: int, parts: int) -> None:
        index = len(self.written)
        payload = (index.to_bytes(4, "little") * (size // 4 + 1))[:size]
        whole: Any = [payload[: size // 2], memoryview(payload)[size // 2 :]] if parts == 0 else payload
        self.writer.write(whole, publisher, index * 3, stamp)
        self.written.append((payload, self.names[publisher], index * 3, stamp))

    @rule(number=st.integers(0, 100), count=st.integers(1, 80))
    def take(self, number: int, count: int) -> None:
        """A reader gets the next message that is left; what lies between is counted as lost."""
        number %= len(self.readers)
        for _ in range(count):
            self._take(number)

    def _take(self, number: int) -> None:
        reader = self.readers[number]
        expected = self.places[number]
        waiting = reader.has_message()
        message = reader.take()
        assert waiting == (message is not None) == (expected < len(self.written))
        if message is None:
            return
        index = message[2] // 3
        assert message == self.written[index]
        assert index >= expected
        self.losses[number] += index - expected
        if index > expected:
            # the message may have been lost before the ring grew
            assert not surely_left(self.written, index - 1, self.writer.generations[0].capacity)
        self.places[number] = index + 1
        assert reader.lost >= self.losses[number]

    @rule(from_start=st.booleans())
    def join(self, from_start: bool) -> None:
        """A late reader begins at the next message, or at the very first."""
        start = 0 if from_start else len(self.written)
        self.readers.append(new_reader(self.writer, self.writer.start() if from_start else self.writer.end()))
        self.begun.append(start)
        self.places.append(start)
        self.losses.append(0)

    @rule()
    def drain_all(self) -> None:
        """Every message is taken or lost, and nothing else."""
        for number, reader in enumerate(self.readers):
            while self.places[number] < len(self.written):
                self._take(number)
            assert reader.lost == self.losses[number]
            assert reader.consumed == reader.arrived == len(self.written) - self.begun[number]
            assert not reader.has_message()
            assert reader.take() is None

    @invariant()
    def newest(self) -> None:
        """Each reader sees the newest message, and how many have come."""
        for number, reader in enumerate(self.readers if hasattr(self, "readers") else []):
            assert reader.latest() == (self.written[-1] if self.written else None)
            assert reader.arrived == len(self.written) - self.begun[number]


class CheckedRingModel(RingModel):
    """The same with a CRC in each record, as on processors that reorder stores."""

    checked = True


TestRing = RingModel.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
TestCheckedRing = CheckedRingModel.TestCase
TestCheckedRing.settings = settings(max_examples=30, stateful_step_count=40, deadline=None, derandomize=True)


@pytest.mark.parametrize("checked", [False, True])
def test_overflow_drops_the_oldest(checked: bool) -> None:
    """A slow reader goes on with the oldest message that is left, and knows exactly how many it missed (J.1-50)."""
    writer = new_writer(checked=checked)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    for number in range(1000):
        writer.write(b"%4d" % number, 0, number, number)

    assert reader.lost > 900
    seqs = [message[2] for message in drain(reader)]

    assert seqs == list(range(1000 - len(seqs), 1000))
    assert reader.lost == 1000 - len(seqs)
    assert reader.arrived == reader.consumed == 1000
    assert len(seqs) * record_size(4) > 4096 - 2 * 4096 // layout.SEGMENTS - record_size(4)


@pytest.mark.skipif(core is not None, reason="nothing comes in between the copying and the check of the native core")
def test_a_lap_during_the_copy_is_noticed() -> None:
    """A record that is overwritten while it is read is never given out: the reader goes on with what is left."""
    writer = new_writer()
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    writer.write(b"first", 0, 0, 0)
    writer.write(b"first", 0, 1, 0)
    assert reader.take() is not None
    names = reader.region.names

    class Late(list[str]):
        """Lets the writer come round between the copy and the check."""

        def __getitem__(self, index: Any) -> Any:
            reader.names = names
            for number in range(2, 500):
                writer.write(b"%5d" % number, 0, number, 0)
            return names[index]

    reader.names = Late(names)
    message = reader.take()

    assert message is not None
    assert message[2] > 400
    assert message[0] == b"%5d" % message[2]
    assert reader.lost == message[2] - 1


def test_a_lap_during_the_copy_of_a_large_message_is_noticed() -> None:
    """The same for messages that are copied in the slower way."""
    armed: list[RingWriter] = []

    class Memory(bytearray):
        """Lets the writer come round before the payload is copied."""

        def __getitem__(self, key: Any) -> Any:
            if armed:
                late = armed.pop()
                for number in range(1, 30):
                    late.write(bytes([number]) * 5000, 0, number, 0)
            return super().__getitem__(key)

    writer = RingWriter(lambda _, size: Memory(size), topic="t", namespace="n", capacity=1 << 15)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    writer.write(bytes(5000), 0, 0, 0)
    armed.append(writer)

    message = reader.take()

    assert message is not None
    assert message[2] > 20
    assert message[0] == bytes([message[2]]) * 5000
    assert reader.lost == message[2]


def test_while_a_message_as_large_as_the_ring_is_written_there_is_none() -> None:
    """A writer that has made room, and dies before it has written, leaves an empty ring; one that lives goes on."""
    writer = new_writer()
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    for seq in range(3):
        writer.write(b"small", 0, seq, 0)
    writer._checkpoints.clear()
    writer._checkpoints.append(writer.tail)
    writer.region.words[Word.OLDEST] = writer.tail

    assert not reader.has_message()
    assert reader.take() is None
    assert reader.latest() is None
    assert reader.arrived == 0
    writer.write(b"next", 0, 3, 0)
    assert [message[0] for message in drain(reader)] == [b"next"]
    assert reader.lost == 3


def test_a_writer_that_dies_while_writing_leaves_nothing_behind() -> None:
    """Bytes of a record whose position was not stored are never read."""
    writer = new_writer()
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    writer.write(b"whole", 0, 0, 0)
    at = writer.region.offset(writer.tail)
    layout.RECORD.pack_into(writer.region.map, at, 5, 1, 1, 0, 0, 0, 0)

    assert [message[0] for message in drain(reader)] == [b"whole"]
    assert not reader.has_message()


def test_a_damaged_record_of_a_checked_ring_is_not_given_out() -> None:
    """With a wrong CRC a record is not there yet; when it is right it is."""
    writer = new_writer(checked=True)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    writer.write(b"payload", 0, 0, 0)
    at = writer.region.offset(writer.region.words[Word.LATEST]) + layout.RECORD.size
    writer.region.map[at : at + 1] = b"P"
    assert reader.take() is None

    writer.region.map[at : at + 1] = b"p"

    assert [message[0] for message in drain(reader)] == [b"payload"]


@pytest.mark.parametrize("count", [1, 5])
def test_growth_loses_nothing(count: int) -> None:
    """When a large message makes the ring grow, readers finish the old ring and follow."""
    writer = new_writer()
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    payloads = []
    for number in range(count):
        payloads += [b"small %d" % number, bytes([number]) * (3000 << number), b"next"]
    for seq, payload in enumerate(payloads):
        writer.write(payload, 0, seq, 0)

    assert [message[0] for message in drain(reader)] == payloads
    assert reader.lost == 0
    assert len(writer.generations) == count + 1


def test_losses_in_a_later_generation_are_known_at_once() -> None:
    """A reader that is still busy with an old generation knows what it has lost in the next one."""
    writer = new_writer()
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    for seq in range(50):
        writer.write(b"small", 0, seq, 0)
    for seq in range(50, 100):
        writer.write(bytes(2000), 0, seq, 0)

    lost = reader.lost
    seqs = [message[2] for message in drain(reader)]

    assert seqs[:50] == list(range(50))
    assert lost == reader.lost == 100 - len(seqs) > 40


def test_a_ring_grows_to_its_limit_and_no_further() -> None:
    """The largest message fits; one byte more is an error that names the limit, and the ring goes on."""
    writer = new_writer()
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    writer.write(bytes(MESSAGE_LIMIT), 0, 0, 0)
    assert writer.region.capacity == RING_LIMIT
    with pytest.raises(MessageTooLargeError, match=f"MESSAGE_LIMIT = {MESSAGE_LIMIT}"):
        writer.write(bytes(MESSAGE_LIMIT + 1), 0, 1, 0)
    writer.write(b"small", 0, 1, 0)

    assert [len(message[0]) for message in drain(reader)] == [MESSAGE_LIMIT, 5]


def test_a_failed_growth_leaves_the_ring_as_it_was() -> None:
    """Where there is no memory to grow, the large message is an error and small ones still go."""
    rooms = [bytearray(8192 + 4096)]

    def allocate(generation: int, size: int) -> bytearray:
        if not rooms:
            raise TopicError("no room")
        return rooms.pop()

    writer = RingWriter(allocate, topic="t", namespace="n", capacity=4096)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    writer.write(b"before", 0, 0, 0)
    with pytest.raises(TopicError, match="no room"):
        writer.write(bytes(5000), 0, 1, 0)
    with pytest.raises(TopicError, match="no room"):
        writer.add_publisher("x" * 255 + "y" * 10_000)
    writer.write(b"after", writer.add_publisher("q"), 1, 0)

    assert [message[:2] for message in drain(reader)] == [(b"before", "p"), (b"after", "q")]


def test_very_many_publishers() -> None:
    """More publishers than the table holds make a generation with a larger table."""
    writer = new_writer()
    reader = new_reader(writer, writer.end())
    names = [f"publisher {number} {'x' * 200}" for number in range(100)]
    for seq, name in enumerate(names):
        writer.write(b"", writer.add_publisher(name), seq, 0)

    messages = drain(reader)

    assert reader.lost == 0
    assert [message[1] for message in messages] == names


def test_a_closed_ring() -> None:
    """After the end a reader gets what is left, then knows that nothing more will come; writing is an error."""
    writer = new_writer()
    writer.add_publisher("p")
    reader = new_reader(writer, writer.end())
    writer.write(b"last", 0, 0, 0)
    writer.close()
    assert not reader.ended
    assert [message[0] for message in drain(reader)] == [b"last"]

    assert reader.ended
    with pytest.raises(TopicError, match="topic 'a/b' is closed"):
        writer.write(b"more", 0, 1, 0)


@pytest.mark.parametrize("checked", [False, True])
def test_the_layout_as_a_stranger_reads_it(checked: bool) -> None:
    """The bytes are those that the description promises: a reader written from it alone finds the messages."""
    writer = new_writer(checked=checked)
    writer.add_publisher("first")
    writer.add_publisher("zweiter ü")
    for seq in range(200):
        writer.write(b"payload %d" % seq, seq % 2, seq + 10, 1_000 + seq)
    data = bytes(writer.region.map)

    words = struct.unpack_from("<64Q", data)
    assert struct.pack("<Q", words[0]) == b"HORUSRNG"
    assert words[1:8] == (2, 8192, 4096, 0, 0, int(checked), 7)
    data_at, capacity, latest, position = words[2], words[3], words[16], words[17]
    texts: list[str] = []
    names: list[str] = []
    for found, offset, count, behind in ((texts, 512, 2, 0), (names, 2048, words[20], 4)):
        for number in range(count):
            (length,) = struct.unpack_from("<H", data, offset)
            text = data[offset + 2 : offset + 2 + length]
            found.append(text.decode())
            offset += 2 + length + behind  # noqa: PLW2901
            if behind:
                (crc,) = struct.unpack_from("<I", data, offset - behind)
                assert crc == zlib.crc32(struct.pack("<I", number) + text)
    assert words[11] == zlib.crc32(data[8:72] + data[512:2048])
    assert (texts, names) == (["a/b", "n"], ["first", "zweiter ü"])
    seen = []
    while position <= latest:
        at = data_at + position % capacity
        if struct.unpack_from("<Q", data, at) == ((1 << 63) + position,):
            position += capacity - position % capacity
            continue
        length, index, seq, stamp, order, publisher, crc = struct.unpack_from("<QQQqqII", data, at)
        payload = data[at + 48 : at + 48 + length]
        fields = length, index, seq, stamp, order, publisher
        if checked:
            assert crc == zlib.crc32(struct.pack("<QQQQqqI", position, *fields) + payload)
        assert order == stamp
        assert (seq, stamp, publisher, payload) == (index + 10, 1_000 + index, index % 2, b"payload %d" % index)
        seen.append(index)
        position += 48 + -(-length // 8) * 8
    assert seen == list(range(200 - len(seen), 200))
    assert len(seen) > 50


def test_memory_that_is_no_ring() -> None:
    """Memory without our mark, or of another version, is refused."""
    from horus_async.topics.ring.region import Region

    region = new_writer().region
    region.words[Word.VERSION] = 1
    for memory in (bytearray(8192), region.map):
        with pytest.raises(TopicError, match="not a ring, or one of another version"):
            Region(memory)


def test_capacities() -> None:
    """A capacity is rounded up to a power of two within the limits."""
    assert [rounded_capacity(wanted) for wanted in (1, 4096, 4097, 1 << 20, (1 << 20) + 1, 1 << 40)] == [
        4096,
        4096,
        8192,
        1 << 20,
        1 << 21,
        RING_LIMIT,
    ]
