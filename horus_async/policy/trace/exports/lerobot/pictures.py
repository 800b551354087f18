"""Camera images as LeRobot has them: encoded RGB of 8 bits, in the data itself. Needs Pillow.

JPEG and PNG of that kind keep their bytes. All else that can be RGB without loss of depth becomes a PNG.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.policy.model.images.opening import TooManyPixelsError, in_strips, opened

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy
    from PIL import Image

_KEPT = {"JPEG": "jpg", "PNG": "png"}
_SHALLOW = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})
"""Pillow's modes of 8 bits a channel."""
_ORIENTATION = 0x0112


class PictureError(ValueError):
    """Something that is no picture, or none of 8 bits."""


@frozen
class Picture:
    """A picture in the store."""

    start: int
    size: int
    """Bytes."""
    suffix: str
    height: int
    width: int
    converted: bool
    """Whether it became a PNG."""


@frozen
class Store:
    """Pictures in a file, until it is known which episodes they go to."""

    file: BinaryIO

    def put(self, image: Any) -> Picture:
        """Keep ``image``, encoded bytes or an array of pixels.

        Raises:
            PictureError: it is neither, or has more than 8 bits a channel.
        """
        data, suffix, (width, height) = _as_rgb(image)
        start = self.file.seek(0, io.SEEK_END)
        self.file.write(data)
        return Picture(start, len(data), suffix, height, width, converted=data is not image)

    def get(self, picture: Picture) -> bytes:
        """Its encoded bytes."""
        self.file.seek(picture.start)
        return self.file.read(picture.size)


def pixels(data: bytes) -> numpy.ndarray[Any, Any]:
    """The pixels of a stored picture: height × width × 3, uint8."""
    import numpy

    with opened(data) as image:
        return in_strips(image, (3,), numpy.uint8)


def _as_rgb(image: Any) -> tuple[bytes, str, tuple[int, int]]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not isinstance(image, bytes):
        return _as_png(Image.fromarray(_height_width_channels(image)))
    try:
        with opened(image) as found:
            turned = found.getexif().get(_ORIENTATION, 1) != 1
            if found.format in _KEPT and found.mode == "RGB" and not turned and getattr(found, "n_frames", 1) == 1:
                found.load()
                return image, _KEPT[found.format], found.size
            if found.mode not in _SHALLOW:
                raise PictureError(f"it has more than 8 bits a channel (mode {found.mode})")
            found.load()
            ImageOps.exif_transpose(found, in_place=True)
            return _as_png(found)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError("it is of no format that is read") from error
    except TooManyPixelsError as error:
        raise PictureError(str(error)) from error
    # Pillow raises OSError, SyntaxError, ValueError, struct.error and more for damaged pictures.
    except Exception as error:
        raise PictureError(f"it cannot be decoded: {error}") from error


def _as_png(image: Image.Image) -> tuple[bytes, str, tuple[int, int]]:
    file = io.BytesIO()
    image.convert("RGB").save(file, "PNG")
    return file.getvalue(), "png", image.size


def _height_width_channels(array: Any) -> numpy.ndarray[Any, Any]:
    """An array as Pillow takes it."""
    import numpy

    array = numpy.asarray(array)
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.dtype != numpy.uint8:
        raise PictureError(f"its pixels are {array.dtype}, not uint8")
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = numpy.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(f"an array of shape {array.shape} is no picture")
    return numpy.ascontiguousarray(array)
