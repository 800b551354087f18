"""What a policy's answer must look like, and what is made of it.

Actions are rows of numbers, steps x dimensions: lists, tuples, NumPy arrays, tensors. A flat list is one row; leading
dimensions of 1 are a batch and go. In a dict they are ``actions`` (or LeRobot's ``action``), or GR00T's parts
``action.<name>``, which become the columns in the dict's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import Factory, field, frozen

from horus_async.errors import PolicyError

from .jsontext import decode, encode, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy

BLOCKS = ("cache", "denoise", "guard", "deadline", "rtc")
"""Parts of an answer that are fields of their own in a trace line."""

SERVER_FIELDS = frozenset({
    "actions", "num_actions", "action_dim", "latency_ms", "request_id", "model_hash", "config_hash", "horus_version",
    "seq", "error", "message", "server_timing", "action_parts",
})  # fmt: skip
"""What the server says itself. A policy's key of such a name is passed on as ``policy_<name>``."""

_PART = "action."
_NUMBER_CHARACTERS = b"0123456789+-.eE,[]"
_NARROW = ("float16", "bfloat16", "float32")


@frozen
class Answer:
    """A policy's answer, checked and already encoded as JSON, so that it is encoded only once.

    ``actions`` are the rows as the policy gave them, a NumPy array or lists; ``actions_json`` has the digits of their
    dtype, so that a float32 read as float32 is the same.
    """

    actions_json: bytes
    num_actions: int
    action_dim: int
    blocks: Mapping[str, Any] = Factory(dict)
    stages: Mapping[str, Any] | None = None
    mode: str | None = None
    extras: Mapping[str, Any] = Factory(dict)
    actions: Any = field(default=Factory(lambda self: decode(self.actions_json), takes_self=True), eq=False, repr=False)


class AnswerError(PolicyError):
    """A policy answered with something that is not a chunk of actions.

    ``answer`` holds the actions nevertheless if they were rows of numbers, but not all finite.
    """

    def __init__(self, message: str, slug: str = "bad-actions", answer: Answer | None = None) -> None:
        super().__init__(message)
        self.slug = slug
        self.answer = answer


def answer_of(result: Any) -> Answer:
    """Check and encode what a policy returned.

    Raises:
        AnswerError: not rows of equal length of finite numbers, or something in it that JSON cannot hold.
    """
    fields: dict[str, Any] = {}
    parts: dict[str, int] = {}
    actions = result
    if isinstance(result, dict):
        fields = dict(result)
        actions, parts = _taken(fields)
    rows, encoded, dim = _list_rows(actions) if isinstance(actions, list | tuple) else _array_rows(actions)
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
    return _joined({name.removeprefix(_PART): _array(fields.pop(name), name) for name in names})


def _joined(parts: dict[str, numpy.ndarray]) -> tuple[numpy.ndarray, dict[str, int]]:
    """Parts side by side, and their widths. Beside parts with several steps, a flat one is a column of as many."""
    import numpy

    steps = max(len(part) if part.ndim == 2 else 1 for part in parts.values())
    columns = {
        name: part.reshape(-1, 1) if steps > 1 and part.size == steps and len(part) in (1, part.size) else part
        for name, part in parts.items()
    }
    columns = {name: part[None] if part.ndim == 1 else part for name, part in columns.items()}
    if len({len(part) for part in columns.values()}) > 1:
        counts = {name: len(part) for name, part in columns.items()}
        raise AnswerError(f"the parts of the actions need the same number of steps, not {counts}")
    joined = numpy.concatenate(list(columns.values()), axis=1)
    return joined, {name: part.shape[1] for name, part in columns.items()}


def _list_rows(actions: list[Any] | tuple[Any, ...]) -> tuple[Any, bytes, int]:
    """Rows in plain lists, as JSON, and their width. The characters of the text show whether all are finite numbers."""
    rows: list[Any] | tuple[Any, ...] = actions
    while len(rows) == 1 and isinstance(rows[0], list | tuple) and rows[0] and isinstance(rows[0][0], list | tuple):
        rows = rows[0]
    if not rows:
        raise AnswerError("the policy returned no rows of actions, but an empty list")
    rows = list(rows) if isinstance(rows[0], list | tuple) else [list(rows)]
    try:
        encoded = orjson.dumps(rows)
    except TypeError:
        # Arrays, tensors or NumPy numbers in lists; what else it may be, the array tells.
        return _array_rows(actions)
    try:
        dims = set(map(len, rows))
    except TypeError:
        dims = set()
    if encoded.translate(None, _NUMBER_CHARACTERS) or encoded.count(b"[") != len(rows) + 1:
        _refuse(rows, dims)
    if len(dims) != 1 or dims == {0}:
        raise AnswerError(f"all rows of actions need the same number of values, not {sorted(dims)}")
    return rows, encoded, dims.pop()


def _refuse(rows: list[Any], dims: set[int]) -> None:
    values = [value for row in rows for value in row] if all(isinstance(row, list | tuple) for row in rows) else rows
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AnswerError(f"actions must be rows of numbers, not {_shown(value)}")
    if len(dims) == 1:
        _refuse_infinite(rows, dims.pop())


def _refuse_infinite(rows: list[Any], dim: int) -> None:
    answer = Answer(encode(rows), len(rows), dim, actions=rows)
    raise AnswerError("the actions hold NaN or infinity; no robot can follow them", "non-finite-actions", answer)


def _array_rows(actions: Any) -> tuple[numpy.ndarray, bytes, int]:
    """The rows in an array, a tensor, or lists of them; as JSON with the digits of their dtype; their width."""
    import numpy

    array = _array(actions, "actions")
    rows = array[None] if array.ndim == 1 else array
    if not numpy.isfinite(rows).all():
        _refuse_infinite(rows.tolist(), rows.shape[1])
    shown = rows.astype(numpy.float32) if rows.dtype == numpy.float16 else rows
    return rows, orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY), rows.shape[1]


def _array(value: Any, name: str) -> numpy.ndarray:
    """Numbers as an array of one or two dimensions, a copy: a policy may write its next answer into the same memory.

    Raises:
        AnswerError: something else, or several chunks.
    """
    if not isinstance(value, list | tuple) and not hasattr(value, "tolist"):
        raise AnswerError(f"{name} must be rows of numbers, not {_shown(value)}")
    import numpy

    try:
        array = numpy.asarray(_without_tensors(value))
    except ValueError as error:
        raise AnswerError(f"all rows of {name} need the same number of values") from error
    if array.dtype.kind not in "iuf":
        raise AnswerError(f"{name} must be rows of numbers, not of {array.dtype}")
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim not in (1, 2) or 0 in array.shape:
        shape = " x ".join(map(str, array.shape)) or "a single number"
        raise AnswerError(f"{name} must be rows of numbers, steps x dimensions for one observation, not {shape}")
    dtype = numpy.dtype(numpy.float64) if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    return numpy.array(array, dtype=dtype, order="C")


def _without_tensors(value: Any) -> Any:
    """``value`` with other libraries' tensors as NumPy arrays, or as lists if they do not say their dtype."""
    import numpy

    if isinstance(value, list | tuple):
        return [_without_tensors(item) for item in value]
    if isinstance(value, numpy.ndarray | numpy.generic) or not hasattr(value, "tolist"):
        return value
    narrow = str(getattr(value, "dtype", "")).rpartition(".")[2] in _NARROW
    return numpy.asarray(value.tolist(), dtype=numpy.float32) if narrow else value.tolist()


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
        raise AnswerError(f"'mode' of an answer must be text, not {_shown(mode)}")
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
        value = plain(value)
        encode(value)
    except (TypeError, RecursionError) as error:
        raise AnswerError(f"the field {_shown(name)} of the answer is nothing that JSON has: {error}") from error
    return value


def _shown(value: Any) -> str:
    """``value`` in a message: numbers and short texts as they are, of anything else what it is."""
    if value is None or isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 20 else f"{text[:17]}..."
    return f"a {type(value).__name__}"
