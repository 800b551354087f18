"""What a run asks of time: has a moment been reached, wait for it, let suspended ticks settle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from horus_async.clock.system import monotonic_ns
from horus_async.native import core

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import anyio


class Waited(Protocol):
    """What is waited for."""

    busy: bool
    """It has not ended: a callback of a node is running."""

    def waits_for_nobody(self) -> None:
        """Nothing can happen any more while it waits."""


class Busy(Waited, Protocol):
    """What a pace looks at of a node."""

    resumed: int
    """How often the running callback went on after a suspension."""

    @property
    def rank(self) -> float:
        """Its place among those that go on at one instant."""

    resumed_ns: int
    held_ns: int
    """When it last went on, and for how long it ran then; where time is real."""


def nowhere() -> bool:
    """Not into a thread."""
    return False


class Turn(Protocol):
    """Awaited each time before something that has suspended goes on: where one thing runs at a time, its turn came."""

    def __call__(self, into_thread: Callable[[], bool] = nowhere, /) -> Coroutine[Any, Any, None]:
        """Wait for it.

        Args:
            into_thread: Whether what goes on is about to call a function in a worker thread, and counts as one there.
        """


class PaceCore:
    """What of a pace each tick looks at, in both forms."""

    suspended = 0
    """How many callbacks are suspended, where `settle` has to wait for them."""
    offset_ns: int
    """Where virtual time stands."""


if not TYPE_CHECKING and core is not None:
    PaceCore = core.PaceCore


class Pace(PaceCore):
    """How a run moves through time. Moments are nanoseconds since the run's time began."""

    virtual: ClassVar[bool]

    give_up_ns: int | None = None
    """On the monotonic clock: when `settle` and `until_idle` stop waiting for threads and for the outside world."""

    def start(self) -> None:
        """The run's time begins here."""
        raise NotImplementedError

    def skip(self, ns: int) -> None:
        """Do not wait for so much of the run's time to come, where a replay is paced by the machine's."""

    def wall_base_ns(self, shift_ns: int) -> int | None:
        """The time of day at which the run's time began, by the present setting of the wall clock.

        Args:
            shift_ns: How far the wall clock is ahead of the machine's monotonic clock.

        Returns:
            None where the run's time is not the machine's.
        """
        del shift_ns
        return None

    def elapsed_ns(self) -> int:
        """Nanoseconds since `start`."""
        raise NotImplementedError

    def late_at_ns(self) -> int | None:
        """What a `Timeline` needs to leave out late ticks; None where time is never late."""
        return None

    def reached(self, at_ns: int) -> bool:
        """Whether that moment has come, moving on to it at once where that needs no waiting."""
        raise NotImplementedError

    async def reach(self, at_ns: int) -> None:
        """Wait for that moment, or until `wake`."""
        raise NotImplementedError

    async def settle(self, run: Busy | None = None) -> None:
        """Wait until suspended work (at least that of ``run``) waits for time, a message or a thread."""

    async def until_idle(self, run: Waited) -> None:
        """Wait until the node's callback has ended, or until `wake`."""

    def thread_limiter(self) -> anyio.CapacityLimiter | None:
        """What ticks with ``compute=True`` take their threads from: as many as they need. None where none can run."""
        return None

    def take_turns(self) -> None:
        """From here on suspended callbacks go on one at a time, where that is the rule."""

    def suspend(self, run: Busy) -> Turn:
        """A callback has suspended; gives what it has to await each time before it goes on."""
        raise NotImplementedError

    def ended(self, run: Busy) -> None:
        """A callback that had suspended has ended."""

    def gives_up(self) -> bool:
        """Whether it is too late to wait for what may never end."""
        return self.give_up_ns is not None and monotonic_ns() >= self.give_up_ns

    def wake(self) -> None:
        """Cut `reach` short; from any thread or signal handler."""

    def let_go(self) -> None:
        """No more turns: the run is ending, and everyone who waits for one goes on."""

    def close(self) -> None:
        """Give back what is held."""
