"""What a class of messages consists of, in terms that every process understands.

A *schema* is JSON text: the class's name and its fields with their types, in order. A writer puts the schema of each
class it sends into its ring's header, so that a reader that lacks the class can still name and read its objects. A
type is::

    "float" | "int" | "bool" | "str"
    "strings"                                           a list of them
    "numbers"                                           a list or tuple of floats or of integers, or an array
    {"tuple": [type, …]}                                a tuple of that length
    {"class": "module.Class", "fields": [[name, type], …]}
    {"enum": "module.Class", "members": {name: number, …}}
    {"flag": "module.Class"}
    {"other": text}                                     anything else; the text is the annotation, for people

The schema itself is a ``class``. If it contains no ``other`` it is *packed*: its messages may travel as numbers, see
``packed``. They begin with the schema's *mark*: 0, ``$``, and the first 6 bytes of the SHA-256 of its text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen
from orjson import JSONDecodeError, dumps, loads

from horus_async.errors import MessageDecodeError, TopicError

from .marks import MARK, MARK_BYTES, sources

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALARS = frozenset(("float", "int", "bool", "str", "strings", "numbers"))


@frozen
class Row:
    """A tuple with a type for each item."""

    items: tuple[Wire, ...]


@frozen
class Choice:
    """An enum whose values are integers."""

    name: str
    members: tuple[tuple[str, int], ...] | None
    """Name and number of each, in order; None for flags, which travel as their number."""


@frozen
class Other:
    """A type that only the general form of messages can carry."""

    text: str


@frozen
class Struct:
    """A class with its fields, in order."""

    name: str
    fields: tuple[tuple[str, Wire], ...]

    @property
    def packed(self) -> bool:
        """Whether all its fields have a place in a packed message."""
        return not any(isinstance(leaf, Other) for leaf in leaves(self))

    def describe(self) -> str:
        """The fields with their types, for people."""
        return ", ".join(f"{name}: {title(wire)}" for name, wire in self.fields)


Wire: TypeAlias = str | Row | Choice | Struct | Other
"""The type of a field; a text is one of ``SCALARS``."""


@frozen
class Schema:
    """A class of messages as described in the headers of rings."""

    record: Struct
    text: bytes = field(repr=False)
    """JSON."""
    mark: bytes
    """What its packed messages begin with."""

    @classmethod
    def of(cls, record: Struct) -> Schema:
        """The schema of a class of this process."""
        return cls._with(record, dumps(_to_json(record)))

    @classmethod
    def parse(cls, text: bytes) -> Schema:
        """A schema that another process wrote.

        Raises:
            TopicError: the text is not a schema.
        """
        try:
            record = _from_json(loads(text))
        except (JSONDecodeError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise TopicError(f"a ring's header is damaged: {text[:60]!r} is not a schema ({error})") from error
        if not isinstance(record, Struct):
            raise TopicError(f"a ring's header is damaged: {text[:60]!r} is not the schema of a class")
        return cls._with(record, text)

    @classmethod
    def _with(cls, record: Struct, text: bytes) -> Schema:
        from hashlib import sha256  # late: it takes longer to load than everything here

        return cls(record, text, MARK + sha256(text).digest()[: MARK_BYTES - len(MARK)])


def leaves(wire: Wire) -> Iterator[Wire]:
    """The parts of a type that hold no other parts, in the order of their values in a packed message."""
    if isinstance(wire, Struct):
        for _, part in wire.fields:
            yield from leaves(part)
    elif isinstance(wire, Row):
        for part in wire.items:
            yield from leaves(part)
    else:
        yield wire


def title(wire: Wire) -> str:
    """A type, for people."""
    if isinstance(wire, str):
        return wire
    if isinstance(wire, Row):
        return f"tuple[{', '.join(map(title, wire.items)) or '()'}]"
    return wire.text if isinstance(wire, Other) else wire.name


_known: dict[bytes, Schema] = {}
"""By mark: the schemas of this process's classes, and those found in external rings."""


def remember(schema: Schema) -> None:
    """Know a schema from now on.

    Raises:
        TopicError: another schema has the same mark.
    """
    known = _known.setdefault(schema.mark, schema)
    if known.text != schema.text:
        raise TopicError(f"{known.record.name} and {schema.record.name} have the same mark; rename a field of one")


def is_known(mark: bytes) -> bool:
    """Whether `find` finds the schema of messages with that mark without looking into rings."""
    return mark in _known


def find(payload: bytes) -> Schema:
    """The schema of a packed message.

    Raises:
        MessageDecodeError: no ring that is open here has it.
        TopicError: the header of a ring that might have it is damaged.
    """
    mark = payload[:MARK_BYTES]
    if mark not in _known:
        damage: TopicError | None = None
        for source in sources:
            try:
                for schema in source.schemas():
                    remember(schema)
            except TopicError as error:
                damage = error
        if mark not in _known:
            if damage is not None:
                raise damage
            raise MessageDecodeError(f"a packed message of a class that no ring describes: {payload[:40]!r}")
    return _known[mark]


def difference(written: Struct, here: Struct) -> str | None:
    """Why a message of ``written`` cannot become an object of ``here``, which has the same name; None if it can.

    Fields that only one side has do not count: only the class knows whether a field may be missing.
    """
    known = dict(here.fields)
    for name, wire in written.fields:
        other = known.get(name, wire)
        if isinstance(wire, Struct) and isinstance(other, Struct) and wire.name == other.name:
            inner = difference(wire, other)
            if inner is not None:
                return f"{name}.{inner}"
        elif not _agree(wire, other):
            return f"{name} is {title(wire)} there and {title(other)} here"
    return None


def _agree(written: Wire, here: Wire) -> bool:
    if isinstance(written, Choice) and isinstance(here, Choice):
        return written.name == here.name  # members travel by name
    if isinstance(here, Other):  # it may mean anything
        return True
    return written == here or (written, here) == ("int", "float")


def _to_json(wire: Wire) -> Any:
    if isinstance(wire, Struct):
        return {"class": wire.name, "fields": [[name, _to_json(part)] for name, part in wire.fields]}
    if isinstance(wire, Row):
        return {"tuple": [_to_json(part) for part in wire.items]}
    if isinstance(wire, Choice):
        return {"flag": wire.name} if wire.members is None else {"enum": wire.name, "members": dict(wire.members)}
    return {"other": wire.text} if isinstance(wire, Other) else wire


def _from_json(found: Any) -> Wire:
    match found:
        case str() if found in SCALARS:
            return found
        case {"class": str(name), "fields": list(fields)} if all(type(key) is str for key, _ in fields):
            parts = tuple((key, _from_json(part)) for key, part in fields)
            if len({key for key, _ in parts}) < len(parts):
                raise ValueError("a field occurs twice")
            return Struct(name, parts)
        case {"tuple": list(items)}:
            return Row(tuple(map(_from_json, items)))
        case {"enum": str(name), "members": dict(members)} if all(type(number) is int for number in members.values()):
            return Choice(name, tuple(members.items()))
        case {"flag": str(name)}:
            return Choice(name, None)
        case {"other": str(text)}:
            return Other(text)
    raise ValueError(f"unknown type: {found!r:.60}")
