"""A reader of a ring where it takes the short way, meets damage, comes to an end, and counts what it lost.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from horus_async.errors import TopicError
from horus_async.native import core
from horus_async.topics.ring.layout import RECORD, Word, record_size
from horus_async.topics.ring.reader import PATIENCE, RingReader
from horus_async.topics.ring.region import SMALL, Region
from horus_async.topics.values.payload import WITH_BUFFERS
from tests.topics.test_ring import drain, new_reader, new_writer

if TYPE_CHECKING:
    from horus_async.topics.ring.writer import RingWriter

CAPACITY = 4096


def ring(*sizes: int, capacity: int = CAPACITY, checked: bool = False) -> RingWriter:
    """A ring with messages of these sizes."""
    writer = new_writer(capacity, checked=checked)
    writer.add_publisher("p")
    for number, size in enumerate(sizes):
        send(writer, number, size)
    return writer


def send(writer: RingWriter, number: int, size: int = 10) -> None:
    """One more message."""
    writer.write(b"%d" % (number % 10) * size, 0, number, number)


def numbers(reader: RingReader) -> list[int]:
    """The sequence numbers of all messages that are left."""
    return [message[2] for message in drain(reader)]


def counting(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """The positions for which a method of regions is called from now on."""
    called: list[int] = []
    original = getattr(Region, name)

    def count(region: Region, position: int, *arguments: Any, **options: Any) -> Any:
        called.append(position)
        return original(region, position, *arguments, **options)

    monkeypatch.setattr(Region, name, count)
    return called


# -- the short way -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(core is not None, reason="the native core takes any length the short way")
def test_a_length_that_was_met_is_taken_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of each reader and of each length is copied the long way; so is each beyond ``SMALL``."""
    lengths = (SMALL - 3, SMALL, SMALL + 1)
    writer = ring(*[length for length in lengths for _ in "123"], capacity=1 << 17)
    reader = new_reader(writer, writer.start())
    assert numbers(reader) == list(range(9))
    again = new_reader(writer, writer.start())
    copied = counting(monkeypatch, "copy")
    assert numbers(again) == list(range(9))
    assert len(copied) == 4
    monkeypatch.setattr(writer.generations[0], "names", [])  # a publisher that is not known yet: the long way once
    third = new_reader(writer, writer.start())
    copied.clear()
    assert numbers(third) == list(range(9))
    assert len(copied) == 4


def test_the_order_of_the_next_message_is_read_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a negative one; without a message there is none."""
    writer = ring(10, 10)
    reader = new_reader(writer, writer.start())
    region = writer.generations[0]
    looked = counting(monkeypatch, "whole")
    for order in (5, -5, -(1 << 63), (1 << 63) - 1):
        region.words[(region.offset(CAPACITY) >> 3) + 4] = order % (1 << 64)
        assert reader.next_order() == order
    assert looked == []
    reader.take()
    looked.clear()
    assert reader.next_order() == 1  # of the newest
    assert looked == []
    drain(reader)
    assert reader.next_order() is None


@pytest.mark.parametrize("order", [5, -5, -(1 << 63), (1 << 63) - 1])
def test_the_order_of_what_is_left_is_read_the_long_way(order: int) -> None:
    """Where the reader's next message is overwritten."""
    writer = ring(10, 10, 10)
    region = writer.generations[0]
    reader = new_reader(writer, writer.start())
    oldest = CAPACITY + 2 * record_size(10)
    region.words[Word.OLDEST] = oldest
    region.words[(region.offset(oldest) >> 3) + 4] = order % (1 << 64)
    assert reader.next_order() == order
    assert reader.lost == 2


def test_whether_there_is_a_message() -> None:
    """One that is newest and oldest, in this generation and in the next."""
    writer = ring(10, 10)
    region = writer.generations[0]
    reader = new_reader(writer, writer.start())
    assert reader.has_message()
    reader.take()
    region.words[Word.OLDEST] = region.words[Word.LATEST]
    assert reader.has_message()
    reader.take()
    assert not reader.has_message()
    send(writer, 2, 3000)
    assert len(writer.generations) == 2
    assert reader.has_message()
    assert numbers(reader) == [2]
    assert not reader.has_message()
    assert reader.lost == 0


def test_what_is_borrowed_tells_its_place() -> None:
    """So that one can see whether it is there still. Text is copied, and needs no place."""
    writer = ring(10, capacity=1 << 16)
    payload = WITH_BUFFERS + b"x" * 100
    writer.write(payload, 0, 1, 1)
    reader = new_reader(writer, writer.start())
    text, place = reader.borrow() or pytest.fail("nothing")
    assert (type(text[0]), place) == (bytes, None)
    loan, place = reader.borrow() or pytest.fail("nothing")
    assert isinstance(loan[0], memoryview)
    assert bytes(loan[0]) == payload
    assert place is not None
    assert (place.position, place.index) == ((1 << 16) + record_size(10), 1)
    checked = ring(checked=True)
    checked.write(payload, 0, 0, 0)
    loan, place = new_reader(checked, checked.start()).borrow() or pytest.fail("nothing")
    assert (type(loan[0]), place) == (bytes, None)


@pytest.mark.parametrize("place", [0, 8])
def test_the_short_way_is_not_taken_where_something_is_odd(place: int) -> None:
    """A wrong index, or a length that is none: the long way finds what is wrong."""
    writer = ring(10, 10, 10)
    region = writer.generations[0]
    told: list[str] = []
    reader = RingReader(writer.start(), writer.follow, say_damaged=told.append)
    drain(new_reader(writer, writer.start()))
    region.words[(region.offset(CAPACITY) + place) >> 3] = 7_000_000
    if place:  # the order is believed without a look at the length
        assert reader.next_order() == region.words[(region.offset(region.words[Word.LATEST]) >> 3) + 4]
    assert numbers(reader) == [2]
    assert reader.lost == 2
    assert len(told) == 1


# -- damage ------------------------------------------------------------------------------------------------------------


def test_damage_costs_what_is_before_the_newest_message() -> None:
    """It is said once, and counted."""
    writer = ring(*[10] * 6)
    region = writer.generations[0]
    told: list[str] = []
    reader = RingReader(writer.start(), writer.follow, say_damaged=told.append)
    assert reader.take() is not None
    region.words[region.offset(CAPACITY + 2 * record_size(10)) >> 3] = CAPACITY  # the length of message 2
    assert numbers(reader) == [1, 5]
    assert (reader.lost, reader.consumed, reader.arrived) == (3, 6, 6)
    assert len(told) == 1
    send(writer, 6)
    assert numbers(reader) == [6]
    assert reader.lost == 3


def test_a_message_of_nobody_costs_what_is_before_the_newest() -> None:
    """Its publisher is not in the table. If it is the newest itself, there is nothing."""
    writer = ring(*[10] * 4)
    region = writer.generations[0]
    told: list[str] = []
    reader = RingReader(writer.start(), writer.follow, say_damaged=told.append)
    region.map[region.offset(CAPACITY + record_size(10)) + 40] = 9
    assert numbers(reader) == [0, 3]
    assert (reader.lost, len(told)) == (2, 1)
    send(writer, 4)
    region.map[region.offset(region.words[Word.LATEST]) + 40] = 9
    for _ in "12":
        assert reader.take() is None
        assert not reader.has_message()
    assert len(told) == 2
    send(writer, 5)
    assert numbers(reader) == [5]
    assert reader.lost == 3


def test_what_is_mended_is_read() -> None:
    """The newest message, at the reader's own place, once the ring has changed."""
    writer = ring(10, 10)
    region = writer.generations[0]
    reader = new_reader(writer, writer.start())
    reader.take()
    latest = region.words[Word.LATEST]
    region.words[region.offset(latest) >> 3] = CAPACITY
    assert reader.take() is None
    region.words[region.offset(latest) >> 3] = 10
    assert not reader.has_message()  # nothing was written
    region.words[Word.OLDEST] = latest
    assert reader.has_message()
    assert numbers(reader) == [1]
    assert reader.lost == 0


@pytest.mark.parametrize(("index", "makes_sense"), [(3, True), (4, True), (5, False), (2, False)])
def test_how_many_can_have_been_lost(index: int, *, makes_sense: bool) -> None:
    """No more than have room between the reader's place and the oldest message, and none that were read."""
    writer = ring(*[10] * 8)
    region = writer.generations[0]
    told: list[str] = []
    reader = RingReader(writer.start(), writer.follow, say_damaged=told.append)
    for _ in range(3):
        reader.take()
    oldest = CAPACITY + 4 * record_size(10)
    region.words[Word.OLDEST] = oldest
    region.words[(region.offset(oldest) >> 3) + 1] = index
    assert reader.has_message()
    message = reader.take()
    assert message is not None
    assert message[2] == (4 if makes_sense else 7)
    assert bool(told) is not makes_sense


def test_where_nothing_makes_sense_a_reader_waits_for_the_next_message() -> None:
    """It neither says more nor looks again until something was written."""
    writer = ring(10, 10)
    region = writer.generations[0]
    told: list[str] = []
    reader = RingReader(writer.start(), writer.follow, say_damaged=told.append)
    for position in (CAPACITY, CAPACITY + record_size(10)):
        region.words[region.offset(position) >> 3] = CAPACITY
    for _ in range(5):
        assert (reader.take(), reader.has_message(), reader.next_order(), reader.borrow()) == (None, False, None, None)
    assert len(told) == 1
    send(writer, 2)
    assert reader.has_message()
    assert reader.next_order() is not None
    assert numbers(reader) == [2]
    assert (reader.lost, reader.consumed) == (2, 3)
    send(writer, 3)
    assert numbers(reader) == [3]
    assert reader.lost == 2


def test_a_ring_that_goes_back_gives_nothing_until_it_goes_on() -> None:
    """Its newest message is then before the reader's place, or has a number that it has had."""
    writer = ring(10, 10, 10)
    region = writer.generations[0]
    told: list[str] = []
    reader = RingReader(writer.start(), writer.follow, say_damaged=told.append)
    drain(reader)
    latest = region.words[Word.LATEST]
    region.words[Word.LATEST] = CAPACITY
    assert (reader.take(), reader.has_message(), reader.lost) == (None, False, 0)
    region.words[Word.LATEST] = latest
    send(writer, 3)
    assert numbers(reader) == [3]
    assert (reader.lost, told) == (0, [])


def test_the_newest_message_of_a_damaged_ring() -> None:
    """Its place in the table is wrong: there is none, and it is said."""
    writer = ring(10, 10)
    region = writer.generations[0]
    told: list[str] = []
    reader = RingReader(writer.start(), writer.follow, say_damaged=told.append)
    assert reader.latest() is not None
    publisher = region.offset(region.words[Word.LATEST]) + 40
    region.map[publisher] = 9
    assert reader.latest() is None
    assert len(told) == 1
    assert reader.consumed == 0


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_ring_that_is_closed_has_ended_once_all_is_read() -> None:
    """Not before."""
    writer = ring(10, 10)
    reader = new_reader(writer, writer.start())
    assert (reader.ended, reader.closed) == (False, False)
    writer.close()
    for _ in "12":
        assert (reader.ended, reader.closed) == (False, True)
        reader.take()
    assert (reader.ended, reader.closed) == (True, True)


def test_a_checked_ring_has_ended_once_as_many_were_read_as_it_says() -> None:
    """Or after some patience: what it says may be wrong, too."""
    writer = ring(10, 10, checked=True)
    region = writer.generations[0]
    reader = new_reader(writer, writer.start())
    drain(reader)
    for closed, ended in ((3, True), (1, True), (2, True)):
        region.words[Word.CLOSED] = closed
        assert reader.ended is ended
    region.words[Word.CLOSED] = 4  # one more than this processor can see
    looks = 0
    while not reader.ended:
        looks += 1
    assert looks == PATIENCE - 1


@pytest.mark.parametrize(
    "error", [TopicError("another generation"), OSError("no descriptor"), None], ids=["topic", "system", "none"]
)
def test_a_generation_that_cannot_be_opened_is_not_the_end(error: Exception | None) -> None:
    """It is the end only if it is gone."""
    writer = ring(10)
    region = writer.generations[0]

    def follow(_: int) -> None:
        if error is not None:
            raise error

    reader = RingReader(writer.start(), follow)
    drain(reader)
    region.words[Word.CLOSED] = 2
    region.words[Word.NEXT] = 1
    assert reader.ended is (error is None)
    assert (reader.lost, reader.arrived, reader.take()) == (0, 1, None)


def test_a_ring_whose_file_is_gone_is_closed() -> None:
    """Its source tells; no more messages come, or hardly any."""

    class Source:
        gone = False

    writer, source = ring(10), Source()
    reader = RingReader(writer.start(), writer.follow, source)
    assert not reader.closed
    source.gone = True
    assert reader.closed
    assert not reader.ended


# -- counts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [False, True])
def test_losses_are_counted_over_generations(*, checked: bool) -> None:
    """Before the reader moves, and after."""
    writer = ring(*[500] * 40, checked=checked)
    reader = new_reader(writer, writer.start())
    lost = reader.lost
    assert lost > 0
    send(writer, 40, 10_000)
    for number in range(41, 90):
        send(writer, number, 2000)
    assert len(writer.generations) == 2
    assert reader.arrived == 90
    both = reader.lost
    assert both > lost
    left = numbers(reader)
    assert left[-1] == 89
    assert reader.lost == 90 - len(left)
    assert reader.consumed == 90


def test_who_begins_later_has_lost_nothing() -> None:
    """What was before counts neither as lost nor as arrived."""
    writer = ring(*[10] * 5)
    reader = new_reader(writer, writer.end())
    assert (reader.lost, reader.arrived, reader.consumed) == (0, 0, 0)
    assert (reader.take(), reader.has_message()) == (None, False)
    latest = reader.latest()
    assert latest is not None
    assert latest[2] == 4
    send(writer, 5)
    assert reader.arrived == 1
    assert numbers(reader) == [5]
    assert (reader.lost, reader.arrived, reader.consumed) == (0, 1, 1)


def test_a_checked_reader_that_begins_behind_what_is_not_whole() -> None:
    """Hears what comes after it, and counts from there."""
    writer = ring(10, 10, 10, checked=True)
    region = writer.generations[0]
    crc = region.offset(region.words[Word.LATEST]) + RECORD.size - 4
    region.map[crc] ^= 1
    cursor = region.end()
    assert cursor.after
    reader = new_reader(writer, cursor)
    assert reader.take() is None
    region.map[crc] ^= 1
    assert reader.take() is None
    send(writer, 3)
    assert numbers(reader) == [3]
    assert (reader.lost, reader.consumed) == (0, 1)


def test_a_checked_reader_whose_beginning_was_overwritten() -> None:
    """The number that it began with was a guess: it counts from the oldest message that is left."""
    writer = ring(100, 100, 100, checked=True)
    region = writer.generations[0]
    position = region.words[Word.LATEST]
    region.map[region.offset(position) + RECORD.size - 4] ^= 1
    region.words[Word.COUNT] = 6
    reader = new_reader(writer, region.end())
    assert (reader.index, reader.take()) == (6, None)
    number = 3
    while region.words[Word.OLDEST] <= position:
        send(writer, number, 100)
        number += 1
    first = reader.take()
    assert first is not None
    assert 3 <= first[2] < 6
    assert (reader.lost, reader.consumed) == (0, 1)
    assert numbers(reader) == list(range(first[2] + 1, number))
    assert (reader.lost, reader.consumed) == (0, number - first[2])


def test_a_checked_reader_passes_over_what_does_not_become_whole() -> None:
    """After some patience it goes on with the newest message."""
    writer = ring(*[10] * 5, checked=True)
    region = writer.generations[0]
    reader = new_reader(writer, writer.start())
    reader.take()
    region.map[region.offset(CAPACITY + record_size(10)) + RECORD.size - 4] ^= 1
    looks = 0
    while (message := reader.take()) is None:
        looks += 1
        assert looks <= PATIENCE
    assert looks == PATIENCE - 1
    assert message[2] == 4
    assert reader.lost == 3


@pytest.mark.parametrize("checked", [False, True])
def test_the_newest_message_comes_with_its_order(*, checked: bool) -> None:
    """In a checked ring the one before it, while it is not whole."""
    writer = new_writer(CAPACITY, checked=checked)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.start())
    assert (reader.newest(), reader.latest(), reader.arrived) == (None, None, 0)
    writer.write(b"first", 0, 5, 77)
    expected = (77, (b"first", "p", 5, 77))
    assert reader.newest() == expected
    assert reader.arrived == 1
    if checked:
        writer.write(b"second", 0, 6, 88)
        region = writer.generations[0]
        region.map[region.offset(region.words[Word.LATEST]) + RECORD.size - 4] ^= 1
        assert reader.newest() == expected
        assert reader.latest() == expected[1]


def test_the_newest_message_is_none_where_none_can_begin() -> None:
    """Another process wrote into ``LATEST``: what lies there was never sent."""
    writer = ring()
    region = writer.generations[0]
    reader = new_reader(writer, writer.start())
    for number in (5, 6):
        send(writer, number, 40)
    assert numbers(reader) == [5, 6]
    region.words[Word.LATEST] = CAPACITY + (1 << 40) + 4
    assert reader.latest() is None


# -- faster writers ----------------------------------------------------------------------------------------------------


def overtaken(size: int, *, messages: int = 100, capacity: int = 1 << 20) -> tuple[RingReader, list[int]]:
    """A reader overtaken by so many messages while it copies its first; what it gets then."""
    armed: list[int] = []

    class Memory(bytearray):
        """Lets the writer come round before a payload is copied."""

        def __getitem__(self, key: Any) -> Any:
            if armed:
                for number in range(1, armed.pop()):
                    writer.write(b"x" * size, 0, number, number)
            return super().__getitem__(key)

    writer = new_writer(capacity, memory=Memory)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.start())
    writer.write(b"x" * size, 0, 0, 0)
    armed.append(messages)
    return reader, numbers(reader)


def test_who_is_overtaken_by_large_messages_goes_on_in_the_middle() -> None:
    """The oldest one left would be overwritten while it is copied. All before it count as lost."""
    reader, found = overtaken(1 << 16)
    assert found == list(range(found[0], 100))
    assert reader.lost == found[0]
    assert 6 <= len(found) <= 8  # of 15 in the ring


@pytest.mark.skipif(core is not None, reason="nothing comes in between the copying and the check of the native core")
def test_who_is_overtaken_by_small_ones_goes_on_with_the_oldest_left() -> None:
    """They are copied faster than a stretch of the ring is written."""
    reader, found = overtaken(1000, messages=5000)
    assert found == list(range(found[0], 5000))
    assert reader.lost == found[0]
    assert len(found) > 950  # of about 1000


@pytest.mark.parametrize("noticed", [True, False])
def test_whose_borrowed_message_is_overwritten_goes_on_in_the_middle(*, noticed: bool) -> None:
    """If that was noticed: one that was done with it in time goes on with the oldest one left."""
    payload = WITH_BUFFERS + bytes(1 << 16)
    writer = new_writer(1 << 20)
    writer.add_publisher("p")
    reader = new_reader(writer, writer.start())
    writer.write(payload, 0, 0, 0)
    loan = reader.borrow()
    assert loan is not None
    assert loan[1] is not None
    for number in range(1, 100):
        writer.write(payload, 0, number, number)
    if noticed:
        assert loan[1].overwritten()
    again = reader.borrow()
    assert again is not None
    found = [again[0][2], *numbers(reader)]
    assert found == list(range(found[0], 100))
    assert reader.lost == found[0] - 1
    assert 6 <= len(found) <= 8 if noticed else len(found) >= 13
