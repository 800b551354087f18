"""The entries of the tables in a ring's header: each has its length in front and a CRC behind."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from .layout import ENTRY_CRC, ENTRY_START

if TYPE_CHECKING:
    import mmap
    import struct
    from collections.abc import Iterable


def as_entries(length: struct.Struct, texts: Iterable[bytes]) -> bytes:
    """A table of ``texts``; ``length`` is what stands before each."""
    return b"".join(
        length.pack(len(text)) + text + ENTRY_CRC.pack(_crc(number, text)) for number, text in enumerate(texts)
    )


def read_entries(
    memory: mmap.mmap | bytearray, length: struct.Struct, begin: int, end: int, count: int | None = None
) -> list[bytes]:
    """The entries of a table, up to the first that is not whole, any more or yet.

    Args:
        memory: of the ring.
        length: what stands before each entry.
        begin: where the table begins.
        end: where it ends at the latest.
        count: the most entries to read.
    """
    found: list[bytes] = []
    at = begin
    while at + length.size + ENTRY_CRC.size <= end and (count is None or len(found) < count):
        (size,) = length.unpack_from(memory, at)
        at += length.size
        if at + size + ENTRY_CRC.size > end:
            break
        text = bytes(memory[at : at + size])
        at += size
        if ENTRY_CRC.unpack_from(memory, at) != (_crc(len(found), text),):
            break
        found.append(text)
        at += ENTRY_CRC.size
    return found


def _crc(number: int, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(ENTRY_START.pack(number)))
