"""The index at the end of a closed file: where which ticks are.

It lies in a skippable frame that LZ4 tools pass over. Its content, little-endian::

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

from attrs import frozen

from .packing import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .packing import Read

CHECKSUM_SALT = 0x484F5255

_INDEX_HEAD, _INDEX_TAIL = b"HORUSIX1", b"HORUSIXE"
_ENTRY = struct.Struct("<QIqqI")
_TAIL = struct.Struct("<III8s")
_WORDS = struct.Struct("<II")
_WORD = struct.Struct("<I")


@frozen
class IndexEntry:
    """Where one or several neighbouring frames are, and which ticks they hold."""

    offset: int
    size: int
    first_tick: int
    last_tick: int
    lines: int


def build_index(entries: Sequence[IndexEntry]) -> bytes:
    """The skippable frame that holds these entries."""
    rows = b"".join(_ENTRY.pack(e.offset, e.size, e.first_tick, e.last_tick, e.lines) for e in entries)
    content = _INDEX_HEAD + rows + _WORDS.pack(len(entries), 8 + len(_INDEX_HEAD) + len(rows) + _TAIL.size)
    return _WORDS.pack(OURS, len(content) + 12) + content + _WORD.pack(_checksum(content)) + _INDEX_TAIL


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
    if len(frame) < whole or _WORDS.unpack_from(frame) != (OURS, whole - 8) or frame[8:16] != _INDEX_HEAD:
        return None
    if _checksum(frame[8:-12]) != checksum:
        return None
    return begin, [IndexEntry(*row) for row in _ENTRY.iter_unpack(frame[16 : -_TAIL.size])]


def _checksum(content: bytes) -> int:
    return zlib.crc32(content, CHECKSUM_SALT)
