"""Turns what the runtime tells its observers into events in a box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async import observe
from horus_async.clock.system import wall_ns

from .events import (
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from .file import BlackBox


class BlackBoxObserver(observe.Observer):
    """Writes a run's events into its box, stamped with wall-clock time in every mode: a box is evidence."""

    hears_messages = False

    def __init__(self, box: BlackBox) -> None:
        self._box = box

    def run_started(self, run: observe.RunInfo) -> None:
        """`SchedulerStart`, and a `NodeAdded` for each node; from here on fatal signals are caught."""
        self._box.catch_fatal_signals()
        self._put(SchedulerStart.of((node.name for node in run.nodes), run.tick_rate), 0)
        for node in run.nodes:
            self._put(NodeAdded(node.name), 0)

    def node_added(self, node: observe.NodeInfo) -> None:
        """`NodeAdded`: a node joined the run that is going on."""
        self._put(NodeAdded(node.name), self._box.tick_now())

    def tick_listener(self, node: str) -> observe.TickListener:
        """`NodeTick` for each tick of the node, straight into the box."""
        return self._box.tick_listener(node)

    def incident(self, tick: int, incident: observe.Incident) -> None:
        """`DeadlineMiss`, `BudgetViolation`, `NodeError`, `FailurePolicy`, `Watchdog` or `EmergencyStop`."""
        # ``type`` rather than ``match``, which takes longer than everything else about a late tick.
        if type(incident) is observe.DeadlineMissed:
            node, limit_ns, actual_ns = incident
            self._box.record_late(DeadlineMiss, node, tick, limit_ns, actual_ns)
        elif type(incident) is observe.BudgetOverrun:
            node, limit_ns, actual_ns = incident
            self._box.record_late(BudgetViolation, node, tick, limit_ns, actual_ns)
        else:
            self._put(_EVENTS[type(incident)](incident), tick)

    def run_stopped(self, reason: str, ticks: int) -> None:
        """`SchedulerStop`: the run ended, and why."""
        self._put(SchedulerStop(reason, ticks), self._box.tick_now())

    def _put(self, event: Event, tick: int) -> None:
        self._box.record(event, tick, wall_ns())


_EVENTS: dict[type[Any], Callable[[Any], Event]] = {
    observe.NodeFailed: lambda told: NodeError(told.node, told.error, told.traceback),
    observe.PolicyChanged: lambda told: FailurePolicy(told.node, told.policy, told.from_, told.to),
    observe.WatchdogFired: lambda told: Watchdog(told.node, told.stage, told.stack),
    observe.EmergencyStopped: lambda told: EmergencyStop(told.reason),
}
