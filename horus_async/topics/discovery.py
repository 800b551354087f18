"""Finding the rings of other processes, and noticing when they end, for the subscribers of this one.

A namespace has one ``Discovery`` as long as a bus that listens is open. New rings are found when a topic is opened,
when something changes in the folder, and by a slow poll. ``wake.sleepers`` documents how waiting tasks are woken.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.errors import TopicError, TopicPermissionError

from .core import GlanceCore
from .external import notices
from .external.leftovers import GRACE_NS, UNSEEN_GRACE_NS, end_life, reclaim
from .external.rings import (
    ExternalRing,
    RingFile,
    folder_stamp,
    list_folder,
    open_region,
    ring_file,
    topic_of,
)
from .ring import guard, memory
from .ring.layout import FOR_ALL
from .ring.locks import Rank, new_lock
from .ring.names import path_component
from .wake import doorbell
from .wake.sleepers import Sleepers

if TYPE_CHECKING:
    from .exchange import Channel, Exchange

_log = logging.getLogger("horus_async.topics")

_GLANCE_NS = 5_000_000
_GLANCE_PART = 20
"""Glances take at most this part of the time, however many files there are."""
_SETTLED_NS = 20_000_000
"""File times advance in steps of several milliseconds: a folder that has just changed may change again unseen."""
_RETRY_NS = NANOSECONDS // 10
"""How long a ring is left out that could not be read."""
_UNFINISHED_NS = NANOSECONDS
"""How long nothing is said of a ring whose writer is still making it."""
_MOST_TRIED = 64
"""So many files of a topic are tried at one time; a folder may hold any number that are no rings."""
_NEXT_LOT_NS = NANOSECONDS // 50
_NEVER_NS = 1 << 62
_SWEEP_NS = 2 * NANOSECONDS


class _LeftOut:
    """A ring that could not be read."""

    __slots__ = ("next_try_ns", "said", "since_ns")

    def __init__(self, now_ns: int) -> None:
        self.since_ns = now_ns
        self.next_try_ns = now_ns
        self.said = False


class Discovery(GlanceCore):
    """Finds and maps the rings of other processes in one namespace, and shows them to the channels that listen."""

    def __init__(self, namespace: str, exchange: Exchange) -> None:
        super().__init__()
        self.namespace = namespace
        self.users = 0
        self._exchange = exchange
        self._lock = new_lock(Rank.DISCOVERY)
        self._rings: dict[str, ExternalRing] = {}
        self._open: dict[str, list[ExternalRing]] = {}
        """The same by topic."""
        self._files: dict[str, deque[RingFile]] = {}
        """Generation 0 of each external ring that is not open, by topic; those to be tried next come first."""
        self._listed: set[str] = set()
        """What was in the folder; of thousands of names only those that came or went are looked at."""
        self._said = 0
        """How many rings were said to be left out."""
        self._left_out: dict[str, _LeftOut] = {}
        self._never_read: dict[str, str] = {}
        """Of the rings that were said to be left out and have not been read since: why, by file, also of files that are
        gone."""
        self._stamp: tuple[int, int] | None = None
        self._stamp_seen_ns = 0
        self._retry_ns = _NEVER_NS
        """When the channels are to be shown a ring, or one is to be tried again that could not be read."""
        self._settled = False
        self._said_blind = False
        self._next_sweep = 0
        self._closed = False
        self.sleepers = Sleepers(namespace, self.refresh)

    # For subscribers

    def listen(self, topic: str, channel: Channel) -> None:
        """Show ``channel`` the rings of ``topic``, now and as they come."""
        with self._lock:
            if not self.sleepers.listening:
                self.sleepers.open()
                with suppress(OSError, TopicError):  # clearing up can wait
                    self._sweep()
            channel.glance, channel.sleepers = self.glance, self.sleepers
            self._look_if_possible(refuse=True)
            self._show(topic, channel)

    def glance_now(self) -> bool:
        """``refresh``, but not all the time; True."""
        now = monotonic_ns()
        self.next_glance = now + _GLANCE_NS
        self.refresh()
        took = monotonic_ns() - now
        if took > _GLANCE_NS // _GLANCE_PART:  # a folder full of other things must not take the time of the nodes
            self.next_glance = now + took * _GLANCE_PART
        return True

    def refresh(self) -> None:
        """Look for new rings and show them to the channels; let go of rings that are gone. Nothing once closed."""
        with self._lock:
            notices.say_cut()
            if self._closed:  # a subscriber that outlives its bus would be shown the same rings again
                return
            if self._look_if_possible():
                self._retry_ns = _NEVER_NS
                for topic, channel in self._exchange.channels(self.namespace).items():
                    self._show(topic, channel)
            if monotonic_ns() >= self._next_sweep:  # after looking: rings that ended lately must be seen first
                with suppress(OSError, TopicError):  # clearing up can wait
                    self._sweep()

    def all_rings(self) -> list[ExternalRing]:
        """The rings of all topics."""
        with self._lock:
            self._look_if_possible(refuse=True)
            for files in self._files.values():
                self._try(files, len(files), say=False)  # a run does not hear what is said before it has begun
            return list(self._rings.values())

    def topics(self) -> list[str]:
        """The topics that other processes publish. From now on these processes know that somebody listens here."""
        with self._lock:
            if not self.sleepers.listening:
                self.sleepers.open()
            self._look_if_possible(refuse=True)
            for files in self._files.values():
                self._try(files, len(files))
            return [topic_of(rings[0].generations[0]) for rings in self._open.values() if rings]

    def never_read(self) -> dict[str, str]:
        """The rings that could not be read so far, though they were there for a while: why, by their files."""
        with self._lock:
            return dict(self._never_read)

    # Beginning and end

    def close(self) -> None:
        """End all waiting, let go of the rings, and clear up the folder if nobody else listens."""
        listened = self.sleepers.listening
        self.sleepers.close()
        with self._lock:
            self._closed = True
            for channel in self._exchange.channels(self.namespace).values():
                for ring in channel.external:
                    channel.remove_external(ring)
            self._rings.clear()
            self._open.clear()
            if listened:
                with suppress(OSError, TopicError):  # clearing up is optional
                    if not others_listen(self.namespace):
                        reclaim(self.namespace, grace_ns=0, mine=process_token())
                    remove_folder(self.namespace)
        with suppress(OSError, TopicError):
            end_life(self.namespace)

    def forked(self) -> None:
        """In a new process after a fork: close the copies of descriptors."""
        self.sleepers.forked()

    # Inside

    def _sweep(self) -> None:
        self._next_sweep = monotonic_ns() + _SWEEP_NS
        guard.keep()
        for ring in list(self._rings.values()):
            ring.newest()  # maps what is still to be read, before its file may go
        grace_ns = UNSEEN_GRACE_NS if others_listen(self.namespace) else GRACE_NS
        reclaim(self.namespace, mine=process_token(), spare=True, grace_ns=grace_ns)

    def _look_if_possible(self, *, refuse: bool = False) -> bool:
        """``_look``; what fails is said once, and tried again.

        Args:
            refuse: raise an error if the folder is not ours.
        """
        try:
            looked = self._look()
        except (OSError, TopicError) as error:
            if refuse and isinstance(error, TopicPermissionError):
                raise
            self._settled = False
            if not self._said_blind:
                self._said_blind = True
                _log.warning(
                    "cannot look for topics of other processes in namespace %r: %s", self.namespace, str(error)
                )
            return False
        self._said_blind = False
        return looked

    def _look(self) -> bool:
        """Read the folder if it has changed; returns whether it was read, or a ring is to be shown or tried again."""
        now = monotonic_ns()
        stamp = folder_stamp(self.namespace)
        if stamp == self._stamp and self._settled:
            return now >= self._retry_ns
        listed = list_folder(self.namespace)
        stamp, names = (None, []) if listed is None else listed
        if stamp != self._stamp:
            self._stamp, self._stamp_seen_ns = stamp, now
        self._settled = stamp is None or now - self._stamp_seen_ns > _SETTLED_NS
        self._sort(names)
        return True

    def _sort(self, names: list[str]) -> None:
        """Take note of what is in the folder. What was interrupted is done again by the next look."""
        there = set(names)
        token = process_token()
        for name in there - self._listed:
            file = ring_file(name)
            if file is not None and file.generation == 0 and file.token != token:
                self._files.setdefault(file.component, deque()).appendleft(file)
                self._retry_ns = 0  # also where only one topic is shown its rings now
        gone = self._listed - there
        if gone:
            self._let_go(gone)
        self._listed = there

    def _let_go(self, names: set[str]) -> None:
        """Forget files that are gone, and show that to the channels of their topics."""
        channels = {
            path_component(topic): channel for topic, channel in self._exchange.channels(self.namespace).items()
        }
        for file in filter(None, map(ring_file, names)):
            self._left_out.pop(file.name, None)
            waiting = [other for other in self._files.pop(file.component, ()) if other.name != file.name]
            if waiting:
                self._files[file.component] = deque(waiting)
            ring = self._rings.get(file.name)
            if ring is not None:
                ring.newest()
                ring.gone = True
                if file.component in channels:
                    channels[file.component].remove_external(ring)
                others = [other for other in self._open.pop(file.component, ()) if other is not ring]
                if others:
                    self._open[file.component] = others
                self._rings.pop(file.name, None)

    def _show(self, topic: str, channel: Channel) -> None:
        component = path_component(topic)
        files = self._files.get(component)
        if files:
            self._try(files, min(len(files), _MOST_TRIED))
        for ring in self._open.get(component, ()):
            channel.add_external(ring)

    def _try(self, files: deque[RingFile], count: int, *, say: bool = True) -> None:
        """Open ``count`` of these. What cannot be read now is tried again later, and if it lasts, that is said once."""
        for _ in range(count):
            file = files.popleft()
            left_out = self._left_out.get(file.name)
            if left_out is not None and monotonic_ns() < left_out.next_try_ns:
                files.append(file)
                self._retry_ns = min(self._retry_ns, left_out.next_try_ns)
            elif not self._open_ring(file, say=say):
                files.append(file)
        if len(files) > count:
            self._retry_ns = min(self._retry_ns, monotonic_ns() + _NEXT_LOT_NS)

    def _open_ring(self, file: RingFile, *, say: bool) -> bool:
        """Open a ring; returns whether that was possible."""
        if file.name in self._rings:  # noted twice, as it was interrupted the first time
            return True
        failure = ""  # not the error itself: its traceback would keep the memory mapped
        try:
            region = open_region(self.namespace, file.name)
        except (OSError, TopicError) as error:
            region, failure = None, str(error)
        if region is not None:
            self._left_out.pop(file.name, None)
            self._never_read.pop(file.name, None)
            ring = self._rings[file.name] = ExternalRing(self.namespace, file, region)
            self._open.setdefault(file.component, []).append(ring)
            return True
        now = monotonic_ns()
        left_out = self._left_out.setdefault(file.name, _LeftOut(now))
        if not failure and now - left_out.since_ns < _UNFINISHED_NS:  # its writer is about to finish it
            left_out.next_try_ns = now
        else:
            left_out.next_try_ns = now + _RETRY_NS * (1 + len(self._left_out) // _MOST_TRIED)
            if say and not left_out.said:
                left_out.said = True
                self._never_read[file.name] = failure or notices.UNFINISHED
                self._say_left_out(file.name, failure or notices.UNFINISHED)
        self._retry_ns = min(self._retry_ns, left_out.next_try_ns)
        return False

    def _say_left_out(self, name: str, reason: str) -> None:
        self._said += 1
        if self._said <= notices.MOST_SAID:
            notices.say_left_out(name, reason)
        elif self._said == notices.MOST_SAID + 1:
            notices.say_more_left_out(self.namespace)


_TIDY_PART = 10
"""Tidying takes at most this part of the time."""

_USES_PART = 8
"""A list of the listeners is used again for this part of as many rings as there are files."""
_LISTENERS_NS = NANOSECONDS // 20
"""And for so long: not much of the time after which a listener looks by itself."""
_open: dict[str, Discovery] = {}
"""By namespace."""
_listeners: dict[str, _Listeners] = {}
"""By namespace."""
_next_tidy: dict[str, int] = {}
"""When a namespace is worth tidying again, on the monotonic clock."""
_lock = new_lock(Rank.NAMESPACES)
_token = os.urandom(4).hex()


def process_token() -> str:
    """Tells this process from others with the same number, as there are in containers and over time."""
    return _token


def acquire(namespace: str, exchange: Exchange) -> Discovery:
    """The discovery of a namespace, for one more bus; ``release`` it afterwards."""
    if namespace not in _open:
        with suppress(OSError, TopicError):  # before this process takes part: what was kept is stale if nobody does
            end_life(namespace)
    with _lock:
        discovery = _open.get(namespace)
        if discovery is None:
            discovery = _open[namespace] = Discovery(namespace, exchange)
        discovery.users += 1
        return discovery


def release(discovery: Discovery) -> None:
    """A bus does not need it any more; the last one closes it."""
    with _lock:
        discovery.users -= 1
        if discovery.users:
            return
        if _open.get(discovery.namespace) is discovery:
            del _open[discovery.namespace]
    discovery.close()


def announce(namespace: str) -> None:
    """Tell all listeners in a namespace that there is a new ring."""
    doorbell.ring_bells(namespace, _listening(namespace), FOR_ALL)


def tidy(namespace: str) -> None:
    """Reclaim what dead processes left, before a new ring is made.

    This looks at each file, so with a thousand topics it would take most of the time in which they are opened. It is
    skipped while it would take more than a tenth of the time since the last time.
    """
    start = monotonic_ns()
    if start < _next_tidy.get(namespace, 0):
        return
    end_life(namespace)
    with _lock:
        discovery = _open.get(namespace)
    listening = (discovery is not None and bool(discovery.sleepers.slots)) or others_listen(namespace)
    reclaim(namespace, mine=process_token(), spare=listening, grace_ns=UNSEEN_GRACE_NS if listening else GRACE_NS)
    now = monotonic_ns()
    _next_tidy[namespace] = now + _TIDY_PART * (now - start)


def others_listen(namespace: str) -> bool:
    """Whether another process listens to topics of a namespace."""
    return bool(_listening(namespace))


class _Listeners:
    """The doorbells of other processes, as they were when the folder was listed last."""

    __slots__ = ("slots", "until_ns", "uses")

    def __init__(self, slots: list[int], files: int) -> None:
        self.slots = slots
        self.uses = files // _USES_PART
        self.until_ns = monotonic_ns() + _LISTENERS_NS


def _listening(namespace: str) -> list[int]:
    """The slots of the doorbells of other processes.

    Where many rings are opened or closed in a row, the folder is not listed for each of them, which would take as long
    as all of them together. A listener that comes in between has listed the folder itself, and looks again soon.
    """
    known = _listeners.get(namespace)
    if known is not None and known.uses > 0 and monotonic_ns() < known.until_ns:
        known.uses -= 1
        return known.slots
    listed = list_folder(namespace)
    with _lock:
        discovery = _open.get(namespace)
    own = set[int]() if discovery is None else discovery.sleepers.slots
    slots = [] if listed is None else doorbell.others_listen(listed[1], namespace, own)
    _listeners[namespace] = _Listeners(slots, 0 if listed is None else len(listed[1]))
    return slots


def remove_folder(namespace: str) -> None:
    """Remove the folder of a namespace if it is empty."""
    memory.remove_empty_folders(memory.root() / path_component(namespace))


def _forget_all() -> None:
    """In a new process after a fork: everything belongs to the old one."""
    global _lock, _token  # noqa: PLW0603 - both belong to the old one
    _lock = new_lock(Rank.NAMESPACES)
    _token = os.urandom(4).hex()
    for discovery in _open.values():
        discovery.forked()
    _open.clear()
    _listeners.clear()
    doorbell.forget()


os.register_at_fork(after_in_child=_forget_all)
