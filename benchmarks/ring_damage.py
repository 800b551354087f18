"""Rings of other processes that were damaged, before they are read or meanwhile.

Each mutated ring is a copy of one that the real writer made: with several publishers, with laps behind it, grown, with
schemas, with and without checksums. Whatever a reader does then, it gets a message that was sent, nothing, or a
`TopicError`, within a number of looks at the ring that depends on nothing in it. Where bytes of a record itself were
changed and it has no checksum, a message may hold what was written there.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async import Topic
from horus_async.errors import TopicError
from horus_async.topics.packed.schema import Schema, Struct
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import HEADER_WORDS, TEXT_AT, Word
from horus_async.topics.ring.reader import PATIENCE, RingReader
from horus_async.topics.ring.region import Cursor, Region, adopt_region, header_crc
from horus_async.topics.ring.writer import RingWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from horus_async.topics.ring.reader import Loan

RINGS_A_LAP = 2000
FILES_A_LAP = 100

MOST_LOOKS = 10 * PATIENCE
"""At records, in one call of a reader."""

_WORDS = [0, 1, 2, 7, 8, 4096, 8192, 1 << 31, 1 << 32, (1 << 62) + 4, 1 << 62, 1 << 63, (1 << 64) - 8, (1 << 64) - 1]


@define
class Original:
    """A ring as its writer left it."""

    files: list[bytearray]
    sent: set[tuple[bytes, str, int, int]]
    checked: bool
    count: int
    writer: RingWriter = field(repr=False)

    def copy(self) -> list[bytearray]:
        """Its generations, to be spoilt."""
        return [bytearray(file) for file in self.files]


class Looks:
    """Counts the looks at records, and fails where a call takes too many."""

    def __init__(self) -> None:
        self.count = 0
        self.most = 0

    def call(self, function: Callable[[], Any]) -> Any:
        """Its result; a `TopicError` counts as one."""
        self.count = 0
        try:
            return function()
        except TopicError as error:
            return error
        finally:
            self.most = max(self.most, self.count)

    def look(self) -> None:
        """There was one."""
        self.count += 1
        if self.count > MOST_LOOKS:
            raise AssertionError(f"a reader has looked {self.count} times in one call")


@contextmanager
def counted() -> Iterator[Looks]:
    """Count the looks that readers take."""
    looks, originals = Looks(), {name: getattr(Region, name) for name in ("whole", "copy", "following", "publisher")}

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def look(*arguments: Any, **options: Any) -> Any:
            looks.look()
            return original(*arguments, **options)

        return look

    for name, original in originals.items():
        setattr(Region, name, counting(original))
    try:
        yield looks
    finally:
        for name, original in originals.items():
            setattr(Region, name, original)


def originals(seed: int) -> list[Original]:
    """Rings of several kinds."""
    chance = random.Random(seed)
    return [
        make(chance, checked=checked, laps=laps, grows=grows)
        for checked in (False, True)
        for laps, grows in ((0, False), (5, False), (2, True))
    ]


def make(chance: random.Random, *, checked: bool, laps: int, grows: bool) -> Original:
    """A ring by the real writer."""
    files: list[bytearray] = []

    def allocate(_: int, size: int) -> bytearray:
        files.append(bytearray(size))
        return files[-1]

    writer = RingWriter(allocate, topic="t", namespace="n", capacity=4096, pid=4711, checked=checked)
    names = [f"publisher {number}" for number in range(3)]
    for name in names:
        writer.add_publisher(name)
    writer.add_schema(Schema.of(Struct("some.Speed", (("linear", "float"), ("angular", "float")))).text)
    if chance.random() < 0.3:
        writer.keep(chance.choice([1, 3, 50]))
    sent = set()
    lengths = [chance.randrange(10, 900) for _ in range(20 + laps * 20)]
    if grows:
        lengths[len(lengths) // 2 : len(lengths) // 2] = [5000, 12, 40000, 30]
    for number, length in enumerate(lengths):
        payload = b'"%d %s"' % (number, b"x" * length)
        publisher = number % 3
        writer.write(payload, publisher, number, 1000 + number)
        sent.add((payload, names[publisher], number, 1000 + number))
    if chance.random() < 0.3:
        writer.close()
    return Original(files, sent, checked, len(lengths), writer)


def spoil(chance: random.Random, ring: bytearray) -> tuple[int, int]:
    """Change something in a file; returns the range of bytes."""
    if len(ring) < TEXT_AT:
        return 0, 0
    kind = chance.randrange(6)
    if kind == 0:  # a word of the header
        at, new = 8 * chance.randrange(HEADER_WORDS), struct.pack("<Q", _word(chance, ring))
    elif kind == 1:  # one that changes while the ring is in use
        at, new = 8 * chance.randrange(Word.LATEST, Word.SLEEPERS + 1), struct.pack("<Q", _word(chance, ring))
    elif kind == 2:  # a bit
        at = chance.randrange(len(ring))
        new = bytes([ring[at] ^ 1 << chance.randrange(8)])
    elif kind == 3:  # a field of a record, or whatever is there
        data_at = min(struct.unpack_from("<Q", ring, 16)[0], len(ring) - 8)
        at = data_at + 8 * chance.randrange(max((len(ring) - data_at) // 8, 1))
        new = struct.pack("<Q", _word(chance, ring))
    elif kind == 4:  # a stretch
        at = chance.randrange(len(ring))
        new = bytes([chance.choice([0, 255, 49])]) * chance.choice([8, 64, 4096])
    else:
        at, new = chance.randrange(len(ring)), chance.randbytes(chance.choice([1, 8, 200]))
    new = new[: len(ring) - at]
    ring[at : at + len(new)] = new
    if chance.random() < 0.3:
        struct.pack_into("<Q", ring, 8 * Word.HEADER_CRC, header_crc(ring))
    return at, at + len(new)


def _word(chance: random.Random, ring: bytearray) -> int:
    if chance.random() < 0.5:
        return chance.choice(_WORDS)
    near: int = struct.unpack_from("<Q", ring, 8 * chance.randrange(Word.SLEEPERS))[0]
    return (near + chance.choice([-48, -8, -1, 0, 1, 8, 4096])) % (1 << 64)


class Reading:
    """A reader of a ring in memory that was or will be spoilt."""

    def __init__(self, original: Original, chance: random.Random, looks: Looks) -> None:
        self._original = original
        self._chance = chance
        self._looks = looks
        self._files = original.copy()
        self._exact = True
        self.got = 0
        self.said: list[str] = []

    def spoil(self) -> None:
        """Change a bit of it, in place."""
        ring = self._chance.choice(self._files)
        begin, end = spoil(self._chance, ring)
        if begin < 8 * Word.SCHEMA_AT or not (self._original.checked or end <= TEXT_AT):
            self._exact = False  # where the data is, and whether it is checked, may be another; or a record was changed

    def resize(self) -> None:
        """Make a file shorter or longer, before it is mapped."""
        ring = self._chance.choice(self._files)
        size = self._chance.choice([0, 8, 100, 2048, 4096, len(ring) - 8, len(ring) + 8, 2 * len(ring)])
        ring[size:] = bytes(max(size - len(ring), 0))

    def begin(self) -> RingReader | None:
        """A reader at the beginning or the end; None if the ring is left out."""
        first = self._looks.call(lambda: self._map(0))
        if not isinstance(first, Region):
            return None
        where = self._looks.call(self._chance.choice([first.end, first.newest, first.kept, lambda: None]))
        cursor = where if isinstance(where, Cursor) else Cursor(first, first.capacity, first.first_index)
        return RingReader(cursor, self._map, self, self.said.append)

    def _map(self, generation: int) -> Region | None:
        if generation >= len(self._files):
            return None
        region = adopt_region(self._files[generation]) if len(self._files[generation]) % 8 == 0 else None
        if region is not None and region.generation != generation:
            raise TopicError("another generation")
        return region

    def use(self, reader: RingReader) -> None:
        """Do all that one does with a reader, and check what comes."""
        call = self._looks.call
        for _ in range(self._original.count + 5):
            action = self._chance.randrange(12)
            if action < 8:
                taken = call(reader.take)
                if taken is None and not call(reader.has_message):
                    break
                self._check(taken)
            elif action == 8:
                loan: Loan | TopicError | None = call(reader.borrow)
                self._check(loan[0] if isinstance(loan, tuple) else loan)
            elif action == 9:
                self._check(call(reader.latest))
            elif action == 10:
                self._check_numbers(reader)
            else:
                call(reader.next_order)
                call(reader.region.schemas)
        for _ in range(PATIENCE + 5):  # so long a reader may wait for what is not visible yet
            if not call(reader.has_message) or call(reader.take) is not None:
                break
        else:
            raise AssertionError("there is a message for ever, but none comes")
        self._check_numbers(reader)

    def _check(self, taken: Any) -> None:
        if taken is None or isinstance(taken, TopicError):
            return
        self.got += 1
        payload, publisher, seq, stamp_ns = taken
        if not isinstance(publisher, str) or not -(1 << 63) <= stamp_ns < 1 << 63 or not 0 <= seq < 1 << 64:
            raise AssertionError(f"not a message: {taken!r:.200}")
        if self._exact and (bytes(payload), publisher, seq, stamp_ns) not in self._original.sent:
            raise AssertionError(f"nobody has sent this: {taken!r:.200}")

    def _check_numbers(self, reader: RingReader) -> None:
        for name in ("lost", "arrived", "consumed"):
            number = self._looks.call(functools.partial(getattr, reader, name))
            if not -(1 << 63) <= number < 1 << 63:
                raise AssertionError(f"{name} is {number}")
        self._looks.call(lambda: (reader.ended, reader.closed))


def spoil_rings(chance: random.Random, count: int) -> dict[str, float]:
    """Read so many mutated rings, in memory."""
    kinds = originals(chance.randrange(1 << 32))
    left_out = messages = said = 0
    with counted() as looks:
        for _ in range(count):
            reading = Reading(chance.choice(kinds), chance, looks)
            when = chance.randrange(3)
            if when == 0:
                for _ in range(chance.choice([1, 1, 2, 5])):
                    reading.spoil()
            elif chance.random() < 0.1:
                reading.resize()
            reader = reading.begin()
            if reader is None:
                left_out += 1
                continue
            if when == 1:
                reading.spoil()
            elif when == 2:
                for _ in range(chance.randrange(10)):
                    looks.call(reader.take)
                reading.spoil()
            reading.use(reader)
            messages += reading.got
            said += bool(reading.said)
        most = looks.most
    return {
        "mutated rings": count,
        "left out": left_out,
        "said to be damaged": said,
        "messages": messages,
        "_most": most,
    }


def spoil_files(root: Path, chance: random.Random, count: int, *, namespace: str | None = None) -> dict[str, float]:
    """Put so many mutated files where rings are, and spoil, cut and remove them under an open topic."""
    namespace = namespace or f"spoilt-{os.getpid()}-{chance.randrange(1 << 32):x}"
    kinds = originals(chance.randrange(1 << 32))
    folder = memory.root() / namespace
    received = 0
    with Topic("t", namespace=namespace) as topic:
        topic.send("own")
        for number in range(count):
            original = chance.choice(kinds)
            paths = [folder / f"t@1267-{number:08x}-0.{index}" for index in range(len(original.files))]
            for path, file in zip(paths, original.copy(), strict=True):
                if chance.random() < 0.3:
                    spoil(chance, file)
                put(chance, path, file, root)
            _use(topic, chance)
            victim = chance.choice(paths)
            if victim.is_file() and not victim.is_symlink():
                _spoil_file(chance, victim)
            received += _use(topic, chance)
            for path in paths:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        topic.send("still here")
        if topic.latest() != "still here" and not received:
            raise AssertionError("the topic does not work any more")
    return {"mutated files": count}


def put(chance: random.Random, path: Path, file: bytearray, root: Path) -> None:
    """A file, or now and then something else of its name."""
    kind = chance.randrange(20)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(root / "nowhere")
    elif kind == 3:
        path.write_bytes(file[: chance.randrange(len(file))])
    else:
        path.write_bytes(file)


def _spoil_file(chance: random.Random, path: Path) -> None:
    kind = chance.randrange(4)
    if kind == 0:
        os.truncate(path, chance.choice([0, 1, 4096, 8192, 9000]))
    elif kind == 1:
        path.unlink()
    else:
        file = bytearray(path.read_bytes())
        if file:
            begin, end = spoil(chance, file)
            with path.open("r+b") as ring:
                ring.seek(begin)
                ring.write(file[begin:end])


def _use(topic: Topic, chance: random.Random) -> int:
    received = 0
    for _ in range(chance.randrange(200)):
        try:
            if topic.recv_message() is not None:
                received += 1
            elif chance.random() < 0.2:
                break
        except TopicError:
            received += 1
    for look in (topic.latest, topic.has_msg, lambda: topic.lost):
        try:
            look()
        except TopicError:
            continue
    return received


def spoil_all(root: Path, seed: int) -> Mapping[str, float]:
    """One lap."""
    chance = random.Random(seed)
    logging.getLogger("horus_async").setLevel(logging.ERROR)  # a lap says hundreds of times what is wrong
    return {**_counts(spoil_rings(chance, RINGS_A_LAP)), **spoil_files(root, chance, FILES_A_LAP)}


def _counts(found: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in found.items() if not key.startswith("_")}
