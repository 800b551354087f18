"""Frames, seals and the index at their edges: what is worth a search, the last byte, the smallest of all.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import lz4.frame
import pytest

from horus_async.recorder.frame_index import IndexEntry, build_index, read_index
from horus_async.recorder.packing import SEAL_SIZE, Seal, pack, seal_in
from horus_async.recorder.write.index import ENTRY_TEXT, IndexBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.recorder.packing import Read

OURS = 0x184D2A5E
DENSE_LINE = 2048


# -- frames ------------------------------------------------------------------------------------------------------------


def levels(monkeypatch: pytest.MonkeyPatch, text: int, packed: int, lines: int, *, thorough: bool = True) -> list[int]:
    """The levels at which a text is packed that the quick look makes so small; that of the last is what comes out."""
    used: list[int] = []

    def compress(_: bytes, compression_level: int, **options: object) -> bytes:
        del options
        used.append(compression_level)
        return bytes([compression_level]) * packed

    with monkeypatch.context() as patch:
        patch.setattr("lz4.frame.compress", compress)
        assert pack(bytes(text), lines, thorough=thorough)[:1] == bytes([used[-1]])
    return used


@pytest.mark.parametrize(
    ("text", "packed", "lines", "used"),
    [
        (DENSE_LINE * 3 - 1, 10, 3, [0, 6]),
        (DENSE_LINE * 3, 10, 3, [0]),
        (DENSE_LINE * 3, 10, 4, [0, 6]),
        (1000, 499, 10, [0, 6]),
        (1000, 500, 10, [0]),
        (1001, 500, 10, [0, 6]),
    ],
)
def test_what_is_worth_a_search(
    monkeypatch: pytest.MonkeyPatch, text: int, packed: int, lines: int, used: list[int]
) -> None:
    """Lines of less than 2 kB on average, of which a quick look leaves less than half; others are looked at once."""
    assert levels(monkeypatch, text, packed, lines) == used
    assert levels(monkeypatch, text, packed, lines, thorough=False) == [0]


def test_a_frame_is_as_described() -> None:
    """Linked blocks of at most 1 MB, a checksum of the content, no size of it; so it is with and without a search."""
    text = b"".join(b'{"tick":%d}\n' % number for number in range(200_000))
    for thorough in (True, False):
        frame = pack(text, 200_000, thorough=thorough)
        info = lz4.frame.get_frame_info(frame)
        assert info["content_checksum"]
        assert not info["block_checksum"]
        assert info["block_linked"]
        assert info["block_size"] == 1 << 20
        assert info["content_size"] == 0
        assert frame[-4:] != bytes(4)
        assert lz4.frame.decompress(frame) == text


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("LZ4F_compressBegin failed with code: no memory")])
@pytest.mark.parametrize("at_level", [0, 6])
def test_no_memory_for_a_frame_is_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch, error: Exception, at_level: int
) -> None:
    """Whatever the library makes of it, and also in the search."""
    compress = lz4.frame.compress

    def fails(text: bytes, compression_level: int, **options: object) -> bytes:
        if compression_level == at_level:
            raise error
        packed: bytes = compress(text, compression_level=compression_level, **options)
        return packed

    monkeypatch.setattr("lz4.frame.compress", fails)
    with pytest.raises(OSError, match="memory") as raised:
        pack(b"{}\n" * 1000, 1000)
    assert raised.value.__cause__ is error


# -- seals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "key", "begin"), [(0, 5, 0x4853454C), (1, 5, 5), (7, 9, 9)])
def test_a_seal_is_as_described(number: int, key: int, begin: int) -> None:
    """Number and checksum, which begins with that of the file's first seal."""
    seal = Seal.of(b"a frame", number, key)
    checksum = zlib.crc32(b"a frame", zlib.crc32(struct.pack("<I", number), begin))
    assert (seal.number, seal.checksum) == (number, checksum)
    assert seal.pack() == struct.pack("<IIII", OURS, 8, number, checksum)


def test_a_seal_is_found_at_the_beginning_only() -> None:
    """Whole, and whatever stands behind it; one word that is another is no seal."""
    seal = Seal(3, 4)
    data = seal.pack()
    assert len(data) == SEAL_SIZE
    assert seal_in(data) == seal_in(data + b"more") == seal
    assert seal_in(data[:-1]) is None
    assert seal_in(b"") is None
    for words in ((OURS - 1, 8), (OURS + 1, 8), (OURS, 7), (OURS, 9)):
        assert seal_in(struct.pack("<IIII", *words, 3, 4)) is None


# -- the index of a file -----------------------------------------------------------------------------------------------


def read_in(data: bytes) -> Read:
    """Reads a file that refuses, as the system does, to read what would be before its beginning."""

    def read(offset: int, size: int) -> bytes:
        assert offset >= 0
        return data[offset : offset + size]

    return read


ENTRIES = [IndexEntry(100, 50, 3, 9, 20), IndexEntry(150, 7, 9, 12, 2)]


def remade(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """An index in which something is another, with the checksum that belongs to it."""
    changed = bytearray(data)
    change(changed)
    changed[-12:-8] = struct.pack("<I", zlib.crc32(changed[8:-12], 0x484F5255))
    return bytes(changed)


@pytest.mark.parametrize("entries", [[], ENTRIES])
def test_an_index_that_is_all_of_a_file(entries: list[IndexEntry]) -> None:
    """It may begin with the file; where one byte of it is missing in front there is none."""
    data = build_index(entries)
    assert len(data) == 36 + 32 * len(entries)
    assert read_index(read_in(data), len(data)) == (0, entries)
    assert read_index(read_in(b"x" + data), len(data) + 1) == (1, entries)
    for begin in range(1, len(data) + 1):
        assert read_index(read_in(data[begin:]), len(data) - begin) is None


@pytest.mark.parametrize("at", [0, 4, -20, -16])
def test_an_index_whose_sizes_are_wrong(at: int) -> None:
    """Also where its checksum is right."""

    def one_more(data: bytearray) -> None:
        at_end = len(data) + at if at < 0 else at
        (word,) = struct.unpack_from("<I", data, at_end)
        struct.pack_into("<I", data, at_end, word + 1)

    for in_front in (b"", bytes(100)):
        data = in_front + remade(build_index(ENTRIES), one_more)
        assert read_index(read_in(data), len(data)) is None


@pytest.mark.parametrize("at", [8, 15, -8, -1])
def test_an_index_whose_marks_are_wrong(at: int) -> None:
    """The one in front is under the checksum, and is looked at all the same."""

    def another(data: bytearray) -> None:
        data[at] ^= 1

    data = remade(build_index(ENTRIES), another)
    assert read_index(read_in(data), len(data)) is None


def test_an_index_of_a_file_that_becomes_shorter_while_it_is_read() -> None:
    """What is not there any more was no index."""
    data = b"frames" + build_index(ENTRIES)
    for most in range(36 + 32 * len(ENTRIES)):

        def shorter(offset: int, size: int, most: int = most) -> bytes:
            return data[offset : offset + min(size, most)]

        assert read_index(shorter, len(data)) is None


# -- the index while it is made ----------------------------------------------------------------------------------------


def entries(*frames: tuple[int, int | None, int | None, int | None]) -> list[IndexEntry]:
    """The entries for frames, of each the bytes of its text, its first, its last and its newest loose tick."""
    index = IndexBuilder()
    for number, (text, first, last, loose) in enumerate(frames):
        index.add(100 + 10 * number, 10, text=text, lines=2, first=first, last=last, loose=loose)
        assert not index.went_back
    found = read_index(read_in(index.build()), len(index.build()))
    assert found is not None
    assert len(found[1]) == len(index)
    return found[1]


def test_an_entry_covers_frames_until_they_hold_enough_text() -> None:
    """Whole frames, and the text of all of them counts; the next entry begins with the next frame."""
    half = ENTRY_TEXT // 2
    assert entries((half, 1, 2, None), (half, 3, 4, None), (half, 5, 6, None), (half - 1, 7, 8, None)) == [
        IndexEntry(100, 20, 1, 4, 4),
        IndexEntry(120, 20, 5, 8, 4),
    ]
    assert entries((half, 1, 2, None), (half - 1, 3, 4, None), (1, 5, 6, None), (1, 7, 8, None)) == [
        IndexEntry(100, 30, 1, 6, 6),
        IndexEntry(130, 10, 7, 8, 2),
    ]
    assert entries((ENTRY_TEXT, 1, 2, None), (1, 3, 4, None)) == [
        IndexEntry(100, 10, 1, 2, 2),
        IndexEntry(110, 10, 3, 4, 2),
    ]


def test_an_entry_reaches_to_the_highest_tick_so_far() -> None:
    """Also of what was sent outside of callbacks, and where its own lines have no tick."""
    big = ENTRY_TEXT
    assert [
        (e.first_tick, e.last_tick) for e in entries((big, 1, 5, None), (big, None, None, None), (big, 6, 7, 9))
    ] == [
        (1, 5),
        (5, 5),
        (6, 9),
    ]
    assert [(e.first_tick, e.last_tick) for e in entries((big, 1, 5, 9), (big, 6, 7, 9), (big, 10, 12, 9))] == [
        (1, 9),
        (9, 9),
        (10, 12),
    ]
    assert [(e.first_tick, e.last_tick) for e in entries((big, None, None, None), (big, None, 0, None))] == [
        (0, 0),
        (0, 0),
    ]
    assert [(e.first_tick, e.last_tick) for e in entries((big, None, None, 4), (big, 3, 6, 4))] == [(4, 4), (4, 6)]


def test_an_entry_begins_where_the_one_before_it_ends() -> None:
    """At the earliest, also where that one reaches beyond its own lines: entries that overlap are not searched."""
    big = ENTRY_TEXT
    found = entries((big, 1, 2, None), (big, 3, 4, 9), (big, 5, 6, 9), (big, 7, 12, 9))
    assert [(e.first_tick, e.last_tick) for e in found] == [(1, 2), (3, 9), (9, 9), (9, 12)]


def test_ticks_that_go_back_are_never_forgotten() -> None:
    """Also where what follows is in order again, and within an entry as between two."""
    for text in (1, ENTRY_TEXT):
        index = IndexBuilder()
        for first, last in ((3, 5), (4, 6), (7, 8), (9, 10)):
            index.add(0, 10, text=text, lines=1, first=first, last=last, loose=None)
        assert index.went_back


def test_a_loose_tick_is_no_way_back() -> None:
    """What was sent outside of callbacks may be of a later tick than the lines that follow it."""
    index = IndexBuilder()
    index.add(0, 10, text=1, lines=1, first=1, last=2, loose=8)
    index.add(0, 10, text=1, lines=1, first=3, last=4, loose=8)
    assert not index.went_back
