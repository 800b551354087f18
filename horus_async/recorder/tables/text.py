"""Cells as text: strict JSON, and lines of CSV. Pure."""

from __future__ import annotations

import json
import re
from functools import cache
from math import inf, isnan
from typing import TYPE_CHECKING, Any

import orjson
from attrs import frozen

from .arrays import exact

if TYPE_CHECKING:
    from collections.abc import Iterable

_MANY = 1 << 10
"""Elements from which an array is worth a way of its own."""
_OPENING, _CLOSING, _COMMA = b"[],"
_PLAIN = frozenset({int, str, bool, type(None)})
_FORMULAS = frozenset("=+-@\t\r")
_QUOTED = re.compile(rb'[",\n\r]')


@frozen
class _Image:
    """An array of bytes that is large, and so has a way of its own: orjson takes long over many short rows."""

    array: Any

    def tolist(self) -> Any:
        """Nested lists of its elements."""
        return self.array.tolist()


def json_text(value: Any) -> bytes:
    """A cell as strict JSON, which knows neither infinity (written as text, ``"inf"``) nor NaN (written as null)."""
    strict = _strict(value)
    try:
        return orjson.dumps(strict, _fragment, orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(strict, ensure_ascii=False, separators=(",", ":"), default=lambda one: one.tolist()).encode()


def csv_line(cells: Iterable[Any]) -> bytes:
    """A line of comma-separated values (RFC 4180, but with a plain newline); lists, arrays and dicts are JSON text."""
    return b",".join(map(_csv_cell, cells)) + b"\n"


def is_formula(cell: Any) -> bool:
    """Whether a spreadsheet would take a cell for a formula, which may be somebody else's."""
    return type(cell) is str and cell[:1] in _FORMULAS and cell != ""


def _strict(value: Any) -> Any:
    """``value`` without the floats that JSON lacks, and with arrays as orjson takes them."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if -inf < value < inf else _float_text(value)
    if kind is dict:
        return {key: _strict(item) for key, item in value.items()}
    if kind is list:
        # Lists of numbers are long: those that need no replacing cost no call.
        return [
            item if type(item) is int or (type(item) is float and -inf < item < inf) else _strict(item)
            for item in value
        ]
    return _strict_array(value) if hasattr(value, "dtype") else value


def _strict_array(array: Any) -> Any:
    if array.dtype.kind == "f" and not _is_finite(array):
        return _strict(array.tolist())
    if array.dtype == "u1" and array.ndim > 1 and array.size >= _MANY:
        return _Image(array)
    return exact(array if array.flags.c_contiguous else array.copy())


def _text_of_bytes(array: Any) -> bytes:
    """The JSON text of an array of bytes: cells of one width, each with its comma, without what pads them."""
    import numpy as np

    cells = _byte_cells()[array.reshape(-1)].view("u1")
    for size in reversed(array.shape):
        rows = cells.reshape(-1, size * cells.shape[-1] if cells.ndim > 1 else 4 * size)
        cells = np.empty((len(rows), rows.shape[1] + 2), "u1")
        cells[:, 0], cells[:, -1] = _OPENING, _COMMA
        cells[:, 1:-1] = rows
        cells[:, -2] = _CLOSING
    text: bytes = cells.tobytes()
    return text[:-1].translate(None, b"\0")


@cache
def _byte_cells() -> Any:
    """The text of each byte, in four bytes, padded by zeros, as numbers of 32 bits."""
    import numpy as np

    return np.frombuffer(b"".join(f"{number},".encode().rjust(4, b"\0") for number in range(256)), "u4")


def _fragment(image: Any) -> orjson.Fragment:
    return orjson.Fragment(_text_of_bytes(image.array))


def _is_finite(array: Any) -> bool:
    import numpy as np

    return bool(np.isfinite(array).all())


def _float_text(value: float) -> str | None:
    return None if isnan(value) else str(value)


def _csv_cell(value: Any) -> bytes:
    if value is None:
        return b""
    if type(value) in (int, float, bool):
        return str(value).encode()
    text = value.encode() if isinstance(value, str) else json_text(value)
    return b'"' + text.replace(b'"', b'""') + b'"' if _QUOTED.search(text) else text
