"""Who may use the policy now: a number of places, a queue in front of them, and the calls that overstay in them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from horus_async.clock.system import perf_ns
from horus_async.errors import PolicyError

from .runs import NEVER, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.policy.model.interface import Observation

    from .runs import Runner

logger = logging.getLogger("horus_async.policy")


class PolicyStuck(PolicyError):  # noqa: N818 - a state, not a fault of the caller
    """All of the policy is taken by calls that are over their time; a further one would wait in vain."""


@define(eq=False)
class Call:
    """One question to a policy, and what became of it.

    ``deadline`` (trio's clock) is when it should have ended: where it holds its place for longer, the policy is stuck.
    ``reset`` overrides when the policy is reset, for a replay: True before this call, False not; None lets the episode
    decide. ``was_reset`` says that it was. ``started_ns`` and ``finished_ns`` are ``perf_ns``, None until then.
    """

    observation: Observation
    deadline: float = NEVER
    reset: bool | None = None
    was_reset: bool = False
    runs: list[Run] = field(factory=list)

    @property
    def episode_id(self) -> str | None:
        """The episode that it belongs to."""
        name: Any = self.observation.get("episode_id")
        return name if isinstance(name, str) else None

    @property
    def started_ns(self) -> int | None:
        """When the policy began to work on it, a reset included."""
        return self.runs[0].started_ns if self.runs else None

    @property
    def policy_ms(self) -> float:
        """How long the policy took, in milliseconds: until now while it runs, 0 if it was not reached."""
        started = self.started_ns
        if started is None:
            return 0.0
        return ((self.runs[-1].finished_ns or perf_ns()) - started) / 1e6


class Places:
    """At most ``total`` calls at once; the others wait in the order in which they came. ``runner`` runs them."""

    def __init__(self, total: int, runner: Runner) -> None:
        self.total = total
        self.runner = runner
        self._held: set[Call] = set()
        self._queue: dict[Call, trio.Event] = {}

    def __contains__(self, call: Call) -> bool:
        return call in self._held

    @property
    def taken(self) -> int:
        """How many calls hold a place."""
        return len(self._held)

    @property
    def stuck(self) -> int:
        """How many calls hold a place although their time is over."""
        now = trio.current_time()
        return sum(self.overdue_at(call) <= now for call in self._held)

    def overdue_at(self, call: Call) -> float:
        """When a call that still holds its place counts as stuck."""
        return call.deadline + self.runner.unwinding_s

    def all_stuck_at(self) -> float:
        """When the last of the places will be held by a call that is stuck; never while one is free."""
        return max(map(self.overdue_at, self._held)) if len(self._held) >= self.total else NEVER

    async def take(self, call: Call) -> None:
        """Wait for a place. It has to be released, whatever becomes of the call.

        Raises:
            PolicyStuck: all places are held by calls that are over their time.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if len(self._held) < self.total and not self._queue:
            self._held.add(call)
            return
        turn = self._queue[call] = trio.Event()
        try:
            await until(turn, self.all_stuck_at)
        except BaseException:
            if self._queue.pop(call, None) is None:
                self.release(call)  # It was given one at that very moment.
            raise

    def release(self, call: Call) -> None:
        """Give the place of ``call``, if it has one, to who waits longest."""
        self._held.discard(call)
        while self._queue and len(self._held) < self.total:
            following = next(iter(self._queue))
            self._held.add(following)
            self._queue.pop(following).set()

    async def run(self, call: Call, finish: Callable[[Any], Any], function: Callable[..., Any], *arguments: Any) -> Any:
        """What ``finish`` makes of what a function of the policy returns: the last one for ``call``, which has a place.

        Raises:
            PolicyCallError: the function raised something that is no Exception.
            Exception: what it raised, or what ``finish`` did.
        """
        run = Run(finish)
        call.runs.append(run)
        # The place is given on at once, and not only when who waits for the answer comes to it.
        run.then(partial(self.release, call))
        await self.runner.run(run, function, *arguments)
        return run.outcome()

    def leave(self, call: Call, then: Callable[[], None]) -> None:
        """Release the place of ``call`` and do ``then``: now, or when its function has ended that nobody waits for."""

        def gone() -> None:
            self.release(call)
            then()

        if not call.runs or call.runs[-1].ended.is_set():
            gone()
            return
        run = call.runs[-1]
        run.then(gone)
        run.then(lambda: _tell_late(run))


def _tell_late(run: Run) -> None:
    if run.error is not None:
        # What it says may hold a piece of an image of its request.
        name = type(run.error).__name__
        logger.warning("policy-error-late: the policy raised %s after its request was given up", name)


async def until(event: trio.Event, stuck_at: Callable[[], float]) -> None:
    """Wait for ``event``, as long as what it depends on is not stuck.

    Raises:
        PolicyStuck: ``stuck_at`` has come.
    """
    while not event.is_set():
        at = stuck_at()
        if at <= trio.current_time():
            raise PolicyStuck("the policy is stuck in calls that are over their time")
        with trio.move_on_at(at):
            await event.wait()
