"""The tasks of one event loop that sleep until something comes from another process: one leader and its followers.

The leader waits at a doorbell, as at a socket, with no thread in between. When it is rung it sees to it that those are
woken whom it concerns, itself or others. When it leaves, one of the others becomes the leader.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from horus_async.topics.ring.layout import FOR_NOBODY

from .wakeup import current_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import anyio
    import trio

    from .doorbell import Doorbell


class WaitSet:
    """A doorbell, for one event loop at a time, and the tasks of that loop that wait."""

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
    new_event: Callable[[], trio.Event | anyio.Event]

    def __init__(self, doorbell: Doorbell, hear: Callable[[bytes], None]) -> None:
        """Make it; ``hear`` is called with what was rung."""
        self._doorbell = doorbell
        self._hear = hear
        self._lock = threading.RLock()
        self._closed = False
        self.members = 0
        """How many waiters there are, whether they wait just now or not."""
        self.leader: Waiter | None = None
        self.followers: dict[Waiter, None] = {}
        self.thread = 0

    @property
    def slot(self) -> int | None:
        """Where it is to be rung; None if nobody can."""
        return self._doorbell.slot

    @property
    def descriptor(self) -> int:
        """Readable when the doorbell was rung."""
        return self._doorbell.descriptor

    def use_here(self) -> None:
        """Serve the event loop of the current task from now on."""
        self.thread = threading.get_ident()
        if current_loop()[1]:
            import trio

            self.wait, self.new_event = trio.lowlevel.wait_readable, trio.Event
        else:
            import anyio

            self.wait, self.new_event = anyio.wait_readable, anyio.Event

    def listen(self) -> None:
        """See to what was rung."""
        rung = self._doorbell.drain()
        if FOR_NOBODY in rung:
            for follower in list(self.followers):
                follower.wake_if_rung()
        self._hear(rung)

    def ring(self) -> None:
        """Have whoever waits at the doorbell ``listen``; from any thread."""
        with self._lock:
            if not self._closed:
                self._doorbell.ring()

    def promote(self) -> None:
        """Make sure that somebody waits at the doorbell if anybody waits at all."""
        if self.leader is None and self.followers:
            next(iter(self.followers)).wake()

    def withdraw(self) -> None:
        """Let no other process ring any more."""
        self._doorbell.withdraw()

    def close(self) -> None:
        """Close the doorbell, at which nobody waits any more."""
        with self._lock:
            self._closed = True
            self._doorbell.close()

    def forked(self) -> None:
        """Close the copy in a new process, where a thread that does not exist there may have the lock."""
        self._closed = True
        self._doorbell.close()


class Waiter:
    """One task of a wait set. ``ring`` may be called by anybody, any number of times."""

    __slots__ = ("_event", "_rung", "waitset")

    def __init__(self, waitset: WaitSet) -> None:
        self.waitset = waitset
        self._rung = False
        self._event: trio.Event | anyio.Event | None = None
        """Of a follower while it waits."""

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
        """Let a follower see whether it was rung, or has to lead."""
        if self._event is not None:
            self._event.set()

    def wake_if_rung(self) -> None:
        """``wake`` if there is a reason."""
        if self._rung:
            self.wake()

    async def _lead(self) -> None:
        waitset = self.waitset
        waitset.leader = self
        try:
            if not self._rung:  # by a thread that did not see the leader yet
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
