"""A ring's writer where it takes the short way, makes room, gets memory, wakes readers, and ends.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.errors import MessageTooLargeError, TopicError
from horus_async.topics.exchange import Channel
from horus_async.topics.publisher import Publisher
from horus_async.topics.ring.core import packers
from horus_async.topics.ring.guard import OVER
from horus_async.topics.ring.layout import (
    CAPACITY_MIN,
    DATA_AT_LIMIT,
    ENTRY_CRC,
    FIRST_DATA_AT,
    RECORD,
    SCHEMA_SIZE,
    SCHEMAS_LIMIT,
    SEGMENTS,
    SLOTS,
    SLOTS_AT,
    Word,
    bell_byte,
    record_size,
)
from horus_async.topics.ring.locks import Rank
from horus_async.topics.ring.region import SMALL, Cursor, adopt_region
from horus_async.topics.ring.tables import Tables
from horus_async.topics.ring.turn import Turn
from horus_async.topics.ring.writer import RingWriter
from horus_async.topics.values.payload import MESSAGE_LIMIT
from tests.topics.test_ring import drain, new_reader, new_writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

CAPACITY = CAPACITY_MIN


def ring(*, capacity: int = CAPACITY, checked: bool = False, back: Callable[[int], int] | None = None) -> RingWriter:
    """A ring with one publisher, whose name is one letter long."""
    writer = RingWriter(
        lambda _, size: bytearray(size), topic="t", namespace="n", capacity=capacity, checked=checked, back=back
    )
    writer.add_publisher("p")
    return writer


def send(writer: RingWriter, number: int, size: int = 16) -> None:
    """One message."""
    writer.write(b"%d" % (number % 10) * size, 0, number, number)


def rooms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes for which writers make room from now on."""
    sizes: list[int] = []
    make_room = RingWriter.make_room

    def noted(writer: RingWriter, size: int) -> None:
        sizes.append(size)
        make_room(writer, size)

    monkeypatch.setattr(RingWriter, "make_room", noted)
    return sizes


# -- room --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 128, 512, 1024])
def test_a_ring_holds_as_many_messages_as_fill_it(size: int) -> None:
    """Filled to the last byte it has lost none; the next message costs just the oldest."""
    writer = ring()
    count = CAPACITY // size
    for number in range(count):
        send(writer, number, size - RECORD.size)
    reader = new_reader(writer, writer.start())
    assert [message[2] for message in drain(reader)] == list(range(count))
    send(writer, count, size - RECORD.size)
    reader = new_reader(writer, writer.start())
    assert [message[2] for message in drain(reader)] == list(range(1, count + 1))
    assert reader.lost == 1


def test_room_is_made_for_a_stretch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each 64th part of the ring once, for all messages that find room in it."""
    writer = ring(capacity=SEGMENTS * 1024)
    made = rooms(monkeypatch)
    for number in range(64):  # 64 bytes each
        send(writer, number)
        assert writer.limit >= writer.tail
    assert made == [64] * 4
    send(writer, 64)
    assert made == [64] * 5


def test_a_message_too_large_is_told_its_size() -> None:
    """The error names about how large it is, and the ring stays as it was."""
    writer = ring()
    with pytest.raises(MessageTooLargeError, match=f"about {record_size(MESSAGE_LIMIT + 1) - RECORD.size} bytes"):
        writer.make_room(record_size(MESSAGE_LIMIT + 1))
    assert (writer.region.capacity, writer.index) == (CAPACITY, 0)


@pytest.mark.parametrize(("size", "capacity"), [(CAPACITY // 4, CAPACITY), (CAPACITY // 4 + 8, 2 * CAPACITY)])
def test_a_ring_holds_four_of_its_largest_messages(size: int, capacity: int) -> None:
    """It grows for a message of which it could not hold four, and not before."""
    writer = ring()
    send(writer, 0, size - RECORD.size)
    assert writer.region.capacity == capacity


def test_a_ring_grows_to_the_capacity_that_is_wanted() -> None:
    """With the next message that needs room, up to the largest that was asked for; asking for less changes nothing."""
    writer = ring()
    send(writer, 0)
    writer.want_capacity(4 * CAPACITY)
    writer.want_capacity(2 * CAPACITY)
    assert writer.region.capacity == CAPACITY
    for number in range(1, 4):
        send(writer, number)
    assert writer.region.capacity == 4 * CAPACITY
    assert [message[2] for message in drain(new_reader(writer, writer.start()))] == list(range(4))
    writer.want_capacity(CAPACITY)
    for number in range(1000):
        send(writer, number)
    assert len(writer.generations) == 2


@pytest.mark.parametrize("kind", ["publisher", "schema"])
def test_a_capacity_that_is_wanted_is_not_forgotten(kind: str) -> None:
    """Where the tables need a larger header before any message does: the ring still grows with the next one."""
    writer = ring()
    writer.want_capacity(4 * CAPACITY)
    if kind == "schema":
        assert writer.add_schema(schema_of(FIRST_DATA_AT))
    else:
        while len(writer.generations) == 1:
            writer.add_publisher("x" * 250)
    send(writer, 0)
    assert writer.region.capacity == 4 * CAPACITY
    assert [message[2] for message in drain(new_reader(writer, writer.start()))] == [0]


def test_a_ring_that_went_round_often_grows() -> None:
    """Its new generation begins at its own beginning: nothing of it counts as overwritten."""
    writer = ring()
    for number in range(2000):
        send(writer, number)
    for number in range(2000, 2004):
        send(writer, number, 1500)
    assert writer.region.capacity < writer.generations[0].words[Word.LATEST]
    assert [message[2] for message in drain(new_reader(writer, writer.end()))] == []
    newest = new_reader(writer, Cursor(writer.region, writer.region.capacity, writer.region.first_index))
    assert [message[2] for message in drain(newest)] == list(range(2000, 2004))
    assert newest.lost == 0


def test_room_that_was_made_in_vain_is_left_behind() -> None:
    """A message that was interrupted, for which a lap was ended: the next one is written behind that, not before."""
    writer = ring()
    for number in range(63):
        send(writer, number)
    writer.make_room(1024)
    start = writer.tail
    assert (start, writer.limit) == (2 * CAPACITY, 2 * CAPACITY + 1024)
    send(writer, 63)
    assert writer.words[Word.LATEST] == start
    reader = new_reader(writer, writer.start())
    assert [message[2] for message in drain(reader)] == list(range(16, 64))
    assert reader.lost == 16


# -- memory that is got while it is written ----------------------------------------------------------------------------


class Backing:
    """Memory of which only the beginning may be written, until more is asked for."""

    def __init__(self, more: int = 0) -> None:
        self.calls: list[int] = []
        self.more = more
        self.size = 0

    def __call__(self, size: int) -> int:
        """As ``File.back``."""
        self.calls.append(size)
        self.size = size + self.more
        return self.size


def test_memory_is_got_before_it_is_written_and_no_more_than_that() -> None:
    """A stretch at a time, each once: after the first lap there is all of it, and nothing is asked for again."""
    backing = Backing()
    writer = ring(back=backing)
    segment = CAPACITY // SEGMENTS
    assert backing.calls == [FIRST_DATA_AT]
    for number in range(3 * SEGMENTS):
        send(writer, number, segment - RECORD.size)
        assert backing.size == FIRST_DATA_AT + min(number + 1, SEGMENTS) * segment
    assert backing.calls == [FIRST_DATA_AT + number * segment for number in range(SEGMENTS + 1)]


def test_the_memory_of_the_first_message_is_got_when_the_ring_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it costs no more than a later one; where there is room, or the ring is closed, nothing is done."""
    backing = Backing()
    writer = ring(capacity=1 << 16, back=backing)
    writer.make_ready()
    assert backing.calls == [FIRST_DATA_AT, FIRST_DATA_AT + (1 << 16) // SEGMENTS]
    send(writer, 0)
    assert len(backing.calls) == 2
    made = rooms(monkeypatch)
    writer.make_ready()
    writer.close()
    writer.make_ready()
    closed = ring()
    closed.close()
    closed.make_ready()
    assert made == []
    assert [message[2] for message in drain(new_reader(writer, writer.start()))] == [0]


def test_more_memory_than_was_asked_for_is_used() -> None:
    """Nothing is asked for until it is used up."""
    backing = Backing(more=1024)
    writer = ring(back=backing)
    for number in range(SEGMENTS):
        send(writer, number, CAPACITY // SEGMENTS - RECORD.size)
    assert backing.calls == [FIRST_DATA_AT, *(FIRST_DATA_AT + 64 + 1088 * number + 1024 for number in range(3))]


def test_a_message_without_memory_is_not_sent() -> None:
    """It is an error, and the next one, which gets its memory, is written in its place."""
    backing = Backing()
    full: list[bool] = []

    def back(size: int) -> int:
        if full:
            raise TopicError("no room")
        return backing(size)

    writer = ring(back=back)
    send(writer, 0)
    full.append(True)
    with pytest.raises(TopicError, match="no room"):
        send(writer, 1)
    full.clear()
    send(writer, 2)
    assert [message[2] for message in drain(new_reader(writer, writer.start()))] == [0, 2]


# -- the short way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "is_small"), [(0, True), (1, True), (SMALL, True), (SMALL + 1, False)])
def test_a_small_length_that_was_met_is_packed_by_one_call(length: int, *, is_small: bool) -> None:
    """What a publisher packs so is, byte for byte, the record that is written the slower way."""
    writer, other = ring(capacity=1 << 16), ring(capacity=1 << 16)
    packers.pop(length, None)
    payload = bytes(range(251)) * (length // 251) + bytes(length % 251)
    writer.write(payload, 0, 7, -8, order_ns=9)
    assert (length in packers) == is_small
    if is_small:
        pack, size = packers[length]
        assert size == record_size(length)
        other.make_room(size)
        pack(other.map, other.data_at, length, 0, 7, -8, 9, 0, payload)
        assert other.map[other.data_at :] == writer.map[writer.data_at :]


@pytest.mark.parametrize("checked", [False, True])
def test_a_ring_with_checksums_has_no_short_way(checked: bool) -> None:
    """Each of its records needs a checksum, also of a length that was met where there are none."""
    writer = ring(checked=checked)
    publisher = Publisher("t", "p", open_ring=lambda: writer, channel=Channel("t", Rank.CHANNEL), turn=Turn())
    for stamp in range(3):
        publisher.publish(b"16 bytes, thrice", stamp)
    assert [message[2] for message in drain(new_reader(writer, writer.start()))] == [0, 1, 2]


@pytest.mark.parametrize("checked", [False, True])
def test_messages_are_counted_where_there_are_checksums(checked: bool) -> None:
    """``COUNT`` is for readers that may not see the newest record yet; without checksums it stays 0."""
    writer = ring(checked=checked)
    for number in range(3):
        send(writer, number)
        assert writer.words[Word.COUNT] == (number + 1 if checked else 0)


def test_who_counts_gets_the_next_number() -> None:
    """A publisher that gives itself; else the writer counts."""
    writer, other = ring(), ring()
    assert writer.next_seq == 0
    writer.write(b"", 0, 5, 0)
    assert writer.next_seq == 6
    writer.write(b"", 0, 8, 0, counting=other)
    assert (writer.next_seq, other.next_seq) == (6, 9)


# -- generations -------------------------------------------------------------------------------------------------------


def test_a_generation_knows_its_number_and_the_next_one() -> None:
    """Each leads to the next, by its number; there is none behind the newest, nor one of a number not made yet."""
    writer = ring()
    for number in range(3):
        send(writer, number, 2000 << number)
    regions = writer.generations
    assert [region.generation for region in regions] == [0, 1, 2, 3]
    assert [region.words[Word.NEXT] for region in regions] == [1, 2, 3, 0]
    assert [region.first_index for region in regions] == [0, 0, 1, 2]
    assert [writer.follow(number) for number in range(4)] == regions
    assert writer.follow(4) is None
    assert writer.follow(1 << 63) is None


def test_who_sleeps_at_the_old_generation_is_woken_by_the_new_one() -> None:
    """Its slots come along, and with them the word that says so."""
    writer = ring()
    writer.map[SLOTS_AT + 3] = writer.map[SLOTS_AT + SLOTS - 1] = 1
    send(writer, 0, 5000)
    assert len(writer.generations) == 2
    assert writer.words[Word.SLEEPERS]
    assert writer.sleepers() == [3, SLOTS - 1]
    writer.map[SLOTS_AT + 5] = 1
    send(writer, 1, 10_000)
    assert writer.sleepers() == [5]


def test_a_ring_rings_with_the_byte_of_its_topic() -> None:
    """By which those who sleep know whether it concerns them."""
    assert ring().bell_byte == bell_byte("t")


@pytest.mark.parametrize("slots", [[], [0], [SLOTS - 1], [3, 4, 200], list(range(SLOTS))])
def test_each_sleeper_is_rung_once(slots: list[int]) -> None:
    """All who sleep, each by its own slot, until it sleeps again; what stands behind the slots is left alone."""
    writer = ring()
    assert writer.map[SLOTS_AT + SLOTS] == 1  # the length of the topic's name: it could be taken for one more
    for slot in slots:
        writer.map[SLOTS_AT + slot] = 1
    writer.words[Word.SLEEPERS] = 1
    assert writer.sleepers() == slots
    assert not writer.words[Word.SLEEPERS]
    assert writer.sleepers() == []
    assert not any(writer.map[SLOTS_AT : SLOTS_AT + SLOTS])
    assert adopt_region(writer.map) is not None


def test_what_interrupts_a_new_generation_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may strike between any two lines of it: the next message goes on there, as if nothing had been."""
    writer = ring()
    send(writer, 0)
    opened: list[Any] = []

    def interrupted(_: RingWriter, what: Any) -> None:
        opened.append(what)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RingWriter, "_move_to", interrupted)
        with pytest.raises(KeyboardInterrupt):
            send(writer, 1, 5000)
    for number in (1, 2):
        send(writer, number, 5000)
    assert writer.generations[1:] == [opened[0].region]
    assert [message[2] for message in drain(new_reader(writer, writer.start()))] == [0, 1, 2]


class Strike:
    """For ``sys.settrace``: Ctrl-C before a line of the function that goes on in a new generation."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        """Count the lines, and strike once."""
        if frame.f_code is not RingWriter._move_to.__code__:
            return None
        if event == "line":
            self.passed += 1
            if self.passed == self.at:
                raise KeyboardInterrupt
        return self


def test_ctrl_c_between_any_two_lines_of_a_new_generation() -> None:
    """Also where the old one had room left: what comes next is in one of them, whole, and nothing else is missing."""
    at, struck = 0, True
    while struck:
        at += 1
        writer, strike = ring(capacity=1 << 16), Strike(at)
        send(writer, 0)
        sys.settrace(strike)
        try:
            send(writer, 1, 30_000)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        struck = strike.passed >= at
        for number in (2, 3, 4):
            send(writer, number)
        found = [message[2] for message in drain(new_reader(writer, writer.start()))]
        assert found == [0, *([] if struck else [1]), 2, 3, 4]
    assert at > 10


@pytest.mark.parametrize("given", [{}, {"pid": 7, "started_ns": 8}])
def test_a_header_says_what_is_known_of_the_writer(given: dict[str, Any]) -> None:
    """In each generation; what nobody told is 0."""
    writer = RingWriter(lambda _, size: bytearray(size), topic="t", namespace="n", capacity=CAPACITY, **given)
    writer.make_room(5000)
    assert len(writer.generations) == 2
    for region in writer.generations:
        assert region.words[Word.PID] == given.get("pid", 0)
        assert region.words[Word.STARTED_NS] == given.get("started_ns", 0)


# -- tables ------------------------------------------------------------------------------------------------------------


def schema_of(size: int) -> bytes:
    """A schema whose entry in the table has so many bytes."""
    return b"x" * (size - SCHEMA_SIZE.size - ENTRY_CRC.size)


def test_the_data_of_a_ring_begin_at_the_limit_at_the_latest() -> None:
    """Tables may take up to it; those that would need more are refused, and the ring stays as it was."""
    writer = ring()
    writer._tables = Tables((b"p",), (schema_of(DATA_AT_LIMIT // 2),))
    assert writer._tables.data_at == DATA_AT_LIMIT
    send(writer, 0, 5000)
    assert writer.region.data_at == DATA_AT_LIMIT
    writer._tables = Tables((b"p", b"q"), (schema_of(DATA_AT_LIMIT),))
    with pytest.raises(TopicError, match="topic 't' has too many publishers in one process: 2"):
        send(writer, 1, 50_000)
    assert len(writer.generations) == 2


@pytest.mark.parametrize(("more", "is_there"), [(0, True), (1, False)])
def test_schemas_fill_their_table_to_the_limit(more: int, *, is_there: bool) -> None:
    """One that finds no room is refused, and nothing is changed by it; the next small one is taken."""
    writer = ring()
    assert writer.add_schema(schema_of(1000))
    text = schema_of(SCHEMAS_LIMIT - 1000 + more)
    assert writer.add_schema(text) == is_there
    assert (text in writer.schemas) == is_there
    assert writer.add_schema(schema_of(100)) != is_there


def test_a_schema_is_entered_once() -> None:
    """One that is there already is there: also in a ring that is closed, where a new one is an error."""
    writer = ring()
    for _ in range(2):
        assert writer.add_schema(b"one")
    assert writer.schemas == (b"one",)
    writer.close()
    assert writer.add_schema(b"one")
    with pytest.raises(TopicError, match="topic 't' is closed"):
        writer.add_schema(b"two")
    with pytest.raises(TopicError, match="topic 't' is closed"):
        writer.add_publisher("q")


def test_publishers_are_numbered_from_0() -> None:
    """In the order in which they come."""
    writer = new_writer()
    assert [writer.add_publisher(name) for name in "abc"] == [0, 1, 2]
    assert [writer.region.publisher(number) for number in range(3)] == ["a", "b", "c"]


# -- the end, and neighbours -------------------------------------------------------------------------------------------


def test_every_generation_of_a_closed_ring_says_so() -> None:
    """How many messages there were, and when: once, and not by one that is another process's after a fork."""
    writer = ring()
    for number in range(3):
        send(writer, number, 2000 << number)
    writer.close()
    ends = [(region.words[Word.CLOSED], region.words[Word.CLOSED_NS]) for region in writer.generations]
    assert len(ends) == 4
    assert set(ends) == {(4, ends[0][1])}
    assert ends[0][1] > 0
    writer.close()
    assert [(region.words[Word.CLOSED], region.words[Word.CLOSED_NS]) for region in writer.generations] == ends
    forked = ring()
    forked.refuse("of the parent")
    forked.close()
    assert not forked.words[Word.CLOSED]
    with pytest.raises(TopicError, match="of the parent"):
        send(forked, 0)


@pytest.mark.parametrize("end", [RingWriter.close, RingWriter.lose, lambda writer: writer.refuse("no more")])
def test_room_that_is_left_at_the_end_is_not_used(end: Callable[[RingWriter], object]) -> None:
    """Whoever takes the short way finds none, also where the last messages did not fill what was claimed for them."""
    writer = ring(capacity=1 << 16)
    send(writer, 0)
    assert writer.limit >= writer.tail + record_size(16)
    end(writer)
    assert writer.limit < writer.tail
    if writer.gone:
        return
    with pytest.raises(TopicError, match=r"is closed|no more"):
        send(writer, 1)
    assert writer.index == 1


def test_a_ring_whose_file_was_cut_is_gone() -> None:
    """Its publisher looks wherever it takes the slower way, which the guard sees to."""
    writer = ring(capacity=1 << 16)
    send(writer, 0)
    assert not writer.gone
    writer.words[Word.OLDEST], writer.words[Word.MAGIC] = OVER, 0
    assert writer.gone


def test_a_ring_whose_file_was_removed_is_gone() -> None:
    """Nobody else reads what is written into it."""
    writer = ring()
    send(writer, 0)
    assert not writer.gone
    writer.lose()
    assert writer.gone
    assert writer.limit == 0


def test_damage_by_others_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the topic's name and what is wrong; each ring for itself."""
    one, two = ring(), ring()
    with caplog.at_level(logging.WARNING):
        for writer in (one, one, two):
            writer.say_damaged("why it is")
    assert len(caplog.records) == 2
    assert all(re.search(r"'t'.*why it is", record.getMessage()) for record in caplog.records)
    assert [record.ring for record in caplog.records] == ["t", "t"]  # type: ignore[attr-defined]
