"""Prints where the robot is, once a second."""

from __future__ import annotations

from horus_async import Node, Scheduler
from horus_async.messages import Odometry


class Watch(Node):
    """Reads the odometry of another program."""

    name, rate, subs = "watch", 1, {"odom": Odometry}

    async def tick(self) -> None:
        """Print the newest."""
        odom = self.latest("odom")
        if odom is not None:
            print(f"at {odom.pose.pose.position.x:.2f} m")


def build(args: list[str]) -> Scheduler:
    """The program."""
    del args
    return Scheduler(tick_rate=10).add(Watch())
