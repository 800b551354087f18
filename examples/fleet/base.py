"""The wheels: they turn as the last command says, and their odometry is published."""

from __future__ import annotations

from horus_async import Node, Scheduler, dt
from horus_async.messages import Odometry, Point, Pose, PoseWithCovariance, Twist


class Base(Node):
    """Drives straight on, or stands."""

    name, rate, pubs, subs = "base", 50, ["odom"], ["cmd_vel"]

    async def init(self) -> None:
        """Stand at the origin."""
        self.x = self.speed = 0.0

    async def tick(self) -> None:
        """Drive for a tick."""
        command: Twist | None = self.recv("cmd_vel")
        if command is not None:
            self.speed = command.linear.x
        self.x += self.speed * dt()
        self.send("odom", Odometry(pose=PoseWithCovariance(pose=Pose(position=Point(x=self.x)))))

    async def enter_safe_state(self) -> None:
        """Stand."""
        self.speed = 0.0


def build(args: list[str]) -> Scheduler:
    """The program."""
    del args
    return Scheduler(tick_rate=50).add(Base())
