"""Cells as Arrow columns, by their kind. Needs ``pyarrow``."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import orjson

from .kinds import Array, Lists, Number, NumberType, Simple, is_of_digits
from .text import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .kinds import Kind

_AS_THEY_ARE = (Simple.EMPTY, Simple.BOOL, Simple.TEXT)
_LARGE = 1 << 16
"""Bytes of an array from which it is a piece of its own."""


def field_of(name: str, kind: Kind) -> Any:
    """The Arrow field of a column; that of an array says its ``shape`` and ``dtype``."""
    import pyarrow as pa

    if not isinstance(kind, Array):
        return pa.field(name, type_of(kind))
    described = {"dtype": kind.dtype.name}
    if kind.shape is not None:
        described["shape"] = orjson.dumps(kind.shape).decode()
    return pa.field(name, _array_type(kind), metadata=described)


def schema_of(kinds: Mapping[str, Kind]) -> Any:
    """The Arrow schema of some columns."""
    import pyarrow as pa

    return pa.schema([field_of(name, kind) for name, kind in kinds.items()])


def table_of(columns: Mapping[str, Sequence[Any]], rows: int, kinds: Mapping[str, Kind], schema: Any) -> Any:
    """The Arrow table of some rows, whose columns are among those of ``kinds``."""
    import pyarrow as pa

    nothing = [None] * rows
    return pa.table([column_of(columns.get(name, nothing), kind) for name, kind in kinds.items()], schema=schema)


def column_of(cells: Sequence[Any], kind: Kind) -> Any:
    """The Arrow array of some cells, which may be one already."""
    import pyarrow as pa

    if isinstance(cells, pa.Array):
        return cells
    if isinstance(kind, Array):
        return _fixed(cells, kind) if kind.fixed_size else _nested(cells, kind)
    if kind in _AS_THEY_ARE or (isinstance(kind, Number) and kind.type is not NumberType.TEXT):
        return pa.array(cells, type_of(kind))
    return pa.array([None if cell is None else _converted(cell, kind) for cell in cells], type_of(kind))


def type_of(kind: Kind) -> Any:
    """The Arrow type of a column that is none of arrays."""
    import pyarrow as pa

    if isinstance(kind, Lists):
        return pa.list_(pa.field("element", type_of(kind.item)))
    if isinstance(kind, Number) and kind.type is not NumberType.TEXT:
        return pa.type_for_alias(kind.type.value)
    return pa.bool_() if kind is Simple.BOOL else pa.string()


def _array_type(kind: Array) -> Any:
    """One flat list of a fixed size where the shape is always the same, else a list in lists for each dimension."""
    import pyarrow as pa

    inner = pa.from_numpy_dtype(kind.dtype)
    if kind.fixed_size:
        return pa.list_(pa.field("element", inner, nullable=False), kind.fixed_size)
    for _ in range(kind.dimensions):
        inner = pa.list_(pa.field("element", inner, nullable=False))
    return inner


def _fixed(cells: Sequence[Any], kind: Array) -> Any:
    import numpy as np
    import pyarrow as pa

    if kind.fixed_size and kind.fixed_size * kind.dtype.itemsize >= _LARGE and len(cells) > 1:
        return pa.chunked_array([_fixed([cell], kind) for cell in cells])  # what is large is not copied together
    missing = [cell is None for cell in cells]
    blank = np.zeros(kind.shape or (), kind.dtype)
    rows = [blank if cell is None else cell for cell in cells]
    flat = np.concatenate([row.reshape(-1) for row in rows], dtype=kind.dtype) if len(rows) > 1 else rows[0].reshape(-1)
    flat = flat.astype(kind.dtype, copy=False)
    mask = pa.array(missing) if any(missing) else None
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=_array_type(kind), mask=mask)


def _nested(cells: Sequence[Any], kind: Array) -> Any:
    """A list in lists for each dimension, made from the lengths of the lists at each depth."""
    import numpy as np
    import pyarrow as pa

    present = [cell for cell in cells if cell is not None]
    array = pa.array(np.concatenate([np.zeros(0, kind.dtype), *(cell.reshape(-1) for cell in present)]))
    for depth in range(kind.dimensions - 1, 0, -1):
        lengths = np.concatenate([np.full(prod(cell.shape[:depth]), cell.shape[depth], "i8") for cell in present])
        array = _lists(array, np.concatenate(([0], np.cumsum(lengths))))
    sizes = [0 if cell is None else cell.shape[0] for cell in cells]
    missing = [cell is None for cell in cells]
    return _lists(array, np.concatenate(([0], np.cumsum(sizes))), missing if any(missing) else None)


def _lists(values: Any, offsets: Any, missing: list[bool] | None = None) -> Any:
    import pyarrow as pa

    kind = pa.list_(pa.field("element", values.type, nullable=False))
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), values, type=kind, mask=None if missing is None else pa.array(missing)
    )


def _converted(cell: Any, kind: Kind) -> Any:
    """What Arrow makes the right value of; the cell is not None."""
    if isinstance(kind, Lists):
        items = cell.tolist() if hasattr(cell, "dtype") else cell
        if isinstance(kind.item, Lists) or is_of_digits(kind.item):
            return [None if item is None else _converted(item, kind.item) for item in items]
        return items
    if kind is Simple.MIXED:
        return json_text(cell).decode()
    return str(cell) if is_of_digits(kind) else cell
