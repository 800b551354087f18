"""Files of LZ4 frames that hold whole lines, and finding these, whatever became of the file. Pure.

A file is a row of LZ4 frames (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md), each complete in itself,
with a content checksum, and each holding whole lines. So ``lz4 -dc`` prints the lines, what was written last is either
a whole frame or a torn one, and damage costs only the frame it is in. Behind each frame stands its seal
(``packing.py``), which says that this very frame belongs here. A closed file ends in an index (``frame_index.py``).

A hostile file must not make this slow. Where no frame can be read, the next one is looked for at each mark of one, and
each mark could lead through the rest of the file again. So walks that led nowhere are remembered, and what was decoded
in vain counts against a bound.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import lz4.frame
from attrs import define, field, frozen

from horus_async.bounds.text import counted
from horus_async.bounds.unpacking import in_pieces
from horus_async.limits.memory import out_of_memory

from .frame_index import IndexEntry, build_index, read_index
from .limits import FRAME_LIMIT, OBJECTS_LIMIT, VALUES_LIMIT, beyond, too_much
from .packing import MAGIC, OURS, SEAL_SIZE, SKIPPABLE, Packer, Read, Seal, pack, seal_in

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "FRAME_LIMIT",
    "MAGIC",
    "OBJECTS_LIMIT",
    "SEAL_SIZE",
    "VALUES_LIMIT",
    "Damage",
    "Frame",
    "IndexEntry",
    "Packer",
    "Read",
    "Seal",
    "build_index",
    "pack",
    "read_index",
    "reader_of",
    "scan",
    "seal_in",
    "too_much",
]

_WORDS = struct.Struct("<II")
_WORD = struct.Struct("<I")
_BLOCK_SIZES = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}
_UNCOMPRESSED = 1 << 31
_FIRST_STEP, _SEARCH_STEP = 1 << 12, 1 << 20
_EXPANSION = 255
"""LZ4 makes at most so many bytes of one."""
_SMALL, _PIECE = 1 << 24, 1 << 20
"""What may become more than so many bytes is looked through first, in pieces."""
_REMEMBERED = 64
"""Of the blocks of a walk that led nowhere, one of so many is remembered."""


@frozen
class Frame:
    """A whole frame and the lines in it."""

    offset: int
    size: int
    """With its seal."""
    text: bytes


@frozen
class Damage:
    """A stretch of a file without a whole frame."""

    offset: int
    size: int
    reason: str
    torn: bool = False
    """The file ends here in the middle of a frame, as a killed process leaves it."""

    def __str__(self) -> str:
        what = "cut off" if self.torn else "damaged"
        return f"{what} at byte {self.offset}, {self.size} bytes: {self.reason}"


def reader_of(data: bytes) -> Read:
    """A ``read`` function over bytes in memory."""
    return lambda offset, size: data[offset : offset + size]


def scan(read: Read, start: int, end: int, key: int | None = None) -> Iterator[Frame | Damage]:
    """Every whole frame between two offsets, in order, and a report for each stretch without one.

    Skippable frames are passed over. After damage the scan goes on at the next frame that can be decoded. Only one
    frame is held in memory at a time.

    Args:
        read: Reads the file.
        start: Where a frame begins, or where to look for one.
        end: Where to stop: the end of the file, or where its index begins.
        key: The checksum in the first seal of a file whose frames are sealed. Then a frame that was changed, comes from
            elsewhere or stands in a wrong place is damage, and so are frames that are missing.
    """
    search = _Search(read, end)
    row = None if key is None else _Row(read, end, key, None if start else -1)
    offset = start
    while offset < end:
        found = search.frame_at(offset)
        if row is not None and isinstance(found, Frame):
            found = row.known(found)
        if isinstance(found, Damage):
            following = search.next_frame(offset + 1)
            stop = end if following is None else following
            yield Damage(offset, stop - offset, found.reason, torn=found.torn and following is None)
            offset = stop
            if row is not None:
                row.sure = False
            continue
        if row is not None:
            pieces = row.judge(found)
            yield from pieces
            offset = pieces[-1].offset + pieces[-1].size
            continue
        seal = seal_in(read(offset + found.size, SEAL_SIZE)) if found.text else None
        size = found.size + (SEAL_SIZE if seal is not None and offset + found.size + SEAL_SIZE <= end else 0)
        if found.text:
            yield Frame(offset, size, found.text)
        offset += size


@define
class _Row:
    """The frames of a sealed file, one after the other."""

    read: Read
    end: int
    key: int
    last: int | None
    """Number of the last frame that was as it should be; None if that is not known."""
    sure: bool = True
    """Whether the next one has to follow it at once."""

    def known(self, frame: Frame) -> Frame | Damage:
        """What is skipped by LZ4 tools and is no seal: its size is not to be believed."""
        if frame.text or seal_in(self.read(frame.offset, SEAL_SIZE)) is not None:
            return frame
        return Damage(frame.offset, frame.size, "an index that is not valid")

    def judge(self, frame: Frame) -> list[Frame | Damage]:
        """What to report of a frame; the last piece reaches to where the next one begins."""
        after = frame.offset + frame.size
        if not frame.text:
            return [Damage(frame.offset, frame.size, "a seal without its frame")]
        data = self.read(after, min(SEAL_SIZE, self.end - after))
        # Where not one frame has a seal nothing was cut off; the header alone was.
        stripped = self.last == -1 and (frame.offset or frame.text.count(b"\n") > 1)
        if len(data) < SEAL_SIZE and after + len(data) == self.end and _begins_seal(data) and not stripped:
            return [Damage(frame.offset, self.end - frame.offset, "the last frame is cut off", torn=True)]
        seal = seal_in(data)
        if seal is None:
            self.sure = False  # its own checksum is right: somebody has packed the lines again
            return [Damage(frame.offset, 0, "a frame without its seal"), frame]
        size = frame.size + SEAL_SIZE
        if Seal.of(self.read(frame.offset, frame.size), seal.number, self.key) != seal:
            self.sure = False
            return [Damage(frame.offset, size, "a frame that is not the one that was written here")]
        if self.last is not None and seal.number <= self.last:
            return [Damage(frame.offset, size, f"frame {seal.number} stands in a wrong place, or a second time")]
        before: list[Frame | Damage] = []
        if self.last is not None and self.sure and seal.number > self.last + 1:
            missing = seal.number - self.last - 1
            what = f"lines are missing here: {missing} frame{'s' if missing > 1 else ''}"
            before = [Damage(frame.offset, 0, what)]
        self.last, self.sure = seal.number, True
        return [*before, Frame(frame.offset, size, frame.text)]


def _begins_seal(data: bytes) -> bool:
    """Whether a seal may begin so, or a power cut has left zeros there."""
    begin = _WORDS.pack(OURS, SEAL_SIZE - 8)
    return begin.startswith(data[:8]) or not data.strip(b"\0")


@define
class _Search:
    """Looks for frames in one file."""

    read: Read
    end: int
    _dead: dict[tuple[int, int], dict[int, bool]] = field(factory=dict)
    """By size and checksums of blocks: where blocks begin that lead to no frame's end, and whether the file's ends it
    there."""
    _vain: int = 0
    """Bytes that were, or would have been, decoded in vain."""
    _zeros_from: int | None = None

    def frame_at(self, offset: int) -> Frame | Damage:
        """The frame that begins here."""
        head = self.read(offset, min(19, self.end - offset))
        if head[:4] == MAGIC:
            if self._vain > FRAME_LIMIT + (_EXPANSION + 1) * self.end:
                return Damage(offset, self.end - offset, "too many beginnings of frames that are none")
            measured = self._measure(offset, head)
            if isinstance(measured, Damage):
                return measured
            found = _decode(self.read, offset, *measured)
            if isinstance(found, Damage):
                self._vain += measured[1]
            return found
        if len(head) >= 8:
            magic, size = _WORDS.unpack_from(head)
            if magic in SKIPPABLE:
                if offset + 8 + size <= self.end:
                    return Frame(offset, 8 + size, b"")
                return Damage(offset, self.end - offset, "the index is cut off", torn=True)
        torn = _could_begin(head) or (not head.strip(b"\0") and offset >= self._zeros())
        return Damage(offset, self.end - offset, "no frame begins here", torn=torn)

    def next_frame(self, start: int) -> int | None:
        """Where the next frame begins that can be decoded."""
        at, step = start, _FIRST_STEP
        while at < self.end:
            piece = self.read(at, min(step + 3, self.end - at))
            hit = piece.find(MAGIC)
            while hit >= 0:
                if isinstance(self.frame_at(at + hit), Frame):
                    return at + hit
                hit = piece.find(MAGIC, hit + 1)
            at, step = at + step, min(2 * step, _SEARCH_STEP)
        return None

    def _zeros(self) -> int:
        """Where the zeros at the end begin: a power cut can leave a file longer than written, with zeros there."""
        if self._zeros_from is None:
            at = self.end
            while at > 0:
                begin = max(0, at - _SEARCH_STEP)
                left = self.read(begin, at - begin).rstrip(b"\0")
                at = begin
                if left:
                    at += len(left)
                    break
            self._zeros_from = at
        return self._zeros_from

    def _measure(self, offset: int, head: bytes) -> tuple[int, int] | Damage:
        """The size of the frame that begins here, and the most that can be in it, from the sizes of its blocks."""
        torn = Damage(offset, self.end - offset, "the last frame is cut off", torn=True)
        if len(head) < 7:
            return torn
        flags, descriptor = head[4], head[5]
        largest = _BLOCK_SIZES.get(descriptor >> 4 & 7)
        if flags >> 6 != 1 or not flags & 4 or largest is None:
            return Damage(offset, self.end - offset, "a frame header that makes no sense")
        begin = offset + 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
        return self._walk(offset, begin, largest, 4 if flags & 16 else 0)

    def _walk(self, offset: int, begin: int, largest: int, more: int) -> tuple[int, int] | Damage:
        torn = Damage(offset, self.end - offset, "the last frame is cut off", torn=True)
        wrong = Damage(offset, self.end - offset, "a block of an impossible size")
        dead = self._dead.setdefault((largest, more), {})
        passed: list[int] = []
        position, blocks, most = begin, 0, 0
        while True:
            known = dead.get(position)
            if known is not None:
                dead.update(dict.fromkeys(passed, known))
                return torn if known else wrong
            blocks += 1
            if blocks % _REMEMBERED == 0:
                passed.append(position)
            word = self.read(position, 4)
            if position + 4 > self.end or len(word) < 4:
                dead.update(dict.fromkeys(passed, True))
                return torn
            (size,) = _WORD.unpack(word)
            position += 4
            if size == 0:
                position += 4
                if position <= self.end:
                    return position - offset, most
                dead.update(dict.fromkeys(passed, True))
                return torn
            size &= _UNCOMPRESSED - 1
            if size > largest:
                dead.update(dict.fromkeys(passed, False))
                return wrong
            most += min(largest, _EXPANSION * size)
            if most > FRAME_LIMIT + largest:
                self._vain += most
                what = f"it would be more than {FRAME_LIMIT} bytes of text, the most that a frame may hold"
                return Damage(offset, self.end - offset, what)
            position += size + more


def _decode(read: Read, offset: int, size: int, most: int) -> Frame | Damage:
    packed = read(offset, size)
    try:
        if most > _SMALL:
            if (reason := _too_much_in(packed)) is not None:
                return Damage(offset, size, reason)
            text, used = _unpacked(packed)
        else:
            text, used = lz4.frame.decompress(packed, return_bytes_read=True)
    except (RuntimeError, MemoryError, ValueError) as error:
        why = out_of_memory() if isinstance(error, MemoryError) else str(error).rsplit(" ", 1)[-1]
        return Damage(offset, size, f"a frame that cannot be decoded ({why})")
    if used != size or not text.endswith(b"\n"):
        return Damage(offset, size, "a frame that does not hold whole lines")
    reason = too_much(text) if most <= _SMALL else None
    return Frame(offset, size, text) if reason is None else Damage(offset, size, reason)


def _too_much_in(packed: bytes) -> str | None:
    """Why what is packed is beyond what one frame may hold; it is looked through in pieces, none of which is kept."""
    size = values = objects = 0
    for piece in in_pieces(lz4.frame.LZ4FrameDecompressor(), packed, _PIECE):
        size += len(piece)
        more_values, more_objects = counted(piece)
        values, objects = values + more_values, objects + more_objects
        if (reason := beyond(size, values, objects)) is not None:
            return reason
    return None


def _unpacked(packed: bytes) -> tuple[bytes, int]:
    """What a frame holds, and how many bytes it has. The library would hold a large one twice."""
    unpacker = lz4.frame.LZ4FrameDecompressor()
    text = io.BytesIO()
    text.writelines(in_pieces(unpacker, packed, _PIECE))
    if not unpacker.eof:
        raise ValueError("its end is missing")
    return text.getvalue(), len(packed) - len(unpacker.unused_data or b"")


def _could_begin(head: bytes) -> bool:
    """Whether these few last bytes are the beginning of a frame of ours."""
    return len(head) < 8 and (MAGIC.startswith(head[:4]) or _WORD.pack(OURS).startswith(head[:4]))
