"""How much may wait to be written: the memory of a recording is bounded."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue

from horus_async.limits import disk

from .line_core import RoomCore

_NUDGE_BYTES = 4 << 20
_LEAST_BYTES = 1 << 18
"""What is always ahead; the time that less takes to write says little."""


class Wake:
    """As `threading.Event`, for one thread that waits.

    It can be set in the middle of being set: by a signal handler or a ``__del__`` that logs.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Whether somebody has asked since it was cleared."""
        return not self._asked.empty()

    def set(self) -> None:
        """Ask."""
        if self._asked.empty():
            self._asked.put(None)

    def clear(self) -> None:
        """Begin anew."""
        with suppress(Empty):
            while True:
                self._asked.get_nowait()

    def wait(self, seconds: float) -> None:
        """Wait for that, but not longer."""
        with suppress(Empty):
            self._asked.get(timeout=max(0.0, seconds))


class Flushes:
    """Counts the flushes of a writer, for whoever waits until what has come by now is written, or lost."""

    def __init__(self) -> None:
        self._begun = self._done = 0
        self._over = False
        """Whether there will be no more."""
        self._changed = threading.Condition()

    def begin(self) -> None:
        """The next one begins. For the writer's thread, as are `end` and `close`."""
        self._begun += 1

    def end(self) -> None:
        """It is over."""
        with self._changed:
            self._done = self._begun
            self._changed.notify_all()

    def close(self) -> None:
        """It was the last."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait_for(self, count: int, seconds: float, wake: Wake) -> bool:
        """Wait for so many that have not begun yet, asking for each; whether they are over.

        Args:
            count: How many.
            seconds: How long for one of them.
            wake: Asks for one.
        """
        with self._changed:
            wanted = self._begun + count
            while self._done < wanted and not self._over:
                before = self._done
                wake.set()
                if not self._changed.wait(seconds) and self._done == before:
                    return False
        return True


class Room(RoomCore):
    """Room for ``limit`` bytes between the thread that puts and the writer's, which makes it free again.

    Room is granted in advance: whoever puts ``n`` bytes takes them off ``left`` while that stays above 0, which needs
    no lock, and otherwise asks `admit`. Each side writes only its own counters. At the limit, `admit` waits for
    the writer if ``block``; else it refuses until half of the room is free.

    Where it waits, the limit is lower the slower the writer is, namely what can be written in ``ahead_ns``: what has
    not reached the file is lost if the process is killed.
    """

    def __init__(self, limit: int, *, block: bool, ahead_ns: int = 20_000_000) -> None:
        self.left = 0
        self.wake = Wake()
        """Set when the writer should look before its interval is over."""
        self.refusing = False
        """Set by the writer while it cannot write: nobody waits for it then."""
        self._most = self._limit = limit
        self._ahead_ns = ahead_ns
        self._nudge = min(_NUDGE_BYTES, limit // 4)
        self._block = block
        self._put = self._taken = self._granted = 0
        self._changed = threading.Condition()
        self._full = False

    def admit(self, cost: int) -> bool:
        """Whether there is room after all, which then is in ``left``; waits for it where that is the rule."""
        self._put += self._granted - self.left
        self._granted = self.left = 0
        if not self._has_room(cost):
            self._full = True
            self.wake.set()
            return False
        self._full = False
        waiting = self._put - self._taken
        if waiting + cost > self._nudge and not self.wake.is_set():
            self.wake.set()
        step = min(self._nudge // 4, self._limit - waiting)  # beyond the nudge as well: asking for each line costs more
        self._granted = self.left = max(cost, self._nudge - waiting, step)
        return True

    def _has_room(self, cost: int) -> bool:
        if not self._full and self._put - self._taken + cost <= self._limit:
            return True
        if self._block and not self.refusing:
            self._wait(cost)
            if not self.refusing:
                return True
        waiting = self._put - self._taken
        return not waiting or waiting + cost <= (self._limit // 2 if self._full else self._limit)

    def _wait(self, cost: int) -> None:
        if not self._found_room(0, cost) and not disk.wait_to_the_end(
            lambda seconds: self._found_room(seconds, cost), "a deterministic run drops nothing of its recording"
        ):
            self.refusing = True

    def _found_room(self, seconds: float, cost: int) -> bool:
        # What is larger than the limit finds room, too: when nothing else waits.
        with self._changed:
            if self._put != self._taken and self._put - self._taken + cost > self._limit and not self.refusing:
                self.wake.set()
                self._changed.wait(seconds)
            return self._put == self._taken or self._put - self._taken + cost <= self._limit or self.refusing

    def pace(self, written: int, took_ns: int) -> None:
        """So many bytes took so long to write. For the writer's thread."""
        if self._block and written >= _LEAST_BYTES:
            self._limit = min(self._most, max(_LEAST_BYTES, written * self._ahead_ns // max(1, took_ns)))
            self._nudge = min(_NUDGE_BYTES, self._limit // 4)

    def free(self, cost: int) -> None:
        """These bytes are written or lost. For the writer's thread."""
        self._taken += cost
        if self._block:
            with self._changed:
                self._changed.notify()

    def waiting(self) -> int:
        """Bytes that the writer has not freed. Exact when nothing is being put."""
        return self._put + self._granted - self.left - self._taken

    def let_go(self) -> None:
        """In a forked child, in which no writer runs: wait for none, nor for locks that its parent's threads held."""
        self.refusing = True
        self.wake, self._changed = Wake(), threading.Condition()
