"""The objects of a kind that are alive, listed in any thread while others make and drop some."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


class LiveObjects(Generic[T]):
    """A set of objects, by identity, that holds none of them.

    Listing a ``weakref.WeakSet`` fails in Python 3.11 to 3.13 if another thread adds to it meanwhile. Here each step is
    one operation on a dict, and what is listed are those of one moment.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, one: T) -> None:
        """Add an object, until it is discarded or nobody else has it."""
        number = id(one)
        references = self._references  # not self: the callback would keep it
        references[number] = weakref.ref(one, lambda _: references.pop(number, None))

    def update(self, several: Iterable[T]) -> None:
        """Add objects."""
        for one in several:
            self.add(one)

    def discard(self, one: T) -> None:
        """Take an object out, if it is in."""
        self._references.pop(id(one), None)

    def clear(self) -> None:
        """Take all out."""
        self._references.clear()

    def __contains__(self, one: object) -> bool:
        return id(one) in self._references

    def __len__(self) -> int:
        return len(self._references)

    def __iter__(self) -> Iterator[T]:
        references = list(self._references.values())
        return iter([one for reference in references if (one := reference()) is not None])
