"""What memory itself allows: copies."""

from __future__ import annotations

import numpy as np

from .sampling import microseconds_a_call


def copy_1_mib(scale: float) -> list[float]:
    """One copy of 1 MiB into memory that is allocated already."""
    source = np.arange(1 << 17, dtype=np.float64)
    target = np.empty_like(source)
    return [microseconds_a_call(lambda: np.copyto(target, source), scale=scale, batch=50)]
