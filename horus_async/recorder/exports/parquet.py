"""A session as Parquet tables, one per topic, through ``pyarrow``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from horus_async.recorder.tables.arrow import schema_of, table_of
from horus_async.recorder.tables.kinds import Array, Lists

from .output import need
from .tables import TableFormat, export_tables

if TYPE_CHECKING:
    from collections.abc import Collection
    from concurrent.futures import Future
    from pathlib import Path

    from horus_async.recorder.messages import Progress
    from horus_async.recorder.read.session import Session
    from horus_async.recorder.tables.flatten import Columns
    from horus_async.recorder.tables.kinds import Kind
    from horus_async.recorder.tables.table import Table

    from .output import Exported


def export_parquet(
    session: Session, output: Path, *, topics: Collection[str] = (), progress: Progress | None = None
) -> Exported:
    """Write a table per topic.

    Raises:
        RecordingError: There is nothing to write, it cannot be written, or the package ``pyarrow`` is missing.
        BrokenPipeError: Nobody reads the pipe any more.
    """
    try:
        import pyarrow as _  # noqa: F401 - whether it is there, before anything is read
    except ImportError:
        raise need("pyarrow", "parquet", "--format parquet") from None
    with ThreadPoolExecutor(1, "parquet") as thread:
        form = TableFormat(lambda stream, table: _Parquet(stream, table, thread), typed=True)
        return export_tables(form, session, output, topics=topics, progress=progress)


class _Parquet:
    """A Parquet file.

    Rows are packed in a thread while the next ones are read, as packing arrays takes as long as reading them and needs
    no interpreter.
    """

    def __init__(self, stream: Any, table: Table, thread: ThreadPoolExecutor) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._kinds = dict(table.columns)
        self._schema = schema_of(self._kinds)
        self._thread = thread
        self._running: Future[None] | None = None
        self._writer = pq.ParquetWriter(
            pa.PythonFile(stream, mode="w"), self._schema, compression="snappy", **_encodings(self._kinds)
        )

    def write(self, columns: Columns, rows: int) -> None:
        """Write some rows, at the latest before the next ones."""
        table = table_of(columns, rows, self._kinds, self._schema)
        self._wait()
        self._running = self._thread.submit(self._writer.write_table, table)

    def close(self) -> None:
        """Write what is left."""
        self._wait()
        self._writer.close()

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()


def _encodings(kinds: dict[str, Kind]) -> dict[str, Any]:
    """How columns are encoded: arrays of numbers repeat themselves too seldom for a dictionary.

    Parquet keeps elements of 8 and 16 bits as 32: with their bytes apart the zeros take no room, and half the time.
    """
    flat = {name: 1 if kind.fixed_size else kind.dimensions for name, kind in kinds.items() if isinstance(kind, Array)}
    paths = {name: name + ".list.element" * depth for name, depth in flat.items()}
    others = [name + ".list.element" * _depth(kind) for name, kind in kinds.items() if name not in paths]
    small = [path for name, path in paths.items() if _is_small(kinds[name])]
    return {
        "use_dictionary": others,
        "write_statistics": others,
        "column_encoding": dict.fromkeys(small, "BYTE_STREAM_SPLIT") or None,
    }


def _depth(kind: Kind) -> int:
    return 1 + _depth(kind.item) if isinstance(kind, Lists) else 0


def _is_small(kind: Kind) -> bool:
    return isinstance(kind, Array) and kind.dtype.kind in "iu" and kind.dtype.itemsize < 4
