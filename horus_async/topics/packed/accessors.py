"""Generates the two functions that pack and read the objects of a class, as straight-line code for that class.

No part of the code comes out of a message: it consists of the fields of a class of this process, whose names must be
identifiers, and of names made here.
"""

from __future__ import annotations

import struct
import sys
from enum import Flag
from keyword import iskeyword
from math import nan
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

from horus_async.native import core
from horus_async.topics.values import classes

from .layout import layout_of
from .marks import FAILURES, MARK_BYTES
from .rows import pack_numbers, pack_strings, read_numbers, read_strings
from .schema import Choice, Other, Row, Schema, Struct, Wire, leaves

if TYPE_CHECKING:
    from .marks import Pack, Read

LEAVES_LIMIT = 1000
"""A class with more leaves in its schema takes the general form."""


def make(described: Schema) -> tuple[Pack, Read] | None:
    """The functions for a class with this schema; None if it has too many fields, or a name is not an identifier."""
    record = described.record
    if sum(1 for _ in leaves(record)) > LEAVES_LIMIT:
        return None
    writer = _Writer()
    whole = writer.add(record, "value")
    if not all(name.isidentifier() and not iskeyword(name) for name in writer.identifiers):
        return None
    if core is not None:
        native = core.Accessors(described.mark, _spec(record), _places(writer), _HELPERS)
        return native.pack, native.read
    return _generate(described, writer, whole)


def generated(described: Schema) -> tuple[Pack, Read]:
    """The functions in Python, also where the native core is in use: to compare the two."""
    writer = _Writer()
    whole = writer.add(described.record, "value")
    return _generate(described, writer, whole)


def _generate(described: Schema, writer: _Writer, whole: str) -> tuple[Pack, Read]:
    record = described.record
    flat = struct.Struct(layout_of(record, f"{MARK_BYTES}s"))
    body = struct.Struct(layout_of(record, f"{MARK_BYTES}x"))
    names = writer.names | {"FAILURES": FAILURES, "MARK": described.mark, "NAN": nan, "modules": sys.modules}
    names |= {"pack_numbers": pack_numbers, "read_numbers": read_numbers}
    names |= {"pack_strings": pack_strings, "read_strings": read_strings, "set": object.__setattr__}
    names |= {"pack_flat": flat.pack, "unpack": body.unpack, "unpack_from": body.unpack_from}
    source = "\n".join([*_pack_lines(writer), *_read_lines(writer, whole, body.size)])
    exec(compile(source, f"<accessors of {record.name}>", "exec"), names)  # noqa: S102 - see above
    return names["pack"], names["read"]


_HELPERS = (
    sys.modules,
    pack_numbers,
    read_numbers,
    pack_strings,
    read_strings,
    classes.flag,
    FAILURES,
    MemberDescriptorType,
)
"""What the native core calls and compares."""


def _spec(wire: Wire, inside: type | None = None) -> Any:
    """A schema as the native core takes it: rows of what it is, its class and its parts."""
    if isinstance(wire, str):
        return wire
    if isinstance(wire, Row):
        return "row", None, tuple(_spec(part, inside) for part in wire.items)
    assert not isinstance(wire, Other)
    kind: Any = classes.find_inside(wire.name, inside)
    if isinstance(wire, Struct):
        return "struct", kind, tuple((name, _spec(part, kind)) for name, part in wire.fields)
    if issubclass(kind, Flag):
        return "flag", kind, None
    return "enum", kind, {member.value: member for member in kind}


def _places(writer: _Writer) -> Any:
    return tuple((kind.__module__, tuple(kind.__qualname__.split(".")), kind) for kind in writer.classes)


class _Writer:
    """Collects the lines of both functions in one walk over the schema."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.identifiers: set[str] = set()
        """The names in the code that were not made here."""
        self.classes: dict[type, str] = {}
        """All classes that occur, each with one of its variables."""
        self.get: list[str] = []
        """Lines that take the object apart."""
        self.checks: list[str] = []
        """If one of these is true, the message takes the general form."""
        self.floats: list[str] = []
        self.packed: list[str] = []
        """Expressions for the part with a fixed length."""
        self.tails: list[str] = []
        self.read: list[str] = []
        """Variables for the part with a fixed length."""
        self.read_tails: list[str] = []
        self.build: list[str] = []
        """Lines that put the object together."""
        self._count = 0
        self._inside: type | None = None
        """The class whose fields are being handled."""

    def add(self, wire: Wire, given: str) -> str:
        """Handle what the variable ``given`` of ``pack`` holds; returns the expression for it in ``read``."""
        if isinstance(wire, Struct):
            return self._add_record(wire, given)
        if isinstance(wire, Row):
            return self._add_row(wire, given)
        self.read.append(given)
        if isinstance(wire, Choice):
            return self._add_choice(wire, given)
        if wire in ("str", "strings", "numbers"):
            self._add_tail(wire, given)
            return given
        self.checks.append(f"type({given}) is not {wire}")
        self.packed.append(given)
        if wire == "float":
            self.floats.append(given)
        return given

    def _add_row(self, row: Row, given: str) -> str:
        parts = [self._variable() for _ in row.items]
        self.get.append(f"if type({given}) is not tuple: return None")
        self.get.append(f"({''.join(f'{part}, ' for part in parts)}) = {given}")
        return f"({''.join(f'{self.add(part, name)}, ' for part, name in zip(row.items, parts, strict=True))})"

    def _add_tail(self, wire: Wire, given: str) -> None:
        self.tails.append(f"{given}_tail")
        if wire == "numbers":
            self.get.append(f"{given}_kind, {given}_length, {given}_tail = pack_numbers({given})")
            self.packed += [f"{given}_kind", f"{given}_length"]
            self.read.append(f"{given}_length")
            self.read_tails.append(f"{given}, at = read_numbers(payload, at, {given}, {given}_length)")
            return
        if wire == "str":
            self.checks.append(f"type({given}) is not str")
            self.get.append(f"{given}_tail = {given}.encode()")
            found = "payload[at:end].decode()"
        else:
            self.get.append(f"{given}_tail = pack_strings({given})")
            found = "read_strings(payload[at:end])"
        self.packed.append(f"len({given}_tail)")
        self.read_tails += [f"end = at + {given}", f"{given} = {found}", "at = end"]

    def _add_record(self, record: Struct, given: str) -> str:
        kind = self._class(record.name, given)
        outer, self._inside = self._inside, kind
        self.names[f"new_{given}"] = kind.__new__
        self.get.append(f"if type({given}) is not kind_{given}: return None")
        if kind.__dictoffset__:  # it may have attributes that are no fields
            self.checks.append(f"len({given}.__dict__) != {len(record.fields)}")
        made = f"made_{given}"
        build = [f"{made} = new_{given}(kind_{given})"]
        plain = getattr(kind, "__setattr__") is object.__setattr__  # noqa: B009 - mypy knows it as bound
        for name, wire in record.fields:
            self.identifiers.add(name)
            part = self._variable()
            self.get.append(f"{part} = {given}.{name}")
            found = self.add(wire, part)
            build.append(f"{made}.{name} = {found}" if plain else f"set({made}, {name!r}, {found})")
        self.build += build
        self._inside = outer
        return made

    def _add_choice(self, choice: Choice, given: str) -> str:
        kind = self._class(choice.name, given)
        self.checks.append(f"type({given}) is not kind_{given}")
        self.packed.append(f"{given}._value_")
        if issubclass(kind, Flag):
            self.names["flag"] = classes.flag
            return f"flag(kind_{given}, {given})"
        self.names[f"members_{given}"] = {member.value: member for member in kind}  # type: ignore[attr-defined]
        return f"members_{given}[{given}]"

    def _class(self, name: str, given: str) -> type:
        kind = classes.find_inside(name, self._inside)
        assert kind is not None  # it was described a moment ago
        self.names[f"kind_{given}"] = kind
        self.classes.setdefault(kind, f"kind_{given}")
        self.identifiers.update(kind.__qualname__.split("."))
        return kind

    def _variable(self) -> str:
        self._count += 1
        return f"v{self._count}"


def _pack_lines(writer: _Writer) -> list[str]:
    lines = ["def pack(value):", "    try:"]
    lines += [f"        {line}" for line in writer.get]
    if writer.checks:
        lines.append(f"        if {' or '.join(writer.checks)}: return None")
    if writer.floats:  # a NaN anywhere makes the sum one
        lines += [f"        total = {' + '.join(writer.floats)}", "        if total != total:"]
        lines += [f"            if {name} != {name}: {name} = NAN" for name in writer.floats]
    packed = f"pack_flat({', '.join(['MARK', *writer.packed])})"
    lines += [f"        return {' + '.join([packed, *writer.tails])}", "    except FAILURES:", "        return None"]
    return lines


def _read_lines(writer: _Writer, whole: str, size: int) -> list[str]:
    places = {
        variable: f"modules[{kind.__module__!r}].{kind.__qualname__}" for kind, variable in writer.classes.items()
    }
    moved = " or ".join(f"{place} is not {variable}" for variable, place in places.items())
    lines = ["def read(payload):", f"    if {moved}: raise LookupError"]
    found = "".join(f"{name}, " for name in writer.read)
    if writer.read_tails:
        lines += [f"    {found}= unpack_from(payload)", f"    at = {size}"]
        lines += [f"    {line}" for line in writer.read_tails]
        lines.append("    if at != len(payload): raise ValueError")
    else:
        lines.append(f"    ({found}) = unpack(payload)")
    return [*lines, *(f"    {line}" for line in writer.build), f"    return {whole}"]
