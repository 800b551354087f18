"""Camera images as arrays keep their depth, and lists of them become stacks."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy
import pytest

from horus_async.policy import ObservationError, arrays, image_array

image_library = pytest.importorskip("PIL.Image")

DEPTH = numpy.random.default_rng(1).integers(0, 1 << 16, (6, 9), dtype=numpy.uint16)


def saved(pixels: Any, form: str, **options: Any) -> str:
    """The base64 text of an image file."""
    stream = io.BytesIO()
    image_library.fromarray(pixels).save(stream, form, **options)
    return base64.b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_images_of_16_bits_keep_them(form: str) -> None:
    """A depth image is height × width of uint16, with the values that were sent."""
    found = image_array(saved(DEPTH, form), "depth")
    assert found.dtype == numpy.uint16
    assert numpy.array_equal(found, DEPTH)


def test_grey_images_of_netpbm_keep_16_bits() -> None:
    """Netpbm's grey images of 16 bits do, too."""
    data = b"P5 9 6 65535\n" + DEPTH.astype(">u2").tobytes()
    found = image_array(base64.b64encode(data).decode(), "depth")
    assert found.dtype == numpy.uint16
    assert numpy.array_equal(found, DEPTH)


def test_images_of_floats_stay_floats() -> None:
    """A TIFF of distances in metres is float32."""
    metres = DEPTH.astype(numpy.float32) / 1000
    found = image_array(saved(metres, "TIFF"), "depth")
    assert found.dtype == numpy.float32
    assert numpy.array_equal(found, metres)


def colour_png(bits: int, kind: int, channels: int) -> str:
    """A PNG file of zeros, written by hand, as Pillow writes none with 16 bits a colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = (b"\0" + bytes(4 * channels * bits // 8)) * 4
    head = struct.pack(">IIBBBBB", 4, 4, bits, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)], ids=["RGB", "RGBA", "grey and alpha"])
def test_colours_of_16_bits_are_refused_by_name(kind: int, channels: int) -> None:
    """Pillow would keep half of each value without a word; the error says so, and what to send instead."""
    with pytest.raises(ObservationError, match=r"'wrist' is a colour image of 16 bits .*send 8 bits, or an array"):
        image_array(colour_png(16, kind, channels), "wrist")
    assert image_array(colour_png(8, kind, channels), "wrist").shape == (4, 4, 3)


def test_netpbm_colours_of_16_bits_are_refused() -> None:
    """So are Netpbm's."""
    data = base64.b64encode(b"P6 2 2 65535\n" + bytes(24)).decode()
    with pytest.raises(ObservationError, match="16 bits"):
        image_array(data)


def test_lists_of_images_become_stacks() -> None:
    """Cameras of one size are one array; others a list of arrays; objects are gone through."""
    draw = numpy.random.default_rng(2)
    pixels = [draw.integers(0, 256, (5, 7, 3), dtype=numpy.uint8) for _ in range(3)]
    texts = [saved(one, "PNG") for one in pixels]
    found = arrays({"images": texts, "observation": {"wrist": texts[0]}, "depths": [saved(DEPTH, "PNG")] * 2})
    assert numpy.array_equal(found["images"], numpy.stack(pixels))
    assert numpy.array_equal(found["observation"]["wrist"], pixels[0])
    assert found["depths"].shape == (2, 6, 9)
    mixed = arrays({"images": [texts[0], saved(DEPTH, "PNG")], "names": ["left", "right"]})
    assert [array.shape for array in mixed["images"]] == [(5, 7, 3), (6, 9)]
    assert mixed["names"] == ["left", "right"]


@pytest.mark.parametrize("value", [["/9j/" + "A" * 40, 3], [[1], ["/9j/" + "A" * 40]]])
def test_errors_about_arrays_quote_no_value(value: Any) -> None:
    """A value that is no array may be an image; the error names the field alone."""
    with pytest.raises(ObservationError, match="'x'") as caught:
        arrays({"x": value})
    assert "AAAA" not in str(caught.value)


def test_base64_of_every_alphabet_is_decoded() -> None:
    """URL-safe, without padding, in lines, and in a data URL of any case."""
    text = saved(DEPTH, "PNG")
    data = base64.b64decode(text)
    for other in (
        text.rstrip("="),
        base64.urlsafe_b64encode(data).decode(),
        base64.encodebytes(data).decode(),
        f"DATA:image/png;base64,{text}",
    ):
        assert numpy.array_equal(image_array(other), DEPTH)
