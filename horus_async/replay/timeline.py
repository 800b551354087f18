"""The recorded clock: the scheduler ticks of a session, at their recorded times."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.rules.schedule import Step, exact, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.recorder.records import SchedulerTick

    from .options import ReplayOptions

_log = logging.getLogger("horus_async.replay")
_LONG_S = 60.0
"""A wait of so many seconds between two ticks is told of."""


class RecordedTimeline:
    """The recorded scheduler ticks, at their recorded times."""

    def __init__(self, options: ReplayOptions, *, duration: float | None, on_rewind: Callable[[], None]) -> None:
        self._options = options
        session = options.session
        self._deterministic = session.deterministic
        self._rate = exact(session.tick_rate)
        self._tick_rate = session.tick_rate
        self._period_ns = round(NANOSECONDS / self._rate)
        self._start_ns = session.start_ns
        self._clock = session.clock
        self._on_rewind = on_rewind
        self._ticks = self._read()
        self._first: int | None = None
        self._base_ns = 0
        self._at_ns = 0
        self._orders: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._limit_ns = None if duration is None else nanoseconds(duration)
        self._empty = options.empty_time()
        self.skip: Callable[[int], None] = lambda _: None
        """Told how much of the time up to the next step is not to be waited for."""
        self.end_ns = 0
        self.end_reason = "replay finished"

    def _read(self) -> Iterator[SchedulerTick]:
        options = self._options
        return iter(options.session.scheduler_ticks(options.start, options.stop))

    def next_step(self, late_at_ns: int | None = None) -> Step | None:
        """The next recorded tick; a replay is never late."""
        del late_at_ns
        line = next(self._ticks, None)
        if line is None and self._options.loop and self._first is not None:
            self._base_ns = self._at_ns + self._period_ns
            self._first = None
            self._ticks = self._read()
            self._on_rewind()
            if self._empty is not None:
                self._empty.rewind()
            line = next(self._ticks, None)
        if line is None:
            self._end(self._at_ns + self._period_ns if self._first is not None else 0)
            return None
        moment_ns = self._moment_ns(line)
        if self._first is None:
            self._first = moment_ns
        at_ns = max(self._at_ns, self._base_ns + moment_ns - self._first)
        if self._limit_ns is not None and at_ns >= self._limit_ns:
            self.end_reason = "duration"
            self._end(self._limit_ns)
            return None
        self._tell_of_wait(at_ns)
        self._at_ns = at_ns
        if self._empty is not None and (skipped_ns := self._empty.skip(line.tick, at_ns)):
            self.skip(skipped_ns)
        order = tuple(line.order)
        order = self._orders.setdefault(order, order)
        if self._deterministic:
            elapsed = line.tick / self._tick_rate
            return Step(line.tick, at_ns, line.now_ns, self._start_ns / NANOSECONDS + elapsed, elapsed, 0, order)
        origin_ns = line.now_ns - moment_ns
        return Step(line.tick, at_ns, line.now_ns, line.now_ns / NANOSECONDS, moment_ns / NANOSECONDS, origin_ns, order)

    def _tell_of_wait(self, at_ns: int) -> None:
        """Say that nothing will happen for long, as in a file with a wrong stamp."""
        seconds = (at_ns - self._at_ns) / NANOSECONDS
        if self._empty is None and seconds / self._options.speed > _LONG_S:
            _log.warning(
                "the next recorded tick comes %.6g s later: --skip-gaps or skip_gaps() does not wait for that", seconds
            )

    def _moment_ns(self, line: SchedulerTick) -> int:
        if self._deterministic:
            return line.tick * NANOSECONDS * self._rate.denominator // self._rate.numerator
        return self._clock.elapsed_of(line)

    def _end(self, at_ns: int) -> None:
        self.end_ns = at_ns if self._limit_ns is None else min(at_ns, self._limit_ns)
