"""Plots of long runs are thinned, and no spike is lost."""

from __future__ import annotations

import math
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from horus_async.view.parts.series import Series, SeriesSet

VALUES = st.lists(st.floats(width=32) | st.integers(-5, 5).map(float), max_size=400)


def _times(points: dict[str, list[int]]) -> list[int]:
    return list(accumulate(points["t"]))


@given(values=VALUES, most=st.integers(8, 40), shrink=st.integers(8, 40))
def test_least_and_greatest_are_kept_whatever_is_thinned(values: list[float], most: int, shrink: int) -> None:
    """All values that are drawn were there, at their times; the least and the greatest are among them."""
    series = Series(most)
    for at, value in enumerate(values):
        series.add(at * 10, value)
    series.shrink(shrink)
    points = series.points()
    finite = [value for value in values if math.isfinite(value)]

    assert points["n"] == len(values)
    assert points["bad"] == len(values) - len(finite)
    assert points["min"] == min(finite, default=None)
    assert points["max"] == max(finite, default=None)
    assert points["last"] == (finite[-1] if finite else None)
    times = _times(points)
    assert times == sorted(times)
    for at, value in zip(times, points["v"], strict=True):
        assert value is None or values[at // 10] == value
    assert len(points["t"]) <= 3 * max(most, shrink) + 3


@given(values=VALUES)
def test_every_value_is_there_where_there_is_room(values: list[float]) -> None:
    """And NaN breaks the line."""
    series = Series(1000)
    for at, value in enumerate(values):
        series.add(at, value)
    points = series.points()
    assert points["per"] == 1
    assert points["v"] == [value if math.isfinite(value) else None for value in values]
    assert _times(points) == list(range(len(values)))


@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=300), most=st.integers(8, 30))
def test_each_bucket_has_its_own_least_and_greatest(values: list[float], most: int) -> None:
    """So a spike is drawn where it was."""
    series = Series(most)
    for at, value in enumerate(values):
        series.add(at, value)
    drawn = dict(zip(_times(series.points()), series.points()["v"], strict=True))
    for begin in range(0, len(values), series.per):
        bucket = values[begin : begin + series.per]
        inside = [value for at, value in drawn.items() if begin <= at < begin + series.per]
        assert min(bucket) in inside
        assert max(bucket) in inside


def test_fields_beyond_the_limit_are_counted() -> None:
    """A message with thousands of fields does not make a page of any size."""
    fields = SeriesSet(3, 16)
    for number in range(10):
        fields.add(0, f"f{number}", 0, 1.0)
        fields.add(0, f"f{number}", 1, 1.0)
    assert len(fields.rows()) == 3
    assert len(fields.left_out) == 7


def test_all_plots_fit_together() -> None:
    """Long ones give way, short ones stay whole."""
    fields = SeriesSet(100, 4000)
    for number in range(20):
        for at in range(3 if number == 0 else 3000):
            fields.add(number, "x", at, float(at))
    fields.fit(10_000)
    rows = fields.rows()
    assert sum(len(row["t"]) for row in rows) <= 10_000
    assert rows[0]["per"] == 1
    assert len(rows[0]["t"]) == 3
    assert all(row["max"] == 2999 for row in rows[1:])
