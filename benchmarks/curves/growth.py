"""The exponent of growth: 1 where twice as much takes twice as long, 2 where it takes four times as long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLERANCE = 0.35
"""An exponent may exceed what the work justifies by so much: on the way the caches are left (a thousand nodes take
hardly more instructions each than a hundred, and twice the time), and the machine is shared."""


def upper_half(points: Mapping[int, float]) -> dict[int, float]:
    """The points with the larger half of the sizes, three at least: below, fixed costs hide the growth."""
    sizes = sorted(points)
    return {size: points[size] for size in sizes[-max(3, (len(sizes) + 1) // 2) :]}


def exponent(points: Mapping[int, float]) -> float | None:
    """The slope of a straight line through the logarithms of the upper half of the points, by least squares.

    Args:
        points: what was measured, by size.

    Returns:
        The exponent; None for less than two points.
    """
    pairs = [(math.log(size), math.log(max(cost, 1e-9))) for size, cost in upper_half(points).items()]
    if len(pairs) < 2:
        return None
    middle_size = math.fsum(size for size, _ in pairs) / len(pairs)
    middle_cost = math.fsum(cost for _, cost in pairs) / len(pairs)
    spread = math.fsum((size - middle_size) ** 2 for size, _ in pairs)
    return math.fsum((size - middle_size) * (cost - middle_cost) for size, cost in pairs) / spread
