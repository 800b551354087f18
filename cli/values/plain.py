"""Values out of the text of a recording or a message, without the codec's tags: for people, not for programs."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from attrs import frozen

from horus_async.errors import TopicError
from horus_async.spelling import did_you_mean
from horus_async.topics.codec import decode

MOST_ITEMS, SHOWN_ITEMS = 16, 12
MOST_TEXT, SHOWN_TEXT = 400, 300
_DIGITS = 600
"""Of an integer that is shown as one."""


@frozen
class Left:
    """What was left out of a long list."""

    count: int


def type_of(value: Any) -> str | None:
    """The class of the object that a JSON value stands for."""
    kind = value.get("$type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def plain(value: Any, *, full: bool = False) -> Any:
    """A JSON value with tags as dicts, lists, numbers, texts, bytes; what is long is shortened unless ``full``."""
    if isinstance(value, dict):
        if len(value) <= 2 and any(isinstance(key, str) and key.startswith("$") for key in value):
            return _untagged(value, full=full)
        return _mapping(value.items(), full=full)
    if isinstance(value, list):
        return _row(value, full=full)
    return _text(value, full=full) if isinstance(value, str) else value


def _mapping(items: Any, *, full: bool) -> dict[Any, Any]:
    pairs = list(items)
    shown = pairs if full or len(pairs) <= 100 else pairs[:90]
    found = {_text(key, full=full): plain(item, full=full) for key, item in shown}
    if len(shown) < len(pairs):
        found["…"] = f"{len(pairs) - len(shown)} more"
    return found


def _row(items: list[Any], *, full: bool) -> list[Any]:
    if full or len(items) <= MOST_ITEMS:
        return [plain(item, full=full) for item in items]
    return [*(plain(item, full=full) for item in items[:SHOWN_ITEMS]), Left(len(items) - SHOWN_ITEMS)]


def _text(text: Any, *, full: bool) -> Any:
    if full or not isinstance(text, str) or len(text) <= MOST_TEXT:
        return text
    return f"{text[:SHOWN_TEXT]}… ({len(text)} characters)"


def _untagged(value: dict[str, Any], *, full: bool) -> Any:  # noqa: PLR0911 - one line a tag
    tag = next(iter(value))
    inner = value[tag]
    match tag, inner:
        case "$type", str():
            return plain(value.get("value"), full=full)
        case "$tuple" | "$set" | "$frozenset", list():
            return _row(inner, full=full)
        case "$dict", list() if all(isinstance(pair, list) and len(pair) == 2 for pair in inner):
            return _mapping(((_key(plain(key, full=full)), item) for key, item in inner), full=full)
        case "$float", str():
            return float(inner) if inner in ("nan", "inf", "-inf") else inner
        case "$int", str() if len(inner) < _DIGITS:
            return _whole(inner)
        case "$bytes", str():
            return _bytes(inner, full=full)
        case "$ndarray", dict():
            return _array(value, full=full)
    if len(value) == 1 and isinstance(inner, str | int | float):  # a time, an identifier, a path
        return _text(inner, full=full)
    return {tag: plain(inner, full=full)} if len(value) == 1 else _mapping(value.items(), full=full)


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool) or key is None else str(key)


def _whole(text: str) -> Any:
    try:
        return int(text, 0)
    except ValueError:
        return text


def _bytes(text: str, *, full: bool) -> Any:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text
    if full or len(data) <= 48:
        return data
    return f"{data[:32].hex()}… ({len(data)} bytes)"


def _array(value: dict[str, Any], *, full: bool) -> Any:
    """An array as nested lists, of which only the ends are made where it is large."""
    try:
        array = decode(orjson.dumps(value))
        if not full:
            array = array if not array.shape else array[: MOST_ITEMS + 1]
        listed = array.tolist()
    except (ImportError, TopicError, AttributeError, ValueError, TypeError):  # without NumPy, or there is no such one
        return {name: plain(item, full=full) for name, item in value["$ndarray"].items()}
    if full or not isinstance(listed, list):
        return _made_plain(listed, full=full)
    shape = value["$ndarray"].get("shape")
    count = shape[0] if isinstance(shape, list) and shape else len(listed)
    shown = [_made_plain(item, full=full) for item in listed]
    return shown if count <= MOST_ITEMS else [*shown[:SHOWN_ITEMS], Left(count - SHOWN_ITEMS)]


def _made_plain(item: Any, *, full: bool) -> Any:
    """An item of an array, as YAML has it."""
    if isinstance(item, list):
        if full or len(item) <= MOST_ITEMS:
            return [_made_plain(one, full=full) for one in item]
        return [*(_made_plain(one, full=full) for one in item[:SHOWN_ITEMS]), Left(len(item) - SHOWN_ITEMS)]
    return item if item is None or isinstance(item, bool | int | float | str | bytes) else str(item)


def field_of(value: Any, path: str) -> Any:
    """A field of a JSON value: ``pose.x``, or ``ranges.0``; tags of objects need not be named.

    Raises:
        TopicError: It has none; names what it has.
    """
    for word in path.split("."):
        inner = _inside(value)
        if isinstance(inner, list) and word.lstrip("-").isdecimal() and -len(inner) <= int(word) < len(inner):
            value = inner[int(word)]
        elif isinstance(inner, dict) and word in inner:
            value = inner[word]
        else:
            known = [key for key in inner if isinstance(key, str)] if isinstance(inner, dict) else []
            has = f"it has {', '.join(known[:20])}" if known else f"it is {type(inner).__name__}"
            raise TopicError(f"--field {path}: there is no {word!r}; {has}{did_you_mean(word, known)}")
    return value


def _inside(value: Any) -> Any:
    """What a path leads on in."""
    if not isinstance(value, dict):
        return value
    match value:
        case {"$type": str(), "value": inner}:
            return _inside(inner)
        case {"$tuple": list(inner)} if len(value) == 1:
            return inner
        case {"$ndarray": dict()} if len(value) == 1:
            return _array(value, full=True)
        case {"$dict": list(pairs)} if len(value) == 1:
            return {str(pair[0]): pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2}
    return value
