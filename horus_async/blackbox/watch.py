"""Turns what the runtime tells its observers into events in a box."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from horus_async import observe
from horus_async.clock.system import wall_ns
from horus_async.errors import BlackBoxError
from horus_async.nodes.log import extra_of, traceback_of

from .events import (
    LOG,
    BudgetViolation,
    Custom,
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
    logs_from = logging.WARNING

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

    def logged(self, line: observe.Logged) -> None:
        """`Custom` events of the category ``log``: what nodes log, and what is said of rings, from WARNING up.

        The rest is in the recording.
        """
        record = line.record
        if not line.by_node and not hasattr(record, "ring"):
            return  # of the runtime's there are events, but for rings that other processes have spoilt
        data: dict[str, Any] = {"node": line.node, "level": record.levelname}
        if extra := extra_of(record):
            data["extra"] = extra
        if (exception := traceback_of(record)) is not None:
            data["exception"] = exception
        event = Custom(LOG, line.message, data)
        with suppress(BlackBoxError):  # in a forked child: it is not the robot, and the box is its parent's
            self._put(event, line.at_tick if line.tick is None else line.tick)

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
    observe.Noted: lambda told: Custom(told.category, told.message, told.data),
}
