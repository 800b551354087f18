"""The tables in a ring's header at their edges: the last byte, an empty name, an entry that is not whole.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from horus_async.topics.ring.entries import as_entries, read_entries
from horus_async.topics.ring.layout import (
    ENTRY_CRC,
    FIRST_DATA_AT,
    NAME_LENGTH,
    PUBLISHERS_AT,
    SCHEMA_SIZE,
    Word,
)
from horus_async.topics.ring.region import Region, create_region
from horus_async.topics.ring.tables import Tables

if TYPE_CHECKING:
    import struct

LENGTHS = pytest.mark.parametrize("length", [NAME_LENGTH, SCHEMA_SIZE], ids=["names", "schemas"])
ROOM = FIRST_DATA_AT - PUBLISHERS_AT
"""Bytes for both tables in a generation of the smallest header."""


def header(tables: Tables) -> Region:
    """An empty generation that has just the room that these tables ask for."""
    memory = bytearray(tables.data_at + 4096)
    return create_region(memory, data_at=tables.data_at, words={}, topic="t", namespace="n")


def filling(room: int, length: struct.Struct) -> bytes:
    """The text whose entry has so many bytes."""
    return b"x" * (room - length.size - ENTRY_CRC.size)


# -- entries -----------------------------------------------------------------------------------------------------------


@LENGTHS
@pytest.mark.parametrize("texts", [[], [b""], [b"a"], [b"one", b"", b"three"], [b"one", b""]])
def test_entries_are_read_up_to_the_last_byte(length: struct.Struct, texts: list[bytes]) -> None:
    """Nothing has to stand behind a table, an entry may be empty, and as many are read as one asks for."""
    table = bytearray(as_entries(length, texts))
    assert read_entries(table, length, 0, len(table)) == texts
    for count in range(len(texts) + 2):
        assert read_entries(table, length, 0, len(table), count) == texts[:count]


@LENGTHS
def test_nothing_beyond_the_end_of_a_table_is_looked_at(length: struct.Struct) -> None:
    """Wherever a table ends, or its memory, the entries before that are read, and the one that is cut is not."""
    texts = [b"one", b"", b"three"]
    table = as_entries(length, texts)
    ends = [len(as_entries(length, texts[:count])) for count in range(len(texts) + 1)]
    for end in range(len(table) + 1):
        whole = texts[: sum(place <= end for place in ends) - 1]
        assert read_entries(bytearray(table), length, 0, end) == whole
        assert read_entries(bytearray(table[:end]), length, 0, end) == whole


@LENGTHS
def test_nothing_is_read_out_of_an_entry_that_is_not_whole(length: struct.Struct) -> None:
    """What stands in the text of a torn entry, or behind a damaged one, may look like the next; it is none."""
    looks_real = as_entries(length, [b"first", b"looks real"])[len(as_entries(length, [b"first"])) :]
    first = as_entries(length, [b"first"])
    torn = bytearray(first + length.pack(1000) + looks_real)
    assert read_entries(torn, length, 0, len(torn)) == [b"first"]
    damaged = bytearray(first + length.pack(1) + b"x" + ENTRY_CRC.pack(0) + looks_real)
    assert read_entries(damaged, length, 0, len(damaged)) == [b"first"]


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "data_at"), [(0, FIRST_DATA_AT), (1, 2 * FIRST_DATA_AT)])
@pytest.mark.parametrize("kind", ["names", "schemas"])
def test_tables_get_the_room_that_they_need(kind: str, more: int, data_at: int) -> None:
    """They may fill the header to the last byte; for one byte more it is twice as large."""
    tables = Tables()
    if kind == "names":
        tables = tables.with_publisher(filling(ROOM + more, NAME_LENGTH))
    else:
        tables = tables.with_schema(filling(ROOM + more, SCHEMA_SIZE))
    assert tables.data_at == data_at
    assert tables.write(header(tables))


def test_names_alone_may_fill_the_header() -> None:
    """Room is kept for schemas only once there is one."""
    region = header(Tables())
    assert Tables().with_publisher(filling(ROOM, NAME_LENGTH)).write(region)
    assert not Tables().with_publisher(filling(ROOM + 1, NAME_LENGTH)).write(region)


def test_a_table_of_schemas_grows_where_it_is() -> None:
    """It is read while it grows: it stays in its place, and what stands in it already is not written elsewhere."""
    tables = Tables((b"publisher",), (b"first",))
    region = header(tables)
    assert tables.write(region)
    at = region.words[Word.SCHEMA_AT]
    for text in (b"second", b"third" * 100):
        tables = tables.with_schema(text)
        assert tables.write(region)
        assert region.words[Word.SCHEMA_AT] == at
        table = as_entries(SCHEMA_SIZE, tables.schemas)
        assert region.words[Word.SCHEMA_LENGTH] == len(table)
        assert region.map[at : at + len(table)] == table


@pytest.mark.parametrize("more", [0, 1])
def test_both_tables_grow_to_the_last_byte(more: int) -> None:
    """The names up to the schemas, and the schemas up to the data; what does not fit changes nothing."""
    begun = Tables((b"publisher",), (b"first",))
    region = header(begun)
    assert begun.write(region)
    at = region.words[Word.SCHEMA_AT]
    names = begun.with_publisher(filling(at - PUBLISHERS_AT - _names(begun) + more, NAME_LENGTH))
    schemas = begun.with_schema(filling(FIRST_DATA_AT - at - begun.schema_bytes + more, SCHEMA_SIZE))
    for tables in (names, schemas):
        before = bytes(region.map)
        assert tables.write(region) == (not more)
        assert (bytes(region.map) == before) == bool(more)


def _names(tables: Tables) -> int:
    return len(as_entries(NAME_LENGTH, tables.publishers))
