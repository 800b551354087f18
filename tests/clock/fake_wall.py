"""A wall clock for runs that a test can set."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from horus_async.clock import wall
from horus_async.clock.system import wall_ns

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeWall:
    """The wall clock as runs see it: the machine's, but set forward or back by the test."""

    def __init__(self) -> None:
        self.offset_ns = 0
        self.looks = 0
        """How often anybody looked at it."""

    def __call__(self) -> int:
        """What it shows: nanoseconds since 1970."""
        self.looks += 1
        return wall_ns() + self.offset_ns

    def set(self, by_ns: int) -> None:
        """Set it forward, or back."""
        self.offset_ns += by_ns


@contextmanager
def fake_wall() -> Iterator[FakeWall]:
    """Runs look at this wall clock meanwhile."""
    clock = FakeWall()
    with patch.object(wall, "wall_ns", clock):
        yield clock
