"""Which lists and arrays of numbers are images: by their shape, and by what the numbers are."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import orjson

from .signatures import has_signature

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 24
"""Bytes of an image from which on a flat array of bytes is one."""

_MANY_BYTES = 1024
_MANY_NUMBERS = 4096
"""Numbers from which on a flat row may be the pixels of an image: 64 times 64. States and chunks have fewer."""


def is_image_numbers(value: Any) -> bool:
    """Whether a list or an array of numbers is an image: pixels, or the bytes of a file."""
    shape = shape_of(value)
    if shape is None:
        return False
    return _is_image_array(value, shape) if hasattr(value, "dtype") else _is_image_list(value, shape)


def _is_image_list(value: list[Any], shape: tuple[int, ...]) -> bool:
    if len(shape) == 1:
        return len(value) >= _MANY_NUMBERS or _is_file(value, _MANY_BYTES)
    if not _may_be_pixels(shape, whole=True, narrow=False):
        return False
    flat = flat_numbers(value)
    if flat is None or len(flat) != math.prod(shape):
        return False
    return _may_be_pixels(shape, whole=packed(flat)[0] != "d", narrow=False)


def _is_image_array(value: Any, shape: tuple[int, ...]) -> bool:
    kind, size = value.dtype.kind, value.dtype.itemsize
    if kind not in "biuf":
        return False
    if len(shape) == 1:
        files = FEWEST if size == 1 else _MANY_BYTES
        return len(value) >= _MANY_NUMBERS or (kind in "iu" and _is_file(value.tolist(), files))
    return _may_be_pixels(shape, whole=kind != "f", narrow=kind == "u" and size <= 2)


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of an array, or that of a list by its first rows; None if it is empty or not of numbers."""
    shape: list[int] = []
    while isinstance(value, list | tuple) and value:
        shape.append(len(value))
        value = value[0]
    shape += getattr(value, "shape", ())
    number = isinstance(value, int | float) or value is None or hasattr(value, "dtype")
    return tuple(shape) if number and shape and 0 not in shape else None


def _may_be_pixels(shape: Sequence[int], *, whole: bool, narrow: bool) -> bool:
    """Whether numbers of this shape are pixels. ``narrow`` numbers are integers of 8 or 16 bits without a sign."""
    if len(shape) < 2:
        return False
    least = 16 if whole else 64
    if min(shape[-2:]) >= least:
        return True
    if len(shape) < 3:
        return False
    first, middle, last = shape[-3:]
    if min(first, middle) >= least:  # several frames one behind the other, in their channels
        return True
    channels_last, channels_first = last in (1, 3, 4), first in (3, 4) or (first == 1 and narrow)
    if whole:
        return channels_last or channels_first
    return (channels_last and min(first, middle) >= 8) or (channels_first and min(middle, last) >= 8)


def _is_file(values: list[Any], many: int) -> bool:
    """Whether a flat list of integers is the bytes of a file, or ``many`` and more raw pixels."""
    if len(values) < FEWEST or type(values[0]) is not int:
        return False
    try:
        return has_signature(bytes(values[:256])) or (len(values) >= many and len(set(bytes(values))) > 16)
    except (ValueError, TypeError):
        return False


def flat_numbers(value: Any) -> list[Any] | None:
    """All numbers in nested lists and arrays, in order; None if there is anything else in them."""
    try:
        encoded = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        flat = orjson.loads(b"[" + encoded.translate(None, b"[]") + b"]")
    except (TypeError, ValueError):
        return None
    return flat if set(map(type, flat)) <= {int, float, bool, type(None)} else None


def packed(flat: Sequence[Any]) -> tuple[str, bytes]:
    """Numbers as bytes: the narrowest of ``B``, ``H`` and ``d`` (`array`'s letters) that holds them, and its bytes."""
    for code in "BH":
        try:
            return code, array(code, flat).tobytes()
        except (OverflowError, TypeError):
            continue
    return "d", array("d", [0.0 if number is None else number for number in flat]).tobytes()
