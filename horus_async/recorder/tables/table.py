"""What is known about the columns of a table while it is filled, and how it is filled.

A table is begun with the columns of its first rows. Where later rows do not fit them, all is read to its end to find
out what does, and the table is begun anew; so one pass is enough for most sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from .flatten import FIXED, columns_of
from .kinds import Number, Simple, form, merge
from .regular import TypedColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .flatten import Batch, Columns
    from .kinds import Kind


class UnforeseenError(Exception):
    """Rows that do not fit the columns that were found in the rows before them."""


@define
class Table:
    """What is known about the columns of a topic."""

    topic: str
    typed: bool
    """Whether the kinds of its columns matter, and not just their names."""
    columns: dict[str, Kind] = field(factory=dict)
    rows: int = 0
    settled: bool = False
    """Whether rows have been written."""
    formulas: int = 0
    """Cells, names of columns among them, that a spreadsheet would take for formulas."""
    _typed_columns: TypedColumns = field(factory=TypedColumns, init=False)

    def take(self, batch: Batch) -> Columns:
        """Take some messages into account; returns their columns.

        Raises:
            UnforeseenError: They do not fit, and rows were written already.
        """
        kinds: dict[str, Kind] = {}
        if self.typed:
            columns, kinds = self._typed_columns.of(batch)
        else:
            columns = columns_of(batch)
        found = dict.fromkeys([*self.columns, *columns], Simple.EMPTY) | self.columns
        found |= {name: merge(found[name], kind) for name, kind in kinds.items()}
        if self.settled and not self._is_like(found):
            raise UnforeseenError
        self.columns = found
        self.rows += len(batch.ticks)
        return columns

    def _is_like(self, columns: dict[str, Kind]) -> bool:
        return columns.keys() == self.columns.keys() and all(
            form(kind) == form(self.columns[name]) for name, kind in columns.items()
        )


def arrow_table(topic: str, batches: Callable[[], Iterable[Batch]]) -> Any:
    """The ``pyarrow.Table`` of a topic, which a Parquet file of it would hold, too.

    Args:
        topic: Its name.
        batches: Begins to read its messages, twice if need be.
    """
    table = Table(topic, typed=True)
    try:
        return _filled(table, batches())
    except UnforeseenError:
        table = Table(topic, typed=True)
        for batch in batches():
            table.take(batch)
        table.settled = True
        return _filled(table, batches())


def _filled(table: Table, batches: Iterable[Batch]) -> Any:
    import pyarrow as pa

    from .arrow import schema_of, table_of

    parts: list[Any] = []
    for batch in batches:
        columns = table.take(batch)
        if not parts:
            table.settled, kinds = True, dict(table.columns)
            schema = schema_of(kinds)
        parts.append(table_of(columns, len(batch.ticks), kinds, schema))
    if parts:
        return pa.concat_tables(parts)
    return schema_of({name: Simple.TEXT if name == FIXED[-1] else Number(0, 0) for name in FIXED}).empty_table()
