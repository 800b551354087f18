"""A class that one process of a test imports, and the test itself does not."""

from __future__ import annotations

from attrs import define


@define
class Speed:
    """Packed."""

    metres_per_second: float = 0.0
    gear: tuple[int, int] = (0, 0)
