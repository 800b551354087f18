"""What is typed for a topic whose ring describes the class of its messages: checked against that, and sent as one.

Nothing is imported because a ring says so. Classes of ``horus_async.messages`` are made; a message of any other class
is the text that its own program makes an object of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from horus_async.errors import TopicError
from horus_async.remote.typed import structure
from horus_async.spelling import did_you_mean
from horus_async.topics.codec import encode
from horus_async.topics.packed.schema import Choice, Other, Row, Struct, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from horus_async.topics.inspection import RingInfo
    from horus_async.topics.packed.schema import Wire
    from horus_async.topics.values.payload import Payload

_OURS = "horus_async.messages."


def class_of(rings: Sequence[RingInfo], topic: str) -> Struct | None:
    """The class of the messages of a topic, as the live rings describe it; None if they describe none.

    Raises:
        TopicError: They describe several.
    """
    found = {
        schema.record.name: schema.record
        for ring in rings
        if ring.topic == topic and ring.live
        for schema in ring.schemas
    }
    if len(found) > 1:
        names = ", ".join(found)
        raise TopicError(f"topic {topic!r} has messages of several classes, {names}: give --type, or --untyped")
    return next(iter(found.values()), None)


def payload_for(kind: Struct, value: Any, topic: str) -> Payload:
    """A message of a described class, from JSON.

    Raises:
        TopicError: The value does not fit the class; says where.
    """
    if kind.name.startswith(_OURS):
        return encode(structure(kind.name.removeprefix(_OURS), value))
    return orjson.dumps(_fitted(kind, value, kind.name.rpartition(".")[2], topic))


def _fitted(kind: Wire, value: Any, place: str, topic: str) -> Any:
    """A value as a message has it."""
    if isinstance(kind, Struct):
        return _object(kind, value, place, topic)
    if isinstance(kind, Other):
        return value
    wrong = TopicError(f"topic {topic!r}: {place} is {title(kind)}, not {value!r:.60}; for any value use --untyped")
    if isinstance(kind, Row):
        if not isinstance(value, list) or len(value) != len(kind.items):
            raise wrong
        pairs = enumerate(zip(kind.items, value, strict=True))
        return {"$tuple": [_fitted(one, item, f"{place}[{number}]", topic) for number, (one, item) in pairs]}
    if isinstance(kind, Choice):
        return {"$type": kind.name, "value": _chosen(kind, value, wrong)}
    if not _FITS[kind](value):
        raise wrong
    return float(value) if kind == "float" else value


def _object(kind: Struct, value: Any, place: str, topic: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TopicError(
            f"topic {topic!r}: {place} is {kind.name}: give an object with {kind.describe()}; or --untyped"
        )
    fields = dict(kind.fields)
    for name in value:
        if name not in fields:
            known = f"it has {', '.join(fields)}{did_you_mean(name, fields)}"
            raise TopicError(f"topic {topic!r}: {place} has no field {name!r}; {known}; or --untyped")
    made = {name: _fitted(fields[name], item, f"{place}.{name}", topic) for name, item in value.items()}
    return {"$type": kind.name, "value": made}


def _chosen(kind: Choice, value: Any, wrong: TopicError) -> Any:
    members = dict(kind.members or ())
    if kind.members is None:
        if type(value) is not int:
            raise wrong
        return value
    names = [name for name, number in members.items() if value == name or (type(value) is int and value == number)]
    if not names:
        raise wrong
    return names[0]  # members travel by name


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FITS: dict[str, Any] = {
    "float": _is_number,
    "int": lambda value: type(value) is int,
    "bool": lambda value: type(value) is bool,
    "str": lambda value: isinstance(value, str),
    "strings": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "numbers": lambda value: isinstance(value, list) and all(map(_is_number, value)),
}
