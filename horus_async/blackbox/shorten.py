"""The JSON of an event's own fields, and how it is cut when it is too large for a box, so that it fits and says so."""

from __future__ import annotations

from typing import Any

from horus_async.blackbox.values import to_json_bytes


def own_json(kind: str, own: dict[str, Any]) -> bytes:
    """JSON of an event's own fields, from ``"event"`` to the closing brace."""
    return to_json_bytes({"event": kind, **own})[1:]


def shortened_json(kind: str, own: dict[str, Any], limit: int) -> bytes:
    """The same in at most ``limit`` bytes.

    Texts that are too long lose their middle, lists their end, and anything else becomes the start of its JSON text.
    """
    encoded = own_json(kind, own)
    room = limit
    while len(encoded) > limit:
        room //= 2
        encoded = own_json(kind, {key: _cut(value, room) for key, value in own.items()})
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
