"""Where the buses of one process meet: who writes a topic, who reads it, who waits for it."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from .ring.layout import bell_byte

if TYPE_CHECKING:
    from collections.abc import Callable

    from .external.discovery import Outside
    from .external.rings import ForeignRing
    from .ring.region import Cursor
    from .ring.writer import RingWriter
    from .subscriber import Subscriber
    from .wake.waitset import WaitSet


class Channel:
    """One topic where buses of this process meet."""

    __slots__ = (
        "__weakref__",
        "_inner",
        "_lock",
        "bell_byte",
        "foreign",
        "outside",
        "renewed",
        "subscribers",
        "waitsets",
        "watchers",
        "writers",
    )

    def __init__(self, topic: str) -> None:
        self.bell_byte = bell_byte(topic)[0]
        self._lock = threading.RLock()
        # Tuples that are replaced, never changed: whoever loops over one is not disturbed.
        self.writers: tuple[RingWriter, ...] = ()
        self.foreign: tuple[ForeignRing, ...] = ()
        """Rings of other processes."""
        self.outside: Outside | None = None
        """Finds them; None where nobody listens to other processes."""
        self.renewed = False
        """Whether such rings came or went and the watchers have not been told."""
        self.subscribers: tuple[Subscriber, ...] = ()
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
            for subscriber in self.subscribers:
                subscriber.attach(writer, writer.start())

    def remove_writer(self, writer: RingWriter) -> None:
        """Forget a closed ring. Those who read it already read it to its end."""
        with self._lock:
            self.writers = tuple(other for other in self.writers if other is not writer)
        for watcher in self.watchers:
            watcher()

    def add_foreign(self, ring: ForeignRing) -> None:
        """Show a ring of another process, found just now, to all who listen."""
        with self._lock:
            if ring not in self.foreign:
                for subscriber in self.subscribers:
                    subscriber.attach(ring, ring.start())
                self.foreign = (*self.foreign, ring)
                self.renewed = True

    def remove_foreign(self, ring: ForeignRing) -> None:
        """Forget a ring whose file is gone."""
        with self._lock:
            if ring in self.foreign:
                self.foreign = tuple(other for other in self.foreign if other is not ring)
                self.renewed = True

    def add_subscriber(self, subscriber: Subscriber, where: Callable[[RingWriter | ForeignRing], Cursor]) -> None:
        """Let ``subscriber`` read all rings, each from ``where`` on."""
        with self._lock:
            rings: list[RingWriter | ForeignRing] = [*self.writers, *self.foreign]
            for ring in rings:
                subscriber.attach(ring, where(ring))
            self.subscribers = (*self.subscribers, subscriber)

    def remove_subscriber(self, subscriber: Subscriber) -> None:
        """Tell it about new rings no longer."""
        with self._lock:
            self.subscribers = tuple(other for other in self.subscribers if other is not subscriber)

    @property
    def has_callbacks(self) -> bool:
        """Whether somebody watches who is no task."""
        return len(self.waitsets) < len(self.watchers)

    def stirred(self) -> bool:
        """Whether other processes did something since this was asked last."""
        stirred, self.renewed = self.renewed, False
        for ring in self.foreign:
            stirred = ring.stirred() or stirred
        return stirred

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call ``watcher`` after each message; gives a function that ends it."""
        watching = True
        sleepers = None if self.outside is None else self.outside.sleepers

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
