"""What each message passes through on its way into and out of a ring: the native core, or the same in Python.

These classes hold what the hot paths need, and those paths; whatever is rare is done by the classes that derive from
them, in ``ring.writer`` and ``ring.reader``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from horus_async.native import core

from .region import CLOSED, LATEST, NEXT, OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from .region import Memory, Taken

packers: dict[int, tuple[Callable[..., None], int]] = {}
"""By small length, those met so far: packs a record with its payload in one call; the record's size in the ring."""

unpackers: dict[int, tuple[Callable[..., tuple[int, int, int, int, bytes]], int]] = {}
"""By small length, those met so far: unpacks index, seq, stamp, publisher and payload in one call; size in the ring."""


class WriterCore:
    """Where a ring is written."""

    __slots__ = ("checked", "data_at", "index", "limit", "mask", "tail")

    def __init__(self) -> None:
        self.checked = False
        """Whether records have checksums."""
        self.tail = self.limit = self.index = self.mask = self.data_at = 0

    def enter(self, memory: Memory, data_at: int, capacity: int) -> None:  # noqa: ARG002 - as the native one
        """Write here from now on: a generation's mapped memory."""
        self.data_at = data_at
        self.mask = capacity - 1


class ReaderCore:
    """A place in a ring to read from."""

    __slots__ = ("_map", "careful", "data_at", "index", "mask", "names", "position", "words")

    def __init__(self) -> None:
        self.careful = False
        """Whether to look at everything: the ring has checksums, or makes no sense."""
        self.names: list[str] | None = None
        """The names of the publishers, as far as they are known."""
        self.position = self.index = 0

    def enter(self, memory: Memory, data_at: int, capacity: int) -> None:
        """Read here from now on: a generation's mapped memory."""
        self._map = memory
        self.words = memoryview(memory).cast("Q")
        self.data_at = data_at
        self.mask = capacity - 1
        self.names = None

    def take(self) -> Taken | None:
        """The next message, or None."""
        words = self.words
        position = self.position
        if words[LATEST] < position:
            return self.take_slowly() if words[NEXT] or words[CLOSED] else None
        at = self.data_at + (position & self.mask)
        try:
            unpack, size = unpackers[words[at >> 3]]
            index, seq, stamp_ns, publisher, payload = unpack(self._map, at)
            message = payload, self.names[publisher], seq, stamp_ns  # type: ignore[index]
        except (LookupError, struct.error, TypeError):
            return self.take_slowly()
        if words[OLDEST] > position or index != self.index or self.careful:
            return self.take_slowly()
        self.position = position + size
        self.index = index + 1
        return message

    def take_slowly(self) -> Taken | None:
        """The same with all that may be in the way."""
        raise NotImplementedError


if not TYPE_CHECKING and core is not None:
    WriterCore, ReaderCore = core.WriterCore, core.ReaderCore
