"""The cosine decides at a threshold, so it is the float nearest to the exact value, whatever the vectors."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.policy import Thresholds
from horus_async.policy.replay.actions import compare_actions
from horus_async.policy.replay.cosine import cosine

values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-2, 2),
    st.integers(-1000, 1000).map(float),
)
pairs = st.lists(st.tuples(values, values), min_size=1, max_size=12)


def exact(first: list[float], second: list[float]) -> float:
    """The nearest float, from fractions, a root of two thousand digits, and Python's conversion of decimals."""
    a, b = list(map(Fraction, first)), list(map(Fraction, second))
    dot = sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))
    square = dot * dot / (sum(x * x for x in a) * sum(y * y for y in b))
    with localcontext(prec=2000, Emin=-10_000, Emax=10_000):
        size = (Decimal(square.numerator) / Decimal(square.denominator)).sqrt()
    return math.copysign(float(size), float(dot > 0) - float(dot < 0)) if dot else 0.0


@given(pairs)
def test_it_is_the_float_nearest_to_the_exact_value(vectors: list[tuple[float, float]]) -> None:
    """For any floats, huge and tiny ones too."""
    first, second = [a for a, _ in vectors], [b for _, b in vectors]
    if any(first) and any(second):
        assert cosine(first, second) == exact(first, second)
    else:
        assert cosine(first, second) == (1.0 if any(first) == any(second) else 0.0)


@st.composite
def vectors_of_a_known_cosine(draw: st.DrawFn) -> tuple[list[float], list[float], Fraction]:
    """A vector of whole numbers whose length is ``below`` and whose first value is ``above``, and an axis."""
    below = draw(st.sampled_from([100, 1000, 2000, 10_000, 20_000]))
    above = below - draw(st.integers(0, below // 100))
    rest, others = below * below - above * above, []
    while rest:
        others.append(draw(st.integers(max(1, math.isqrt(rest) // 2), math.isqrt(rest))))
        rest -= others[-1] ** 2
    axis = [float(draw(st.integers(1, 1000)))] + [0.0] * len(others)
    return [float(above), *map(float, others)], axis, Fraction(above, below)


@given(vectors_of_a_known_cosine())
def test_an_exact_cosine_at_a_threshold_passes(case: tuple[list[float], list[float], Fraction]) -> None:
    """What is exactly 0.999, or any other threshold that can be typed, is not less than it."""
    first, second, known = case
    assert cosine(first, second) == float(known)
    assert (cosine(first, second) >= 0.999) is (known >= Fraction(999, 1000))


def test_a_chunk_of_exactly_0_999_passes() -> None:
    """999² + 43² + 12² + 2² + 1 + 1 = 1000², so the cosine to the axis is 0.999; computed in floats it was less."""
    limits = Thresholds(max_abs=2000.0)
    assert compare_actions([[999, 43, 12, 2, 1, 1]], [[1000, 0, 0, 0, 0, 0]], limits).passed
    assert not compare_actions([[999, 43, 12, 2, 1, 2]], [[1000, 0, 0, 0, 0, 0]], limits).passed


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_cosine(odd: float) -> None:
    """It is NaN, which passes nowhere."""
    assert math.isnan(cosine([1.0, odd], [1.0, 2.0]))
    assert math.isnan(cosine([1.0, 2.0], [odd, 2.0]))
