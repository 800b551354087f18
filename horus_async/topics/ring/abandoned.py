"""What nobody closed, and the garbage collector found while its thread was in the middle of something of ours.

A collection may begin anywhere, also where locks are held; closing takes locks, and so could wait for its own thread,
or take them in the wrong order. So that is left to a moment when none is held.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .turn import in_the_middle

if TYPE_CHECKING:
    from collections.abc import Callable

_waiting: deque[Callable[[], None]] = deque()


def close_when_possible(close: Callable[[], None]) -> None:
    """For ``__del__``: call ``close`` now, or later if this thread may hold locks of topics."""
    if in_the_middle():
        _waiting.append(close)
    else:
        close()


def close_abandoned() -> None:
    """Close what waits for it. No lock of topics may be held."""
    while _waiting:
        try:
            close = _waiting.popleft()
        except IndexError:  # another thread does it
            return
        close()


def forget_abandoned() -> None:
    """In a new process after a fork: it belongs to the old one."""
    _waiting.clear()
