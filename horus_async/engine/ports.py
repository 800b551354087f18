"""A node's view of the topics during a run: what it sends and takes, noted for whoever watches."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

from horus_async.observe import Received, Sent
from horus_async.topics import Borrowing, Message, check_topic_name
from horus_async.topics.codec import as_bytes, decode, encode

if TYPE_CHECKING:
    from horus_async.recorder.records import ExecutionRecord
    from horus_async.topics import Bus, Publisher, Subscriber
    from horus_async.topics.ring.reader import Loan, RingReader
    from horus_async.topics.ring.region import Taken
    from horus_async.topics.values.payload import Payload


new_tuple: Any = tuple.__new__
"""Makes a named tuple past its own ``__new__``, which is a function in Python and takes as long as all the rest."""


class Run(Protocol):
    """What ports need of the run they belong to."""

    tick: int
    sent: list[Sent]
    observed: bool

    def stamp_ns(self) -> int:
        """The time for a message that is sent now."""

    def topic_used(self, node: str, topic: str, *, writes: bool) -> None:
        """A node used a topic for the first time."""

    def took_external(self, topic: str, taken: Taken, reader: RingReader) -> int:
        """A node took a message from outside the run; gives the number of its source."""

    def outside_source(self, topic: str, publisher: str, reader: RingReader) -> int:
        """The number of the source of the message from outside that ``reader`` gave last."""

    def stop(self, reason: str = ...) -> None:
        """End the run."""


class Ports:
    """The topics of one node in one run."""

    def __init__(self, node: str, bus: Bus, run: Run) -> None:
        self._node = node
        self._bus = bus
        self._run = run
        self._own = bus.own
        self._publishers: dict[str, Publisher] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._lost = 0
        self.inputs: list[Received] = []
        self.outputs: list[Sent] = []

    def publisher(self, topic: str) -> Publisher:
        """The node's publisher for ``topic``, opened at its first use."""
        publisher = self._publishers.get(topic)
        if publisher is None:
            publisher = self._bus.publisher(check_topic_name(topic), self._node)
            self._publishers[topic] = publisher
            self._run.topic_used(self._node, topic, writes=True)
        return publisher

    def subscriber(self, topic: str) -> Subscriber:
        """The node's read position in ``topic``, opened at its first use; it starts where the run began."""
        subscriber = self._subscribers.get(topic)
        if subscriber is None:
            subscriber = self._bus.subscriber(check_topic_name(topic), from_start=True)
            self._subscribers[topic] = subscriber
            self._run.topic_used(self._node, topic, writes=False)
        return subscriber

    def begin(self) -> None:
        """Forget what was noted: a callback begins."""
        self.inputs = []
        self.outputs = []

    def expect(self, line: ExecutionRecord | None) -> None:
        """A tick begins in whose place ``line`` was recorded; only a verified node minds."""

    def send(self, topic: str, value: Any) -> None:
        """See `Node.send`."""
        publisher = self._publishers.get(topic) or self.publisher(topic)
        payload = encode(value, publisher.forms)
        run = self._run
        stamp_ns = run.stamp_ns()
        seq = publisher.publish(payload, stamp_ns)
        if run.observed:
            self.note(topic, seq, stamp_ns, payload)

    def note(self, topic: str, seq: int, stamp_ns: int, payload: Payload) -> None:
        """Note a message that went out."""
        run = self._run
        if not isinstance(payload, bytes):
            payload = b"".join(payload)
        sent = new_tuple(Sent, (self._node, topic, seq, stamp_ns, payload, run.tick))
        self.outputs.append(sent)
        run.sent.append(sent)

    def take(self, topic: str) -> Taken | None:
        """The next unread message as it lies in the ring."""
        subscriber = self._subscribers.get(topic) or self.subscriber(topic)
        taken = subscriber.take()
        if taken is not None and self._run.observed:
            self._took(topic, taken, subscriber.reader)
        return taken

    def take_loan(self, topic: str) -> Loan | None:
        """The next unread message, left where it is."""
        subscriber = self._subscribers.get(topic) or self.subscriber(topic)
        loan = subscriber.borrow()
        if loan is not None and self._run.observed:
            (taken, place), reader = loan, subscriber.reader
            if place is not None and self._is_outside(reader):  # it is recorded: whole or not at all
                taken = as_bytes(taken[0]), *taken[1:]
                if place.overwritten():
                    return loan
            self._took(topic, taken, reader)
        return loan

    def _took(self, topic: str, taken: Taken, reader: RingReader | None) -> None:
        source = 0
        if reader is not None and self._is_outside(reader):
            source = self._run.took_external(topic, taken, reader)
        self.inputs.append(new_tuple(Received, (topic, taken[1], taken[2], source)))

    def _is_outside(self, reader: RingReader | None) -> bool:
        # By the ring, not by the name: nodes of other processes may be called like one of this run.
        return reader is not None and reader.source not in self._own

    def borrow(self, topic: str) -> Borrowing:
        """See `Node.borrow`."""
        return Borrowing(topic, functools.partial(self.take_loan, topic))

    def recv(self, topic: str, default: Any) -> Any:
        """See `Node.recv`."""
        taken = self.take(topic)
        return default if taken is None else decode(taken[0])

    def recv_all(self, topic: str) -> list[Any]:
        """See `Node.recv_all`."""
        values = []
        while (taken := self.take(topic)) is not None:
            values.append(decode(taken[0]))
        return values

    def recv_message(self, topic: str) -> Message | None:
        """See `Node.recv_message`."""
        taken = self.take(topic)
        if taken is None:
            return None
        payload, publisher, seq, stamp_ns = taken
        return Message(decode(payload), topic, seq, stamp_ns, publisher)

    def latest(self, topic: str) -> Any:
        """See `Node.latest`."""
        newest = self.subscriber(topic).latest()
        return None if newest is None else decode(newest[0])

    def has_msg(self, topic: str) -> bool:
        """See `Node.has_msg`."""
        return self.subscriber(topic).has_message()

    async def receive(self, topic: str) -> Any:
        """See `Node.receive`."""
        while (taken := self.take(topic)) is None:
            await self.subscriber(topic).wait()
        return decode(taken[0])

    def lost(self, topic: str) -> int:
        """See `Node.lost`."""
        return self.subscriber(topic).lost

    def lost_in_all(self) -> int:
        """Messages lost in all topics of the node."""
        return self._lost + sum(subscriber.lost for subscriber in list(self._subscribers.values()))

    def close(self) -> None:
        """Let go of the topics' memory when the run is over; `lost_in_all` still answers."""
        self._lost = self.lost_in_all()
        for subscriber in self._subscribers.values():
            subscriber.close()
        self._subscribers.clear()
        self._publishers.clear()

    def request_stop(self) -> None:
        """See `Node.request_stop`."""
        self._run.stop()
