"""Noticing that the wall clock was set."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from horus_async.clock import wall
from horus_async.clock.system import monotonic_ns, wall_ns
from horus_async.clock.wall import SET_NS, wall_shift_ns

if TYPE_CHECKING:
    from collections.abc import Callable

YEARS_NS = 60 * 365 * 86_400 * 10**9
shifts = st.integers(-YEARS_NS, YEARS_NS)
delays = st.integers(0, 20_000_000)


class Machine:
    """Two clocks, and a machine that does something else for a while before each reading."""

    def __init__(self, shift_ns: int, delays_ns: list[int]) -> None:
        self.shift_ns = shift_ns
        self._delays = iter(delays_ns)
        self._now_ns = 5_000_000_000

    def monotonic_ns(self) -> int:
        """The one that is never set."""
        self._now_ns += next(self._delays, 100)
        return self._now_ns

    def wall_ns(self) -> int:
        """The one that is."""
        return self.monotonic_ns() + self.shift_ns

    def shift(self, known_ns: int | None) -> int:
        """What our function makes of them."""
        with patch.object(wall, "monotonic_ns", self.monotonic_ns), patch.object(wall, "wall_ns", self.wall_ns):
            return wall_shift_ns(known_ns)


def test_of_this_machine() -> None:
    """It is the difference of its clocks, and as long as nobody sets one, what it was."""
    before = wall_ns() - monotonic_ns()
    shift_ns = wall_shift_ns()
    assert abs(shift_ns - before) < 3600 * 10**9
    assert wall_shift_ns(shift_ns) == shift_ns


@given(shifts, st.lists(delays, max_size=25))
@example(0, [0, 20_000_000, *[0, 20_000_000, 0] * 5])  # busy in every pair of readings
def test_a_busy_machine_sets_no_clock(shift_ns: int, delays_ns: list[int]) -> None:
    """However long it does something else between two readings, what was known stays."""
    assert Machine(shift_ns, delays_ns).shift(shift_ns) == shift_ns


@given(shifts, st.integers(-SET_NS // 2, SET_NS // 2), st.lists(delays, max_size=25))
def test_small_steps_are_none(shift_ns: int, step_ns: int, delays_ns: list[int]) -> None:
    """What NTP does to a clock that runs well is not told."""
    assert Machine(shift_ns + step_ns, delays_ns).shift(shift_ns) == shift_ns


def _set(machine: Callable[[int | None], int], known_ns: int, wanted_ns: int) -> None:
    found = machine(known_ns)
    assert found != known_ns
    assert abs(found - wanted_ns) <= 1000


@given(shifts, st.one_of(st.integers(2 * SET_NS, YEARS_NS), st.integers(-YEARS_NS, -2 * SET_NS)))
def test_a_set_clock_is_noticed(shift_ns: int, step_ns: int) -> None:
    """At once, and to within the time that a reading takes."""
    _set(Machine(shift_ns + step_ns, []).shift, shift_ns, shift_ns + step_ns)


@given(shifts, st.lists(delays, max_size=8))
def test_the_closest_readings_count(shift_ns: int, delays_ns: list[int]) -> None:
    """The machine may be busy during most of them."""
    _set(Machine(shift_ns + 3600 * 10**9, delays_ns).shift, shift_ns, shift_ns + 3600 * 10**9)
    assert abs(Machine(shift_ns, delays_ns).shift(None) - shift_ns) <= 1000
