"""Which ticks become sessions: ranges around triggers, merged where they overlap. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import asdict, define, field, frozen

TOLD = 100
"""Of the triggers of a session, so many are told; all are counted."""
LONGEST = 10
"""A session is at most so many times ``before`` and ``after`` together long: what goes on for ever must not fill the
disk."""


@frozen
class Trigger:
    """Why, and when."""

    tick: int
    now_ns: int
    """The run's time of day in that tick."""
    kind: str
    """``anomaly``, ``message`` or ``call``."""
    what: str
    """The kind of anomaly or the topic."""
    text: str


@define(eq=False)
class Range:
    """The ticks of a session that is to be made, both included."""

    first: int
    last: int
    triggers: list[Trigger] = field(factory=list)
    count: int = 0
    session: str | None = None
    """That was made of it already, before it grew."""

    def add(self, trigger: Trigger) -> None:
        """One more reason for it."""
        self.count += 1
        if len(self.triggers) < TOLD:
            self.triggers.append(trigger)

    def told(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"count": self.count, "triggers": [asdict(trigger) for trigger in self.triggers]}


class Ranges:
    """The ranges of one run.

    Args:
        before: Ticks.
        after: Ticks.
        longest: Ticks; None for `LONGEST` times both together. What would be longer goes on in a range of its own,
            which begins where this one ends.
    """

    def __init__(self, before: int, after: int, longest: int | None = None) -> None:
        self._before, self._after = before, after
        self._longest = longest or LONGEST * (before + after + 1)
        self._newest: Range | None = None
        self._waiting: deque[Range] = deque()

    def trigger(self, trigger: Trigger) -> None:
        """Something happened in the newest tick."""
        tick, newest = trigger.tick, self._newest
        first, last = max(0, tick - self._before), tick + self._after
        if newest is None or first > newest.last:
            self._begin(Range(first, last), trigger)
            return
        if last - newest.first < self._longest:
            newest.add(trigger)
            self._extend(newest, last)
            return
        end = newest.first + self._longest - 1
        if tick <= end:
            newest.add(trigger)
            self._extend(newest, end)
        self._begin(Range(newest.last + 1, last), trigger)

    def due(self, tick: float) -> Range | None:
        """A range that ends by this tick, the oldest first, to be made now."""
        if self._waiting and self._waiting[0].last <= tick:
            return self._waiting.popleft()
        return None

    def kept_from(self, tick: int) -> int:
        """The oldest tick that may still be needed when this one is over."""
        kept = tick - self._before
        if self._waiting:
            kept = min(kept, self._waiting[0].first)
        newest = self._newest
        if newest is not None and kept <= newest.last:  # it may grow
            kept = min(kept, newest.first)
        return kept

    @property
    def waiting(self) -> Range | None:
        """The next one that will be made."""
        return self._waiting[0] if self._waiting else None

    def _begin(self, new: Range, trigger: Trigger) -> None:
        new.add(trigger)
        self._newest = new
        self._waiting.append(new)

    def _extend(self, newest: Range, last: int) -> None:
        if last > newest.last:
            newest.last = last
            if newest not in self._waiting:
                self._waiting.append(newest)
