"""The JSON of others as values: also what their writers write although JSON lacks it."""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Any

import orjson

from .source import NearestError

_LARGE = re.compile(rb"[0-9]{19}|[eE]\+?[0-9]{3}")
"""What may be an integer beyond 64 bits, of which orjson makes a float, or a number beyond all floats."""

MOST_DIGITS = 100_000
"""Of an integer: reading one takes time with the square of its length."""
_AT_ONCE = 4000
"""Digits that Python reads without asking about its limit."""


def json_value(data: bytes) -> Any:
    """The value of a JSON text: with NaN and infinities, integers of any size, a byte order mark, or in UTF-16.

    Raises:
        ValueError: It is no JSON, or has an integer of more than `MOST_DIGITS`.
        NearestError: It has a number beyond all floats, as ``1e400``.
        RecursionError: It is nested too deeply.
    """
    if _LARGE.search(data) is None:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    beyond: list[str] = []

    def number(text: str) -> float:
        value = float(text)
        if isinf(value):
            beyond.append(text)
        return value

    value = json.loads(data, parse_int=_integer, parse_float=number)
    if beyond:
        raise NearestError(value, f"{beyond[0]:.40} is beyond the largest float")
    return value


def _integer(text: str) -> int:
    if len(text) <= _AT_ONCE:
        return int(text)
    if text.startswith("-"):
        return -_integer(text[1:])
    if len(text) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits; those of up to {MOST_DIGITS} are read")
    half = len(text) // 2
    return _integer(text[:-half]) * int(10**half) + _integer(text[-half:])
