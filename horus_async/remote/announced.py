"""What a node says that its requests are, and objects of such classes from JSON; none is imported for that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
from attrs import frozen

from horus_async.errors import TopicTypeError
from horus_async.spelling import did_you_mean
from horus_async.topics.codec import encode, to_json
from horus_async.topics.packed.schema import Choice, Other, Row, Schema, Struct, title

if TYPE_CHECKING:
    from collections.abc import Mapping

    from horus_async.topics.packed.schema import Wire

_BUILTINS: dict[str, type] = {f"builtins.{kind.__name__}": kind for kind in (bool, int, float, str, list, dict)}
_SCALARS: dict[Wire, tuple[type, ...]] = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}
_ROWS: dict[Wire, tuple[type, ...]] = {"strings": (str,), "numbers": (int, float)}


@frozen
class OfClass:
    """An object of a class that only the node that asks for it needs to have."""

    payload: bytes
    """As it travels."""


def as_announced(said: Mapping[str, Any], part: str, value: Any) -> Any:
    """A value of JSON as what a node says that it takes; as it is where that says nothing.

    Args:
        said: What the node announced of a service or an action.
        part: ``request`` or ``goal``.
        value: Of an object, its fields by name, nested as there. What is left out has the class's default, if any.

    Raises:
        TopicTypeError: It is something else; names the field.
    """
    kind, schemas = said.get(part), said.get("schemas")
    described = schemas.get(part) if isinstance(schemas, dict) else None
    if isinstance(described, dict):
        record = Schema.parse(orjson.dumps(described)).record
        return OfClass(orjson.dumps(_object(record, {} if value is None else value, part)))
    wanted = _BUILTINS.get(kind) if isinstance(kind, str) else None
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is not None and type(value) is not wanted:
        raise TopicTypeError(f"{part} has to be {wanted.__name__}, not {value!r:.60}")
    return value


def _object(record: Struct, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TopicTypeError(f"{where} is a {record.name}: give its fields as a JSON object, not {value!r:.60}")
    fields = dict(record.fields)
    for name in value:
        if name not in fields:
            has = ", ".join(fields) or "none"
            raise TopicTypeError(
                f"{where}: {record.name} has no field {name!r:.60}{did_you_mean(name, fields)}; it has {has}"
            )
    return {
        "$type": record.name,
        "value": {name: _tagged(fields[name], one, f"{where}.{name}") for name, one in value.items()},
    }


def _tagged(wire: Wire, value: Any, where: str) -> Any:
    """A field as it travels, in the general form of messages."""
    if isinstance(wire, Struct):
        return _object(wire, value, where)
    if isinstance(wire, Choice):
        return {"$type": wire.name, "value": _member(wire, value, where)}
    if isinstance(wire, Row):
        if not isinstance(value, list) or len(value) != len(wire.items):
            raise _wrong(where, f"a list of {len(wire.items)}: {title(wire)}", value)
        return {
            "$tuple": [
                _tagged(item, one, f"{where}[{place}]")
                for place, (item, one) in enumerate(zip(wire.items, value, strict=True))
            ]
        }
    if isinstance(wire, Other):
        return _plain(value)
    if wire in _SCALARS:
        if type(value) not in _SCALARS[wire]:
            raise _wrong(where, title(wire), value)
        return _plain(float(value) if wire == "float" else value)
    if not isinstance(value, list) or not all(type(one) in _ROWS[wire] for one in value):
        raise _wrong(where, f"a list of {title(wire)}", value)
    return _plain(value)


def _member(wire: Choice, value: Any, where: str) -> str | int:
    if wire.members is None:
        if type(value) is not int:
            raise _wrong(where, f"a number of {wire.name}", value)
        return value
    for name, number in wire.members:
        if value == name or (type(value) is int and value == number):
            return name
    raise _wrong(where, f"one of {', '.join(name for name, _ in wire.members)}", value)


def _plain(value: Any) -> Any:
    """A value without a class as it travels: what JSON lacks has tags."""
    if type(value) is float and math.isfinite(value):
        return value
    return orjson.loads(to_json(encode(value)))


def _wrong(where: str, wanted: str, value: Any) -> TopicTypeError:
    return TopicTypeError(f"{where} has to be {wanted}, not {value!r:.60}")
