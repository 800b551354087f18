"""A place in a topic to read from, across all of its rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from horus_async.clock.event_loop import event_loop
from horus_async.errors import TopicError
from horus_async.native import core

from .core import SubscriberCore
from .ring.locks import Rank, new_lock
from .ring.reader import RingReader
from .ring.region import KEEP
from .wake.wakeup import Bell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .exchange import Channel, Ring
    from .ring.reader import Loan
    from .ring.region import Cursor, Taken

_Found = TypeVar("_Found")

ENDED_LIMIT = 8
"""How many rings that have ended a subscriber keeps unread; of more, the messages of the oldest count as lost."""


class Subscriber(SubscriberCore):
    """Reads one topic, the rings of all its publishers merged as they were sent. Made by ``Bus.subscriber``.

    For one thread at a time; only ``on_message`` callbacks come from the publishers' threads.
    """

    __slots__ = (
        "__weakref__",
        "_ended_arrived",
        "_ended_lost",
        "_ended_newest",
        "_lock",
        "_readers",
        "_unwatch",
        "newest_from",
        "reader",
        "topic",
    )

    channel: Channel
    only: RingReader | None

    def __init__(self, topic: str, channel: Channel) -> None:
        super().__init__()
        self.topic = topic
        self.channel = channel
        self._lock = new_lock(Rank.SUBSCRIBER)
        """Held while the readers change (rings are attached from their publishers' threads) and where several are
        read."""
        self._readers: tuple[RingReader, ...] = ()
        self.only = None
        self.reader: RingReader | None = None
        """The one from which a message was taken last; its ``source`` is the ring."""
        self.newest_from: RingReader | None = None
        """The one that gave the newest message last; None if its ring has ended since."""
        self._unwatch: list[Callable[[], None]] = []
        self._ended_arrived = 0
        self._ended_lost = 0
        self._ended_newest: tuple[int, Taken] | None = None

    @property
    def lost(self) -> int:
        """Messages that were overwritten before they were read."""
        return self._ended_lost + sum(reader.lost for reader in self._readers)

    @property
    def arrived(self) -> int:
        """Messages published since this was opened, lost ones included."""
        return self._ended_arrived + sum(reader.arrived for reader in self._readers)

    @property
    def consumed(self) -> int:
        """Messages taken or lost."""
        return self._ended_arrived + sum(reader.consumed for reader in self._readers)

    def attach(self, ring: Ring, cursor: Cursor) -> None:
        """Read one more ring, from ``cursor`` on. Idempotent."""
        with self._lock:
            if any(reader.source is ring for reader in self._readers):
                return
            self._let_go_of_ended()
            self._change_readers(RingReader(cursor, ring.follow, ring, ring.say_damaged), None)

    def has_message(self) -> bool:
        """Whether there is an unread message. Consumes nothing."""
        only = self.only
        if only is not None and only.has_message():
            return True
        glance = self.channel.glance
        if (glance is None or not glance()) and only is not None and only is self.only:
            return False
        with self._lock:
            return any(reader.has_message() for reader in self._readers)

    def take_slowly(self) -> Taken | None:
        """The next unread message, or None. Of several rings, that which was sent first.

        Returns:
            A tuple of payload, publisher, sequence number and time stamp (ns since 1970).

        Raises:
            TopicError: this is closed.
        """
        only, glance = self.only, self.channel.glance
        # A new ring may hold an older message, so look for rings even while there is something to read.
        if (glance is not None and glance()) or only is None:
            return self._take_merged(RingReader.take)
        taken = only.take()
        if taken is None:
            self._forget_ended(only)
        return taken

    if core is None:
        take = take_slowly

    def borrow(self) -> Loan | None:
        """As ``take``, but a binary payload is a view of the ring's own memory. Also returns where it lies.

        Raises:
            TopicError: this is closed.
        """
        only, glance = self.only, self.channel.glance
        if (glance is not None and glance()) or only is None:
            return self._take_merged(RingReader.borrow)
        loan = only.borrow()
        if loan is None:
            self._forget_ended(only)
        return loan

    def latest(self) -> Taken | None:
        """The newest message, perhaps from before this was opened; None before the first. Consumes nothing."""
        glance = self.channel.glance
        if glance is not None:
            glance()
        only = self.only
        if only is not None and self._ended_newest is None and not only.closed:
            taken = only.latest()
            self.newest_from = None if taken is None else only
            return taken
        with self._lock:
            self._let_go_of_ended()
            newest, self.newest_from = self._ended_newest, None
            for reader in self._readers:
                found = reader.newest()
                if found is not None and (newest is None or found[0] > newest[0]):
                    newest, self.newest_from = found, reader
        return None if newest is None else newest[1]

    def processes_of(self, publisher: str) -> list[int]:
        """The processes in which a publisher of this name has sent, as far as their rings are still being read."""
        found = {reader.region.pid for reader in self._readers if publisher in reader.region.names}
        return sorted(found)

    def on_message(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` right after messages are published, once for each that comes from this process.

        It is called in the publisher's thread, or for other processes in one that listens to them. It must be quick
        and must not raise.

        Returns:
            A function that ends this; so does ``close``.
        """
        unwatch = self.channel.watch(callback)
        self._unwatch.append(unwatch)
        return unwatch

    async def wait(self) -> None:
        """Wait until ``has_message()``, under trio or asyncio, without polling.

        Always lets other tasks run.

        Raises:
            TopicError: this is closed, or was closed while waiting.
        """
        await wait_any((self,))

    def forked(self) -> None:
        """In a new process after a fork: a thread that does not exist here may hold the lock."""
        self._lock = new_lock(Rank.SUBSCRIBER)

    def close(self) -> None:
        """Stop listening. Tasks that wait get an error."""
        if self.closed:
            return
        self.closed = True
        self.channel.remove_listener(self)
        for unwatch in self._unwatch:
            unwatch()
        with self._lock:
            self._readers, self.only = (), None
            self.reader = self.newest_from = None
        for watcher in self.channel.watchers:
            watcher()

    def _change_readers(self, more: RingReader | None, less: RingReader | None) -> None:
        while True:
            before = self._readers
            after = (*(reader for reader in before if reader is not less), *filter(None, (more,)))
            only = after[0] if len(after) == 1 else None
            reader = only or self.reader  # here, instead of with each message
            if self._readers is before:  # no signal handler has changed them meanwhile
                self._readers, self.only, self.reader = after, only, reader
                return

    def _take_merged(self, take: Callable[[RingReader], _Found | None]) -> _Found | None:
        if self.closed:
            raise TopicError(f"topic {self.topic!r} is closed")
        with self._lock:  # a ring that ended long ago may be let go of meanwhile
            while (first := self._oldest()) is not None:
                found = take(first)
                if found is not None:  # otherwise it was overwritten just now
                    self.reader = first
                    return found
        return None

    def _oldest(self) -> RingReader | None:
        """The reader whose next message comes first; lets go of rings that are read to their end."""
        first: RingReader | None = None
        first_order = 0
        for reader in self._readers:
            order = reader.next_order()
            if order is None:
                if reader.ended:
                    self._forget(reader)
            elif first is None or order < first_order:
                first, first_order = reader, order
        return first

    def _forget_ended(self, only: RingReader) -> None:
        if only.ended:
            with self._lock:
                self._forget(only)

    def _let_go_of_ended(self) -> None:
        """Keep few rings that have ended: each takes memory and a descriptor, and perhaps nobody ever reads them."""
        ended = [reader for reader in self._readers if reader.closed and not reader.words[KEEP]]
        for reader in ended:
            if reader.ended:
                self._forget(reader)
        for reader in [reader for reader in ended if reader in self._readers][:-ENDED_LIMIT]:
            self._forget(reader)

    def _forget(self, reader: RingReader) -> None:
        """Let go of a ring that has ended, but keep its counts. What is unread counts as lost."""
        if reader not in self._readers:
            return
        self._ended_arrived += reader.arrived
        self._ended_lost += reader.lost + reader.arrived - reader.consumed
        newest = reader.newest()
        if newest is not None:
            order, message = newest
            newest = order, (bytes(message[0]), *message[1:])  # may be decoded more than once
        self._ended_newest = max(filter(None, (self._ended_newest, newest)), key=_order, default=None)
        self._change_readers(None, reader)


async def wait_any(subscribers: Sequence[Subscriber]) -> None:
    """Wait until one of some subscribers of one bus has a message; see `Subscriber.wait`."""
    if _is_over(subscribers):
        await event_loop().checkpoint()
    else:
        await _wait_at(subscribers)
    for subscriber in subscribers:
        if subscriber.closed:
            raise TopicError(f"topic {subscriber.topic!r} is closed")


async def _wait_at(subscribers: Sequence[Subscriber]) -> None:
    channels = [subscriber.channel for subscriber in subscribers]
    sleepers = channels[0].sleepers
    waiter = Bell() if sleepers is None else sleepers.waiter()
    for channel in channels:
        channel.begin_wait(waiter.ring, waiter.waitset)
    try:
        while True:
            if sleepers is not None:
                for channel in channels:
                    sleepers.arm(channel)
            if _is_over(subscribers):  # a message that came before it was armed wakes nobody
                break
            await waiter.wait()
            if _is_over(subscribers):
                break
    finally:
        for channel in channels:
            channel.end_wait(waiter.ring, waiter.waitset)
        if sleepers is not None:
            sleepers.leave(waiter)


def _is_over(subscribers: Sequence[Subscriber]) -> bool:
    """Whether there is nothing to wait for any more."""
    for subscriber in subscribers:  # noqa: SIM110 - a generator would take longer than what it asks
        if subscriber.has_message() or subscriber.closed:
            return True
    return False


def _order(found: tuple[int, Taken]) -> int:
    return found[0]
