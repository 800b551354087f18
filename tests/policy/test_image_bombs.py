"""Images that become far more than they are: refused before they are decoded, wherever images are decoded."""

from __future__ import annotations

import base64
import io
import json
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from PIL import Image, ImageFile

from horus_async.errors import TraceError
from horus_async.policy import ObservationError, arrays, image_array
from horus_async.policy.model import observation
from horus_async.policy.model.hashes import image_hash
from horus_async.policy.model.images.opening import FORMATS, MOST_PIXELS, PixelRoom, TooManyPixelsError, opened
from horus_async.policy.model.onnx.inputs import Binding, Decoder, filled
from horus_async.policy.replay.images import ImageFolder
from horus_async.policy.trace.exports.lerobot.pictures import PictureError, Store
from horus_async.policy.trace.redaction import Restoring
from tests.policy.conftest import needs_server, serving

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 6400
"""A square of this side has more pixels than are taken."""
HUGE = f"{SIDE * SIDE:,} pixels"


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever decodes an image fails the test."""

    def load(image: Any) -> None:
        raise AssertionError(f"{image} is decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int = SIDE, frames: int = 1) -> bytes:
    """A black square, of one bit a pixel; six kilobytes."""
    rows = zlib.compress((b"\0" + bytes(-(-side // 8))) * side, 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    animation = chunk(b"acTL", struct.pack(">II", frames, 0)) if frames > 1 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + animation + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(side: int, tile: int, data: bytes = b"") -> bytes:
    """A grey square of one tile, which may be larger than the square."""
    fields = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile)]
    fields += [(324, 8 + 2 + 12 * 10 + 4), (325, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4) + data


def headers() -> dict[str, bytes]:
    """Files of which the header alone says how large they are."""
    size = struct.pack("<HH", SIDE, SIDE)
    frame = b"," + bytes(4) + size + b"\0\x08\0;"
    return {
        "png": png(),
        "animated png": png(frames=3),
        "gif": b"GIF89a" + size + bytes(3) + frame,
        "gif whose frame is larger than its screen": b"GIF89a\x01\0\x01\0" + bytes(3) + frame,
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0),
        "netpbm": b"P6 %d %d 255\n" % (SIDE, SIDE),
        "plain netpbm": b"P1 %d %d\n" % (SIDE, SIDE),
        "tiff": tiff(SIDE, SIDE),
        "a tile of a tiff": tiff(16, SIDE),
        "qoi": b"qoif" + struct.pack(">II", SIDE, SIDE) + b"\3\0" + b"\xfd" * 1000,
    }  # fmt: skip


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("data", headers().values(), ids=headers())
def test_an_image_of_too_many_pixels_is_refused_by_its_header(data: bytes) -> None:
    """The error says how many there are, and how many may be; it shows nothing of the image."""
    text = base64.b64encode(data).decode()
    with pytest.raises(ObservationError) as caught:
        image_array(text, "wrist")
    assert "'wrist' is too large an image" in str(caught.value)
    assert HUGE in str(caught.value)
    assert f"{MOST_PIXELS:,}" in str(caught.value)
    assert text[:24] not in str(caught.value)


@pytest.mark.usefixtures("undecoded")
def test_more_pixels_than_pillow_takes_are_refused_in_our_words() -> None:
    """Pillow's own error is another one."""
    with pytest.raises(ObservationError, match="too large an image: the images of a request may have 40,000,000"):
        image_array(base64.b64encode(png(20_000)).decode())


WRITTEN = [name for name in FORMATS if name in (Image.init(), Image.SAVE)[1]]


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("form", WRITTEN)
def test_the_bound_holds_for_every_format(form: str) -> None:
    """Of those that Pillow can write here."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, form)
    with opened(file.getvalue(), PixelRoom(1200)) as image:
        assert image.size == (40, 30)
    with pytest.raises(TooManyPixelsError, match="1,200 pixels"), opened(file.getvalue(), PixelRoom(1199)):
        pass


@pytest.mark.parametrize("form", ["ICO", "PCX", "TGA", "SGI"])
def test_formats_that_say_little_of_their_size_are_not_read(form: str) -> None:
    """An ICO holds a file of its own, with a size of its own."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, form)
    with pytest.raises(ObservationError, match="not an image of a format that is read"):
        image_array(base64.b64encode(file.getvalue()).decode())


def test_no_program_is_started_for_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript is a program, and Pillow would run one for it."""
    monkeypatch.setattr(subprocess, "Popen", None)
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(ObservationError, match="not an image of a format that is read"):
        image_array(base64.b64encode(data).decode())


def test_the_images_of_one_request_share_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand of them are no better than one."""
    file = io.BytesIO()
    Image.new("L", (30, 30)).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    monkeypatch.setattr("horus_async.policy.model.observation.PixelRoom", lambda: PixelRoom(2000))
    assert arrays({"image": text, "wrist": {"left": text}})["image"].shape == (30, 30, 3)
    with pytest.raises(ObservationError, match=r"'cameras\.2'.*900 pixels.*of which 200 are left"):
        arrays({"cameras": [text] * 3})
    room = PixelRoom(2000)
    images = Decoder(lambda text, field: image_array(text, field, room), lambda *_: b"")
    binding = Binding("x", "x", "cameras", "float32", (None, 3, 30, 30), (1, 3, 30, 30))
    with pytest.raises(ObservationError, match="of which 200 are left"):
        filled(binding, {"cameras": [text] * 3}, images)


@needs_server
async def test_a_server_refuses_the_request_and_goes_on() -> None:
    """It is the client's fault, 422, and costs nothing."""

    def policy(request: dict[str, Any]) -> Any:
        return [[float(arrays(request)["image"].size)]]

    async with serving(policy) as served:
        answer = await served.act(image=base64.b64encode(png()).decode())
        assert (answer.status_code, answer.json()["error"]) == (422, "bad-observation")
        assert HUGE in answer.json()["message"]
        assert (await served.act(image=base64.b64encode(png(8)).decode())).json()["actions"] == [[192.0]]
        assert (await served.act(image=" " * 8_000_000)).status_code == 422


@pytest.mark.usefixtures("undecoded")
def test_an_export_leaves_such_a_picture_out() -> None:
    """With the reason."""
    with pytest.raises(PictureError, match=HUGE):
        Store(io.BytesIO()).put(png())


def saved(header: dict[str, Any], data: bytes) -> bytes:
    """A ``.npy`` file with this header."""
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    "header",
    [
        {"descr": "<f8", "fortran_order": False, "shape": (10**13,)},
        {"descr": "<f8", "fortran_order": False, "shape": (10**30,)},
        {"descr": "|S0", "fortran_order": False, "shape": (10**12,)},
        {"descr": "|O", "fortran_order": False, "shape": (1,)},
        {"descr": "<u1", "fortran_order": False, "shape": (7,)},
        {"descr": "<u1", "fortran_order": False, "shape": (-8,)},
    ],
)
def test_a_saved_array_is_what_the_file_holds(tmp_path: Path, header: dict[str, Any]) -> None:
    """A header that says more takes no memory; the other files are found."""
    (tmp_path / "a.npy").write_bytes(saved(header, bytes(8)))
    (tmp_path / "b.npy").write_bytes(saved({"descr": "<u1", "fortran_order": True, "shape": (2, 4)}, bytes(range(8))))
    (tmp_path / "c.png").write_bytes(png())
    pixels = numpy.arange(8, dtype=numpy.uint8).reshape(2, 4, order="F")
    marker = {"$image": image_hash(pixels.tobytes()), "dtype": "|u1", "shape": [2, 4]}
    assert ImageFolder(tmp_path).find(marker).tolist() == pixels.tolist()


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("<f8", [10**13], bytes(8)),
        ("<f8", [0, 10**13], b""),
        ("<f8", [10**13, 0], b""),
        ("|S0", [10**13], b""),
        ("|V0", [2], b""),
        pytest.param("f4," * 3_000_000 + "f4", [0], b"", id="long"),
        ("O", [1], bytes(8)),
        ("<f8", [-1], b""),
        ("<f8", "12", b""),
    ],
)
def test_a_recorded_array_is_what_the_line_holds(dtype: str, shape: Any, data: bytes) -> None:
    """A shape that says more is damage, and the error is short."""
    kept = {"x": {"$ndarray": {"dtype": dtype, "shape": shape, "data": base64.b64encode(data).decode()}}}
    with pytest.raises(TraceError, match="an array in the trace is damaged") as caught:
        Restoring(["x"], lambda _: None).value(json.loads(json.dumps(kept)), "")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("error", [TypeError("a float"), IndexError("no tile"), NotImplementedError("flags 0")])
def test_whatever_a_decoder_raises_is_a_refusal(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's decoders raise many things for damaged files; a fuzzer found these."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(observation, "_pixels", fail)
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    with pytest.raises(ObservationError, match="is not an image"):
        image_array(base64.b64encode(stream.getvalue()).decode())
