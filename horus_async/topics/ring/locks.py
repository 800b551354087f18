"""The locks of topics, and the one order in which a thread may take them.

A thread that holds a lock takes only locks that come later in ``Rank``, so no two threads can wait for each other. Add
a lock here before you use it. With ``HORUS_CHECK_LOCKS=1`` in the environment (the tests set it) each lock checks
this whenever it is taken, and raises `LockOrderError`; otherwise they are plain locks and nothing is checked.
"""

from __future__ import annotations

import os
import threading
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

CHECKING = bool(os.environ.get("HORUS_CHECK_LOCKS"))
"""Whether the order is checked."""


class Rank(IntEnum):
    """The locks from the outermost to the innermost."""

    HANDLES = 1
    """Which bus the handles of a topic share: ``topic``."""
    TURN = 2
    """Writing a ring, and all that a first message brings: ``ring.turn``, one for each ring."""
    BUS = 3
    """The topics of a bus."""
    DISCOVERY = 4
    """The rings of other processes in a namespace."""
    SLEEPERS = 5
    """Who waits for other processes."""
    WAIT_SET = 6
    """One doorbell."""
    CHANNEL = 7
    """Who writes and reads a topic in this process."""
    INNER_CHANNEL = 8
    """The same within an isolated bus, which the outer one tells of its watchers."""
    SUBSCRIBER = 9
    """The rings that one subscriber reads."""
    EXCHANGE = 10
    """The channels of this process."""
    NAMESPACES = 11
    """The open discoveries of this process."""


class LockOrderError(AssertionError):
    """A mistake of ours: a thread took a lock while it held one that comes later in the order."""


class Lock(Protocol):
    """A lock that its own thread may take again."""

    def __enter__(self) -> object:
        """Take it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object:
        """Give it back."""


violations: list[str] = []
"""What was found so far, also where nobody sees the error, as in a thread."""

_mine = threading.local()


def new_lock(rank: Rank) -> Lock:
    """A lock with its place in the order."""
    return _CheckedLock(rank) if CHECKING else threading.RLock()


def check_order(rank: Rank, *, same: bool = False) -> None:
    """Make sure that this thread may take a lock of that rank now.

    Raises:
        LockOrderError: it holds one that comes later, or another one of the same rank.
    """
    later = [lock.rank for lock in _held() if lock.rank > rank or (lock.rank == rank and not same)]
    if later:
        violation(f"{rank.name} is taken while {', '.join(other.name for other in later)} is held")


def violation(text: str) -> None:
    """Report one.

    Raises:
        LockOrderError: always.
    """
    violations.append(text)
    raise LockOrderError(text)


turn_is_held: Callable[[], bool] = bool
"""Whether this thread writes a ring now; set by ``turn``."""


class _CheckedLock:
    __slots__ = ("_lock", "rank")

    def __init__(self, rank: Rank) -> None:
        self._lock = threading.RLock()
        self.rank = rank

    def __enter__(self) -> None:
        held = _held()
        if self not in held:  # taking it again waits for nobody
            check_order(self.rank)
            if self.rank < Rank.TURN and turn_is_held():
                violation(f"{self.rank.name} is taken while {Rank.TURN.name} is held")
        self._lock.acquire()
        held.append(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _held().remove(self)
        self._lock.release()


def _held() -> list[_CheckedLock]:
    try:
        held: list[_CheckedLock] = _mine.held
    except AttributeError:
        held = _mine.held = []
    return held
