"""Encoded images opened with Pillow, within a bound of pixels that is checked before anything is decoded.

A few kilobytes of an image file can stand for gigabytes of pixels. Only formats are opened whose headers say how large
the image becomes: none that hold further files (ICO, ICNS), are unpacked as a whole (FITS), or start a program (EPS).
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PIXELS = 40_000_000
"""The pixels of all images of one request together. An 8K camera has 33 million."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "JPEG2000", "AVIF", "HEIF", "QOI", "PPM")
"""Pillow's names of the formats that are opened, as far as it was built with them; HEIF where a plug-in brings it."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323


class TooManyPixelsError(ValueError):
    """An image has more pixels than there is room for."""


@define
class PixelRoom:
    """How many pixels the images of one request may still have."""

    left: int = MOST_PIXELS

    def take(self, pixels: int) -> None:
        """Take room for one more image.

        Raises:
            TooManyPixelsError: there is not so much.
        """
        if pixels > self.left:
            rest = "" if self.left == MOST_PIXELS else f", of which {self.left:,} are left for this one"
            raise TooManyPixelsError(
                f"it has {pixels:,} pixels; the images of a request may have {MOST_PIXELS:,} together{rest}"
            )
        self.left -= pixels


@contextmanager
def opened(data: bytes, room: PixelRoom | None = None) -> Iterator[Any]:
    """The image in ``data`` as Pillow's ``Image``, not decoded yet.

    Raises:
        TooManyPixelsError: it is larger than `MOST_PIXELS`, or than what ``room`` has left.
        PIL.UnidentifiedImageError: of none of the `FORMATS`.
        OSError, ValueError, SyntaxError: it is damaged.
    """
    from PIL import Image

    Image.init()
    try:
        image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    # Pillow's own bound is higher; the error says how large the image is. The warning is one where it is an error.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(
            f"the images of a request may have {MOST_PIXELS:,} pixels together: {error}"
        ) from error
    with image:
        (PixelRoom() if room is None else room).take(max(_pixels(image), _tile(image)))
        yield image


def _pixels(image: Any) -> int:
    width, height = image.size
    return int(width) * int(height)


def _tile(image: Any) -> int:
    """The pixels of one tile of a TIFF: its decoder makes room for a whole one, however small the image is."""
    tags = getattr(image, "tag_v2", {})
    sizes = [tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    return sizes[0] * sizes[1] if all(isinstance(size, int) for size in sizes) else 0
