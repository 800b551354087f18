"""The newest of what went wrong in a run and of what was logged, kept for those who ask, and log lines as they come.

Nobody pays for it who does not look: what is kept is rare (warnings, failures, misses), and what is less than
that is heard only while somebody has asked for it within the last seconds.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import monotonic_ns, wall_ns
from horus_async.nodes.log import traceback_of
from horus_async.observe import (
    BudgetOverrun,
    DeadlineMissed,
    EmergencyStopped,
    NodeFailed,
    Noted,
    Observer,
    PolicyChanged,
    WatchdogFired,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Incident, Logged

_ANOMALIES, _KEPT, _WAITING = 30, 100, 1000
_TEXT, _TRACEBACK = 2000, 8000
"""Characters of a message and of a traceback that are passed on."""
_NODES = 1000
"""Nodes whose last error is kept."""


class Recent(Observer):
    """Watches a run for those who look at it from outside.

    Args:
        publish: Sends log lines to them.
    """

    hears_messages = False
    logs_from = logging.WARNING

    def __init__(self, publish: Callable[[list[dict[str, Any]]], None]) -> None:
        self._publish = publish
        self._anomalies: deque[dict[str, Any]] = deque(maxlen=_ANOMALIES)
        self.last_errors: dict[str, dict[str, Any]] = {}
        """Of each node that has failed."""
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_WAITING)
        """What nobody could send yet. A line that finds no room takes the place of the oldest; ``seq`` tells."""
        self._numbers = itertools.count()
        self.heard = 0
        """How many lines were heard so far."""
        self._until_ns = 0
        self.followed = False
        """Whether somebody has asked for what is logged, lately."""

    # What went wrong

    def incident(self, tick: int, incident: Incident) -> None:
        """Keep it; what comes over and over is counted."""
        if isinstance(incident, Noted):
            return
        node = getattr(incident, "node", None)
        kind, when_ns = _KINDS[type(incident)], wall_ns()
        if isinstance(incident, NodeFailed) and (node in self.last_errors or len(self.last_errors) < _NODES):
            told = {"error": _cut(incident.error, _TEXT), "traceback": _cut(incident.traceback, _TRACEBACK)}
            self.last_errors[incident.node] = {"tick": tick, "now_ns": when_ns, **told}
        last = self._anomalies[-1] if self._anomalies else None
        text = _cut(_text(incident), _TEXT)
        said = {"kind": kind, "node": node, "tick": tick, "now_ns": when_ns, "text": text, "count": 1}
        if last is not None and (last["kind"], last["node"]) == (kind, node):
            said["count"] = last["count"] + 1
            self._anomalies[-1] = said
        else:
            self._anomalies.append(said)

    def anomalies(self) -> list[dict[str, Any]]:
        """The newest, oldest first."""
        return list(self._anomalies)

    # What is logged

    def logged(self, line: Logged) -> None:
        """From any thread, also in a signal handler: what has to be one step is one call."""
        said = {
            "seq": next(self._numbers),
            "now_ns": line.now_ns,
            "tick": line.tick,
            "node": line.node,
            "level": logging.getLevelName(line.level),
            "levelno": line.level,
            "message": _cut(line.message, _TEXT),
            "exception": _cut(traceback_of(line.record), _TRACEBACK),
        }
        self.heard = said["seq"] + 1
        if line.level >= logging.WARNING:
            self._kept.append(said)
        if self.followed:
            self._waiting.append(said)

    def kept_lines(self) -> list[dict[str, Any]]:
        """The newest warnings and errors, oldest first."""
        return list(self._kept)

    def follow(self, level: int | None, until_ns: int) -> None:
        """Hear what is logged from a level on; None: what is logged at all. The lowest that is asked for counts."""
        if not self.followed:
            self._waiting.clear()
        self.followed, self._until_ns = True, max(self._until_ns, until_ns)
        wanted = min(logging.WARNING, logging.INFO if level is None else level)
        assert self.logs_from is not None
        self.logs_from = min(self.logs_from, wanted)
        self.logs_kept_back = self.logs_from < logging.INFO  # what is below INFO is kept back as a rule

    def over(self, now_ns: int) -> bool:
        """Whether nobody has asked for a while; then less is heard again."""
        if now_ns < self._until_ns:
            return False
        self.followed, self.logs_from, self.logs_kept_back = False, logging.WARNING, False
        return True

    def send(self, most: int) -> None:
        """Pass on what waits, or a part of it."""
        waiting = self._waiting
        lines = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        if lines:
            self._publish(lines)

    def run_stopped(self, reason: str, ticks: int) -> None:
        """Pass on the last lines."""
        del reason, ticks
        if self.followed and monotonic_ns() < self._until_ns:
            self.send(_WAITING)


_KINDS: dict[type, str] = {
    NodeFailed: "failure",
    DeadlineMissed: "deadline miss",
    BudgetOverrun: "budget overrun",
    PolicyChanged: "policy",
    WatchdogFired: "watchdog",
    EmergencyStopped: "emergency stop",
}


def _text(incident: Incident) -> str:  # noqa: PLR0911 - one line a kind
    match incident:
        case NodeFailed():
            return incident.error
        case DeadlineMissed():
            return f"{incident.actual_ns / 1e6:.1f} ms, allowed are {incident.deadline_ns / 1e6:g} ms"
        case BudgetOverrun():
            return f"{incident.actual_ns / 1e6:.1f} ms, allowed are {incident.budget_ns / 1e6:g} ms"
        case PolicyChanged():
            return f"{incident.policy}: {incident.from_} → {incident.to}"
        case WatchdogFired():
            return incident.stage
        case EmergencyStopped():
            return incident.reason
    return ""


def _cut(text: Any, most: int) -> Any:
    """A text, short enough to be passed on, and without halves of pairs, which no message may have."""
    if not isinstance(text, str):
        return None
    whole = text if len(text) <= most else f"{text[:most]} … ({len(text)} characters)"
    return whole.encode(errors="backslashreplace").decode()
