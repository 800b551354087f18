"""Functions that read ROS messages, made for each type.

``rosbags`` reads a message field by field into objects; here a type becomes one function that reads neighbouring
fields at once and makes dicts. That is several times as fast. The source of such a function has nothing of the file in
it but counts: names are constants beside it.
"""

from __future__ import annotations

from binascii import b2a_base64
from struct import Struct
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field, frozen

from horus_async.errors import RecordingError

from .definitions import PLACEHOLDER, UnreadableDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .definitions import Types

    Read = Callable[[bytes], tuple[Any, int]]
    """From a message to its value, with fragments of JSON for arrays, and where it ends."""

_NUMBERS = {
    "bool": ("?", 1, "|b1"),
    "byte": ("b", 1, "|i1"),
    "char": ("B", 1, "|u1"),
    "int8": ("b", 1, "|i1"),
    "uint8": ("B", 1, "|u1"),
    "int16": ("h", 2, "<i2"),
    "uint16": ("H", 2, "<u2"),
    "int32": ("i", 4, "<i4"),
    "uint32": ("I", 4, "<u4"),
    "int64": ("q", 8, "<i8"),
    "uint64": ("Q", 8, "<u8"),
    "float32": ("f", 4, "<f4"),
    "float64": ("d", 8, "<f8"),
}
"""The code of ``struct``, the size and NumPy's dtype of each kind of number."""
_BASE, _NAME, _ARRAY = 1, 2, 3
"""How ``rosbags`` tells what a field is; 4 is a sequence."""
_DEEPEST = 100
"""How deeply types may be nested."""
_HEAD = 4
"""Bytes of a CDR message before its body; places in the body are aligned from there."""


class MisfitError(RecordingError):
    """A message does not fit the definition of its type."""


@frozen
class Reader:
    """What reads messages of one type."""

    read: Read
    has_floats: bool
    """Whether numbers apart from arrays may be NaN or infinite, which JSON cannot say."""


def make_reader(root: str, types: Types, *, cdr: bool, big_endian: bool = False) -> Reader:
    """The function that reads messages of a type.

    Args:
        root: The type's name.
        types: It, and all that it is made of.
        cdr: Whether the messages are CDR; else they are of ROS 1.
        big_endian: Which end comes first.

    Returns:
        Its function raises `MisfitError`, ``struct.error`` or ``UnicodeDecodeError`` if a message does not fit.

    Raises:
        UnreadableDefinitionError: A field is of a kind that cannot be read, or a type is part of itself.
    """
    source = _Source(types, cdr=cdr, big_endian=big_endian)
    value = source.fields(root)
    source.flush()
    lines = [
        "def read(b):",
        f"    p = {_HEAD if cdr else 0}",
        "    L = len(b)",
        *source.lines,
        f"    return {value}, p",
    ]
    try:
        exec("\n".join(lines), source.names)  # noqa: S102 - see above
    except SyntaxError as error:
        raise UnreadableDefinitionError(f"{root} is nested too deeply ({error.msg})") from error
    return Reader(source.names["read"], source.has_floats)


@define
class _Source:
    """The body of a function, as it is written."""

    types: Types
    cdr: bool
    big_endian: bool
    names: dict[str, Any] = field(init=False)
    """What the function refers to."""
    lines: list[str] = field(init=False, factory=list)
    has_floats: bool = field(init=False, default=False)
    _run: list[tuple[str, int, str]] = field(init=False, factory=list)
    """Numbers that are read at once: the code of ``struct``, the alignment, and the variable."""
    _within: list[str] = field(init=False, factory=list)
    _depth: int = field(init=False, default=1)

    def __attrs_post_init__(self) -> None:
        self.names = {"__builtins__": {"len": len, "range": range}, "Fragment": orjson.Fragment, "base64": _base64}
        self.names |= {"Misfit": MisfitError, "swapped": _swapped}

    def fields(self, name: str) -> str:
        """Read the fields of a type; the expression of its value."""
        if len(self._within) > _DEEPEST:
            raise UnreadableDefinitionError(f"{name} is nested too deeply")
        if name in self._within:
            raise UnreadableDefinitionError(f"{name} is part of itself")
        self._within.append(name)
        found = [self._field(*item) for item in self.types[name]]
        self._within.pop()
        return f"{{{', '.join(item for item in found if item)}}}"

    def flush(self) -> None:
        """Write what reads the numbers of a run."""
        if not self._run:
            return
        run, self._run = self._run, []
        into = "".join(f"{variable}, " for _, _, variable in run)
        order = ">" if self.big_endian else "<"
        if self.cdr:
            table = self._constant([_layout(run, order, start) for start in range(8)])
            self._write(f"u, n = {table}[p & 7]", f"{into}= u(b, p)", "p += n")
        else:
            plain = Struct(order + "".join(code for code, _, _ in run))
            self._write(f"{into}= {self._constant(plain.unpack_from)}(b, p)", f"p += {plain.size}")

    def _field(self, name: str, what: Any) -> str:
        if name != PLACEHOLDER:
            return f"{self._constant(name)}: {self._value(*what)}"
        if self.cdr:  # a byte that stands for nothing
            self._number("B", 1)
        return ""

    def _value(self, kind: int, what: Any) -> str:
        """Read something; the expression of its value, which is made at the end."""
        if kind == _NAME:
            return self.fields(what)
        if kind == _BASE:
            return self._text() if what[0] == "string" else self._number(*_number(what[0])[:2])
        (item_kind, item), size = what
        if item_kind != _BASE or item[0] == "string":
            return self._list(item_kind, item, size if kind == _ARRAY else None)
        return self._numbers(item[0], size if kind == _ARRAY else None)

    def _number(self, code: str, align: int) -> str:
        variable = self._new()
        self._run.append((code, align, variable))
        self.has_floats = self.has_floats or code in {"f", "d"}
        return variable

    def _count(self) -> str:
        """Read the count that stands before texts and sequences."""
        count = self._number("I", 4)
        self.flush()
        return count

    def _text(self) -> str:
        count, variable = self._count(), self._new()
        ends = f"{count} and b[e - 1]" if self.cdr else "False"
        self._write(
            f"e = p + {count}",
            f"if e > L or {ends}: raise Misfit('a text does not end where it should')",
            f"{variable} = b[p:e{' - 1' if self.cdr else ''}].decode()",
            "p = e",
        )
        return variable

    def _numbers(self, base: str, size: int | None) -> str:
        _, width, dtype = _number(base)
        if size is None:
            count, variable = self._count(), self._new()
            self._write(
                f"if {count}: p += (4 - p) & {width - 1}" if self.cdr and width > 1 else "",
                f"e = p + {count} * {width}",
                "if e > L: raise Misfit('an array goes on beyond its end')",
                f"{variable} = b[p:e]",
                "p = e",
            )
            head = self._constant(b'{"$ndarray":{"dtype":"%b","shape":[%%d],"data":"%%b"}}' % dtype.encode())
            filled = f"({count}, base64({self._swapped(variable, width)}))"
        else:
            variable = self._number(f"{size * width}s", width if size else 1)
            head = self._constant(b'{"$ndarray":{"dtype":"%b","shape":[%d],"data":"%%b"}}' % (dtype.encode(), size))
            filled = f"base64({self._swapped(variable, width)})"
        return f"Fragment({head} % {filled})"

    def _swapped(self, variable: str, width: int) -> str:
        return f"swapped({variable}, {width})" if self.big_endian and width > 1 else variable

    def _list(self, kind: int, item: Any, size: int | None) -> str:
        if size is None:
            count = self._count()
            self._write(f"if {count} > L: raise Misfit('a sequence is longer than the message')")
        else:
            self.flush()
            count = str(size)
        variable = self._new()
        self._write(f"{variable} = []", f"for _ in range({count}):")
        self._depth += 1
        value = self._value(kind, item)
        self.flush()
        self._write(f"{variable}.append({value})")
        self._depth -= 1
        return variable

    def _write(self, *lines: str) -> None:
        self.lines += [f"{'    ' * self._depth}{line}" for line in lines if line]

    def _new(self) -> str:
        return self._constant(None)

    def _constant(self, value: Any) -> str:
        """A name for something; of nothing, for a variable."""
        name = f"v{len(self.names)}"
        self.names[name] = value
        return name


def _number(base: str) -> tuple[str, int, str]:
    try:
        return _NUMBERS[base]
    except KeyError:
        raise UnreadableDefinitionError(f"fields of the type {base} cannot be decoded") from None


def _layout(run: list[tuple[str, int, str]], order: str, place: int) -> tuple[Callable[..., Any], int]:
    """What reads a run that begins at this place of eight, and how long it is."""
    codes = ""
    at = place
    for code, align, _ in run:
        pad = (_HEAD - at) & (align - 1)
        codes += f"{pad}x{code}" if pad else code
        at += pad + Struct(order + code).size
    packed = Struct(order + codes)
    return packed.unpack_from, packed.size


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False)


def _swapped(data: bytes, width: int) -> bytes:
    """The same numbers with the other end first."""
    import numpy as np

    return np.frombuffer(data, f"u{width}").byteswap().tobytes()
