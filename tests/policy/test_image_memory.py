"""What decoding images takes of memory is bounded, and Pillow's warnings stay with Pillow."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from horus_async.errors import PolicyError
from horus_async.policy import ObservationError, arrays, image_array
from horus_async.policy.model.images import opening
from horus_async.policy.model.images.opening import MOST_BYTES, PixelRoom, TooManyPixelsError, opened
from horus_async.policy.model.onnx.inputs import Binding, Decoder, filled
from horus_async.policy.trace.exports.lerobot.pictures import PictureError, Store, pixels
from tests.policy.test_image_bombs import png

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "RGBa"]

PEAK = """
import base64, sys
from horus_async.policy import arrays
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
def cameras(path, count):
    return {"cameras": [base64.b64encode(open(path, "rb").read()).decode()] * count}
arrays(cameras(sys.argv[1], 1))
request = cameras(sys.argv[2], int(sys.argv[3]))
before = status("VmRSS:")
open("/proc/self/clear_refs", "w").write("5")
shape = arrays(request)["cameras"].shape
print(status("VmHWM:") - before, *shape)
"""


def encoded(form: str, mode: str, size: tuple[int, int], **options: Any) -> bytes:
    """An image file of one colour."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, form, **options)
    return file.getvalue()


def text_of(data: bytes) -> str:
    """Its base64."""
    return base64.b64encode(data).decode()


CAMERAS = {
    "12 million pixels, JPEG": ("JPEG", "RGB", (4032, 3024), 1, {}),
    "12 million pixels, progressive": ("JPEG", "RGB", (4032, 3024), 1, {"progressive": True, "subsampling": 0}),
    "12 million pixels, PNG": ("PNG", "RGB", (4032, 3024), 1, {}),
    "12 million pixels, WebP": ("WEBP", "RGB", (4032, 3024), 1, {"method": 0}),
    "8 million pixels and alpha": ("PNG", "RGBA", (3840, 2160), 1, {}),
    "4K in four colours": ("JPEG", "CMYK", (3840, 2160), 1, {"progressive": True}),
    "4K, JPEG 2000": ("JPEG2000", "RGB", (3840, 2160), 1, {}),
    "depth of 16 bits": ("PNG", "I;16", (1280, 720), 1, {}),
    "four of 4K": ("JPEG", "RGB", (3840, 2160), 4, {}),
    "twelve of HD": ("JPEG", "RGB", (1920, 1080), 12, {}),
    "the largest of 8 bits": ("PNG", "L", (6300, 6300), 1, {}),
    "the largest of 32 bits": ("TIFF", "F", (3700, 3700), 1, {"compression": "tiff_lzw"}),
    "the largest in colour": ("PNG", "RGB", (4990, 4990), 1, {}),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of memory")
@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_what_cameras_send_is_decoded_in_200_mb(tmp_path: Path, camera: Any) -> None:
    """Above what the process had before; the arrays are part of it."""
    form, mode, size, count, options = camera
    if form == "WEBP" and not features.check("webp"):
        pytest.skip("Pillow was built without WebP")
    if form == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("Pillow was built without JPEG 2000")
    (tmp_path / "first").write_bytes(encoded(form, mode, (8, 8), **options))
    (tmp_path / "image").write_bytes(encoded(form, mode, size, **options))
    words = [sys.executable, "-c", PEAK, str(tmp_path / "first"), str(tmp_path / "image"), str(count)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert [int(number) for number in said[1:4]] == [count, size[1], size[0]]
    assert int(said[0]) <= 200 << 20


@pytest.mark.parametrize(
    ("form", "mode", "size", "options"),
    [
        ("PNG", "RGB", (5100, 5100), {}),
        ("PNG", "RGBA", (5100, 5100), {}),
        ("JPEG", "RGB", (4600, 4600), {}),
        ("TIFF", "F", (4000, 4000), {"compression": "tiff_lzw"}),
        ("PPM", "RGB", (4200, 4200), {}),
    ],
)
def test_an_image_that_would_take_more_is_refused_undecoded(
    monkeypatch: pytest.MonkeyPatch, form: str, mode: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    """Though it has fewer than 40 million pixels; the error says how much, how much may be, and what to do."""
    data = encoded(form, mode, size, **options)
    monkeypatch.setattr(opening, "in_strips", None)
    said = r"pixels and takes 2\d\d MB of memory to decode; .* 200 MB together: send fewer pixels, or JPEG or PNG"
    with pytest.raises(ObservationError, match=f"'wrist' is too large an image.*{said}"):
        image_array(text_of(data), "wrist")
    with pytest.raises(PictureError, match=said):
        Store(io.BytesIO()).put(data)


def test_the_arrays_of_the_images_before_count() -> None:
    """What decoding took of memory is free again, what it made is not."""
    room = PixelRoom(memory_left=4000)
    data = encoded("PNG", "RGB", (10, 20))
    image_array(text_of(data), "image", room)
    assert room.memory_left == 4000 - 600
    image_array(text_of(encoded("PNG", "I;16", (10, 20))), "image", room)
    assert room.memory_left == 3400 - 400
    room.memory_left = 1000
    with pytest.raises(ObservationError, match="of which 0 MB are left for this one"):
        image_array(text_of(data), "image", room)
    with pytest.raises(TooManyPixelsError, match=f"{MOST_BYTES // 10**6} MB"), opened(data, room):
        pass


@settings(deadline=None, max_examples=60)
@given(
    draw=hnp.arrays(numpy.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))),
    mode=st.sampled_from(MODES),
    strip=st.integers(1, 20),
)
def test_pixels_in_strips_are_those_of_the_whole(draw: Any, mode: str, strip: int) -> None:
    """In every mode that becomes RGB, however many rows a strip has."""
    image = Image.fromarray(draw)
    image = image.convert("RGBA").convert(mode) if mode == "RGBa" else _as(image, mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "_STRIP", strip)
        found = opening.in_strips(image, (3,), numpy.uint8)
    assert numpy.array_equal(found, numpy.asarray(image.convert("RGB")))


def _as(image: Image.Image, mode: str) -> Image.Image:
    if mode in ("PA", "LA"):
        return image.convert("L").convert("LA").convert(mode)
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    return image.convert(mode)


def test_an_image_of_another_size_than_the_models_is_refused_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as floats, which are eight times as large."""
    binding = Binding("x", "x", "image", "float32", (1, 3, 8, 8), (1, 3, 8, 8))
    decoder = Decoder(image_array, lambda *_: b"")
    text = text_of(encoded("PNG", "RGB", (16, 8)))
    assert filled(binding, {"image": text_of(encoded("PNG", "RGB", (8, 8)))}, decoder).dtype == numpy.float32
    monkeypatch.setattr(numpy, "divide", None)
    monkeypatch.setattr("horus_async.policy.model.onnx.inputs._converted", None)
    for value in (text, numpy.zeros((1, 8, 16, 3), numpy.uint8)):
        with pytest.raises(PolicyError, match=r"has shape \[1, 3, 8, 16\], the model wants \[1, 3, 8, 8\]"):
            filled(binding, {"image": value}, decoder)


@pytest.mark.parametrize("kind", [numpy.uint8, numpy.uint16])
def test_pixels_are_divided_in_the_dtype_of_the_input(kind: Any) -> None:
    """Every value is what float64 rounds to, without an array of float64."""
    most = numpy.iinfo(kind).max
    values = numpy.arange(most + 1, dtype=kind).reshape(-1, 16, 1)
    for dtype in ("float16", "float32", "float64"):
        binding = Binding("x", "x", "image", dtype, (1, 1, None, None), (1, 1, 1, 1))
        found = filled(binding, {"image": values}, Decoder(image_array, lambda *_: b""))
        assert found.dtype == dtype
        assert numpy.array_equal(found[0, 0], (values[..., 0] / float(most)).astype(dtype))


def test_a_turned_picture_is_exported_upright() -> None:
    """Turning it makes no third copy."""
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn = Image.fromarray(numpy.arange(24, dtype=numpy.uint8).reshape(2, 4, 3))
    file = io.BytesIO()
    drawn.save(file, "PNG", exif=exif)
    store = Store(io.BytesIO())
    kept = store.put(file.getvalue())
    assert (kept.height, kept.width, kept.converted) == (4, 2, True)
    turned = numpy.rot90(numpy.asarray(drawn), -1)
    assert numpy.array_equal(pixels(store.get(kept)), turned)


def transparent() -> bytes:
    """A PNG with a palette and a transparency for each of its colours, which Pillow warns of when it is converted."""
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=b"\x80\x40")
    return file.getvalue()


def cut_exif() -> bytes:
    """A TIFF of whose tags the file's end lacks a part: Pillow warns when it is opened."""
    return encoded("TIFF", "RGB", (4, 3), tiffinfo={270: "x" * 100})[:-60]


def test_no_warning_of_pillow_gets_out() -> None:
    """Nor does one become an error of the request where warnings are errors: an odd file is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_array(text_of(transparent()))[0, 0].tolist() == [10, 20, 30]
        assert arrays({"image": text_of(transparent())})["image"].shape == (3, 4, 3)
        assert Store(io.BytesIO()).put(transparent()).size > 0
        with pytest.raises(ObservationError, match=r"too large an image: it has 100,000,000 pixels; .* 40,000,000"):
            image_array(text_of(png(10_000)))
        with pytest.raises(PictureError, match="100,000,000 pixels"):
            Store(io.BytesIO()).put(png(10_000))
        with pytest.raises(ObservationError, match="is not an image") as caught:
            image_array(text_of(cut_exif()))
        assert not isinstance(caught.value.__cause__, Warning)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        image_array(text_of(transparent()))
        with pytest.raises(ObservationError, match="too large"):
            image_array(text_of(png(10_000)))
    assert not heard


def test_the_programs_own_warnings_are_as_before() -> None:
    """Many threads at once leave the filters as they were, and what is said of Pillow elsewhere is heard."""
    before = list(warnings.filters)
    text = text_of(transparent())
    start = threading.Barrier(8)

    def decode() -> None:
        start.wait(60)
        for _ in range(20):
            image_array(text)

    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert warnings.filters == before
    with Image.open(io.BytesIO(transparent())) as image, pytest.warns(UserWarning, match="Palette images"):
        image.convert("RGB")
