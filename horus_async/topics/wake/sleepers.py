"""The tasks and callbacks of this process that wait for other processes, and how they are woken.

Tasks wait at a doorbell of their event loop, see ``waitset``. A thread looks by itself a few times a second, in case a
wake-up got lost; for callbacks that no event loop attends to, it also waits at a doorbell of its own.
"""

from __future__ import annotations

import logging
import select
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Never, Protocol

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.errors import TopicError
from horus_async.limits.threads import start_thread
from horus_async.topics.ring.abandoned import close_abandoned
from horus_async.topics.ring.layout import FOR_NOBODY, FOR_TOPIC
from horus_async.topics.ring.locks import Rank, new_lock

from .doorbell import Doorbell
from .waitset import Waiter, WaitSet
from .wakeup import Bell, current_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger("horus_async.topics")

SLOW_POLL_MS = 200
"""How often a sleeping process looks by itself, in case a wake-up got lost."""


class Armable(Protocol):
    """A ring of another process."""

    def arm(self, slot: int) -> None:
        """Have the doorbell ``slot`` rung with the next message."""


class Watched(Protocol):
    """What sleepers need of a topic: ``Channel`` has it."""

    @property
    def bell_byte(self) -> int:
        """What is rung for its messages."""

    @property
    def external(self) -> Iterable[Armable]:
        """Its rings in other processes."""

    @property
    def watchers(self) -> Iterable[Callable[[], None]]:
        """Called when something has happened in it."""

    @property
    def waitsets(self) -> tuple[WaitSet, ...]:
        """Where the watchers that are tasks wait."""

    @property
    def has_callbacks(self) -> bool:
        """Whether some watchers are not tasks."""

    def stirred(self) -> bool:
        """Whether other processes have done something since the last call."""


class Sleepers:
    """The tasks and callbacks of one namespace that wait for other processes."""

    def __init__(self, namespace: str, refresh: Callable[[], None]) -> None:
        """Begin with none; ``refresh`` looks for new rings."""
        self._namespace = namespace
        self._refresh = refresh
        self._lock = new_lock(Rank.SLEEPERS)
        self._watched: dict[int, set[Watched]] = {}
        """The channels for which somebody waits, or has waited lately, by their byte in the doorbell."""
        self._waitsets: dict[object, WaitSet] = {}
        """By the event loop that used them last."""
        self._spare: list[WaitSet] = []
        """Not used by an event loop yet, or given back by the thread."""
        self._attendants: tuple[WaitSet, ...] = ()
        """The wait sets of the event loops that attend to callbacks."""
        self._callbacks = 0
        self._own: WaitSet | None = None
        """The thread's wait set, if it needs one."""
        self._thread: threading.Thread | None = None
        self._turn = threading.Event()
        """Set when the thread's task has changed."""
        self._closed = False
        self._said_slow = False

    @property
    def slots(self) -> set[int]:
        """The slots of this process's doorbells."""
        with self._lock:
            return {waitset.slot for waitset in self._all() if waitset.slot is not None}

    @property
    def listening(self) -> bool:
        """Whether there is a doorbell."""
        return bool(self._spare or self._waitsets or self._own)

    def open(self) -> None:
        """Get a doorbell, which shows other processes that this one listens, and start the thread.

        Needed even if nobody waits: a ring that has ended must be seen before its memory is reclaimed.

        Raises:
            TopicPermissionError: the namespace's folder is not ours.
        """
        with self._lock:
            if not self.listening:
                self._spare.append(self._new())
            self._start()

    # For tasks

    def waiter(self) -> Waiter | Bell:
        """An object for the current task to wait with; hand it to ``leave`` afterwards."""
        loop = current_loop()[0]
        with self._lock:
            waitset = self._waitsets.get(loop)
            if waitset is None:
                if self._closed:
                    return Bell()
                try:
                    waitset = self._take()
                except (OSError, TopicError) as error:  # no descriptor is left: the thread still wakes it
                    self._say_slow(error)
                    return Bell()
                self._waitsets[loop] = waitset
                waitset.use_here()
            waitset.members += 1
        return Waiter(waitset)

    def leave(self, waiter: Waiter | Bell) -> None:
        """The task has stopped waiting."""
        if isinstance(waiter, Bell):
            return
        waitset = waiter.waitset
        with self._lock:
            waitset.members -= 1
            if self._closed and not waitset.members:
                waitset.close()

    async def attend(self) -> Never:
        """Call callbacks from the event loop of this task, and no longer from a thread, until cancelled."""
        waiter = self.waiter()
        try:
            if isinstance(waiter, Waiter):
                with self._lock:
                    self._attendants = (*self._attendants, waiter.waitset)
                    self._settle_thread()
                self._hear_all()
            while True:
                await waiter.wait()
        finally:
            if isinstance(waiter, Waiter):
                with self._lock:
                    attendants = list(self._attendants)
                    attendants.remove(waiter.waitset)
                    self._attendants = tuple(attendants)
                    self._settle_thread()
            self.leave(waiter)

    # For channels

    def begin_callback(self) -> None:
        """A callback was registered."""
        with self._lock:
            self._callbacks += 1
            self._settle_thread()

    def end_callback(self) -> None:
        """A callback was removed."""
        with self._lock:
            self._callbacks -= 1
            self._settle_thread()

    def arm(self, channel: Watched) -> None:
        """Have the next message of ``channel`` wake its watchers."""
        watched = self._watched.get(channel.bell_byte)
        if watched is None:
            watched = self._watched.setdefault(channel.bell_byte, set())
        watched.add(channel)
        waitsets = channel.waitsets
        if channel.has_callbacks:
            waitsets = (*waitsets, *(self._attendants or filter(None, (self._own,))))
        for ring in channel.external:
            for waitset in waitsets:
                if waitset.slot is not None:
                    ring.arm(waitset.slot)

    # Beginning and end

    def close(self) -> None:
        """End the thread and give up the doorbells, each as soon as nobody waits there."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._turn.set()
            if self._own is not None:
                self._own.ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._lock:
            for waitset in self._all():
                waitset.withdraw()
                if not waitset.members:
                    waitset.close()
            self._spare.clear()
            self._waitsets.clear()
            self._own = None
            self._watched.clear()

    def forked(self) -> None:
        """In a new process after a fork: close the copies of the doorbells."""
        for waitset in self._all():
            waitset.forked()

    # Inside

    def _new(self) -> WaitSet:
        return WaitSet(Doorbell(self._namespace), self._hear)

    def _all(self) -> list[WaitSet]:
        return [*self._spare, *self._waitsets.values(), *filter(None, (self._own,))]

    def _take(self) -> WaitSet:
        """A wait set where nobody waits, perhaps one of another event loop."""
        if self._spare:
            return self._spare.pop()
        for loop, waitset in self._waitsets.items():
            if not waitset.members:
                del self._waitsets[loop]
                return waitset
        return self._new()

    def _say_slow(self, error: Exception) -> None:
        if not self._said_slow:
            self._said_slow = True
            _log.warning(
                "other processes cannot wake this one, which looks for messages 5 times a second: %s", str(error)
            )

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name=f"topics {self._namespace}", daemon=True)
                start_thread(thread)
                self._thread = thread

    def _settle_thread(self) -> None:
        """Let the thread wait at a doorbell only if there are callbacks that no event loop attends to."""
        needed = bool(self._callbacks and not self._attendants and not self._closed)
        if needed and self._own is None:
            try:
                self._own = self._take()
            except (OSError, TopicError) as error:
                self._say_slow(error)
            self._turn.set()
        elif not needed and self._own is not None:
            own, self._own = self._own, None
            own.ring()  # the thread may be waiting there
            self._spare.append(own)

    def _run(self) -> None:
        """The thread: sleep, look, call the watchers."""
        slow_poll_ns = SLOW_POLL_MS * NANOSECONDS // 1000
        next_poll_ns = monotonic_ns() + slow_poll_ns
        while not self._closed:
            with suppress(MemoryError):  # it looks again soon
                self._wait_until(next_poll_ns)
                if self._turn.is_set() or monotonic_ns() >= next_poll_ns:
                    next_poll_ns = monotonic_ns() + slow_poll_ns
                    self._turn.clear()
                    self._hear_all()
                    close_abandoned()

    def _wait_until(self, next_poll_ns: int) -> None:
        left_ns = max(0, next_poll_ns - monotonic_ns())
        own = self._own
        if own is None:
            self._turn.wait(left_ns / NANOSECONDS)
            return
        poll = select.poll()
        poll.register(own.descriptor, select.POLLIN)
        if poll.poll(left_ns / 1_000_000) and own is self._own:
            own.listen()

    def _hear(self, rung: bytes) -> None:
        """Look at the channels where something may have happened, by the bytes that were rung."""
        if len(rung) == 1 and rung[0] >= FOR_TOPIC:  # most often
            self._tell(self._watched.get(rung[0], ()))
            return
        kinds = set(rung)
        kinds.discard(FOR_NOBODY[0])
        if kinds and min(kinds) < FOR_TOPIC:
            self._hear_all()
            return
        for kind in kinds:
            self._tell(self._watched.get(kind, ()))

    def _hear_all(self) -> None:
        self._refresh()
        for watched in list(self._watched.values()):
            self._tell(watched)

    def _tell(self, watched: Iterable[Watched]) -> None:
        """Call the watchers of the channels in which something has happened."""
        for channel in tuple(watched):
            if not channel.watchers:
                self._forget(channel)
                continue
            stirred = not channel.has_callbacks and channel.stirred()
            if not stirred:  # if it has, the tasks arm it themselves before they wait again
                self.arm(channel)
                stirred = channel.stirred()
            if stirred:
                for watcher in channel.watchers:
                    watcher()

    def _forget(self, channel: Watched) -> None:
        watched = self._watched.get(channel.bell_byte, set())
        watched.discard(channel)
        if channel.watchers:  # they came in this moment
            watched.add(channel)
