"""Observations: which fields are cameras, and all fields as NumPy arrays."""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import TYPE_CHECKING, Any

from horus_async.hints.installed import install

from .interface import Observation, ObservationError

if TYPE_CHECKING:
    import numpy

TEXT_FIELDS = frozenset({"instruction", "episode_id", "request_id"})
"""Fields that are text, whatever it looks like."""

_CAMERA_NAME = re.compile(r"(^|_)(image|images|camera|cam|rgb|frame|depth)(_|\d|$)", re.IGNORECASE)
_BASE64_TEXT = re.compile(r"[A-Za-z0-9+/\-_\r\n]+={0,2}\s*")
_SHORTEST_IMAGE = 12
_LOOKED_AT = 1024


def is_camera(name: str, value: Any) -> bool:
    """Whether a request field holds a camera image, which a trace must not keep in the clear.

    Text is a camera image if the field is named like one (``image_wrist``, ``left_camera``) or if it is base64 of at
    least 12 characters. ``instruction`` and fields that end in ``_id`` never are.
    """
    if not isinstance(value, str) or not value or name in TEXT_FIELDS or name.endswith("_id"):
        return False
    if name == "image" or _CAMERA_NAME.search(name):
        return True
    # The start of a long text says enough.
    start = value if len(value) <= _LOOKED_AT else value[:_LOOKED_AT]
    return len(value) >= _SHORTEST_IMAGE and len(value) % 4 == 0 and _BASE64_TEXT.fullmatch(start) is not None


def image_bytes(text: str, field: str = "image") -> bytes:
    """The encoded image (JPEG, PNG) in base64 text or in a ``data:`` URL.

    Raises:
        ObservationError: not base64.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ObservationError(f"request field {field!r} is not base64: {error}") from error


def image_array(text: str, field: str = "image") -> numpy.ndarray:
    """The image in base64 text as an array height × width × 3, uint8, RGB.

    Raises:
        ObservationError: not base64, not an image, or Pillow (extra ``serve``) is not installed.
    """
    import numpy

    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ObservationError(f"decoding camera images needs Pillow: {install('serve')}") from error
    try:
        with Image.open(io.BytesIO(image_bytes(text, field))) as image:
            return numpy.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise ObservationError(f"request field {field!r} is not an image: {error}") from error


def arrays(observation: Observation) -> dict[str, Any]:
    """The observation with its numbers (float64) and cameras (height × width × 3, uint8, RGB) as NumPy arrays.

    Text and absent fields stay as they are.

    Raises:
        ObservationError: a field is none of these.
    """
    return {name: _as_array(name, value) for name, value in observation.items()}


def _as_array(name: str, value: Any) -> Any:
    if is_camera(name, value):
        return image_array(value, name)
    if not isinstance(value, list):
        return value
    import numpy

    try:
        return numpy.asarray(value, dtype=numpy.float64)
    except (ValueError, TypeError) as error:
        raise ObservationError(f"request field {name!r} is not an array of numbers: {error}") from error
