"""Rings, the payloads and schemas in them, and doorbells."""

from __future__ import annotations

import os
import struct
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from orjson import dumps

from horus_async import messages
from horus_async.errors import HorusError
from horus_async.topics.codec import as_bytes, decode, encode
from horus_async.topics.codec.codec import decode_borrowed, to_json
from horus_async.topics.packed import packed
from horus_async.topics.packed.schema import Schema, Struct, find, remember
from horus_async.topics.packed.schema import difference as difference_of
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import HEADER_WORDS, PUBLISHERS_AT, TEXT_AT, Word
from horus_async.topics.ring.reader import RingReader
from horus_async.topics.ring.region import Region, adopt_region, header_crc
from horus_async.topics.wake.doorbell import Doorbell
from horus_async.topics.wake.sleepers import Sleepers

from .changes import change_bytes, change_json
from .target import Fuzzed

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

_TAKEN = 40
"""Messages that are taken of a ring; the seeds have fewer."""


def ring(root: Path) -> Fuzzed:
    """Rings as the real writer makes them, one generation each."""
    del root
    from benchmarks.ring_damage import originals

    seeds = [_short(bytes(file)) for number in (1, 2) for one in originals(number) for file in one.files[:1]]
    return Fuzzed(seeds, _read_ring, _change_ring)


def _short(file: bytes) -> bytes:
    """A ring without what is always empty in these: as a file must have the right size, the data moves to the front."""
    words = memoryview(bytearray(file)).cast("Q")
    data_at = words[Word.DATA_AT]
    schemas = file[words[Word.SCHEMA_AT] : words[Word.SCHEMA_AT] + words[Word.SCHEMA_LENGTH]]
    head = bytearray(file[: PUBLISHERS_AT + 512]) + schemas
    head += bytes(-len(head) % 8)
    changed = memoryview(head).cast("Q")
    changed[Word.DATA_AT] = len(head)
    changed[Word.SCHEMA_AT] = PUBLISHERS_AT + 512 if schemas else 0
    changed[Word.HEADER_CRC] = header_crc(head)
    return bytes(head) + file[data_at:]


def _read_ring(data: bytes) -> None:
    region = adopt_region(bytearray(data[: len(data) & -8]))
    if region is None:
        return
    for cursor in filter(None, (_begin(region), region.kept(), region.end())):
        reader = RingReader(cursor, lambda _: None)
        for _ in range(_TAKEN):
            taken = reader.take()
            if taken is None and not reader.has_message():
                break
            if taken is not None:
                with suppress(HorusError):
                    decode(taken[0])
        reader.borrow()
        reader.latest()
        reader.next_order()
        assert (reader.lost, reader.arrived, reader.consumed, reader.ended, reader.closed) is not None
    region.schemas()


def _begin(region: Region) -> Any:
    from horus_async.topics.ring.region import Cursor

    return Cursor(region, region.capacity, region.first_index)


def _change_ring(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Words of the header with a right checksum, fields of records, or any bytes."""
    kind = chance.randrange(4) if len(data) >= PUBLISHERS_AT else 0
    changed = bytearray(data)
    if kind == 0:
        changed = bytearray(change_bytes(data, others, chance))
    elif kind == 1:
        struct.pack_into("<Q", changed, 8 * chance.randrange(HEADER_WORDS), _word(data, chance))
    elif kind == 2:
        at = chance.randrange(TEXT_AT, len(changed))
        changed[at : at + 200] = change_bytes(bytes(changed[at : at + 200]), others, chance)[:200].ljust(200, b"\0")
    else:
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(PUBLISHERS_AT // 8 - 1, len(changed) // 8)
            struct.pack_into("<Q", changed, 8 * at, _word(data, chance))
    if chance.random() < 0.7 and len(changed) >= PUBLISHERS_AT:
        struct.pack_into("<Q", changed, 8 * Word.HEADER_CRC, header_crc(changed))
    return bytes(changed)


def _word(data: bytes, chance: random.Random) -> int:
    if chance.random() < 0.5:
        near: int = struct.unpack_from("<Q", data, 8 * chance.randrange(len(data) // 8))[0]
        return (near + chance.choice([-4096, -48, -8, -1, 0, 1, 8, 48, 4096])) % (1 << 64)
    return chance.choice([0, 1, 2, 7, 48, 4096, 1 << 20, 1 << 32, (1 << 62) - 1, 1 << 62, 1 << 63, (1 << 64) - 8])


def payload(root: Path) -> Fuzzed:
    """Payloads of every form."""
    del root
    seeds = [as_bytes(encode(value)) for value in _values()]
    for value in _values():
        form = packed.form_of(type(value))
        if form is not None and form.pack is not None and (made := form.pack(value)) is not None:
            seeds.append(as_bytes(made))
    return Fuzzed(seeds, _read_payload, _change_payload)


def _values() -> list[Any]:
    from datetime import UTC, datetime

    return [
        {"value": 1.5, "count": 3, "name": "arm", "flags": [True, None, -1]},
        [1, 2.5, "text", {"a": {"b": [1, {"c": None}]}}],
        {"tuple": (1, (2, 3)), 7: "key", "big": 1 << 90, "nan": float("nan"), "$odd": 1, "bytes": b"\x00\xff" * 20},
        {"at": datetime(2026, 1, 2, 3, 4, 5, 678, UTC), "inf": float("-inf")},
        np.arange(12, dtype="<f4").reshape(3, 4),
        {"image": np.zeros((4, 5, 3), np.uint8), "scalar": np.float32(1.5), "times": np.array(["2026-01-01"], "M8[s]")},
        b"raw bytes" * 10,
        messages.CmdVel(linear=0.5, angular=-0.25),
        messages.Imu(), messages.LaserScan(), messages.Odometry(), messages.JointState(),
        [messages.CmdVel(linear=1.0, angular=0.0), {"pose": messages.Pose2D(x=1.0, y=2.0, theta=0.5)}],
    ]  # fmt: skip


def _read_payload(data: bytes) -> None:
    value: Any = None
    with suppress(HorusError):
        value = decode(data)
    with suppress(HorusError):
        decode_borrowed(memoryview(data) if data[:1] == b"\0" else data, lambda: None)
    if value is not None:
        with suppress(HorusError):
            encode(value)
    to_json(data)


def _change_payload(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    return change_bytes(data, others, chance) if data[:1] == b"\0" else change_json(data, others, chance)


def schema(root: Path) -> Fuzzed:
    """Schemas, and a packed message by each."""
    del root
    forms = [
        packed.form_of(kind) for kind in (messages.CmdVel, messages.Imu, messages.LaserScan, messages.BatteryState)
    ]
    seeds = [form.schema.text for form in forms if form is not None]
    seeds.append(Schema.of(Struct("a.B", (("x", "float"), ("names", "strings"), ("row", "numbers")))).text)
    seeds.append(
        dumps({"class": "a.C", "fields": [["e", {"enum": "a.E", "members": {"A": 1}}], ["t", {"tuple": ["int"]}]]})
    )
    return Fuzzed(seeds, _read_schema, change_json)


def _read_schema(data: bytes) -> None:
    from horus_async.topics.packed import schema as known

    before = dict(known._known)
    try:
        found = Schema.parse(data)
        remember(found)
        for body in (bytes(8), bytes(200), b"\xff" * 64):
            with suppress(HorusError):
                decode(found.mark + body)
        find(found.mark)
        found.record.describe()
        difference_of(found.record, found.record)
    finally:
        known._known.clear()
        known._known.update(before)
        for mark in [mark for mark in packed._flat if mark not in before]:
            del packed._flat[mark]


def doorbell(root: Path) -> Fuzzed:
    """Bytes in the FIFO of a process that listens to one topic."""
    del root
    namespace = f"fuzz{os.getpid()}-{uuid.uuid4().hex[:8]}"
    sleepers = Sleepers(namespace, lambda: None)
    bell = Doorbell(namespace)

    def read(data: bytes) -> None:
        for begin in range(0, len(data[:70_000]), 4096):
            with suppress(BlockingIOError):
                os.write(bell.descriptor, data[begin : begin + 4096])
        for _ in range(40):
            rung = bell.drain()
            if not rung:
                return
            sleepers._hear(rung)
        raise AssertionError("a doorbell that rings for ever")

    def close() -> None:
        bell.close()
        with suppress(OSError):
            (memory.root() / namespace).rmdir()

    bell.withdraw()
    seeds = [b"!", b"\0", b"\x80\x81", bytes(range(256)), b"\xff" * 5000]
    return Fuzzed(seeds, read, close=close)
