"""JSON for evidence: nothing that a program puts into an event may keep the event out of the box.

Numbers that JSON lacks are tagged and come back as they were: NaN and the infinities as ``{"$float":"nan"}``, integers
beyond 64 bits as ``{"$int":"..."}``. Anything else that JSON lacks becomes its ``repr``. What is too long or too
strange even for that is replaced by a text in angle brackets that says so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.json_text import tagged_float

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_DEEPEST = 50
_MOST = 20_000
"""How many values are looked at; a cycle has no end."""
_DECIMAL_BITS = 10_000
"""Python refuses to write much longer integers in decimal; hexadecimal takes no time."""


def to_json_bytes(value: Any) -> bytes:
    """Compact JSON of any value. Never raises because of what the value holds."""
    try:
        encoded = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(_Plain().of(value, 0))
    # orjson writes NaN as null without complaint, so a null is worth a second, slower look.
    return encoded if b"null" not in encoded else orjson.dumps(_Plain().of(value, 0))


def shortened_json(head: bytes, fields: dict[str, Any], limit: int) -> bytes:
    """JSON of an event's fields, with ``head`` in the place of its opening brace, in at most ``limit`` bytes.

    Texts that are too long lose their middle, lists their end; of anything else the start of its JSON text is kept.
    """
    encoded = head + to_json_bytes(fields)[1:]
    room = limit
    while len(encoded) > limit:
        room //= 2
        encoded = head + to_json_bytes({key: _cut(value, room) for key, value in fields.items()})[1:]
    return encoded


def _cut(value: Any, room: int) -> Any:
    if len(encoded := to_json_bytes(value)) <= room:
        return value
    if isinstance(value, str):
        half = min(room, len(value)) // 3
        left_out = len(value) - 2 * half
        return f"{value[:half]} ... [shortened by {left_out} characters] ... {value[len(value) - half :]}"
    if isinstance(value, list | tuple):
        kept: list[Any] = []
        for item in value:
            room -= len(to_json_bytes(item)) + 1
            if room < 0:
                break
            kept.append(item)
        return [*kept, f"[shortened by {len(value) - len(kept)} more]"]
    start = encoded[: room // 2].decode("utf-8", "ignore")
    return {"shortened": f"{start} ... [shortened by {len(encoded) - room // 2} bytes]"}


class _Plain:
    """Turns one value into something that orjson writes without loss."""

    def __init__(self) -> None:
        self._left = _MOST

    def of(self, value: Any, depth: int) -> Any:
        """The value in plain terms. It may run code of its own, of which only a `BaseException` gets out of here."""
        self._left -= 1
        if self._left < 0:
            return "<more, left out>"
        try:
            return self._of(value, depth)
        except Exception as error:  # noqa: BLE001 - a value that cannot be shown must not cost the event
            return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"

    def _of(self, value: Any, depth: int) -> Any:
        plain: Any
        if value is None or isinstance(value, bool):
            plain = value
        elif isinstance(value, str):
            plain = str(value).encode("utf-8", "backslashreplace").decode()
        elif isinstance(value, int):
            plain = int(value) if -(2**63) <= value < 2**64 else {"$int": _digits(int(value))}
        elif isinstance(value, float):
            plain = float(value) if math.isfinite(value) else tagged_float(value)
        elif depth < _DEEPEST and isinstance(value, dict):
            plain = {str(self.of(_as_key(key), depth)): self.of(value[key], depth + 1) for key in self._some(value)}
        elif depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
            plain = [self.of(item, depth + 1) for item in self._some(value)]
        elif isinstance(value, dict | list | tuple | set | frozenset):
            plain = self.of(_safe_repr(value), 0)
        else:
            plain = self._other(value, depth)
        return plain

    def _some(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            yield value
            if self._left < 0:
                return

    def _other(self, value: Any, depth: int) -> Any:
        to_list, size = getattr(value, "tolist", None), getattr(value, "size", _MOST)
        if callable(to_list) and isinstance(size, int):  # NumPy, without importing it
            return self.of(to_list() if size < self._left else _safe_repr(value), depth)
        try:
            return self.of(orjson.loads(orjson.dumps(value, None, _OPTIONS)), depth + 1)
        except (TypeError, ValueError, RecursionError):
            return self.of(_safe_repr(value), 0)


def _digits(value: int) -> str:
    return str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)


def _as_key(key: Any) -> str:
    try:
        return str(key)
    except Exception:  # noqa: BLE001 - as above
        return f"<{type(key).__name__}>"


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not cost the event
        return f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"
