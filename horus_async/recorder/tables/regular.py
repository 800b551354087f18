"""Columns of messages that are all alike, read from their text by Arrow without an object for each value.

Most topics are of one class, whose fields are numbers and text in one order. Then Arrow's own JSON reader, given the
types that the first messages have, makes the columns. It knows nothing of our tags, and less than our kinds do of
integers and of what is missing; so whatever it might see otherwise than `flatten` and `kinds` is left to them, a batch
at a time: a null, another field, a number of another type, large numbers among floats. Needs ``pyarrow``.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from .arrow import type_of
from .flatten import FIXED, OBJECT, below, columns_of, is_tag, name_of
from .kinds import EXACT, Lists, Number, NumberType, Simple, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .flatten import Batch, Columns
    from .kinds import Kind

_TRIES = 3
"""Batches that may turn out to be irregular before it is given up."""


class _IrregularError(Exception):
    """Python has to look."""


class TypedColumns:
    """Makes the typed columns of one topic's batches, and says what kinds they are of."""

    def __init__(self) -> None:
        self._type: Any = None
        """The Arrow type of a message's text; None if it is not known."""
        self._objects = 0
        """How many objects of classes it holds."""
        self._tries = _TRIES

    def of(self, batch: Batch) -> tuple[Columns, dict[str, Kind]]:
        """The columns of a batch, as sequences of cells or as Arrow arrays, and their kinds."""
        if self._type is not None and batch.text:
            try:
                return self._read(batch)
            except _IrregularError:
                self._tries -= 1
                if not self._tries:
                    self._type = None
        columns = columns_of(batch)
        kinds = {name: kind_of(cells) for name, cells in columns.items()}
        if self._type is None and self._tries and batch.text:
            self._learn(batch.data[0], kinds)
        return columns, kinds

    def _learn(self, value: Any, kinds: Mapping[str, Kind]) -> None:
        try:
            found = _type_at(value, None, kinds)
        except _IrregularError:
            self._tries -= 1
            return
        self._type = found if type(value) is dict else None
        self._objects = _objects_in(found)

    def _read(self, batch: Batch) -> tuple[Columns, dict[str, Kind]]:
        import pyarrow as pa
        import pyarrow.json as pj

        if batch.text[:1] != b"{" or batch.text.count(b"\n{") + 1 != len(batch.ticks):
            raise _IrregularError  # what is no object crashes Arrow's reader
        if self._objects and batch.text.count(b'{"$type":') != self._objects * len(batch.ticks):
            raise _IrregularError  # it has to be the first key
        read = pj.ReadOptions(use_threads=False, block_size=len(batch.text) + 1)
        parse = pj.ParseOptions(explicit_schema=pa.schema(self._type), unexpected_field_behavior="error")
        try:
            table = pj.read_json(pa.BufferReader(batch.text), read, parse)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise _IrregularError from None
        if table.num_rows != len(batch.ticks):
            raise _IrregularError
        columns: Columns = {}
        kinds: dict[str, Kind] = {}
        for name, cells in zip(FIXED, (batch.ticks, batch.stamps_ns, batch.seqs, batch.publishers), strict=True):
            if type(cells) is array:
                columns[name] = pa.Array.from_buffers(pa.int64(), len(cells), [None, pa.py_buffer(cells)])
                kinds[name] = _kind(columns[name])
            else:
                columns[name], kinds[name] = cells, kind_of(cells)
        whole = pa.StructArray.from_arrays([one.combine_chunks() for one in table.columns], fields=[*table.schema])
        for name, column in _leaves(whole, None):
            columns[name], kinds[name] = column, _kind(column)
        return columns, kinds


def _type_at(value: Any, path: str | None, kinds: Mapping[str, Kind]) -> Any:
    """The Arrow type of the text of a field, by its value in one message, and its column's kind.

    Raises:
        _IrregularError: It has none.
    """
    import pyarrow as pa

    if type(value) is dict:
        if tuple(value) == OBJECT:
            return pa.struct([("$type", pa.string()), ("value", _type_at(value["value"], path, kinds))])
        if not value or any(map(is_tag, value)):
            raise _IrregularError
        return pa.struct([(key, _type_at(item, below(path, key), kinds)) for key, item in value.items()])
    kind = kinds.get(name_of(path), Simple.EMPTY)
    if not _is_plain(kind):
        raise _IrregularError
    return type_of(kind)


def _objects_in(kind: Any) -> int:
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return 0
    return sum(_objects_in(field.type) for field in kind) + (tuple(field.name for field in kind) == OBJECT)


def _is_plain(kind: Kind) -> bool:
    if isinstance(kind, Lists):
        return _is_plain(kind.item)
    if isinstance(kind, Number):
        return kind.type in {NumberType.INT64, NumberType.FLOAT64}
    return kind in {Simple.BOOL, Simple.TEXT}


def _leaves(array: Any, path: str | None) -> Iterator[tuple[str, Any]]:
    """The columns that a struct stands for; anything that is missing anywhere is for Python."""
    import pyarrow as pa

    if array.null_count:
        raise _IrregularError
    if not pa.types.is_struct(array.type):
        yield name_of(path), array
        return
    names = [field.name for field in array.type]
    if tuple(names) == OBJECT:
        if array.field(0).null_count:
            raise _IrregularError
        yield from _leaves(array.field(1), path)
        return
    for place, name in enumerate(names):
        yield from _leaves(array.field(place), below(path, name))


def _kind(array: Any) -> Kind:
    """The kind of an Arrow array's values; exactly that of the cells, where it matters to later ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count:
        raise _IrregularError
    kind = array.type
    if pa.types.is_list(kind):
        return Lists(_kind(array.flatten()))
    if pa.types.is_boolean(kind):
        return Simple.BOOL
    if pa.types.is_string(kind):
        return Simple.TEXT
    if not len(array):
        return Simple.EMPTY
    ends = pc.min_max(array).as_py()
    if pa.types.is_integer(kind):
        return Number(ends["min"], ends["max"])
    if not (ends["min"] >= -EXACT and ends["max"] <= EXACT):  # perhaps they were integers, and lost digits
        raise _IrregularError
    return Number(0, 0, real=True)
