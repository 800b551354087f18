"""Encoded images opened with Pillow, within bounds of pixels and memory that are checked before anything is decoded.

A few kilobytes of an image file can stand for gigabytes of pixels. Only formats are opened whose headers say how large
the image becomes: none that hold further files (ICO, ICNS), are unpacked as a whole (FITS), or start a program (EPS).
"""

from __future__ import annotations

import io
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define

from .memory import bytes_a_pixel, kept_a_pixel

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy

MOST_PIXELS = 40_000_000
"""The pixels of all images of one request together. An 8K camera has 33 million."""

MOST_BYTES = 200_000_000
"""The memory for all images of one request: the arrays of those before, and all that decoding the next one takes."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "JPEG2000", "AVIF", "HEIF", "QOI", "PPM")
"""Pillow's names of the formats that are opened, as far as it was built with them; HEIF where a plug-in brings it."""

_STRIP = 1 << 18
"""Pixels that are converted at a time."""
_TILE_WIDTH, _TILE_LENGTH = 322, 323


_DECODING = threading.Lock()


class TooManyPixelsError(ValueError):
    """An image has more pixels, or takes more memory, than there is room for."""


@define
class PixelRoom:
    """How many pixels, and bytes of memory, the images of one request may still have."""

    left: int = MOST_PIXELS
    memory_left: int = MOST_BYTES

    def take(self, pixels: int, needed: int = 0, kept: int = 0) -> None:
        """Take room for one more image.

        Args:
            pixels: It has.
            needed: Bytes while it is decoded.
            kept: Bytes of its array, which stay.

        Raises:
            TooManyPixelsError: there is not so much.
        """
        if pixels > self.left:
            rest = "" if self.left == MOST_PIXELS else f", of which {self.left:,} are left for this one"
            raise TooManyPixelsError(
                f"it has {pixels:,} pixels; the images of a request may have {MOST_PIXELS:,} together{rest}"
            )
        if needed > self.memory_left:
            rest = "" if self.memory_left == MOST_BYTES else f", of which {_mb(self.memory_left)} are left for this one"
            raise TooManyPixelsError(
                f"it has {pixels:,} pixels and takes {_mb(needed)} of memory to decode; the images of a request may "
                f"take {_mb(MOST_BYTES)} together{rest}: send fewer pixels, or JPEG or PNG, which take least"
            )
        self.left -= pixels
        self.memory_left -= kept


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


@contextmanager
def opened(data: bytes, room: PixelRoom | None = None) -> Iterator[Any]:
    """The image in ``data`` as Pillow's ``Image``, not decoded yet.

    Threads take turns: Pillow's warnings are turned off meanwhile, for all of them, and the memory for decoding is
    needed once. So open no image within another's block.

    Raises:
        TooManyPixelsError: it is larger than `MOST_PIXELS`, takes more than `MOST_BYTES`, or than what ``room`` has
            left.
        PIL.UnidentifiedImageError: of none of the `FORMATS`.
        OSError, ValueError, SyntaxError: it is damaged.
    """
    from PIL import Image

    with _DECODING, warnings.catch_warnings():
        # Of files that are odd and read all the same; where warnings are errors, one would fail the request.
        warnings.filterwarnings("ignore", module=r"PIL\b|pillow_")
        Image.init()
        try:
            image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
        except Image.DecompressionBombError as error:  # Pillow's own bound is higher; it says how large the image is
            raise TooManyPixelsError(
                f"the images of a request may have {MOST_PIXELS:,} pixels together: {error}"
            ) from error
        with image:
            pixels = max(_pixels(image), _tile(image))
            needed = len(data) + pixels * bytes_a_pixel(image, data)
            (PixelRoom() if room is None else room).take(pixels, needed, _pixels(image) * kept_a_pixel(image.mode))
            yield image


def in_strips(image: Any, channels: tuple[int, ...], dtype: Any) -> numpy.ndarray:
    """The pixels of an opened image as an array, those with channels as RGB.

    A few rows at a time: Pillow would convert and copy the whole image up to four times.
    """
    import numpy

    image.load()  # first: some formats only know then how large they are
    width, height = image.size
    pixels = numpy.empty((height, width, *channels), dtype)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = numpy.asarray(strip.convert("RGB") if channels else strip)
    return pixels


def _pixels(image: Any) -> int:
    width, height = image.size
    return int(width) * int(height)


def _tile(image: Any) -> int:
    """The pixels of one tile of a TIFF: its decoder makes room for a whole one, however small the image is."""
    tags = getattr(image, "tag_v2", {})
    sizes = [tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    return sizes[0] * sizes[1] if all(isinstance(size, int) for size in sizes) else 0
