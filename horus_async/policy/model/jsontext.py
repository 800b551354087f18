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


def plain(value: Any) -> Any:
    """``value`` with tuples and tensors as lists, and NumPy's arrays and numbers in a form that ``encode`` takes.

    Arrays of numbers stay arrays (copies), so that they can travel as such. What JSON does not have is left to
    ``encode`` to refuse.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if not hasattr(value, "tolist"):
        return value
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind not in ("b", "i", "u", "f"):
        return plain(value.tolist())
    import numpy

    array = numpy.asarray(value)
    if array.ndim == 0:
        # A float32 with its own digits: 0.1, not 0.10000000149011612.
        return float(str(array)) if kind == "f" else array.item()
    dtype = {"f2": numpy.float32, "f8": numpy.float64}.get(f"{kind}{min(array.itemsize, 8)}", array.dtype)
    return numpy.array(array, dtype=numpy.dtype(dtype).newbyteorder("="), order="C")
