"""Writing a ring: it has one writer, in one process, whose publishers share it."""

from __future__ import annotations

import logging
import struct
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from horus_async.clock.system import monotonic_ns
from horus_async.errors import MessageTooLargeError, TopicError
from horus_async.topics.values.payload import MESSAGE_LIMIT

from .core import WriterCore, packers
from .kept import KeptMessages, stretch
from .layout import (
    DATA_AT_LIMIT,
    PAD,
    RECORD,
    RING_LIMIT,
    ROOM_FOR,
    SCHEMAS_LIMIT,
    SLOTS,
    SLOTS_AT,
    Word,
    bell_byte,
    capacity_for,
    record_size,
    rounded_capacity,
)
from .region import (
    CLOSED,
    COUNT,
    KEEP,
    LATEST,
    NEXT,
    OLDEST,
    SLEEPERS,
    SMALL,
    STORES_IN_ORDER,
    Cursor,
    checksum,
    create_region,
)
from .tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.topics.values.payload import Payload

    from .region import Memory, Region

_log = logging.getLogger("horus_async")


class Counting(Protocol):
    """Who counts the messages of a publisher."""

    next_seq: int


class _Opened(NamedTuple):
    """What a writer has to take over for a generation that it has made."""

    region: Region
    backed: int


class RingWriter(WriterCore):
    """The one writer of a ring. ``write``, ``add_publisher`` and ``close`` must not overlap: hold the ring's turn.

    Ctrl-C may strike between any two lines: what it interrupts is done again, or was done.
    """

    __slots__ = (
        "__weakref__",
        "_allocate",
        "_back",
        "_backed",
        "_checkpoints",
        "_gone",
        "_header",
        "_kept",
        "_opened",
        "_refusal",
        "_tables",
        "_told",
        "_wanted",
        "bell_byte",
        "generations",
        "map",
        "namespace",
        "next_seq",
        "region",
        "topic",
        "words",
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
        back: Callable[[int], int] | None = None,
    ) -> None:
        """Open generation 0.

        Args:
            allocate: called with the number and the size in bytes of a generation; returns zeroed memory for it.
            topic: name of the topic, for the header.
            namespace: its namespace, for the header.
            capacity: bytes of data, rounded up to a power of two within the limits of ``layout``.
            pid: process that writes, for the header.
            started_ns: wall clock, nanoseconds since 1970, for the header.
            checked: write a CRC with each record.
            back: called with a number of bytes: makes sure that as many at the beginning of the newest generation can
                be written, and returns how many can; default: all can.
        """
        super().__init__()
        self._allocate = allocate
        self._back = back
        self.topic = topic
        self.namespace = namespace
        self.bell_byte = bell_byte(topic)
        self._header = {Word.CHECKED: int(checked), Word.PID: pid, Word.STARTED_NS: started_ns}
        self.checked = checked
        self._refusal = ""
        self._gone = self._told = False
        self._opened: _Opened | None = None
        self.next_seq = 0
        """Counted where no publisher does."""
        self._tables = Tables()
        self._backed = 0
        self._checkpoints: deque[int] = deque()
        self._kept: KeptMessages | None = None
        self._wanted = rounded_capacity(capacity)
        self.generations: list[Region] = []
        self._open_generation(self._wanted)

    def start(self) -> Cursor:
        """Where the first message of all was, or will be."""
        return Cursor(self.generations[0], self.generations[0].capacity, 0)

    def end(self) -> Cursor:
        """Where the next message will be. Takes no lock: publishers hold theirs while they tell of a new ring."""
        while True:
            region = self.generations[-1]
            cursor = region.end()
            if region is self.generations[-1]:
                return cursor

    def say_damaged(self, reason: str) -> None:
        """Tell the user, once, that somebody else wrote into it."""
        if not self._told:
            self._told = True
            _log.warning(
                "another process wrote into the ring of topic %r of this one: %s",
                self.topic,
                reason,
                extra={"ring": self.topic},
            )

    def follow(self, generation: int) -> Region | None:
        """A later generation; None if there is none, whatever another process wrote into the header."""
        return self.generations[generation] if generation < len(self.generations) else None

    def want_capacity(self, capacity: int) -> None:
        """Let the ring grow to ``capacity`` bytes with the next message that needs room."""
        self._wanted = max(self._wanted, rounded_capacity(capacity))

    def keep(self, count: int) -> None:
        """Keep the last ``count`` messages written from now on for late readers, or more if it does already."""
        kept = self._kept
        if kept is None:
            kept = self._kept = KeptMessages(count)
        kept.count = max(kept.count, count)
        self._header[Word.KEEP] = kept.count
        for region in self.generations:
            region.words[KEEP] = kept.count
        self.limit = 0  # each message makes room for itself, and so none is written elsewhere than in `write`

    def keep_no_longer(self) -> None:
        """It is closed, and late readers are not to begin with what it kept; who reads it already goes on."""
        now = monotonic_ns()
        for region in self.generations:
            region.words[Word.CLOSED_NS] = now  # so long it stays for those
            region.words[KEEP] = 0

    @property
    def keeps(self) -> bool:
        """Whether it has messages for late readers."""
        return self._kept is not None and self.index > 0

    def begin(self) -> Cursor:
        """Where a late reader begins: with what is kept, or else where the next message will be."""
        return next(filter(None, (region.kept() for region in self.generations)), None) or self.end()

    def add_publisher(self, name: str) -> int:
        """Enter a publisher into the table; returns its number.

        Raises:
            TopicError: the ring is closed, or there is no shared memory left to grow.
        """
        if self._refusal:  # after a fork the ring is another process's
            raise TopicError(self._refusal)
        number = len(self._tables.publishers)
        self._enter(self._tables.with_publisher(name.encode()))
        return number

    def add_schema(self, text: bytes) -> bool:
        """Enter the schema of a class into the table; returns False if there is no room for it.

        Raises:
            TopicError: the ring is closed, or there is no shared memory left to grow.
        """
        if text in self._tables.schemas:
            return True
        if self._refusal:
            raise TopicError(self._refusal)
        larger = self._tables.with_schema(text)
        if larger.schema_bytes > SCHEMAS_LIMIT:
            return False
        self._enter(larger)
        return True

    def write(
        self,
        payload: Payload,
        publisher: int,
        seq: int,
        stamp_ns: int,
        *,
        order_ns: int | None = None,
        counting: Counting | None = None,
    ) -> None:
        """Write one message of any size, over the oldest ones if need be.

        Args:
            payload: of the message.
            publisher: its number.
            seq: the publisher's own number of the message.
            stamp_ns: time stamp, nanoseconds since 1970.
            order_ns: place among the messages of other rings; default: the time stamp.
            counting: gets the next number.

        Raises:
            MessageTooLargeError: it can never fit.
            TopicError: the ring is closed, or there is no shared memory left to grow.
        """
        kept = self._kept
        if kept is not None:
            kept.note(self.region, self.tail)  # Ctrl-C may have come in between the last time
        parts = [payload] if isinstance(payload, bytes) else payload
        length = sum(map(len, parts))
        size = record_size(length)
        if length <= SMALL and length not in packers:
            packers[length] = struct.Struct(f"<QQQqqI4x{length}s").pack_into, size
        if self.tail + size > self.limit:
            self.make_room(size)
        start, memory, words = self.tail, self.map, self.words
        counter = self if counting is None else counting
        fields = length, self.index, seq, stamp_ns, stamp_ns if order_ns is None else order_ns, publisher
        crc = checksum(start, payload, *fields) if self.checked else 0
        at = self.data_at + (start & self.mask)
        RECORD.pack_into(memory, at, *fields, crc)
        at += RECORD.size
        for part in parts:
            memory[at : at + len(part)] = part
            at += len(part)
        # All in one line without a call: Ctrl-C must not come between these.
        words[LATEST], self.tail, self.index, counter.next_seq = start, start + size, self.index + 1, seq + 1
        if self.checked:
            words[COUNT] = self.index
        if kept is not None:
            kept.note(self.region, self.tail)

    def make_ready(self) -> None:
        """Let the first message find room."""
        if self.limit == self.tail and not self._refusal:
            self.make_room(RECORD.size)

    @property
    def gone(self) -> bool:
        """Whether somebody took its file away, so that nobody else reads what is written."""
        return self._gone or self.region.cut

    def lose(self) -> None:
        """Somebody removed its file."""
        self._gone = True
        self.limit = 0

    @property
    def schemas(self) -> tuple[bytes, ...]:
        """The schemas in the table."""
        return self._tables.schemas

    def close(self) -> None:
        """Tell readers that there will be no more messages. Later writes are errors."""
        if not self._refusal:
            self.refuse(f"topic {self.topic!r} is closed")
            now = monotonic_ns()
            for region in reversed(self.generations):  # the newest first: only it ends the ring for readers
                region.words[Word.CLOSED_NS] = now
                region.words[CLOSED] = 1 + self.index

    def sleepers(self) -> list[int]:
        """The slots of the doorbells to ring now; clears them, until their owners sleep again."""
        words, memory = self.words, self.map
        words[SLEEPERS] = 0  # before the slots: a sleeper that comes in between is seen next time
        slots = []
        at = memory.find(b"\1", SLOTS_AT, SLOTS_AT + SLOTS)
        while at >= 0:
            memory[at] = 0
            slots.append(at - SLOTS_AT)
            at = memory.find(b"\1", at, SLOTS_AT + SLOTS)
        return slots

    def refuse(self, reason: str) -> None:
        """Make every later write fail with ``reason``."""
        self._refusal = reason
        self.limit = 0  # so that the hot path needs no check of its own

    def make_room(self, size: int) -> None:
        """Claim the next stretch of the ring, at least ``size`` bytes from ``tail`` to ``limit``.

        Raises:
            MessageTooLargeError: it can never fit.
            TopicError: the ring is closed, or there is no shared memory left to grow.
        """
        if self._refusal:
            raise TopicError(self._refusal)
        if self._opened is not None:
            self._move_to(self._opened)
        length = size - RECORD.size
        if length > MESSAGE_LIMIT:
            raise MessageTooLargeError(
                f"a message of about {length} bytes is too large for topic {self.topic!r}: the limit is "
                f"MESSAGE_LIMIT = {MESSAGE_LIMIT} bytes, half of RING_LIMIT = {RING_LIMIT}; send it in parts"
            )
        capacity = self.mask + 1
        wanted = max(self._wanted, capacity if size * ROOM_FOR <= capacity else capacity_for(capacity, length))
        if self._kept is not None:
            wanted = max(wanted, self._kept.capacity(self.topic, self.region, self.tail, size))
        if wanted > capacity:
            capacity = wanted
            self._open_generation(capacity)
        start, limit = stretch(self.tail, size, capacity)
        needed = self.data_at + min(limit - capacity, capacity)
        if needed > self._backed:
            assert self._back is not None
            self._backed = self._back(needed)
        checkpoints = self._checkpoints
        checkpoints.append(start)
        while checkpoints[0] < limit - capacity:
            checkpoints.popleft()
        self.words[OLDEST] = checkpoints[0]
        if start != self.tail:
            self.words[self.region.offset(self.tail) >> 3] = PAD | self.tail
        if self.region.cut or self._kept is not None:
            limit = 0  # so that the next message looks
        self.tail, self.limit = start, limit

    def _open_generation(self, capacity: int) -> None:
        number = len(self.generations)
        data_at = self._tables.data_at
        if data_at > DATA_AT_LIMIT:
            raise TopicError(
                f"topic {self.topic!r} has too many publishers in one process: {len(self._tables.publishers)}"
            )
        memory = self._allocate(number, data_at + capacity)
        backed = data_at + capacity if self._back is None else self._back(data_at)
        region = create_region(
            memory,
            data_at=data_at,
            words={**self._header, Word.GENERATION: number, Word.FIRST_INDEX: self.index},
            topic=self.topic,
            namespace=self.namespace,
        )
        self._tables.write(region)
        if self.generations:  # readers that sleep at the old one are woken from here
            region.map[SLOTS_AT : SLOTS_AT + SLOTS] = self.generations[-1].map[SLOTS_AT : SLOTS_AT + SLOTS]
            region.words[SLEEPERS] = 1
        self._opened = _Opened(region, backed)
        self._move_to(self._opened)

    def _move_to(self, opened: _Opened) -> None:
        """Go on in a new generation. If Ctrl-C strikes, ``make_room`` does it again, as there is no room before."""
        region = opened.region
        number = region.generation
        self.limit = 0
        self.generations = [*self.generations[:number], region]
        self.region = region
        if number:
            self.generations[number - 1].words[NEXT] = number
        self.map = region.map
        self.words = region.words
        self.enter(region.map, region.data_at, region.capacity)
        self._backed = opened.backed
        self._checkpoints = deque()
        self.tail = region.capacity
        self.limit, self._opened = region.capacity, None

    def _enter(self, tables: Tables) -> None:
        """Write these tables into the header, of a new generation if this one has no room for them."""
        before, self._tables = self._tables, tables
        try:
            if not tables.write(self.region):
                self._open_generation(self.region.capacity)
        except BaseException:
            self._tables = before
            raise
