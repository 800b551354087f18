"""Random requests that hold images in every form that clients send, for the tests of privacy."""

from __future__ import annotations

import base64
import io
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy
from attrs import field, frozen
from hypothesis import strategies as st

from horus_async.policy.model.wire import WireFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn

_GRAM = 24
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM")
_SIZES = ((5, 4), (8, 8), (17, 31))
_SHAPES = {
    "uint8": ((8, 9, 3), (3, 8, 9), (9, 8, 4), (2, 8, 9, 3), (16, 17), (1, 64, 64), (9, 8, 1)),
    "uint16": ((16, 17), (8, 9, 1), (8, 9, 3)),
    "float32": ((8, 9, 3), (3, 8, 9), (64, 65), (2, 8, 9, 3)),
}


@frozen
class Picture:
    """One image: its bytes, and the array that it is if it is one."""

    data: bytes = field(repr=False)
    array: numpy.ndarray | None = field(default=None, repr=False)
    name: str = ""


@cache
def encoded_pictures() -> list[Picture]:
    """Small images of all formats, of noise and of smooth colours, and grey ones of 16 bits."""
    from PIL import Image

    draw = numpy.random.default_rng(7)
    pictures = []
    for height, width in _SIZES:
        noise = draw.integers(0, 256, (height, width, 3), dtype=numpy.uint8)
        rows, columns = numpy.mgrid[:height, :width]
        smooth = numpy.stack([rows * 7, columns * 5, rows + columns], axis=-1).astype(numpy.uint8)
        for pixels in (noise, smooth):
            pictures += [_saved(Image.fromarray(pixels), form) for form in _FORMATS]
        pictures.append(_saved(Image.fromarray(draw.integers(0, 1 << 16, (height, width), dtype=numpy.uint16)), "PNG"))
    return pictures


def _saved(image: Any, form: str) -> Picture:
    stream = io.BytesIO()
    image.save(stream, form)
    return Picture(stream.getvalue(), name=f"{form} {image.size} {image.mode}")


@st.composite
def raw_pictures(draw: DrawFn) -> Picture:
    """Raw pixels of noise."""
    kind = draw(st.sampled_from(sorted(_SHAPES)))
    shape = draw(st.sampled_from(_SHAPES[kind]))
    noise = numpy.random.default_rng(draw(st.integers(0, 1 << 30)))
    if kind == "float32":
        array = noise.random(shape, dtype=numpy.float32)
    else:
        array = noise.integers(0, numpy.iinfo(kind).max, shape, dtype=kind)
    return Picture(array.tobytes(), array, f"{kind} {shape}")


def _lines(text: str, end: str) -> str:
    return end.join(text[start : start + 76] for start in range(0, len(text), 76)) + end


_TEXTS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda data: base64.b64encode(data).decode(),
    "unpadded": lambda data: base64.b64encode(data).decode().rstrip("="),
    "url-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "url-safe, unpadded": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "mime": lambda data: _lines(base64.b64encode(data).decode(), "\n"),
    "mime, crlf": lambda data: _lines(base64.b64encode(data).decode(), "\r\n"),
    "data url": lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode(),
    "other data url": lambda data: "data:application/octet-stream;base64," + base64.b64encode(data).decode(),
}
_WRAPPED: dict[str, Callable[[str], str]] = {
    "alone": lambda text: text,
    "in words": lambda text: f"look at {text} and pick the cup",
    "in json": lambda text: json.dumps({"camera": [text, 1], "text": "über"}),
    "in json twice": lambda text: json.dumps(json.dumps({"a": text})),
    "in json, slashes escaped": lambda text: json.dumps([text]).replace("/", "\\/"),
    "behind a name": lambda text: f"frame={text}",
    "in a tag": lambda text: f'<img src="{text}"/>',
}


@st.composite
def sent(draw: DrawFn, picture: Picture, *, msgpack: bool) -> Any:
    """An image in one of the forms in which clients send them."""
    form = draw(st.sampled_from(["text", "text", "numbers", "bytes"]))
    if form == "numbers" or (picture.array is not None and len(picture.data) < 200):
        if picture.array is None:
            return list(picture.data)
        return picture.array if msgpack and draw(st.booleans()) else picture.array.tolist()
    if form == "bytes" and msgpack:
        return picture.data if draw(st.booleans()) else numpy.frombuffer(picture.data, numpy.uint8)
    text = _TEXTS[draw(st.sampled_from(sorted(_TEXTS)))](picture.data)
    return _WRAPPED[draw(st.sampled_from(sorted(_WRAPPED)))](text)


@frozen
class Case:
    """A request, its form, the images in it, and what a policy repeats of them in its answer and in an error."""

    form: WireFormat
    pictures: list[Picture]
    request: dict[Any, Any] = field(repr=False)
    seen: Any = field(default=None, repr=lambda value: repr(value)[:100])
    error: str = field(default="", repr=lambda value: repr(value)[:200])

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """What Hypothesis shows; all of it would be pages."""
        printer.text(f"{self}, fields {list(self.request)}")


@st.composite
def cases(draw: DrawFn, *, echo: bool = True) -> Case:
    """A request with images and what a policy does with it."""
    form = draw(st.sampled_from(WireFormat))
    request, pictures = draw(requests(msgpack=form is WireFormat.MSGPACK))
    if not echo:
        return Case(form, pictures, request)
    error = f"ValueError: cannot use {draw(echoes(pictures, request))!s}"
    return Case(form, pictures, request, draw(echoes(pictures, request)), error)


@st.composite
def echoes(draw: DrawFn, pictures: list[Picture], request: dict[Any, Any]) -> Any:
    """What a policy may repeat of an image: a slice of its text, bytes, pixels or of the request as Python shows it."""
    picture = draw(st.sampled_from(pictures))
    start = draw(st.integers(0, max(0, len(picture.data) - 30)))
    piece = picture.data[start : start + draw(st.integers(24, 400))]
    flat = picture.array.reshape(-1) if picture.array is not None else numpy.frombuffer(picture.data, numpy.uint8)
    shown = repr(request)
    at = draw(st.integers(0, len(shown)))
    form = draw(st.sampled_from(["base64", "url-safe", "hex", "bytes", "numbers", "array", "request", "slice"]))
    return {
        "base64": base64.b64encode(piece).decode(),
        "url-safe": base64.urlsafe_b64encode(piece).decode().rstrip("="),
        "hex": piece.hex(),
        "bytes": repr(piece),
        "numbers": flat[start % 100 :][:200].tolist(),
        "array": flat[: len(flat) // 8 * 8].reshape(-1, 8)[:20],
        "request": shown,
        "slice": shown[at : at + 400],
    }[form]


@st.composite
def requests(draw: DrawFn, *, msgpack: bool) -> tuple[dict[str, Any], list[Picture]]:
    """A request with one to three images at random places, and these images."""
    request: dict[str, Any] = {"instruction": "pick the cup", "state": [0.5, -1, 3], "episode_id": "e1"}
    pictures = draw(st.lists(st.sampled_from(encoded_pictures()) | raw_pictures(), min_size=1, max_size=3))
    used: set[str] = set()
    for number, picture in enumerate(pictures):
        value = draw(sent(picture, msgpack=msgpack))
        for wrapping in draw(st.lists(st.sampled_from(["list", "dict", "key", "pair"]), max_size=3)):
            if wrapping == "list":
                value = ["left", value, 3]
            elif wrapping == "pair":
                value = [value, {"name": "right", "camera": None}]
            elif wrapping == "key" and isinstance(value, str):
                value = {value: "front"}
            else:
                value = {"camera": value, "height": 480}
        name = draw(st.sampled_from(["image", "instruction", "wrist", "observation/image", "note", "$image", "top_id"]))
        if name in used or (name in ("image", "instruction") and not isinstance(value, str)):
            name = f"images{number}"
        used.add(name)
        request[name] = value
    return request, pictures


# --- what must not be seen ---


def leaks(text: str, pictures: list[Picture]) -> list[str]:
    """Which forms of the images have 24 characters, bytes or numbers in ``text``."""
    plain = re.sub(r"\\+[nr]|\\+(?=/)|\s", "", text)
    alphabet = plain.replace("-", "+").replace("_", "/")
    numbers = [re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", row) for row in re.findall(r"[-\d.,;\s\[\]()e]{48,}", text)]
    shown = _bytes_of(text)
    found = []
    for picture in pictures:
        for shift in range(3):
            coded = base64.b64encode(picture.data[shift:]).decode().rstrip("=")
            found += ["base64"] * _share(alphabet, coded)
        found += ["hex"] * _share(plain.lower(), picture.data.hex())
        found += ["bytes"] * _share(shown, picture.data)
        values = list(picture.data) if picture.array is None else picture.array.reshape(-1).tolist()
        wanted = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
        rows = [[f"{float(value):g}" if "." in value else value for value in row] for row in numbers]
        found += ["numbers"] * any(_share(tuple(row), tuple(wanted)) for row in rows)
    return found


def _share(one: Any, other: Any) -> bool:
    """Whether two texts, bytes or tuples share 24 items in a row, not nearly all of them the same."""
    if len(one) < _GRAM or len(other) < _GRAM:
        return False
    grams = {other[place : place + _GRAM] for place in range(len(other) - _GRAM + 1)}
    grams = {gram for gram in grams if len(set(gram)) >= 6}
    return any(one[place : place + _GRAM] in grams for place in range(len(one) - _GRAM + 1))


def _bytes_of(text: str) -> bytes:
    """The bytes that a text shows as Python does, or as Latin-1."""
    shown = re.sub(r"\\+x([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)
    return shown.encode("latin-1", "replace")
