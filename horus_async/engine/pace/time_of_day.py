"""What time of day it is in a run: its own time, which never jumps, and what is to be added to it.

In real time the wall clock may be set while a run goes on. It is looked at as each scheduler tick begins, but for the
first, and nowhere else: so ``now()`` and the stamps of one tick are all by one setting, and every interval is the
difference of two moments of the run's time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.clock.wall import wall_shift_ns

if TYPE_CHECKING:
    from horus_async.engine.rules.schedule import Step

    from .pace import Pace

_WORTH_TELLING_NS = 100_000_000
"""Smaller settings, of which there may be many, are not worth a line in everybody's log."""

_log = logging.getLogger("horus_async")


class Dial(NamedTuple):
    """The present setting. One object, as threads look at it while the event loop changes it."""

    tick: int
    """The scheduler tick from which on it holds, where the run follows the wall clock."""
    shift_ns: int | None
    """What is added to the machine's monotonic clock; None where the run's time is virtual or a test's."""
    began_ns: int
    """When the run was put together, as a wall clock that always had this setting would have shown it."""


def _tell_of(moved_ns: int) -> None:
    level = logging.WARNING if abs(moved_ns) >= _WORTH_TELLING_NS else logging.DEBUG
    direction = "forward" if moved_ns > 0 else "back"
    _log.log(level, "the wall clock was set %s by %g s", direction, abs(moved_ns) / NANOSECONDS)


class TimeOfDay:
    """The time of day in a run.

    Args:
        start_ns: When the run is put together: nanoseconds since 1970, or of virtual time.
    """

    def __init__(self, start_ns: int) -> None:
        self.dial = Dial(0, None, start_ns)
        self.base_ns = start_ns
        """What is added to the run's own time. For the event loop's thread."""
        self.elapsed_ns: int | None = None
        """Since the first scheduler tick, when the present one began; None where the difference of their times of day
        is the same, and has been all the time."""
        self._start_ns = start_ns
        self._origin_ns = 0
        self._first_origin_ns = 0
        self._first_now_ns = 0
        self._was_set = False

    def follow_wall(self, shift_ns: int) -> None:
        """Take the time of day from the wall clock, which is ahead of the monotonic one by so much."""
        self.dial = self.dial._replace(shift_ns=shift_ns)

    def attach(self, pace: Pace) -> None:
        """The run goes on in this time."""
        shift_ns = self.dial.shift_ns
        if pace.virtual or shift_ns is None:
            return
        base_ns = pace.wall_base_ns(shift_ns)
        if base_ns is None:
            base_ns = self._start_ns - pace.elapsed_ns()
            self.dial = self.dial._replace(shift_ns=None)
        self.base_ns = base_ns

    def start(self, pace: Pace) -> None:
        """The run's own time begins here."""
        stood_ns = pace.elapsed_ns()
        pace.start()
        if not pace.virtual:
            self.base_ns += stood_ns
            self.attach(pace)

    def real_step(self, step: Step, pace: Pace, *, first: bool) -> Step:
        """A scheduler tick that begins now, in real time. From here on the wall clock's present setting holds."""
        tick, shift_ns, began_ns = step.tick, self.dial.shift_ns, self.dial.began_ns
        if not first and shift_ns is not None:
            moved_ns = wall_shift_ns(shift_ns) - shift_ns
            if moved_ns:
                _tell_of(moved_ns)
                shift_ns += moved_ns
                began_ns += moved_ns
                self.base_ns += moved_ns
                self._origin_ns += moved_ns
        now_ns = self.base_ns + pace.elapsed_ns()
        if first:
            self._origin_ns = now_ns
        self.dial = Dial(tick, shift_ns, began_ns)
        step = step._replace(now_ns=now_ns, origin_ns=self._origin_ns)
        self._note(step, first=first)
        return step

    def note_recorded(self, step: Step, *, first: bool) -> None:
        """A scheduler tick begins that was recorded in real time."""
        if first:
            self._first_origin_ns = step.origin_ns
        self.dial = Dial(step.tick, None, self._start_ns + step.origin_ns - self._first_origin_ns)
        self._note(step, first=first)

    def _note(self, step: Step, *, first: bool) -> None:
        if first:
            self._first_now_ns = step.now_ns
        if self._was_set or step.origin_ns != self._first_now_ns:
            self._was_set = True
            self.elapsed_ns = step.now_ns - step.origin_ns

    def since_began_ns(self, pace: Pace | None) -> int:
        """Nanoseconds since the run was put together; from any thread."""
        _, shift_ns, began_ns = self.dial
        if shift_ns is not None:
            return monotonic_ns() + shift_ns - began_ns
        return self.base_ns + (0 if pace is None else pace.elapsed_ns()) - began_ns
