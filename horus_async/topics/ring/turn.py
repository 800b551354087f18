"""A lock for a section so short that a ``threading.Lock`` would make up a quarter of its cost."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from horus_async.clock.system import monotonic_ns, sleep_until_monotonic

if TYPE_CHECKING:
    from types import TracebackType

_PAUSE_NS = 50_000


class Turn:
    """One token, which one thread at a time holds: taking it from a deque and putting it back are atomic.

    As a context manager it is a lock. Where every nanosecond counts, write it out::

        try:
            try:
                turn.take()
            except IndexError:  # another thread has it
                turn.wait()
            ...
        finally:
            turn.give(None)

    It matters that the token is taken inside ``try``: Ctrl-C may strike right after, and a lost token would hang the
    robot. Giving it back without having taken it does no harm, as there is room for only one token.
    """

    __slots__ = ("give", "take")

    def __init__(self) -> None:
        token: deque[None] = deque((None,), maxlen=1)
        self.take = token.pop
        self.give = token.append

    def wait(self) -> None:
        """Wait for the token and take it."""
        while True:
            sleep_until_monotonic(monotonic_ns() + _PAUSE_NS)
            try:
                return self.take()
            except IndexError:
                continue

    def __enter__(self) -> None:
        try:
            self.take()
        except IndexError:
            self.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give(None)
