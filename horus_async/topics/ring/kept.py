"""What a writer keeps for late readers: the last messages of its ring."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from horus_async.errors import MessageTooLargeError

from .layout import RING_LIMIT, SEGMENTS, rounded_capacity
from .region import KEPT, LATEST

if TYPE_CHECKING:
    from .region import Region


class _Place(NamedTuple):
    region: Region
    position: int
    size: int


class KeptMessages:
    """Where the last messages of a ring are, which are not to be overwritten. Its writer's turn is held."""

    __slots__ = ("_places", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        """How many are kept."""
        self._places: deque[_Place] = deque()

    def note(self, region: Region, end: int) -> None:
        """See to the newest message of the ring, which ends at ``end``.

        Ctrl-C may strike anywhere: the next call does what was left undone.
        """
        places = self._places
        position = region.words[LATEST]
        if position and not (places and places[-1].region is region and places[-1].position == position):
            places.append(_Place(region, position, end - position))
        while len(places) > self.count:
            before, first = places[0], places[1]
            first.region.words[KEPT] = first.position  # at once: a late reader looks at older generations first
            if before.region is not first.region:
                before.region.words[KEPT] = 0
            places.popleft()
        if places:
            places[0].region.words[KEPT] = places[0].position

    def capacity(self, topic: str, region: Region, tail: int, size: int) -> int:
        """The capacity that the ring needs so that a message of ``size`` bytes leaves alone what is kept.

        Raises:
            MessageTooLargeError: no ring is large enough.
        """
        capacity = region.capacity
        first = next((place.position for place in self._places if place.region is region), None)
        if first is None or first >= stretch(tail, size, capacity)[1] - capacity:
            return capacity
        needed = size + sum(place.size for place in self._places)
        wanted = max(rounded_capacity(2 * needed), min(2 * capacity, RING_LIMIT))
        if wanted <= capacity:
            raise MessageTooLargeError(
                f"topic {topic!r} keeps its last {self.count} messages: with one more of {size} bytes they take "
                f"{needed} bytes, and a ring holds at most RING_LIMIT = {RING_LIMIT}; keep fewer, or send smaller ones"
            )
        return wanted


def stretch(tail: int, size: int, capacity: int) -> tuple[int, int]:
    """Where a record of ``size`` bytes goes that is written after ``tail``, and the end of the stretch it opens."""
    behind = tail & (capacity - 1)
    start = tail + (capacity - behind if behind + size > capacity else 0)
    segment = capacity // SEGMENTS
    return start, (start + size + segment - 1) & -segment
