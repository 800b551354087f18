"""What a column of a typed table holds, found out from its cells. Pure; knows nothing of a file format.

Kinds merge: that of two groups of cells together is one that all of them fit. Where there is none but text, it is
`Mixed`.
"""

from __future__ import annotations

import enum
from itertools import chain
from math import inf, prod
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from .flatten import Digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Kind: TypeAlias = "Simple | Number | Array | Lists"

_NUMBERS = {int, float, Digits}
EXACT = 2**53
"""Integers up to here are floats without loss."""


class Simple(enum.Enum):
    """Kinds without parameters."""

    EMPTY = "empty"
    """No cell has a value."""
    BOOL = "bool"
    TEXT = "text"
    MIXED = "mixed"
    """Dicts, and values that have no kind in common."""


class NumberType(enum.Enum):
    """The smallest type that holds all numbers of a column exactly."""

    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT64 = "float64"
    TEXT = "text"
    """Integers beyond 64 bits, or beyond 53 bits beside floats."""


_BY_TYPE: dict[type, Simple] = {bool: Simple.BOOL, str: Simple.TEXT, dict: Simple.MIXED}


@frozen
class Number:
    """Numbers."""

    low: float
    """The smallest integer; the range is that of no integer where all are floats."""
    high: float
    real: bool = False
    """Some are floats."""

    @property
    def type(self) -> NumberType:
        """What holds them."""
        if self.real:
            return NumberType.FLOAT64 if self.low >= -EXACT and self.high <= EXACT else NumberType.TEXT
        if self.low >= -(2**63) and self.high < 2**63:
            return NumberType.INT64
        return NumberType.UINT64 if self.low >= 0 and self.high < 2**64 else NumberType.TEXT


@frozen
class Array:
    """NumPy arrays of numbers or booleans, of at least one dimension."""

    dtype: np.dtype[Any]
    dimensions: int
    shape: tuple[int, ...] | None
    """None where it varies."""

    @property
    def fixed_size(self) -> int | None:
        """The number of elements; None where the shape varies, and where there are none."""
        return None if self.shape is None else prod(self.shape) or None


@frozen
class Lists:
    """Lists of any length, and arrays beside lists."""

    item: Kind


def kind_of(cells: Sequence[Any]) -> Kind:
    """The kind of some cells."""
    types = set(map(type, cells)) - {type(None)}
    if len(types) <= 1 and types <= _BY_TYPE.keys():
        return _BY_TYPE[types.pop()] if types else Simple.EMPTY
    if types <= _NUMBERS:
        return _number(cells, types)
    if types == {list}:
        return _lists(kind_of(list(chain.from_iterable(cell for cell in cells if cell is not None))))
    if types & {list, *_NUMBERS, *_BY_TYPE}:
        return _merged([kind_of([cell for cell in cells if type(cell) is one]) for one in types])
    forms = {(cell.dtype, cell.shape) for cell in cells if cell is not None}
    return _merged([Array(dtype, len(shape), shape) for dtype, shape in forms])


def merge(a: Kind, b: Kind) -> Kind:
    """A kind that fits the cells of both."""
    if a == b or b is Simple.EMPTY:
        return a
    if a is Simple.EMPTY:
        return b
    if isinstance(a, Number) and isinstance(b, Number):
        return Number(min(a.low, b.low), max(a.high, b.high), a.real or b.real)
    if isinstance(a, Array) and isinstance(b, Array) and a.dimensions == b.dimensions:
        dtype = _common(a.dtype, b.dtype)
        if dtype is not None:
            return Array(dtype, a.dimensions, a.shape if a.shape == b.shape else None)
    left, right = _as_lists(a), _as_lists(b)
    if left is not None and right is not None:
        return _lists(merge(left.item, right.item))
    return Simple.MIXED


def form(kind: Kind) -> object:
    """What decides how a column of this kind is written: where it is the same, kinds may differ."""
    if isinstance(kind, Number):
        return kind.type
    if isinstance(kind, Lists):
        return Lists, form(kind.item)
    return Simple.TEXT if kind is Simple.EMPTY else kind


def is_of_digits(kind: Kind) -> bool:
    """Whether it holds numbers, alone or in lists, that only text holds exactly."""
    return is_of_digits(kind.item) if isinstance(kind, Lists) else form(kind) is NumberType.TEXT


def _merged(kinds: list[Kind]) -> Kind:
    found: Kind = Simple.EMPTY
    for kind in kinds:
        found = merge(found, kind)
    return found


def _lists(item: Kind) -> Kind:
    return item if item is Simple.MIXED else Lists(_as_lists(item) or item)


def _number(cells: Sequence[Any], types: set[type]) -> Number:
    whole = [cell for cell in cells if type(cell) is int] if len(types) > 1 or None in cells else cells
    found = Number(0, 0, real=True)
    if int in types:
        found = Number(min(whole), max(whole), float in types)
    elif Digits in types:
        found = Number(0, 0, float in types)
    if Digits in types:
        far = [-inf if cell[0] == "-" else inf for cell in cells if type(cell) is Digits]
        found = Number(min(found.low, *far), max(found.high, *far), found.real)
    return found


def _as_lists(kind: Kind) -> Lists | None:
    if isinstance(kind, Lists):
        return kind
    if not isinstance(kind, Array):
        return None
    item: Kind
    if kind.dtype.kind == "b":
        item = Simple.BOOL
    elif kind.dtype.kind == "f":
        item = Number(0, 0, real=True)
    else:
        bits = 8 * kind.dtype.itemsize
        item = Number(0, 2**bits - 1) if kind.dtype.kind == "u" else Number(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for _ in range(kind.dimensions):
        item = Lists(item)
    assert isinstance(item, Lists)
    return item


def _common(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type of elements that holds those of both exactly; None if there is none."""
    import numpy as np

    if "b" in (a.kind, b.kind):
        return a if a == b else None
    common = np.result_type(a, b)
    # NumPy takes 64-bit integers for floats, whose digits do not suffice.
    wide = common.kind == "f" and any(one.kind in "iu" and one.itemsize == 8 for one in (a, b))
    return None if wide else common
