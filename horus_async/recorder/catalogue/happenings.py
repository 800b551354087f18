"""What happened in a recorded run, counted by its kind and node: what `session.json` says of it, and a catalogue.

The kinds are those of the black box's events (``DeadlineMiss``, ``Custom.CATEGORY``), ``Log.LEVEL`` for what was
logged, and what only a session knows: ``Gap``, ``Fatal``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from horus_async import observe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST = 2000
"""Rows: a program may have a category, a level or a node for each event."""
LOG, CUSTOM = "Log.", "Custom."
"""What the kinds begin with of which there are many."""
_LONGEST = 200
_LARGEST = 2**62

_KINDS = {
    observe.NodeFailed: "NodeError",
    observe.DeadlineMissed: "DeadlineMiss",
    observe.BudgetOverrun: "BudgetViolation",
    observe.PolicyChanged: "FailurePolicy",
    observe.WatchdogFired: "Watchdog",
    observe.EmergencyStopped: "EmergencyStop",
}


class Happening(NamedTuple):
    """Something that happened, once or often."""

    event: str
    node: str
    """Empty where it is about no certain node."""
    times: int
    first_tick: int | None
    last_tick: int | None


class Happenings:
    """Counts them. From any thread and from signal handlers, without a lock: what is shared is changed in one call."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def incident(self, tick: int, incident: observe.Incident) -> None:
        """Count what a black box has an event of."""
        if isinstance(incident, observe.Noted):
            self.see(f"{CUSTOM}{incident.category}", incident.node, tick)
        else:
            self.see(_KINDS[type(incident)], getattr(incident, "node", ""), tick)

    def logged(self, line: observe.Logged) -> None:
        """Count a line of the log."""
        self.see(f"{LOG}{line.record.levelname}", line.node or "", line.at_tick)

    def see(self, event: str, node: str, tick: int | None, times: int = 1) -> None:
        """Count something."""
        key = event[:_LONGEST], node
        found = self._counts.get(key)
        if found is None:
            if len(self._counts) > MOST:
                return
            found = self._counts.setdefault(key, _Count(tick))
        found.see(tick, times)

    def rows(self) -> list[Happening] | None:
        """All of them, sorted; None if there were too many kinds to keep them apart."""
        if len(self._counts) > MOST:
            return None
        counts = sorted(self._counts.items())
        return [Happening(*key, count.so_far(), count.first, count.last) for key, count in counts]

    def told(self) -> list[dict[str, Any]] | None:
        """What a manifest says of them."""
        rows = self.rows()
        return None if rows is None else [row._asdict() for row in rows]


class _Count:
    """Of one kind and node."""

    __slots__ = ("_more", "_number", "first", "last")

    def __init__(self, tick: int | None) -> None:
        self._number = itertools.count()
        self._more = 0
        self.first = self.last = tick

    def see(self, tick: int | None, times: int) -> None:
        next(self._number)  # one call, which no other thread comes between
        self._more += times - 1
        if tick is not None:
            self.first = tick if self.first is None else min(self.first, tick)
            self.last = tick if self.last is None else max(self.last, tick)

    def so_far(self) -> int:
        return int(repr(self._number)[len("count(") : -1]) + self._more  # without counting on


def read_rows(rows: object) -> list[Happening] | None:
    """What a manifest, which may be anybody's, says of them; None if it says nothing, or nothing that makes sense."""
    if not isinstance(rows, list) or len(rows) > MOST:
        return None
    try:
        return list(_checked(rows))
    except (TypeError, KeyError):
        return None


def _checked(rows: list[Any]) -> Iterator[Happening]:
    for row in rows:
        found = Happening(*(row[name] for name in Happening._fields))
        numbers = found.times, found.first_tick or 0, found.last_tick or 0
        if type(found.event) is not str or type(found.node) is not str or not all(map(_is_number, numbers)):
            raise TypeError
        yield found


def _is_number(value: object) -> bool:
    return type(value) is int and abs(value) < _LARGEST


def _both(one: Happening, other: Happening) -> Happening:
    first = [row.first_tick for row in (one, other) if row.first_tick is not None]
    last = [row.last_tick for row in (one, other) if row.last_tick is not None]
    times = max(one.times, other.times)
    return one._replace(times=times, first_tick=min(first, default=None), last_tick=max(last, default=None))


def merged(one: Iterable[Happening], other: Iterable[Happening]) -> list[Happening]:
    """What two tell of the same run: of each kind and node the larger count, as both saw the same."""
    found: dict[tuple[str, str], Happening] = {}
    for row in (*one, *other):
        key = row.event, row.node
        before = found.get(key)
        found[key] = row if before is None else _both(before, row)
    return [found[key] for key in sorted(found)]
