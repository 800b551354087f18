"""When something was, in µs since a recorded run began."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from horus_async.recorder import Session


class SessionTimes:
    """The clock of a session, or of a range of its ticks.

    Args:
        session: The session.
        start: The first tick, None for that of the session.
        stop: The last one.
    """

    def __init__(self, session: Session, start: int | None = None, stop: int | None = None) -> None:
        self._session = session
        self.first = (session.first_tick if start is None else start) or 0
        """The first tick, whether or not it has a line; `last` is the last one."""
        self.last = max((session.last_tick if stop is None else stop) or 0, self.first)
        self._origin_ns = session.start_ns if session.deterministic or session.scheduler is None else None
        if self._origin_ns is None and not session.clock.was_set:
            self._origin_ns = session.clock.origin_ns(0)
        self._ticks: list[int] = []
        self._times: list[int] = []
        for line in session.scheduler_ticks(start, stop):
            if self._ticks and line.tick <= self._ticks[-1]:
                continue  # a repeated replay starts over
            virtual = session.deterministic
            ns = line.now_ns - session.start_ns if virtual else session.clock.elapsed_of(line)
            self._ticks.append(line.tick)
            self._times.append(ns // 1000)
        self.begin_us, self.end_us = self._span()

    def at(self, ns: int, tick: int, *, external: bool = False) -> int:
        """The time of a message or a callback, by its time of day and its tick."""
        if self._origin_ns is not None:
            return (ns - self._origin_ns) // 1000
        return self._session.clock.sent_ns(ns, tick, external=external) // 1000

    def of_tick(self, tick: int) -> int:
        """The time at which a tick began; of one without a line, when it would have."""
        place = bisect_left(self._ticks, tick)
        if place < len(self._ticks):
            return self._times[place]
        last = (self._ticks[-1], self._times[-1]) if self._ticks else (0, 0)
        return last[1] + round((tick - last[0]) * self._period_us)

    def map(self) -> list[list[int]]:
        """Ticks and their times, between which one may reckon; few where ticks are regular."""
        ticks, times = self._ticks, self._times
        if not ticks:
            return []
        places = sorted({*range(0, len(ticks), max(1, len(ticks) // 1000)), len(ticks) - 1})
        period = self._period_us
        if all(abs(times[place] - times[0] - (ticks[place] - ticks[0]) * period) <= 1 for place in places):
            places = [0, len(ticks) - 1]
        return [[ticks[place], times[place]] for place in places]

    @property
    def _period_us(self) -> float:
        return 1e6 / (self._session.tick_rate or 1.0)

    def _span(self) -> tuple[int, int]:
        if self._ticks:
            return self._times[0], max(self._times[-1] + round(self._period_us), self._times[0] + 1)
        begin, end = self.of_tick(self.first), self.of_tick(self.last + 1)
        return begin, max(end, begin + 1)
