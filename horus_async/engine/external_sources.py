"""External publishers, told apart by the ring that a message came in, whatever their names."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container


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

    def number(self, topic: str, publisher: str, ring: object) -> int:
        """The ``source`` of a publisher, see `observe.External`: the same for each of its messages."""
        numbers = self._numbers.setdefault(ring, {})
        number = numbers.get(publisher)
        if number is None:
            number = self._next.get((topic, publisher), 1 if publisher in self._nodes else 0)
            self._next[topic, publisher] = number + 1
            numbers[publisher] = number
        return number

    def is_new(self, ring: object, index: int) -> bool:
        """Whether nobody took it before; ``index`` is that behind the message, in its ring."""
        if index <= self._read.get(ring, 0):
            return False
        self._read[ring] = index
        return True
