"""Values to message payloads and back.

What JSON can say is JSON text, by orjson. What it cannot say is tagged, each tag an object with one ``$`` key::

    {"$bytes": base64}  {"$float": "nan" | "inf" | "-inf"}  {"$int": decimal, or 0x… beyond 2048 bits}
    {"$tuple": […]}  {"$dict": [[key, value], …]}  {"$set": […]}  {"$frozenset": […]}
    {"$datetime": ISO 8601, "zone"?, "fold"?}  {"$time": ISO 8601, "zone"?, "fold"?}  {"$date": ISO 8601}
    {"$timedelta": [days, seconds, microseconds]}  {"$path": text, "pure"?}  {"$uuid": text}  {"$decimal": text}
    {"$complex": [real, imaginary]}  {"$bytearray": base64}
    {"$ndarray": {"dtype", "shape", "data", "scalar"?}}     see ``arrays``
    {"$type": "module.Class", "value": …, "unset"?}         classes and enums; see ``classes`` and ``models``

A dict with a key that is not a string, or begins with ``$``, becomes a ``$dict``, so no user data is ever mistaken
for a tag. Any JSON text is a payload.

Arrays and large ``bytes`` do not travel as text. A payload with such buffers begins with a zero byte, as no JSON text
does: ``BINARY`` (16 bytes: 0, version, number of buffers, length of the JSON text), the lengths of the buffers as u64,
the JSON text, and then each buffer at a multiple of 8 bytes from the payload's beginning. Where the text would have
base64 it has the number of the buffer. All numbers are little-endian.

Objects of many classes travel packed instead, if the ring they are written to describes the class: see ``packed``.
Their payload begins with a zero byte and a ``$``.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any

from orjson import JSONDecodeError, dumps, loads

from horus_async.errors import MessageDecodeError
from horus_async.native import core
from horus_async.topics.packed.marks import FAILURES, MARK_BYTES, RAW, is_packed, pack_bytes, readers

from .plain import ATOMS, SHALLOW, STRICT, TOO_DEEP, is_deep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from horus_async.topics.packed.marks import Pack
    from horus_async.topics.values.payload import Payload

_all_atoms = ATOMS.issuperset
_DOLLAR = ord("$")
_N = ord("n")


class _NoForms(dict[type, "Pack | None"]):
    def __missing__(self, kind: type) -> None:
        return None


GENERAL: Mapping[type, Pack | None] = _NoForms()
"""For ``encode``: nothing travels packed."""


def encode_slowly(value: Any, forms: Mapping[type, Pack | None] = GENERAL) -> Payload:
    """The payload for a value, in several parts if it holds arrays or large ``bytes``, which are not copied.

    Args:
        value: what is to be sent.
        forms: packs objects, by their class. Belongs to a publisher: readers need its ring to understand the result.

    Raises:
        ValueNotSupportedError: names the type and where in the value it is.
        MessageTooLargeError: it is larger than any message.
    """
    try:
        # Types first: orjson silently writes some values as others (tuples as lists, enums as their values), and
        # deeply nested tuples crash it.
        plain = True
        if type(value) is dict:
            for item in value.values():
                kind = type(item)
                if kind is not float and kind is not int and kind not in ATOMS and not _is_plain(item):
                    plain = False
                    break
        else:
            pack = forms[type(value)]
            if pack is not None:
                payload = pack(value)
                if payload is not None:
                    return payload
            plain = _is_plain(value)
        if plain:
            text = dumps(value, None, STRICT)
            # NaN and the infinities became null.
            if (not (_DOLLAR in text or (_N in text and text.find(b"null") >= 0)) or not _needs_tags(value)) and (
                len(text) <= SHALLOW or not is_deep(text, value)
            ):
                return text
    except (TypeError, RecursionError):  # large integers, keys that are not strings, too deep
        pass
    except MemoryError:
        from .encoding import too_large

        raise too_large() from None
    return _tagging()(value)


def decode_slowly(payload: bytes | memoryview) -> Any:
    """The value of a payload. Its arrays are writable and belong to the caller.

    A binary payload may be a ``memoryview``, whose memory then belongs to the value: large arrays stay in it.

    Raises:
        MessageDecodeError: not a payload.
    """
    if type(payload) is not bytes:
        return _untagging()(payload)
    if _DOLLAR in payload:  # in every payload that is packed or has tags, otherwise only in the user's strings
        mark = payload[:MARK_BYTES]
        if mark == RAW:
            return payload[MARK_BYTES:]
        read = readers.get(mark)
        if read is not None:
            try:
                return read(payload)
            except FAILURES:  # the slower way below reports it, or can read it
                pass
        return _untagging()(payload)
    try:
        value = loads(payload)
        if len(payload) <= SHALLOW or not is_deep(payload, value):
            return value
    except JSONDecodeError as error:
        raise MessageDecodeError(f"a message that is not JSON: {error}; it begins with {payload[:40]!r}") from None
    except MemoryError:
        raise MessageDecodeError(f"a message of {len(payload)} bytes, for which there is no memory") from None
    raise MessageDecodeError(f"a message {TOO_DEEP}")


def decode_borrowed(payload: bytes | memoryview, check: Callable[[], None]) -> Any:
    """The value of a payload; its arrays are read-only, and views of the payload if that is a ``memoryview``.

    Args:
        payload: a ``memoryview``, of a binary payload, if it lies in memory that may change.
        check: raises if it has changed.

    Raises:
        MessageDecodeError: not a payload; and whatever ``check`` raises.
    """
    if isinstance(payload, bytes) and (_DOLLAR not in payload or is_packed(payload)):
        return decode(payload)
    return _untagging()(payload, check)


def to_json(payload: Payload | memoryview) -> bytes:
    """A payload as strict JSON on one line, buffers as base64.

    Args:
        payload: what ``encode`` returned, or ``decode`` accepts.

    Raises:
        MessageDecodeError: not a payload.
    """
    payload = as_bytes(payload)
    if is_packed(payload):
        return _small_to_json(payload) if len(payload) <= _SMALL else _packed_to_json(payload)
    if payload[:1] == b"\0":
        from .decoding import binary_to_json

        return binary_to_json(payload)
    if b"\n" in payload or b"\r" in payload:
        try:
            return dumps(loads(payload))
        except (JSONDecodeError, TypeError) as error:
            raise MessageDecodeError(f"a message that is not JSON: {error}") from error
    return payload


def is_quick(payload: bytes) -> bool:
    """Whether ``to_json`` takes a few microseconds: the payload is text already, or packed and small."""
    return bool(payload) and (payload[0] != 0 or (len(payload) <= _SMALL and is_packed(payload)))


@cache
def _tagging() -> Callable[[Any], Payload]:
    """The encoder of what is not plain; imported with the first such value."""
    from .encoding import encode_tagged

    return encode_tagged


@cache
def _untagging() -> Callable[..., Any]:
    """The decoder of payloads that are not plain; imported with the first of them."""
    from .decoding import decode_tagged

    return decode_tagged


def _packed_to_json(payload: bytes) -> bytes:
    from horus_async.topics.packed.packed import to_json

    return to_json(payload)


_SMALL = 1024

_small_to_json = lru_cache(256)(_packed_to_json)
"""Cached: the recorder needs each text several times, for the node's line and for the tick's digest."""


def as_bytes(payload: Payload | memoryview) -> bytes:
    """A payload in one piece that shares no memory with any value."""
    if isinstance(payload, bytes):
        return payload
    return b"".join(payload) if isinstance(payload, list) else bytes(payload)


def _is_plain(value: Any) -> bool:
    """Whether a value consists of JSON's own types only."""
    kind = type(value)
    if kind is dict:
        items = value.values()
    elif kind is list:
        items = value
    else:
        return kind in ATOMS
    if _all_atoms(map(type, items)):
        return True
    for item in items:  # noqa: SIM110 - all() of a generator needs twice the stack depth
        if type(item) not in ATOMS and not _is_plain(item):
            return False
    return True


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


encode, decode = encode_slowly, decode_slowly
"""The native core's, or the same in Python."""
if core is not None:
    failures = (*FAILURES, RecursionError, MemoryError)
    core.connect_codec(dumps, loads, encode_slowly, decode_slowly, readers, GENERAL, pack_bytes, failures)
    encode, decode = core.encode, core.decode
