"""When a node is due, in scheduler ticks, and when a scheduler tick is due, in nanoseconds. Pure integers."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, NamedTuple, Protocol

from horus_async.clock.system import NANOSECONDS
from horus_async.native import core

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction


def exact(number: float) -> Fraction:
    """The decimal number somebody wrote: 33.3 is 333/10, not the binary fraction next to it."""
    from fractions import Fraction

    return Fraction(*ratio(number))


def ratio(number: float) -> tuple[int, int]:
    """Numerator and denominator of `exact`, without the decimal numbers that come with Python's fractions.

    Raises:
        ValueError: It is not finite.
    """
    digits, _, power = repr(number if type(number) in (int, float) else float(number)).partition("e")
    whole, _, decimals = digits.partition(".")
    numerator, places = int(whole + decimals), len(decimals) - int(power or 0)
    if places <= 0:
        return numerator * 10**-places, 1
    common = gcd(numerator, 10**places)
    return numerator // common, 10**places // common


def is_faster(rate: float, other: float) -> bool:
    """Whether a rate is above another one, as they were written."""
    (numerator, denominator), (others, per) = ratio(rate), ratio(other)
    return numerator * per > others * denominator


def nanoseconds(seconds: float) -> int:
    """The nearest whole number of them, an even one where two are as near."""
    numerator, denominator = ratio(seconds)
    whole, rest = divmod(numerator * NANOSECONDS, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2))


class Schedule(Protocol):
    """Which scheduler ticks are a node's."""

    next_tick: float
    """The next scheduler tick at which the node is due; ``inf`` when there is none."""

    def advance(self, tick: int) -> int:
        """Go past ``tick``; returns how many of the node's ticks were due since the last call, this one included."""

    def rewind(self, tick: int) -> None:
        """Begin (again) at ``tick``."""


class ScheduleCore:
    """What of a schedule each tick looks at, in both forms."""

    __slots__ = ("_done", "even", "next_tick", "patient")

    def __init__(self) -> None:
        self.next_tick: float = 0
        self._done = 0
        """How many ticks were due, up to the one before ``next_tick``."""
        self.even = False
        """Whether the node ticks in every scheduler tick, so that ``_done`` is ``next_tick``."""
        self.patient = False
        """Whether no tick is ever left out: ``advance`` gives 1 each time."""


if not TYPE_CHECKING and core is not None:
    ScheduleCore = core.ScheduleCore


class RateSchedule(ScheduleCore):
    """A node of ``rate`` Hz under a scheduler of ``tick_rate`` Hz: its k-th tick is the first at or after k / rate."""

    __slots__ = ("_per", "_ticks")

    def __init__(self, rate: float, tick_rate: float) -> None:
        super().__init__()
        hertz, per = ratio(rate)
        scheduler_hertz, scheduler_per = ratio(tick_rate)
        ticks, of = hertz * scheduler_per, per * scheduler_hertz
        common = gcd(ticks, of)
        self._ticks, self._per = ticks // common, of // common
        self.even = self._ticks == self._per

    def advance(self, tick: int) -> int:
        """Go past ``tick``; returns how many of the node's ticks were due since the last call."""
        if self.even:  # by far the most frequent: every scheduler tick
            done = self.next_tick = tick + 1
            passed = done - self._done
            self._done = done
            return passed
        done = tick * self._ticks // self._per + 1
        passed = done - self._done
        self._done = done
        self.next_tick = -(-done * self._per // self._ticks)
        return passed

    def rewind(self, tick: int) -> None:
        """Begin (again) at ``tick``."""
        self._done = -(-tick * self._ticks // self._per)
        self.next_tick = -(-self._done * self._per // self._ticks)


class Step(NamedTuple):
    """One scheduler tick."""

    tick: int
    at_ns: int
    """When it is due: nanoseconds since the run began."""
    now_ns: int
    """What ``now_ns()`` says in it, where time is virtual."""
    now: float
    """Seconds; the same."""
    elapsed: float
    """Seconds since the run began."""
    origin_ns: int = 0
    """Where time is or was real: what the wall clock would have shown in the first scheduler tick, had it always been
    set as it is in this one; ``elapsed()`` counts from there. 0 elsewhere."""
    order: Sequence[str] | None = None
    """In a replay, the recorded order of the nodes that ticked."""


class Timeline(Protocol):
    """The scheduler ticks of a run, one after the other."""

    end_ns: int
    """When the run ends, nanoseconds since it began."""
    end_reason: str

    def next_step(self, late_at_ns: int | None) -> Step | None:
        """The next tick, None at the end.

        ``late_at_ns``: in real time, the nanoseconds since the run began; ticks that are a whole period late by then
        are left out.
        """


class TimelineCore:
    """What a timeline of even ticks goes by, in both forms."""

    __slots__ = ("_denominator", "_end", "_next", "_numerator", "_rate", "_start", "_start_ns")


if not TYPE_CHECKING and core is not None:
    TimelineCore = core.TimelineCore


class RateTimeline(TimelineCore):
    """Ticks at tick / tick_rate, as long as that is below the duration."""

    def __init__(self, tick_rate: float, *, start_ns: int = 0, duration: float | None = None) -> None:
        self._rate = tick_rate
        self._numerator, per = ratio(tick_rate)
        self._denominator = per * NANOSECONDS
        self._start_ns = start_ns
        self._start = start_ns / NANOSECONDS
        self._next = 0
        self._end: int | None = None
        self.end_ns = 0
        self.end_reason = "duration"
        self.extend(duration)

    def next_step(self, late_at_ns: int | None = None) -> Step | None:
        """The next tick; see `Timeline`."""
        tick = self._next
        if late_at_ns is not None:
            tick = max(tick, late_at_ns * self._numerator // self._denominator)
        if self._end is not None and tick >= self._end:
            return None
        self._next = tick + 1
        at_ns = self._at_ns(tick)
        elapsed = tick / self._rate
        return Step(tick, at_ns, self._start_ns + at_ns, self._start + elapsed, elapsed)

    def extend(self, duration: float | None) -> None:
        """Let the ticks go on from where they are, for ``duration`` seconds more (None: without end)."""
        if duration is None:
            self._end = None
            return
        until_ns = self._at_ns(self._next) + nanoseconds(duration)
        self._end = -(-until_ns * self._numerator // self._denominator)
        self.end_ns = until_ns

    def _at_ns(self, tick: int) -> int:
        return tick * self._denominator // self._numerator
