"""What footers say about topics: how many messages, how large, in which ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define

if TYPE_CHECKING:

    class Tally(Protocol):
        """What is counted of messages."""

        count: int
        bytes: int
        first_tick: int
        last_tick: int


class Counting:
    """How a tally counts, whatever else it has."""

    __slots__ = ()

    def see(self: Tally, tick: int, size: int, /) -> None:
        """Count a message."""
        if not self.count:
            self.first_tick = self.last_tick = tick
        elif tick > self.last_tick:
            self.last_tick = tick
        elif tick < self.first_tick:
            self.first_tick = tick
        self.count += 1
        self.bytes += size


@define
class TopicTally(Counting):
    """A topic in a file: what a node or an external publisher sent on it."""

    topic: str
    publisher: str | None = None
    """Only in the file for external messages; elsewhere the file is the publisher's."""
    count: int = 0
    bytes: int = 0
    """Of the messages as JSON text, without the rest of their lines."""
    first_tick: int = 0
    """The lowest tick; meaningless without messages, as is ``last_tick``."""
    last_tick: int = 0

    def add(self, other: TopicTally) -> None:
        """Add another's counts of the same topic."""
        if not other.count:
            return
        if not self.count:
            self.first_tick, self.last_tick = other.first_tick, other.last_tick
        self.count += other.count
        self.bytes += other.bytes
        self.first_tick = min(self.first_tick, other.first_tick)
        self.last_tick = max(self.last_tick, other.last_tick)


class Tallies(dict[tuple[str, str | None], TopicTally]):
    """Tallies by topic and publisher."""

    def see(self, topic: str, publisher: str | None, tick: int, size: int) -> None:
        """Count a message."""
        key = topic, publisher
        tally = self.get(key)
        if tally is None:
            tally = self[key] = TopicTally(topic, publisher)
        tally.see(tick, size)

    def add(self, tally: TopicTally) -> None:
        """Add the counts of a topic."""
        if tally.count:
            self.setdefault((tally.topic, tally.publisher), TopicTally(tally.topic, tally.publisher)).add(tally)

    def rows(self) -> list[TopicTally]:
        """All of them, sorted by name."""
        return sorted(self.values(), key=lambda tally: (tally.topic, tally.publisher or ""))
