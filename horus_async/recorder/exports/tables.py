"""A session as flat tables, one per topic: reading, what columns there are, and which files they go to.

Tables are filled as `recorder.tables.table` says. What cannot be begun anew, a pipe, is written in a second pass.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen

from horus_async.recorder.tables.kinds import Simple, is_of_digits
from horus_async.recorder.tables.stream import session_batches
from horus_async.recorder.tables.table import Table, UnforeseenError

from .output import Appended, Exported, beside, check_found, is_stream, settle, some_of, too_many, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from horus_async.recorder.messages import Progress
    from horus_async.recorder.read.session import Session
    from horus_async.recorder.tables.flatten import Batch, Columns

_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")
_NAME_LIMIT = 245
"""Bytes of a file's name, which leaves room for what tells two apart, as ``_2``."""


class Writer(Protocol):
    """Writes the rows of one table."""

    def write(self, columns: Columns, rows: int) -> None:
        """Write some rows, which fit the table; it may have columns that they lack."""

    def close(self) -> None:
        """Write what comes after them."""


@frozen
class TableFormat:
    """How tables are written."""

    writer: Callable[[Any, Table], Writer] | None
    """Begins a table in a stream; None if nothing is to be written."""
    typed: bool = False
    """Whether columns have types."""


@define
class Rows:
    """The rows of a table on their way to a stream, some at a time."""

    format: TableFormat
    table: Table
    stream: Any
    _writer: Writer | None = field(default=None, init=False)

    def add(self, batch: Batch) -> None:
        """Add some messages.

        Raises:
            UnforeseenError: See `Table.take`.
        """
        columns, rows = self.table.take(batch), len(batch.ticks)
        if self.format.writer is None:
            return
        if self._writer is None:
            self.table.settled = True
            self._writer = self.format.writer(self.stream, self.table)
        self._writer.write(columns, rows)

    def close(self) -> None:
        """Write the end."""
        if self._writer is not None:
            self._writer.close()


def export_tables(
    form: TableFormat,
    session: Session,
    output: Path,
    *,
    topics: Collection[str] = (),
    progress: Progress | None = None,
) -> Exported:
    """Write a table per topic.

    Raises:
        RecordingError: There is nothing to write, or it cannot be written.
        BrokenPipeError: Nobody reads the pipe any more.
    """
    job = _Job(form, session, topics, progress)
    if is_stream(output):
        tables = job.survey()
        if len(tables) > 1:
            raise too_many(output, tables)
        with writing(output) as stream:
            (table,) = tables.values()
            job.write({table.topic: Rows(form, table, stream)}.__getitem__)
    else:
        try:
            tables = job.write_files(output, {})
        except UnforeseenError:
            tables = job.write_files(output, job.survey())
    paths = table_paths(output, [*tables])
    notes = [note for table in tables.values() for note in _notes(table)]
    return Exported({paths[name]: table.rows for name, table in tables.items()}, notes)


def table_paths(output: Path, topics: list[str]) -> dict[str, Path]:
    """The file of each topic; no two share one."""
    if len(topics) == 1:
        return {topics[0]: output}
    found: dict[str, Path] = {}
    taken: set[str] = set()
    room = max(_NAME_LIMIT - len(os.fsencode(f".{output.name}")), 1)
    for topic in topics:
        name = _UNSAFE.sub("_", topic)[:room]
        path = output.with_name(f"{output.stem}.{name}{output.suffix}")
        number = 2
        while path.name.lower() in taken:  # some file systems do not tell A from a
            path = output.with_name(f"{output.stem}.{name}_{number}{output.suffix}")
            number += 1
        taken.add(path.name.lower())
        found[topic] = path
    return found


@frozen
class _Job:
    """Which messages become tables, and how."""

    form: TableFormat
    session: Session
    topics: Collection[str]
    progress: Progress | None

    def survey(self) -> dict[str, Table]:
        """The tables of the topics, known to their ends; nothing is written."""
        nothing = TableFormat(None, self.form.typed)
        tables: dict[str, Table] = {}

        def rows_of(topic: str) -> Rows:
            table = tables[topic] = Table(topic, self.form.typed)
            return Rows(nothing, table, None)

        self.write(rows_of)
        for table in tables.values():
            table.settled, table.rows = True, 0
        return tables

    def write_files(self, output: Path, tables: dict[str, Table]) -> dict[str, Table]:
        """Write the tables, of whose columns ``tables`` may know; returns them in the order of their first messages."""
        parts: dict[str, Path] = {}
        found: dict[str, Table] = {}
        with ExitStack() as stack:

            def rows_of(topic: str) -> Rows:
                parts[topic] = stack.enter_context(beside(output, len(parts)))
                stream = Appended(parts[topic], output)
                stack.callback(stream.close)
                found[topic] = tables.get(topic) or Table(topic, self.form.typed)
                return Rows(self.form, found[topic], stream)

            self.write(rows_of)
            for topic, path in table_paths(output, [*found]).items():
                settle(parts[topic], path)
        return found

    def write(self, rows_of: Callable[[str], Rows]) -> None:
        """Give every message to the rows of its topic, which ``rows_of`` makes."""
        rows: dict[str, Rows] = {}
        for topic, batch in session_batches(self.session, self.topics, self.progress):
            mine = rows.get(topic)
            if mine is None:
                mine = rows[topic] = rows_of(topic)
            mine.add(batch)
        check_found(self.session, self.topics, rows)
        for mine in rows.values():
            mine.close()


def _notes(table: Table) -> Iterator[str]:
    mixed = [name for name, kind in table.columns.items() if kind is Simple.MIXED]
    large = [name for name, kind in table.columns.items() if is_of_digits(kind)]
    if table.formulas:
        cells = "1 cell begins" if table.formulas == 1 else f"{table.formulas} cells begin"
        yield f"topic {table.topic}: {cells} with = + - or @: open the file in a spreadsheet as text, not as formulas"
    for names, how, why in (
        (mixed, "JSON text", "they hold dicts or values of several kinds"),
        (large, "text", "they hold integers beyond 64 bits, or beyond 53 bits beside floats"),
    ):
        if names:
            yield f"topic {table.topic}: these columns are {how}, as {why}: {some_of(names)}"
