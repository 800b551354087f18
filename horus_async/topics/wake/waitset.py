"""The tasks of one event loop that wait for other processes: one leader and its followers.

The leader waits at a doorbell, as at a socket, with no thread in between. When it is rung, the leader wakes the tasks
that it concerns, itself or others. When it leaves, one of the others becomes the leader.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from horus_async.clock.event_loop import event_loop
from horus_async.topics.ring.layout import FOR_NOBODY
from horus_async.topics.ring.locks import Rank, new_lock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from horus_async.clock.event_loop import Event

    from .doorbell import Doorbell


class WaitSet:
    """A doorbell, for one event loop at a time, and the tasks of that loop that wait there."""

    __slots__ = (
        "_closed",
        "_doorbell",
        "_hear",
        "_lock",
        "followers",
        "leader",
        "members",
        "new_event",
        "thread",
        "wait",
    )

    wait: Callable[[int], Awaitable[object]]
    """Wait until a descriptor is readable."""
    new_event: Callable[[], Event]

    def __init__(self, doorbell: Doorbell, hear: Callable[[bytes], None]) -> None:
        """``hear`` is called with the bytes that were rung."""
        self._doorbell = doorbell
        self._hear = hear
        self._lock = new_lock(Rank.WAIT_SET)
        self._closed = False
        self.members = 0
        """The number of waiters, whether or not they are waiting now."""
        self.leader: Waiter | None = None
        self.followers: dict[Waiter, None] = {}
        self.thread = 0

    @property
    def slot(self) -> int | None:
        """The slot where other processes ring; None if they cannot."""
        return self._doorbell.slot

    @property
    def descriptor(self) -> int:
        """Readable when the doorbell was rung."""
        return self._doorbell.descriptor

    def use_here(self) -> None:
        """Serve the event loop of the current task from now on."""
        self.thread = threading.get_ident()
        loop = event_loop()
        self.wait, self.new_event = loop.wait_readable, loop.event

    def listen(self) -> None:
        """Handle what was rung."""
        rung = self._doorbell.drain()
        if FOR_NOBODY in rung:
            for follower in list(self.followers):
                follower.wake_if_rung()
        self._hear(rung)

    def ring(self) -> None:
        """Make the task or thread that waits at the doorbell ``listen``. May be called from any thread."""
        with self._lock:
            if not self._closed:
                self._doorbell.ring()

    def promote(self) -> None:
        """Make sure that there is a leader if anybody waits."""
        if self.leader is None and self.followers:
            next(iter(self.followers)).wake()

    def withdraw(self) -> None:
        """Let no other process ring from now on."""
        self._doorbell.withdraw()

    def close(self) -> None:
        """Close the doorbell. Nobody may be waiting there."""
        with self._lock:
            self._closed = True
            self._doorbell.close()

    def forked(self) -> None:
        """In a new process after a fork: close the copy. The lock may be held by a thread that does not exist here."""
        self._closed = True
        self._doorbell.close()


class Waiter:
    """One task of a wait set. ``ring`` may be called from any thread, any number of times."""

    __slots__ = ("_event", "_rung", "waitset")

    def __init__(self, waitset: WaitSet) -> None:
        self.waitset = waitset
        self._rung = False
        self._event: Event | None = None
        """What a follower waits for."""

    def ring(self) -> None:
        """Wake the task that waits, or the next one to do so."""
        self._rung = True
        if self.waitset.leader is self:
            self.waitset.ring()
        elif self._event is not None:
            if threading.get_ident() == self.waitset.thread:
                self.wake()
            else:
                self.waitset.ring()

    async def wait(self) -> None:
        """Wait until somebody has rung since the last time."""
        try:
            while not self._rung:
                if self.waitset.leader is None:
                    await self._lead()
                else:
                    await self._follow()
            self._rung = False
        finally:
            self.waitset.promote()

    def wake(self) -> None:
        """Let a follower check whether it was rung, or has to lead."""
        if self._event is not None:
            self._event.set()

    def wake_if_rung(self) -> None:
        """``wake`` if it was rung."""
        if self._rung:
            self.wake()

    async def _lead(self) -> None:
        waitset = self.waitset
        waitset.leader = self
        try:
            if not self._rung:  # by a thread that did not know the leader yet
                await waitset.wait(waitset.descriptor)
        finally:
            waitset.leader = None
        waitset.listen()

    async def _follow(self) -> None:
        event = self._event = self.waitset.new_event()
        self.waitset.followers[self] = None
        try:
            if not self._rung:
                await event.wait()
        finally:
            self._event = None
            del self.waitset.followers[self]
