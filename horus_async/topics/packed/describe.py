"""The schema of a class of this process, read off its annotations."""

from __future__ import annotations

import types
import typing
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any

from horus_async.topics.kinds.annotations import types_of, written
from horus_async.topics.values import classes

from .schema import Choice, Other, Row, Struct, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS: dict[Any, Wire] = {float: "float", int: "int", bool: "bool", str: "str"}

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def describe(kind: type) -> Struct | None:
    """What a class consists of; None unless it is an attrs class or dataclass that other processes can look up."""
    return None if issubclass(kind, Enum) or not classes.is_public(kind) else _record(kind, ())


def _record(kind: type, outer: tuple[type, ...]) -> Struct:
    name, fields = classes.plan(kind)
    hints, _ = types_of(kind)
    as_written = written(kind)
    parts = []
    for one in fields:
        wire = _wire(hints[one], (*outer, kind)) if one in hints else None
        parts.append((one, Other(_text(as_written.get(one, Any))) if wire is None else wire))
    return Struct(name, tuple(parts))


def _wire(hint: Any, outer: tuple[type, ...]) -> Wire | None:
    """The type that an annotation stands for; None if it has no place in a packed message."""
    if isinstance(hint, type) and hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and hint not in outer and classes.is_public(hint, outer[-1]):
        return _choice(hint) if issubclass(hint, Enum) else _record(hint, outer)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    return _GENERIC[origin](parts, outer) if origin in _GENERIC else None


def _list(parts: tuple[Any, ...], _: object) -> Wire | None:
    if not parts or parts[0] not in (float, int, str):
        return None
    return "strings" if parts[0] is str else "numbers"


def _tuple(parts: tuple[Any, ...], outer: tuple[type, ...]) -> Wire | None:
    if len(parts) == 2 and parts[1] is Ellipsis:
        return "numbers" if parts[0] in (float, int) else None
    items = [_wire(part, outer) for part in parts]
    return None if None in items else Row(tuple(item for item in items if item is not None))


def _union(parts: tuple[Any, ...], outer: tuple[type, ...]) -> Wire | None:
    """Numbers if it may hold some; a message with something else there takes the general form."""
    return "numbers" if any(_wire(part, outer) == "numbers" for part in parts) else None


_GENERIC: dict[Any, Callable[[tuple[Any, ...], tuple[type, ...]], Wire | None]] = {
    list: _list,
    tuple: _tuple,
    types.UnionType: _union,
    typing.Union: _union,
    typing.Annotated: lambda parts, outer: _wire(parts[0], outer),
}


def _choice(kind: type[Enum]) -> Choice | None:
    members = [(member.name, member.value) for member in kind]
    if not all(type(number) is int and INT_MIN <= number <= INT_MAX for _, number in members):
        return None
    return Choice(classes.plan(kind)[0], None if issubclass(kind, Flag) else tuple(members))


def _text(annotation: Any) -> str:
    if annotation is None:
        return "Any"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__qualname__
    return str(annotation).removeprefix("typing.")
