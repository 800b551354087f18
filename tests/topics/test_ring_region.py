"""A generation of a ring at its edges: the last byte, the last index, the first message that is not there.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.errors import TopicError
from horus_async.topics.packed.marks import RAW
from horus_async.topics.packed.schema import Schema, Struct
from horus_async.topics.ring.guard import OVER
from horus_async.topics.ring.layout import (
    DATA_AT_LIMIT,
    FIRST_DATA_AT,
    MAGIC,
    PUBLISHERS_AT,
    RECORD,
    RING_LIMIT,
    SCHEMA_SIZE,
    Word,
    record_size,
)
from horus_async.topics.ring.region import LOOKS, Cursor, Region, adopt_region, create_region, header_crc
from horus_async.topics.values.payload import LARGE, WITH_BUFFERS
from tests.topics.test_ring import new_writer

if TYPE_CHECKING:
    from horus_async.topics.ring.writer import RingWriter

CAPACITY = 4096
INDEX_LIMIT = 1 << 62


def ring(*sizes: int, checked: bool = False) -> RingWriter:
    """A ring with messages of these sizes by one publisher."""
    writer = new_writer(CAPACITY, checked=checked)
    writer.add_publisher("p")
    for number, size in enumerate(sizes):
        writer.write(b"x" * size, 0, number, number)
    return writer


def region_of(*sizes: int, checked: bool = False) -> Region:
    """Its newest generation, as a reader maps it."""
    adopted = adopt_region(ring(*sizes, checked=checked).generations[-1].map)
    assert adopted is not None
    return adopted


class Looks:
    """Counts how often a region's records are looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        whole = Region.whole

        def counting(region: Region, position: int) -> Any:
            self.count += 1
            return whole(region, position)

        monkeypatch.setattr(Region, "whole", counting)


def looked(region: Region, monkeypatch: pytest.MonkeyPatch, call: str) -> tuple[Any, int]:
    """What a method of a region returns, and how often it looked."""
    with monkeypatch.context() as patch:
        counted = Looks(patch)
        return getattr(region, call)(), counted.count


# -- the newest message, and the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("sizes", [(10,), (10, 20, 30)])
def test_what_is_whole_is_looked_at_once(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, *, checked: bool
) -> None:
    """Also where the newest message is the oldest."""
    region = region_of(*sizes, checked=checked)
    newest, count = looked(region, monkeypatch, "newest")
    assert (newest.index, count) == (len(sizes) - 1, 1)
    end, count = looked(region, monkeypatch, "end")
    assert (end.index, end.position, end.after, count) == (
        len(sizes), CAPACITY + sum(map(record_size, sizes)), False, 1,
    )  # fmt: skip


def test_the_oldest_message_alone_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fills the ring so that every other had to go."""
    region = region_of(10, 20)
    region.words[Word.OLDEST] = region.words[Word.LATEST]
    assert looked(region, monkeypatch, "newest")[1] == 1
    assert looked(region, monkeypatch, "end")[1] == 1


def test_damage_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It will not change by being looked at; the end is then where the generation begins."""
    region = region_of(10, 20)
    latest = region.words[Word.LATEST]
    region.words[region.offset(latest) >> 3] = CAPACITY  # the length
    newest, count = looked(region, monkeypatch, "newest")
    assert (newest, count) == (None, 1)
    end, count = looked(region, monkeypatch, "end")
    assert (end.index, end.position, count) == (0, CAPACITY, 1)
    region.words[Word.OLDEST] = latest  # alone, it is as damaged
    assert looked(region, monkeypatch, "newest") == (None, 1)
    assert looked(region, monkeypatch, "end")[1] == 1


def test_what_is_being_replaced_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the oldest is beyond the newest a writer is at work: there is no newest, and the end is worth a wait."""
    region = region_of(10, 20)
    region.words[Word.OLDEST] = region.words[Word.LATEST] + 8
    newest, count = looked(region, monkeypatch, "newest")
    assert (newest, count) == (None, 0)
    assert looked(region, monkeypatch, "end")[1] == LOOKS


@pytest.mark.parametrize("checked", [False, True])
def test_an_empty_ring_is_not_looked_at(monkeypatch: pytest.MonkeyPatch, *, checked: bool) -> None:
    """Zero stands for no message."""
    region = region_of(checked=checked)
    assert looked(region, monkeypatch, "newest") == (None, 0)
    end, count = looked(region, monkeypatch, "end")
    assert (end.position, end.index, count) == (CAPACITY, 0, 0)


def test_a_checked_ring_remembers_its_newest() -> None:
    """While the one after it is not whole. Without checksums nothing is remembered: it may be gone."""
    for checked, expected in ((True, 1), (False, None)):
        writer = ring(10, 20, checked=checked)
        region = writer.generations[0]
        found = region.newest()
        assert found is not None
        assert found.index == 1
        position = found.position + record_size(20)
        region.words[Word.LATEST] = position
        region.words[region.offset(position) >> 3] = CAPACITY
        newest = region.newest()
        assert (newest and newest.index) == expected


def test_the_end_behind_what_is_not_whole() -> None:
    """In a checked ring: behind that message, with what ``COUNT`` says, as far as it can be true."""
    writer = ring(10, 20, checked=True)
    region = writer.generations[0]
    region.words[(region.offset(CAPACITY) >> 3) + 1] ^= 1
    region.words[Word.LATEST] = CAPACITY
    for count, index in ((0, 0), (7, 0)):
        region.words[Word.COUNT] = count
        end = region.end()
        assert (end.position, end.index, end.after) == (CAPACITY, index, True)
    position = CAPACITY + 10 * RECORD.size
    region.words[Word.LATEST] = position
    for count, index in ((0, 0), (7, 7), (10, 10), (11, 10), (1 << 63, 10)):
        region.words[Word.COUNT] = count
        end = region.end()
        assert (end.position, end.index, end.after) == (position, index, True)
    for odd in (1, 2, 4):
        region.words[Word.LATEST] = position + odd  # no record is there
        assert (region.end().position, region.end().after) == (CAPACITY, False)
    region.words[Word.LATEST] = CAPACITY - 8
    assert (region.end().position, region.end().after) == (CAPACITY, False)


@pytest.mark.parametrize(("length", "looks"), [(0, LOOKS), (1 << 17, 511), (1 << 26, 2), ((1 << 64) - 1, 2)])
def test_large_records_are_looked_at_less_often(length: int, looks: int) -> None:
    """Where each look reads all of it, for a checksum."""
    region = region_of(8, 20, checked=True)  # the newest begins at an odd multiple of 8
    latest = region.words[Word.LATEST]
    region.words[region.offset(latest) >> 3] = length
    assert len(region._looks()) == looks
    region.words[Word.LATEST] = latest + 7  # rounded down, so that it is a word
    assert len(region._looks()) == looks
    assert len(region_of(10)._looks()) == LOOKS


# -- records -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 16])
@pytest.mark.parametrize("checked", [False, True])
def test_a_record_may_end_with_the_ring(length: int, *, checked: bool) -> None:
    """Also one without a payload; and a byte more is damage."""
    sizes = *[512 - RECORD.size] * 7, 512 - RECORD.size - record_size(length), length
    region = region_of(*sizes, checked=checked)
    position = region.words[Word.LATEST]
    assert position + record_size(length) == 2 * CAPACITY
    assert region.whole(position) == (8, record_size(length))
    copied = region.copy(position)
    assert copied is not None
    assert (len(copied[0][0]), copied[1]) == (length, record_size(length))
    for more in (1, 8, CAPACITY, FIRST_DATA_AT, 2 * CAPACITY + FIRST_DATA_AT, 1 << 62):
        region.words[region.offset(position) >> 3] = length + more
        assert region.whole(position) is None
        if checked:
            assert region.copy(position) is None
        else:
            with pytest.raises(TopicError, match=f"a record of {length + more} bytes"):
                region.copy(position)


def test_a_record_needs_room_for_its_header() -> None:
    """Less than that before the end is damage; so is a place that is no multiple of 8."""
    region = region_of(10)
    for position in (2 * CAPACITY - RECORD.size + 8, 2 * CAPACITY - 8, CAPACITY + 1, CAPACITY + 2, CAPACITY + 4):
        assert region.whole(position) is None
        with pytest.raises(TopicError, match="without room"):
            region.copy(position)


@pytest.mark.parametrize(
    ("index", "records", "is_place"),
    [
        (0, 0, True),
        (1, 1, True),
        (1, 0, False),
        (2, 1, False),
        (0, 1, False),
        (3, 2, False),
        (2, 2, True),
        (2, 30, True),
    ],
)
def test_which_message_can_be_at_a_place(index: int, records: int, *, is_place: bool) -> None:
    """Each before it takes a record's header at least; only the first is at the beginning, and it is nowhere else."""
    region = region_of(10)
    assert region._is_place(CAPACITY + records * RECORD.size, index) is is_place


def test_no_message_is_before_the_first() -> None:
    """Of a later generation."""
    region = region_of(10)
    region.first_index = 5
    assert region._is_place(CAPACITY, 5)
    assert not region._is_place(CAPACITY, 4)


@pytest.mark.parametrize(("index", "is_place"), [(INDEX_LIMIT - 1, True), (INDEX_LIMIT, False)])
def test_no_ring_has_so_many_messages(index: int, *, is_place: bool) -> None:
    """What is counted from there would not fit into 64 bits."""
    region = region_of(10)
    region.first_index = INDEX_LIMIT - 1
    assert region._is_place(CAPACITY + 48 * (index - region.first_index), index) is is_place


@pytest.mark.parametrize("lost", [0, 1, 5])
def test_overwritten_messages_are_counted(lost: int) -> None:
    """Exactly, also where one is left."""
    region = region_of(*[10] * 6)
    region.words[Word.OLDEST] = CAPACITY + lost * record_size(10)
    assert region.overwritten() == lost
    region.words[Word.OLDEST] = region.words[Word.LATEST] + 8  # being replaced by one as large as the ring
    assert region.overwritten() == 0
    region.words[Word.OLDEST] = CAPACITY + 8  # damaged
    assert region.overwritten() == 0


def test_a_cursor_is_overwritten_when_the_oldest_is_beyond_it() -> None:
    """Not when it is the oldest."""
    region = region_of(10, 10)
    for position, overwritten in ((CAPACITY, True), (CAPACITY + 64, False), (CAPACITY + 128, False)):
        region.words[Word.OLDEST] = CAPACITY + 64
        assert Cursor(region, position, 0).overwritten() is overwritten


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1])
def test_large_payloads_with_buffers_are_copied_once(size: int) -> None:
    """From ``LARGE`` bytes on they are a view of memory of their own; borrowed, of the ring's."""
    writer = new_writer(4 * LARGE)
    writer.add_publisher("p")
    binary, text = WITH_BUFFERS + b"x" * (size - 2), b"y" * size
    for payload in (binary, text):
        writer.write(payload, 0, 0, 0)
    region = writer.generations[-1]
    first = region.capacity
    (taken, *_), _, _ = region.copy(first) or pytest.fail("nothing")
    assert isinstance(taken, memoryview) is (size >= LARGE)
    (borrowed, *_), _, _ = region.copy(first, borrow=True) or pytest.fail("nothing")
    assert isinstance(borrowed, memoryview)
    assert borrowed.readonly
    assert bytes(taken) == bytes(borrowed) == binary
    region.map[region.offset(first) + RECORD.size + 5] ^= 1
    assert bytes(taken) == binary
    assert bytes(borrowed) != binary
    for borrow in (False, True):
        (other, *_), _, _ = region.copy(first + record_size(size), borrow=borrow) or pytest.fail("nothing")
        assert (type(other), other) == (bytes, text)


def test_a_checked_message_waits_for_its_publisher_and_schema() -> None:
    """They may become visible after it; the last try does without. Plain bytes need no schema."""
    writer = ring(checked=True)
    schema = Schema.of(Struct("test_ring_region.Unheard", (("x", "float"),)))
    writer.add_schema(schema.text)
    packed, raw = schema.mark + bytes(8), RAW + bytes(8)
    for payload in (packed, raw):
        writer.write(payload, 0, 0, 0)
    region = writer.generations[0]
    length = region.words[Word.SCHEMA_LENGTH]
    for schemas, publishers, expected in ((length, 1, (packed, raw)), (0, 1, (None, raw)), (length, 0, (None, None))):
        region.words[Word.SCHEMA_LENGTH] = schemas
        region.words[Word.PUBLISHERS] = publishers
        region.names = []
        copies = [region.copy(CAPACITY + number * record_size(16)) for number in (0, 1)]
        assert tuple(copied and copied[0][0] for copied in copies) == expected
    with pytest.raises(TopicError, match="who is not in the table"):
        region.copy(CAPACITY, last_try=True)
    region.words[Word.PUBLISHERS], region.words[Word.SCHEMA_LENGTH] = 1, 0
    assert (region.copy(CAPACITY, last_try=True) or pytest.fail("nothing"))[0][0] == packed


# -- the header --------------------------------------------------------------------------------------------------------


def header(size: int, data_at: int, **words: int) -> mmap.mmap:
    """A generation without messages whose data begin at ``data_at``; memory that nobody touches costs nothing."""
    memory = mmap.mmap(-1, size)
    create_region(
        memory, data_at=data_at, words={Word[name]: word for name, word in words.items()}, topic="t", namespace="n"
    )
    return memory


@pytest.mark.parametrize(
    ("size", "data_at", "fits"),
    [
        (PUBLISHERS_AT + CAPACITY, PUBLISHERS_AT, True),
        (PUBLISHERS_AT - 8 + CAPACITY, PUBLISHERS_AT - 8, False),
        (DATA_AT_LIMIT + CAPACITY, DATA_AT_LIMIT, True),
        (DATA_AT_LIMIT + 8 + CAPACITY, DATA_AT_LIMIT + 8, False),
        (FIRST_DATA_AT + RING_LIMIT, FIRST_DATA_AT, True),
        (FIRST_DATA_AT + 2 * RING_LIMIT, FIRST_DATA_AT, False),
        (FIRST_DATA_AT + CAPACITY // 2, FIRST_DATA_AT, False),
        (FIRST_DATA_AT + CAPACITY + 8, FIRST_DATA_AT, False),
    ],
)
def test_the_sizes_that_a_header_may_tell(size: int, data_at: int, *, fits: bool) -> None:
    """Up to the limits and no further."""
    memory = header(size, data_at)
    if fits:
        region = adopt_region(memory)
        assert region is not None
        assert region.words[Word.OLDEST] == region.capacity == size - data_at
        assert region.end().position == region.capacity
    else:
        with pytest.raises(TopicError, match="contradicts its size"):
            adopt_region(memory)


def test_a_file_that_ends_with_its_header_is_damaged() -> None:
    """One that ends before is not finished."""
    whole = bytearray(header(FIRST_DATA_AT + CAPACITY, FIRST_DATA_AT))
    with pytest.raises(TopicError, match="contradicts its size"):
        adopt_region(whole[:PUBLISHERS_AT])
    assert adopt_region(whole[: PUBLISHERS_AT - 8]) is None
    assert adopt_region(bytearray()) is None


@pytest.mark.parametrize(("first", "fits"), [(INDEX_LIMIT - 1, True), (INDEX_LIMIT, False)])
def test_the_number_of_a_first_message(first: int, *, fits: bool) -> None:
    """It has a limit."""
    memory = header(FIRST_DATA_AT + CAPACITY, FIRST_DATA_AT, FIRST_INDEX=first)
    if fits:
        assert adopt_region(memory) is not None
    else:
        with pytest.raises(TopicError, match=f"number {first}"):
            adopt_region(memory)


@pytest.mark.parametrize("word", [Word.VERSION, Word.DATA_AT, Word.GENERATION, Word.PID, Word.STARTED_NS])
def test_a_header_that_is_not_all_there_is_not_finished(word: Word) -> None:
    """Its checksum tells; so does that of the names."""
    memory = header(FIRST_DATA_AT + CAPACITY, FIRST_DATA_AT, GENERATION=3)
    memoryview(memory).cast("Q")[word] ^= 2 if word is not Word.VERSION else 2**40 + 2
    if word is Word.VERSION:
        with pytest.raises(TopicError, match="another version"):
            adopt_region(memory)
    else:
        assert adopt_region(memory) is None


def test_a_header_without_its_first_words_is_not_finished() -> None:
    """The magic number comes last; a version of 0 is none yet."""
    for word in (Word.MAGIC, Word.VERSION):
        memory = header(FIRST_DATA_AT + CAPACITY, FIRST_DATA_AT)
        memoryview(memory).cast("Q")[word] = 0
        assert adopt_region(memory) is None


@pytest.mark.parametrize(("following", "leads_to"), [(0, 0), (3, 0), (4, 0), (5, 5), (9, 9)])
def test_a_generation_leads_to_a_later_one_only(following: int, leads_to: int) -> None:
    """Not to itself, nor back."""
    region = Region(header(FIRST_DATA_AT + CAPACITY, FIRST_DATA_AT, GENERATION=4))
    region.words[Word.NEXT] = following
    assert region.following() == leads_to


def test_where_a_file_was_cut_the_next_generation_is_tried() -> None:
    """Cut is what the handler of SIGBUS has left: no magic number, and nothing left."""
    region = Region(header(FIRST_DATA_AT + CAPACITY, FIRST_DATA_AT, GENERATION=4))
    for magic, oldest, cut in ((True, OVER, False), (False, CAPACITY, False), (False, OVER, True)):
        region.words[Word.MAGIC] = MAGIC if magic else 0
        region.words[Word.OLDEST] = oldest
        assert region.cut is cut
        assert region.following() == (5 if cut else 0)


# -- schemas -----------------------------------------------------------------------------------------------------------


def with_schemas(*, checked: bool = False) -> tuple[Region, list[bytes]]:
    """A region with two schemas, and their texts."""
    writer = ring(10, checked=checked)
    texts = [Schema.of(Struct(name, (("x", "float"),))).text for name in ("a.B", "a.C")]
    for text in texts:
        writer.add_schema(text)
    return writer.generations[-1], texts


@pytest.mark.parametrize("checked", [False, True])
def test_schemas_are_read_once_where_they_can_be_believed(*, checked: bool) -> None:
    """Where stores come out of order a table may be read before all of it is there, so it is read each time."""
    region, texts = with_schemas(checked=checked)
    found = region.schemas()
    assert [schema.text for schema in found] == texts
    assert (region.schemas() is found) is not checked
    at = region.words[Word.SCHEMA_AT]
    region.words[Word.SCHEMA_LENGTH] = SCHEMA_SIZE.size + len(texts[0]) + 4
    assert [schema.text for schema in region.schemas()] == texts[:1]
    region.map[at + SCHEMA_SIZE.size + 3] ^= 1  # another table of the same length
    if checked:
        assert region.schemas() == []
    else:
        with pytest.raises(TopicError, match="do not fit their table"):
            region.schemas()


def test_a_ring_without_schemas_has_none() -> None:
    """Whatever their length would be."""
    region = region_of(10)
    region.words[Word.SCHEMA_LENGTH] = 100
    assert region.schemas() == []


def test_where_schemas_may_lie() -> None:
    """Between the publishers and the data, the edges included."""
    region, texts = with_schemas()
    table = bytes(region.map[region.words[Word.SCHEMA_AT] :][: region.words[Word.SCHEMA_LENGTH]])
    for at, fits in (
        (PUBLISHERS_AT, True),
        (region.data_at - len(table), True),
        (PUBLISHERS_AT - 8, False),
        (region.data_at - len(table) + 8, False),
        (1 << 63, False),
    ):
        if fits:
            region.map[at : at + len(table)] = table
        region.words[Word.SCHEMA_AT] = at
        region.words[Word.SCHEMA_LENGTH] = len(table)
        if fits:
            assert [schema.text for schema in region.schemas()] == texts
        else:
            with pytest.raises(TopicError, match="its schemas"):
                region.schemas()
    region.words[Word.SCHEMA_AT] = region.data_at - 8
    region.words[Word.SCHEMA_LENGTH] = 0  # an empty table
    assert region.schemas() == []
    region.words[Word.SCHEMA_LENGTH] = (1 << 64) - 16  # ends before it begins, in a word that wraps
    with pytest.raises(TopicError, match="its schemas"):
        region.schemas()


def test_a_table_that_is_too_long_for_its_entries_is_damaged() -> None:
    """By a byte, too."""
    region, texts = with_schemas()
    region.words[Word.SCHEMA_LENGTH] += 1
    with pytest.raises(TopicError, match="do not fit their table"):
        region.schemas()
    region.words[Word.SCHEMA_LENGTH] -= 1
    assert [schema.text for schema in region.schemas()] == texts


def test_the_checksum_of_a_header_covers_words_and_names() -> None:
    """But not its magic number, which is stored last, nor what changes while the ring is in use."""
    memory = bytearray(header(FIRST_DATA_AT + CAPACITY, FIRST_DATA_AT))
    expected = zlib.crc32(memory[512:2048], zlib.crc32(memory[8:72]))
    assert header_crc(memory) == expected
    for word in (Word.MAGIC, Word.SCHEMA_AT, Word.LATEST, Word.CLOSED):
        struct.pack_into("<Q", memory, 8 * word, 77)
        assert header_crc(memory) == expected
