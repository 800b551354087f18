"""Packed messages: objects of classes with a schema (see ``schema``) as numbers instead of text.

A packed message is the schema's mark (8 bytes), then a place for each leaf of the schema in order, little-endian and
without padding, and then, in the same order, whatever has no fixed length::

    float               f64                 str         u32: bytes of UTF-8 at the end
    int, enum, flag     i64                 strings     u32: bytes of a JSON list at the end
    bool                u8                  numbers     u8: what kind, see ``rows``; u32: how many at the end

An object whose fields contradict their annotations (an int for a float, a subclass), or are not set, or hold
integers beyond 64 bits, takes the general form, so every value comes back as it was. A NaN gets the bits of
``float("nan")``, which it would also get from the general form.

Plain ``bytes`` of moderate length travel unchanged behind a mark of their own, ``RAW``.

Objects are built as by ``classes.build``, field by field and without ``__init__``, but only where the class here has
exactly the message's schema. If it differs or is unknown, the message is read by way of its general form.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from attrs import frozen
from orjson import dumps

from horus_async.errors import MessageDecodeError, SchemaMismatchError
from horus_async.topics.kinds.annotations import types_of
from horus_async.topics.kinds.checks import takes_any_row
from horus_async.topics.values import classes
from horus_async.topics.values.base64 import to_base64

from . import schema
from .accessors import make
from .describe import describe
from .layout import layout_of
from .marks import FAILURES, MARK_BYTES, RAW, exact, readers
from .rows import float_to_json, numbers_to_json, read_strings
from .schema import Choice, Row, Schema, Struct, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .marks import Pack


@frozen
class Form:
    """How objects of a class travel."""

    schema: Schema
    pack: Pack | None
    """None if they always take the general form."""


_forms: dict[type, Form] = {}


def form_of(kind: type) -> Form | None:
    """How objects of a class travel; None if the class has no schema."""
    form = _forms.get(kind)
    if form is None:
        record = describe(kind)
        if record is not None:
            form = _forms[kind] = _make(Schema.of(record))
            if form.pack is not None and _is_exact(kind, record):
                exact.add(kind)
    return form


def _is_exact(kind: type, record: Struct) -> bool:
    """Whether what is packed has in each field what is annotated there: rows of numbers may be of several makes."""
    hints, _ = types_of(kind)
    for name, wire in record.fields:
        if isinstance(wire, Struct):
            inner = classes.find(wire.name)
            if inner is None or not _is_exact(inner, wire):
                return False
        elif "numbers" in schema.leaves(wire) and not takes_any_row(hints[name]):
            return False
    return True


def _make(described: Schema) -> Form:
    schema.remember(described)
    made = make(described) if described.record.packed else None
    if made is None:
        return Form(described, None)
    pack, readers[described.mark] = made
    return Form(described, pack)


def to_value(payload: bytes, decode_json: Callable[[bytes], Any]) -> Any:
    """The value of a packed message, whether or not its class is known here.

    Args:
        payload: the message.
        decode_json: returns the value of its general form.

    Raises:
        MessageDecodeError: it is damaged.
        SchemaMismatchError: the class here has a field of another type, or one without a default that the message
            lacks.
        TopicError: the header of the ring that describes it is damaged.
    """
    if payload[:MARK_BYTES] == RAW:
        return payload[MARK_BYTES:]
    written = schema.find(payload)
    kind = classes.find(written.record.name)
    form = None if kind is None else form_of(kind)
    if form is None:
        return decode_json(to_json(payload))
    here = form.schema
    if here.mark == written.mark:
        try:
            return readers[here.mark](payload)
        except FAILURES:  # damaged, which to_json reports; or a class inside it has changed
            return decode_json(to_json(payload))
    text = to_json(payload)
    reason = schema.difference(written.record, here.record)
    try:
        if reason is None:
            return decode_json(text)
    except MessageDecodeError as error:
        reason = str(error)
    raise SchemaMismatchError(
        f"{here.record.name} is not the same here as where it was sent: {reason}. "
        f"There it has {written.record.describe()}; here it has {here.record.describe()}"
    )


def to_json(payload: bytes) -> bytes:
    """The JSON text of a packed message, byte for byte that of its general form.

    Raises:
        MessageDecodeError: it is damaged.
        TopicError: the header of the ring that describes it is damaged.
    """
    if payload[:MARK_BYTES] == RAW:
        return dumps({"$bytes": to_base64(payload[MARK_BYTES:])})
    described = schema.find(payload)
    record = described.record
    try:
        flat = _flat.get(described.mark)
        if flat is None:
            flat = _flat[described.mark] = struct.Struct(layout_of(record, f"{MARK_BYTES}x"))
        walk = _Walk(payload, iter(flat.unpack_from(payload)), flat.size)
        text = dumps(walk.tag(record))
        if walk.at != len(payload):
            raise ValueError(f"{len(payload)} bytes instead of {walk.at}")
    except (*FAILURES, RecursionError) as error:
        raise MessageDecodeError(f"a damaged message of {record.name}: {error}") from error
    return text


_flat: dict[bytes, struct.Struct] = {}
"""The part with a fixed length, by the mark of the schema; for the schemas met so far."""


class _Walk:
    """Goes through a packed message by its schema and makes its general form."""

    __slots__ = ("_numbers", "_payload", "at")

    def __init__(self, payload: bytes, numbers: Iterator[Any], at: int) -> None:
        self._payload = payload
        self._numbers = numbers
        self.at = at

    def tag(self, wire: Wire) -> Any:
        """The general form of the next part of the message, which has this type."""
        if isinstance(wire, Struct):
            return {"$type": wire.name, "value": {name: self.tag(part) for name, part in wire.fields}}
        if isinstance(wire, Row):
            return {"$tuple": [self.tag(part) for part in wire.items]}
        number = next(self._numbers)
        if isinstance(wire, Choice):
            return {"$type": wire.name, "value": number if wire.members is None else _member(wire, number)}
        if wire == "float":
            return float_to_json(number)
        return self._tag_tail(wire, number) if wire in ("str", "strings", "numbers") else number

    def _tag_tail(self, wire: Wire, number: int) -> Any:
        if wire == "numbers":
            row, self.at = numbers_to_json(self._payload, self.at, number, next(self._numbers))
            return row
        begin, self.at = self.at, self.at + number
        text = self._payload[begin : self.at]
        return text.decode() if wire == "str" else read_strings(text)


def _member(choice: Choice, number: int) -> str:
    for name, value in choice.members or ():
        if value == number:
            return name
    raise ValueError(f"{choice.name} has no member {number}")
