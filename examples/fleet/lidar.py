"""A lidar that turns ten times a second, in a room whose far wall comes and goes."""

from __future__ import annotations

import math

from horus_async import Node, Scheduler, elapsed
from horus_async.messages import LaserScan


class Lidar(Node):
    """Publishes scans."""

    name, rate, pubs = "lidar", 10, ["scan"]

    async def tick(self) -> None:
        """One turn."""
        wall = 2.0 + 1.5 * math.cos(elapsed())
        self.send("scan", LaserScan(range_max=10.0, ranges=[3.0, wall, 3.0]))


def build(args: list[str]) -> Scheduler:
    """The program; launch and ``horus-async run`` call this."""
    del args
    return Scheduler(tick_rate=10).add(Lidar())
