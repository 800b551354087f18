"""Functions that read messages from CDR into what a recording has of them, made for each class: see `cdr_write`.

What comes of it is the message in its usual form: numbers as the class annotates them, rows as arrays of ROS's kind of
number, ``data`` as ``bytes``. What a message had in another form is not in CDR; see `rest`.
"""

from __future__ import annotations

from enum import Flag
from math import inf, isnan
from struct import Struct
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async.topics.values.base64 import to_base64

from .cdr_write import ERRORS, HEAD
from .leaves import MisfitError
from .ros_types import MODULE
from .shapes import Data, Edges, Fields, Filler, Items, Number, Row, Shape, Text

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[bytes], Any]

_PADDING = 3
"""Bytes that may follow the last field."""
_AFTER_HEAD = len(HEAD)


def make_reader(shape: Shape, name: str) -> Read:
    """The function that reads messages of a shape.

    Args:
        shape: The message's.
        name: Of its ROS 2 type, for errors.

    Returns:
        It raises `MisfitError` for bytes that are no such message.
    """
    source = _Source()
    value = source.part(shape)
    source.flush()
    source.names |= {"name": name}
    lines = [
        "def read(b):",
        "    L = len(b)",
        "    if b[:2] != head: raise Misfit(f'{name}: it does not begin as CDR does')",
        f"    p = {_AFTER_HEAD}",
        "    try:",
        *source.lines,
        f"        value = {value}",
        "    except errors as error:",
        "        raise Misfit(f'{name}: it does not fit: {type(error).__name__}: {error}'[:300]) from error",
        f"    if not 0 <= L - p <= {_PADDING}: raise Misfit(f'{{name}}: its length is {{L}} and not {{p}}')",
        "    return value",
    ]
    exec("\n".join(lines), source.names)  # noqa: S102 - as in cdr_write
    read: Read = source.names["read"]
    return read


def tagged(number: float) -> Any:
    """A float as a recording has it."""
    if -inf < number < inf:
        return number
    return {"$float": "nan" if isnan(number) else "inf" if number > 0 else "-inf"}


@define
class _Source:
    """The body of a function, as it is written. In it ``p`` is the place in the message ``b`` of length ``L``."""

    names: dict[str, Any] = field(init=False)
    lines: list[str] = field(init=False, factory=list)
    _run: list[tuple[str, int, str]] = field(init=False, factory=list)
    _depth: int = field(init=False, default=2)

    def __attrs_post_init__(self) -> None:
        self.names = {
            "__builtins__": {"len": len, "range": range, "type": type},
            "Misfit": MisfitError,
            "base64": to_base64,
            "errors": ERRORS,
            "head": HEAD[:2],
            "inf": inf,
            "tagged": tagged,
        }

    def part(self, shape: Shape) -> str:  # noqa: C901, PLR0911 - a case for each shape
        """Read a part of the message; the expression of its value, which is made at the end."""
        match shape:
            case Filler():
                self._number(shape.code, shape.size)
                return ""
            case Number():
                x = self._number(shape.code, shape.size)
                if shape.choice is not None:
                    return f"{self._constant(_members(shape.choice))}.get({x}, {x})"
                return f"({x} if -inf < {x} < inf else tagged({x}))" if shape.code in "fd" else x
            case Text():
                return self._text()
            case Data():
                return f'{{"$bytes": base64({self._bytes(1)[1]})}}'
            case Row(count=None):
                count, found = self._bytes(shape.size)
                return self._array(shape, count, found)
            case Row(count=fixed):
                found = self._number(f"{(fixed or 0) * shape.size}s", shape.size)
                return self._array(shape, str(fixed), found)
            case Items(of=of):
                return self._items(of)
            case Edges(of=of):
                found = self._items(of)
                return f"({found}[0] if len({found}) == 1 else {found})"
            case Fields():
                parts = [(name, self.part(part)) for name, part in shape.parts]
                content = ", ".join(f"{name!r}: {value}" for name, value in parts if name)
                return f'{{"$type": {shape.name!r}, "value": {{{content}}}}}'

    def flush(self) -> None:
        """Write what reads the numbers of a run."""
        if not self._run:
            return
        run, self._run = self._run, []
        table = self._constant([_layout(run, start) for start in range(8)])
        into = "".join(f"{variable}, " for _, _, variable in run)
        self._line(f"u, n = {table}[p & 7]", f"{into}= u(b, p)", "p += n")

    def _number(self, code: str, align: int) -> str:
        variable = self._constant(None)
        self._run.append((code, align, variable))
        return variable

    def _text(self) -> str:
        count, found = self._bytes(1)
        value = self._constant(None)
        self._line(
            f"if not {count} or {found}[-1]: raise Misfit(f'{{name}}: a text does not end where it should')",
            f"{value} = {found}[:-1].decode()",
        )
        return value

    def _bytes(self, size: int) -> tuple[str, str]:
        """Read a count and so many numbers as bytes."""
        count = self._number("I", 4)
        self.flush()
        found = self._constant(None)
        if size == 8:
            self._line(f"if {count} and not p & 4: p += 4")  # the head has four bytes
        self._line(
            f"e = p + {count} * {size}",
            "if e > L: raise Misfit(f'{name}: it is cut off')",
            f"{found} = b[p:e]",
            "p = e",
        )
        return count, found

    def _array(self, shape: Row, count: str, found: str) -> str:
        return f'{{"$ndarray": {{"dtype": {shape.dtype!r}, "shape": [{count}], "data": base64({found})}}}}'

    def _items(self, of: Shape) -> str:
        count = self._number("I", 4)
        self.flush()
        found = self._constant(None)
        self._line(
            f"if {count} > L: raise Misfit(f'{{name}}: it is cut off')",
            f"{found} = []",
            f"for _ in range({count}):",
        )
        self._depth += 1
        value = self.part(of)
        self.flush()
        self._line(f"{found}.append({value})")
        self._depth -= 1
        return found

    def _line(self, *lines: str) -> None:
        self.lines += [f"{'    ' * self._depth}{line}" for line in lines]

    def _constant(self, value: Any) -> str:
        name = f"v{len(self.names)}"
        self.names[name] = value
        return name


def _members(choice: Any) -> dict[int, Any]:
    """What a recording has of each number of an enum."""
    name = f"{MODULE}.{choice.__name__}"
    if issubclass(choice, Flag):
        every = sum(member.value for member in choice)
        return {number: {"$type": name, "value": number} for number in range(every + 1)}
    return {int(member.value): {"$type": name, "value": member.name} for member in choice}


def _layout(run: list[tuple[str, int, str]], place: int) -> tuple[Callable[..., Any], int]:
    """What reads a run that begins at this place of the message, and how long it is."""
    codes = ""
    at = place
    for code, align, _ in run:
        pad = (_AFTER_HEAD - at) & (align - 1)
        codes += f"{pad}x{code}" if pad else code
        at += pad + Struct("<" + code).size
    packed = Struct("<" + codes)
    return packed.unpack_from, packed.size
