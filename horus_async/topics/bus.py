"""The publishers and subscribers of one participant.

A ``Bus`` belongs to one participant: a run of a scheduler, or the handles of one topic. Each of its topics has one
ring, shared by its publishers. The buses of a process meet in an exchange, which tells subscribers about new rings,
and waiting ones about messages. An isolated bus has an exchange of its own and so hears only itself.
"""

from __future__ import annotations

import atexit
import itertools
import os
import warnings
import weakref
from collections import defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Self

from horus_async.errors import ConfigurationError, TopicError
from horus_async.live_objects import LiveObjects
from horus_async.undo import undo

from . import discovery
from .exchange import Exchange
from .external.notices import say_cut
from .keeping import ended
from .line import Line
from .publisher import Publisher
from .ring.abandoned import close_abandoned, close_when_possible, forget_abandoned
from .ring.locks import Rank, new_lock
from .ring.names import check_namespace, check_topic_name, path_component
from .ring.turn import Turn, with_turn
from .subscriber import Subscriber
from .wake import doorbell
from .wake.doorbell import ring_bells

if TYPE_CHECKING:
    from types import TracebackType

    from .exchange import Ring
    from .ring.region import Cursor
    from .ring.writer import RingWriter

PUBLISHER_NAME_LIMIT = 255
"""Bytes of a publisher's name in UTF-8."""

_ring_numbers = itertools.count()


_exchange = Exchange()
"""Where the buses of this process meet, unless they are isolated."""

_open_buses: LiveObjects[Bus] = LiveObjects()
_open_in: defaultdict[str, set[int]] = defaultdict(set)
"""The numbers of the open buses by namespace."""


class Bus:
    """The rings of one participant in a namespace. Close it, or use it as a context manager."""

    def __init__(self, namespace: str | None = None, *, isolated: bool = False, from_start: bool = True) -> None:
        """Open it; memory is taken with the first message of each topic.

        Args:
            namespace: default: the environment's ``HORUS_NAMESPACE``, else ``default``.
            isolated: hear only messages that were published through this bus. Others still hear it.
            from_start: whether some subscribers will begin with what was published since now.

        Raises:
            ConfigurationError: not a name for a namespace.
        """
        self._closed = True  # for __del__, until the end of __init__
        self.namespace = check_namespace(default_namespace() if namespace is None else namespace)
        self.isolated = isolated
        self._exchange = Exchange(inner=True) if isolated else _exchange
        self._lock = new_lock(Rank.BUS)
        self._lines: dict[tuple[str, bool | str], Line] = {}
        """By topic, and whether it is external; those of a publisher that keeps messages by topic and its name."""
        self.own: set[object] = set()
        """The rings of this bus, except those that stand for other processes."""
        self._process = os.getpid()
        self._tidied = False
        self._opened = weakref.WeakKeyDictionary["Ring", "Cursor"]()
        self._discovery = None if isolated else discovery.acquire(self.namespace, self._exchange)
        try:
            if from_start:  # not for the handles of a topic: with thousands of them this would take most of their time
                rings = self._discovery.all_rings() if self._discovery is not None else []
                ended.drop_removed(self.namespace)
                known: list[Ring] = [*self._exchange.writers(self.namespace), *rings]
                for ring in known:
                    self._opened[ring] = ring.begin()
        except BaseException:
            if self._discovery is not None:
                discovery.release(self._discovery)
            raise
        self._closed = False
        _open_in[self.namespace].add(id(self))
        _open_buses.add(self)

    def publisher(self, topic: str, name: str, *, capacity: int | None = None, external: bool = False) -> Publisher:
        """The publisher ``name`` of ``topic``: always the same one for the same arguments.

        Args:
            topic: name of the topic.
            name: who publishes, usually a node; 1 to 255 bytes of UTF-8.
            capacity: bytes that the ring is to hold, rounded up to a power of two (default 1 MiB). If several are
                asked for, the largest counts.
            external: it stands for a publisher of another process, as in a replay, and so shares no ring with those of
                this bus.

        Raises:
            TopicNameError: not a name for a topic.
            ConfigurationError: not a name for a publisher, or not a capacity.
            TopicError: the bus is closed.
        """
        line = self._line(check_topic_name(topic), self._kind(topic, name, external=external))
        if not name or len(name.encode("utf-8", "surrogatepass")) > PUBLISHER_NAME_LIMIT or not _is_text(name):
            raise ConfigurationError(f"a publisher's name is 1 to {PUBLISHER_NAME_LIMIT} bytes of UTF-8, not {name!r}")
        with self._lock:
            if capacity is not None:
                line.want_capacity(capacity)
            if name not in line.publishers:
                line.publishers[name] = Publisher(
                    topic,
                    name,
                    open_ring=partial(self._open_ring, topic, name, external=external),
                    channel=line.channel,
                    turn=line.turn,
                )
            return line.publishers[name]

    def keep(self, topic: str, name: str, count: int, *, stays: bool = True) -> None:
        """Let the publisher ``name`` of ``topic`` keep its last ``count`` messages for late readers.

        With ``stays``, also after this bus is closed. If it does so already, the larger number counts. It gets a ring
        of its own, unless it is a publisher already: then it has to be the only one of this bus on this topic.

        Raises:
            TopicNameError: not a name for a topic.
            TopicError: the bus is closed.
        """
        shared = self._line(check_topic_name(topic))
        line = shared if name in shared.publishers else self._line(topic, name)
        assert line.publishers.keys() <= {name}, "what others send would be kept as well"
        with_turn(line.turn, lambda: line.want_keep(count))
        line.stays = stays

    def subscriber(self, topic: str, *, from_start: bool = False, kept: bool = True) -> Subscriber:
        """A new place to read ``topic`` from.

        Args:
            topic: name of the topic.
            from_start: begin with what was published since this bus was opened, instead of from now on.
            kept: begin with what publishers keep for late readers.

        Raises:
            TopicNameError: not a name for a topic.
            TopicError: the bus is closed.
        """
        channel = self._line(check_topic_name(topic)).channel
        if self._discovery is not None:
            ended.drop_removed(self.namespace)
            self._discovery.listen(topic, channel)
        subscriber = Subscriber(topic, channel)
        channel.add_listener(subscriber, self._beginning if from_start else _begin if kept else _end)
        return subscriber

    def published(self) -> list[str]:
        """The topics that other processes publish, ended ones included as long as they can be read.

        From the first call on these processes know that somebody listens, as they do from a first subscriber.

        Raises:
            TopicPermissionError: the namespace's folder is not ours.
        """
        return [] if self._discovery is None else self._discovery.topics()

    def never_read(self) -> dict[str, str]:
        """The rings of other processes that could not be read so far, and were said to be left out: why, by file."""
        return {} if self._discovery is None else self._discovery.never_read()

    def close(self) -> None:
        """Mark all rings as ended and remove their files. Readers that have them mapped can still read the rest."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            lines = list(self._lines.values())
            self._lines.clear()
            self.own.clear()
        if self._process != os.getpid():
            return  # a copy made by a fork: everything belongs to the other process
        undo((*(partial(self._close_line, line) for line in lines), self._leave))

    def _close_line(self, line: Line) -> None:
        ring = None
        try:
            ring = with_turn(line.turn, lambda: self._close_ring(line, may_stay=not self.isolated))
        finally:
            for channel in filter(None, (line.channel, line.public)):
                if ring is not None and ended.holds(ring):
                    channel.wake()
                elif ring is not None:
                    channel.remove_writer(ring)
                channel.end_relay(line.channel)
            if ring is not None:
                with suppress(OSError, TopicError):  # sleepers soon look by themselves
                    ring_bells(ring.namespace, ring.sleepers(), ring.bell_byte)

    def _leave(self) -> None:
        if self._discovery is not None:
            discovery.release(self._discovery)
        _open_in[self.namespace].discard(id(self))
        if not _open_in[self.namespace]:
            doorbell.forget(self.namespace)

    def _close_ring(self, line: Line, *, may_stay: bool = False) -> RingWriter | None:
        """End the ring of a line; with ``may_stay``, what it keeps for late readers stays."""
        ring, line.ring = line.ring, None
        if ring is not None and may_stay and line.stays and ring.keeps and not ring.gone:
            (name,) = line.publishers
            undo((ring.close, lambda: ended.hold(self.namespace, ring, name, line.channel, line.files)))
        elif ring is not None:
            undo((ring.close, lambda: line.give_up_files(keep=self._others_listen())))
        return ring

    def _replace_ring(self, line: Line) -> None:
        """Give up a ring whose file somebody else took away; who has it mapped reads what is left."""
        say_cut()
        ring = self._close_ring(line)
        for channel in filter(None, (line.channel, line.public)):
            if ring is not None:
                channel.remove_writer(ring)

    async def attend(self) -> None:
        """Call ``on_message`` callbacks from the event loop of this task, until cancelled.

        They are called sooner than from a thread. Returns at once if the bus is isolated.
        """
        if self._discovery is not None:
            await self._discovery.sleepers.attend()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            if any(line.files for line in self._lines.values()):
                warnings.warn(f"{self!r} was never closed", ResourceWarning, stacklevel=1, source=self)
            close_when_possible(self.close)

    def __repr__(self) -> str:
        return f"<Bus {self.namespace!r} of {len(self._lines)} topics{', closed' if self._closed else ''}>"

    def _kind(self, topic: str, name: str, *, external: bool) -> bool | str:
        """Which of the lines of a topic is that of a publisher."""
        return name if not external and (topic, name) in self._lines else external

    def _line(self, topic: str, kind: bool | str = False) -> Line:  # noqa: FBT001, FBT002 - a key
        with self._lock:
            if self._closed:
                raise TopicError(f"topic {topic!r}: the bus is closed")
            if (topic, kind) not in self._lines:
                channel = self._exchange.channel(self.namespace, topic)
                public = _exchange.channel(self.namespace, topic) if self.isolated else None
                if public is not None:
                    public.relay(channel)
                self._lines[topic, kind] = Line(channel, public)
            return self._lines[topic, kind]

    def _beginning(self, ring: Ring) -> Cursor:
        return self._opened.get(ring) or ring.start()

    def _open_ring(self, topic: str, name: str, *, external: bool) -> RingWriter:
        """The ring of a publisher, made now if this is its first message. The caller holds the line's turn."""
        line = self._line(topic, self._kind(topic, name, external=external))
        schemas: tuple[bytes, ...] = ()
        if line.ring is not None and line.ring.gone:
            schemas = line.ring.schemas
            self._replace_ring(line)
        if line.ring is None:
            if self._process != os.getpid():
                raise TopicError(_after_fork(topic))
            if not self._tidied:
                self._tidied = True
                with suppress(OSError, TopicError):  # if it matters, making the ring says so
                    discovery.tidy(self.namespace)
            if line.keep and not self.isolated:
                ended.replace(self.namespace, topic, name, others_listen=self._others_listen())
            process = f"{self._process:x}-{discovery.process_token()}"
            file_name = f"{path_component(topic)}@{process}-{next(_ring_numbers):x}"
            line.ring = line.new_ring(topic, self.namespace, file_name, self._process)
            for schema in schemas:  # publishers have described their classes and will not do so again
                line.ring.add_schema(schema)
            with suppress(OSError, TopicError):  # listeners soon look by themselves
                discovery.announce(self.namespace)
        # Every time, as Ctrl-C may have come before this the first time. It is idempotent.
        if not external:
            self.own.add(line.ring)
        line.channel.add_writer(line.ring)
        if line.public is not None:
            line.public.add_writer(line.ring)
        return line.ring

    def forked(self) -> None:
        """In a new process after a fork: give up the rings, which belong to the old one."""
        self._lock = new_lock(Rank.BUS)
        for (topic, _), line in self._lines.items():
            line.turn = Turn()  # the old one may have been taken by a thread that does not exist here
            for publisher in line.publishers.values():
                publisher.use_turn(line.turn)
            if line.ring is not None:
                line.ring.refuse(_after_fork(topic))

    def _others_listen(self) -> bool:
        """Whether other processes listen, which may not have seen a ring of ours yet."""
        try:
            return discovery.others_listen(self.namespace)
        except (OSError, TopicError):  # cannot tell
            return False


def _begin(ring: Ring) -> Cursor:
    return ring.begin()


def _end(ring: Ring) -> Cursor:
    return ring.end()


def _after_fork(topic: str) -> str:
    return f"topic {topic!r} was opened before a fork; open it again in the new process"


def default_namespace() -> str:
    """The namespace where none is given: the environment's ``HORUS_NAMESPACE``, else ``default``."""
    return os.environ.get("HORUS_NAMESPACE") or "default"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _close_all() -> None:
    """At exit: close the buses that nobody closed, so that no file outlives the process."""
    close_abandoned()
    for bus in _open_buses:
        bus.close()


def _forget_all() -> None:
    """In a new process after a fork: give up all buses."""
    for bus in _open_buses:
        bus.forked()
    _open_buses.clear()
    _open_in.clear()
    _exchange.clear()
    forget_abandoned()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
