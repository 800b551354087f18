"""Strict JSON for traces and answers: a float that JSON lacks is written as ``{"$float": "nan"}``.

Reading is lenient: traces of other programs may hold bare ``NaN`` and ``Infinity``.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from horus_async import json_text


def encode(value: Any) -> bytes:
    """``value`` as one line of strict JSON.

    Raises:
        TypeError: something in it that JSON cannot hold.
    """
    return json_text.encode(value, json_text.tagged_float, orjson.OPT_SERIALIZE_NUMPY)


def encode_read(value: Any) -> bytes:
    """``value`` as `encode` writes it, also with what JSON of others may hold: half surrogate pairs, any integer."""
    try:
        return encode(value)
    except TypeError:  # orjson writes neither
        return json.dumps(json_text.finite(value, json_text.tagged_float), separators=(",", ":")).encode()


def decode(line: bytes) -> Any:
    """The value of one line; NaN and infinity may be tagged or bare.

    Raises:
        ValueError: not JSON.
    """
    try:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            value = json.loads(line)
        return json_text.untagged(value) if b'"$float"' in line else value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
