"""Planted fault: noise from module-level ``random``, which is seeded differently each time."""

from __future__ import annotations

import random

from horus_async import Node, Scheduler, node


@node(rate=100, pubs=["imu"])
async def gyroscope(node: Node) -> None:
    """Turn rate with the noise of a cheap sensor, rad/s."""
    noise = random.gauss(0.0, 0.01)  # the fault: nobody knows the seed
    node.send("imu", {"yaw_rate": 0.1 + noise})


class Integrator(Node):
    """Integrates the turn rate."""

    name = "integrator"
    rate = 100
    subs = ("imu",)
    pubs = ("heading",)

    async def init(self) -> None:
        """Start facing along x."""
        self.heading = 0.0

    async def tick(self) -> None:
        """Add one reading."""
        self.heading += self.recv("imu")["yaw_rate"] / 100
        self.send("heading", {"radians": self.heading})


def build() -> Scheduler:
    """The program, ready to run."""
    return Scheduler(tick_rate=100, deterministic=True).add(gyroscope).add(Integrator())


if __name__ == "__main__":
    build().run_sync(1.0)
