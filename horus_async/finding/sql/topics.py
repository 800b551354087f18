"""Tables as Arrow has them, of many sessions: their rows wait in a file without a name, not in memory.

The one place that knows how messages become Arrow columns, by the same modules as an export to Parquet.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async.errors import RecordingError
from horus_async.limits.open_files import why
from horus_async.recorder.tables.arrow import column_of, field_of
from horus_async.recorder.tables.flatten import columns_of
from horus_async.recorder.tables.kinds import Simple, form, kind_of, merge
from horus_async.recorder.tables.stream import topic_batches
from horus_async.recorder.tables.table import UnforeseenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from horus_async.recorder.read.session import Session
    from horus_async.recorder.tables.kinds import Kind

    Row = dict[str, Any]
    Columns = dict[str, list[Any]]
    Kinds = dict[str, Kind]

SESSION = "session"
"""The first column: the session's name."""
_ROWS, _BYTES = 4096, 16 << 20
"""So many rows, or so much of them, are held at once."""


def message_rows(name: str, session: Session, topic: str, progress: Callable[[int], None] | None) -> Iterator[Row]:
    """The messages of a topic as rows of its table."""
    count = 0
    for batch in topic_batches(session, topic):
        columns = columns_of(batch)
        names = [SESSION, *(_beside(column, columns) for column in columns)]
        for row in zip(*columns.values(), strict=True):
            yield dict(zip(names, (name, *row), strict=True))
        count += len(batch.ticks)
        if progress is not None:
            progress(count)


def _beside(column: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """What a column is called beside the first one: a field may be called so."""
    if column == SESSION:
        column = f"data.{SESSION}"
        while column in columns:
            column = f"data.{column}"
    return column


def arrow_table(rows: Callable[[], Iterable[Row]], columns: Iterable[str] = ()) -> Any:
    """The Arrow table of some rows, of whose columns each has one type. None if there are no rows and no columns.

    Args:
        rows: Gives them anew each time: where a late one does not fit the types of the first ones, they are read twice.
        columns: Those of a table without rows.

    Raises:
        RecordingError: There is no room on the disk for them.
    """
    try:
        try:
            spool = _spooled(rows, {})
        except UnforeseenError:
            kinds: Kinds = {}
            for piece in _pieces(rows()):
                kinds = _merged(kinds, piece)
            spool = _spooled(rows, kinds)
    except OSError as error:
        raise RecordingError(
            f"there is no room for the tables in {tempfile.gettempdir()}: {why(error)}; set TMPDIR to another folder"
        ) from error
    return _empty(list(columns)) if spool is None else spool.table


def _spooled(rows: Callable[[], Iterable[Row]], kinds: Kinds) -> _Spool | None:
    """All rows, in columns of these kinds, or of those of the first rows; None if there are none.

    Raises:
        UnforeseenError: Later rows do not fit these.
    """
    spool: _Spool | None = None
    try:
        for piece in _pieces(rows()):
            found = _merged(kinds, piece)
            if spool is None:
                kinds, spool = found, _Spool(found)
            elif found.keys() != kinds.keys() or any(form(found[name]) != form(kinds[name]) for name in kinds):
                raise UnforeseenError
            spool.write(piece)
        if spool is not None:
            spool.close()
    except BaseException:
        if spool is not None:
            spool.drop()
        raise
    return spool


def _merged(kinds: Kinds, piece: Columns) -> Kinds:
    return kinds | {name: merge(kinds.get(name, Simple.EMPTY), kind_of(cells)) for name, cells in piece.items()}


def _pieces(rows: Iterable[Row]) -> Iterator[Columns]:
    """Some rows at a time, as columns."""
    held: list[Row] = []
    weight = 0
    for row in rows:
        held.append(row)
        weight += sum(map(_weight, row.values()))
        if len(held) >= _ROWS or weight >= _BYTES:
            yield _columns(held)
            held, weight = [], 0
    if held:
        yield _columns(held)


def _columns(rows: list[Row]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _weight(cell: Any) -> int:
    """About how many bytes a cell takes."""
    if isinstance(cell, str | bytes):
        return len(cell)
    if isinstance(cell, list):
        return sum(map(_weight, cell)) + 8 * len(cell)
    return int(getattr(cell, "nbytes", 8))


class _Spool:
    """Writes batches into a file that has no name, and maps it: the system takes its pages back as it likes."""

    def __init__(self, kinds: Kinds) -> None:
        import pyarrow as pa

        self._kinds = kinds
        self._schema = pa.schema([_of_any_length(field_of(name, kind)) for name, kind in self._kinds.items()])
        self._file = tempfile.TemporaryFile(prefix="horus-sql-")  # noqa: SIM115 - as long as its table
        self._sink = pa.PythonFile(self._file, mode="w")
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        self.table: Any = None

    def write(self, piece: Columns) -> None:
        """Write some rows."""
        import pyarrow as pa

        rows = len(next(iter(piece.values())))
        columns = [column_of(piece.get(name, [None] * rows), kind) for name, kind in self._kinds.items()]
        fitting = [column.cast(one.type) for column, one in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.table(fitting, schema=self._schema))

    def drop(self) -> None:
        """Forget what was written."""
        with suppress(OSError):
            self._writer.close()
        self._file.close()

    def close(self) -> None:
        """Make the table of what was written."""
        import mmap

        import pyarrow as pa

        self._writer.close()
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._file.close()
        self.table = pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


def _of_any_length(one: Any) -> Any:
    """Of a list of fixed size DuckDB makes room for 2,048 at a time, be they images."""
    import pyarrow as pa

    return one.with_type(pa.list_(one.type.value_field)) if pa.types.is_fixed_size_list(one.type) else one


def _empty(columns: list[str]) -> Any:
    import pyarrow as pa

    return pa.table({name: pa.array([], pa.string()) for name in columns})


@define
class Progress:
    """Adds up what is read of several sessions."""

    report: Callable[[int], None]
    before: int = 0
    _now: int = field(default=0, init=False)

    def see(self, count: int) -> None:
        """So many of the present one were read."""
        self._now = count
        self.report(self.before + count)

    def next(self) -> None:
        """Another one begins."""
        self.before += self._now
        self._now = 0
