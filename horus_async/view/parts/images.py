"""Images in messages, as browsers show them: told by what they are, made smaller, a few of each topic."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import TYPE_CHECKING, Any

from horus_async.topics.codec import decode

if TYPE_CHECKING:
    import numpy as np

    Pixels = np.ndarray[Any, Any]

_ENCODED = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_COLOURS = {1: 0, 3: 2, 4: 6}
_ORDERS = {"bgr8": (2, 1, 0), "bgra8": (2, 1, 0, 3)}
_LEAST_SIDE = 8
_MOST_PIXELS = 1 << 26
_PLAIN = frozenset({"rgb8", "rgba8", "bgr8", "bgra8", "mono8", "8UC1", "8UC3", "8UC4", "mono16", "16UC1", "32FC1"})


def image_in(data: Any) -> dict[str, Any] | None:
    """The part of a message that is an image, as parsed from JSON: the message itself or a field of it; else None."""
    if not isinstance(data, dict) or not data:
        return None
    if _is_image(data):
        return data
    inside = data.get("value") if "$type" in data else data
    if not isinstance(inside, dict):
        return None
    if {"encoding", "width", "height", "data"} <= inside.keys() or {"format", "data"} <= inside.keys():
        return inside if isinstance(inside["data"], dict) else None
    return next((item for item in inside.values() if isinstance(item, dict) and item and _is_image(item)), None)


def _is_image(data: dict[str, Any]) -> bool:
    if "$bytes" in data:
        return isinstance(data["$bytes"], str) and _kind_of(_head(data["$bytes"])) is not None
    array = data.get("$ndarray")
    if not isinstance(array, dict):
        return False
    shape, dtype = array.get("shape"), array.get("dtype")
    if dtype not in {"|u1", "uint8"} or not isinstance(shape, list) or len(shape) not in {2, 3}:
        return False
    rows, columns, *channels = shape
    plausible = all(isinstance(side, int) and side >= _LEAST_SIDE for side in (rows, columns))
    return plausible and (not channels or channels[0] in _COLOURS)


def _head(text: str) -> bytes:
    try:
        return base64.b64decode(text[:24], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _kind_of(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _ENCODED if content.startswith(magic)), None)


def picture(data: dict[str, Any], side: int) -> tuple[str, str] | None:
    """An image as a ``data:`` address and in words, no side longer than so many pixels; else None.

    Args:
        data: What `image_in` found.
        side: Pixels. Files are shown as they are where Pillow is not installed.
    """
    try:
        return _picture(data, side)
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, MemoryError, ImportError):
        return None  # damaged, or of others: the message itself is shown all the same


def _picture(data: dict[str, Any], side: int) -> tuple[str, str] | None:
    if "$bytes" in data:
        return _file(base64.b64decode(data["$bytes"]), side)
    if "$ndarray" in data:
        return _pixels(_array(data), side)
    inner = data["data"]
    if "format" in data and "encoding" not in data:
        content = base64.b64decode(inner["$bytes"]) if "$bytes" in inner else _array(inner).tobytes()
        return _file(content, side)
    return _described(data, inner, side)


def _described(data: dict[str, Any], inner: dict[str, Any], side: int) -> tuple[str, str] | None:
    """An image whose width, height and encoding are fields beside its bytes."""
    import numpy as np

    encoding, rows, columns = data["encoding"], int(data["height"]), int(data["width"])
    if encoding not in _PLAIN or not 0 < rows * columns <= _MOST_PIXELS:
        return None
    content = base64.b64decode(inner["$bytes"]) if "$bytes" in inner else _array(inner).tobytes()
    order = ">" if data.get("is_bigendian") else "<"
    kind = {"mono16": "u2", "16UC1": "u2", "32FC1": "f4"}.get(encoding, "u1")
    pixel = np.dtype(f"{order}{kind}")
    channels = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4}.get(encoding, 1)
    step = int(data.get("step") or 0) or columns * channels * pixel.itemsize
    lines = np.frombuffer(content, "u1", step * rows).reshape(rows, step)[:, : columns * channels * pixel.itemsize]
    pixels = np.ascontiguousarray(lines).view(pixel).reshape(rows, columns, channels)
    order_of = _ORDERS.get(encoding)
    return _pixels(pixels if order_of is None else pixels[..., order_of], side, encoding)


def _array(data: dict[str, Any]) -> Pixels:
    import numpy as np
    import orjson

    return np.asarray(decode(orjson.dumps(data)))


def _pixels(pixels: Pixels, side: int, encoding: str = "") -> tuple[str, str]:
    import numpy as np

    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    rows, columns, _ = pixels.shape
    said = f"{columns} × {rows} pixels{', ' if encoding else ''}{encoding}"
    each = max(1, -(-max(rows, columns) // side))
    pixels = pixels[::each, ::each]
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 1:
        shown = np.nan_to_num(pixels.astype("f8"), posinf=0, neginf=0)
        pixels = shown * (255 / max(float(shown.max()), 1e-9))
        said += ", brightness scaled to the brightest pixel"
    pixels = np.ascontiguousarray(pixels.clip(0, 255).astype("u1"))
    if each > 1:
        said += f", every {each}. pixel shown"
    return _address("image/png", png(pixels)), said


def _file(content: bytes, side: int) -> tuple[str, str] | None:
    """The file itself, made smaller where Pillow is installed and that is less."""
    kind = _kind_of(content)
    if kind is None:
        return None
    said = f"{kind.partition('/')[2].upper()} of {len(content)} bytes"
    try:
        from PIL import Image
    except ImportError:
        return _address(kind, content), said
    import io

    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height > _MOST_PIXELS:
            return None
        said = f"{image.width} × {image.height} pixels, {said}"
        if max(image.size) <= side:
            return _address(kind, content), said
        small = image.convert("RGB")
        small.thumbnail((side, side))
        written = io.BytesIO()
        small.save(written, "JPEG", quality=80)
    return _address("image/jpeg", written.getvalue()), f"{said}, shown smaller"


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png(pixels: Pixels) -> bytes:
    """A PNG of an array of bytes, height × width × 1, 3 or 4."""
    rows, columns, channels = pixels.shape
    text = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", columns, rows, 8, _COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(text)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
