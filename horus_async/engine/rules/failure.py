"""What follows when a node fails: one table, and a small machine that follows it.

The table is the whole of the behaviour; the diagram in docs/safety.md is drawn from it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from horus_async.clock.system import NANOSECONDS
from horus_async.native import core
from horus_async.nodes.failure_policies import FailurePolicy, Fatal, Ignore, Restart, Skip


class State(enum.Enum):
    """How a node is."""

    RUNNING = "running"
    FAILING = "failing"
    """It failed and goes on; not yet often enough to rest."""
    WAITING = "waiting"
    """Its restart is due after a wait."""
    RESTARTED = "restarted"
    """``init`` ran again; the next tick decides."""
    RESTING = "resting"
    PROBING = "probing"
    """Its rest is over; the next tick decides."""
    FAILED = "failed"
    """For good: the run ends."""


class Happening(enum.Enum):
    """What moves a node from one state to another."""

    FAILURE = "failure"
    LAST_FAILURE = "one failure too many"
    SUCCESS = "good tick"
    TIME_UP = "time up"


class Action(enum.Enum):
    """What the scheduler does about it."""

    NOTHING = "nothing"
    WAIT = "wait"
    """The node is not called until its time is up."""
    INIT = "run init again"
    END_RUN = "end the run"


class Change(NamedTuple):
    """Where a happening leads."""

    to: State
    action: Action


_R, _F, _W, _A = State.RUNNING, State.FAILING, State.WAITING, State.RESTARTED
_REST, _PROBE, _END = State.RESTING, State.PROBING, State.FAILED

TABLE: dict[tuple[type[FailurePolicy], State, Happening], Change] = {
    (Fatal, _R, Happening.FAILURE): Change(_END, Action.END_RUN),
    (Ignore, _R, Happening.FAILURE): Change(_R, Action.NOTHING),
    (Restart, _R, Happening.FAILURE): Change(_W, Action.WAIT),
    (Restart, _R, Happening.LAST_FAILURE): Change(_END, Action.END_RUN),
    (Restart, _W, Happening.TIME_UP): Change(_A, Action.INIT),
    (Restart, _A, Happening.SUCCESS): Change(_R, Action.NOTHING),
    (Restart, _A, Happening.FAILURE): Change(_W, Action.WAIT),
    (Restart, _A, Happening.LAST_FAILURE): Change(_END, Action.END_RUN),
    (Skip, _R, Happening.FAILURE): Change(_F, Action.NOTHING),
    (Skip, _R, Happening.LAST_FAILURE): Change(_REST, Action.WAIT),
    (Skip, _F, Happening.FAILURE): Change(_F, Action.NOTHING),
    (Skip, _F, Happening.LAST_FAILURE): Change(_REST, Action.WAIT),
    (Skip, _F, Happening.SUCCESS): Change(_R, Action.NOTHING),
    (Skip, _REST, Happening.TIME_UP): Change(_PROBE, Action.NOTHING),
    (Skip, _PROBE, Happening.SUCCESS): Change(_R, Action.NOTHING),
    (Skip, _PROBE, Happening.FAILURE): Change(_REST, Action.WAIT),
    (Skip, _PROBE, Happening.LAST_FAILURE): Change(_REST, Action.WAIT),
}


_MOST_DOUBLINGS = 40
"""Of the wait before a restart: a tenth of a second has become three thousand years by then."""


class FailureCore:
    """What of it each tick looks at, in both forms."""

    __slots__ = ("failures", "state")


if not TYPE_CHECKING and core is not None:
    FailureCore = core.FailureCore


class FailureMachine(FailureCore):
    """One node's state under its policy. Times are the run's, nanoseconds."""

    __slots__ = ("_until_ns", "policy")

    state: State

    def __init__(self, policy: FailurePolicy) -> None:
        self.policy = policy
        self.state = State.RUNNING
        self.failures = 0
        """In a row."""
        self._until_ns = 0

    def failed(self, now_ns: int) -> Change:
        """The node failed."""
        self.failures += 1
        change = self._change(Happening.LAST_FAILURE if self._was_last() else Happening.FAILURE)
        if change.action is Action.WAIT:
            self._until_ns = now_ns + round(self._wait() * NANOSECONDS)
        return change

    def succeeded(self) -> Change:
        """A tick of the node went well."""
        self.failures = 0
        return self._change(Happening.SUCCESS)

    def waits(self, now_ns: int) -> bool:
        """Whether the node is not to be called now."""
        return self.state in (State.WAITING, State.RESTING) and now_ns < self._until_ns

    def time_up(self) -> Change:
        """Its wait is over."""
        return self._change(Happening.TIME_UP)

    def _change(self, happening: Happening) -> Change:
        change = TABLE.get((type(self.policy), self.state, happening), Change(self.state, Action.NOTHING))
        self.state = change.to
        return change

    def _was_last(self) -> bool:
        if isinstance(self.policy, Restart):
            return self.failures > self.policy.max_retries
        if isinstance(self.policy, Skip):
            return self.failures >= self.policy.max_failures
        return False

    def _wait(self) -> float:
        if isinstance(self.policy, Restart):
            return self.policy.backoff * 2.0 ** min(self.failures - 1, _MOST_DOUBLINGS)
        if isinstance(self.policy, Skip):
            return self.policy.cooldown
        return 0.0
