"""A generation of a ring, mapped into this process: the common ground of its writer and its readers."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.errors import TopicError
from horus_async.topics.packed.schema import Schema
from horus_async.topics.values.blocks import copy_of
from horus_async.topics.values.payload import LARGE, WITH_BUFFERS

from .layout import (
    CRC_START,
    INDEX_WORD,
    MAGIC,
    NAME_LENGTH,
    PUBLISHERS_AT,
    RECORD,
    SCHEMA_SIZE,
    TEXT_AT,
    VERSION,
    Word,
    record_size,
)

if TYPE_CHECKING:
    import mmap

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
SLEEPERS = int(Word.SLEEPERS)
SCHEMA_AT = int(Word.SCHEMA_AT)
SCHEMA_LENGTH = int(Word.SCHEMA_LENGTH)


@frozen
class Cursor:
    """A place in a ring."""

    region: Region
    position: int
    index: int
    """Of the message at this position."""

    def overwritten(self) -> bool:
        """Whether the message may be gone, or is being overwritten now."""
        return bool(self.region.words[OLDEST] > self.position)


class Region:
    """One generation of a ring, mapped."""

    __slots__ = (
        "__weakref__",
        "capacity",
        "checked",
        "data_at",
        "first_index",
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
        self.first_index = words[Word.FIRST_INDEX]
        self.checked = bool(words[Word.CHECKED])
        self.pid = words[Word.PID]
        self.names: list[str] = []

    def publisher(self, number: int) -> str:
        """The name of a publisher by its number in the table.

        Raises:
            LookupError: no such publisher.
        """
        names = self.names
        if number >= len(names):
            names = []
            offset = PUBLISHERS_AT
            for _ in range(self.words[Word.PUBLISHERS]):
                (length,) = NAME_LENGTH.unpack_from(self.map, offset)
                offset += NAME_LENGTH.size
                names.append(bytes(self.map[offset : offset + length]).decode())
                offset += length
            self.names = names
        return names[number]

    def schemas(self) -> list[Schema]:
        """The schemas of the classes of its messages.

        Raises:
            TopicError: the table of schemas is damaged.
        """
        at = self.words[SCHEMA_AT]
        end = at + self.words[SCHEMA_LENGTH]  # after SCHEMA_AT, which is written before it
        if end > self.data_at:
            raise TopicError(f"a ring's header is damaged: its schemas end at {end}, its data begins at {self.data_at}")
        found = []
        while at < end:
            (length,) = SCHEMA_SIZE.unpack_from(self.map, at)
            at += SCHEMA_SIZE.size + length
            if at > end:
                raise TopicError("a ring's header is damaged: a schema is longer than its table")
            found.append(Schema.parse(bytes(self.map[at - length : at])))
        return found

    def offset(self, position: int) -> int:
        """The offset of a position in the mapped memory."""
        return self.data_at + (position & (self.capacity - 1))

    def overwritten(self) -> int:
        """How many messages of this generation were overwritten."""
        words = self.words
        while (oldest := words[OLDEST]) > self.capacity and words[LATEST] >= oldest:
            index = words[(self.offset(oldest) >> 3) + INDEX_WORD]
            if words[OLDEST] == oldest:
                return index - self.first_index
        return 0

    def newest(self) -> Cursor | None:
        """The newest message; None if there is none (or it is being replaced now by one as large as the ring)."""
        words = self.words
        while True:
            position = words[LATEST]
            if position == 0 or words[OLDEST] > position:
                return None
            index = words[(self.offset(position) >> 3) + INDEX_WORD]
            if words[OLDEST] <= position:
                return Cursor(self, position, index)

    def end(self) -> Cursor:
        """Where the next message of this generation will be."""
        words = self.words
        cursor = Cursor(self, self.capacity, self.first_index)
        for _ in range(1000):  # do not wait for a writer that stopped between two stores
            position = words[LATEST]
            if position == 0:
                return cursor
            at = self.offset(position) >> 3
            cursor = Cursor(self, position + record_size(words[at]), words[at + INDEX_WORD] + 1)
            if words[OLDEST] <= position and words[LATEST] == position:
                return cursor
        return cursor

    def copy(self, position: int, *, borrow: bool = False) -> tuple[Taken, int] | None:
        """The record at ``position`` and its size in the ring; None if it is not whole, any more or yet.

        Args:
            position: of the record.
            borrow: leave a binary payload where it is, and return a read-only view of the ring's own memory.

        Raises:
            TopicError: the ring is damaged.
        """
        at = self.offset(position)
        length, index, seq, stamp_ns, publisher, crc = RECORD.unpack_from(self.map, at)
        size = record_size(length)
        begin = at + RECORD.size
        payload = self._payload(begin, length, borrow=borrow) if size <= self.capacity else b""
        if self.words[OLDEST] > position:
            return None
        if self.checked and crc != checksum(position, payload, length, index, seq, stamp_ns, publisher):
            return None
        if len(payload) != length:
            raise TopicError(f"the ring is damaged: a record of {length} bytes in {self.capacity} bytes of data")
        return (payload, self.publisher(publisher), seq, stamp_ns), size

    def _payload(self, begin: int, length: int, *, borrow: bool) -> bytes | memoryview:
        if (borrow or length >= LARGE) and self.map[begin : begin + 2] == WITH_BUFFERS:
            view = self.view[begin : begin + length]
            return view if borrow else copy_of(view)
        return bytes(self.map[begin : begin + length])


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
    header[Word.MAGIC] = MAGIC  # last: a reader that sees it sees all of the above
    return Region(memory)


def checksum(position: int, payload: Payload | memoryview, *fields: int) -> int:
    """The CRC of the record at ``position``; ``fields`` are the record's fields before the CRC."""
    crc = zlib.crc32(CRC_START.pack(position, *fields))
    for part in payload if isinstance(payload, list) else [payload]:
        crc = zlib.crc32(part, crc)
    return crc
