"""The memory that the bodies of requests may take, all together.

One body has a limit of its own; a thousand clients that each send all of theirs but one byte have none.
"""

from __future__ import annotations

from typing import Self

from attrs import define

from .refusal import Refusal

MB = 1 << 20


@define(eq=False)
class Room:
    """So many bytes, and how many of them are taken."""

    limit: int
    taken: int = 0

    def share(self) -> Share:
        """A share for one request, or for one connection; used in a ``with`` block, at whose end all is given back."""
        return Share(self)

    def refusal(self, size: int = 0) -> Refusal:
        """What a client hears for whom there is no room; ``size`` is what its request needs as a whole."""
        if size > self.limit:
            message = (
                f"the body would take {size / MB:.0f} MB as it is read, more than the {self.limit / MB:g} MB for all"
            )
            return Refusal(413, "body-too-large", f"{message}: send images as base64, or arrays as MessagePack")
        message = f"the bodies of requests take all of the {self.limit / MB:g} MB that this server has for them"
        return Refusal(503, "queue-full", message, {"Retry-After": "1"})


@define(eq=False)
class Share:
    """What one request, or one connection, has taken."""

    _room: Room
    taken: int = 0
    _open: bool = True

    def take(self, size: int) -> bool:
        """Take so many bytes more; False, and nothing is taken, if there is no room, or if the share is closed."""
        if not self._open or self._room.taken + size > self._room.limit:
            return False
        self.taken += size
        self._room.taken += size
        return True

    def give(self, size: int) -> None:
        """Give back so many bytes."""
        size = min(size, self.taken)
        self.taken -= size
        self._room.taken -= size

    def close(self) -> None:
        """Give back all, and take no more."""
        self._open = False
        self.give(self.taken)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
