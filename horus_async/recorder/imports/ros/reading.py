"""Functions that decode ROS messages, made for each type.

``rosbags`` reads a message field by field into objects; here a type becomes one function that reads neighbouring
fields at once and makes the text of dicts. That is several times as fast. The source of such a function has nothing of
the file in it but counts: names are constants beside it. While it reads, ``p`` is the place in the message ``b`` of
length ``L``, ``i`` the number of items of lists so far, and ``s`` the sum of all numbers apart from arrays that may be
NaN or infinite, which JSON cannot say: if one of them is, so is the sum.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from horus_async.errors import RecordingError
from horus_async.topics.codec.encoding import too_large
from horus_async.topics.values.payload import MESSAGE_LIMIT

from .definitions import PLACEHOLDER, UnreadableDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .definitions import Types

    Decode = Callable[[bytes], bytes]
    """From a message to its payload."""

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
_MOST_FIELDS = 20_000
"""Fields of a type with those of all types in it: each is some lines of its reader."""
_MOST_ITEMS = 1 << 20
"""Items of all lists of a message that are no plain numbers: each is an object of its own."""
_HEAD = 4
"""Bytes of a CDR message before its body; places in the body are aligned from there."""
_LITTLE = b"\0\1"
"""How a message in plain CDR begins that has the little end first."""
_PADDING = 3
"""Bytes that may follow the last field in CDR."""
_ERRORS = (StructError, UnicodeDecodeError, IndexError)
"""What reading beyond the end raises, or reading a text that is none."""


class MisfitError(RecordingError):
    """A message does not fit the definition of its type."""


def make_decoder(
    root: str, types: Types, *, cdr: bool, big_endian: bool = False, other: Decode | None = None
) -> Decode:
    """The function that decodes messages of a type.

    Args:
        root: The type's name.
        types: It, and all that it is made of.
        cdr: Whether the messages are CDR; else they are of ROS 1.
        big_endian: Which end comes first.
        other: Decodes messages that do not begin as CDR with the little end first does; None if there are no others.

    Returns:
        It raises `MisfitError` if a message does not fit.

    Raises:
        UnreadableDefinitionError: A field is of a kind that cannot be read, or a type is part of itself.
    """
    source = _Source(types, cdr=cdr, big_endian=big_endian)
    value = source.fields(root)
    source.flush()
    source.names |= {"root": root, "other": other}
    lines = [
        "def decode(b):",
        "    if type(b) is not bytes: b = bytes(b)",
        "    L = len(b)",
        "    if L > limit: raise too_large(f'of {L} bytes')",
        "    if b[:2] != little: return other(b)" if other is not None else "",
        f"    p, s, i = {_HEAD if cdr else 0}, 0.0, 0",
        "    try:",
        *source.lines,
        f"        value = {value}",
        "    except errors as error:",
        "        raise Misfit(f'it does not fit the definition of {root} ({error})') from error",
        f"    if L - p > {_PADDING if cdr else 0}:",
        "        raise Misfit(f'it is {L - p} bytes longer than the definition of {root}')",
        "    return dumps(tagged(value) if s - s else value)",  # NaN, if any number is none; or if the sum is too large
    ]
    try:
        exec("\n".join(lines), source.names)  # noqa: S102 - see above
    except SyntaxError as error:
        raise UnreadableDefinitionError(f"{root} is nested too deeply ({error.msg})") from error
    decode: Decode = source.names["decode"]
    return decode


@define
class _Source:
    """The body of a function, as it is written."""

    types: Types
    cdr: bool
    big_endian: bool
    names: dict[str, Any] = field(init=False)
    """What the function refers to."""
    lines: list[str] = field(init=False, factory=list)
    _run: list[tuple[str, int, str]] = field(init=False, factory=list)
    """Numbers that are read at once: the code of ``struct``, the alignment, and the variable."""
    _within: list[str] = field(init=False, factory=list)
    _count_fields: int = field(init=False, default=0)
    _depth: int = field(init=False, default=2)

    def __attrs_post_init__(self) -> None:
        self.names = {
            "__builtins__": {"bytes": bytes, "len": len, "range": range, "type": type},
            "Fragment": orjson.Fragment,
            "Misfit": MisfitError,
            "base64": b2a_base64,
            "dumps": orjson.dumps,
            "errors": _ERRORS,
            "limit": MESSAGE_LIMIT,
            "little": _LITTLE,
            "swapped": _swapped,
            "tagged": _tagged,
            "too_large": too_large,
        }

    def fields(self, name: str) -> str:
        """Read the fields of a type; the expression of its value."""
        if len(self._within) > _DEEPEST:
            raise UnreadableDefinitionError(f"{name} is nested too deeply")
        if name in self._within:
            raise UnreadableDefinitionError(f"{name} is part of itself")
        self._count_fields += len(self.types[name])
        if self._count_fields > _MOST_FIELDS:
            raise UnreadableDefinitionError(f"{self._within[0]} has more than {_MOST_FIELDS} fields, nested ones too")
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
        floats = [variable for code, _, variable in run if code in {"f", "d"}]
        if floats:
            self._write(f"s += {' + '.join(floats)}")

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
            filled = f"({count}, base64({self._swapped(variable, width)}, newline=False))"
        else:
            variable = self._number(f"{size * width}s", width if size else 1)
            head = self._constant(b'{"$ndarray":{"dtype":"%b","shape":[%d],"data":"%%b"}}' % (dtype.encode(), size))
            filled = f"base64({self._swapped(variable, width)}, newline=False)"
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
        self._write(
            f"i += {count}",
            f"if i > {_MOST_ITEMS}: raise Misfit('its lists have more than {_MOST_ITEMS} items, which are no numbers')",
            f"{variable} = []",
            f"for _ in range({count}):",
        )
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


def _tagged(value: Any) -> Any:
    """A value with tags for the numbers that JSON lacks."""
    if type(value) is float and not math.isfinite(value):
        return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if type(value) is dict:
        return {name: _tagged(item) for name, item in value.items()}
    return [_tagged(item) for item in value] if type(value) is list else value


def _swapped(data: bytes, width: int) -> bytes:
    """The same numbers with the other end first."""
    import numpy as np

    return np.frombuffer(data, f"u{width}").byteswap().tobytes()
