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
_THOROUGH = 5
"""Of LZ4 HC: 3 takes a third less time and makes files 1 % larger, 6 a fifth more and makes them 0.3 % smaller."""
_PIECE = 4096
"""`zlib.crc32` gives the interpreter away for more than 5 KiB, and to get it back can take longer than the sum."""


def pack(text: bytes, lines: int, *, thorough: bool = True) -> bytes:
    """One complete frame of ``text``, which has ``lines`` lines: see `Packer`, of which it is the first.

    Raises:
        OSError: there is no memory for it.
    """
    packed = _pack(text, 0)
    is_worth = thorough and len(text) < _DENSE_LINE * lines and 2 * len(packed) < len(text)
    return _pack(text, _THOROUGH) if is_worth else packed


class Packer:
    """Packs the frames of one file, one call of LZ4 for each.

    Short lines are much alike and worth a thorough search (LZ4 HC: a sixth smaller). Long ones, and what a quick look
    cannot make half as long, are mostly base64, where a search takes its time and finds nothing. The frames of a file
    are alike, so the one before says whether it is worth it.

    Args:
        thorough: whether to search at all where it is worth it; it takes four times as long as the quick look.
    """

    def __init__(self, *, thorough: bool) -> None:
        self._thorough = thorough
        self._is_worth = True
        """Whether the frame before became less than half as long; many a file has just one."""

    def pack(self, text: bytes, lines: int) -> bytes:
        """One complete frame of ``text``, which has ``lines`` lines.

        Raises:
            OSError: there is no memory for it.
        """
        search = self._thorough and self._is_worth and len(text) < _DENSE_LINE * lines
        packed = _pack(text, _THOROUGH if search else 0)
        self._is_worth = 2 * len(packed) < len(text)
        return packed


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
        sum_ = zlib.crc32(_NUMBER.pack(number), key if number else _SEAL_SALT)
        view = memoryview(frame)
        for begin in range(0, len(frame), _PIECE):
            sum_ = zlib.crc32(view[begin : begin + _PIECE], sum_)
        return cls(number, sum_)

    def pack(self) -> bytes:
        """Its bytes: a frame that LZ4 tools skip."""
        return _SEAL.pack(OURS, SEAL_SIZE - 8, self.number, self.checksum)


def seal_in(data: bytes) -> Seal | None:
    """The seal that these bytes begin with; None if they do not."""
    if len(data) < SEAL_SIZE:
        return None
    magic, size, number, checksum = _SEAL.unpack_from(data)
    return Seal(number, checksum) if (magic, size) == (OURS, SEAL_SIZE - 8) else None
