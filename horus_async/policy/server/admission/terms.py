"""What requests have to keep to."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from horus_async.policy.model.images.opening import MOST_PIXELS
from horus_async.policy.model.weight import MOST_PARTS, MOST_VALUES

from .room import MB, Room


@frozen(kw_only=True)
class Terms:
    """The key that clients need (None: none), the largest body in MiB, the room for all bodies, and the connections."""

    api_key: str | None
    max_body_mb: float
    room: Room
    max_connections: int

    @property
    def max_body(self) -> int:
        """The largest body in bytes."""
        return int(self.max_body_mb * MB)

    @property
    def limits(self) -> dict[str, Any]:
        """The limits, for ``/config``."""
        return {
            "max_body_mb": self.max_body_mb,
            "max_bodies_mb": self.room.limit / MB,
            "max_connections": self.max_connections,
            "max_pixels": MOST_PIXELS,
            "max_values": MOST_VALUES,
            "max_parts": MOST_PARTS,
        }
