"""Arrow tables of messages as NumPy arrays and as pandas' data frames. Needs ``pyarrow``; frames need ``pandas``."""

from __future__ import annotations

from typing import Any

import orjson

_EXACT = 2**53


def arrays_of(table: Any) -> dict[str, Any]:
    """A NumPy array for each column of a table; see `TopicMessages.to_numpy`."""
    return {field.name: _array(table.column(field.name).combine_chunks(), field) for field in table.schema}


def frame_of(table: Any) -> Any:
    """The data frame of a table, with the stamps as its index; see `TopicMessages.to_pandas`."""
    import pandas as pd
    import pyarrow as pa

    columns = {field.name: _series(table.column(field.name), field) for field in table.schema}
    stamps = columns.pop("stamp_ns")
    is_time = pa.types.is_int64(table.schema.field("stamp_ns").type)
    index = pd.DatetimeIndex(pd.to_datetime(stamps.to_numpy(), utc=True)) if is_time else pd.Index(stamps)
    return pd.DataFrame(
        {name: column.array for name, column in columns.items()}, index=index.rename("stamp"), copy=False
    )


def _series(column: Any, field: Any) -> Any:
    """A column as a series of pandas'."""
    import pandas as pd
    import pyarrow as pa

    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        return pd.Series(_cells(column.combine_chunks(), field), dtype=object)
    if column.null_count and pa.types.is_boolean(kind):
        return column.to_pandas(types_mapper={kind: pd.BooleanDtype()}.get)
    if column.null_count and pa.types.is_integer(kind):
        nullable = pd.Int64Dtype() if pa.types.is_signed_integer(kind) else pd.UInt64Dtype()
        return column.to_pandas(types_mapper={kind: nullable}.get)
    return column.to_pandas()


def _array(column: Any, field: Any) -> Any:
    """A column as an array of NumPy's."""
    import pyarrow as pa

    kind, rows = field.type, len(column)
    if pa.types.is_fixed_size_list(kind):
        if column.null_count:
            return _cells(column, field)
        return column.flatten().to_numpy(zero_copy_only=False).reshape(rows, *_shape(field))
    if pa.types.is_list(kind):
        length = _one_length(column)
        inner = column.flatten() if length is not None else None
        if inner is not None and length and _is_of_numbers(inner.type) and not inner.null_count:
            return inner.to_numpy(zero_copy_only=False).reshape(rows, length)
        return _objects(column.to_pylist() if inner is not None else column.to_numpy(zero_copy_only=False))
    if column.null_count and pa.types.is_integer(kind) and not _is_exact(column):
        return _objects(column.to_pylist())
    return column.to_numpy(zero_copy_only=False)


def _cells(column: Any, field: Any) -> Any:
    """Arrays of a fixed size, each an object of its shape; None where there is none."""
    shape, size = _shape(field), field.type.list_size
    every = column.values  # noqa: PD011 - Arrow's, with those that are behind nulls
    numbers = every.to_numpy(zero_copy_only=False)[column.offset * size :][: len(column) * size]
    numbers = numbers.reshape(len(column), *shape)
    valid = column.is_valid().to_pylist()
    return _objects([numbers[row] if valid[row] else None for row in range(len(column))])


def _objects(items: Any) -> Any:
    """A one-dimensional array of these objects, also where NumPy would make more dimensions of them."""
    import numpy as np

    found = np.empty(len(items), object)
    for place, item in enumerate(items):
        found[place] = item
    return found


def _shape(field: Any) -> tuple[int, ...]:
    described = (field.metadata or {}).get(b"shape")
    return tuple(orjson.loads(described)) if described is not None else (field.type.list_size,)


def _one_length(column: Any) -> int | None:
    """The length of all lists of a column; None if they differ, or some are missing."""
    import pyarrow.compute as pc

    if column.null_count or not len(column):
        return None
    ends = pc.min_max(pc.list_value_length(column)).as_py()
    return int(ends["min"]) if ends["min"] == ends["max"] else None


def _is_of_numbers(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_exact(column: Any) -> bool:
    """Whether floats hold all these integers."""
    import pyarrow.compute as pc

    ends = pc.min_max(column).as_py()
    return ends["min"] is None or (ends["min"] >= -_EXACT and ends["max"] <= _EXACT)
