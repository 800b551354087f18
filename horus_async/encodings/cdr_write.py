"""Functions that write messages as CDR, the encoding of ROS 2, made for each class.

Neighbouring numbers are written at once. Plain CDR aligns each number to its own size, from behind the head of four
bytes; where texts and rows of any length come before, the place is known when the message is, and there is a `Struct`
for each of the eight that are possible. The source of such a function has nothing in it but counts and names of fields;
everything else is a constant beside it.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812 - a class
from typing import TYPE_CHECKING, Any

from attrs import define, field

from . import leaves
from .leaves import LARGEST32, MisfitError
from .shapes import Data, Edges, Fields, Filler, Items, Number, Row, Shape, Text

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[Any], bytes]

HEAD = b"\0\1\0\0"
"""How a message in plain CDR begins that has the little end first."""
ERRORS = (StructError, AttributeError, ImportError, LookupError, OverflowError, TypeError, ValueError)
"""What comes of fields that hold something else than their class says; of arrays, also where NumPy is not installed."""
_ROOM = 8
"""No number is aligned to more."""


def make_writer(shape: Shape, name: str, *, recorded: bool) -> Write:
    """The function that writes messages of a shape.

    Args:
        shape: The message's.
        name: Of its ROS 2 type, for errors.
        recorded: Whether it is given messages as recordings have them; else objects.

    Returns:
        It raises `MisfitError` for a message that the type has no place for.
    """
    source = _Source(recorded)
    source.part(shape, "message")
    source.flush()
    source.names |= {"name": name}
    lines = [
        "def write(message):",
        "    out = [head]",
        "    put = out.append",
        "    try:",
        *source.lines,
        "    except Misfit as error:",
        "        raise Misfit(f'{name} cannot hold it: {error}') from None",
        "    except errors as error:",
        "        raise Misfit(f'{name} cannot hold it: {type(error).__name__}: {error}'[:300]) from error",
        "    return join(out)",
    ]
    exec("\n".join(lines), source.names)  # noqa: S102 - see above
    write: Write = source.names["write"]
    return write


@define
class _Source:
    """The body of a function, as it is written. In it ``p`` is the place behind the head, where it is not known."""

    recorded: bool
    names: dict[str, Any] = field(init=False)
    lines: list[str] = field(init=False, factory=list)
    _run: list[tuple[str, int, str]] = field(init=False, factory=list)
    """Numbers that are written at once: the code of ``struct``, the alignment and the expression."""
    _place: int | None = field(init=False, default=0)
    """Where the next byte goes, if that is the same in every message."""
    _depth: int = field(init=False, default=2)

    def __attrs_post_init__(self) -> None:
        self.names = {
            "__builtins__": {"float": float, "int": int, "len": len, "type": type},
            "Misfit": MisfitError,
            "errors": ERRORS,
            "head": HEAD,
            "join": b"".join,
        }

    def part(self, shape: Shape, value: str) -> None:
        """Write a part of the message; ``value`` is the expression of it."""
        match shape:
            case Number() | Filler():
                self._run.append((shape.code, shape.size, self._number(shape, value)))
            case Text():
                self._counted(self._call(leaves.text, value), 1)
            case Data():
                self._counted(self._call(leaves.data, value), 1)
            case Row(count=None):
                self._counted(self._call(leaves.row(shape.code, shape.dtype, None), value), shape.size)
            case Row(count=count):
                found = self._call(leaves.row(shape.code, shape.dtype, count), value)
                self._run.append((f"{(count or 0) * shape.size}s", shape.size, f"{found}"))
            case Items(of=of):
                self._items(of, self._call(leaves.items, value))
            case Edges(of=of):
                self._items(of, self._call(leaves.edges, value))
            case Fields():
                self._fields(shape, value)

    def flush(self) -> None:
        """Write what writes the numbers of a run."""
        if not self._run:
            return
        run, self._run = self._run, []
        given = ", ".join(value for _, _, value in run)
        if self._place is None:
            table = self._constant([_layout(run, start) for start in range(_ROOM)])
            self._line(f"s, n = {table}[p & 7]", f"put(s({given}))", "p += n")
        else:
            pack, size = _layout(run, self._place)
            self._line(f"put({self._constant(pack)}({given}))")
            self._place += size

    def _number(self, shape: Number | Filler, value: str) -> str:
        if isinstance(shape, Filler):
            return "0"
        if shape.choice is not None:
            return f"{self._constant(leaves.choice(shape.choice))}({value})"
        x = self._new()
        if shape.code == "f":
            near = f"-{LARGEST32!r} < {x} < {LARGEST32!r}"
            return f"({x} if type({x} := {value}) is float and {near} else {self._constant(leaves.real32)}({x}))"
        if shape.code == "d":
            return f"({x} if type({x} := {value}) is float else {self._constant(leaves.real)}({x}))"
        if shape.code == "?":
            return f"{self._constant(leaves.truth)}({value})"
        return f"({x} if type({x} := {value}) is int else {self._constant(leaves.whole)}({x}))"

    def _counted(self, found: str, size: int) -> None:
        """Write a count and what it counts, which lies at a multiple of its size."""
        self._run.append(("I", 4, f"len({found})" if size == 1 else f"len({found}) // {size}"))
        self.flush()
        self._moving()
        if size == _ROOM:
            self._line(f"if {found} and p & 4:", "    put(head[2:] + head[2:])", "    p += 4")
        self._line(f"put({found})", f"p += len({found})")

    def _items(self, of: Shape, found: str) -> None:
        self._run.append(("I", 4, f"len({found})"))
        self.flush()
        self._moving()
        item = self._new()
        self._line(f"for {item} in {found}:")
        self._depth += 1
        self.part(of, item)
        self.flush()
        self._depth -= 1

    def _fields(self, shape: Fields, value: str) -> None:
        outer = self._new()
        self._line(f"{outer} = {value}['value']" if self.recorded else f"{outer} = {value}")
        for name, part in shape.parts:
            self.part(part, f"{outer}[{name!r}]" if self.recorded else f"{outer}.{name}")

    def _moving(self) -> None:
        """From here on the place depends on the message."""
        if self._place is not None:
            self._line(f"p = {self._place}")
            self._place = None

    def _call(self, function: Any, value: str) -> str:
        found = self._new()
        self._line(f"{found} = {self._constant(function)}({value})")
        return found

    def _line(self, *lines: str) -> None:
        self.lines += [f"{'    ' * self._depth}{line}" for line in lines]

    def _new(self) -> str:
        return self._constant(None)

    def _constant(self, value: Any) -> str:
        name = f"v{len(self.names)}"
        self.names[name] = value
        return name


def _layout(run: list[tuple[str, int, str]], place: int) -> tuple[Callable[..., bytes], int]:
    """What writes a run that begins at this place, and how long it is."""
    codes = ""
    at = place
    for code, align, _ in run:
        pad = -at & (align - 1)
        codes += f"{pad}x{code}" if pad else code
        at += pad + Struct("<" + code).size
    packed = Struct("<" + codes)
    return packed.pack, packed.size
