"""What a policy's answer must look like, and what is made of it.

Actions are rows of numbers, steps x dimensions: lists, tuples, NumPy arrays, tensors. A flat list is one row; leading
dimensions of 1 are a batch and go. In a dict they are ``actions`` (or LeRobot's ``action``), or GR00T's parts
``action.<name>``, which become the columns in the dict's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from horus_async import json_text

from .answer import Answer, AnswerError, shown
from .rows import joined, numbers, rows_of

BLOCKS = ("cache", "denoise", "guard", "deadline", "rtc")
"""Parts of an answer that are fields of their own in a trace line."""

SERVER_FIELDS = frozenset({
    "actions", "num_actions", "action_dim", "latency_ms", "request_id", "model_hash", "config_hash", "horus_version",
    "seq", "error", "message", "server_timing", "action_parts",
})  # fmt: skip
"""What the server says itself. A policy's key of such a name is passed on as ``policy_<name>``."""

_PART = "action."


def answer_of(result: Any) -> Answer:
    """Check and encode what a policy returned.

    Raises:
        AnswerError: not rows of equal length of finite numbers, or something in it that JSON cannot hold.
    """
    fields: dict[str, Any] = {}
    parts: dict[str, int] = {}
    actions = result
    if isinstance(result, Mapping):
        fields = dict(result)
        actions, parts = _taken(fields)
    rows, encoded, dim = rows_of(actions)
    return Answer(encoded, len(rows), dim, **_described(fields, parts), actions=rows)


def _taken(fields: dict[Any, Any]) -> tuple[Any, dict[str, int]]:
    """The actions in a dict, and the widths of their parts; what is left in it is not actions."""
    for name in ("actions", "action"):
        if name in fields:
            return fields.pop(name), {}
    names = [name for name in fields if isinstance(name, str) and name.startswith(_PART) and name != _PART]
    if not names:
        reason = f": {str(fields['error'])[:200]}" if "error" in fields else f", only {sorted(map(str, fields))}"
        raise AnswerError(f"the policy returned no 'actions'{reason}")
    return joined({name.removeprefix(_PART): numbers(fields.pop(name), name) for name in names})


def _described(fields: dict[str, Any], parts: dict[str, int]) -> dict[str, Any]:
    """The rest of an answer, sorted into the fields of a trace line."""
    if not fields and not parts:
        return {}
    blocks = {name: fields.pop(name) for name in BLOCKS if fields.get(name) is not None}
    stages, mode = fields.pop("stages", None), fields.pop("mode", None)
    cache = blocks.get("cache")
    if isinstance(cache, str):
        blocks["cache"] = {"status": cache}
    if not all(isinstance(block, dict) for block in blocks.values()) or not isinstance(stages, dict | None):
        raise AnswerError(f"{', '.join((*BLOCKS, 'stages'))} of an answer must be dicts")
    if not isinstance(mode, str | None):
        raise AnswerError(f"'mode' of an answer must be text, not {shown(mode)}")
    extras = {_own_name(name, fields): _encodable(name, value) for name, value in fields.items()}
    return {
        "blocks": {name: _encodable(name, block) for name, block in blocks.items()},
        "stages": None if stages is None else _encodable("stages", stages),
        "mode": mode,
        "extras": extras | ({"action_parts": parts} if parts else {}),
    }


def _own_name(name: Any, fields: dict[str, Any]) -> Any:
    """A name that is not one of the server's, nor another field of the answer."""
    if name not in SERVER_FIELDS:
        return name
    name = f"policy_{name}"
    while name in fields:
        name = f"policy_{name}"
    return name


def _encodable(name: Any, value: Any) -> Any:
    """``value`` as JSON can have it, with NumPy arrays left as they are."""
    try:
        if not isinstance(name, str):
            raise TypeError("its key is not text")
        value = _plain(value)
        json_text.encode(value, json_text.tagged_float, orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, RecursionError) as error:
        raise AnswerError(f"the field {shown(name)} of the answer is nothing that JSON has: {error}") from error
    return value


def _plain(value: Any) -> Any:
    """``value`` with tuples and tensors as lists, and NumPy's arrays and numbers in a form that orjson takes.

    Arrays of numbers stay arrays (copies), so that they can travel as such. What JSON does not have stays as it is.
    """
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not hasattr(value, "tolist"):
        return value
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind not in ("b", "i", "u", "f"):
        return _plain(value.tolist())
    import numpy

    array = numpy.asarray(value)
    if array.ndim == 0:
        # A float32 with its own digits: 0.1, not 0.10000000149011612.
        return float(str(array)) if kind == "f" else array.item()
    dtype = {"f2": numpy.float32, "f8": numpy.float64}.get(f"{kind}{min(array.itemsize, 8)}", array.dtype)
    return numpy.array(array, dtype=numpy.dtype(dtype).newbyteorder("="), order="C")
