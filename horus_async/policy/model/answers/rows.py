"""Actions as rows of numbers, from lists, arrays and other libraries' tensors, and as JSON with their own digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from horus_async import json_text

from .answer import Answer, AnswerError, shown

if TYPE_CHECKING:
    import numpy

_NUMBER_CHARACTERS = b"0123456789+-.eE,[]"
_MOST_BATCHES = 8
_NARROW = ("float16", "bfloat16", "float32")


def rows_of(actions: Any) -> tuple[Any, bytes, int]:
    """The rows, steps x dimensions, which nobody else writes to; as JSON with the digits of their dtype; their width.

    Raises:
        AnswerError: they are not rows of equal length of finite numbers.
    """
    return _list_rows(actions) if isinstance(actions, list | tuple) else _array_rows(actions)


def joined(parts: dict[str, numpy.ndarray]) -> tuple[numpy.ndarray, dict[str, int]]:
    """Parts side by side, and their widths. Beside parts with several steps, a flat one is a column of as many.

    Raises:
        AnswerError: they differ in their number of steps.
    """
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
    for _ in range(_MOST_BATCHES):
        if len(rows) == 1 and isinstance(rows[0], list | tuple) and rows[0] and isinstance(rows[0][0], list | tuple):
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
    return [list(row) for row in rows], encoded, dims.pop()


def _refuse(rows: list[Any], dims: set[int]) -> None:
    values = [value for row in rows for value in row] if all(isinstance(row, list | tuple) for row in rows) else rows
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AnswerError(f"actions must be rows of numbers, not {shown(value)}")
    if len(dims) == 1:
        _refuse_infinite(rows, dims.pop())


def _refuse_infinite(rows: list[Any], dim: int) -> None:
    answer = Answer(json_text.encode(rows, json_text.tagged_float), len(rows), dim, actions=rows)
    raise AnswerError("the actions hold NaN or infinity; no robot can follow them", "non-finite-actions", answer)


def _array_rows(actions: Any) -> tuple[numpy.ndarray, bytes, int]:
    """The rows in an array, a tensor, or lists of them; as JSON with the digits of their dtype; their width."""
    import numpy

    array = numbers(actions, "actions")
    rows = array[None] if array.ndim == 1 else array
    if not numpy.isfinite(rows).all():
        _refuse_infinite(rows.tolist(), rows.shape[1])
    shown = rows.astype(numpy.float32) if rows.dtype == numpy.float16 else rows
    return rows, orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY), rows.shape[1]


def numbers(value: Any, name: str) -> numpy.ndarray:
    """Numbers as an array of one or two dimensions, a copy: a policy may write its next answer into the same memory.

    Raises:
        AnswerError: something else, or several chunks.
    """
    if not isinstance(value, list | tuple) and not hasattr(value, "tolist"):
        raise AnswerError(f"{name} must be rows of numbers, not {shown(value)}")
    import numpy

    try:
        array = numpy.asarray(_without_tensors(value))
    except (ValueError, RecursionError) as error:
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
