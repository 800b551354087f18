"""Which tick of a session a time means: seconds since its start, or a time of day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from horus_async.clock.system import NANOSECONDS, iso_utc
from horus_async.errors import RecordingError
from horus_async.validators import is_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.recorder.records import SchedulerTick

Moment = float | datetime
"""Seconds since the first tick of a session, or a time of day; one without a zone is UTC."""


class Session(Protocol):
    """What is asked of a session."""

    name: str
    deterministic: bool
    scheduler: Any
    """The scheduler's file; None if it is lost."""
    clock: Any
    """Its `RecordedClock`."""

    @property
    def first_tick(self) -> int | None:
        """The first tick recorded."""

    @property
    def last_tick(self) -> int | None:
        """The last one."""

    def scheduler_ticks(self, start: int | None = ..., stop: int | None = ...) -> Iterator[SchedulerTick]:
        """What the scheduler did, tick by tick."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_moment(text: str) -> Moment:
    """A moment as users type it: ``12.5``, or ISO 8601: ``2026-11-30T08:00:00Z``.

    Raises:
        RecordingError: It is neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise RecordingError(
            f"time {text!r}: give seconds since the start (12.5) or a time of day (2026-11-30T08:00:00Z)"
        ) from None


def parse_span(text: str) -> tuple[Moment | None, Moment | None]:
    """``A-B``, ``A-`` or ``-B``; None for an open end. Dashes within times of day are told apart.

    Raises:
        RecordingError: It is none of these, or can be read in two ways.
    """
    found = []
    for at in (index for index, letter in enumerate(text) if letter == "-"):
        sides = text[:at].strip(), text[at + 1 :].strip()
        try:
            begin, end = (parse_moment(side) if side else None for side in sides)
        except RecordingError:
            continue
        if (begin is None and end is None) or isinstance(begin, datetime) is not isinstance(end or begin, datetime):
            continue
        found.append((begin, end))
    if len(found) != 1:
        raise RecordingError(
            f"time {text!r}: give A-B, A- or -B, in seconds since the start (10-20) or times of day "
            "(2026-11-30T08:00:00Z-2026-11-30T08:01:00Z)"
        )
    return found[0]


def first_tick_from(session: Session, moment: Moment) -> int | None:
    """The first tick of a session at or after a moment; None if it ended before.

    Where the wall clock was set meanwhile, a time of day means the first tick that showed it, or a later one.

    Raises:
        RecordingError: The session has lost its scheduler's file or has no ticks, or ``moment`` is none.
    """
    first, last = session.first_tick, session.last_tick
    line = next(session.scheduler_ticks(first, None), None)
    if first is None or last is None or line is None:
        raise RecordingError(f"session {session.name!r} has no scheduler ticks: its times are not known")
    file = session.scheduler
    if isinstance(moment, datetime):
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wanted_ns = (zoned - _EPOCH) // timedelta(microseconds=1) * 1000
        if session.clock.was_set or (file is not None and file.rewound):
            ticks = session.scheduler_ticks()
            return next((tick.tick for tick in ticks if tick.now_ns >= wanted_ns), None)
        wanted_ns += _elapsed_ns(session, line) - line.now_ns
    elif is_number(moment) and moment == moment:  # noqa: PLR0124 - not NaN
        if moment in (float("inf"), float("-inf")):
            return None if moment > 0 else first
        wanted_ns = _elapsed_ns(session, line) + round(moment * NANOSECONDS)
    else:
        raise RecordingError(f"time {moment!r}: give seconds since the start, or a datetime")
    return _search(session, first, last, wanted_ns)


def span_text(session: Session) -> str:
    """From when to when a session goes, for messages."""
    lines = [next(session.scheduler_ticks(tick, tick), None) for tick in (session.first_tick, session.last_tick)]
    begin, end = lines
    if begin is None or end is None:
        return f"ticks {session.first_tick} to {session.last_tick}"
    seconds = (_elapsed_ns(session, end) - _elapsed_ns(session, begin)) / NANOSECONDS
    return f"0 to {seconds:g} s, {_time_of_day(begin.now_ns)} to {_time_of_day(end.now_ns)}"


def _time_of_day(ns: int) -> str:
    try:
        return iso_utc(ns)
    except (OverflowError, ValueError):
        return f"{ns} ns"


def _elapsed_ns(session: Session, line: SchedulerTick) -> int:
    return line.now_ns if session.deterministic else session.clock.elapsed_of(line)


def _search(session: Session, low: int, last: int, wanted_ns: int) -> int | None:
    """By halving: the first tick that has come so far."""
    high = last + 1
    found: int | None = None
    while low < high:
        middle = (low + high) // 2
        line = next(session.scheduler_ticks(middle, None), None)
        if line is None:
            high = middle
        elif _elapsed_ns(session, line) >= wanted_ns:
            found, high = line.tick, middle
        else:
            low = max(line.tick, middle) + 1
    return found
