"""Strict JSON for traces and answers: a float that JSON lacks is written as ``{"$float": "nan"}``.

Reading is generous: traces of other programs hold bare ``NaN`` and ``Infinity``, and are read all the same.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(value: Any) -> bytes:
    """``value`` as one line of strict JSON.

    Raises:
        TypeError: something in it that JSON cannot hold.
    """
    encoded = orjson.dumps(value, option=_OPTIONS)
    # orjson writes NaN and infinity as null without a word, so every null has to be looked into.
    if b"null" in encoded:
        encoded = orjson.dumps(_tagged(value), option=_OPTIONS)
    return encoded


def decode(line: bytes) -> Any:
    """The value of one line, with tagged and with bare NaN and infinity.

    Raises:
        ValueError: not JSON.
    """
    try:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            value = json.loads(line)
        return _untagged(value) if b'"$float"' in line else value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _tagged(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in value]
    if hasattr(value, "tolist"):
        return _tagged(value.tolist())
    return value


def _untagged(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(tag := value.get("$float"), str) and tag in _FLOATS:
            return _FLOATS[tag]
        return {key: _untagged(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    return value
