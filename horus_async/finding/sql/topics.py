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
from horus_async.recorder.exports.arrow import column_of, field_of
from horus_async.recorder.exports.flatten import row_of
from horus_async.recorder.exports.tables import Rows, Table, TableFormat, UnforeseenError
from horus_async.recorder.messages import session_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.recorder.read.session import Session

    Row = dict[str, Any]

SESSION = "session"
"""The first column: the session's name."""


def message_rows(name: str, session: Session, topic: str, progress: Callable[[int], None] | None) -> Iterator[Row]:
    """The messages of a topic as rows of its table."""
    for message in session_messages(session, {topic}, progress):
        row = row_of(message)
        if SESSION in row:  # a field that is called so
            place = f"data.{SESSION}"
            while place in row:
                place = f"data.{place}"
            row[place] = row.pop(SESSION)
        yield {SESSION: name, **row}


def arrow_table(rows: Callable[[], Iterable[Row]], columns: Iterable[str] = ()) -> Any:
    """The Arrow table of some rows, of whose columns each has one type. None if there are no rows and no columns.

    Args:
        rows: Gives them anew each time: where a late one does not fit the types of the first ones, they are read twice.
        columns: Those of a table without rows.

    Raises:
        RecordingError: There is no room on the disk for them.
    """
    form = TableFormat(_Spool, typed=True)
    try:
        try:
            spool = _spooled(form, Table("", typed=True), rows)
        except UnforeseenError:
            survey = Table("", typed=True)
            _fill(Rows(TableFormat(None, typed=True), survey, None), rows)
            survey.settled = True
            spool = _spooled(form, survey, rows)
    except OSError as error:
        raise RecordingError(
            f"there is no room for the tables in {tempfile.gettempdir()}: {why(error)}; set TMPDIR to another folder"
        ) from error
    return _empty(list(columns)) if spool is None else spool.table


@define
class _Holder:
    """What `Rows` takes for the stream: where the writer is put."""

    spool: _Spool | None = None


def _spooled(form: TableFormat, table: Table, rows: Callable[[], Iterable[Row]]) -> _Spool | None:
    holder = _Holder()
    try:
        _fill(Rows(form, table, holder), rows)
    except BaseException:
        if holder.spool is not None:
            holder.spool.drop()
        raise
    return holder.spool


def _fill(into: Rows, rows: Callable[[], Iterable[Row]]) -> None:
    for row in rows():
        into.add(row)
    into.close()


class _Spool:
    """Writes batches into a file that has no name, and maps it: the system takes its pages back as it likes."""

    def __init__(self, holder: _Holder, table: Table) -> None:
        import pyarrow as pa

        self._kinds = dict(table.columns)
        self._schema = pa.schema([_of_any_length(field_of(name, kind)) for name, kind in self._kinds.items()])
        self._file = tempfile.TemporaryFile(prefix="horus-sql-")  # noqa: SIM115 - as long as its table
        self._sink = pa.PythonFile(self._file, mode="w")
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        holder.spool = self
        self.table: Any = None

    def write(self, rows: list[Row]) -> None:
        """Write some rows."""
        import pyarrow as pa

        columns = [column_of([row.get(name) for row in rows], kind) for name, kind in self._kinds.items()]
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
