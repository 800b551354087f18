"""Values to message payloads and back.

What JSON can say is JSON text, by orjson. What it cannot say is tagged, each tag an object with one ``$`` key::

    {"$bytes": base64}  {"$float": "nan" | "inf" | "-inf"}  {"$int": decimal, or 0x… beyond 2048 bits}
    {"$tuple": […]}  {"$dict": [[key, value], …]}  {"$datetime": ISO 8601}
    {"$ndarray": {"dtype", "shape", "data", "scalar"?}}     see ``arrays``
    {"$type": "module.Class", "value": …}                   attrs classes, dataclasses, enums; see ``classes``

A dict with a key that is not a string, or begins with ``$``, becomes a ``$dict``, so nothing of the user's is ever
mistaken for a tag. Any JSON text is a payload.

Arrays and large ``bytes`` do not travel as text. A payload that has some begins with a zero byte, which no JSON text
does: ``BINARY`` (16 bytes: 0, version, number of buffers, length of the JSON text), the lengths of the buffers as u64,
the JSON text, and then each buffer at a multiple of 8 bytes from the payload's beginning. In the text the place of
their base64 is taken by the number of the buffer. All numbers are little-endian.
"""

from __future__ import annotations

import binascii
import struct
from datetime import datetime
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import orjson
from orjson import JSONDecodeError, dumps, loads

from horus_async.errors import MessageDecodeError, ValueNotSupportedError
from horus_async.topics import arrays, classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.topics.ring import Payload

BINARY = struct.Struct("<BBxxIQ")
BINARY_VERSION = 1
BUFFER_ALIGNMENT = 8

RAW_BYTES = 512
"""``bytes`` objects from this size on travel as they are; shorter ones as base64."""

_DECIMAL_BITS = 2048
"""Longer integers are written in hexadecimal: decimal takes quadratic time, and Python limits it."""

_STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_ATOMS = frozenset({int, float, str, bool, type(None)})
_all_atoms = _ATOMS.issuperset
_DOLLAR = ord("$")
_N = ord("n")


def encode(value: Any) -> Payload:
    """The payload for a value; in several parts where it holds arrays or large ``bytes``, which are not copied.

    Raises:
        ValueNotSupportedError: names the type and where in the value it is.
    """
    try:
        text = dumps(value, None, _STRICT)
    except TypeError:
        return _encode_tagged(value)
    # orjson writes some values as others without a word: tuples as lists, NaN as null, enums as their values.
    try:
        if type(value) is dict and _all_atoms(map(type, value.values())):
            pass
        elif not _is_plain(value):
            return _encode_tagged(value)
        if (_DOLLAR in text or (_N in text and text.find(b"null") >= 0)) and _needs_tags(value):
            return _encode_tagged(value)
    except RecursionError as error:
        raise _explain(value, error) from None
    return text


def decode(payload: bytes) -> Any:
    """The value of a payload. Arrays are writable and own their memory.

    Raises:
        MessageDecodeError: not a payload.
    """
    if _DOLLAR in payload:  # in every payload with tags, and in no other one but in user's strings
        return _decode_tagged(payload)
    try:
        return loads(payload)
    except JSONDecodeError as error:
        raise MessageDecodeError(f"a message that is not JSON: {error}; it begins with {payload[:40]!r}") from None


def to_json(payload: Payload) -> bytes:
    """The text of a payload that ``encode`` made or ``decode`` accepts: strict JSON on one line, buffers as base64."""
    payload = as_bytes(payload)
    if payload[:1] == b"\0":
        skeleton, buffers = _open_binary(payload)
        try:
            return dumps(_embed(skeleton, buffers))
        except (TypeError, RecursionError) as error:
            raise MessageDecodeError(f"a message that has no JSON form: {error}") from error
    if b"\n" in payload or b"\r" in payload:
        try:
            return dumps(loads(payload))
        except (JSONDecodeError, TypeError) as error:
            raise MessageDecodeError(f"a message that is not JSON: {error}") from error
    return payload


def as_bytes(payload: Payload) -> bytes:
    """A payload in one piece, independent of the value it was made from."""
    return payload if isinstance(payload, bytes) else b"".join(payload)


# -- encoding ----------------------------------------------------------------------------------------------------------


def _is_plain(value: Any) -> bool:
    """Whether a value that orjson took is made of JSON's own types only. It is a tree of at most 254 levels then."""
    kind = type(value)
    if kind is dict:
        items = value.values()
    elif kind is list:
        items = value
    else:
        return kind in _ATOMS
    return _all_atoms(map(type, items)) or all(type(item) in _ATOMS or _is_plain(item) for item in items)


def _needs_tags(value: Any) -> bool:
    """Whether a plain value holds NaN, an infinity or a key that begins with ``$``."""
    kind = type(value)
    if kind is float:
        return not isfinite(value)
    if kind is list:
        return any(map(_needs_tags, value))
    if kind is dict:
        return any(key[:1] == "$" for key in value) or any(map(_needs_tags, value.values()))
    return False


def _encode_tagged(value: Any) -> Payload:
    tagger = _Tagger()
    try:
        skeleton = tagger.tag(value)
        text = dumps(skeleton, None, _STRICT)
    except (_Refusal, TypeError, RecursionError) as error:
        raise _explain(value, error) from None
    if not tagger.buffers:
        return text
    lengths = [len(buffer) for buffer in tagger.buffers]
    head = BINARY.pack(0, BINARY_VERSION, len(lengths), len(text)) + struct.pack(f"<{len(lengths)}Q", *lengths) + text
    parts: list[bytes | memoryview] = [head + bytes(-len(head) % BUFFER_ALIGNMENT)]
    for buffer in tagger.buffers:
        parts.append(buffer)
        if len(buffer) % BUFFER_ALIGNMENT:
            parts.append(bytes(-len(buffer) % BUFFER_ALIGNMENT))
    return parts


class _Refusal(Exception):  # noqa: N818 - not an error yet: it becomes one when the place is found
    """A value that cannot be carried."""


class _Tagger:
    """Turns a value into JSON's own types, and collects the buffers on the way."""

    __slots__ = ("buffers",)

    def __init__(self) -> None:
        self.buffers: list[bytes | memoryview] = []

    def tag(self, value: Any) -> Any:
        """``value`` with tags."""
        known = _TAGGERS.get(type(value))
        return known(self, value) if known is not None else self._tag_object(value)

    def tag_str(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refusal("a str with a lone surrogate, which is not text") from None
        return value

    def tag_int(self, value: int) -> Any:
        if -(2**63) <= value < 2**64:
            return value
        return {"$int": str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)}

    def tag_float(self, value: float) -> Any:
        if -inf < value < inf:
            return value
        return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}  # noqa: PLR0124 - NaN

    def tag_list(self, items: list[Any]) -> list[Any]:
        tag = self.tag
        return [item if type(item) is float and -inf < item < inf else tag(item) for item in items]

    def tag_tuple(self, items: tuple[Any, ...]) -> Any:
        return {"$tuple": [self.tag(item) for item in items]}

    def tag_dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return {self.tag_str(key): self.tag(item) for key, item in value.items()}
        return {"$dict": [[self.tag(key), self.tag(item)] for key, item in value.items()]}

    def tag_bytes(self, value: bytes) -> Any:
        return {"$bytes": self._buffer(value) if len(value) >= RAW_BYTES else _base64(value)}

    def tag_datetime(self, value: datetime) -> Any:
        return {"$datetime": value.isoformat()}

    def _buffer(self, buffer: bytes | memoryview) -> int:
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def _tag_object(self, value: Any) -> Any:
        try:
            if arrays.is_array(value):
                return {"$ndarray": arrays.to_fields(value, self.tag, self._buffer)}
            found = classes.to_fields(value)
        except ValueError as error:
            raise _Refusal(str(error)) from None
        if found is None:
            raise _Refusal(_advice(type(value)))
        name, content = found
        return {"$type": name, "value": self.tag(content)}


_TAGGERS: dict[type, Callable[[_Tagger, Any], Any]] = {
    type(None): lambda _, value: value,
    bool: lambda _, value: value,
    str: _Tagger.tag_str,
    int: _Tagger.tag_int,
    float: _Tagger.tag_float,
    list: _Tagger.tag_list,
    tuple: _Tagger.tag_tuple,
    dict: _Tagger.tag_dict,
    bytes: _Tagger.tag_bytes,
    datetime: _Tagger.tag_datetime,
}


def _base64(data: bytes | memoryview) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _advice(kind: type) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for base in _TAGGERS:
        if base in kind.__mro__:
            return f"{name}, a subclass of {base.__name__}: it would arrive as {base.__name__}; convert it first"
    return f"{name}, which no topic can carry; send its parts, or make it an attrs class"


def _explain(value: Any, error: Exception) -> ValueNotSupportedError:
    """The error for a value that could not be encoded, with the path to the culprit."""
    path, reason = "value", str(error) if isinstance(error, _Refusal) else "nested too deeply"
    seen = {id(value)}
    while True:
        for step, child in _children(value):
            if id(child) in seen:
                return ValueNotSupportedError(f"{path}{step} is not supported: a value that holds itself")
            try:
                dumps(_Tagger().tag(child), None, _STRICT)
            except _Refusal as refusal:
                reason = str(refusal)
            except (TypeError, RecursionError):
                pass
            else:
                continue
            path, value = f"{path}{step}", child
            seen.add(id(value))
            break
        else:
            break
        if len(path) > 800:
            break
    shown = path if len(path) <= 200 else f"{path[:100]}…{path[-100:]}"
    return ValueNotSupportedError(f"{shown} is not supported: {reason}")


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with how Python would name it."""
    if type(value) is dict:
        for key, item in value.items():
            yield f" key {key!a}", key
            yield f"[{key!a}]", item
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif arrays.is_object_array(value):
        for index, item in enumerate(value.flat):
            yield f".flat[{index}]", item
    else:
        try:
            found = classes.to_fields(value)
        except ValueError:
            found = None
        if found is not None and isinstance(found[1], dict):
            for name, item in found[1].items():
                yield f".{name}", item


# -- decoding ----------------------------------------------------------------------------------------------------------


def _decode_tagged(payload: bytes) -> Any:
    buffers: list[memoryview] = []
    try:
        if payload[0] == 0:
            value, buffers = _open_binary(payload)
        else:
            value = loads(payload)
        return _Untagger(buffers).untag(value)
    except MessageDecodeError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise MessageDecodeError(
            f"a damaged message: {type(error).__name__}: {error}; it begins with {payload[:40]!r}"
        ) from error


def _open_binary(payload: bytes) -> tuple[Any, list[memoryview]]:
    """The JSON skeleton and the buffers of a binary payload."""
    try:
        _, version, count, length = BINARY.unpack_from(payload)
        if version != BINARY_VERSION:
            raise MessageDecodeError(f"a binary message of version {version}; this release knows {BINARY_VERSION}")
        lengths = memoryview(payload)[BINARY.size : BINARY.size + 8 * count].cast("Q").tolist()
        offset = BINARY.size + 8 * count + length
        skeleton = loads(memoryview(payload)[offset - length : offset])
    except (struct.error, ValueError, TypeError) as error:
        raise MessageDecodeError(f"a damaged binary message: {error}") from error
    buffers = []
    for size in lengths:
        offset += -offset % BUFFER_ALIGNMENT
        buffers.append(memoryview(payload)[offset : offset + size])
        offset += size
    if len(lengths) != count or offset > len(payload):
        raise MessageDecodeError("a damaged binary message: it is cut short")
    return skeleton, buffers


def _embed(value: Any, buffers: list[memoryview]) -> Any:
    """The skeleton with base64 in the place of buffer numbers."""
    if type(value) is list:
        return [_embed(item, buffers) for item in value]
    if type(value) is not dict:
        return value
    data = value.get("$bytes")
    if type(data) is int:
        return {"$bytes": _base64(_at(buffers, data))}
    array = value.get("$ndarray")
    if type(array) is dict:
        return {"$ndarray": _embed_array(array, buffers)}
    return {key: _embed(item, buffers) for key, item in value.items()}


def _embed_array(fields: dict[str, Any], buffers: list[memoryview]) -> dict[str, Any]:
    data = fields.get("data")
    if type(data) is int:
        data = _base64(_at(buffers, data))
    elif type(data) is list and type(fields.get("dtype")) is dict:  # one array a field
        data = [_embed_array(part, buffers) for part in data]
    else:
        data = _embed(data, buffers)
    return {**fields, "data": data}


def _at(buffers: list[memoryview], number: int) -> memoryview:
    if not 0 <= number < len(buffers):
        raise MessageDecodeError(f"a damaged message: it has {len(buffers)} buffers, and asks for number {number}")
    return buffers[number]


class _Untagger:
    """Turns a value with tags into what it stands for."""

    __slots__ = ("_buffers",)

    def __init__(self, buffers: list[memoryview]) -> None:
        self._buffers = buffers

    def untag(self, value: Any) -> Any:
        """``value`` without tags."""
        kind = type(value)
        if kind is list:
            return [item if type(item) in _ATOMS else self.untag(item) for item in value]
        if kind is not dict:
            return value
        for tag in value:
            if tag[:1] == "$":
                untagger = _UNTAGGERS.get(tag)
                return untagger(self, value[tag], value) if untagger else self._unknown(value)
            break
        return {key: item if type(item) in _ATOMS else self.untag(item) for key, item in value.items()}

    def data(self, data: Any) -> bytes | memoryview:
        """The bytes that base64 text or a buffer's number stand for."""
        return _at(self._buffers, data) if type(data) is int else binascii.a2b_base64(data, strict_mode=True)

    def _unknown(self, value: dict[str, Any]) -> Any:
        return {key: self.untag(item) for key, item in value.items()}

    def untag_type(self, name: str, whole: dict[str, Any]) -> Any:
        content = self.untag(whole["value"])
        kind = classes.find(name)
        return {"$type": name, "value": content} if kind is None else classes.build(kind, content)

    def untag_array(self, fields: dict[str, Any], _: object) -> Any:
        if not arrays.available():
            return _embed({"$ndarray": fields}, self._buffers)
        return arrays.from_fields(fields, self.untag, self.data)


_UNTAGGERS: dict[str, Callable[[_Untagger, Any, dict[str, Any]], Any]] = {
    "$bytes": lambda self, data, _: bytes(self.data(data)),
    "$ndarray": _Untagger.untag_array,
    "$float": lambda _, text, __: {"nan": float("nan"), "inf": inf, "-inf": -inf}[text],
    "$int": lambda _, text, __: int(text, 16 if "x" in text else 10),
    "$tuple": lambda self, items, _: tuple(self.untag(_list(items))),
    "$dict": lambda self, pairs, _: {self.untag(key): self.untag(item) for key, item in _list(pairs)},
    "$datetime": lambda _, text, __: datetime.fromisoformat(text),
    "$type": _Untagger.untag_type,
}


def _list(items: Any) -> list[Any]:
    if type(items) is not list:
        raise MessageDecodeError(f"a damaged message: a list was expected, not {items!r:.40}")
    return items
