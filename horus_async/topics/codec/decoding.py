"""Payloads with tags or buffers back to values. See ``codec``."""

from __future__ import annotations

import struct
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from orjson import dumps, loads

from horus_async.errors import MessageDecodeError
from horus_async.topics.packed.marks import is_packed
from horus_async.topics.values import arrays, classes, keys, standard
from horus_async.topics.values.base64 import from_base64, to_base64
from horus_async.topics.values.payload import LARGE

from .binary import BINARY, BINARY_VERSION, BUFFER_ALIGNMENT, FORMS
from .plain import ATOMS, SHALLOW, TOO_DEEP, is_deep

if TYPE_CHECKING:
    from collections.abc import Callable


def decode_tagged(payload: bytes | memoryview, check: Callable[[], None] | None = None) -> Any:
    """The value of a payload that may have tags.

    Args:
        payload: the memory of a ``memoryview`` belongs to the value: large arrays stay in it.
        check: given if the payload is borrowed and may be overwritten meanwhile: then no array is copied, and all are
            read-only. Called before values are made from what was read; raises if that may be torn.

    Raises:
        MessageDecodeError: not a payload.
    """
    try:
        if isinstance(payload, bytes):
            return _packed(payload) if is_packed(payload) else _untagged(payload, check)
        head = _head(payload)
        make = _bare.get(head)
        if make is None:
            value = _untagged(payload, check)
            if head and arrays.form(value) is not None and value.flags.aligned and value.base is not None:
                _remember(head, value)
            return value
        if check is None:
            return make(buffer=payload, offset=len(head))
        check()
        array = make(buffer=payload, offset=len(head))
        array.flags.writeable = False
        return array
    except MessageDecodeError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise MessageDecodeError(
            f"a damaged message: {type(error).__name__}: {error}; it begins with {bytes(payload[:40])!r}"
        ) from error


def _untagged(payload: bytes | memoryview, check: Callable[[], None] | None) -> Any:
    value, buffers = _open_binary(payload) if payload[0] == 0 else (_parsed(payload), [])
    if check is not None:
        check()
    keep_from = inf if isinstance(payload, bytes) else LARGE if check is None else 0
    return _Untagger(buffers, keep_from, read_only=check is not None).untag(value)


def untagged(skeleton: Any, buffers: list[bytes | memoryview]) -> Any:
    """What would arrive of a value with tags; its arrays are read-only views of the buffers.

    Raises:
        MessageDecodeError: no reader would get it.
    """
    return _Untagger([memoryview(buffer) for buffer in buffers], 0, read_only=True).untag(skeleton)


def _packed(payload: bytes) -> Any:
    from horus_async.topics.packed.packed import to_value

    return to_value(payload, decode_tagged)


_bare: dict[bytes, Any] = {}
"""For messages that are nothing but an array of numbers, by the bytes before the data: makes the array."""

_LONGEST_HEAD = 256


def _head(payload: memoryview) -> bytes:
    """What precedes the data of a payload with one buffer and little text; empty for others."""
    if len(payload) < BINARY.size:
        return b""
    _, _, count, length = BINARY.unpack_from(payload)
    end = (BINARY.size + 8 + length + BUFFER_ALIGNMENT - 1) & -BUFFER_ALIGNMENT
    return bytes(payload[:end]) if count == 1 and end <= _LONGEST_HEAD else b""


def _remember(head: bytes, array: Any) -> None:
    """Make the next message of this form faster to decode."""
    if len(_bare) >= FORMS:
        _bare.clear()
    _bare[head] = partial(array.__class__, array.shape, array.dtype)


def binary_to_json(payload: bytes) -> bytes:
    """The JSON text of a binary payload, with base64 in the place of the buffers."""
    skeleton, buffers = _open_binary(payload)
    try:
        return dumps(_embed(skeleton, buffers))
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageDecodeError(f"a message that has no JSON form: {error}") from error


def _open_binary(payload: bytes | memoryview) -> tuple[Any, list[memoryview]]:
    """The JSON skeleton and the buffers of a binary payload."""
    try:
        _, version, count, length = BINARY.unpack_from(payload)
        if version != BINARY_VERSION:
            raise MessageDecodeError(f"a binary message of version {version}; this release knows {BINARY_VERSION}")
        whole = memoryview(payload)
        offset = BINARY.size + 8 * count + length
        lengths = whole[BINARY.size : offset - length].cast("Q").tolist()
        skeleton = _parsed(whole[offset - length : offset])
    except MessageDecodeError:
        raise
    except (struct.error, ValueError, TypeError) as error:
        raise MessageDecodeError(f"a damaged binary message: {error}") from error
    buffers = []
    for size in lengths:
        offset += -offset % BUFFER_ALIGNMENT
        buffers.append(whole[offset : offset + size])
        offset += size
    if len(lengths) != count or offset > len(payload):
        raise MessageDecodeError("a damaged binary message: it is cut short")
    return skeleton, buffers


def _parsed(given: bytes | memoryview) -> Any:
    # A copy that cannot change during parsing: orjson validates first, and crashes if the text changes after that.
    text = given if isinstance(given, bytes) else bytes(given)
    value = loads(text)
    if len(text) > SHALLOW and is_deep(text, value):
        raise MessageDecodeError(f"a message {TOO_DEEP}")
    return value


def _embed(value: Any, buffers: list[memoryview]) -> Any:
    """The skeleton with base64 in the place of buffer numbers; one without a buffer is for `_Untagger` to judge."""
    if type(value) is list:
        return [_embed(item, buffers) for item in value]
    if type(value) is not dict:
        return value
    tag = next(iter(value), "")  # as for `_Untagger`: only the first key can be one
    data = value.get(tag)
    if tag in {"$bytes", "$bytearray"} and type(data) is int and 0 <= data < len(buffers):
        return {tag: to_base64(buffers[data])}
    if tag == "$ndarray" and type(data) is dict:
        return {tag: _embed_array(data, buffers)}
    if tag == "$type" and "value" in value:
        return {**value, "value": _embed(value["value"], buffers)}
    return {key: _embed(item, buffers) for key, item in value.items()}


def _embed_array(fields: dict[str, Any], buffers: list[memoryview]) -> dict[str, Any]:
    data = fields.get("data")
    if type(data) is int and 0 <= data < len(buffers):
        data = to_base64(buffers[data])
    elif type(data) is list and type(fields.get("dtype")) is dict:  # one array per field
        data = [_embed_array(part, buffers) for part in data]
    else:
        data = _embed(data, buffers)
    return {**fields, "data": data}


def _at(buffers: list[memoryview], number: int) -> memoryview:
    if not 0 <= number < len(buffers):
        raise MessageDecodeError(f"a damaged message: it has {len(buffers)} buffers, but refers to number {number}")
    return buffers[number]


class _Untagger:
    """Turns a value with tags into what it stands for."""

    __slots__ = ("_buffers", "_inside", "_keep_from", "_read_only")

    def __init__(self, buffers: list[memoryview], keep_from: float, *, read_only: bool = False) -> None:
        """Prepare.

        Args:
            buffers: of the payload.
            keep_from: arrays of at least this many bytes stay where they are. A small one would keep the whole payload
                alive.
            read_only: make all arrays read-only.
        """
        self._buffers = buffers
        self._keep_from = keep_from
        self._read_only = read_only
        self._inside: type | None = None
        """The class whose fields are being untagged."""

    def untag(self, value: Any) -> Any:
        """``value`` without tags."""
        kind = type(value)
        if kind is list:
            return [item if type(item) in ATOMS else self.untag(item) for item in value]
        if kind is not dict:
            return value
        for tag in value:
            if tag[:1] == "$":
                untagger = _UNTAGGERS.get(tag)
                return untagger(self, value[tag], value) if untagger else self._unknown(value)
            break
        return {key: item if type(item) in ATOMS else self.untag(item) for key, item in value.items()}

    def data(self, data: Any) -> bytes | memoryview:
        """The bytes that base64 text or a buffer's number stand for."""
        return _at(self._buffers, data) if type(data) is int else from_base64(data)

    def _unknown(self, value: dict[str, Any]) -> Any:
        return {key: self.untag(item) for key, item in value.items()}

    def untag_type(self, name: str, whole: dict[str, Any]) -> Any:
        outer = self._inside
        kind = self._inside = classes.find(name) if outer is None else classes.find_inside(name, outer)
        content = self.untag(whole["value"])
        self._inside = outer
        if kind is None:
            return {**whole, "value": content}
        return classes.build(kind, content, whole.get("unset"))

    def untag_dict(self, pairs: Any, _: object) -> Any:
        names, items = [], []
        for name, item in _list(pairs):
            names.append(self.untag(name))
            items.append(self.untag(item))
        return _keyed(keys.as_dict, names, items)

    def untag_array(self, fields: dict[str, Any], _: object) -> Any:
        if not arrays.available():
            return _embed({"$ndarray": fields}, self._buffers)
        array = arrays.from_fields(fields, self.untag, self.data, self._keep_from)
        if self._read_only and fields.get("scalar") is not True:
            array.flags.writeable = False
        return array


def _standard(make: Callable[[Any, dict[str, Any]], Any]) -> Callable[[_Untagger, Any, dict[str, Any]], Any]:
    return lambda self, content, whole: make(self.untag(content), whole)


_UNTAGGERS: dict[str, Callable[[_Untagger, Any, dict[str, Any]], Any]] = {
    "$bytes": lambda self, data, _: bytes(self.data(data)),
    "$ndarray": _Untagger.untag_array,
    "$float": lambda _, text, __: {"nan": float("nan"), "inf": inf, "-inf": -inf}[text],
    "$int": lambda _, text, __: int(text, 16 if "x" in text else 10),
    "$tuple": lambda self, items, _: tuple(self.untag(_list(items))),
    "$dict": _Untagger.untag_dict,
    "$set": lambda self, items, _: _keyed(keys.as_set, self.untag(_list(items))),
    "$frozenset": lambda self, items, _: frozenset(_keyed(keys.as_set, self.untag(_list(items)))),
    "$bytearray": lambda self, data, _: bytearray(self.data(data)),
    "$type": _Untagger.untag_type,
    **{tag: _standard(make) for tag, make in standard.MAKERS.items()},
}


def _keyed(make: Callable[..., Any], *parts: list[Any]) -> Any:
    """A dict or a set of what a message holds."""
    try:
        return make(*parts)
    except ValueError as error:
        raise MessageDecodeError(f"a message with {error}") from None
    except TypeError as error:
        raise MessageDecodeError(
            f"a message with a key that cannot be one ({error}); an object of a class that is not known here is a dict"
        ) from None


def _list(items: Any) -> list[Any]:
    if type(items) is not list:
        raise MessageDecodeError(f"a damaged message: a list was expected, not {items!r:.40}")
    return items
