"""Frames and their seals, made and judged. Pure."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, TypeAlias

import lz4.frame
from attrs import frozen

from horus_async.limits.memory import memory_error

if TYPE_CHECKING:
    from collections.abc import Callable

Read: TypeAlias = "Callable[[int, int], bytes]"
"""``read(offset, size)``: up to ``size`` bytes at ``offset``, fewer only at the end."""

MAGIC = b"\x04\x22\x4d\x18"
"""What an LZ4 frame begins with."""
SKIPPABLE = range(0x184D2A50, 0x184D2A60)
"""The first word of a frame that LZ4 tools skip."""
OURS = 0x184D2A5E
"""That of ours: seals, and the index."""

SEAL_SIZE = 16
_SEAL = struct.Struct("<IIII")
_SEAL_SALT = 0x4853454C
_NUMBER = struct.Struct("<I")
_DENSE_LINE = 2048


def pack(text: bytes, lines: int, *, thorough: bool = True) -> bytes:
    """One complete frame of ``text``, which has ``lines`` lines.

    Short lines are much alike and worth a thorough search (LZ4 HC level 6: a sixth smaller). Long ones, and what a
    quick look cannot make half as long, are mostly base64, where a search takes its time and finds nothing.

    Args:
        text: the lines.
        lines: their number.
        thorough: whether to search at all where it is worth it; it takes five times as long as the quick look.

    Raises:
        OSError: there is no memory for it.
    """
    packed = _pack(text, 0)
    is_worth = thorough and len(text) < _DENSE_LINE * lines and 2 * len(packed) < len(text)
    return _pack(text, 6) if is_worth else packed


def _pack(text: bytes, level: int) -> bytes:
    try:
        packed: bytes = lz4.frame.compress(
            text,
            compression_level=level,
            content_checksum=True,
            block_size=lz4.frame.BLOCKSIZE_MAX1MB,
            store_size=False,
        )
    except (RuntimeError, MemoryError) as error:  # the first is what LZ4 says where it gets no memory
        raise memory_error() from error
    return packed


@frozen
class Seal:
    """What stands behind a frame: its place in the file, and a checksum of the two in this file and no other."""

    number: int
    """Of the frame, from 0: that of the header."""
    checksum: int

    @classmethod
    def of(cls, frame: bytes, number: int, key: int) -> Seal:
        """The seal of a frame.

        Args:
            frame: All its bytes.
            number: Its number.
            key: The checksum in the file's first seal, which is of the header; for that one itself anything.
        """
        begin = key if number else _SEAL_SALT
        return cls(number, zlib.crc32(frame, zlib.crc32(_NUMBER.pack(number), begin)))

    def pack(self) -> bytes:
        """Its bytes: a frame that LZ4 tools skip."""
        return _SEAL.pack(OURS, SEAL_SIZE - 8, self.number, self.checksum)


def seal_in(data: bytes) -> Seal | None:
    """The seal that these bytes begin with; None if they do not."""
    if len(data) < SEAL_SIZE:
        return None
    magic, size, number, checksum = _SEAL.unpack_from(data)
    return Seal(number, checksum) if (magic, size) == (OURS, SEAL_SIZE - 8) else None
