"""The numbers, texts and bytes of a message as CDR has them, from objects and from the text of recordings alike.

In the text of a recording, what JSON lacks is tagged (see `horus_async.topics.codec`); here a tag stands for its value.
"""

from __future__ import annotations

import math
import sys
from array import array
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from horus_async.errors import HorusError
from horus_async.topics.values import arrays
from horus_async.topics.values.base64 import from_base64

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import Enum

LARGEST32 = 3.4028234663852886e38
"""The largest number that a float32 holds; what is beyond is written as infinity."""
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class MisfitError(HorusError):
    """A message holds what its ROS 2 type has no place for, or bytes are no message of that type."""


def real(value: Any) -> float:
    """A float, whatever kind of number it is."""
    if type(value) is dict:
        return _SPECIAL[value["$float"]] if "$float" in value else float(_scalar(value))
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    raise MisfitError(f"{value!r:.40} is no number")


def real32(value: Any) -> float:
    """The same, within what a float32 holds."""
    number = real(value)
    return math.copysign(math.inf, number) if abs(number) > LARGEST32 else number


def whole(value: Any) -> int:
    """An int, whatever kind of number it is."""
    if type(value) is dict:
        value = _scalar(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and (number := float(value)).is_integer():
        return int(number)
    raise MisfitError(f"{value!r:.40} is no whole number")


def choice(kind: type[Enum]) -> Callable[[Any], int]:
    """What makes a number of a member of an enum, or of its tag."""
    values = {name: int(member.value) for name, member in kind.__members__.items()}

    def number(value: Any) -> int:
        if type(value) is dict and "$type" in value:
            content = value["value"]
            return whole(values.get(content, content) if isinstance(content, str) else content)
        return whole(value)

    return number


def truth(value: Any) -> bool:
    """A bool, or a number in its place."""
    return value if type(value) is bool else whole(value) != 0


def text(value: Any) -> bytes:
    """A string with the zero byte behind it."""
    if isinstance(value, str):
        return str.encode(value) + b"\0"
    raise MisfitError(f"{value!r:.40} is no text")


def items(value: Any) -> Any:
    """A list of texts or objects."""
    if type(value) is dict and "$tuple" in value:
        value = value["$tuple"]
    if isinstance(value, (list, tuple)):
        return value
    raise MisfitError(f"{value!r:.40} is no list")


def edges(value: Any) -> Any:
    """The edges in a message of a topic of frames."""
    if isinstance(value, (list, tuple)) or (type(value) is dict and "$tuple" in value):
        return items(value)
    return [value]


def data(value: Any) -> bytes | memoryview:
    """The bytes that `bytes` or an array stand for."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if type(value) is dict:
        found = value["$bytes"] if "$bytes" in value else value["$ndarray"]["data"]
        if isinstance(found, str):
            return from_base64(found)
    elif arrays.is_array(value) and not value.dtype.hasobject and value.dtype.kind != "T":
        return arrays.bytes_of(value)
    raise MisfitError(f"{value!r:.40} has no bytes")


def row(code: str, dtype: str, count: int | None) -> Callable[[Any], bytes | memoryview]:
    """What makes the bytes of a list, a tuple or an array of numbers.

    Args:
        code: Of `array.array`.
        dtype: NumPy's name for the same.
        count: How many there must be; None for any number.
    """
    size = array(code).itemsize
    item: Callable[[Any], float] = {"f": real32, "d": real}.get(code, whole)

    def packed(value: Any) -> bytes | memoryview:
        if type(value) is dict and "$tuple" in value:
            value = value["$tuple"]
        if isinstance(value, (list, tuple)):
            found: bytes | memoryview = _listed(value, code, item)
        elif type(value) is dict:
            found = _recorded(value["$ndarray"], dtype)
        elif arrays.is_array(value):
            found = arrays.bytes_of(value) if value.dtype.str == dtype else _converted(value, dtype)
        else:
            raise MisfitError(f"{value!r:.40} is no list of numbers")
        if len(found) % size:
            raise MisfitError(f"{len(found)} bytes are no row of {dtype}")
        if count is None:
            return found
        if len(found) != count * size:
            raise MisfitError(f"{len(found) // size} numbers where there must be {count}")
        return bytes(found)  # `struct` takes nothing else

    return packed


def _listed(value: Any, code: str, item: Callable[[Any], float]) -> bytes:
    try:
        made = array(code, value)
    except (TypeError, OverflowError):  # tags, or numbers of other kinds
        made = array(code, list(map(item, value)))
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def _recorded(fields: dict[str, Any], dtype: str) -> bytes:
    """An array in a recording."""
    if fields["dtype"] == dtype and isinstance(fields["data"], str) and "scalar" not in fields:
        return from_base64(fields["data"])
    return _converted(arrays.from_fields(fields, _as_it_is, from_base64), dtype)


def _converted(value: Any, dtype: str) -> bytes:
    """The elements of an array in C order as numbers of another kind: floats rounded, whole numbers as they are."""
    import numpy as np

    if value.dtype.kind not in "biuf":
        raise MisfitError(f"an array of {value.dtype} is no list of numbers")
    with np.errstate(all="ignore"):
        made = value.astype(dtype)
    if made.dtype.kind != "f" and not np.array_equal(made, value):
        raise MisfitError(f"an array of {value.dtype} with numbers that {made.dtype} cannot hold")
    found: bytes = made.tobytes()
    return found


def _scalar(value: dict[str, Any]) -> Any:
    """The number that a tag stands for."""
    if "$int" in value:
        return int(value["$int"], 16 if "x" in value["$int"] else 10)
    if "$type" in value:
        return value["value"]
    found = arrays.from_fields(value["$ndarray"], _as_it_is, from_base64)
    return found.item() if found.ndim == 0 else found


def _as_it_is(value: Any) -> Any:
    return value
