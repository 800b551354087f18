"""How files of images begin."""

from __future__ import annotations

import re

# The first bytes of files, from: ITU-T T.81 (JPEG), W3C PNG, CompuServe GIF89a, RFC 9649 (WebP), Microsoft's
# BITMAPFILEHEADER with the size of the header after it, TIFF 6.0 and BigTIFF, ISO 15444-1 and 18181-2 (JPEG 2000, XL),
# ISO 14496-12 (HEIF, AVIF and films), OpenEXR, Radiance, QOI, Netpbm with a width, PFM, Photoshop, DDS, and numpy.save.
_SIGNATURE = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]"
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|RIFF.{4}WEBP"
    rb"|BM.{4}\0{4}..\0\0[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|II[*+]\0|MM\0[*+]"
    rb"|\0\0\0\x0c(?:jP  |JXL )\r\n\x87\n|\xff\x4f\xff\x51\0"
    rb"|\0\0\0.ftyp"
    rb"|\x76\x2f\x31\x01|#\?(?:RADIANCE|RGBE)\s"
    rb"|qoif.{8}[\x03\x04][\x00\x01]"
    rb"|P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s|P7\nWIDTH |P[Ff]\s+\d+\s+\d+\s"
    rb"|8BPS\x00\x01|DDS \x7c\0\0\0|\x93NUMPY[\x01-\x03]",
    re.DOTALL,
)


def has_signature(data: bytes) -> bool:
    """Whether ``data`` begins like a file of an image format."""
    return _SIGNATURE.match(data) is not None
