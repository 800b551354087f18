"""What packed data may become: found out before it is in memory. Pure.

Few bytes can be packed so that they become very many. Real data is not like that: camera images, scans and texts become
two to twenty times as large, and what a robot sends over and over stays small. So up to `FREE` bytes are unpacked from
whatever it may be, and beyond that at most `RATIO` times the packed ones; a whole file may become `FILE_FREE` bytes,
and beyond that `FILE_RATIO` times its size.
"""

from __future__ import annotations

import bz2
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FREE, RATIO = 64 << 20, 16
FILE_FREE, FILE_RATIO = 128 << 20, 64
_PIECE = 1 << 10
"""Bytes of zstd that are unpacked at a time: they may become 32 MiB."""
_ZSTD_WINDOW = 1 << 27


class TooMuchError(ValueError):
    """Packed data that would become more than is unpacked."""


def most_of(packed: int) -> int:
    """How many bytes so many packed ones may become."""
    return max(FREE, RATIO * packed)


def most_of_file(size: int) -> int:
    """How many bytes the packed parts of a file of this size may become together."""
    return max(FILE_FREE, FILE_RATIO * size)


def most_entries(size: int) -> int:
    """How many entries, each of which takes some memory, a file of this size may have: one of four bytes is many."""
    return (1 << 18) + size // 4


def unpack_zstd(data: bytes) -> bytes:
    """What a frame of zstd holds.

    Raises:
        TooMuchError: it would be more than `most_of` says.
        zstandard.ZstdError: it is damaged.
        ValueError: its end is missing.
    """
    import zstandard

    most = most_of(len(data))
    said = zstandard.frame_content_size(data)
    if said > most:
        raise _too_much(most)
    if said > 0:
        whole: bytes = zstandard.ZstdDecompressor().decompress(data, max_output_size=most)
        return whole
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    pieces, size = [], 0
    for at in range(0, len(data), _PIECE):
        pieces.append(unpacker.decompress(data[at : at + _PIECE]))
        size += len(pieces[-1])
        if size > most:
            raise _too_much(most)
        if unpacker.eof:
            return b"".join(pieces)
    raise ValueError("its end is missing")


def unpack_lz4(data: bytes) -> bytes:
    """What a frame of LZ4 holds.

    Raises:
        TooMuchError: it would be more than `most_of` says.
        RuntimeError: it is damaged.
        ValueError: its end is missing.
    """
    import lz4.frame

    return _unpack(lz4.frame.LZ4FrameDecompressor(), data)


def unpack_bz2(data: bytes) -> bytes:
    """What one or more streams of bzip2 hold.

    Raises:
        TooMuchError: it would be more than `most_of` says.
        OSError: it is damaged.
        ValueError: its end is missing.
    """
    most = most_of(len(data))
    pieces: list[bytes] = []
    while data or not pieces:
        unpacker = bz2.BZ2Decompressor()
        pieces.append(_unpack(unpacker, data, most - sum(map(len, pieces))))
        data = unpacker.unused_data
    return b"".join(pieces)


def in_pieces(unpacker: Any, data: bytes, size: int) -> Iterator[bytes]:
    """What becomes of some LZ4 data, which may be 255 times as much, in pieces of at most so many bytes.

    Args:
        unpacker: an ``LZ4FrameDecompressor``, which may need more data after this.
        data: packed.
        size: bytes of a piece.

    Raises:
        RuntimeError: it is damaged.
    """
    piece = unpacker.decompress(data, max_length=size)
    while piece:
        yield piece
        piece = b"" if unpacker.eof or unpacker.needs_input else unpacker.decompress(b"", max_length=size)


def _unpack(unpacker: Any, data: bytes, most: int | None = None) -> bytes:
    most = most_of(len(data)) if most is None else most
    whole: bytes = unpacker.decompress(data, max_length=most + 1)
    if len(whole) > most:
        raise _too_much(most)
    if not unpacker.eof:
        raise ValueError("its end is missing")
    return whole


def _too_much(most: int) -> TooMuchError:
    return TooMuchError(f"unpacked it would be more than {most} bytes, the most that so little may become")
