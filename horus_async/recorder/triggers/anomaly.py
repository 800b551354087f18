"""The kinds of anomaly of a run: the same that a black box tells apart."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from horus_async import observe

if TYPE_CHECKING:
    from horus_async.observe import Incident


class Anomaly(enum.Flag):
    """What goes wrong in a run, as its black box calls it. Several: ``Anomaly.NODE_ERROR | Anomaly.WATCHDOG``."""

    NODE_ERROR = enum.auto()
    """A callback of a node raised."""
    DEADLINE_MISS = enum.auto()
    """A tick ended after its deadline, or its node was still busy when the next one was due."""
    BUDGET_VIOLATION = enum.auto()
    """A tick took longer than its budget."""
    FAILURE_POLICY = enum.auto()
    """A node's failure policy changed its state."""
    WATCHDOG = enum.auto()
    """A tick takes far too long."""
    EMERGENCY_STOP = enum.auto()
    """The run was stopped because it was no longer safe."""


ANY = ~Anomaly(0)
_KINDS: dict[type[Incident], Anomaly] = {
    observe.NodeFailed: Anomaly.NODE_ERROR,
    observe.DeadlineMissed: Anomaly.DEADLINE_MISS,
    observe.BudgetOverrun: Anomaly.BUDGET_VIOLATION,
    observe.PolicyChanged: Anomaly.FAILURE_POLICY,
    observe.WatchdogFired: Anomaly.WATCHDOG,
    observe.EmergencyStopped: Anomaly.EMERGENCY_STOP,
}


def kind_of(incident: Incident) -> Anomaly:
    """The kind of what an observer was told; none of them for what is no anomaly."""
    return _KINDS.get(type(incident), Anomaly(0))


def described(incident: Incident) -> str:
    """An anomaly in a line. No times, which are in the black box: so two deterministic runs say the same."""
    if isinstance(incident, observe.EmergencyStopped):
        return incident.reason
    if isinstance(incident, observe.NodeFailed):
        return f"{incident.node}: {incident.error}"
    if isinstance(incident, observe.PolicyChanged):
        return f"{incident.node}: {incident.policy}, {incident.from_} to {incident.to}"
    if isinstance(incident, observe.WatchdogFired):
        return f"{incident.node}: {incident.stage}"
    return incident.node
