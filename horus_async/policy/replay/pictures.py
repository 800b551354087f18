"""The images of a recorded request in a form that browsers show."""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy

    from horus_async.policy.trace.request import TraceRequest

_KINDS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM.{12}[\x0c\x28\x6c\x7c]\0\0\0", re.DOTALL), "image/bmp"),
    (re.compile(rb"\0\0\0.ftypavi[fs]", re.DOTALL), "image/avif"),
)
"""What browsers show. SVG is none of it: it can hold programs."""
_DATA_URL = re.compile(r"data:[^,]{0,200},")
_PNG_COLOURS = {1: 0, 3: 2, 4: 6}


@frozen
class Picture:
    """An image: its place in the request, and its bytes with their kind; no kind if browsers do not show it."""

    name: str
    kind: str | None
    data: bytes


def pictures(request: TraceRequest) -> Iterator[Picture]:
    """The images that the trace kept of a request in full."""
    for name, value in request.images().items():
        data = _bytes(value)
        if data is not None:
            kind = next((kind for pattern, kind in _KINDS if pattern.match(data)), None)
            yield Picture(name, kind, data)


def _bytes(value: Any) -> bytes | None:
    """The file of an image, whatever it is kept as; arrays become PNG."""
    if isinstance(value, str):
        text = _DATA_URL.sub("", "".join(value.split()), count=1).translate(str.maketrans("-_", "+/"))
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            return None
    if isinstance(value, bytes):
        return value
    try:
        import numpy
    except ModuleNotFoundError:
        return None
    try:
        return _png(numpy.asarray(value))
    except (TypeError, ValueError):
        return None


def _png(pixels: numpy.ndarray[Any, Any]) -> bytes | None:
    """A PNG of an array of 2 or 3 dimensions, with its channels first or last; None if it is something else."""
    import numpy

    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or not pixels.size:
        return None
    if pixels.shape[2] not in _PNG_COLOURS and pixels.shape[0] in _PNG_COLOURS:
        pixels = pixels.transpose(1, 2, 0)
    height, width, channels = pixels.shape
    if channels not in _PNG_COLOURS:
        return None
    if pixels.dtype.kind == "f":
        shown = numpy.nan_to_num(pixels, posinf=0, neginf=0)
        pixels = (shown * (255 if shown.max() <= 1 else 1)).clip(0, 255).astype("u1")
    if pixels.dtype.kind not in "iu":
        return None
    deep = pixels.dtype.itemsize > 1 and int(pixels.max()) > 255
    rows = pixels.clip(0, 65535 if deep else 255).astype(">u2" if deep else "u1").reshape(height, -1)
    text = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, _PNG_COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(text)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
