"""The motor driver: from the speed that is wanted to the speeds of the wheels. It stops rather than guess."""

from __future__ import annotations

from world import HALF_AXLE, WHEEL_RADIUS

from horus_async import Miss, Node, Param, dt, now_ns
from horus_async.messages import CmdVel, JointCommand

TIMEOUT = 0.2
"""A command counts for so many seconds after it was sent."""


class Motors(Node):
    """Obeys the hand first, then the navigator; without a fresh command of either the wheels stand."""

    name, rate = "motors", 50
    subs = {"teleop.cmd_vel": CmdVel, "cmd_vel": CmdVel}  # noqa: RUF012 - options of a node
    pubs = {"wheels": JointCommand}  # noqa: RUF012
    deadline, on_miss = 0.015, Miss.SAFE_MODE
    max_speed = Param(0.5, min=0.0, max=1.0, unit="m/s")
    max_turn = Param(1.5, min=0.0, max=3.0, unit="rad/s")
    acceleration = Param(
        1.0, min=0.1, max=5.0, unit="m/s²", doc="Also when it slows down, but not when it has to stop."
    )

    async def init(self) -> None:
        """Stand, and know of no command."""
        self.newest: dict[str, tuple[int, CmdVel]] = {}
        self.speed = self.turn = 0.0

    async def tick(self) -> None:
        """Command the wheels."""
        wanted = self.wanted()
        if wanted is None:
            self.stop()
            return
        step = self.acceleration * dt()
        self.speed = _toward(_within(wanted.linear, self.max_speed), self.speed, step)
        self.turn = _toward(_within(wanted.angular, self.max_turn), self.turn, step / HALF_AXLE)
        self.drive()

    def wanted(self) -> CmdVel | None:
        """The fresh command that counts; None if there is none."""
        for topic in self.subs:
            while (message := self.recv_message(topic)) is not None:
                self.newest[topic] = message.stamp_ns, message.value
        for topic in self.subs:
            sent_ns, command = self.newest.get(topic, (None, CmdVel()))
            if sent_ns is not None and now_ns() - sent_ns < TIMEOUT * 1e9:
                return command
        return None

    def stop(self) -> None:
        """At once."""
        self.speed = self.turn = 0.0
        self.drive()

    def drive(self) -> None:
        """Tell each wheel its speed, rad/s."""
        wheels = [
            (self.speed - self.turn * HALF_AXLE) / WHEEL_RADIUS,
            (self.speed + self.turn * HALF_AXLE) / WHEEL_RADIUS,
        ]
        self.send("wheels", JointCommand(name=["left", "right"], velocity=wheels))

    async def enter_safe_state(self) -> None:
        """Called when a deadline was missed, when the node is paused, at an emergency stop and after a failure."""
        self.stop()


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _toward(wanted: float, present: float, step: float) -> float:
    return present + _within(wanted - present, step)
