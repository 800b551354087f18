"""What a run does when a node is late or fails. The part of `Runtime` that judges.

Deadlines, budgets and waits are counted in the run's time, so that in virtual time nothing of the machine's speed can
change a result. Only the watchdog looks at the wall clock, and in virtual time it only reports.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio

from .clock.system import perf_ns
from .errors import EmergencyStop, NodeFailure
from .failure import Action, Change
from .noderun import SHUTDOWN, TICK, NodeRun
from .observe import (
    BudgetOverrun,
    DeadlineMissed,
    EmergencyStopped,
    Incident,
    NodeFailed,
    Observer,
    PolicyChanged,
    WatchdogFired,
)
from .policies import Miss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskGroup

    from .carrier import RightNow
    from .node import Node
    from .pace import Pace

_log = logging.getLogger("horus_async")


class Safety(ABC):
    """Late nodes, failing nodes, and how a run ends because of them."""

    _group: TaskGroup | RightNow
    _pace: Pace | None

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers: list[Observer] = list(observers)
        self.observed = bool(self.observers)
        self.tick = 0
        self.reason = ""
        """Why the run ends; empty while it goes on."""
        self.failures: list[tuple[NodeRun, BaseException]] = []
        self.emergency: EmergencyStop | None = None
        self.max_deadline_misses: int | None = None
        self._interludes: deque[NodeRun] = deque()
        """Nodes whose safe state is to be entered while the run goes on."""
        self._aborted = False

    @abstractmethod
    def stop(self, reason: str = "stop") -> None:
        """End the run after the current tick."""

    @abstractmethod
    def elapsed_ns(self) -> int:
        """The run's time, nanoseconds."""

    def abort(self, reason: str) -> None:
        """End the run at once."""
        self._aborted = True
        self.stop(reason)

    def raise_failures(self) -> None:
        """Raise what ended the run, if a node's failure did.

        Raises:
            NodeFailure: With the name of the node that failed first.
            EmergencyStop: The run was no longer safe.
        """
        if self.emergency is not None:
            raise self.emergency
        if not self.failures:
            return
        for _, error in self.failures:
            if not isinstance(error, Exception):
                raise error
        first = self.failures[0][0]
        errors = [error for _, error in self.failures if isinstance(error, Exception)]
        raise NodeFailure(f"node {first.name!r} failed in tick {self.tick}", errors, first.name, self.tick)

    def _judge(self, run: NodeRun) -> None:
        """Was the tick that has just ended in time?"""
        now_ns = run.now()
        if run.budget_ns is not None and now_ns - run.began_ns > run.budget_ns:
            run.overruns += 1
            self._incident(BudgetOverrun(run.name, run.budget_ns, now_ns - run.began_ns))
        actual_ns = now_ns - run.due_ns
        if run.deadline_ns is not None and actual_ns > run.deadline_ns:
            self._missed(run, 1, run.deadline_ns, actual_ns)
        else:
            run.misses_in_a_row = 0
            run.unsafe = False

    def _missed_periods(self, run: NodeRun, count: int) -> None:
        """A node was still busy, or the scheduler late, when it was due."""
        late_since_ns = run.due_ns if run.busy else (run.last_ns or 0)
        self._missed(run, count, run.deadline_ns or run.period_ns, run.now() - late_since_ns)

    def _missed(self, run: NodeRun, count: int, deadline_ns: int, actual_ns: int) -> None:
        run.misses += count
        run.misses_in_a_row += count
        self._incident(DeadlineMissed(run.name, deadline_ns, actual_ns))
        if self.max_deadline_misses is not None and run.misses_in_a_row >= self.max_deadline_misses:
            self.emergency_stop(f"deadline miss threshold exceeded: {run.name} missed {run.misses_in_a_row} in a row")
        elif run.node.on_miss is Miss.STOP:
            self.emergency_stop(f"{run.name} missed its deadline")
        elif run.node.on_miss is Miss.SKIP:
            run.skips_next = True
        elif run.node.on_miss is Miss.SAFE_MODE and not run.unsafe:
            run.unsafe = True
            self._interludes.append(run)

    def emergency_stop(self, reason: str) -> None:
        """End the run at once: every node's safe state, then every ``shutdown``. From any thread."""
        if self.emergency is None:
            self.emergency = EmergencyStop(reason)
            self._incident(EmergencyStopped(reason))
            self.reason = ""  # whatever was about to end the run, this is what did
        self.abort(f"emergency stop: {reason}")

    def _policy_changed(self, run: NodeRun, happen: Callable[[], Change]) -> Action:
        before = run.failure.state
        change = happen()
        if change.to is not before:
            policy = type(run.failure.policy).__name__
            self._incident(PolicyChanged(run.name, policy, before.value, change.to.value))
        return change.action

    def _failed(self, run: NodeRun, kind: str, error: BaseException) -> None:
        if isinstance(error, anyio.get_cancelled_exc_class()):
            return  # the run ends, and this callback with it
        run.errors += 1
        error.add_note(f"in {kind} of node {run.name!r}, tick {self.tick}")
        text = f"{type(error).__name__}: {error}"
        self._incident(NodeFailed(run.name, text, "".join(traceback.format_exception(error))))
        self._group.start_soon(_tell_node, run.node, error)
        now_ns = self.elapsed_ns()
        action = self._policy_changed(run, lambda: run.failure.failed(now_ns))
        if not isinstance(error, Exception) or action is Action.END_RUN or kind is SHUTDOWN:
            self.failures.append((run, error))
        if not isinstance(error, Exception) or action is Action.END_RUN:
            self.abort(f"fatal: {run.name}: {text}")
        else:
            _log.warning("node %r failed in %s: %s", run.name, kind, text)

    def _incident(self, incident: Incident) -> None:
        if self.observed:
            self._tell("incident", self.tick, incident)

    def blocked_for_ns(self, run: NodeRun) -> int:
        """How long a node's tick has been running, on the wall clock; for the watchdog."""
        return perf_ns() - run.started_ns if run.busy and run.kind is TICK else 0

    def watchdog_fired(self, run: NodeRun, stage: str, stack: str) -> None:
        """A tick takes much too long; told by the watchdog's thread."""
        self._incident(WatchdogFired(run.name, stage, stack))
        virtual = self._pace is None or self._pace.virtual
        if stage == "emergency_stop" and not virtual:
            self.emergency_stop(f"watchdog: the tick of {run.name} does not end")

    def _tell(self, what: str, *arguments: Any) -> None:
        for observer in self.observers:
            try:
                getattr(observer, what)(*arguments)
            except Exception:  # noqa: BLE001 - an observer must not take the robot down
                _log.exception("%s failed and is left out from here on", type(observer).__name__)
                self.observers.remove(observer)


async def _tell_node(node: Node, error: BaseException) -> None:
    on_error = node.callback("on_error")
    if on_error is None:
        return
    try:
        result = on_error(error)
        if inspect.isawaitable(result):
            with anyio.CancelScope(shield=True):
                await result
    except Exception:  # noqa: BLE001 - it is told of a failure and cannot make it worse
        _log.exception("on_error of node %r failed", node.name)
