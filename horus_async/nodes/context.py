"""The time API: what time it is in a tick, the same in every mode.

Within one tick of a node these values do not change. They are set when the tick begins; in a replay they are the
recorded ones.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from horus_async.clock.event_loop import event_loop
from horus_async.clock.random import tick_np_random, tick_random
from horus_async.clock.system import NANOSECONDS, wall_ns
from horus_async.errors import ContextError
from horus_async.native import core

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from types import FrameType

    import numpy as np

INIT_TICK = -1
"""The tick number that ``rng()`` is derived from in ``init``."""
SHUTDOWN_TICK = -2
"""The same for ``shutdown``."""
FIRST_WORK_TICK = -3
"""The same for the first task or thread of a node's own; the next ones count down from here."""
FIRST_REQUEST_TICK = -1 << 48
"""The same for the first request that a node answers in tick 0: 65,536 for each tick, counting down from here."""


class CallGuard(Protocol):
    """Told of calls that break determinism."""

    def notice(self, context: TickContext, frame: FrameType, call: str, trap: Any) -> None:
        """A callback made a call whose result differs from run to run; ``trap`` says what to use instead."""


class ContextCore:
    """What of it changes with each tick, in both forms."""

    __slots__ = ("dt", "elapsed", "node", "now", "now_ns", "seed_tick", "tick")


if not TYPE_CHECKING and core is not None:
    ContextCore = core.ContextCore


class TickContext(ContextCore):
    """What the functions below return in one node's callback."""

    __slots__ = ("_np_random", "_random", "_spent_ns", "budget", "guard", "seed")

    def __init__(self, node: str, seed: int, budget: float | None, spent_ns: Callable[[], int]) -> None:
        self.node = node
        self.seed = seed
        self.budget = budget
        self.tick: int | None = None
        """The scheduler's tick; None in ``init`` and ``shutdown``."""
        self.seed_tick = INIT_TICK
        self.now = 0.0
        self.now_ns = 0
        self.dt = 0.0
        self.elapsed = 0.0
        self.guard: CallGuard | None = None
        """Told of calls that break determinism; None outside guarded runs."""
        self._spent_ns = spent_ns
        self._random: tuple[int, Random] | None = None
        self._np_random: tuple[int, np.random.Generator] | None = None

    def spent(self) -> float:
        """Seconds since the running callback began."""
        return self._spent_ns() / NANOSECONDS

    def random(self) -> Random:
        """The generator of this tick, always the same one."""
        kept = self._random
        if kept is None or kept[0] != self.seed_tick:
            kept = self._random = (self.seed_tick, tick_random(self.seed, self.node, self.seed_tick))
        return kept[1]

    def np_random(self) -> np.random.Generator:
        """The NumPy generator of this tick, always the same one."""
        kept = self._np_random
        if kept is None or kept[0] != self.seed_tick:
            kept = self._np_random = (self.seed_tick, tick_np_random(self.seed, self.node, self.seed_tick))
        return kept[1]


class WorkContext(TickContext):
    """What the functions below answer in a task or thread of a node's own: there is no tick.

    In a thread time goes on. In a task it stands, as in a tick, from when the task went on until it waits again: that
    moment is recorded, so that a verification has it again.
    """

    __slots__ = ("_elapsed_ns", "_now_ns", "_stands_at", "in_thread", "over")

    def __init__(
        self, node: str, seed: int, number: int, now_ns: Callable[[], int], elapsed_ns: Callable[[], int]
    ) -> None:
        self.node = node
        self.seed = seed
        self.budget = None
        self.tick = None
        self.seed_tick = FIRST_WORK_TICK - number
        self.guard = None
        self.in_thread = False
        """Whether it is a thread, which runs whenever the machine likes."""
        self.over = False
        """It may not send any more: the run has ended, or the node's ``init`` ran again."""
        self._now_ns = now_ns
        self._elapsed_ns = elapsed_ns
        self._stands_at: tuple[int, int] | None = None
        self._random = None
        self._np_random = None

    def went_on(self, now_ns: int, elapsed_ns: int) -> None:
        """It is a task, and goes on: this is its time until it waits again."""
        self._stands_at = now_ns, elapsed_ns

    @property
    def now_ns(self) -> int:  # type: ignore[override]
        """The time of the run."""
        return self._now_ns() if self._stands_at is None else self._stands_at[0]

    @property
    def now(self) -> float:  # type: ignore[override]
        """The same in seconds."""
        return self.now_ns / NANOSECONDS

    @property
    def elapsed(self) -> float:  # type: ignore[override]
        """Seconds since the run began."""
        return (self._elapsed_ns() if self._stands_at is None else self._stands_at[1]) / NANOSECONDS


current: ContextVar[TickContext] = ContextVar("horus_async_tick")
"""The running callback. A context variable, so tasks and threads started by a tick see it too."""


def _context(function: str) -> TickContext:
    context = current.get(None)
    if context is None:
        raise ContextError(
            f"{function}() has no value outside a tick: call it from a node's tick, or pass its value on from there"
        )
    return context


def _tick_context(function: str) -> TickContext:
    context = current.get(None)
    if context is None or context.tick is None:
        _context(function)
        raise ContextError(
            f"{function}() has no value in init, shutdown and background work: call it from a node's tick"
        )
    return context


def now() -> float:
    """Seconds: the time at which this tick began.

    Deterministic: start time + tick / tick rate. Real time: the wall clock, seconds since 1970. Replay: as recorded.
    Outside a tick: the wall clock.
    """
    context = current.get(None)
    return wall_ns() / NANOSECONDS if context is None else context.now


def now_ns() -> int:
    """The same as `now`, in nanoseconds."""
    context = current.get(None)
    return wall_ns() if context is None else context.now_ns


def tick_ns() -> int | None:
    """The time at which the running tick began, nanoseconds; None outside of ticks."""
    context = current.get(None)
    return None if context is None or context.tick is None else context.now_ns


def dt() -> float:
    """Seconds from the node's last tick to this one.

    Deterministic: exactly 1 / rate of the node. Real time: the time that really passed. Replay: as recorded. For a node
    that ticks on messages: the time since its last tick, in any mode. In a node's first tick: 1 / rate, or 0 for a node
    that ticks on messages.

    Raises:
        ContextError: Outside a tick.
    """
    return _tick_context("dt").dt


def elapsed() -> float:
    """Seconds from the start of the run to this tick, by the monotonic clock: setting the wall clock changes nothing.

    Raises:
        ContextError: Outside a node's callbacks.
    """
    return _context("elapsed").elapsed


def tick() -> int:
    """The scheduler's tick number, from 0.

    Raises:
        ContextError: Outside a tick.
    """
    return _tick_context("tick").tick  # type: ignore[return-value] # in a tick there is one


def rng() -> Random:
    """A random generator of this tick, seeded from the run's seed, the node's name and the tick.

    Within one tick, every call returns the same generator. See `horus_async.clock.random` for the derivation.

    Raises:
        ContextError: Outside a node's callbacks.
    """
    return _context("rng").random()


def np_rng() -> np.random.Generator:
    """The same as `rng`, but a NumPy generator; needs NumPy.

    Raises:
        ContextError: Outside a node's callbacks.
    """
    return _context("np_rng").np_random()


def budget_remaining() -> float:
    """Seconds left of the node's budget in this tick; negative once overrun, ``inf`` without a budget.

    Raises:
        ContextError: Outside a tick.
    """
    context = _tick_context("budget_remaining")
    return math.inf if context.budget is None else context.budget - context.spent()


async def sleep(seconds: float) -> None:
    """Sleep in the time of the run; in virtual time this takes no real time."""
    await event_loop().sleep(seconds)
