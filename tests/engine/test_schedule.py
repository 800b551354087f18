"""Rates and durations as somebody wrote them: decimal numbers, exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.rules.schedule import RateSchedule, exact, is_faster, nanoseconds, ratio

NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
RATES = st.integers(1, 2000) | st.integers(1, 2_000_000).map(lambda thousandths: thousandths / 1000)


@given(NUMBERS)
def test_a_ratio_is_the_fraction_of_the_decimal_number(number: float) -> None:
    """As Python's fractions have it, reduced."""
    expected = Fraction(repr(number))

    assert ratio(number) == (expected.numerator, expected.denominator)
    assert exact(number) == expected


@given(NUMBERS | st.integers(-(10**12), 10**12).map(lambda halves: halves / 2 * 1e-9))
def test_nanoseconds_are_rounded_as_fractions_are(seconds: float) -> None:
    """To the nearest, and to an even one between two."""
    assert nanoseconds(seconds) == round(Fraction(repr(seconds)) * NANOSECONDS)


@given(RATES, RATES)
def test_rates_are_compared_as_written(rate: float, other: float) -> None:
    """Without the error of binary fractions."""
    assert is_faster(rate, other) == (Fraction(repr(rate)) > Fraction(repr(other)))


@given(RATES, RATES)
def test_ticks_of_a_rate_are_the_first_scheduler_ticks_after_their_moments(rate: float, tick_rate: float) -> None:
    """The k-th is at the first scheduler tick at or after k / rate."""
    share = min(Fraction(repr(rate)), Fraction(repr(tick_rate))) / Fraction(repr(tick_rate))
    schedule = RateSchedule(min(rate, tick_rate), tick_rate)
    for number in range(5):
        assert schedule.next_tick == -(-number // share)
        schedule.advance(int(schedule.next_tick))


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_what_is_not_finite_has_no_ratio(number: float) -> None:
    """It is refused before; here it is an error, not a number."""
    with pytest.raises(ValueError, match=r"inf|nan"):
        ratio(number)
