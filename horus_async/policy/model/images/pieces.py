"""Whether texts and numbers hold a piece of an image that is known: eight bytes, or eight numbers, in a row.

Eight bytes are in any 24 characters of base64, whatever their alphabet and where they begin. Numbers of which few
differ, such as zeros, are also in states and digests; they say nothing and are not looked for.
"""

from __future__ import annotations

import re
import sys
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

from .encoded import SHORTEST, decoded, is_binary, letters_of, merged, runs, runs_in_lines, spans
from .pixels import flat_numbers, packed, shape_of
from .signatures import has_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_GRAM = 8
_AT_ONCE = 1 << 18
"""Bytes, a multiple of every gram's size."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_HEX_APART = re.compile(r"(?:[0-9a-fA-F]{2}[ :,]){15,}[0-9a-fA-F]{2}")
_BASE64 = re.compile(r"(?:data:[^,]*,)?[A-Za-z0-9+/_=\s-]+")
_SHOWN_BYTE = re.compile(r"\\x([0-9a-fA-F]{2})|\\([nrt\\'\"0abfv])|(.)", re.DOTALL)
SHOWN_BYTES = re.compile(r"""\\x|\bb(?:'|")""")
"""Bytes as Python shows them."""
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
# A number begins where no digit stands before it: else a row of digits would be gone through from each of them.
_ONE = r"[-+]?(?<!\d)(?:0x[0-9a-f]++|\d++(?:\.\d*+)?(?:e[-+]?\d++)?|\.\d++(?:e[-+]?\d++)?)"
_APART = r"[\s,;()\[\]]++(?:\.\.\.[\s,;()\[\]]++)?"
NUMBERS = re.compile(rf"(?:(?<![\[(])[\[(]++)?{_ONE}(?:{_APART}{_ONE}){{15,}}[\])]*+")
"""Sixteen numbers and more in a text, as Python and NumPy show them."""
_ESCAPES = {"n": 10, "r": 13, "t": 9, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11}


class Pieces:
    """Images that are known: texts, bytes, arrays and lists; and what holds a piece of one."""

    def __init__(self) -> None:
        self._bytes = _Grams(_as_bytes, _GRAM, 1)
        self._numbers = _Grams(_as_floats, _GRAM * 8, 8)

    def __bool__(self) -> bool:
        return bool(self._bytes)

    def add(self, image: Any) -> None:
        """One more image."""
        self._bytes.add(image)
        self._numbers.add(image)

    def hidden_in(self, text: str, *, is_error: bool = False) -> list[tuple[int, int]]:
        """Where ``text`` holds an image of any kind, or 24 bytes or characters of one that is known.

        In an error also where it is bytes that were taken for characters, and text that was to be an image.
        """
        found = spans(text)
        if self and len(text) >= SHORTEST:
            found = merged([*found, *self._found_in(text, is_error=is_error)])
        return found

    def are_in(self, value: Any) -> bool:
        """Whether a list or an array of numbers repeats 24 numbers of an image that is known."""
        if not self or shape_of(value) is None:
            return False
        flat = flat_numbers(value.tolist() if hasattr(value, "tolist") else value)
        if flat is None or len(flat) < SHORTEST:
            return False
        code, data = packed(flat)
        return (code == "B" and self._bytes.are_in(data, 4)) or self._numbers.are_in(_floats(flat), 4)

    def _found_in(self, text: str, *, is_error: bool) -> Iterator[tuple[int, int]]:
        for start, end in chain(runs(text), runs_in_lines(text)):
            run = text[start:end]
            if not _UUID.fullmatch(run) and any(self._bytes.are_in(*reading) for reading in _readings(run)):
                yield start, end
        for match in _HEX_APART.finditer(text):
            if self._bytes.are_in(bytes.fromhex(re.sub("[ :,]", "", match[0])), 2):
                yield match.span()
        for match in NUMBERS.finditer(text):
            numbers = [float(one) if "." in one or "e" in one else int(one) for one in _NUMBER.findall(match[0])]
            if self.are_in(numbers):
                yield match.span()
        if is_error or SHOWN_BYTES.search(text):
            yield from self._shown_bytes_in(text)

    def _shown_bytes_in(self, text: str) -> Iterator[tuple[int, int]]:
        """Bytes as Python shows them, and bytes that were taken for characters."""
        starts, data = [], bytearray()
        for match in _SHOWN_BYTE.finditer(text):
            starts.append(match.start())
            if match[1]:
                data.append(int(match[1], 16))
            else:
                data.append(_ESCAPES.get(match[2], ord(match[2])) if match[2] else min(ord(match[3]), 255))
        starts += [len(text)] * (2 * _GRAM)
        places = self._bytes.places_in(bytes(data))
        for number, place in enumerate(places):
            if number == 0 or place > places[number - 1] + 2 * _GRAM:
                begin = starts[max(0, place - _GRAM + 1)]
            if number == len(places) - 1 or places[number + 1] > place + 2 * _GRAM:
                yield begin, starts[place + 2 * _GRAM - 1]


class _Grams:
    """Rows of data, and where others hold a gram of them: so many bytes, cut from the rows end to end."""

    def __init__(self, rows_of: Callable[[Any], Iterator[bytes]], size: int, unit: int) -> None:
        self._rows_of, self._size, self._unit = rows_of, size, unit
        self._images: list[Any] = []
        self._grams: set[int | bytes] = set()
        self._any = False

    def __bool__(self) -> bool:
        return self._any

    def add(self, image: Any) -> None:
        self._any = True
        self._images.append(image)

    def are_in(self, data: bytes, different: int) -> bool:
        """Whether ``data`` holds a gram in which so many bytes are different."""
        return bool(self.places_in(data, different))

    def places_in(self, data: bytes, different: int = 1) -> list[int]:
        """Where ``data`` has grams in which so many bytes are different; each begins at a multiple of ``unit``."""
        # Most texts are told from images before anything has to be made of these.
        while self._images:
            for row in self._rows_of(self._images.pop()):
                # A little at a time: other threads stand still meanwhile.
                for start in range(0, len(row), _AT_ONCE):
                    self._grams.update(self._cut(row[start : start + _AT_ONCE]))
        found = []
        for at in range(0, len(data) - self._size + 1, self._unit):
            gram = data[at : at + self._size]
            key = int.from_bytes(gram, sys.byteorder) if self._size == _GRAM else gram
            if key in self._grams and len(set(gram)) >= different:
                found.append(at)
        return found

    def _cut(self, row: bytes) -> Iterable[int | bytes]:
        if self._size == _GRAM:  # as integers of 64 bits, of which there may be millions
            return array("Q", row[: len(row) // _GRAM * _GRAM])
        return (row[at : at + self._size] for at in range(0, len(row) - self._size + 1, self._size))


def is_base64(text: str) -> bool:
    """Whether a text begins like base64, alone or in a ``data:`` URL."""
    return _BASE64.fullmatch(text[:256]) is not None


def _readings(run: str) -> Iterator[tuple[bytes, int]]:
    """The bytes that a run may stand for, wherever it begins, and how many of eight must differ.

    Text has no row of equal bytes in base64; digests and identifiers may have some in hexadecimal digits.
    """
    letters = letters_of(run)  # first: an escape that it begins with is one letter
    for skipped in range(4):
        yield decoded(letters[skipped:]), 1
    for match in _HEX.finditer(run):
        for skipped in range(2):
            digits = match[0][skipped:]
            yield bytes.fromhex(digits[: len(digits) // 2 * 2]), 2


def _as_bytes(image: Any) -> Iterator[bytes]:
    if isinstance(image, bytes):
        yield image
        if not is_binary(image):
            yield from _as_bytes(image.decode(errors="replace"))
    elif isinstance(image, str):
        if not is_base64(image):
            yield image.encode("latin-1", "replace")
        text = _without_url(image)
        yield decoded(text)
        if _HEX.fullmatch(text[:256]):
            yield from (bytes.fromhex(digits[: len(digits) // 2 * 2]) for digits in _HEX.findall(text))
    elif hasattr(image, "dtype"):
        yield image.tobytes()
        if image.dtype.kind in "SU":
            yield from (row for item in image.reshape(-1).tolist() for row in _as_bytes(item))
    else:
        code, data = packed(flat := flat_numbers(image) or [])
        yield data
        if code == "d":  # a policy makes floats of 32 bits of them
            yield array("f", [0.0 if number is None else number for number in flat]).tobytes()


def _without_url(text: str) -> str:
    return text.partition(",")[2] if text[:5].lower() == "data:" else text


def _as_floats(image: Any) -> Iterator[bytes]:
    """Pixels as floats; those of bytes are compared as bytes."""
    if isinstance(image, str | bytes):
        yield from _raw_as_floats(next(_as_bytes(image)) if isinstance(image, bytes) else decoded(_without_url(image)))
    elif not hasattr(image, "dtype"):
        flat = flat_numbers(image) or []
        code, data = packed(flat)
        yield from [_floats(flat)] if code != "B" else _raw_as_floats(data)
    elif image.dtype == "u1" and image.ndim == 1:
        yield from _raw_as_floats(image.tobytes())
    elif image.dtype.kind in "iuf":
        yield _floats(image.reshape(-1).tolist())
        if image.dtype.kind == "f":  # once more, with the digits that it has in JSON
            yield _floats(flat_numbers(image) or [])


def _raw_as_floats(data: bytes) -> Iterator[bytes]:
    """Raw pixels that were sent as bytes or base64, as what a policy may read them: NumPy's arrays."""
    if has_signature(data):
        return
    try:
        import numpy
    except ImportError:
        return
    for dtype in (numpy.uint16, numpy.float32):
        yield from _as_floats(numpy.frombuffer(data[: len(data) // 4 * 4], dtype))


def _floats(flat: list[Any]) -> bytes:
    return array("d", [0.0 if number is None else number for number in flat]).tobytes()
