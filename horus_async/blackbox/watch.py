"""From what the runtime tells its observers to events in a box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async import observe
from horus_async.blackbox.events import (
    BudgetViolation,
    DeadlineMiss,
    EmergencyStop,
    Event,
    FailurePolicy,
    NodeAdded,
    NodeError,
    SchedulerStart,
    SchedulerStop,
    Watchdog,
)
from horus_async.clock.system import wall_ns

if TYPE_CHECKING:
    from horus_async.blackbox.file import BlackBox


class BlackBoxObserver(observe.Observer):
    """Writes a run's events into its box. Their times are the wall clock's, in every mode: a box is evidence."""

    hears_messages = False

    def __init__(self, box: BlackBox) -> None:
        self._box = box
        self.ticked = box.record_tick  # type: ignore[method-assign] # straight through: it is called for each tick

    def run_started(self, run: observe.RunInfo) -> None:
        """See `Observer`."""
        self._box.catch_fatal_signals()
        self._put(SchedulerStart(tuple(node.name for node in run.nodes), run.tick_rate), 0)
        for node in run.nodes:
            self._put(NodeAdded(node.name), 0)

    def node_added(self, node: observe.NodeInfo) -> None:
        """See `Observer`."""
        self._put(NodeAdded(node.name), self._box.tick)

    def ticked(self, node: str, tick: int, took_ns: int, *, success: bool) -> None:
        """See `Observer`; the box itself stands here."""

    def incident(self, tick: int, incident: observe.Incident) -> None:
        """See `Observer`."""
        self._put(_event(incident), tick)

    def run_stopped(self, reason: str, ticks: int) -> None:
        """See `Observer`."""
        self._put(SchedulerStop(reason, ticks), self._box.tick)

    def _put(self, event: Event, tick: int) -> None:
        self._box.record(event, tick, wall_ns())


def _event(incident: observe.Incident) -> Event:
    match incident:
        case observe.NodeFailed(node, error, traceback):
            return NodeError(node, error, traceback)
        case observe.DeadlineMissed(node, deadline_ns, actual_ns):
            return DeadlineMiss(node, deadline_ns // 1000, actual_ns // 1000)
        case observe.BudgetOverrun(node, budget_ns, actual_ns):
            return BudgetViolation(node, budget_ns // 1000, actual_ns // 1000)
        case observe.PolicyChanged(node, policy, from_, to):
            return FailurePolicy(node, policy, from_, to)
        case observe.WatchdogFired(node, stage, stack):
            return Watchdog(node, stage, stack)
        case observe.EmergencyStopped(reason):
            return EmergencyStop(reason)
