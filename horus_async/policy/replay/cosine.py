"""The cosine of two vectors, correctly rounded: the float nearest to the exact value.

A verdict hangs on it. Computed in floats, vectors whose cosine is exactly 0.999 can come out one unit below it.
"""

from __future__ import annotations

import math
from operator import mul
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BITS = 64
"""Of a root, before it is rounded to the 53 of a float."""


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Cosine of two vectors: 1 if both are zero, 0 if one is, NaN if a value is not finite."""
    if not all(map(math.isfinite, first)) or not all(map(math.isfinite, second)):
        return math.nan
    a, b = _integers(first), _integers(second)
    length_a, length_b = sum(map(mul, a, a)), sum(map(mul, b, b))
    if not length_a or not length_b:
        return 1.0 if length_a == length_b else 0.0
    dot = sum(map(mul, a, b))
    size = _root(dot * dot, length_a * length_b)
    return -size if dot < 0 else size


def _integers(values: Sequence[float]) -> list[int]:
    """The values times one power of two, exactly. Their cosine with anything is the same."""
    ratios = [value.as_integer_ratio() for value in map(float, values)]
    common = max((below for _, below in ratios), default=1)
    return list(map(mul, (above for above, _ in ratios), map(common.__floordiv__, (below for _, below in ratios))))


def _root(above: int, below: int) -> float:
    """The float nearest to the square root of ``above / below``."""
    shift = max(0, _BITS + (below.bit_length() - above.bit_length()) // 2)
    whole, rest = divmod(above << 2 * shift, below)
    root = math.isqrt(whole)
    # A last bit that stands for all that is cut off makes the division, which rounds correctly, see on which side of
    # the middle between two floats the root lies.
    cut_off = rest != 0 or root * root != whole
    return (2 * root + cut_off) / (1 << (shift + 1))
