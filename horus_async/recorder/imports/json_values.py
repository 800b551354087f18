"""The JSON of others as values: also what their writers write although JSON lacks it."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_LONG = re.compile(rb"[0-9]{19}")
"""Digits that may be an integer beyond 64 bits, of which orjson makes a float."""


def json_value(data: bytes) -> Any:
    """The value of a JSON text: with NaN and infinities, integers of any size, a byte order mark, or in UTF-16.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    if _LONG.search(data) is None:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    return json.loads(data)
