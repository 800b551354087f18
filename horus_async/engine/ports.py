"""A node's view of the topics during a run: what it sends and takes, noted for whoever watches."""

from __future__ import annotations

import functools
import logging
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from horus_async import topics
from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import monotonic_ns
from horus_async.errors import ContextError, TopicError, TopicTypeError
from horus_async.native import core
from horus_async.nodes.context import INIT_TICK, SHUTDOWN_TICK, CallGuard, TickContext, WorkContext, current
from horus_async.nodes.node import types_of
from horus_async.observe import Noted, Received, Sent
from horus_async.topics.codec import as_bytes, decode, encode
from horus_async.topics.ring.names import check_topic_name
from horus_async.topics.subscriber import wait_any

from .core.state import PortsCore
from .pace.virtual import StillPace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from horus_async.clock.event_loop import Scope
    from horus_async.nodes.interface.asking import Asking
    from horus_async.nodes.interface.identity import Request
    from horus_async.nodes.node import Node
    from horus_async.nodes.topic_access import Synced
    from horus_async.topics import Borrowing, Bus, Message, Publisher, Subscriber
    from horus_async.topics.ring.reader import Loan, RingReader
    from horus_async.topics.ring.region import Taken
    from horus_async.topics.values.payload import Payload

    from .audience import Audience
    from .pace.time_of_day import TimeOfDay


_log = logging.getLogger("horus_async")

new_tuple: Any = tuple.__new__
"""Makes a named tuple past its own ``__new__``, which is a function in Python and takes as long as all the rest."""

MOST_REFUSED = 1000
"""So many messages that are none are left out in one call; others may be written as fast."""
MOST_TOLD = 100
"""Of so many publishers a node tells that their messages are none."""

MOST_LOOKS = 1000
"""So many different answers are noted of one callback, topic and question; a callback may last for ever."""


def check_free(node: Node) -> None:
    """Refuse a node that is running already.

    Raises:
        ContextError: It takes part in another run.
    """
    if node._ports is not None:  # noqa: SLF001 - see `Ports.attach`
        raise ContextError(f"node {node.name!r} is running already, in another scheduler")


class Run(Protocol):
    """What ports need of the run they belong to."""

    tick: int
    audience: Audience
    time_of_day: TimeOfDay
    unordered: set[str]
    """Topics of requests and what comes back."""

    def stamp_ns(self) -> int:
        """The time for a message that is sent now."""

    def topic_used(self, node: str, topic: str, *, writes: bool) -> None:
        """A node used a topic for the first time."""

    def first_seq(self, node: str, topic: str) -> int:
        """The number of a node's first request on a topic: in a replay it goes on where the recorded node was."""

    def took_external(self, topic: str, taken: Taken, reader: RingReader) -> int:
        """A node took an external message; gives the number of its source."""

    def saw_external(self, topic: str, newest: Taken, reader: RingReader) -> int:
        """A node saw an external message without taking it; gives the number of its source."""

    def external_source(self, topic: str, publisher: str, reader: RingReader) -> int:
        """The number of the source of the external message that ``reader`` gave last."""

    def start_task(self, node: str, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        """Start a task of a node's own."""

    def start_thread(self, node: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Start a thread of a node's own."""

    def stop(self, reason: str = ...) -> None:
        """End the run."""


class Guarding(CallGuard, Protocol):
    """Watches a run for calls that break determinism."""

    def ports(self, node: str, bus: Bus, run: Run) -> Ports:
        """A node's topics, watched."""


class Ports(PortsCore):
    """The topics of one node in one run."""

    def __init__(self, node: str, bus: Bus, run: Run) -> None:
        super().__init__()
        self._node = node
        self._bus = bus
        self._run = run
        self._audience = run.audience
        self._time_of_day = run.time_of_day
        self._own = bus.own
        self._own_time = bus.isolated
        self._lost = 0
        self.refused = 0
        """Messages of other processes that were left out because they are none."""
        self._refused_last: dict[str, tuple[str, int]] = {}
        self._told: set[tuple[str, str]] = set()
        self._sent_types: dict[str, type] = {}
        self._read_types: dict[str, type] = {}
        self._lent_to: Node | None = None
        self._asking: dict[bool, Asking] = {}
        self._apart: dict[str, Subscriber] = {}
        """Places in topics that tasks of the node have, not its callbacks."""
        self.wait_scope: Scope | None = None
        """Where ``init`` or ``shutdown`` waits for a message: to be cancelled if none can come."""
        self._work_is_over = False
        """Whether these may not send any more."""
        self.syncs: dict[str, Synced] = {}
        """What matches a topic's messages with those of others."""
        self._unmatched = 0

    def attach(self, node: Node) -> None:
        """Lend these to a node, for as long as the run lasts.

        Raises:
            ContextError: It takes part in another run.
        """
        check_free(node)
        self._sent_types, self._read_types = types_of(node)
        if self._sent_types:
            self.send = self._send_typed  # type: ignore[method-assign] # past the native core, for this node alone
        if self._read_types:
            self.recv = self._recv_typed  # type: ignore[method-assign, assignment]
        node._ports = self  # noqa: SLF001 - here and in `detach` alone
        self._lent_to = node

    def detach(self) -> None:
        """The run is over: the node has no topics any more, and their memory is let go."""
        if self._lent_to is not None:
            self._lent_to._ports = None  # noqa: SLF001
            self._lent_to = None
            for method in ("send", "recv"):
                vars(self).pop(method, None)
        self.close()

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

    def begin_again(self) -> None:
        """The node's ``init`` is to run again, or the run is over, and with it what has been matched by now."""
        self._unmatched = self.unmatched
        self.syncs = {}

    @property
    def unmatched(self) -> int:
        """Messages that found no partners in a ``sync`` of the node."""
        return self._unmatched + sum(sync.unmatched_in_all for sync in set(self.syncs.values()))

    def end_work(self) -> None:
        """Tasks and threads of the node's own may not send any more."""
        self._work_is_over = self._has_work

    def send_slowly(self, topic: str, value: Any) -> None:
        """Encode a value, publish it, and tell of it."""
        self._send(topic, value)

    def _send(self, topic: str, value: Any) -> tuple[int, int]:
        """The same; gives the number and the stamp that the message got."""
        if self._has_work and self._is_over():
            raise ContextError(
                f"send({topic!r}) from a thread or task of node {self._node!r} that was to end: the run has ended, or "
                "the node was started again"
            )
        publisher = self._publishers.get(topic) or self.publisher(topic)
        payload = encode(value, publisher.forms)
        tick = sent_ns = None
        if self._own_time:
            stamp_ns = self._run.stamp_ns()
        else:
            tick, shift_ns, _ = self._time_of_day.dial  # at once: a thread may be overtaken by the next tick
            sent_ns = monotonic_ns()
            if shift_ns is not None:
                stamp_ns = sent_ns + shift_ns
            else:
                tick, stamp_ns = None, self._run.stamp_ns()
        seq = publisher.publish(payload, stamp_ns, None, sent_ns)
        if self._audience.hears_messages:
            self.tell(topic, seq, stamp_ns, payload, tick)
        return seq, stamp_ns

    if core is None:
        send = send_slowly

    def _send_typed(self, topic: str, value: Any) -> None:
        """In place of ``send``, for a node that declares what its topics carry."""
        wanted = self._sent_types.get(topic)
        if wanted is not None:
            from horus_async.topics.typed import check_sent  # late, as most nodes do without

            check_sent(topic, wanted, value)
        type(self).send(self, topic, value)

    def play(self, topic: str, payload: Payload, stamp_ns: int, seq: int) -> None:
        """Publish a recorded message, and tell of it."""
        publisher = self._publishers.get(topic) or self.publisher(topic)
        publisher.publish(payload, stamp_ns, seq, None if self._own_time else monotonic_ns())
        if self._audience.hears_messages:
            self.tell(topic, seq, stamp_ns, payload)

    def tell(self, topic: str, seq: int, stamp_ns: int, payload: Payload, tick: int | None = None) -> None:
        """Tell of a message that went out, in the present tick if none is given."""
        if not isinstance(payload, bytes):
            payload = b"".join(payload)
        audience = self._audience
        here = get_ident() == audience.thread
        began = self.began
        if began is not None and (self._has_work or not here) and not self._in_callback():
            began = None
        if tick is None:
            tick = self._run.tick
        message = new_tuple(Sent, (self._node, topic, seq, stamp_ns, payload, tick, began))
        if here:
            audience.sent(message)
        else:
            audience.sent_elsewhere(message)

    def _is_over(self) -> bool:
        """Whether this is a task or thread that may not send any more."""
        context = current.get(None)
        return context.over if type(context) is WorkContext else self._work_is_over and not self._in_callback()

    def _in_callback(self) -> bool:
        """Whether this is the running callback, or a task or thread that it has started."""
        context = current.get(None)
        return context is not None and context.node == self._node and type(context) is TickContext

    def take(self, topic: str) -> Taken | None:
        """The next unread message as it lies in the ring."""
        taken = self._first(topic)
        if self._audience.hears_messages:
            self._note(topic, taken)
        return taken

    def _first(self, topic: str) -> Taken | None:
        """The next unread message, not noted yet: only what can be read is an input."""
        subscriber = self._subscribers.get(topic) or self.subscriber(topic)
        return subscriber.take()

    def _note(self, topic: str, taken: Taken | None) -> None:
        if taken is not None:
            self._took(topic, taken, self._subscribers[topic].reader)
        else:
            self._empty[topic] = self._empty.get(topic, 0) + 1

    def take_loan(self, topic: str) -> Loan | None:
        """The next unread message, left where it is, not noted yet."""
        subscriber = self._subscribers.get(topic) or self.subscriber(topic)
        loan = subscriber.borrow()
        if loan is None and self._audience.hears_messages:
            self._note(topic, None)
        return loan

    async def receive_loan(self, topic: str) -> Loan:
        """Wait for the next unread message, and leave it where it is."""
        while (loan := self.take_loan(topic)) is None:
            await self._wait((topic,))
            if topic in self._empty:
                self._empty[topic] -= 1  # as in `_receive`
        return loan

    def _note_loan(self, topic: str, loan: Loan) -> None:
        if not self._audience.hears_messages:
            return
        (taken, place), reader = loan, self._subscribers[topic].reader
        if place is not None and self._is_external(reader):  # it is recorded: whole or not at all
            taken = as_bytes(taken[0]), *taken[1:]
            if place.overwritten():
                return  # which is an error in the node
        self._took(topic, taken, reader)

    def _took(self, topic: str, taken: Taken, reader: RingReader | None) -> None:
        source = 0
        if reader is not None and self._is_external(reader):
            source = self._run.took_external(topic, taken, reader)
        if self.began is None or (self._has_work and not self._in_callback()):
            return  # only callbacks have inputs
        empty = self._empty.pop(topic, 0) if self._empty else 0
        self.inputs.append(new_tuple(Received, (topic, taken[1], taken[2], source, empty)))

    def _is_external(self, reader: RingReader | None) -> bool:
        # By the ring, not by the name: nodes of other processes may be called like one of this run.
        return reader is not None and reader.source not in self._own

    def borrow(self, topic: str) -> Borrowing:
        """The next unread message, left where it is for a ``with`` or ``async with`` block."""
        wanted = self._read_types.get(topic)
        return topics.Borrowing(
            topic,
            functools.partial(self.take_loan, topic),
            functools.partial(self.receive_loan, topic),
            check_type=None if wanted is None else functools.partial(self._check_type, topic, wanted),
            took=functools.partial(self._note_loan, topic),
            refuse=functools.partial(self._refuse, topic),
        )

    def recv_slowly(self, topic: str, default: Any, taken: Taken | None = None) -> Any:
        """The next unread value, or ``default``; ``taken`` is the next message, if it was taken already."""
        found = self._next_read(topic, taken)
        return default if found is None else found[0]

    if core is None:
        recv = recv_slowly

    def _recv_typed(self, topic: str, default: Any) -> Any:
        """In place of ``recv``, for a node that declares what its topics carry."""
        if topic in self._read_types:
            return self.recv_slowly(topic, default)
        return type(self).recv(self, topic, default)

    def recv_all(self, topic: str) -> list[Any]:
        """All unread values, oldest first."""
        values = []
        while (taken := self._first(topic)) is not None:
            try:
                values.append(self._value_of(topic, taken))
            except TopicError as error:
                self._refuse(topic, taken, error)
                continue
            if self._audience.hears_messages:
                self._note(topic, taken)
        if self._audience.hears_messages:
            self._note(topic, None)
        return values

    def recv_message(self, topic: str) -> Message | None:
        """The next unread message, or None."""
        found = self._next_read(topic)
        if found is None:
            return None
        value, (_, publisher, seq, stamp_ns) = found
        return topics.Message(value, topic, seq, stamp_ns, publisher)

    def _next_read(self, topic: str, taken: Taken | None = None) -> tuple[Any, Taken] | None:
        """The next unread value and what it was read from, in ``taken`` or after; what cannot be read is refused."""
        found = self._next_readable(topic, taken)
        if found is None and self._audience.hears_messages:
            self._note(topic, None)
        return found

    def _next_readable(self, topic: str, taken: Taken | None = None) -> tuple[Any, Taken] | None:
        """The same; that there is none is not noted."""
        for _ in range(MOST_REFUSED):
            taken = taken or self._first(topic)
            if taken is None:
                return None
            try:
                value = self._value_of(topic, taken)
            except TopicError as error:
                self._refuse(topic, taken, error)
                taken = None
                continue
            if self._audience.hears_messages:
                self._note(topic, taken)
            return value, taken
        return None

    def _value_of(self, topic: str, taken: Taken) -> Any:
        """The value of a message.

        Raises:
            TopicError: It cannot be read, or is not what the node declared.
        """
        value = decode(taken[0])
        wanted = self._read_types.get(topic)
        if wanted is not None:
            self._check_type(topic, wanted, value, taken[1])
        return value

    @staticmethod
    def _check_type(topic: str, wanted: type, value: Any, publisher: str) -> None:
        from horus_async.topics.typed import check_received  # late, as most nodes do without

        check_received(topic, wanted, value, lambda: f"sent by {publisher!a}")

    def _is_left_out(self, topic: str, error: TopicError, reader: RingReader | None) -> bool:
        """Whether a message that cannot be taken is left out: another process sent it, or it is of another class.

        All else is a mistake in the program.
        """
        return self._is_external(reader) or (topic in self._read_types and type(error) is TopicTypeError)

    def _refuse(self, topic: str, taken: Taken, error: TopicError, *, newest: bool = False) -> None:
        """Leave out a message that is none, or another than declared: counted, and told once for each publisher.

        Raises:
            TopicError: It is a mistake in the program.
        """
        subscriber = self._subscribers[topic]
        reader = subscriber.newest_from if newest else subscriber.reader
        if not self._is_left_out(topic, error, reader):
            if self._audience.hears_messages and not newest:
                self._note(topic, taken)
            raise error
        _, publisher, seq, _ = taken
        if self._refused_last.get(topic) == (publisher, seq):
            return  # seen before it was taken, or again after that
        self._refused_last[topic] = publisher, seq
        self.refused += 1
        if (topic, publisher) not in self._told and len(self._told) < MOST_TOLD:
            self._told.add((topic, publisher))
            process = "" if reader is None else f" in process {reader.region.pid}"
            _log.warning(
                "a message on topic %r from %s%s is left out, and so are further ones that cannot be read: %s",
                topic,
                ascii(publisher),
                process,
                str(error),  # not the error itself: its traceback would keep the memory mapped
                extra={"node": self._node, "ring": topic},
            )

    def latest(self, topic: str) -> Any:
        """The newest value, or None; it consumes nothing."""
        subscriber = self.subscriber(topic)
        newest, value = subscriber.latest(), None
        if newest is not None:
            try:
                value = self._value_of(topic, newest)
            except TopicError as error:
                if self._audience.hears_messages and not self._is_left_out(topic, error, subscriber.newest_from):
                    self._saw_newest(topic, newest, subscriber)
                self._refuse(topic, newest, error, newest=True)
                newest = None
        if self._audience.hears_messages:
            self._saw_newest(topic, newest, subscriber)
        return value

    def _saw_newest(self, topic: str, newest: Taken | None, subscriber: Subscriber) -> None:
        if newest is None:
            self._looked("latest", topic, None)
            return
        source, reader = 0, subscriber.newest_from
        if reader is not None and self._is_external(reader):
            source = self._run.saw_external(topic, newest, reader)
        self._looked("latest", topic, (newest[1], newest[2], source))

    def _looked(self, asked: str, topic: str, answer: Any) -> None:
        """Note what a callback saw without taking it; no file says it otherwise."""
        looks = self.looks
        if looks is None:
            looks = self.looks = {}
        answers = looks.setdefault((asked, topic), [])
        if answers and answers[-1][0] == answer:
            answers[-1][1] += 1
        elif len(answers) < MOST_LOOKS:
            answers.append([answer, 1])

    def has_msg(self, topic: str) -> bool:
        """Whether an unread message is there; it consumes nothing."""
        waits = self.subscriber(topic).has_message()
        if self._audience.hears_messages:
            self._looked("has_msg", topic, waits)
        return waits

    async def receive(self, topic: str) -> Any:
        """Wait for the next unread value."""
        return (await self._receive((topic,)))[1]

    async def receive_any(self, names: Sequence[str]) -> Message:
        """Wait for the next unread message of any of some topics."""
        topic, value, (_, publisher, seq, stamp_ns) = await self._receive(names)
        return topics.Message(value, topic, seq, stamp_ns, publisher)

    async def _receive(self, names: Sequence[str]) -> tuple[str, Any, Taken]:
        while True:
            for topic in names:
                found = self._next_readable(topic)
                if found is not None:
                    return topic, *found
            if self._audience.hears_messages:
                for topic in names:
                    self._note(topic, None)
            await self._wait(names)
            for topic in names:
                if topic in self._empty:
                    self._empty[topic] -= 1  # it counts where it gives up, not how often it wakes for nothing

    async def _wait(self, names: Sequence[str]) -> None:
        subscribers = [self.subscriber(topic) for topic in names]
        context = current.get(None)
        if context is None or context.seed_tick not in (INIT_TICK, SHUTDOWN_TICK):
            await wait_any(subscribers)
            return
        with event_loop().scope() as self.wait_scope:
            await wait_any(subscribers)
        if self.wait_scope.cancelled_caught:
            raise ContextError(
                f"node {self._node!r} waits for a message on {' or '.join(map(repr, names))} before the first tick or "
                "after the last one, when no node sends any: receive it in a tick, or let the node tick on it (on=...)"
            )

    def lost(self, topic: str) -> int:
        """How many messages were overwritten before they were read."""
        lost = self.subscriber(topic).lost
        if self._audience.hears_messages:
            self._looked("lost", topic, lost)
        return lost

    def lost_in_all(self) -> int:
        """Messages lost in all topics of the node."""
        return self._lost + sum(subscriber.lost for subscriber in list(self._subscribers.values()))

    def close(self) -> None:
        """Let go of the topics' memory when the run is over; `lost_in_all` still answers."""
        self._lost = self.lost_in_all()
        self.begin_again()
        for subscriber in (*self._subscribers.values(), *self._apart.values()):
            subscriber.close()
        self._subscribers.clear()
        self._apart.clear()
        self._publishers.clear()

    def ask(self, topic: str, value: Any, answers: str) -> Request:
        """Send a request, what comes back for which is read from ``answers``; says how that will name it."""
        self._run.unordered.update((topic, answers))
        self._answers(answers)
        publisher = self.publisher(topic)
        publisher.next_seq = publisher.next_seq or self._run.first_seq(self._node, topic)
        seq, stamp_ns = self._send(topic, value)
        from horus_async.nodes.interface.identity import Request  # late, as most nodes do without

        return Request(self._node, seq, None if self._own_time else stamp_ns)

    def asking(self, node: Node) -> Asking:
        """What the node has asked of others: its callbacks, or all of its tasks."""
        in_task = type(current.get(None)) is WorkContext
        asking = self._asking.get(in_task)
        if asking is None:
            from horus_async.nodes.interface.asking import Asking  # late, as above

            asking = self._asking[in_task] = Asking(node, self)
        return asking

    def _answers(self, topic: str) -> Subscriber:
        """The place in a topic of answers: callbacks have the node's, so that theirs are inputs; tasks one apart."""
        if type(current.get(None)) is not WorkContext:
            return self.subscriber(topic)
        subscriber = self._apart.get(topic)
        if subscriber is None:
            subscriber = self._apart[topic] = self._bus.subscriber(check_topic_name(topic), from_start=True)
        return subscriber

    async def receive_answer(self, topic: str) -> Message:
        """Wait for the next unread message in the place that `ask` has opened."""
        while True:
            taken = await self._next_answer(topic)
            with suppress(TopicError):  # else it is nobody's answer
                return topics.Message(decode(taken[0]), topic, taken[2], taken[3], taken[1])

    async def _next_answer(self, topic: str) -> Taken:
        subscriber = self._answers(topic)
        while (taken := subscriber.take()) is None:
            await (self._wait((topic,)) if type(current.get(None)) is not WorkContext else subscriber.wait())
        if self._audience.hears_messages:
            self._took(topic, taken, subscriber.reader)
        return taken

    def gave_up(self, topic: str) -> None:
        """A callback has waited for an answer in vain: in a verification it has to again."""
        if self._audience.hears_messages and type(current.get(None)) is not WorkContext:
            self._note(topic, None)

    def note(self, category: str, message: str, data: dict[str, Any]) -> None:
        """Tell those who watch the run of an event."""
        self._audience.tell("incident", self._run.tick, Noted(self._node, category, message, data))

    def background(self, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        """Start a task of the node's own."""
        self._has_work = True
        self._run.start_task(self._node, function, arguments)

    def in_thread(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Start a thread of the node's own."""
        self._has_work = True
        self._run.start_thread(self._node, function, arguments)

    def request_stop(self) -> None:
        """Ask the scheduler to end the run."""
        self._run.stop()


if core is not None:
    core.connect_ports(current, TickContext, StillPace, Sent, Received, TopicError)
