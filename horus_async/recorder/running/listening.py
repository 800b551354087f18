"""All topics of a namespace, as the programs that run publish them, read from outside."""

from __future__ import annotations

import weakref
from collections.abc import Callable  # noqa: TC003 - of an attrs class
from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.clock.system import monotonic_ns
from horus_async.engine.external_sources import ExternalSources
from horus_async.errors import TopicError
from horus_async.observe import External
from horus_async.topics.bus import Bus
from horus_async.topics.codec import as_bytes, to_json
from horus_async.topics.external.notices import ring_title
from horus_async.topics.external.rings import ring_file
from horus_async.topics.packed.marks import MARK, MARK_BYTES
from horus_async.topics.ring.names import topic_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.topics.subscriber import Subscriber

new_tuple = tuple.__new__
LOOK_NS = 20_000_000
"""How often new topics are looked for. What was sent on them before is read all the same."""
MOST_AT_ONCE = 512
"""Messages, and bytes, that are taken from a topic before the next one has its turn."""
MOST_BYTES_AT_ONCE = 4 << 20


@define(eq=False)
class _Place:
    """Where a topic is read."""

    subscriber: Subscriber
    lost: int = 0
    """Of its messages, as far as was told."""
    count: int = 0
    """Messages that were read."""
    moved: bool = False
    """Whether anything was read since: only then something else can have been lost, as a rule."""
    ring: Callable[[], object] = lambda: None
    """The one that the last message came in, as a weak reference."""
    sources: dict[str, int] = field(factory=dict)
    """The numbers of the publishers in that ring."""


class Listening:
    """Reads every topic of a namespace from now on, those that come later from their first message.

    Args:
        namespace: Its name.
        takes: Whether a topic is read.
    """

    def __init__(self, namespace: str, takes: Callable[[str], bool]) -> None:
        self._takes = takes
        self._places: dict[str, _Place] = {}
        self._known: set[str] = set()
        self._marks: set[bytes] = set()
        self._numbers = ExternalSources(())
        self._next_look_ns = 0
        self._bus = Bus(namespace)

    @property
    def counts(self) -> dict[str, int]:
        """The messages that were read, by topic."""
        return {topic: place.count for topic, place in self._places.items()}

    def unreadable(self) -> dict[str, str]:
        """The rings that could not be read: why, by their titles.

        Of one whose topic has a very long name it is not known whether that is read: it is among these.
        """
        files = ((ring_file(name), why) for name, why in sorted(self._bus.never_read().items()))
        return {
            ring_title(file.name): why
            for file, why in files
            if file is not None and ((topic := topic_in(file.component)) is None or self._takes(topic))
        }

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self._bus.close()

    def behind(self) -> Callable[[], bool]:
        """Tells whether some of what has been sent by now is still to be read."""
        sent = [(place.subscriber, place.subscriber.arrived) for place in self._places.values()]
        return lambda: any(subscriber.consumed < arrived for subscriber, arrived in sent)

    def look(self, *, at_once: bool = False) -> None:
        """Look for new topics, now and then.

        Args:
            at_once: However short ago that was.

        Raises:
            TopicPermissionError: the namespace's folder is not ours.
        """
        now_ns = monotonic_ns()
        if now_ns < self._next_look_ns and not at_once:
            return
        self._next_look_ns = now_ns + LOOK_NS
        for topic in self._bus.published():
            if topic not in self._known:
                self._known.add(topic)
                if self._takes(topic):
                    self._places[topic] = _Place(self._bus.subscriber(topic, from_start=True))

    def heard(self, tick_of: Callable[[int], int]) -> list[External]:
        """What has come, topic by topic, of each only so much: ask again for the rest.

        Args:
            tick_of: the tick of a message by its stamp.
        """
        found: list[External] = []
        for topic, place in self._places.items():
            self._hear(topic, place, tick_of, found.append)
        return found

    def lost(self, *, thorough: bool = False) -> Iterator[tuple[str, int]]:
        """How many messages of which topics were overwritten before they were read, since this was asked last.

        Args:
            thorough: Also look at topics of which nothing was read meanwhile: a ring that has ended may be let go of.
        """
        for topic, place in self._places.items():
            if not (place.moved or thorough):
                continue
            place.moved = False
            more = place.subscriber.lost - place.lost
            if more > 0:
                place.lost += more
                yield topic, more

    def _hear(
        self, topic: str, place: _Place, tick_of: Callable[[int], int], put: Callable[[External], object]
    ) -> None:
        take, marks, source = place.subscriber.take, self._marks, self._source
        count, left = 0, MOST_BYTES_AT_ONCE
        while count < MOST_AT_ONCE and left > 0 and (taken := take()) is not None:
            payload, publisher, seq, stamp_ns = taken
            if type(payload) is not bytes:
                payload = as_bytes(payload)
            if payload[:2] == MARK and payload[:MARK_BYTES] not in marks:
                self._learn(payload)
            tick = tick_of(stamp_ns)
            put(new_tuple(External, (tick, topic, publisher, seq, stamp_ns, payload, source(topic, place, publisher))))
            count += 1
            left -= len(payload)
        if count:
            place.moved = True
            place.count += count

    def _source(self, topic: str, place: _Place, publisher: str) -> int:
        reader = place.subscriber.reader
        ring = None if reader is None else reader.source
        if ring is None:  # it has ended meanwhile
            return 0
        if place.ring() is not ring:
            place.ring, place.sources = weakref.ref(ring), {}
        number = place.sources.get(publisher)
        if number is None:
            number = place.sources[publisher] = self._numbers.number(topic, publisher, ring)
        return number

    def _learn(self, payload: bytes) -> None:
        """Know the class of a message while the ring that describes it is there: it is written a little later."""
        try:
            to_json(payload)
        except TopicError:
            return  # its line cannot be written, which is counted there
        self._marks.add(payload[:MARK_BYTES])
