"""The messages of a session, by name and by moment: what verified nodes read."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from horus_async.recorder import Session
    from horus_async.recorder.records import EarlierMessage, ExternalMessage, RecordedOutput
    from horus_async.topics.ring.region import Taken

_KEPT_BYTES = 64 << 20
"""Of messages that were read already and may be asked for again."""
_MOST_SEARCHES = 20
"""So many messages of one topic and publisher are looked for in the whole file before the rest is given up."""
_KEPT_IN_VIEW = 4096


class Identity(NamedTuple):
    """Names one message of a session."""

    topic: str
    publisher: str
    seq: int
    source: int


class Messages:
    """Finds messages by their names. They are mostly asked for in the order in which they were sent.

    Args:
        session: Where they are.
        start: The tick from which on they will mostly be asked for.
        topics: Those that will be; others are found too, more slowly.
    """

    def __init__(self, session: Session, start: int | None, topics: Iterable[str]) -> None:
        self._session = session
        self._start = None if start is None else start - 1
        self._topics = set(topics)
        self._streams: dict[str | None, Iterator[tuple[Identity, Any]]] = {}
        self._kept: dict[Identity, tuple[Taken, int]] = {}
        """By name: the message, and the tick in which it was sent or first read."""
        self._kept_bytes = 0
        self._searches: dict[tuple[str, str], int] = {}
        self._earlier: dict[Identity, EarlierMessage] | None = None

    def find(self, wanted: Identity) -> Taken | None:
        """The message; None if the session lacks it."""
        found = self._find(wanted)
        return None if found is None else found[0]

    def sent_ns(self, wanted: Identity) -> int | None:
        """Nanoseconds from the first scheduler tick to when it was sent; None if the session lacks it."""
        found = self._find(wanted)
        if found is None:
            return None
        external = self._publisher(wanted) is None
        return self._session.clock.sent_ns(found[0][3], found[1], external=external)

    def _publisher(self, wanted: Identity) -> str | None:
        """The node in whose file a message is; None for the file of external messages."""
        of_node = wanted.source == 0 and wanted.publisher in self._session.nodes
        return wanted.publisher if of_node else None

    def _find(self, wanted: Identity) -> tuple[Taken, int] | None:
        found = self._kept.get(wanted) or self._find_earlier(wanted)
        if found is not None:
            return found
        self._topics.add(wanted.topic)
        where = self._publisher(wanted)
        if where not in self._streams:
            self._streams[where] = self._read(where, self._start)
        for name, message in self._streams[where]:
            if name.topic in self._topics:
                taken = self._keep(name, message)
                if name == wanted:
                    return taken
        return self._search(wanted, where)

    def close(self) -> None:
        """Let go of the files."""
        self._streams.clear()

    def _search(self, wanted: Identity, where: str | None) -> tuple[Taken, int] | None:
        """Look for it in all of the file: it is older than what was kept, or not there at all."""
        key = wanted.topic, wanted.publisher
        if self._searches.get(key, 0) >= _MOST_SEARCHES:
            return None
        for name, message in self._read(where, None):
            if name == wanted:
                return self._keep(name, message)
        self._searches[key] = self._searches.get(key, 0) + 1
        return None

    def _find_earlier(self, wanted: Identity) -> tuple[Taken, int] | None:
        """Look for it among those from before a session that was cut."""
        if self._earlier is None:
            self._earlier = {Identity(m.topic, m.publisher, m.seq, m.source): m for m in self._session.earlier()}
        found = self._earlier.get(wanted)
        if found is None:
            return None
        return (found.payload, found.publisher, found.seq, found.stamp_ns), found.tick

    def _keep(self, name: Identity, message: RecordedOutput | ExternalMessage) -> tuple[Taken, int]:
        payload = message.payload
        taken = self._kept[name] = (payload, name.publisher, name.seq, message.stamp_ns), message.tick
        self._kept_bytes += len(payload)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept)))[0][0])
        return taken

    def _read(self, node: str | None, start: int | None) -> Iterator[tuple[Identity, Any]]:
        if node is None:
            for message in self._session.external(start):
                yield Identity(message.topic, message.publisher, message.seq, message.source), message
        else:
            for sent in self._session.outputs(node, start):
                yield Identity(sent.topic, node, sent.seq, 0), sent


class Moment(NamedTuple):
    """Where a verification is."""

    tick: int
    stamp_ns: int
    """A message with this stamp was sent now."""
    begun: frozenset[str] | set[str]
    """Nodes whose turn in this scheduler tick has come."""
    began_ns: int = -1
    """The stamp of messages that were sent as the scheduler tick began; -1 where that is not known."""
    ended: frozenset[str] = frozenset()
    """In the last scheduler tick, after all turns: live nodes, whose messages may be those of their ``shutdown``."""


class View:
    """What had been sent on one topic by a moment, for a node that looks where the recorded one did not.

    Args:
        session: Where the messages are.
        topic: Their topic.
        start: The first tick that is verified; None for the first.
        sent_live: Gives the places of the messages that a live node has sent on a topic, among all of the verification.
            In virtual time they tell in which order those of one instant were sent, which no file says.
        reader: The node. What it sends itself it can see once it has.
    """

    def __init__(
        self,
        session: Session,
        topic: str,
        start: int | None,
        sent_live: Callable[[str, str], Sequence[int]],
        reader: str,
    ) -> None:
        self._reader = reader
        self._deterministic = session.deterministic
        self._clock = session.clock
        self._topic = topic
        self._sent_live = sent_live
        self._sources: list[tuple[str | None, Iterator[Any]]] = [
            (node, (sent for sent in session.outputs(node, start) if sent.topic == topic))
            for node in session.nodes
            if topic in session.output_topics(node)
        ]
        self._sources.append((None, (message for message in session.external(start) if message.topic == topic)))
        self._heads = [next(messages, None) for _, messages in self._sources]
        self._counts = [0] * len(self._sources)
        """How many of each have been taken in."""
        self._sent: deque[Taken] = deque(maxlen=_KEPT_IN_VIEW)
        self.count = 0
        """Messages sent so far."""

    def come_to(self, moment: Moment) -> None:
        """Take in what has been sent meanwhile."""
        while True:
            there = [
                (head.tick, head.stamp_ns, self._place(number), number)
                for number, head in enumerate(self._heads)
                if head is not None and self._was_sent(number, head, moment)
            ]
            if not there:
                return
            number = min(there)[3]
            node, messages = self._sources[number]
            head = self._heads[number]
            assert head is not None
            publisher = head.publisher if node is None else node
            self._sent.append((head.payload, publisher, head.seq, head.stamp_ns))
            self.count += 1
            self._counts[number] += 1
            self._heads[number] = next(messages, None)

    def _was_sent(self, number: int, message: RecordedOutput | ExternalMessage, moment: Moment) -> bool:
        node = self._sources[number][0]
        if message.tick != moment.tick or node is None:
            return message.tick <= moment.tick
        if message.stamp_ns != moment.stamp_ns or not self._deterministic:
            return message.stamp_ns < moment.stamp_ns
        if node == self._reader or node in moment.ended:
            return self._place(number) < math.inf
        if node in moment.begun or -1 < moment.began_ns < message.stamp_ns:
            return True
        return self._place(number) < math.inf  # by a task, before its node's turn

    def _place(self, number: int) -> float:
        """Of the next message of a source; infinite where the live node has not sent so many."""
        node, count = self._sources[number][0], self._counts[number]
        if node is None or not self._deterministic:
            return math.inf
        places = self._sent_live(node, self._topic)
        return places[count] if count < len(places) else math.inf

    def next_ns(self) -> int | None:
        """When the next message was sent that has not been yet, in the session's own time; None if there is none."""
        heads = (head for head in self._heads if head is not None)
        return min((self._clock.sent_ns(head.stamp_ns, head.tick) for head in heads), default=None)

    def newest(self) -> Taken | None:
        """The newest message."""
        return self._sent[-1] if self._sent else None

    def get(self, index: int) -> tuple[int, Taken] | None:
        """The message of that number, or the oldest that is kept after it; with the number it has."""
        index = max(index, self.count - len(self._sent))
        if index >= self.count:
            return None
        return index, self._sent[index - self.count + len(self._sent)]
