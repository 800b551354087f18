"""One time axis for several sessions: which of its ticks each of theirs becomes."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING

from attrs import field, frozen

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.rules.schedule import exact
from horus_async.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from horus_async.recorder.read.session import Session


@frozen
class TickMap:
    """The ticks of one session on the axis."""

    shift: int = 0
    """With a regular clock: how much later its ticks are there."""
    ticks: array[int] = field(factory=lambda: array("q"))
    """Else: its ticks, and the tick each becomes."""
    places: array[int] = field(factory=lambda: array("q"))

    def __call__(self, tick: int) -> int:
        """The tick on the axis; of one without a line that of the one before it."""
        if not self.ticks:
            return tick + self.shift
        return self.places[max(0, bisect_right(self.ticks, tick) - 1)]


@frozen
class Axis:
    """What the sessions have in common once they are merged."""

    maps: list[TickMap]
    regular: bool
    """All have a clock of the same rate, and their ticks coincide: so has the merged session."""
    tick_rate: float
    start_ns: int
    moments: list[int] | None = None
    """Where elapsed times have to be said, as a clock was set: the moment of each tick."""

    @classmethod
    def of(cls, sessions: Sequence[Session]) -> Axis:
        """The axis of these, by the time of day that they recorded.

        Raises:
            RecordingError: One has no ticks, or their clocks have nothing in common.
        """
        for session in sessions:
            if next(session.scheduler_ticks(), None) is None:
                raise RecordingError(f"session {session.name!r} has no scheduler ticks: its times are not known")
            if session.scheduler is not None and session.scheduler.rewound:
                raise RecordingError(f"session {session.name!r} is of a repeated replay: its ticks go back")
        virtual = [session.name for session in sessions if session.deterministic and not session.start_ns]
        if virtual and len(virtual) < len(sessions):
            others = ", ".join(session.name for session in sessions if session.name not in virtual)
            raise RecordingError(
                f"the clock of {', '.join(virtual)} is virtual and begins at 0, that of {others} is the time of day: "
                "they have no time in common"
            )
        return cls._regular(sessions) or cls._irregular(sessions)

    @classmethod
    def _regular(cls, sessions: Sequence[Session]) -> Axis | None:
        first = min(sessions, key=lambda session: session.start_ns)
        shifts = []
        for session in sessions:
            ticks = (session.start_ns - first.start_ns) * exact(session.tick_rate) / NANOSECONDS
            if not session.deterministic or session.tick_rate != first.tick_rate or ticks.denominator != 1:
                return None
            shifts.append(TickMap(ticks.numerator))
        return cls(shifts, regular=True, tick_rate=first.tick_rate, start_ns=first.start_ns)

    @classmethod
    def _irregular(cls, sessions: Sequence[Session]) -> Axis:
        maps = [TickMap() for _ in sessions]
        moments: list[int] = []
        for moment_ns, number, tick in heapq.merge(*map(_moments, sessions, range(len(sessions)))):
            if not moments or moment_ns != moments[-1]:
                moments.append(moment_ns)
            maps[number].ticks.append(tick)
            maps[number].places.append(len(moments) - 1)
        span_ns = moments[-1] - moments[0]
        rate = (len(moments) - 1) * NANOSECONDS / span_ns if span_ns else sessions[0].tick_rate
        was_set = any(session.clock.was_set for session in sessions)
        return cls(maps, regular=False, tick_rate=rate, start_ns=moments[0], moments=[*moments] if was_set else None)


def _moments(session: Session, number: int) -> Iterator[tuple[int, int, int]]:
    """The time of day of each tick, by the last setting of the session's clock: so it never goes back."""
    end_ns = session.clock.origin_ns(session.last_tick or 0) if session.clock.was_set else 0
    for line in session.scheduler_ticks():
        at_ns = end_ns + session.clock.elapsed_of(line) if session.clock.was_set else line.now_ns
        yield at_ns, number, line.tick
