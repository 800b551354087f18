"""Shortens an event that is too large for a box, so that it fits and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .values import to_json_bytes

if TYPE_CHECKING:
    from .events import Event


def shortened_json(event: Event, limit: int) -> bytes:
    """``event.own_json()`` in at most ``limit`` bytes.

    Texts that are too long lose their middle, lists their end; of anything else the start of its JSON text is kept.
    """
    own = event.to_dict()
    encoded = event.own_json()
    room = limit
    while len(encoded) > limit:
        room //= 2
        encoded = event.HEAD + to_json_bytes({key: _cut(value, room) for key, value in own.items()})[1:]
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
