"""Splits a file into its lines, a chunk at a time: plain, gzip or LZ4, whole or torn at the end.

The first bytes of a file say what it is, not its name. A stream that ends early is normal (the writer was killed): the
lines up to there are yielded, and the cut is reported. Bytes that violate the format are damage, and an error.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, BinaryIO

from attrs import define

from horus_async.bounds.text import Most
from horus_async.bounds.unpacking import in_pieces
from horus_async.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_CHUNK = 1 << 18
_GZIP_WINDOW = 31
_GZIP_TRAILER = 8
_GZIP_MAGIC = b"\x1f\x8b"
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
MOST_LINE = 1 << 26
"""Bytes of a line. A request with its images has at most as many as a server takes: 16 MB, unless it was told more."""
MOST_IN_LINE = Most(values=3 << 20, objects=1 << 19)
"""As many numbers can the images, the state and the actions of a request have."""
MOST_IDLE = 1 << 20
"""Lines of a file that say nothing: empty ones, and of kinds that nobody knows."""


class DamagedDataError(TraceError):
    """Compressed data violates its format: the file is what its name says, but not whole."""


class LineTooLargeError(TraceError):
    """A line that holds more than a line of a trace may."""


def check_line(text: bytes) -> None:
    """Refuse a line that readers do not take.

    Raises:
        LineTooLargeError: It is one.
    """
    what = MOST_IN_LINE.exceeded_by(text)
    if len(text) > MOST_LINE:
        what = f"more than {MOST_LINE >> 20} MiB"
    if what is not None:
        raise LineTooLargeError(f"a line of {what}, the most that a line may hold; this is not a trace")


@define
class LineSource:
    """The lines of one open file. After the last one, ``torn`` says why the file ends in the middle, or is None."""

    file: BinaryIO
    name: str
    torn: str | None = None

    def lines(self) -> Iterator[bytes]:
        """The lines, without their newlines; the last one may be cut.

        Raises:
            DamagedDataError: compressed data that violates its format.
            TraceError: a line that does not end, or the file cannot be read.
        """
        pending: list[bytes] = []
        size = 0
        for chunk in self._text():
            first, *rest = chunk.split(b"\n")
            pending.append(first)
            size += len(first)
            if size > MOST_LINE:
                raise TraceError(f"{self.name}: a line of more than {MOST_LINE >> 20} MiB; this is not a trace")
            if rest:
                line, pending = b"".join(pending), []
                yield line
                yield from rest[:-1]
                pending, size = [rest[-1]], len(rest[-1])
        if size:
            line, pending = b"".join(pending), []
            yield line

    def _text(self) -> Iterator[bytes]:
        try:
            start = self.file.read(4)
            self.file.seek(0)
            if start.startswith(_GZIP_MAGIC):
                yield from self._inflated()
            elif start == _LZ4_MAGIC or _is_skippable(start):
                yield from self._lz4()
            else:
                while chunk := self.file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise TraceError(f"cannot read {self.name}: {error}") from error

    def _inflated(self) -> Iterator[bytes]:
        """Every member of a gzip file, one after the other."""
        stream: Any = None
        while data := self.file.read(_CHUNK):
            while data:
                if stream is None:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    stream = zlib.decompressobj(_GZIP_WINDOW)
                before = stream.copy()
                try:
                    text = stream.decompress(data, _CHUNK)
                except zlib.error as error:
                    yield from _until_damage(before, data)
                    raise DamagedDataError(f"{self.name}: damaged gzip data: {error}") from error
                yield text
                data = stream.unused_data if stream.eof else stream.unconsumed_tail
                stream = None if stream.eof else stream
        if stream is not None:
            yield from self._remaining(stream)
        if stream is not None and not stream.eof:
            self.torn = "the compressed data ends in the middle"

    def _remaining(self, stream: Any) -> Iterator[bytes]:
        try:
            yield stream.flush()
        except zlib.error as error:
            raise DamagedDataError(f"{self.name}: damaged gzip data: {error}") from error

    def _lz4(self) -> Iterator[bytes]:
        """Every LZ4 frame, one after the other; skippable frames (an index, say) are skipped."""
        import lz4.frame

        stream: Any = None
        data = b""
        while chunk := self.file.read(_CHUNK):
            data += chunk
            while data:
                if stream is None:
                    if len(data) < 8:
                        break
                    if _is_skippable(data[:4]):
                        data = self._skip(data)
                        continue
                    stream = lz4.frame.LZ4FrameDecompressor()
                try:
                    yield from in_pieces(stream, data, _CHUNK)
                except RuntimeError as error:
                    raise DamagedDataError(f"{self.name}: damaged LZ4 data: {error}") from error
                data = (stream.unused_data or b"") if stream.eof else b""
                stream = None if stream.eof else stream
        if stream is not None or data:
            self.torn = "the compressed data ends in the middle"

    def _skip(self, data: bytes) -> bytes:
        """The data after a skippable frame: four bytes of magic, four bytes of length, content."""
        left = 8 + int.from_bytes(data[4:8], "little") - len(data)
        if left <= 0:
            return data[len(data) + left :]
        self.file.seek(left, 1)
        return b""


def _until_damage(stream: Any, data: bytes) -> list[bytes]:
    """What ``data`` holds before the byte at which ``stream`` fails, which gives nothing of a piece that has it.

    Nothing if only the checksum at the end is wrong: nobody knows which of it is damaged.
    """
    text = []
    for place in range(len(data) - _GZIP_TRAILER):
        try:
            text.append(stream.decompress(data[place : place + 1]))
        except zlib.error:
            return text
    return []


def _is_skippable(magic: bytes) -> bool:
    return len(magic) == 4 and magic[1:] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F
