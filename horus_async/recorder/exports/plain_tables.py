"""Tables as text: CSV and JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.recorder.tables.text import csv_line, is_formula, json_text

from .tables import TableFormat

if TYPE_CHECKING:
    from horus_async.recorder.tables.flatten import Columns
    from horus_async.recorder.tables.table import Table


class _Csv:
    """Comma-separated values under a line of column names.

    Cells are the very values, also where a spreadsheet would take a text for a formula: how many is said.
    """

    def __init__(self, stream: Any, table: Table) -> None:
        self._stream = stream
        self._table = table
        self._columns = [*table.columns]
        table.formulas = sum(map(is_formula, self._columns))
        stream.write(csv_line(self._columns))

    def write(self, columns: Columns, rows: int) -> None:
        """Write some rows."""
        nothing = (None,) * rows
        lines = list(zip(*(columns.get(column, nothing) for column in self._columns), strict=True))
        self._table.formulas += sum(is_formula(cell) for line in lines for cell in line)
        self._stream.write(b"".join(map(csv_line, lines)))

    def close(self) -> None:
        """Nothing."""


class _JsonLines:
    """One object per line; each has every column, null where a message has no such field."""

    def __init__(self, stream: Any, table: Table) -> None:
        self._stream = stream
        self._columns = [*table.columns]

    def write(self, columns: Columns, rows: int) -> None:
        """Write some rows."""
        nothing = (None,) * rows
        lines = zip(*(columns.get(column, nothing) for column in self._columns), strict=True)
        self._stream.write(b"".join([json_text(dict(zip(self._columns, line, strict=True))) + b"\n" for line in lines]))

    def close(self) -> None:
        """Nothing."""


CSV = TableFormat(_Csv)
JSON_LINES = TableFormat(_JsonLines)
