"""How much memory an image takes while it is decoded, told from its header.

Measured with Pillow 13: the peak of a process that opens an image of four million pixels, in bytes a pixel, without
what Pillow's own image of it takes. Where a format has several ways to be written, the costliest that was found counts.
"""

from __future__ import annotations

from typing import Any

_IN_PILLOW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's memory; four in all other modes, RGB, too."""
_CONVERTED = 4
"""For the array, or a converted copy, beside Pillow's image. Decoding is over by then: the larger of both counts."""
_DECODERS = {
    "TIFF": 10,  # a strip may be the whole image, of 64 bits a pixel, or a JPEG
    "AVIF": 12,
    "HEIF": 12,  # as AVIF
    "PPM": 8,  # more than 8 bits, or another largest value than 255
}
_PLAIN_NETPBM, _LOSSY_WEBP, _WEBP = 14, 12, 13


def bytes_a_pixel(image: Any, data: bytes) -> int:
    """The most that decoding ``image``, opened from ``data``, and converting it takes, in bytes a pixel."""
    return _IN_PILLOW.get(image.mode, 4) + max(_of_decoder(image, data), _CONVERTED)


def kept_a_pixel(mode: str) -> int:
    """The bytes of a pixel of the array that is made of an image of this mode."""
    return 4 if mode == "F" else 2 if mode.startswith("I") else 3


def _of_decoder(image: Any, data: bytes) -> int:
    channels = len(image.getbands())
    if image.format in ("JPEG", "MPO"):
        return 2 * channels  # a progressive one has all coefficients in memory
    if image.format == "JPEG2000":
        return 6 * channels + 1
    if image.format == "WEBP":
        return _LOSSY_WEBP if data[12:16] == b"VP8 " else _WEBP
    if image.format == "PPM" and data[1:2] in (b"1", b"2", b"3"):
        return _PLAIN_NETPBM
    return _DECODERS.get(image.format, 0)
