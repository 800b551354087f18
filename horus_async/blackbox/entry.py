"""Who may touch the ring: one thread at a time, and in that thread one call at a time.

A signal handler or a ``__del__`` runs between any two steps of the very thread that is in the middle of an event. It
cannot wait for that, as it would wait for itself. What it wants to record is kept for the moment when the interrupted
call is through, which is the next thing that happens when the handler returns.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from horus_async.errors import BlackBoxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_log = logging.getLogger("horus_async.blackbox")


class Entry:
    """The way to one ring. A context manager; where every nanosecond counts, write it out::

        if entry.inside and entry.is_mine():  # we interrupted ourselves
            entry.later.append(again)
            return
        try:
            entry.lock.acquire()
            entry.inside = True
            ...
        finally:
            entry.inside = False
            try:
                entry.lock.release()
            except RuntimeError:
                pass
            if entry.later:
                entry.catch_up()

    It matters that the lock is acquired inside ``try``: Ctrl-C may strike right after, and a lock that stays taken, or a
    flag that stays set, would hang the robot.
    """

    __slots__ = ("inside", "later", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Knows its owner, which a plain lock does not."""
        self.inside = False
        """Whether the ring is being changed."""
        self.later: deque[Callable[[], object]] = deque()
        """Calls to make when it no longer is."""

    def is_mine(self) -> bool:
        """Whether this thread has the lock."""
        owned: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined] # noqa: SLF001 - as Condition does
        return owned()

    def __enter__(self) -> None:
        self.lock.acquire()
        self.inside = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside = False
        self.lock.release()
        if self.later:
            self.catch_up()

    def catch_up(self) -> None:
        """Make the calls that came in the middle of others, unless the ring is being changed: then its changer will."""
        while self.later and not self.inside:
            try:
                call = self.later.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                call()
            except BlackBoxError as error:
                _log.error("an event from a signal handler is not in the black box: %s", error)  # noqa: TRY400
