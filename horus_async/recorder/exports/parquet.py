"""A session as Parquet tables, one per topic, through ``pyarrow``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .output import need
from .tables import Table, export_tables, json_text

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder.read.messages import Progress
    from horus_async.recorder.read.session import Session

    Row = dict[str, Any]

_ROWS = 4096
"""Rows written at a time."""


def export_parquet(
    session: Session, output: Path, *, topic: str | None = None, progress: Progress | None = None
) -> dict[Path, int]:
    """Write a table per topic; returns the files and how many rows each holds.

    Raises:
        RecordingError: There is nothing to write, it cannot be written, or the package ``pyarrow`` is missing.
    """
    try:
        import pyarrow as _  # noqa: F401 - whether it is there, before anything is read
    except ImportError:
        raise need("pyarrow", "parquet", "--format parquet") from None
    return export_tables(_Parquet, session, output, topic=topic, progress=progress)


class _Parquet:
    """A Parquet file; a column with values of several types is JSON text."""

    def __init__(self, path: Path, table: Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa = pa
        self._kinds = {column: _parquet_kind(kinds) for column, kinds in table.columns.items()}
        types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
        self._schema = pa.schema(
            [pa.field(column, types.get(kind or str, pa.string())) for column, kind in self._kinds.items()]
        )
        self._writer = pq.ParquetWriter(str(path), self._schema)
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS:
            self._flush()

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = {
            column: [_parquet_value(row.get(column), kind) for row in self._rows]
            for column, kind in self._kinds.items()
        }
        self._rows = []
        self._writer.write_table(self._pa.table(columns, schema=self._schema))


def _parquet_value(value: Any, kind: type | None) -> Any:
    if value is None or kind is None:
        return None if value is None else json_text(value).decode()
    return float(value) if kind is float else value


def _parquet_kind(kinds: set[type]) -> type | None:
    """The type of a column; None where that is JSON text."""
    kinds = kinds - {type(None)}
    if kinds == {int, float}:
        return float
    if len(kinds) == 1 and kinds <= {int, float, bool, str}:
        return next(iter(kinds))
    return str if not kinds else None
