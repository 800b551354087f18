"""A lock for a section so short that ``threading.Lock`` would be a quarter of its cost."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from horus_async.clock.system import monotonic_ns, sleep_until_monotonic

if TYPE_CHECKING:
    from types import TracebackType

_PAUSE_NS = 50_000


class Turn:
    """One token, which one thread at a time has: taking it from a deque and putting it back cannot be interrupted.

    As a context manager it is a lock. Where every nanosecond counts, write it out::

        try:
            try:
                turn.take()
            except IndexError:  # another thread has it
                turn.wait()
            ...
        finally:
            turn.give(None)

    Taking it inside of ``try`` matters: Ctrl-C may strike right after it, and a token lost is a robot that hangs.
    Giving back what was not taken yet does no harm, as there is room for one token only.
    """

    __slots__ = ("give", "take")

    def __init__(self) -> None:
        token: deque[None] = deque((None,), maxlen=1)
        self.take = token.pop
        self.give = token.append

    def wait(self) -> None:
        """Take the token as soon as it is there."""
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
