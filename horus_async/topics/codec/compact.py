"""JSON text with base64 back to a payload with buffers: what was sent as such may be too large as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orjson import dumps, loads

from horus_async.errors import MessageDecodeError
from horus_async.topics.values.base64 import from_base64
from horus_async.topics.values.payload import MESSAGE_LIMIT

from .binary import assembled
from .codec import GENERAL, decode, encode
from .encoding import RAW_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from horus_async.topics.packed.marks import Pack
    from horus_async.topics.values.payload import Payload


def fitting(text: bytes, forms: Mapping[type, Pack | None] = GENERAL) -> Payload:
    """A payload in JSON as one that fits into a ring, if it did when it was sent.

    The classes of its objects need not be known, unless it was their packed form that fitted.

    Args:
        text: a payload as JSON.
        forms: of the publisher, as for ``encode``.

    Raises:
        MessageDecodeError: not a payload.
    """
    if len(text) <= MESSAGE_LIMIT:
        return text
    buffers: list[bytes | memoryview] = []
    try:
        skeleton = dumps(_lift(loads(text), buffers))
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageDecodeError(f"a message that cannot be read: {error}") from error
    payload = assembled(skeleton, buffers)
    if sum(map(len, payload)) <= MESSAGE_LIMIT:
        return payload
    return encode(decode(text), forms)


def _lift(value: Any, buffers: list[bytes | memoryview]) -> Any:
    """A value with the numbers of buffers, which it adds, in the place of long base64."""
    if type(value) is list:
        return [_lift(item, buffers) for item in value]
    if type(value) is not dict:
        return value
    tag = next(iter(value), "")  # only the first key can be one
    data = value.get(tag)
    if tag in {"$bytes", "$bytearray"} and type(data) is str and len(data) >= RAW_BYTES:
        return {tag: _number(data, buffers)}
    if tag == "$ndarray" and type(data) is dict:
        return {tag: _lift_array(data, buffers)}
    if tag == "$type" and "value" in value:
        return {**value, "value": _lift(value["value"], buffers)}
    return {key: _lift(item, buffers) for key, item in value.items()}


def _lift_array(fields: dict[str, Any], buffers: list[bytes | memoryview]) -> dict[str, Any]:
    data = fields.get("data")
    if type(data) is str and data and fields.get("scalar") is not True:
        data = _number(data, buffers)
    elif type(data) is list and type(fields.get("dtype")) is dict:  # one array per field
        data = [_lift_array(part, buffers) for part in data]
    else:
        data = _lift(data, buffers)
    return {**fields, "data": data}


def _number(data: str, buffers: list[bytes | memoryview]) -> int:
    buffers.append(from_base64(data))
    return len(buffers) - 1
