"""Files of LZ4 frames that hold whole lines: packing, finding, indexing. No I/O: callers pass bytes or a way to read.

A file is a row of LZ4 frames (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md), each complete in itself,
with a content checksum, and each holding whole lines. So ``lz4 -dc`` prints the lines, what was written last is either
a whole frame or a torn one, and damage costs only the frame it is in.

A closed file ends in an index, in a skippable frame that LZ4 tools pass over. Its content, little-endian::

    b"HORUSIX1"                                                         8 bytes
    per entry: u64 offset, u32 size, i64 first tick, i64 last tick, u32 lines
    u32 number of entries, u32 size of the whole skippable frame, u32 checksum, b"HORUSIXE"

The checksum is the CRC-32 of everything in the content before it, begun with ``CHECKSUM_SALT`` so that a row of zeros
is not valid. An entry covers one or several neighbouring frames; ``last tick`` is the highest tick up to its end, so
that it never falls from one entry to the next and can be searched by halving.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import lz4.frame
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Read = Callable[[int, int], bytes]
    """``read(offset, size)``: up to ``size`` bytes at ``offset``, fewer only at the end."""

MAGIC = b"\x04\x22\x4d\x18"
"""What an LZ4 frame begins with."""
SKIPPABLE = range(0x184D2A50, 0x184D2A60)
"""The first word of a frame that LZ4 tools skip."""
INDEX_MAGIC = 0x184D2A5E
CHECKSUM_SALT = 0x484F5255

MAX_TEXT = 1 << 30
"""Bytes of text in one frame above which a reader treats it as damaged."""

_INDEX_HEAD, _INDEX_TAIL = b"HORUSIX1", b"HORUSIXE"
_ENTRY = struct.Struct("<QIqqI")
_TAIL = struct.Struct("<III8s")
_WORDS = struct.Struct("<II")
_WORD = struct.Struct("<I")
_BLOCK_SIZES = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}
_UNCOMPRESSED = 1 << 31
_SEARCH_STEP = 1 << 20
_DENSE_LINE = 2048


@frozen
class Frame:
    """A whole frame and the lines in it."""

    offset: int
    size: int
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


@frozen
class IndexEntry:
    """Where one or several neighbouring frames are, and which ticks they hold."""

    offset: int
    size: int
    first_tick: int
    last_tick: int
    lines: int


def pack(text: bytes, lines: int, *, thorough: bool = True) -> bytes:
    """One complete frame of ``text``, which has ``lines`` lines.

    Short lines are much alike and worth a thorough search (LZ4 HC level 6: a sixth smaller). Long ones, and what a
    quick look cannot make half as long, are mostly base64, where a search takes its time and finds nothing.

    Args:
        text: the lines.
        lines: their number.
        thorough: whether to search at all where it is worth it; it takes five times as long as the quick look.
    """
    packed = _pack(text, 0)
    is_worth = thorough and len(text) < _DENSE_LINE * lines and 2 * len(packed) < len(text)
    return _pack(text, 6) if is_worth else packed


def _pack(text: bytes, level: int) -> bytes:
    packed: bytes = lz4.frame.compress(
        text,
        compression_level=level,
        content_checksum=True,
        block_size=lz4.frame.BLOCKSIZE_MAX1MB,
        store_size=False,
    )
    return packed


def reader_of(data: bytes) -> Read:
    """A ``read`` function over bytes in memory."""
    return lambda offset, size: data[offset : offset + size]


# -- scanning ----------------------------------------------------------------------------------------------------------


def scan(read: Read, start: int, end: int) -> Iterator[Frame | Damage]:
    """Every whole frame between two offsets, in order, and a report for each stretch without one.

    Skippable frames are passed over. After damage the scan goes on at the next frame that can be decoded. Only one
    frame is held in memory at a time.
    """
    offset = start
    while offset < end:
        found = _frame_at(read, offset, end)
        if isinstance(found, Damage):
            following = _next_frame(read, offset + 1, end)
            stop = end if following is None else following
            yield Damage(offset, stop - offset, found.reason, torn=found.torn and following is None)
            offset = stop
            continue
        offset += found.size
        if found.text:
            yield found


def _frame_at(read: Read, offset: int, end: int) -> Frame | Damage:
    head = read(offset, min(19, end - offset))
    if head[:4] == MAGIC:
        measured = _measure(read, offset, end, head)
        if isinstance(measured, Damage):
            return measured
        return _decode(read, offset, measured)
    if len(head) >= 8:
        magic, size = _WORDS.unpack_from(head)
        if magic in SKIPPABLE:
            if offset + 8 + size <= end:
                return Frame(offset, 8 + size, b"")
            return Damage(offset, end - offset, "the index is cut off", torn=True)
    torn = _could_begin(head) or (not head.strip(b"\0") and not any(_pieces(read, offset, end)))
    return Damage(offset, end - offset, "no frame begins here", torn=torn)


def _could_begin(head: bytes) -> bool:
    """Whether these few last bytes are the beginning of a frame of ours."""
    return len(head) < 8 and (MAGIC.startswith(head[:4]) or _WORD.pack(INDEX_MAGIC).startswith(head[:4]))


def _pieces(read: Read, offset: int, end: int) -> Iterator[bytes]:
    """What is not zero, piece by piece: a power cut can leave a file longer than written, with zeros at its end."""
    for at in range(offset, end, _SEARCH_STEP):
        yield read(at, min(_SEARCH_STEP, end - at)).strip(b"\0")


def _measure(read: Read, offset: int, end: int, head: bytes) -> int | Damage:
    """The size of the frame that begins here, from the sizes of its blocks; nothing is decoded."""
    torn = Damage(offset, end - offset, "the last frame is cut off", torn=True)
    if len(head) < 7:
        return torn
    flags, descriptor = head[4], head[5]
    largest = _BLOCK_SIZES.get(descriptor >> 4 & 7)
    if flags >> 6 != 1 or not flags & 4 or largest is None:
        return Damage(offset, end - offset, "a frame header that makes no sense")
    position = offset + 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    room = MAX_TEXT
    while True:
        word = read(position, 4)
        if position + 4 > end or len(word) < 4:
            return torn
        (size,) = _WORD.unpack(word)
        position += 4
        if size == 0:
            position += 4
            return position - offset if position <= end else torn
        size &= _UNCOMPRESSED - 1
        room -= min(largest, 255 * size)
        if size > largest or room < 0:
            return Damage(offset, end - offset, "a block of an impossible size")
        position += size + (4 if flags & 16 else 0)


def _decode(read: Read, offset: int, size: int) -> Frame | Damage:
    packed = read(offset, size)
    try:
        text, used = lz4.frame.decompress(packed, return_bytes_read=True)
    except (RuntimeError, MemoryError, ValueError) as error:
        return Damage(offset, size, f"a frame that cannot be decoded ({str(error).rsplit(' ', 1)[-1]})")
    if used != size or not text.endswith(b"\n"):
        return Damage(offset, size, "a frame that does not hold whole lines")
    return Frame(offset, size, text)


def _next_frame(read: Read, start: int, end: int) -> int | None:
    """Where the next frame begins that can be decoded."""
    for at in range(start, end, _SEARCH_STEP):
        piece = read(at, min(_SEARCH_STEP + 3, end - at))
        hit = piece.find(MAGIC)
        while hit >= 0:
            if isinstance(_frame_at(read, at + hit, end), Frame):
                return at + hit
            hit = piece.find(MAGIC, hit + 1)
    return None


# -- the index ---------------------------------------------------------------------------------------------------------


def build_index(entries: Sequence[IndexEntry]) -> bytes:
    """The skippable frame that holds these entries."""
    rows = b"".join(_ENTRY.pack(e.offset, e.size, e.first_tick, e.last_tick, e.lines) for e in entries)
    content = _INDEX_HEAD + rows + _WORDS.pack(len(entries), 8 + len(_INDEX_HEAD) + len(rows) + _TAIL.size)
    return _WORDS.pack(INDEX_MAGIC, len(content) + 12) + content + _WORD.pack(_checksum(content)) + _INDEX_TAIL


def read_index(read: Read, size: int) -> tuple[int, list[IndexEntry]] | None:
    """Where the index at the end of a file of ``size`` bytes begins, and its entries; None if there is no valid one."""
    if size < 8 + len(_INDEX_HEAD) + _TAIL.size:
        return None
    tail = read(size - _TAIL.size, _TAIL.size)
    if len(tail) < _TAIL.size:
        return None
    count, whole, checksum, mark = _TAIL.unpack(tail)
    begin = size - whole
    if mark != _INDEX_TAIL or begin < 0 or whole != 8 + len(_INDEX_HEAD) + count * _ENTRY.size + _TAIL.size:
        return None
    frame = read(begin, whole)
    if len(frame) < whole or _WORDS.unpack_from(frame) != (INDEX_MAGIC, whole - 8) or frame[8:16] != _INDEX_HEAD:
        return None
    if _checksum(frame[8:-12]) != checksum:
        return None
    return begin, [IndexEntry(*row) for row in _ENTRY.iter_unpack(frame[16 : -_TAIL.size])]


def _checksum(content: bytes) -> int:
    return zlib.crc32(content, CHECKSUM_SALT)
