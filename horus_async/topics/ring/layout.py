"""The layout of a ring in shared memory. Numbers and formats only: no memory is touched here.

This text is enough to write a reader in any language. All numbers are little-endian; a *word* is an unsigned 64-bit
integer at an 8-byte aligned offset, read and written in one piece. A *position* counts bytes of the ring's data
since the ring began. It only grows, so no two records ever have the same position.

**One file is one generation of one ring.** A ring has one writing process and carries one topic. It is::

    0               HEADER_WORDS words, see ``Word``
    TEXT_AT         topic name, namespace: each a u16 length and that many bytes of ASCII
    PUBLISHERS_AT   publisher table: for each publisher a u16 length, that many bytes of UTF-8, ``ENTRY_CRC``
    SCHEMA_AT word  schema table, if there is one: SCHEMA_LENGTH bytes, for each schema a u32 length, that many bytes
                    of JSON, ``ENTRY_CRC``; it lies between the publishers and the data
    DATA_AT word    the data: CAPACITY bytes, a power of two. Position p lies at DATA_AT + p % CAPACITY

**A record** begins at a position divisible by 8 and never wraps: ``RECORD`` (48 bytes), the payload, zero to seven
bytes of padding. Where too little room is left before the end of the data, the writer puts ``PAD`` + the position
there instead of a length (and nothing else: there may be no room), and the next record is at the next multiple of
CAPACITY. The first record of a generation has the position CAPACITY, so 0 in ``LATEST`` means that there is none.

**Writing.** Before it overwrites anything the writer stores in ``OLDEST`` the position of the oldest record that will
remain; it does so for a whole stretch of the ring at a time. It writes the record, and then its position to
``LATEST``. A writer that dies in between leaves no trace of an unfinished record.

**Reading** at position p: if ``LATEST`` < p there is nothing yet. Otherwise copy the record at p, and only then read
``OLDEST``: if it is greater than p, the copy may be torn; drop it and go on at ``OLDEST``. Otherwise the copy is whole
and the next record is at p + size. (Better go on further ahead than ``OLDEST`` where a large record was torn: the
writer is faster than a copy.) Record indices have no gaps, so the index of the next record that is read tells exactly
how many were lost.

**Order of rings.** Readers merge the rings of a topic, and tell which message is the newest, by the order of each
record: the monotonic clock (``CLOCK_MONOTONIC``, nanoseconds, the same for all processes of a machine) when it was
sent, so that setting the wall clock changes nothing. In a deterministic run and in a replay it is the time stamp.

**Memory order.** The above needs stores to become visible in the order in which they were made, as on x86-64. On other
processors the writer sets ``CHECKED`` to 1 and fills in each record's CRC; a reader that finds a wrong CRC tries again
later, and believes nothing of a record (its length, its index) before that. The CRC-32 covers ``CRC_START``, which
holds the position, and the payload, so that neither the remains of an earlier lap nor zero-filled memory is taken for
the record. Header and tables have CRCs everywhere: ``HEADER_CRC`` that of the words ``VERSION`` to ``STARTED_NS`` and
of the bytes from ``TEXT_AT`` to ``PUBLISHERS_AT``; ``ENTRY_CRC`` that of ``ENTRY_START``, the entry's number in its
table, and of its bytes. A ring with a wrong one is not finished yet; a message whose publisher or schema is not there
yet is left for later. Positions are one word each, and so always whole, but may be old; therefore a reader leaves a
``CHECKED`` generation for the next one only if it has had all messages before its ``FIRST_INDEX``, and takes a ring
for ended only if it has had as many as ``CLOSED`` says. Who begins to read while the newest record is not whole begins
behind that record, when it is; should it be overwritten first, ``COUNT`` tells from where losses count.

**Payloads** are JSON text, unless they begin with a zero byte: ``codec`` documents the forms. A payload that begins
with a zero byte and a ``$`` is packed, as ``packed`` documents, by a schema in the table: bytes 2 to 7 of the payload
are the first six of the schema's SHA-256. ``schema`` documents the schemas' JSON. (A value of plain ``bytes`` has
``bytes`` and a zero byte there instead, and needs no schema.) A ring may carry messages of any number of classes and
forms; a schema is in the table before the first message of its class, also for classes that are never packed.

**Growing.** A message too large for the ring, or a publisher or schema too many for its table, makes the writer open
the next generation, in a new file, and store its number in ``NEXT`` of the old one, which is never written again.
Readers finish the old generation and follow. ``FIRST_INDEX`` is the index of a generation's first record.

**Keeping.** A writer that keeps its last ``KEEP`` messages for late readers never overwrites them, nor one more while
it writes: the ring grows instead. ``KEPT`` is the position of the oldest of them in a generation; a late reader begins
at the first generation that has one. The words are 0 in a ring that keeps nothing, as they are in older rings.

**Ending.** The writer holds an exclusive ``flock`` on the file as long as it lives. A clean end stores the monotonic
clock in ``CLOSED_NS`` and then 1 + the number of messages in ``CLOSED`` of every generation, after the last record, and
removes the files; a process that has them mapped can still read. If
the folder has doorbells of other processes, which may not have seen the ring yet, the writer leaves the files to them:
they remove each five seconds after ``CLOSED_NS``, or one second if nobody else listens. A process that finds a
file that nobody has locked (its writer died) stores ``CLOSED_NS`` and 1 in ``CLOSED`` and removes it, holding the lock
meanwhile. The files of a ring that keeps messages stay after either end; the process that wrote them holds its locks
as long as it lives. They are removed when the writer's name opens a ring of that topic again, and by who finds that no
file in the folder is locked: then no process takes part in the namespace any more.

**Waking.** A process that listens has a doorbell: a FIFO named ``bell-`` and its slot, a number below ``SLOTS``, in the
folder of the rings, which it holds open for reading, locked by ``flock``; one more for each further event loop that
waits at the same time. Before one sleeps, the process stores 1 in the byte ``SLOTS_AT`` + slot of the header, then 1 in
``SLEEPERS``, and looks once more whether there is a message. After each message a writer that finds ``SLEEPERS`` set
stores 0 there, then clears each slot's byte that is set and writes ``bell_byte`` of the topic into that doorbell, so
that the process it wakes has few topics to look at. Any byte below 128 other than 0 means: look at everything, the
folder too. It is written into all doorbells after a ring was made. Doorbells are not relied on alone: a sleeping
process also looks by itself a few times a second.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum

from horus_async.topics.values.payload import MESSAGE_LIMIT

MAGIC = int.from_bytes(b"HORUSRNG", "little")
VERSION = 2
"""Version 1 had no order in its records, and no CRCs of header and tables."""


class Word(IntEnum):
    """The words of the header, by index. Words without a name are 0 and reserved."""

    MAGIC = 0
    VERSION = 1
    DATA_AT = 2
    """Offset of the data in the file."""
    CAPACITY = 3
    """Bytes of data, a power of two."""
    GENERATION = 4
    """0 for a ring's first file."""
    FIRST_INDEX = 5
    CHECKED = 6
    PID = 7
    """Process of the writer, for people. Only the lock tells whether it is alive."""
    STARTED_NS = 8
    """Wall clock at which the ring (generation 0) was opened, nanoseconds since 1970."""
    SCHEMA_AT = 9
    """Offset of the schema table; 0 while there is none. Unlike the words before it, this one and the next may change
    while the ring is in use."""
    SCHEMA_LENGTH = 10
    """Bytes of the schema table; grows after they are written."""
    HEADER_CRC = 11
    """Of the header up to here and of the names."""
    KEEP = 12
    """How many messages are kept for late readers."""
    LATEST = 16
    """Position of the newest record; 0 before the first. From here on, words change while the ring is in use."""
    OLDEST = 17
    NEXT = 18
    """Number of the next generation; 0 if there is none."""
    CLOSED = 19
    """0 while more may come; 1 + the number of messages after a clean end, 1 if that is not known."""
    PUBLISHERS = 20
    """Publishers in the table; grows after their names are written."""
    COUNT = 21
    """Messages written, stored after LATEST; only where CHECKED is 1."""
    CLOSED_NS = 22
    """The monotonic clock when it was closed."""
    KEPT = 23
    """Position of the oldest message of this generation that is kept; 0 if there is none."""
    SLEEPERS = 24
    """Not 0 if a reader sleeps."""


HEADER_WORDS = 64
SLOTS_AT = 32 * 8
SLOTS = 256
"""Bytes of the header that tell which doorbells are to be rung."""
TEXT_AT = HEADER_WORDS * 8
PUBLISHERS_AT = 2048
FIRST_DATA_AT = 8192
"""Where the data of generation 0 begins; later generations of a ring with many publishers have larger tables."""

DATA_AT_LIMIT = 1 << 24
"""Where the data of a generation begins at the latest: beyond, no more publishers find room."""

NAME_LENGTH = struct.Struct("<H")
SCHEMA_SIZE = struct.Struct("<I")
"""The length before each schema."""

SCHEMAS_LIMIT = 1 << 20
"""Bytes of the largest schema table; classes that find no room in it are sent without a schema, and not packed."""

RECORD = struct.Struct("<QQQqqII")
"""Length of the payload in bytes; index in the ring; the publisher's own sequence number; time stamp (ns since 1970);
order among the rings of a topic (ns of the monotonic clock); number of the publisher in the table; CRC-32, or 0 where
``CHECKED`` is 0."""

INDEX_WORD = 1
ORDER_WORD = 4
"""Offsets of index and order in a record, in words."""

ENTRY_START = struct.Struct("<I")
ENTRY_CRC = struct.Struct("<I")
"""What goes into the CRC before an entry of a table: its number; and the CRC-32 behind the entry."""

CRC_START = struct.Struct("<QQQQqqI")
"""What goes into the CRC before the payload: the record's position, then its fields up to the CRC."""

PAD = 1 << 63
"""Stands, plus the position, in place of a record's length: the rest of this lap is empty."""

ALIGNMENT = 8
SEGMENTS = 64
"""A ring makes room in stretches of at most this fraction of it."""

DEFAULT_CAPACITY = 1 << 20
CAPACITY_MIN = 4096
RING_LIMIT = 256 << 20
"""The most bytes of data to which a ring grows."""

assert RING_LIMIT // 2 - RECORD.size == MESSAGE_LIMIT, "the largest payload that fits into any ring"

ROOM_FOR = 4
"""A ring grows unless it holds this many messages of the size of the one to be written."""


FOR_TOPIC = 128
"""Bytes in a doorbell from this one on stand for topics."""
FOR_ALL = b"!"
"""Rung when a ring was made."""
FOR_NOBODY = b"\0"
"""What a process rings at its own doorbell: its tasks know why."""


def bell_byte(topic: str) -> bytes:
    """What is rung for a message on ``topic``: 128 + the low seven bits of the CRC-32 of its name."""
    return bytes([FOR_TOPIC | zlib.crc32(topic.encode()) & 127])


def record_size(length: int) -> int:
    """Bytes that a payload of ``length`` takes in the ring, its record header and padding included."""
    return (RECORD.size + length + ALIGNMENT - 1) & -ALIGNMENT


def rounded_capacity(wanted: int) -> int:
    """The capacity of a ring that is to hold ``wanted`` bytes: a power of two within the limits."""
    return min(max(1 << (wanted - 1).bit_length(), CAPACITY_MIN), RING_LIMIT)


def capacity_for(capacity: int, length: int) -> int:
    """The capacity that a ring of ``capacity`` needs for a payload of ``length``: itself if it is large enough."""
    return max(capacity, rounded_capacity(record_size(length) * ROOM_FOR))
