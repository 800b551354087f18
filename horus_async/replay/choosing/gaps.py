"""Empty time: ticks in which nothing is played that was recorded."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from horus_async.recorder import Session


class EmptyTime:
    """Says how much of a replay's time is to be skipped: what is empty for longer than a limit. No tick is left out.

    Args:
        ticks: Makes an iterator over the ticks with messages, in order, anew for each round of a loop.
        limit_ns: How much of a stretch of empty time is played.
    """

    def __init__(self, ticks: Callable[[], Iterator[int]], limit_ns: int) -> None:
        self._make = ticks
        self._limit_ns = limit_ns
        self.skipped_ns = 0
        """In all."""
        self.rewind()

    def rewind(self) -> None:
        """Start over."""
        self._ticks = self._make()
        self._next = next(self._ticks, None)
        self._busy_ns: int | None = None
        self._there_ns = 0
        """Up to here it was said what is to be skipped."""

    def skip(self, tick: int, at_ns: int) -> int:
        """How many of the nanoseconds up to the next tick, which begins at that moment, are to be skipped."""
        if self._busy_ns is None:
            self._busy_ns = self._there_ns = at_ns
        played_until_ns = max(self._there_ns, self._busy_ns + self._limit_ns)
        skipped = max(0, at_ns - played_until_ns)
        self._there_ns = at_ns
        while self._next is not None and self._next <= tick:
            self._busy_ns = at_ns
            self._next = next(self._ticks, None)
        self.skipped_ns += skipped
        return skipped


def busy_ticks(
    session: Session, nodes: Sequence[str], start: int | None, stop: int | None, takes: Callable[[str], bool]
) -> Iterator[int]:
    """The ticks in which these nodes, or others outside, sent something on topics that are taken."""

    def of_node(node: str) -> Iterator[int]:
        return (sent.tick for sent in session.outputs(node, start, stop) if takes(sent.topic))

    external = (message.tick for message in session.external(start, stop) if takes(message.topic))
    return heapq.merge(*(of_node(node) for node in nodes), external)
