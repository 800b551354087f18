"""JSON text of numbers that JSON lacks. Stands on orjson alone, so that anything may use it.

orjson writes NaN and the infinities as ``null`` without a word. Each of our formats says what it writes instead: traces
and black boxes the tag ``{"$float":"nan"}``, which `untagged` reads back; tables for other programs something those
understand. Topics have a codec of their own, with more tags (``topics.codec``).
"""

from __future__ import annotations

import re
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

FLOATS = {"nan": nan, "inf": inf, "-inf": -inf}
"""The floats that JSON lacks, by the names they have in a tag."""

_INTEGER = re.compile(r"-?(?:0x[0-9a-f]+|[0-9]+)")
_ATOMS = frozenset({int, str, bool, type(None)})


def encode(value: Any, replace: Callable[[float], Any], options: int | None = None) -> bytes:
    """``value`` as compact JSON.

    Args:
        value: What orjson takes under ``options``.
        replace: Makes something that JSON has of NaN, infinity or minus infinity.
        options: orjson's.

    Raises:
        TypeError: ``value`` holds something else: an integer beyond 64 bits, bytes, an object.
    """
    encoded = orjson.dumps(value, option=options)
    return encoded if b"null" not in encoded else orjson.dumps(finite(value, replace), option=options)


def finite(value: Any, replace: Callable[[float], Any]) -> Any:
    """``value`` with every NaN and infinity replaced. Tuples and NumPy arrays become lists."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, float):
        return value if isfinite(value) else replace(value)
    if isinstance(value, dict):
        return {key: finite(item, replace) for key, item in value.items()}
    if isinstance(value, list | tuple):
        # Rows of numbers are long: those that need no replacing cost no call.
        return [
            item if type(item) is int or (type(item) is float and -inf < item < inf) else finite(item, replace)
            for item in value
        ]
    return finite(value.tolist(), replace) if hasattr(value, "tolist") else value


def tagged_float(value: float) -> dict[str, str]:
    """The tag of a NaN or an infinity: ``{"$float": "nan"}``, ``"inf"`` or ``"-inf"``."""
    return {"$float": str(float(value))}


def untagged(value: Any, *, integers: bool = False) -> Any:
    """Parsed JSON with its tagged floats as floats.

    Args:
        value: What a JSON parser gave.
        integers: Also read ``{"$int": digits}``, decimal or ``0x`` and hexadecimal.
    """
    if isinstance(value, list):
        return [untagged(item, integers=integers) if type(item) in (dict, list) else item for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        if isinstance(text := value.get("$float"), str) and text in FLOATS:
            return FLOATS[text]
        if integers and isinstance(text := value.get("$int"), str) and _INTEGER.fullmatch(text):
            return int(text, 0)
    return {key: untagged(item, integers=integers) for key, item in value.items()}
