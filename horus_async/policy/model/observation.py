"""Camera images as bytes and pixels, and whole observations as NumPy arrays."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from horus_async.hints.installed import install

from .images.hiding import WHOLE, whole_or_spans
from .images.opening import PixelRoom, TooManyPixelsError, in_strips, opened
from .interface import Observation, ObservationError

if TYPE_CHECKING:
    import numpy

_SIXTEEN_BITS = re.compile(r";16[BLN]?$")


def image_bytes(text: str, field: str = "image") -> bytes:
    """The encoded image (JPEG, PNG) in base64 text or in a ``data:`` URL.

    Either alphabet of base64 will do, with or without padding and line breaks.

    Raises:
        ObservationError: not base64.
    """
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ObservationError(f"request field {field!r} is not base64: {error}") from error


def image_array(text: str, field: str = "image", room: PixelRoom | None = None) -> numpy.ndarray:
    """The image in base64 text as an array: height × width × 3, uint8, RGB.

    Grey images of 16 bits (depth, infrared) keep them: height × width, uint16; those of floats: height × width,
    float32. ``room`` is that of all images of a request.

    Raises:
        ObservationError: not base64, not an image, colours of 16 bits, of which Pillow would drop half, more than
            40 million pixels or 200 MB of memory, or Pillow (extra ``serve``) is not installed.
    """
    try:
        from PIL import UnidentifiedImageError
    except ImportError as error:
        raise ObservationError(f"decoding camera images needs Pillow: {install('serve')}") from error
    data = image_bytes(text, field)
    try:
        with opened(data, room) as image:
            return _pixels(image, field)
    except UnidentifiedImageError as error:
        raise ObservationError(f"request field {field!r} is not an image of a format that is read") from error
    except TooManyPixelsError as error:
        raise ObservationError(f"request field {field!r} is too large an image: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # the decoders of many formats, on data of anybody's: a TypeError, too
        raise ObservationError(f"request field {field!r} is not an image: {error}") from error


def _pixels(image: Any, field: str) -> numpy.ndarray:
    """The pixels of an opened image, without a loss of depth."""
    import numpy

    if image.mode.startswith("I;16"):
        return in_strips(image, (), numpy.uint16)
    if image.mode == "F":
        return in_strips(image, (), numpy.float32)
    if image.mode == "I":
        low, high = image.getextrema()
        if low >= 0 and high < 1 << 16:
            return in_strips(image, (), numpy.uint16)
        raise ObservationError(f"request field {field!r} is a grey image of 32 bits: send 16 bits, or an array")
    if bits := _lost_bits(image):
        raise ObservationError(
            f"request field {field!r} is a colour image of 16 bits ({bits}), of which Pillow keeps 8: send 8 bits, or "
            "an array as MessagePack"
        )
    return in_strips(image, (3,), numpy.uint8)


def _lost_bits(image: Any) -> str:
    """How the file's colours have more bits than the opened image has; empty if they have not."""
    for tile in image.tile:
        for part in tile[3] if isinstance(tile[3], tuple) else (tile[3],):
            if isinstance(part, str) and _SIXTEEN_BITS.search(part):
                return part
            # Netpbm's decoder has the largest value there.
            if image.format == "PPM" and isinstance(part, int) and part > 255:
                return f"up to {part}"
    return ""


def arrays(observation: Observation) -> dict[str, Any]:
    """The observation with its numbers (float64) and cameras (as `image_array` has them) as NumPy arrays.

    Lists of cameras of one size become one array with a further dimension in front. Objects are gone through; arrays,
    text and absent fields stay as they are.

    Raises:
        ObservationError: a field is none of these, or its images have more than 40 million pixels, or take more than
            200 MB of memory, together.
    """
    room = PixelRoom()
    return {name: _as_array(str(name), value, room) for name, value in observation.items()}


def _as_array(name: str, value: Any, room: PixelRoom) -> Any:
    if isinstance(value, dict):
        return {key: _as_array(f"{name}.{key}", item, room) for key, item in value.items()}
    if isinstance(value, str):
        is_image = (name == "image" and value) or whole_or_spans(value) == WHOLE
        return image_array(value, name, room) if is_image else value
    if not isinstance(value, list):
        return value
    import numpy

    if value and all(isinstance(item, str) for item in value):
        items = [_as_array(f"{name}.{number}", item, room) for number, item in enumerate(value)]
        is_stack = all(isinstance(item, numpy.ndarray) and item.shape == items[0].shape for item in items)
        return _stacked(items) if is_stack else items
    try:
        return numpy.asarray(value, dtype=numpy.float64)
    except (ValueError, TypeError) as error:
        # What NumPy says would show the values, and they may be an image.
        raise ObservationError(f"request field {name!r} is not an array of numbers, nor a list of images") from error


def _stacked(items: list[numpy.ndarray]) -> numpy.ndarray:
    """The arrays as one. The list is empty then, so that only one of them is ever in memory twice."""
    import numpy

    if len(items) == 1:
        return items[0][None]
    stack = numpy.empty((len(items), *items[0].shape), numpy.result_type(*items))
    while items:
        item = items.pop()
        stack[len(items)] = item
    return stack
