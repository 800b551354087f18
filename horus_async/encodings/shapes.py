"""What a message is made of, in the order in which CDR has it: what readers and writers are generated from."""

from __future__ import annotations

import typing
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from attrs import frozen

from horus_async import messages

from .ros_types import CLASSES, MODULE, TRANSFORMS, fields_of, full_name

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBERS = {
    "bool": ("?", 1, "|b1"),
    "byte": ("B", 1, "|u1"),
    "int8": ("b", 1, "|i1"),
    "uint8": ("B", 1, "|u1"),
    "uint16": ("H", 2, "<u2"),
    "int32": ("i", 4, "<i4"),
    "uint32": ("I", 4, "<u4"),
    "float32": ("f", 4, "<f4"),
    "float64": ("d", 8, "<f8"),
}
"""The code of ``struct``, the size and NumPy's dtype of each kind of number."""


@frozen
class Number:
    """One number."""

    code: str
    size: int
    choice: type[Enum] | None = None
    """The enum that the field is annotated with."""


@frozen
class Filler:
    """A number that the class does not have, always 0."""

    code: str
    size: int


@frozen
class Text:
    """A string."""


@frozen
class Row:
    """Numbers: a list, a tuple or an array."""

    code: str
    size: int
    dtype: str
    count: int | None
    """None: any number of them."""


@frozen
class Data:
    """``bytes``, or an array that stands for them."""


@frozen
class Items:
    """A list of texts or objects."""

    of: Shape


@frozen
class Fields:
    """An object of one of the classes."""

    kind: type
    parts: Sequence[tuple[str, Shape]]

    @property
    def name(self) -> str:
        """What messages call the class."""
        return f"{MODULE}.{self.kind.__name__}"


@frozen
class Edges:
    """What travels on a topic of frames: an edge, or a list of edges. In CDR it is always a list."""

    of: Fields


Shape: TypeAlias = Number | Filler | Text | Row | Data | Items | Fields | Edges


@cache
def shape_of(kind: type, *, edges: bool = False) -> Shape:
    """The shape of a class of ``horus_async.messages``; of edges, as frames have them, if it is for that."""
    if edges:
        of = shape_of(messages.TransformStamped)
        assert isinstance(of, Fields)
        return Edges(of)
    if kind is messages.CmdVel:
        zeros = [("", Filler("d", 8))] * 4  # the rest of `linear`, and of `angular` what comes before z
        return Fields(kind, [("linear", Number("d", 8)), *zeros, ("angular", Number("d", 8))])
    return _fields(kind, CLASSES[kind.__name__])


def type_name(kind: type, *, edges: bool = False) -> str:
    """The ROS 2 type of a class."""
    return TRANSFORMS if edges else CLASSES[kind.__name__]


def _fields(kind: type, name: str) -> Fields:
    hints = typing.get_type_hints(kind, include_extras=True)
    found = fields_of(name)
    assert [field for _, field in found] == [attribute.name for attribute in attrs.fields(kind)]
    return Fields(kind, [(field, _shape(ros, hints[field])) for ros, field in found])


def _shape(ros: str, hint: Any) -> Shape:
    base, bracket, count = ros.removesuffix("]").partition("[")
    if hint == messages.Data:
        return Data()
    if bracket and base in NUMBERS:
        code, size, dtype = NUMBERS[base]
        return Row(code, size, dtype, int(count) if count else None)
    if bracket:
        return Items(_shape(base, typing.get_args(hint)[0]))
    if base == "string":
        return Text()
    if base in NUMBERS:
        code, size, _ = NUMBERS[base]
        return Number(code, size, hint if isinstance(hint, type) and issubclass(hint, Enum) else None)
    return _fields(hint, full_name(base))
