"""Where the buses of one process meet: the writers, readers and waiting tasks of each topic."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

from .core import ChannelCore
from .ring.layout import bell_byte
from .ring.locks import Rank, new_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from .external.rings import ExternalRing
    from .ring.region import Cursor
    from .ring.writer import RingWriter
    from .wake.sleepers import Sleepers
    from .wake.waitset import WaitSet

    Ring = RingWriter | ExternalRing


class Listener(Protocol):
    """A reader of all rings of a topic: ``Subscriber`` is one."""

    def attach(self, ring: Ring, cursor: Cursor) -> None:
        """Read one more ring, from ``cursor`` on, unless it is read already."""

    def forked(self) -> None:
        """In a new process after a fork: give up a lock that a thread may hold which does not exist here."""


class Channel(ChannelCore):
    """One topic, where the buses of this process meet."""

    __slots__ = (
        "__weakref__",
        "_inner",
        "_lock",
        "bell_byte",
        "external",
        "listeners",
        "renewed",
        "sleepers",
        "waitsets",
        "writers",
    )

    def __init__(self, topic: str, rank: Rank) -> None:
        super().__init__()
        self.bell_byte = bell_byte(topic)[0]
        self._lock = new_lock(rank)
        # Tuples that are replaced, never changed, so that loops over them are not disturbed.
        self.writers: tuple[RingWriter, ...] = ()
        self.external: tuple[ExternalRing, ...] = ()
        """Rings of other processes."""
        self.sleepers: Sleepers | None = None
        """Has watchers woken by other processes; None as above."""
        self.renewed = False
        """Whether such rings came or went since ``stirred`` was called."""
        self.listeners: tuple[Listener, ...] = ()
        self.watchers = ()
        self.waitsets: tuple[WaitSet, ...] = ()
        """Where the watchers that are tasks wait for other processes."""
        self._inner: tuple[Channel, ...] = ()

    def add_writer(self, writer: RingWriter) -> None:
        """Show a ring, still empty, to all listeners that do not know it yet."""
        with self._lock:
            if writer not in self.writers:
                self.writers = (*self.writers, writer)
            for listener in self.listeners:
                listener.attach(writer, writer.start())

    def remove_writer(self, writer: RingWriter) -> None:
        """Forget a closed ring. Its readers still read it to its end."""
        with self._lock:
            self.writers = tuple(other for other in self.writers if other is not writer)
        self.wake()

    def wake(self) -> None:
        """Let those who wait look: a ring has ended."""
        for watcher in self.watchers:
            watcher()

    def add_external(self, ring: ExternalRing) -> None:
        """Show a ring of another process, just found, to all listeners."""
        with self._lock:
            if ring not in self.external:
                for listener in self.listeners:
                    listener.attach(ring, ring.start())
                self.external = (*self.external, ring)
                self.renewed = True

    def remove_external(self, ring: ExternalRing) -> None:
        """Forget a ring whose file is gone."""
        with self._lock:
            if ring in self.external:
                self.external = tuple(other for other in self.external if other is not ring)
                self.renewed = True

    def add_listener(self, listener: Listener, where: Callable[[Ring], Cursor]) -> None:
        """Let ``listener`` read all rings: the present ones from ``where`` on, later ones from their start."""
        with self._lock:
            rings: list[Ring] = [*self.writers, *self.external]
            for ring in rings:
                listener.attach(ring, where(ring))
            self.listeners = (*self.listeners, listener)

    def remove_listener(self, listener: Listener) -> None:
        """Show it no more rings."""
        with self._lock:
            self.listeners = tuple(other for other in self.listeners if other is not listener)

    @property
    def has_callbacks(self) -> bool:
        """Whether some watchers are not tasks."""
        return len(self.waitsets) < len(self.watchers)

    def stirred(self) -> bool:
        """Whether other processes have done something since the last call."""
        stirred, self.renewed = self.renewed, False
        for ring in self.external:
            stirred = ring.stirred() or stirred
        return stirred

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call ``watcher`` after each message; returns a function that ends this."""
        watching = True
        sleepers = self.sleepers

        def unwatch() -> None:
            nonlocal watching
            if watching:
                watching = False
                self._change_watchers((), (watcher,))
                if sleepers is not None:
                    sleepers.end_callback()

        self._change_watchers((watcher,), ())
        if sleepers is not None:
            sleepers.begin_callback()
            sleepers.arm(self)
        return unwatch

    def begin_wait(self, watcher: Callable[[], None], waitset: WaitSet | None) -> None:
        """Call ``watcher`` after each message, to wake a task that waits at ``waitset`` for other processes."""
        with self._lock:
            if self._inner:
                self._change_watchers((watcher,), ())
            else:
                self.watchers = (*self.watchers, watcher)
            if waitset is not None:
                self.waitsets = (*self.waitsets, waitset)

    def end_wait(self, watcher: Callable[[], None], waitset: WaitSet | None) -> None:
        """End what ``begin_wait`` began."""
        with self._lock:
            if self.watchers == (watcher,) and not self._inner:  # most often
                self.waitsets = ()
                self.watchers = ()
                return
            if waitset is not None:
                waitsets = list(self.waitsets)
                waitsets.remove(waitset)
                self.waitsets = tuple(waitsets)
            self._change_watchers((), (watcher,))

    def relay(self, inner: Channel) -> None:
        """Let the watchers of this channel also hear of messages on ``inner``, but not the other way round."""
        with self._lock:
            if inner not in self._inner:  # several lines of a bus may share it
                self._inner = (*self._inner, inner)
                inner._change_watchers(self.watchers, ())

    def end_relay(self, inner: Channel) -> None:
        """The bus of ``inner`` is closed."""
        with self._lock:
            self._inner = tuple(other for other in self._inner if other is not inner)

    def _change_watchers(self, more: tuple[Callable[[], None], ...], less: tuple[Callable[[], None], ...]) -> None:
        with self._lock:
            watchers = [*self.watchers, *more]
            for watcher in less:
                watchers.remove(watcher)  # only once: it may have been registered several times
            self.watchers = tuple(watchers)
            for inner in self._inner:
                inner._change_watchers(more, less)  # noqa: SLF001 - of the same class


class Exchange:
    """The channels of one process by namespace and topic, each for as long as something refers to it."""

    def __init__(self, *, inner: bool = False) -> None:
        """Begin empty; ``inner``: of an isolated bus, whose channels others relay to."""
        self._lock = new_lock(Rank.EXCHANGE)
        self._rank = Rank.INNER_CHANNEL if inner else Rank.CHANNEL
        self._channels: weakref.WeakValueDictionary[tuple[str, str], Channel] = weakref.WeakValueDictionary()

    def channel(self, namespace: str, topic: str) -> Channel:
        """The channel of a topic."""
        with self._lock:
            channel = self._channels.get((namespace, topic))
            if channel is None:
                channel = self._channels[namespace, topic] = Channel(topic, self._rank)
            return channel

    def channels(self, namespace: str) -> dict[str, Channel]:
        """The channels of a namespace by topic."""
        with self._lock:
            return {topic: channel for (where, topic), channel in self._channels.items() if where == namespace}

    def clear(self) -> None:
        """In a new process after a fork: forget everything."""
        for channel in list(self._channels.values()):
            for listener in channel.listeners:
                listener.forked()
        self._lock = new_lock(Rank.EXCHANGE)
        self._channels = weakref.WeakValueDictionary()

    def writers(self, namespace: str) -> list[RingWriter]:
        """All rings of a namespace in this process."""
        return [writer for channel in self.channels(namespace).values() for writer in channel.writers]
