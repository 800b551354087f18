"""Planted fault: a controller asks the wall clock how much time has passed."""

from __future__ import annotations

import time

from horus_async import Node, Scheduler, rng

KP, KI = 0.8, 0.3


class Thermometer(Node):
    """A sensor."""

    name = "thermometer"
    rate = 50
    pubs = ("temperature",)

    async def tick(self) -> None:
        """Send one reading, degrees Celsius."""
        self.send("temperature", {"celsius": 20.0 + rng().gauss(0.0, 0.5)})


class Heater(Node):
    """A PI controller."""

    name = "heater"
    rate = 50
    subs = ("temperature",)
    pubs = ("power",)

    async def init(self) -> None:
        """Start with an empty integral."""
        self.last: float | None = None
        self.integral = 0.0

    async def tick(self) -> None:
        """Turn one reading into power."""
        reading = self.recv("temperature")
        now = time.time()  # noqa: TID251 - the fault: not the time of the run
        dt = 0.0 if self.last is None else now - self.last
        self.last = now
        error = 22.0 - reading["celsius"]
        self.integral += error * dt
        self.send("power", {"watts": KP * error + KI * self.integral})


def build() -> Scheduler:
    """The program, ready to run."""
    return Scheduler(tick_rate=50, deterministic=True).add(Thermometer()).add(Heater())


if __name__ == "__main__":
    build().run_sync(2.0)
