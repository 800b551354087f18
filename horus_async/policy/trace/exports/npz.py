"""A corpus as a NumPy archive, which ``numpy.load`` reads without pickling.

One array a column, its first dimension the rows. State and actions are padded with NaN, and ``state_dim``,
``num_actions`` and ``action_dim`` say how much of them is real. Lists of numbers of one shape are arrays as they are;
others are padded with NaN, and ``<field>_shape`` says how much is real (-1 without a value). Where rows lack a field,
``<field>_present`` says which have it. Images are their bytes end to end, ``<camera>_data``, with
``<camera>_offsets``, one more than there are images; where a field holds several, ``<field>_counts`` says how many a
row has. All else is text, or JSON text; ``json_columns`` names the columns that hold JSON.
"""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from horus_async.recorder.tables.kinds import Number, NumberType, Simple, kind_of
from horus_async.recorder.tables.text import json_text

from .corpus import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    import numpy

    from .corpus import Corpus

    Array = numpy.ndarray[Any, Any]

_SIZES = {"state": ("state_dim",), "actions": ("num_actions", "action_dim")}
_TYPES = {NumberType.INT64: "i8", NumberType.UINT64: "u8", NumberType.FLOAT64: "f8"}


def write_npz(corpus: Corpus, stream: BinaryIO) -> None:
    """Write all columns. Not through ``numpy.savez``, whose own parameters a field could be named like."""
    import numpy

    columns = [(kind, cells) for _, kind, cells in corpus.named()]
    names: dict[str, None] = {}
    for wanted, _, _ in corpus.named():
        names[_unlike(names, _member(wanted))] = None
    json_columns: list[str] = []
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, array: Array) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, array, allow_pickle=False)

        taken = dict(names)
        for name, (kind, cells) in zip(names, columns, strict=True):
            for made, array in _arrays_of(name, kind, cells, json_columns):
                member = name if made == name else _unlike(taken, made)
                taken[member] = None
                put(member, array)
        if json_columns:
            put(_unlike(taken, "json_columns"), numpy.array(json_columns))


def _unlike(taken: dict[str, None], name: str) -> str:
    while name in taken:
        name += "_"
    return name


def _member(name: str) -> str:
    """A column's name as that of a file in the archive, which stays below the folder that it is unpacked in."""
    inside = name.replace("\0", "\\x00").replace("\\", "%5C")
    parts = PurePosixPath(inside).parts
    safe = "/".join(parts) == inside and not inside.startswith("/") and ".." not in parts and ":" not in inside
    return inside if safe else inside.replace("/", "%2F").replace(":", "%3A").replace("..", "%2E%2E")


def _arrays_of(name: str, kind: Kind, cells: list[Any], json_columns: list[str]) -> Iterator[tuple[str, Array]]:
    """The arrays of a column, by name; its name goes to ``json_columns`` if it is one."""
    if kind in (Kind.IMAGE, Kind.STACK):
        yield from _images(name, cells, several=kind is Kind.STACK)
    elif kind is Kind.FIXED and name in _SIZES:
        yield from _padded(name, cells)
    else:
        yield from _field(name, cells, json_columns)


def _field(name: str, cells: list[Any], json_columns: list[str]) -> Iterator[tuple[str, Array]]:
    import numpy

    kind = kind_of(cells)
    if kind is Simple.BOOL:
        yield name, numpy.array([bool(cell) for cell in cells])
    elif isinstance(kind, Number) and kind.type in _TYPES:
        blank = float("nan") if kind.type is NumberType.FLOAT64 else 0
        yield name, numpy.array([blank if cell is None else cell for cell in cells], _TYPES[kind.type])
    elif kind in (Simple.TEXT, Simple.EMPTY) and not any(cell and cell[-1] == "\0" for cell in cells):
        # NumPy drops zeros at the end of a text.
        yield name, numpy.array([cell or "" for cell in cells])
    elif (arrays := _arrays(cells)) is not None:
        yield name, arrays[0]
        if arrays[1] is not None:
            yield f"{name}_shape", arrays[1]
    else:
        json_columns.append(name)
        yield name, numpy.array(["" if cell is None else json_text(cell).decode() for cell in cells])
    present = [cell is not None for cell in cells]
    if not all(present):
        yield f"{name}_present", numpy.array(present)


def _arrays(cells: list[Any]) -> tuple[Array, Array | None] | None:
    """Lists of numbers of one depth as one array, and their shapes where they differ; None if digits would be lost."""
    import numpy

    found: list[Array | None] = []
    for cell in cells:
        if cell is None or hasattr(cell, "dtype"):
            found.append(cell)
            continue
        if not isinstance(cell, list) or not _is_of_numbers(cell):
            return None
        try:
            found.append(numpy.array(cell) if cell else numpy.zeros(0))
        except (ValueError, OverflowError):  # of different lengths
            return None
    real = [array for array in found if array is not None]
    if len({array.ndim for array in real}) != 1 or any(array.dtype == object for array in real):  # of long integers
        return None
    shapes: Array | None = None
    if len(real) == len(found) and len({array.shape for array in real}) == 1:
        whole = numpy.stack(real)
    else:
        widest = [max(sizes) for sizes in zip(*(array.shape for array in real), strict=True)]
        whole = numpy.full((len(found), *widest), numpy.nan)
        shapes = numpy.array([(-1,) * len(widest) if array is None else array.shape for array in found])
        for row, array in enumerate(found):
            if array is not None:
                whole[row][_corner(array.shape)] = array
    exact = all(_is_exact(whole[row], cell) for row, cell in enumerate(cells) if cell is not None)
    return (whole, shapes) if exact else None


def _is_of_numbers(cell: list[Any]) -> bool:
    return all(_is_of_numbers(item) if isinstance(item, list) else type(item) in (int, float) for item in cell)


def _is_exact(row: Array, cell: Any) -> bool:
    """Whether a row has all digits of a cell: where integers are beside floats, they may be too long for them."""
    import numpy

    if row.dtype.kind != "f" or (hasattr(cell, "dtype") and cell.dtype.kind == "f"):
        return True
    shape = numpy.shape(cell)
    inside = row[_corner(shape)].tolist()
    return all(one == other or one != one for one, other in zip(_flat(inside), _flat(cell), strict=True))  # noqa: PLR0124 - NaN


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif hasattr(value, "dtype"):
        yield from value.reshape(-1).tolist()
    else:
        yield value


def _padded(name: str, cells: list[Any]) -> Iterator[tuple[str, Array]]:
    """State and actions, which are always padded."""
    import numpy

    shapes = numpy.array([numpy.shape(cell) for cell in cells])
    padded = numpy.full((len(cells), *shapes.max(axis=0)), numpy.nan)
    for row, (cell, shape) in enumerate(zip(cells, shapes, strict=True)):
        padded[row][_corner(shape)] = cell
    yield name, padded
    yield from zip(_SIZES[name], shapes.T, strict=True)


def _images(name: str, cells: list[Any], *, several: bool) -> Iterator[tuple[str, Array]]:
    import numpy

    found = [piece for cell in cells for piece in cell or ()] if several else cells
    pieces = [piece or b"" for piece in found]
    yield f"{name}_data", numpy.frombuffer(b"".join(pieces), dtype=numpy.uint8)
    yield f"{name}_offsets", numpy.cumsum([0, *map(len, pieces)])
    if several:
        yield f"{name}_counts", numpy.array([len(cell or []) for cell in cells])


def _corner(shape: Iterable[int]) -> tuple[slice, ...]:
    return tuple(slice(int(size)) for size in shape)
