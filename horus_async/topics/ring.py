"""One writer's ring and its readers, over memory that somebody else provides; ``layout`` explains the bytes.

The two hot paths, ``RingWriter.write`` and ``RingReader.take``, handle the common case (a small ``bytes`` payload, no
lap, stores in order) in as few steps as Python allows, and hand everything else to a slower sibling.
"""

from __future__ import annotations

import platform
import struct
import threading
import zlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from horus_async.errors import MessageTooLargeError, TopicError
from horus_async.topics.layout import (
    CRC_START,

    FIRST_DATA_AT,
    MAGIC,
    MESSAGE_LIMIT,
    NAME_LENGTH,
    PAD,
    PUBLISHERS_AT,
    RECORD,
    RING_LIMIT,
    ROOM_FOR,
    SEGMENTS,
    TEXT_AT,
    VERSION,
    Word,
    capacity_for,
    record_size,
    rounded_capacity,
)

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    Payload = bytes | list[bytes | memoryview]
    """The bytes of one message, in one piece or, where it holds large buffers, in several."""

    Taken = tuple[bytes, str, int, int]
    """A message out of a ring: payload, publisher, sequence number, time stamp in ns since 1970."""

    Memory = mmap.mmap | bytearray

STORES_IN_ORDER = platform.machine() in ("x86_64", "AMD64", "i686")
"""Whether other processors see this one's stores in the order in which it made them."""

SMALL = 4096
"""Payloads up to this many bytes are packed and unpacked by one call."""

# Plain numbers for the hot paths: looking up a member of an enum costs as much as the store itself.
_LATEST = int(Word.LATEST)
_OLDEST = int(Word.OLDEST)
_NEXT = int(Word.NEXT)
_CLOSED = int(Word.CLOSED)
_INDEX_OFFSET = 1  # in words from the beginning of a record
_STAMP_OFFSET = 3

_writing: dict[int, tuple[Callable[..., None], int]] = {}
"""For each small length: packs record and payload in one call; size in the ring."""

_reading: dict[int, tuple[Callable[..., tuple[int, int, int, int, bytes]], int]] = {}
"""For each small length: unpacks index, seq, stamp, publisher and payload; size in the ring."""


class Cursor(NamedTuple):
    """A place in a ring."""

    region: Region
    position: int
    index: int
    """Of the message at this position."""


class Region:
    """One generation of a ring, mapped."""

    __slots__ = ("__weakref__", "_names", "capacity", "checked", "data_at", "first_index", "generation", "map", "words")

    def __init__(self, memory: Memory) -> None:
        self.map = memory
        self.words = memoryview(memory).cast("Q")
        words = self.words
        if words[Word.MAGIC] != MAGIC or words[Word.VERSION] != VERSION:
            raise TopicError(f"not a ring, or one of another version: {bytes(memory[:16])!r}")
        self.data_at = words[Word.DATA_AT]
        self.capacity = words[Word.CAPACITY]
        self.generation = words[Word.GENERATION]
        self.first_index = words[Word.FIRST_INDEX]
        self.checked = bool(words[Word.CHECKED])
        self._names: list[str] = []

    def publisher(self, number: int) -> str:
        """The name of a publisher by its number in the table.

        Raises:
            LookupError: no such publisher.
        """
        names = self._names
        if number >= len(names):
            names = []
            offset = PUBLISHERS_AT
            for _ in range(self.words[Word.PUBLISHERS]):
                (length,) = NAME_LENGTH.unpack_from(self.map, offset)
                offset += NAME_LENGTH.size
                names.append(bytes(self.map[offset : offset + length]).decode())
                offset += length
            self._names = names
        return names[number]

    def offset(self, position: int) -> int:
        """Where in the memory a position lies."""
        return self.data_at + (position & (self.capacity - 1))

    def newest(self) -> Cursor | None:
        """The newest message; None if there is none (or if it is just being replaced by one as large as the ring)."""
        words = self.words
        while True:
            position = words[_LATEST]
            if position == 0 or words[_OLDEST] > position:
                return None
            index = words[(self.offset(position) >> 3) + _INDEX_OFFSET]
            if words[_OLDEST] <= position:
                return Cursor(self, position, index)


def create_region(memory: Memory, *, data_at: int, words: dict[Word, int], topic: str, namespace: str) -> Region:
    """Write the header of a new generation into zeroed memory and map it."""
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
    header[Word.MAGIC] = MAGIC  # last: whoever sees it sees all of the above
    return Region(memory)


def checksum(position: int, payload: Payload, *fields: int) -> int:
    """The CRC of the record at ``position``; ``fields`` are those before it."""
    crc = zlib.crc32(CRC_START.pack(position, *fields))
    for part in [payload] if isinstance(payload, bytes) else payload:
        crc = zlib.crc32(part, crc)
    return crc


class RingWriter:
    """The one writer of a ring. ``write``, ``add_publisher`` and ``close`` must not overlap: hold ``lock``."""

    __slots__ = (
        "__weakref__",
        "_allocate",
        "_checkpoints",
        "_data_at",
        "_header",
        "_index",
        "_limit",
        "_lock",
        "_map",
        "_mask",
        "_names",
        "_packers",
        "_refusal",
        "_tail",
        "_wanted",
        "_words",
        "generations",
        "namespace",
        "topic",
    )

    def __init__(
        self,
        allocate: Callable[[int, int], Memory],
        *,
        topic: str,
        namespace: str,
        capacity: int,
        pid: int = 0,
        started_ns: int = 0,
        checked: bool = not STORES_IN_ORDER,
        lock: threading.Lock | None = None,
    ) -> None:
        """Open generation 0.

        Args:
            allocate: gives zeroed memory for a generation, called with its number and size in bytes.
            topic: name of the topic, for the header.
            namespace: its namespace, for the header.
            capacity: bytes of data, rounded up to a power of two within the limits of ``layout``.
            pid: process that writes, for the header.
            started_ns: wall clock, for the header.
            checked: write a CRC with each record.
            lock: held by whoever writes, where several threads do.
        """
        self._lock = threading.Lock() if lock is None else lock
        self._allocate = allocate
        self.topic = topic
        self.namespace = namespace
        self._header = {Word.CHECKED: int(checked), Word.PID: pid, Word.STARTED_NS: started_ns}
        # A ring with checksums finds no packer, and so goes the slower way for each message.
        self._packers = {} if checked else _writing
        self._refusal = ""
        self._names: list[bytes] = []
        self._index = 0
        self._wanted = rounded_capacity(capacity)
        self.generations: list[Region] = []
        self._open_generation(self._wanted)

    @property
    def count(self) -> int:
        """Messages written so far."""
        return self._index

    def start(self) -> Cursor:
        """Where the first message of all was, or will be."""
        return Cursor(self.generations[0], self.generations[0].capacity, 0)

    def end(self) -> Cursor:
        """Where the next message will be."""
        with self._lock:
            return Cursor(self.generations[-1], self._tail, self._index)

    def want_capacity(self, capacity: int) -> None:
        """Let the ring grow to ``capacity`` bytes with the next message that needs room."""
        self._wanted = max(self._wanted, rounded_capacity(capacity))

    def add_publisher(self, name: str) -> int:
        """Enter a publisher into the table; gives its number."""
        before = self._names
        self._names = [*before, name.encode()]
        region = self.generations[-1]
        if self._table_size() <= region.data_at:
            self._write_names(region)
            return len(before)
        try:
            self._open_generation(region.capacity)
        except BaseException:
            self._names = before
            raise
        return len(before)

    def write(self, payload: Payload, publisher: int, seq: int, stamp_ns: int) -> None:
        """Write one message; the oldest ones make room.

        Raises:
            MessageTooLargeError: it can never fit.
            TopicError: the ring is closed, or there is no shared memory left to grow.
        """
        length = len(payload)
        if type(payload) is not bytes or length not in self._packers:
            self._write_any(payload, publisher, seq, stamp_ns)
            return
        pack, size = self._packers[length]
        start = self._tail
        if start + size > self._limit:
            start = self._make_room(size)
        index = self._index
        pack(
            self._map, self._data_at + (start & self._mask), length, index, seq, stamp_ns, publisher, 0, payload
        )
        self._words[_LATEST] = start
        self._tail = start + size
        self._index = index + 1

    def close(self) -> None:
        """Tell readers that nothing more will come. Later writes are errors."""
        if not self._refusal:
            self.refuse(f"topic {self.topic!r} is closed")
            self._words[_CLOSED] = 1

    def refuse(self, reason: str) -> None:
        """Make every later write an error that gives ``reason``."""
        self._refusal = reason
        self._limit = 0  # so that the hot path needs no check of its own

    def _write_any(self, payload: Payload, publisher: int, seq: int, stamp_ns: int) -> None:
        parts = [payload] if isinstance(payload, bytes) else payload
        length = sum(map(len, parts))
        size = record_size(length)
        start = self._tail
        if start + size > self._limit:
            start = self._make_room(size)
        region = self.generations[-1]
        crc = checksum(start, payload, length, self._index, seq, stamp_ns, publisher) if region.checked else 0
        at = region.offset(start)
        memory = self._map
        RECORD.pack_into(memory, at, length, self._index, seq, stamp_ns, publisher, crc)
        at += RECORD.size
        for part in parts:
            memory[at : at + len(part)] = part
            at += len(part)
        self._words[_LATEST] = start
        self._tail = start + size
        self._index += 1
        if length <= SMALL and not region.checked:
            _writing[length] = struct.Struct(f"{RECORD.format}{length}s").pack_into, size

    def _make_room(self, size: int) -> int:
        """Claim the next stretch of the ring, at least ``size`` bytes; gives the position of the next record."""
        if self._refusal:
            raise TopicError(self._refusal)
        length = size - RECORD.size
        if length > MESSAGE_LIMIT:
            raise MessageTooLargeError(
                f"a message of about {length} bytes is too large for topic {self.topic!r}: the limit is "
                f"MESSAGE_LIMIT = {MESSAGE_LIMIT} bytes, half of RING_LIMIT = {RING_LIMIT}; send it in parts"
            )
        capacity = self._mask + 1
        wanted = max(self._wanted, capacity if size * ROOM_FOR <= capacity else capacity_for(capacity, length))
        if wanted > capacity:
            capacity = wanted
            self._open_generation(capacity)
        start = self._tail
        behind = start & self._mask
        if behind + size > capacity:
            start += capacity - behind
        segment = capacity // SEGMENTS
        limit = (start + size + segment - 1) & -segment
        checkpoints = self._checkpoints
        checkpoints.append(start)
        while checkpoints[0] < limit - capacity:
            checkpoints.popleft()
        self._words[_OLDEST] = checkpoints[0]
        if start != self._tail:
            self._words[self.generations[-1].offset(self._tail) >> 3] = PAD | self._tail
        self._tail = start
        self._limit = limit
        return start

    def _open_generation(self, capacity: int) -> None:
        number = len(self.generations)
        data_at = FIRST_DATA_AT
        while data_at < self._table_size():
            data_at *= 2
        memory = self._allocate(number, data_at + capacity)
        region = create_region(
            memory,
            data_at=data_at,
            words={**self._header, Word.GENERATION: number, Word.FIRST_INDEX: self._index},
            topic=self.topic,
            namespace=self.namespace,
        )
        self._write_names(region)
        old = self.generations[-1] if self.generations else None
        self.generations = [*self.generations, region]
        if old is not None:
            old.words[_NEXT] = number
        self._map = region.map
        self._words = region.words
        self._data_at = data_at
        self._mask = capacity - 1
        self._tail = self._limit = capacity
        self._wanted = capacity
        self._checkpoints: deque[int] = deque()

    def _table_size(self) -> int:
        return PUBLISHERS_AT + sum(NAME_LENGTH.size + len(name) for name in self._names)

    def _write_names(self, region: Region) -> None:
        table = b"".join(NAME_LENGTH.pack(len(name)) + name for name in self._names)
        region.map[PUBLISHERS_AT : PUBLISHERS_AT + len(table)] = table
        region.words[Word.PUBLISHERS] = len(self._names)


class RingReader:
    """One reader's place in one ring. For one thread at a time."""

    __slots__ = (
        "_data_at",
        "_first",
        "_follow",
        "_index",
        "_lost",
        "_map",
        "_mask",
        "_position",
        "_region",
        "_words",
    )

    def __init__(self, cursor: Cursor, follow: Callable[[int], Region | None]) -> None:
        """Begin at ``cursor``. ``follow`` finds a later generation by its number, or None if it is gone."""
        self._follow = follow
        self._lost = 0
        self._first = self._index = cursor.index
        self._enter(cursor.region)
        self._position = cursor.position

    @property
    def lost(self) -> int:
        """Messages that were overwritten before this reader came to them."""
        self._locate()
        return self._lost

    @property
    def consumed(self) -> int:
        """Messages behind this reader: taken or lost."""
        return self._index - self._first

    @property
    def arrived(self) -> int:
        """Messages written since this reader began, lost ones included."""
        newest = self._newest()
        return max(self._index, newest.index + 1 if newest else 0) - self._first

    @property
    def ended(self) -> bool:
        """Whether the ring is closed and read to its end."""
        words = self._words
        return bool(words[_CLOSED]) and not words[_NEXT] and words[_LATEST] < self._position

    def has_message(self) -> bool:
        """Whether ``take`` would give one."""
        words = self._words
        latest = words[_LATEST]
        if latest >= self._position and latest >= words[_OLDEST]:
            return True
        return bool(words[_NEXT]) and self._locate() is not None

    def take(self) -> Taken | None:
        """The next message, or None."""
        words = self._words
        position = self._position
        if words[_LATEST] < position:
            return self._take_slowly() if words[_NEXT] else None
        at = self._data_at + (position & self._mask)
        length = words[at >> 3]
        if length not in _reading:
            return self._take_slowly()
        unpack, size = _reading[length]
        try:
            index, seq, stamp_ns, publisher, payload = unpack(self._map, at)
            name = self._region._names[publisher]  # noqa: SLF001 - the list itself, to save a call
        except (struct.error, LookupError):
            return self._take_slowly()
        if words[_OLDEST] > position or index != self._index:
            return self._take_slowly()
        self._position = position + size
        self._index = index + 1
        return payload, name, seq, stamp_ns

    def next_stamp(self) -> int | None:
        """The time stamp of the message that ``take`` would give, or None."""
        at = self._locate()
        if at is None:
            return None
        stamp: int = self._words[(at >> 3) + _STAMP_OFFSET]
        return stamp - 2**64 if stamp >= 2**63 else stamp

    def latest(self) -> Taken | None:
        """The newest message of the ring, also one from before this reader began. Moves nothing."""
        while True:
            newest = self._newest()
            if newest is None:
                return None
            region, position, _ = newest
            record = self._copy(region, position)
            if record is not None:
                return record[0]
            if region.checked:
                return None

    def _enter(self, region: Region) -> None:
        self._region = region
        self._map = region.map
        self._words = region.words
        self._data_at = region.data_at
        self._mask = region.capacity - 1
        self._position = region.capacity

    def _newest(self) -> Cursor | None:
        region: Region | None = self._region
        newest = None
        while region is not None:
            newest = region.newest() or newest
            following = region.words[_NEXT]
            region = self._follow(following) if following else None
        return newest

    def _locate(self) -> int | None:
        """Offset of the next record after skipping what is lost, padding and generations; None if there is none."""
        while True:
            words = self._words
            following = words[_NEXT]  # before LATEST: a ring that has a next generation is never written again
            if words[_LATEST] < self._position:
                region = self._follow(following) if following else None
                if region is None:
                    return None
                self._enter(region)
                continue
            oldest = words[_OLDEST]
            if oldest > self._position:
                self._position = oldest
                if words[_LATEST] < oldest:
                    return None
            at = self._region.offset(self._position)
            padding = words[at >> 3] == PAD | self._position
            index = 0 if padding else words[(at >> 3) + _INDEX_OFFSET]
            if words[_OLDEST] > self._position:
                continue
            if padding:
                self._position += self._region.capacity - (self._position & self._mask)
                continue
            if self._region.checked and self._copy(self._region, self._position) is None:
                return None  # not all of it is visible to this processor yet
            self._lost += index - self._index
            self._index = index
            return at

    def _take_slowly(self) -> Taken | None:
        while self._locate() is not None:
            record = self._copy(self._region, self._position)
            if record is not None:
                self._position += record[1]
                self._index += 1
                return record[0]
            if self._region.checked:
                return None  # not all of it is visible to this processor yet
        return None

    @staticmethod
    def _copy(region: Region, position: int) -> tuple[Taken, int] | None:
        """The record at ``position`` and its size in the ring; None if it was overwritten meanwhile."""
        at = region.offset(position)
        length, index, seq, stamp_ns, publisher, crc = RECORD.unpack_from(region.map, at)
        size = record_size(length)
        begin = at + RECORD.size
        payload = bytes(region.map[begin : begin + length]) if size <= region.capacity else b""
        if region.words[_OLDEST] > position:
            return None
        if region.checked and crc != checksum(position, payload, length, index, seq, stamp_ns, publisher):
            return None
        if len(payload) != length:
            raise TopicError(f"the ring is damaged: a record of {length} bytes in {region.capacity} bytes of data")
        if length <= SMALL and not region.checked:
            _reading[length] = struct.Struct(f"<8xQQqI4x{length}s").unpack_from, size
        return (payload, region.publisher(publisher), seq, stamp_ns), size


