"""Rows of numbers and of strings in packed messages.

A row of numbers has a kind: 0 a list of f64, 1 a list of i64, 2 a tuple of f64, 3 a tuple of i64, and from 4 on a NumPy
array of one dimension whose dtype is number kind - 4 in ``DTYPES``. Its data are its items, little-endian, without
gaps. Larger arrays take the general form, where they are copied less often.
"""

from __future__ import annotations

import struct
import sys
from math import inf, isfinite, nan
from typing import Any

from orjson import dumps, loads

from horus_async.topics.values.base64 import to_base64

DTYPES = ("<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1")
ARRAY_BYTES = 1 << 14
"""Larger arrays take the general form."""

_ARRAYS = 4
_KINDS = {dtype: kind for kind, dtype in enumerate(DTYPES, _ARRAYS)}
_FLOATS, _INTS, _STRINGS = frozenset((float,)), frozenset((int,)), frozenset((str,))


def pack_numbers(row: Any) -> tuple[int, int, bytes]:
    """Kind, length and data of a row of numbers.

    Raises:
        TypeError, LookupError: it is not such a row.
        struct.error: an integer beyond 64 bits.
    """
    shape = type(row)
    if shape is not list and shape is not tuple:
        return _pack_array(row)
    kind = 0 if shape is list else 2
    if _FLOATS.issuperset(map(type, row)):
        total = sum(row)
        if total != total:  # noqa: PLR0124 - perhaps a NaN, which gets the bits it has coming out of the general form
            row = [nan if item != item else item for item in row]  # noqa: PLR0124
        return kind, len(row), struct.pack(f"<{len(row)}d", *row)
    if not _INTS.issuperset(map(type, row)):
        raise TypeError
    return kind + 1, len(row), struct.pack(f"<{len(row)}q", *row)


def _pack_array(array: Any) -> tuple[int, int, bytes]:
    numpy = sys.modules.get("numpy")  # without it there is no array
    if numpy is None or type(array) is not numpy.ndarray or array.ndim != 1 or array.nbytes > ARRAY_BYTES:
        raise TypeError
    return _KINDS[array.dtype.str], len(array), array.tobytes()


def read_numbers(payload: bytes, at: int, kind: int, length: int) -> tuple[Any, int]:
    """The row of numbers whose data begin at ``at``, and where they end.

    Raises:
        ValueError: there is no such row, or it is an array and NumPy is not installed.
    """
    end = _end(payload, at, kind, length)
    if kind >= _ARRAYS:
        return _array(payload, at, kind, length), end
    items: list[Any] = memoryview(payload)[at:end].cast("q" if kind & 1 else "d").tolist()
    return (items if kind < 2 else tuple(items)), end


def _array(payload: bytes, at: int, kind: int, length: int) -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise ValueError("an array, which needs NumPy") from error
    return np.frombuffer(payload, DTYPES[kind - _ARRAYS], length, at).copy()


def numbers_to_json(payload: bytes, at: int, kind: int, length: int) -> tuple[Any, int]:
    """The row as the JSON of the general form has it, and where its data end."""
    if kind >= _ARRAYS:
        end = _end(payload, at, kind, length)
        data = to_base64(memoryview(payload)[at:end])
        return {"$ndarray": {"dtype": DTYPES[kind - _ARRAYS], "shape": [length], "data": data}}, end
    row, end = read_numbers(payload, at, kind, length)
    items = list(row) if isfinite(sum(row)) else list(map(float_to_json, row))
    return ({"$tuple": items} if type(row) is tuple else items), end


def _end(payload: bytes, at: int, kind: int, length: int) -> int:
    if kind >= _ARRAYS + len(DTYPES):
        raise ValueError(f"not a kind of numbers: {kind}")
    end = at + length * (int(DTYPES[kind - _ARRAYS][2:]) if kind >= _ARRAYS else 8)
    if end > len(payload):
        raise ValueError(f"{length} numbers of kind {kind}, but {len(payload) - at} bytes")
    return end


def float_to_json(value: float) -> Any:
    """A number as the JSON of the general form has it."""
    if -inf < value < inf:
        return value
    return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}  # noqa: PLR0124 - NaN


def pack_strings(row: Any) -> bytes:
    """The JSON text of a list of strings.

    Raises:
        TypeError: it is not such a list.
    """
    if type(row) is not list or not _STRINGS.issuperset(map(type, row)):
        raise TypeError
    return dumps(row)


def read_strings(text: bytes) -> list[str]:
    """The list that ``pack_strings`` wrote.

    Raises:
        ValueError: it did not write this.
    """
    row = loads(text)
    if type(row) is not list or not _STRINGS.issuperset(map(type, row)):
        raise ValueError(f"not a list of strings: {text[:40]!r}")
    return row
