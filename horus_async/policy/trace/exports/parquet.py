"""A corpus as a Parquet table, through ``pyarrow``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from horus_async.errors import TraceError
from horus_async.hints.installed import install
from horus_async.recorder.tables.arrow import column_of, field_of
from horus_async.recorder.tables.kinds import Simple, kind_of

from .corpus import Kind

if TYPE_CHECKING:
    from .corpus import Corpus

_ROWS_A_GROUP = 1024


def need_pyarrow() -> None:
    """Refuse early where the package is missing.

    Raises:
        TraceError: it is.
    """
    try:
        import pyarrow as _  # noqa: F401 - whether it is there
    except ImportError as error:
        raise TraceError(f"writing Parquet needs pyarrow: {install('parquet')}") from error


def write_parquet(corpus: Corpus, stream: BinaryIO) -> None:
    """Write all columns. That of JSON text says so: its metadata has ``json``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields, columns = [], []
    for name, kind, given in corpus.named():
        fixed = _type(name, kind)
        # Arrays of one dimension are lists as they are; those of more would be flat ones.
        cells = [one.tolist() if hasattr(one, "dtype") and one.ndim > 1 else one for one in given]
        found = None if fixed is not None else kind_of(cells)
        field = pa.field(name, fixed) if found is None else field_of(name, found)
        fields.append(field.with_metadata({"json": "true"}) if found is Simple.MIXED else field)
        columns.append((cells, found))
    schema = pa.schema(fields)
    with pq.ParquetWriter(pa.PythonFile(stream, mode="w"), schema) as writer:
        for start in range(0, corpus.count, _ROWS_A_GROUP):
            group = [(cells[start : start + _ROWS_A_GROUP], found) for cells, found in columns]
            arrays = [
                pa.array(cells, field.type) if found is None else column_of(cells, found)
                for field, (cells, found) in zip(fields, group, strict=True)
            ]
            writer.write_table(pa.table(arrays, schema=schema))


def _type(name: str, kind: Kind) -> Any:
    """The type of a column that is always of one; None for others."""
    import pyarrow as pa

    if kind is Kind.IMAGE:
        return pa.binary()
    if kind is Kind.STACK:
        return pa.list_(pa.binary())
    if kind is Kind.FIELD:
        return None
    numbers = pa.list_(pa.float64())
    types = {"seq": pa.int64(), "latency_ms": pa.float64(), "state": numbers, "actions": pa.list_(numbers)}
    return types.get(name, pa.string())
