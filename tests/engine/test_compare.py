"""Where two values differ."""

from __future__ import annotations

import math

import pytest

from horus_async.value_diff import first_difference, same

HUGE = 10**400


@pytest.mark.parametrize(
    ("a", "b", "equal", "near"),
    [
        (1, 1.0, False, True),
        (0.0, -0.0, False, True),
        (1.0, 1.05, False, True),
        (1.0, 1.2, False, False),
        (math.nan, math.nan, True, True),
        (math.nan, 1.0, False, False),
        (math.inf, math.inf, True, True),
        (math.inf, -math.inf, False, False),
        (HUGE, HUGE, True, True),
        (HUGE, 1.5, False, False),
        (True, 1, False, False),
        ("a", "a", True, True),
        ((1,), [1], False, False),
    ],
)
def test_values_are_equal_bit_by_bit_or_within_a_tolerance(a: object, b: object, equal: bool, near: bool) -> None:
    """Without a tolerance every bit counts; with one, numbers that far apart are equal, and nothing else is."""
    assert same(a, b) is equal
    assert same(a, b, tolerance=0.1) is near


def test_the_path_leads_to_the_first_difference() -> None:
    """Fields have dots and elements brackets; what only one side has is missing on the other."""
    a = {"pose": {"x": 1.0, "y": [1, 2, 3]}, "ok": True}

    assert first_difference(a, {"pose": {"x": 1.0, "y": [1, 5, 3]}, "ok": True}) == ("pose.y[1]", 2, 5)
    assert first_difference(a, {"pose": {"x": 1.0, "y": [1, 2]}, "ok": True}) == ("pose.y[2]", 3, "(missing)")
    assert first_difference(a, {"pose": {"x": 1.0, "y": [1, 2, 3]}}) == ("ok", True, "(missing)")
