"""What a run does when a node is late or fails. The part of `Runtime` that judges.

Deadlines, budgets and waits are counted in the run's time, so that in virtual time nothing of the machine's speed can
change a result. Only the watchdog looks at the wall clock, and in virtual time it only reports.
"""

from __future__ import annotations

import functools
import logging
import traceback
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

from horus_async.clock.debugger import held_within
from horus_async.clock.event_loop import event_loop
from horus_async.errors import EmergencyStop, NodeFailure
from horus_async.nodes.failure_policies import Ignore, Miss
from horus_async.nodes.node import callback_of
from horus_async.nodes.user_frames import begin_with_the_users
from horus_async.observe import (
    BudgetOverrun,
    DeadlineMissed,
    EmergencyStopped,
    Incident,
    NodeFailed,
    Noted,
    PolicyChanged,
    WatchdogFired,
)

from .audience import Audience
from .core.state import TICK, PlanCore
from .node_run import BACKGROUND, INIT, REQUEST, SAFE_STATE, SHUTDOWN, THREAD, NodeRun
from .reporting import advice_on_blocking, describe, hint, telling
from .rules.failure import Action, Change, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Sequence

    from horus_async.observe import Observer

    from .pace.pace import Busy

    Job = NodeRun | Awaitable[None]
    """A node whose callback is to be called; or something to wait for."""
    Plan = Generator[Job, None, None]

SAFE_STATE_LIMIT_NS = 1_000_000_000
"""How long an emergency stop waits for safe states that do not end, before it goes on to ``shutdown``."""

_MOST_TOLD_AT_ONCE = 100
"""Of the ticks that a standstill cost a node, so many have an event of their own; all are counted."""

_HARDLY_NS = 5_000_000
"""Whoever keeps the event loop for less than this is not spoken of."""

_log = logging.getLogger("horus_async")


class LeftBehind(Exception):  # noqa: N818 - no error: it ends the record of a callback that has not ended
    """A callback that did not end when the run did."""


class Safety(PlanCore, ABC):
    """Late nodes, failing nodes, and how a run ends because of them."""

    _order: list[NodeRun]
    _interludes: deque[tuple[NodeRun, str]]
    audience: Audience
    runs: dict[str, NodeRun]

    def __init__(self, observers: Iterable[Observer]) -> None:
        super().__init__()
        self.audience = Audience(observers)
        self.tick = 0
        self.failures: list[tuple[NodeRun, BaseException]] = []
        self.emergency: EmergencyStop | None = None
        self.max_deadline_misses: int | None = None
        self.grace_ns = 2_000_000_000
        """How long a run that ends waits for callbacks and threads that do not end."""
        self._interludes = deque()
        self._made_safe = False
        """Whether the safe states were entered, at the end of the run."""
        self._stands_still = False
        """Whether the run stands still between two steps."""
        self._named: set[str] = set()
        """Nodes of which was said that they hold up the event loop."""

    @abstractmethod
    def stop(self, reason: str = "stop") -> None:
        """End the run after the current tick."""

    @abstractmethod
    def elapsed_ns(self) -> int:
        """The run's time, nanoseconds."""

    @abstractmethod
    def end_work(self, node: str) -> Sequence[Busy]:
        """Cancel what a node has started beside its callbacks; gives the tasks that have not ended."""

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
        for error in errors:
            begin_with_the_users(error)  # it has come further since it was reported
        raise NodeFailure(f"node {first.name!r} failed in tick {self.tick}", errors, first.name, self.tick)

    # Late

    def _judge(self, run: NodeRun, error: BaseException | None) -> None:
        """Was the tick that has just ended, with an ``error`` or well, in time?"""
        now_ns = run.now()
        if run.budget_ns is not None and now_ns - run.began_ns > run.budget_ns:
            run.overruns += 1
            self._incident(BudgetOverrun(run.name, run.budget_ns, now_ns - run.began_ns))
        actual_ns = now_ns - run.due_ns
        if run.deadline_ns is not None and actual_ns > run.deadline_ns:
            self._missed(run, run.deadline_ns, actual_ns)
        elif error is None and (run.deadline_ns is not None or actual_ns <= run.period_ns):
            run.misses_in_a_row = 0
            run.unsafe = False

    def _judge_dues(self, run: NodeRun, passed: int, at_ns: int) -> None:
        """A node is due, for the ``passed``-th time since its last tick began: which of these did it miss?

        Those at which it was still busy; one with a deadline also those that the scheduler was too late to call.
        """
        if run.kind not in {TICK, REQUEST} or run.failure.waits(self.elapsed_ns()) or not run.period_ns:
            return  # it starts again, makes itself safe, or rests
        first_ns = at_ns - (passed - 1) * run.period_ns
        if run.busy:
            missed, actual_ns = passed, run.now() - run.due_ns
        elif run.deadline_ns is not None:
            missed, actual_ns = passed - 1, run.now() - first_ns
        else:
            missed = min(passed, -(-(run.ended_ns - first_ns) // run.period_ns))
            actual_ns = run.ended_ns - run.due_ns
        if missed and run.real_time:
            self._name_culprit(run, first_ns)
        told = min(missed, _MOST_TOLD_AT_ONCE)
        for number in range(told):
            count = missed - told + 1 if number == 0 else 1
            self._missed(run, run.deadline_ns or run.period_ns, actual_ns, count, in_a_row=number == 0)
            if self.emergency is not None:
                return

    def _name_culprit(self, late: NodeRun, since_ns: int) -> None:
        """A node comes late: log who held up the event loop meanwhile, each of those once."""
        culprit = max(self._order, key=lambda run: run.held_loop_ns() if run.ended_ns >= since_ns else 0)
        held_ns = culprit.held_loop_ns()
        if held_ns < max(late.period_ns, _HARDLY_NS) or culprit.ended_ns < since_ns or culprit.name in self._named:
            return
        self._named.add(culprit.name)
        _log.warning(
            "node %r held up the event loop for %d ms in tick %s, so that nodes came late: %s",
            culprit.name,
            held_ns // 1_000_000,
            culprit.context.tick,
            advice_on_blocking(callback_of(culprit.node, TICK)),
            extra={"node": culprit.name, "tick": culprit.context.tick},
        )

    def _missed(self, run: NodeRun, deadline_ns: int, actual_ns: int, count: int = 1, *, in_a_row: bool = True) -> None:
        """A node missed ``count`` periods; those of one standstill are one miss ``in_a_row``, told with the first."""
        if run.real_time and held_within(actual_ns + 2 * run.period_ns):
            return  # a debugger made it late
        run.misses += count
        run.misses_in_a_row += in_a_row
        self._incident(DeadlineMissed(run.name, deadline_ns, actual_ns))
        if self.max_deadline_misses is not None and run.misses_in_a_row >= self.max_deadline_misses:
            self.emergency_stop(f"deadline miss threshold exceeded: {run.name} missed {run.misses_in_a_row} in a row")
        elif run.node.on_miss is Miss.STOP:
            self.emergency_stop(f"{run.name} missed its deadline")
        elif run.node.on_miss is Miss.SKIP:
            run.skips_next = not run.busy  # one that is busy skips this tick already
        elif run.node.on_miss is Miss.SAFE_MODE and not run.unsafe:
            run.unsafe = True
            self._interludes.append((run, SAFE_STATE))

    def _interlude(self) -> Plan:
        """What comes between the ticks of nodes: safe states and requests. A node that is busy has its turn after."""
        for _ in range(len(self._interludes)):
            if self._aborted:
                return
            run, kind = self._interludes.popleft()
            if self._is_held_up(run, kind):
                self._interludes.append((run, kind))
            elif kind is REQUEST:
                yield from self._answer(run)
            elif run.callbacks[kind] is not None:
                run.kind = kind
                yield run

    def _is_held_up(self, run: NodeRun, kind: str) -> bool:
        """Whether a node cannot do that now: it is busy, or has to begin before it answers."""
        if kind is not REQUEST:
            return run.busy
        return run.busy or not run.initialised or run.needs_init or run.failure.state is not State.RUNNING

    def _answer(self, run: NodeRun) -> Plan:
        """Let a node answer the requests that wait for it, one after the other."""
        run.asked = False
        while not self._aborted and any(subscriber.has_message() for subscriber in run.requests):
            if run.busy:
                self._asks(run)
                return
            run.kind = REQUEST
            yield run
            pace = self._pace
            if pace is not None and pace.suspended:
                yield pace.settle()  # a goal's task, for one, begins before the next request

    def _asks(self, run: NodeRun) -> None:
        """There is a request for a node; from any thread."""
        if not run.asked:
            run.asked = True
            self._interludes.append((run, REQUEST))
        if self._pace is not None:
            self._pace.wake()

    # Pausing

    def pause(self, run: NodeRun) -> bool:
        """Have a node enter its safe state and tick no more until `resume`; False if it was paused. From any thread."""
        if run.paused:
            return False
        run.paused = run.by_hand = True
        self._interludes.append((run, SAFE_STATE))
        self._tell_paused(run, "paused")
        return True

    def resume(self, run: NodeRun) -> bool:
        """Let a paused node tick again; False if it was not paused. From any thread."""
        if not run.paused:
            return False
        run.paused, run.by_hand = False, run.by_nature
        self._stirred = self._stirred or bool(run.on)  # messages may have come meanwhile
        self._tell_paused(run, "resumed")
        return True

    def _tell_paused(self, run: NodeRun, what: str) -> None:
        self._incident(Noted(run.name, "node", f"{run.name} {what}", {"node": run.name, "state": what}))
        if self._pace is not None:
            self._pace.wake()

    # No longer safe

    def emergency_stop(self, reason: str) -> None:
        """End the run at once: every node's safe state, then every ``shutdown``. From any thread."""
        if self.emergency is None:
            self.emergency = EmergencyStop(reason)
            self._incident(EmergencyStopped(reason))
            self.reason = ""  # whatever was about to end the run, this is what did
            for run in self._order:
                run.in_a_hurry = True
        self.abort(f"emergency stop: {reason}")

    def all_safe_plan(self, over: Collection[NodeRun] = ()) -> Plan:
        """Every node's safe state: all begin before any is waited for, so that a slow one delays no other.

        Args:
            over: Nodes that are left out: their ``shutdown`` has ended.
        """
        assert self._pace is not None
        for run in self._order:
            if run.callbacks[SAFE_STATE] is not None and run not in over:
                run.kind = SAFE_STATE
                yield run
        until_ns = self.elapsed_ns() + SAFE_STATE_LIMIT_NS
        while any(run.busy for run in self._order) and not self._pace.reached(until_ns):
            yield self._pace.reach(until_ns)
        for run in self._order:
            if run.busy:
                late = TimeoutError("enter_safe_state did not end in time and is given up")
                _log.error("node %r: %s", run.name, late, extra={"node": run.name})
                self._report(run, SAFE_STATE, late)

    # Failing

    def _tell_of_errors(self, run: NodeRun) -> None:
        """Have the node's ``on_error`` told of what its callbacks raise."""
        on_error = callback_of(run.node, "on_error")
        if on_error is None:
            return
        for kind, callback in run.callbacks.items():
            if callback is not None:
                run.callbacks[kind] = telling(callback, on_error, functools.partial(self._report, run, kind))

    def _report(self, run: NodeRun, kind: str, error: BaseException) -> None:
        run.reported = error
        run.errors += 1
        error.add_note(f"in {kind} of node {run.name!r}, tick {self.tick}")
        advice = hint(error, virtual=self._pace is None or self._pace.virtual)
        if advice is not None:
            error.add_note(advice)
        begin_with_the_users(error)
        self._incident(NodeFailed(run.name, describe(error), "".join(traceback.format_exception(error))))

    def _failed_or_recovered(
        self, run: NodeRun, kind: str, error: BaseException | None, failure: BaseException | None
    ) -> None:
        if failure is not None:
            self._failed(run, kind, failure)
        elif kind is TICK and error is None and run.failure.state not in (State.WAITING, State.RESTING):
            self._policy_changed(run, run.failure.succeeded)  # else something in the background has failed meanwhile

    def _failed(self, run: NodeRun, kind: str, error: BaseException) -> None:
        """A callback has raised: what does the node's policy say?"""
        ordinary = isinstance(error, Exception)
        action = Action.NOTHING
        if kind is SHUTDOWN or (kind is SAFE_STATE and self.emergency is not None):
            if not isinstance(run.failure.policy, Ignore):
                self.failures.append((run, error))
        else:
            now_ns = self.elapsed_ns()
            action = self._policy_changed(run, lambda: run.failure.failed(now_ns))
        run.needs_init = run.needs_init or kind is INIT
        if action is Action.END_RUN or not ordinary:
            self.failures.append((run, error))
            if kind in {BACKGROUND, THREAD}:  # no line of a callback has it
                _log.error("node %r failed in %s: %s", run.name, kind, describe(error), extra={"node": run.name})
            self.abort(f"fatal: {run.name}: {describe(error)}")
        else:
            about = {"node": run.name, "tick": run.context.tick if kind is TICK else None}
            _log.warning("node %r failed in %s: %s", run.name, kind, describe(error), extra=about)

    def _policy_changed(self, run: NodeRun, happen: Callable[[], Change]) -> Action:
        before = run.failure.state
        change = happen()
        if change.to is not before:
            policy = type(run.failure.policy).__name__
            self._incident(PolicyChanged(run.name, policy, before.value, change.to.value))
        return change.action

    def _recover(self, run: NodeRun) -> Plan:
        """A node is due that has failed: its wait may be over, its ``init`` may have to run again."""
        failure = run.failure
        if failure.waits(self.elapsed_ns()):
            return
        waited = failure.state in (State.WAITING, State.RESTING)
        if waited and self._policy_changed(run, failure.time_up) is Action.INIT:
            run.restarts += 1
            run.needs_init = True
        if run.needs_init:
            assert self._pace is not None
            for work in self.end_work(run.name):
                yield self._pace.settle(work)
            if self.end_work(run.name):
                return  # the old tasks still clean up: it may when it is due again
            run.needs_init = False
            run.ports.begin_again()
            if run.callbacks[INIT] is not None:
                run.kind = INIT
                yield run

    def _cannot_tick(self, run: NodeRun) -> bool:
        return run.busy or run.needs_init or self._aborted or run.failure.waits(self.elapsed_ns())

    # Telling

    def blocked_since_ns(self, run: NodeRun) -> int | None:
        """When the node's running tick began, on the system's finest clock; None while it, or the run, is idle."""
        began_ns = run.started_ns
        return began_ns if run.busy and run.kind is TICK and not self._stands_still else None

    def watchdog_fired(self, run: NodeRun, stage: str, stack: str) -> None:
        """A tick takes much too long; told by the watchdog's thread."""
        self._incident(WatchdogFired(run.name, stage, stack))
        virtual = self._pace is None or self._pace.virtual
        if stage == "emergency_stop" and not virtual:
            self.emergency_stop(f"watchdog: the tick of {run.name} does not end")

    def _incident(self, incident: Incident) -> None:
        self.audience.tell("incident", self.tick, incident)

    def _is_cancellation(self, error: BaseException) -> bool:
        """Whether that is all it is; a nursery makes a group of several."""
        if isinstance(error, BaseExceptionGroup):
            return all(map(self._is_cancellation, error.exceptions))
        return isinstance(error, LeftBehind | event_loop().cancelled)
