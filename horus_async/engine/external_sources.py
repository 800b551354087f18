"""External publishers, told apart by the ring that a message came in, whatever their names."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

_MOST_SEEN = 10_000
_NEVER = object()


class ExternalSources:
    """The external publishers of one run, and how far each of their rings was read."""

    def __init__(self, nodes: Container[str]) -> None:
        """Begin.

        Args:
            nodes: the names of the run's own nodes, also of those that join later.
        """
        self._nodes = nodes
        self._read: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        """For each ring the index behind the last message that a node took; it ends with the ring."""
        self._numbers: weakref.WeakKeyDictionary[object, dict[str, int]] = weakref.WeakKeyDictionary()
        self._next: dict[tuple[str, str], int] = {}
        self._seen: weakref.WeakKeyDictionary[object, dict[tuple[str, int], None]] = weakref.WeakKeyDictionary()
        """For each ring messages that were seen before they were taken, if they ever are; the newest `_MOST_SEEN`."""
        self._taken: weakref.WeakKeyDictionary[object, dict[str, int]] = weakref.WeakKeyDictionary()
        """For each ring and publisher the number of the message that was taken last."""

    def number(self, topic: str, publisher: str, ring: object) -> int:
        """The ``source`` of a publisher, see `observe.External`: the same for each of its messages."""
        numbers = self._numbers.setdefault(ring, {})
        number = numbers.get(publisher)
        if number is None:
            number = self._next.get((topic, publisher), 1 if publisher in self._nodes else 0)
            self._next[topic, publisher] = number + 1
            numbers[publisher] = number
        return number

    def is_new(self, ring: object, index: int, publisher: str, seq: int) -> bool:
        """Whether nobody took or saw it before; ``index`` is that behind the message, in its ring."""
        if index <= self._read.get(ring, 0):
            return False
        self._read[ring] = index
        self._taken.setdefault(ring, {})[publisher] = seq
        seen = self._seen.get(ring)
        return not seen or seen.pop((publisher, seq), _NEVER) is _NEVER

    def is_new_sight(self, ring: object, publisher: str, seq: int) -> bool:
        """The same for one that is seen and stays where it is."""
        seen = self._seen.setdefault(ring, {})
        if (publisher, seq) in seen or seq <= self._taken.get(ring, {}).get(publisher, -1):
            return False
        seen[publisher, seq] = None
        if len(seen) > _MOST_SEEN:
            del seen[next(iter(seen))]
        return True
