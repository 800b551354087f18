"""Where the buses of one process meet: who writes a topic, who reads it, who waits for it."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from .ring.layout import bell_byte

if TYPE_CHECKING:
    from collections.abc import Callable

    from .external.rings import ExternalRing
    from .ring.region import Cursor
    from .ring.writer import RingWriter
    from .wake.sleepers import Sleepers
    from .wake.waitset import WaitSet

    Ring = RingWriter | ExternalRing


class Listener(Protocol):
    """Who reads a topic: a subscriber."""

    def attach(self, ring: Ring, cursor: Cursor) -> None:
        """Read one more ring, from ``cursor`` on, unless it is read already."""


class Channel:
    """One topic where buses of this process meet."""

    __slots__ = (
        "__weakref__",
        "_inner",
        "_lock",
        "bell_byte",
        "external",
        "glance",
        "listeners",
        "renewed",
        "sleepers",
        "waitsets",
        "watchers",
        "writers",
    )

    def __init__(self, topic: str) -> None:
        self.bell_byte = bell_byte(topic)[0]
        self._lock = threading.RLock()
        # Tuples that are replaced, never changed: whoever loops over one is not disturbed.
        self.writers: tuple[RingWriter, ...] = ()
        self.external: tuple[ExternalRing, ...] = ()
        """Rings of other processes."""
        self.glance: Callable[[], bool] | None = None
        """Looks for more of them, see ``Discovery``; None where nobody listens to other processes."""
        self.sleepers: Sleepers | None = None
        """Has those who wait woken by other processes; None as above."""
        self.renewed = False
        """Whether such rings came or went and the watchers have not been told."""
        self.listeners: tuple[Listener, ...] = ()
        self.watchers: tuple[Callable[[], None], ...] = ()
        """Tasks that wait, and callbacks."""
        self.waitsets: tuple[WaitSet, ...] = ()
        """Where those watchers that are tasks wait for other processes."""
        self._inner: tuple[Channel, ...] = ()

    def add_writer(self, writer: RingWriter) -> None:
        """Show a ring, still empty, to all who listen and do not know it yet."""
        with self._lock:
            if writer not in self.writers:
                self.writers = (*self.writers, writer)
            for listener in self.listeners:
                listener.attach(writer, writer.start())

    def remove_writer(self, writer: RingWriter) -> None:
        """Forget a closed ring. Those who read it already read it to its end."""
        with self._lock:
            self.writers = tuple(other for other in self.writers if other is not writer)
        for watcher in self.watchers:
            watcher()

    def add_external(self, ring: ExternalRing) -> None:
        """Show a ring of another process, found just now, to all who listen."""
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
        """Let ``listener`` read all rings, each from ``where`` on."""
        with self._lock:
            rings: list[Ring] = [*self.writers, *self.external]
            for ring in rings:
                listener.attach(ring, where(ring))
            self.listeners = (*self.listeners, listener)

    def remove_listener(self, listener: Listener) -> None:
        """Tell it about new rings no longer."""
        with self._lock:
            self.listeners = tuple(other for other in self.listeners if other is not listener)

    @property
    def has_callbacks(self) -> bool:
        """Whether somebody watches who is no task."""
        return len(self.waitsets) < len(self.watchers)

    def stirred(self) -> bool:
        """Whether other processes did something since this was asked last."""
        stirred, self.renewed = self.renewed, False
        for ring in self.external:
            stirred = ring.stirred() or stirred
        return stirred

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call ``watcher`` after each message; gives a function that ends it."""
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
        """Call ``watcher`` after each message; it wakes a task which waits at ``waitset`` for other processes."""
        with self._lock:
            if self._inner:
                self._change_watchers((watcher,), ())
            else:
                self.watchers = (*self.watchers, watcher)
            if waitset is not None:
                self.waitsets = (*self.waitsets, waitset)

    def end_wait(self, watcher: Callable[[], None], waitset: WaitSet | None) -> None:
        """What ``begin_wait`` began."""
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
        """Let those who watch this channel also hear of messages on ``inner``, but not the other way round."""
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
                watchers.remove(watcher)  # once: somebody else may have registered the same one
            self.watchers = tuple(watchers)
            for inner in self._inner:
                inner._change_watchers(more, less)  # noqa: SLF001 - one of our own


class Exchange:
    """The channels of one process by namespace and topic. They last as long as somebody holds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: weakref.WeakValueDictionary[tuple[str, str], Channel] = weakref.WeakValueDictionary()

    def channel(self, namespace: str, topic: str) -> Channel:
        """The channel of a topic."""
        with self._lock:
            channel = self._channels.get((namespace, topic))
            if channel is None:
                channel = self._channels[namespace, topic] = Channel(topic)
            return channel

    def channels(self, namespace: str) -> dict[str, Channel]:
        """The channels of a namespace by topic."""
        with self._lock:
            return {topic: channel for (where, topic), channel in self._channels.items() if where == namespace}

    def clear(self) -> None:
        """Forget everything, in a new process after a fork."""
        self._lock = threading.Lock()
        self._channels = weakref.WeakValueDictionary()

    def writers(self, namespace: str) -> list[RingWriter]:
        """All rings of a namespace."""
        return [writer for channel in self.channels(namespace).values() for writer in channel.writers]
