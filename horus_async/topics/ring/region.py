"""A generation of a ring, mapped into this process: the common ground of its writer and its readers."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from horus_async.errors import TopicError
from horus_async.topics.packed.marks import MARK, MARK_BYTES, RAW
from horus_async.topics.values.blocks import copy_of
from horus_async.topics.values.payload import LARGE, WITH_BUFFERS

from .entries import read_entries
from .guard import OVER
from .layout import (
    ALIGNMENT,
    CAPACITY_MIN,
    CRC_START,
    DATA_AT_LIMIT,
    ENTRY_CRC,
    INDEX_WORD,
    MAGIC,
    NAME_LENGTH,
    PUBLISHERS_AT,
    RECORD,
    RING_LIMIT,
    SCHEMA_SIZE,
    TEXT_AT,
    VERSION,
    Word,
    record_size,
)

if TYPE_CHECKING:
    import mmap

    from horus_async.topics.packed.schema import Schema
    from horus_async.topics.values.payload import Payload

    Taken = tuple[bytes | memoryview, str, int, int]
    """A message out of a ring: payload, publisher, sequence number, time stamp in ns since 1970.

    A large payload with buffers is a ``memoryview``, whose memory the decoder may keep for the value.
    """

    Memory = mmap.mmap | bytearray

STORES_IN_ORDER = os.uname().machine in ("x86_64", "AMD64", "i686")
"""Whether other processors see this one's stores in the order in which it made them."""

SMALL = 4096
"""Records with payloads up to this many bytes are packed and unpacked by one call."""

# Plain numbers for the hot paths: looking up a member of an enum costs as much as the store itself.
LATEST = int(Word.LATEST)
OLDEST = int(Word.OLDEST)
NEXT = int(Word.NEXT)
CLOSED = int(Word.CLOSED)
COUNT = int(Word.COUNT)
KEEP = int(Word.KEEP)
KEPT = int(Word.KEPT)
SLEEPERS = int(Word.SLEEPERS)
SCHEMA_AT = int(Word.SCHEMA_AT)
SCHEMA_LENGTH = int(Word.SCHEMA_LENGTH)


LOOKS = 1000
"""How often one looks at a place that another thread or process is changing, before one does without."""

_LOOK_BYTES = 1 << 26
"""Bytes of a record with a CRC that are read in all these looks, whatever its header says of its length."""
_INDEX_LIMIT = 1 << 62
"""No ring gets so many messages; what is counted from here still fits into 64 bits."""


class Cursor:
    """A place in a ring."""

    __slots__ = ("after", "index", "position", "region", "torn")

    def __init__(self, region: Region, position: int, index: int, *, after: bool = False) -> None:
        self.region = region
        self.torn = False
        """Whether it was noticed that the message is gone."""
        self.position = position
        self.index = index
        """Of the message at this position."""
        self.after = after
        """Begin behind that message, which is not all visible yet, as its index may not be. Only where CHECKED."""

    def overwritten(self) -> bool:
        """Whether the message may be gone, or is being overwritten now."""
        self.torn = bool(self.region.words[OLDEST] > self.position)
        return self.torn


class Region:
    """One generation of a ring, mapped."""

    __slots__ = (
        "__weakref__",
        "_newest",
        "_schemas",
        "capacity",
        "checked",
        "data_at",
        "first_index",
        "generation",
        "map",
        "names",
        "pid",
        "view",
        "words",
    )

    def __init__(self, memory: Memory) -> None:
        self.map = memory
        self.words = memoryview(memory).cast("Q")
        self.view = memoryview(memory).toreadonly()
        words = self.words
        if words[Word.MAGIC] != MAGIC or words[Word.VERSION] != VERSION:
            raise TopicError(f"not a ring, or one of another version: {bytes(memory[:16])!r}")
        self.data_at = words[Word.DATA_AT]
        self.capacity = words[Word.CAPACITY]
        self.generation = words[Word.GENERATION]
        self.first_index = words[Word.FIRST_INDEX]
        self.checked = bool(words[Word.CHECKED])
        self.pid = words[Word.PID]
        self.names: list[str] = []
        self._newest: tuple[int, int] | None = None
        """Position and index of the newest message that was seen whole."""
        self._schemas: tuple[tuple[int, int], list[Schema]] | None = None
        """End and CRC of the table of schemas, and what is in it."""

    def publisher(self, number: int) -> str:
        """The name of a publisher by its number in the table.

        Raises:
            LookupError: no such publisher.
        """
        names = self.names
        if number >= len(names):
            count = self.words[Word.PUBLISHERS]
            entries = read_entries(self.map, NAME_LENGTH, PUBLISHERS_AT, self.data_at, count)
            names = self.names = [entry.decode(errors="replace") for entry in entries]
        return names[number]

    def schemas(self) -> list[Schema]:
        """The schemas of the classes of its messages.

        Raises:
            TopicError: the table of schemas is damaged.
        """
        at = self.words[SCHEMA_AT]
        end = at + self.words[SCHEMA_LENGTH]  # after SCHEMA_AT, which is written before it
        if not at:
            return []
        if end > self.data_at:
            raise TopicError(f"a ring's header is damaged: its schemas end at {end}, its data begins at {self.data_at}")
        if at > end or at < PUBLISHERS_AT:
            raise TopicError(f"a ring's header is damaged: its schemas lie from {at} to {end}")
        table = end, zlib.crc32(self.view[at:end])
        if self._schemas is not None and self._schemas[0] == table:
            return self._schemas[1]
        entries = read_entries(self.map, SCHEMA_SIZE, at, end)
        if not self.checked and sum(SCHEMA_SIZE.size + len(entry) + ENTRY_CRC.size for entry in entries) < end - at:
            raise TopicError("a ring's header is damaged: the entries of its schemas do not fit their table")
        from horus_async.topics.packed.schema import Schema

        found = [Schema.parse(entry) for entry in entries]
        if not self.checked:
            self._schemas = table, found
        return found

    @property
    def cut(self) -> bool:
        """Whether somebody cut the file short, and ``guard`` has put private memory in its place."""
        words = self.words
        return bool(words[OLDEST] == OVER and words[Word.MAGIC] != MAGIC)

    def following(self) -> int:
        """The number of the next generation; 0 if there is none. Damage cannot lead back, and so round in circles."""
        following: int = self.words[NEXT]
        if following > self.generation:
            return following
        return self.generation + 1 if self.cut else 0

    def offset(self, position: int) -> int:
        """The offset of a position in the mapped memory."""
        return self.data_at + (position & (self.capacity - 1))

    def overwritten(self) -> int:
        """How many messages of this generation were overwritten, as far as that is visible."""
        words = self.words
        for _ in range(LOOKS):
            oldest = words[OLDEST]
            if oldest <= self.capacity or words[LATEST] < oldest:
                break
            found = self.whole(oldest)
            if words[OLDEST] == oldest:
                return found[0] - self.first_index if found is not None else 0
        return 0

    def newest(self) -> Cursor | None:
        """The newest message; None if there is none (or it is being replaced now by one as large as the ring)."""
        words = self.words
        for _ in self._looks():
            position = words[LATEST]
            if position == 0 or words[OLDEST] > position:
                break
            found = self.whole(position)
            if found is not None and words[OLDEST] <= position:
                self._newest = position, found[0]
                return Cursor(self, position, found[0])
            if found is None and not self.checked and words[LATEST] == position and words[OLDEST] <= position:
                break  # damaged: it will not change by being looked at
        return Cursor(self, *self._newest) if self.checked and self._newest is not None else None

    def end(self) -> Cursor:
        """Where the next message of this generation will be."""
        words = self.words
        cursor = Cursor(self, self.capacity, self.first_index)
        for _ in self._looks():  # do not wait for a writer that stopped between two stores
            position = words[LATEST]
            if position == 0:
                return cursor
            found = self.whole(position)
            if found is None:
                if self.checked and position >= self.capacity and not position & (ALIGNMENT - 1):
                    cursor = Cursor(self, position, self._count(position), after=True)
                elif words[LATEST] == position and words[OLDEST] <= position:
                    break  # damaged: it will not change by being looked at
                continue
            cursor = Cursor(self, position + found[1], found[0] + 1)
            if words[OLDEST] <= position and words[LATEST] == position:
                return cursor
        return cursor

    def kept(self) -> Cursor | None:
        """The oldest message of this generation that is kept for late readers; None if there is none."""
        words = self.words
        if not words[KEEP]:
            return None
        for _ in self._looks():
            position = words[KEPT]
            if not position:
                return None
            found = self.whole(position)
            if words[KEPT] != position or words[OLDEST] > position:
                continue  # it was overwritten after it was kept no longer
            if found is not None:
                return Cursor(self, position, found[0])
            if not self.checked:
                return None  # damaged: it will not change by being looked at
        return Cursor(self, position, self._count(position)) if self.checked else None

    def whole(self, position: int) -> tuple[int, int] | None:
        """Index and size in the ring of the record at ``position``; None if not all of it is visible, or it is none.

        Without checksums only what is read from ``OLDEST`` afterwards tells whether it was there still.
        """
        at = self.offset(position)
        begin = at + RECORD.size
        if position & (ALIGNMENT - 1) or begin > len(self.map):
            return None
        if not self.checked:
            length, index = self.words[at >> 3], self.words[(at >> 3) + INDEX_WORD]
            if length > len(self.map) - begin or not self._is_place(position, index):
                return None
            return index, record_size(length)
        length, *fields, crc = RECORD.unpack_from(self.map, at)
        if (
            length > len(self.map) - begin
            or not self._is_place(position, fields[0])
            or crc != checksum(position, self.view[begin : begin + length], length, *fields)
        ):
            return None
        return fields[0], record_size(length)

    def _is_place(self, position: int, index: int) -> bool:
        """Whether the record ``index`` can be at ``position``: each takes some room, and they lie in a row."""
        ahead = index - self.first_index
        behind = position - self.capacity
        return 0 <= ahead <= behind // RECORD.size and (ahead > 0 or not behind) and index < _INDEX_LIMIT

    def _count(self, position: int) -> int:
        """``COUNT`` as far as it can be true, while ``LATEST`` is ``position``."""
        most = self.first_index + (position - self.capacity) // RECORD.size
        return max(min(int(self.words[COUNT]), most), self.first_index)

    def _looks(self) -> range:
        """How often to look for the newest record: with a CRC each look reads all of it."""
        if not self.checked:
            return range(LOOKS)
        at = self.offset(self.words[LATEST] & -ALIGNMENT)
        return range(max(2, min(LOOKS, _LOOK_BYTES // (self.words[at >> 3] + 1))))

    def copy(self, position: int, *, borrow: bool = False, last_try: bool = False) -> tuple[Taken, int, int] | None:
        """The record at ``position``, its size in the ring and its order; None if it is not whole, any more or yet.

        Args:
            position: of the record.
            borrow: leave a binary payload where it is, and return a read-only view of the ring's own memory.
            last_try: do not wait any longer for what the tables lack.

        Raises:
            TopicError: the ring is damaged.
        """
        at = self.offset(position)
        room = len(self.map) - at - RECORD.size
        if room < 0 or position & (ALIGNMENT - 1):
            return self._damaged(position, "a record without room")
        length, *fields, crc = RECORD.unpack_from(self.map, at)
        index, seq, stamp_ns, order_ns, publisher = fields
        payload = self._payload(at + RECORD.size, length, borrow=borrow) if length <= room else b""
        if self.words[OLDEST] > position:
            return None
        if self.checked:
            whole = length <= room and crc == checksum(position, payload, length, *fields)
            if not whole or not (last_try or self._is_described(publisher, payload)):
                return None
        elif length > room:
            return self._damaged(position, f"a record of {length} bytes in {self.capacity} bytes of data")
        try:
            name = self.publisher(publisher)
        except LookupError:
            return self._damaged(position, f"record {index} is of publisher {publisher}, who is not in the table")
        return (payload, name, seq, stamp_ns), record_size(length), order_ns

    def _damaged(self, position: int, what: str) -> tuple[Taken, int, int] | None:
        """Raise an error, unless the place was overwritten: then there never was such a record."""
        if self.words[OLDEST] <= position:
            raise TopicError(f"the ring is damaged: {what}")
        return None

    def _is_described(self, publisher: int, payload: bytes | memoryview) -> bool:
        """Whether the tables have what a message needs: its publisher and, if it is packed, its schema."""
        try:
            self.publisher(publisher)
        except LookupError:
            return False
        mark = bytes(payload[:MARK_BYTES])
        if not mark.startswith(MARK) or mark == RAW:
            return True
        from horus_async.topics.packed.schema import is_known

        return is_known(mark) or any(found.mark == mark for found in self.schemas())

    def _payload(self, begin: int, length: int, *, borrow: bool) -> bytes | memoryview:
        if (borrow or length >= LARGE) and self.map[begin : begin + 2] == WITH_BUFFERS:
            view = self.view[begin : begin + length]
            return view if borrow else copy_of(view)
        return bytes(self.map[begin : begin + length])


def adopt_region(memory: Memory) -> Region | None:
    """Map a generation that somebody else wrote; None if its header is not finished, or not all of it is visible.

    Raises:
        TopicError: it is of another version, or its header contradicts its size.
    """
    if len(memory) < PUBLISHERS_AT:
        return None
    words = memoryview(memory).cast("Q")
    if words[Word.MAGIC] != MAGIC or not words[Word.VERSION]:
        return None
    if words[Word.VERSION] == VERSION and words[Word.HEADER_CRC] != header_crc(memory):
        return None
    region = Region(memory)
    data_at, capacity = region.data_at, region.capacity
    if (
        capacity & (capacity - 1)
        or not CAPACITY_MIN <= capacity <= RING_LIMIT
        or not PUBLISHERS_AT <= data_at <= DATA_AT_LIMIT
        or data_at + capacity != len(memory)
    ):
        raise TopicError("a ring is damaged: its header contradicts its size")
    if region.first_index >= _INDEX_LIMIT:
        raise TopicError(f"a ring is damaged: its first message has number {region.first_index}")
    return region


def create_region(memory: Memory, *, data_at: int, words: dict[Word, int], topic: str, namespace: str) -> Region:
    """Write the header of a new generation into zeroed memory, and map it."""
    header = memoryview(memory).cast("Q")
    header[Word.VERSION] = VERSION
    header[Word.DATA_AT] = data_at
    header[Word.CAPACITY] = len(memory) - data_at
    header[Word.OLDEST] = len(memory) - data_at
    for word, number in words.items():
        header[word] = number
    offset = TEXT_AT
    for text in (topic.encode(), namespace.encode()):
        NAME_LENGTH.pack_into(memory, offset, len(text))
        offset += NAME_LENGTH.size
        memory[offset : offset + len(text)] = text
        offset += len(text)
    header[Word.HEADER_CRC] = header_crc(memory)
    header[Word.MAGIC] = MAGIC  # last: a reader that sees it sees all of the above
    return Region(memory)


def header_crc(memory: Memory) -> int:
    """The CRC of what is in a header from the beginning."""
    return zlib.crc32(memory[TEXT_AT:PUBLISHERS_AT], zlib.crc32(memory[8 : 8 * Word.SCHEMA_AT]))


def checksum(position: int, payload: Payload | memoryview, *fields: int) -> int:
    """The CRC of the record at ``position``; ``fields`` are the record's fields before the CRC."""
    crc = zlib.crc32(CRC_START.pack(position, *fields))
    for part in payload if isinstance(payload, list) else [payload]:
        crc = zlib.crc32(part, crc)
    return crc
