"""What went wrong, and what was logged: counted in full, kept as far as there is room. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, frozen

if TYPE_CHECKING:
    from horus_async.recorder.log_lines import LogLine

BAD, WARNING, INFO = "bad", "warning", "info"
MOST_TEXT = 4_000


@frozen
class Incident:
    """Something that happened at a moment."""

    t: int
    """µs since the run began."""
    tick: int | None
    node: str | None
    kind: str
    """As the black box calls it: ``DeadlineMiss``, ``NodeError``, …; of a recording also ``SafeState`` and ``Gap``."""
    level: str
    text: str
    more: str = ""
    """A traceback, a stack."""


class Incidents:
    """All that happened, in the order of time; the first of them are kept, and of each kind and node the first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[Incident] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """By kind and node."""

    def add(self, incident: Incident) -> None:
        """One more."""
        key = incident.kind, incident.node or ""
        self.counts[key] += 1
        if len(self._kept) < self._most or self.counts[key] == 1:
            self._kept.append(incident)

    def tell_more(self, node: str, tick: int, more: str) -> None:
        """Give a failure of a node, in this tick or the one before, its traceback."""
        for place, one in enumerate(self._kept):
            if one.kind == "NodeError" and one.node == node and 0 <= tick - (one.tick or 0) <= 1 and not one.more:
                self._kept[place] = evolve(one, more=more)
                return

    @property
    def total(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    @property
    def left_out(self) -> int:
        """How many of them are not in the page one by one."""
        return self.total - len(self._kept)

    def kept(self) -> list[Incident]:
        """Those that are, by time."""
        return sorted(self._kept, key=lambda one: one.t)

    def rows(self) -> list[dict[str, Any]]:
        """What goes in the page."""
        return [{**asdict(one), "text": one.text[:MOST_TEXT], "more": one.more[:MOST_TEXT]} for one in self.kept()]

    def count_rows(self) -> list[dict[str, Any]]:
        """How many of each kind and node."""
        return [{"kind": kind, "node": node, "count": count} for (kind, node), count in sorted(self.counts.items())]


class LogLines:
    """What was logged: where there is too much, lines of high levels are kept, and of these the first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, int, dict[str, Any]]] = []
        self.counts: Counter[str] = Counter()
        """By level."""

    def add(self, line: LogLine, at_us: int) -> None:
        """One more line, at a moment."""
        self.counts[line.level] += 1
        row: dict[str, Any] = {
            "t": at_us,
            "tick": line.at_tick,
            "node": line.node,
            "level": line.level,
            "no": line.levelno,
        }
        row["text"] = line.message[:MOST_TEXT]
        if more := line.exception or line.stack:
            row["more"] = more[:MOST_TEXT]
        entry = line.levelno, -self.counts.total(), row
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    @property
    def left_out(self) -> int:
        """How many lines are not in the page."""
        return self.counts.total() - len(self._heap)

    def rows(self) -> list[dict[str, Any]]:
        """What goes in the page, by time."""
        return [row for _, _, row in sorted(self._heap, key=lambda entry: -entry[1])]
