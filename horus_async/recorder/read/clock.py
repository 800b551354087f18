"""A session's own time: how long it had been since the first scheduler tick, by the monotonic clock.

Lines and messages have times of day. The wall clock may have been set between them, so their differences say nothing;
but what belongs to one scheduler tick is by one setting, which the scheduler's line of the tick gives.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS
from horus_async.recorder.records import SchedulerTick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import RecordedFile

_BEFORE, _AFTER = 64, 1024
"""So many ticks before and after one that is asked for are read with it, as the next ones will be near."""
_HELD = b'"elapsed_ns":'


class RecordedClock:
    """Makes elapsed times of a session's times of day. Where the wall clock was never set this reads two lines, once.

    Args:
        scheduler: The scheduler's file; None where there is none, or where time was virtual and is nobody's setting.
    """

    def __init__(self, scheduler: RecordedFile | None) -> None:
        self._file = scheduler
        self._first_now_ns: int | None = None
        self._known_as_set: bool | None = None
        self._range = range(0)
        """Ticks whose lines are here, if they have one."""
        self._ticks: list[int] = []
        self._lines: list[SchedulerTick] = []

    @property
    def was_set(self) -> bool:
        """Whether the wall clock was set. From then on every line of the scheduler says so, the last one too."""
        if self._known_as_set is None:
            self._known_as_set = self._find_out()
        return self._known_as_set

    def elapsed_of(self, line: SchedulerTick) -> int:
        """Nanoseconds from the first scheduler tick to this one."""
        return line.now_ns - self._first_ns() if line.elapsed_ns is None else line.elapsed_ns

    def origin_ns(self, tick: int) -> int:
        """What the wall clock would have shown in the first scheduler tick, had it been set as it was in this one.

        Of a tick without a line it is that of the tick before.
        """
        if not self.was_set:
            return self._first_ns()
        line = self._line(tick)
        return self._first_ns() if line is None else line.now_ns - self.elapsed_of(line)

    def sent_ns(self, stamp_ns: int, tick: int, *, external: bool = False) -> int:
        """Nanoseconds from the first scheduler tick to when a message was sent.

        Args:
            stamp_ns: The message's.
            tick: In which it was sent.
            external: Whether another process stamped it, by whatever setting, and ``tick`` is when it was read: then,
                where the wall clock was set, it is not taken to be older than that tick nor younger than its end.
        """
        elapsed_ns = stamp_ns - self.origin_ns(tick)
        if external and self.was_set and (line := self._line(tick)) is not None:
            begins_ns = self.elapsed_of(line)
            after = self._line(tick + 1)
            ends_ns = begins_ns if after is None else self.elapsed_of(after)
            return min(max(elapsed_ns, begins_ns), max(begins_ns, ends_ns - 1))
        return elapsed_ns

    def _first_ns(self) -> int:
        if self._first_now_ns is None and self._file is not None and self._file.header is not None:
            self._first_now_ns = self._file.header.origin_ns
        if self._first_now_ns is None:
            first = next(self._scheduler_ticks(None), None)
            self._first_now_ns = 0 if first is None else first.now_ns - self._since_first_ns(first)
        return self._first_now_ns

    def _since_first_ns(self, line: SchedulerTick) -> int:
        """Of the first line that is there: how long it had been, by its number if the ones before it are lost."""
        if line.elapsed_ns is not None or not line.tick:
            return line.elapsed_ns or 0
        assert self._file is not None
        header = self._file.header
        return 0 if header is None else round(line.tick * NANOSECONDS / header.tick_rate)

    def _find_out(self) -> bool:
        file = self._file
        if file is None or file.last_tick is None:
            return False
        if file.rewound:
            return file.holds(_HELD)
        last = list(self._scheduler_ticks(file.last_tick))
        return last[-1].elapsed_ns is not None if last else file.holds(_HELD)

    def _scheduler_ticks(self, start: int | None, stop: int | None = None) -> Iterator[SchedulerTick]:
        records = iter(()) if self._file is None else self._file.records(start, stop)
        return (record for record in records if isinstance(record, SchedulerTick))

    def _line(self, tick: int) -> SchedulerTick | None:
        """The line of a tick, else the last one before it, else the next one; None if there is none near it."""
        if tick not in self._range:
            self._read(tick)
        place = bisect_right(self._ticks, tick)
        return self._lines[max(0, place - 1)] if self._lines else None

    def _read(self, tick: int) -> None:
        self._range = range(max(0, tick - _BEFORE), tick + _AFTER)
        self._ticks, self._lines = [], []
        for line in self._scheduler_ticks(self._range[0], self._range[-1]):
            if self._ticks and line.tick < self._ticks[-1]:
                break  # a repeated replay starts over
            self._ticks.append(line.tick)
            self._lines.append(line)
