"""A lock for a section so short that a ``threading.Lock`` would make up a quarter of its cost.

Nobody notes who holds it: that is seen from the stacks of the threads, when somebody has to wait. So a turn that was
lost with its holder (Ctrl-C may strike between any two lines) is found and given on, and a thread that waits for
itself (a signal handler or a ``__del__`` that sends while its thread is sending) is told so instead of waiting for
ever.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.errors import TopicError

from . import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType, TracebackType

_PAUSE_NS = 50_000
_LOOK_AFTER = 64
"""Pauses before a waiting thread looks whether anybody holds the turn at all."""
PATIENCE_NS = NANOSECONDS
"""How long a thread waits that may hold what the other one needs."""

_Function = TypeVar("_Function", bound="Callable[..., object]")
_Result = TypeVar("_Result")

_holders: set[CodeType] = set()


def takes_turn(function: _Function) -> _Function:
    """Decorates a function that takes a turn.

    The function does it like this, with just these names::

        held, free = False, turn.free
        try:
            held, free[0] = free[0], False
            while not held:
                turn.wait()
                held, free[0] = free[0], False
            ...
        finally:
            if held:
                held, free[0] = False, True

    Each line that changes ``held`` calls nothing, so that neither Ctrl-C nor another thread comes in its middle.
    """
    _holders.add(function.__code__)
    return function


@takes_turn
def with_turn(turn: Turn, work: Callable[[], _Result]) -> _Result:
    """Call ``work`` with the turn taken; for all but the sending of a message, which cannot afford the calls.

    Raises:
        TopicError: as `Turn.wait`.
    """
    held: object = False
    free = turn.free
    try:
        held, free[0] = free[0], False
        while not held:  # another thread is writing
            turn.wait()
            held, free[0] = free[0], False
        return work()
    finally:
        if held:
            held, free[0] = False, True


class Turn:
    """One token, which one thread at a time holds. See ``takes_turn``."""

    __slots__ = ("_thread", "free")

    def __init__(self) -> None:
        self.free: list[object] = _CheckedSlot([True]) if locks.CHECKING else [True]
        """Its one item is true while nobody holds the turn."""
        self._thread: int | None = None
        """The thread that took it by ``take``."""

    def wait(self) -> None:
        """Wait until it seems to be free.

        Raises:
            TopicError: this thread holds it itself; or it may hold what its holder waits for, and that takes long.
        """
        mine = list(_stack(sys._getframe(1)))  # noqa: SLF001 - documented, and there is no other way
        if self._thread == threading.get_ident() or any(_holds(frame, self.free) for frame in mine):
            raise TopicError(
                f"this thread is sending on that topic already: a signal handler or __del__ cannot; {_WAY}"
            )
        deadline_ns = monotonic_ns() + PATIENCE_NS if any(map(_may_hold_locks, mine)) else None
        rounds = 0
        while not self.free[0]:
            now = monotonic_ns()
            if deadline_ns is not None and now > deadline_ns:
                raise TopicError(f"another thread is sending on that topic, and may wait for this one; {_WAY}")
            sleep_until_monotonic(now + _PAUSE_NS)
            rounds += 1
            if rounds % _LOOK_AFTER == 0:
                self._find_lost()

    def take(self) -> None:
        """Take it, for as long as one likes.

        Raises:
            IndexError: another thread has it.
        """
        free = self.free
        held, free[0] = free[0], False
        if not held:
            raise IndexError("another thread has the turn")
        self._thread = threading.get_ident()

    def give(self, _: None = None) -> None:
        """Give back what ``take`` took; without that it does no harm."""
        self._thread = None
        self.free[0] = True

    def __enter__(self) -> None:
        while True:
            try:
                return self.take()
            except IndexError:
                self.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give()

    def _find_lost(self) -> None:
        """Make it free again if nobody holds it."""
        free = self.free
        mark: list[object] = []  # false, and like nothing else: whoever takes or gives meanwhile replaces it
        if not free[0]:
            free[0] = mark
        tops = sys._current_frames()  # noqa: SLF001 - documented, and there is no other way
        if self._thread in tops or any(_holds(frame, free) for top in tops.values() for frame in _stack(top)):
            return
        if free[0] is mark:
            free[0] = True


_WAY = "have it set a flag, or start a thread that sends"


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _holds(frame: FrameType, free: list[object] | None = None) -> bool:
    """Whether a function holds a turn, this one or any."""
    if frame.f_code not in _holders:
        return False
    names = frame.f_locals
    return bool(names.get("held")) and (free is None or names.get("free") is free)


def _may_hold_locks(frame: FrameType) -> bool:
    """Whether a function holds another turn, or mentions one of the other locks of topics."""
    if _holds(frame):
        return True
    names = frame.f_code.co_names
    mentions = "_lock" in names or "_handles_lock" in names
    return mentions and str(frame.f_globals.get("__name__", "")).startswith("horus_async.topics.")


def in_the_middle() -> bool:
    """For a function that a ``__del__`` calls: whether its thread may hold locks of topics."""
    return any(map(_may_hold_locks, _stack(sys._getframe(2))))  # noqa: SLF001 - as above


def _mine_is_held() -> bool:
    return any(map(_holds, _stack(sys._getframe(1))))  # noqa: SLF001 - as above


locks.turn_is_held = _mine_is_held


class _CheckedSlot(list[object]):
    """Checks the order of locks when the turn is looked at."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        held = [frame.f_locals["free"] for frame in _stack(sys._getframe(1)) if _holds(frame)]  # noqa: SLF001 - as above
        if not any(free is self for free in held):  # else it is refused, and so waits for nobody
            locks.check_order(locks.Rank.TURN)
            if held:
                locks.violation("a TURN is taken while another one is held")
        (value,) = self  # not by a call, after which another thread might come in between
        return value
