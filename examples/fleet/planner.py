"""Drives on while there is room, and stops before the wall: ``planner.py [DISTANCE]``, in metres."""

from __future__ import annotations

from horus_async import Node, Scheduler
from horus_async.messages import LaserScan, Twist, Vector3


class Planner(Node):
    """A command for each scan."""

    name, on, pubs = "planner", "scan", ["cmd_vel"]

    def __init__(self, stop_at: float) -> None:
        """Stop at this distance, in metres."""
        super().__init__()
        self.stop_at = stop_at

    async def tick(self) -> None:
        """Look at one scan."""
        scan: LaserScan = self.recv("scan")
        go = min(scan.ranges) > self.stop_at
        self.send("cmd_vel", Twist(linear=Vector3(x=0.5 if go else 0.0)))


def build(args: list[str]) -> Scheduler:
    """The program."""
    return Scheduler(tick_rate=50).add(Planner(float(args[0]) if args else 1.0))
