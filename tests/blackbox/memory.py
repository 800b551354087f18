"""A ring in plain memory, and the means to stop it between any two stores."""

from __future__ import annotations

import lz4.block
from attrs import define, field

from horus_async.blackbox import layout
from horus_async.blackbox.compact import RECORD_SIZE
from horus_async.blackbox.entry import Entry
from horus_async.blackbox.ring import PIECE, FullSegment, Ring, Writer
from horus_async.blackbox.scan import Line, SegmentImage, find_sources, missing_ends, read_lines

SALT = 0x5EED
RUN = b'"r"'


class RecordingMemory:
    """Bytes that remember every store made to them, as mmap and as 64-bit words."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.stores: list[tuple[int, bytes, bool]] = []
        """Offset, bytes, and whether a crash may leave a part of them only."""

    def __getitem__(self, key: slice) -> bytes:
        return bytes(self.data[key])

    def __setitem__(self, key: slice, value: bytes) -> None:
        assert key.stop - key.start == len(value)
        assert key.stop <= len(self.data)
        self._store(key.start, bytes(value), tearable=True)

    def _store(self, offset: int, value: bytes, *, tearable: bool) -> None:
        self.stores.append((offset, value, tearable))
        self.data[offset : offset + len(value)] = value

    @property
    def words(self) -> RecordingWords:
        """The words of this memory."""
        return RecordingWords(self)


class RecordingWords:
    """The same as 64-bit words: one store of the processor, which a crash cannot tear."""

    def __init__(self, memory: RecordingMemory) -> None:
        self.memory = memory

    def __setitem__(self, key: int, value: int) -> None:
        self.memory._store(8 * key, value.to_bytes(8, "little"), tearable=False)


def _store_record(memory: RecordingMemory, offset: int, fields: bytes, check: int) -> None:
    memory[offset : offset + RECORD_SIZE] = fields + check.to_bytes(4, "little")


@define
class SmallRing:
    """A ring with few small segments, and the worker's part done by hand."""

    segments: int = 6
    segment_size: int = 512
    piece: int = PIECE
    memory: RecordingMemory = field(init=False)
    ring: Ring = field(init=False)
    _writers: dict[str, Writer] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.memory = RecordingMemory(layout.PAGE + self.segments * self.segment_size)
        self.ring = Ring(
            self.memory,
            self.memory.words,
            segments=self.segments,
            segment_size=self.segment_size,
            salt=SALT,
            run=RUN,
            piece=self.piece,
            store_record=_store_record,
        )

    def append(self, text: str = "") -> None:
        """One event with a text of its own."""
        seq = self.ring.next_seq
        self.ring.append(seq, seq * 1000, b'"event":"Custom","text":"%b"}' % text.encode())

    def tick(self, node: str = "arm", *, success: bool = True, took_ns: int = 1_500_999) -> None:
        """One compact event: a `NodeTick` of that node."""
        if node not in self._writers:
            forms = [
                self.ring.form({"event": "NodeTick", "name": node, "duration_us": None, "success": value})
                for value in (False, True)
            ]
            made = tuple(form for form in forms if form is not None)
            self._writers[node] = self.ring.writer(
                made, entry=Entry(), clock=lambda: self.ring.next_seq * 1000, on_full=lambda: None
            )
        self._writers[node](self.ring.next_seq, took_ns, success)

    def seal(self) -> bool:
        """Seal the oldest full segment; False when there is none."""
        full = self.ring.take_full()
        if full is not None:
            self.ring.seal(full, *packed_lines(full))
        return full is not None

    def release(self) -> None:
        """What the worker does after a sync."""
        self.ring.release(self.ring.begin_sync())

    def read(self) -> tuple[list[Line], list[str]]:
        """What a reader makes of the memory as it is."""
        return read_image(bytes(self.memory.data), self.segment_size)


def packed_lines(full: FullSegment) -> tuple[bytes, int]:
    """What the worker makes of a piece of a full segment: compressed, and how long it was."""
    return lz4.block.compress(full.lines, store_size=False), len(full.lines)


def read_image(data: bytes, segment_size: int) -> tuple[list[Line], list[str]]:
    """The lines and the damage in the bytes of a whole box."""
    damage: list[str] = []
    images = [
        SegmentImage(
            number,
            data[offset : offset + layout.SEGMENT_HEADER],
            data[offset + layout.SEGMENT_HEADER : offset + segment_size],
            int.from_bytes(data[offset : offset + 8], "little"),
        )
        for number, offset in enumerate(range(layout.PAGE, len(data), segment_size))
    ]
    sources = find_sources(images, SALT, damage)
    oldest, newest = (int.from_bytes(data[at : at + 8], "little") for at in (layout.OLDEST_WORD, layout.NEWEST_WORD))
    if any(data):
        damage.extend(missing_ends(sources, oldest, newest))
    return list(read_lines(sources, SALT, segment_size, damage)), damage


def seqs(lines: list[Line]) -> list[int]:
    """Their sequence numbers."""
    return [line.seq for line in lines]
