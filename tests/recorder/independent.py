"""A second reader of the format, written from its description alone: no code in common with the package."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import lz4.frame

if TYPE_CHECKING:
    from collections.abc import Iterator


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and text of every whole frame; what cannot be decoded is passed over, byte by byte."""
    at = 0
    while at < len(data):
        if len(data) - at >= 8:
            magic, size = struct.unpack_from("<II", data, at)
            if 0x184D2A50 <= magic <= 0x184D2A5F and at + 8 + size <= len(data):
                at += 8 + size
                continue
        if data[at : at + 4] == b"\x04\x22\x4d\x18" and len(data) > at + 4 and data[at + 4] & 4:
            decoder = lz4.frame.LZ4FrameDecompressor()
            try:
                text = decoder.decompress(data[at:])
            except (RuntimeError, EOFError):
                text = b""
            if decoder.eof:
                yield at, text
                at = len(data) - len(decoder.unused_data or b"")
                continue
        at += 1


def lines(data: bytes) -> list[dict[str, Any]]:
    """Every line of every whole frame."""
    return [json.loads(line) for _, text in frames(data) for line in text.splitlines()]
