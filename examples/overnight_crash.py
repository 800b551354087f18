"""A robot that stopped in the night, and the black box that says why.

    horus-async run examples/overnight_crash.py
    horus-async blackbox --anomalies

An arm follows a planner; a collision checker looks at each plan and has 1.9 ms to veto it. Half a second into the run
the scene gets crowded and the checker slow. Its veto of a bad plan comes too late, the arm cannot brake in time and
goes past its joint limit, and when the checker has missed its deadline three times in a row the scheduler stops the
robot. Everything happens in virtual time, so it happens the same way each time. With ``-- --interlock`` the arm waits
for the checker, as it should have done from the start: the robot stops all the same, but with the arm where it may be.
"""

from __future__ import annotations

import sys

from horus_async import EmergencyStop, Node, Scheduler, Skip, sleep, tick

JOINT_LIMIT = 1.57
"""Radians."""
CRUISE, RUSH = 0.0001, 0.02
"""Radians a tick: how fast the planner moves the arm, and how fast in the plan that is not safe."""
CROWDED = 250
"""The scheduler tick from which the checker has more to look at."""
BAD_PLAN = 255
CHECK_TIMES = {250: 0.0042, 255: 0.0051, 260: 0.0048}
"""Seconds that a check takes in the crowded scene, by tick; else a millisecond."""


class Camera(Node):
    """Counts what is around."""

    name = "camera"
    rate = 100
    pubs = ("scene",)

    async def tick(self) -> None:
        """One scene."""
        self.send("scene", {"obstacles": 40 if tick() >= CROWDED else 3})


class Planner(Node):
    """Says how fast the arm is to move; from one moment on, much too fast."""

    name = "planner"
    rate = 100
    subs = ("scene",)
    pubs = ("plan",)

    async def tick(self) -> None:
        """One plan."""
        self.recv("scene")
        self.send("plan", {"number": tick(), "speed": RUSH if tick() >= BAD_PLAN else CRUISE})


class CollisionChecker(Node):
    """Looks at each plan and says whether it is safe."""

    name = "collision_checker"
    rate = 100
    deadline = 0.0019
    subs = ("plan",)
    pubs = ("verdict",)

    async def tick(self) -> None:
        """One verdict; how long it takes depends on the scene."""
        plan = self.recv("plan")
        await sleep(CHECK_TIMES.get(tick(), 0.001) if tick() >= CROWDED else 0.001)
        self.send("verdict", {"number": plan["number"], "safe": plan["speed"] < RUSH})


class ArmController(Node):
    """Moves the arm as planned, and brakes when the checker says no."""

    name = "arm_controller"
    rate = 500
    subs = ("plan", "verdict")
    failure_policy = Skip(max_failures=1, cooldown=10.0)

    def __init__(self, *, interlock: bool) -> None:
        super().__init__()
        self.interlock = interlock

    async def init(self) -> None:
        """The arm stands still, close to where its work is."""
        self.position, self.speed = 1.4791, 0.0

    async def tick(self) -> None:
        """One step of the arm: what is not safe, or not known to be, is braked."""
        plan, verdict = self.latest("plan"), self.latest("verdict")
        checked = verdict is not None and verdict["number"] == plan["number"]
        if verdict is not None and not verdict["safe"]:
            self.speed /= 2
        elif self.interlock and not checked:
            self.speed = min(self.speed, CRUISE)
        else:
            self.speed = plan["speed"]
        self.position += self.speed
        if self.position > JOINT_LIMIT:
            raise RuntimeError("joint limit exceeded")

    async def enter_safe_state(self) -> None:
        """The brakes close."""
        self.speed = 0.0
        self.log.info("the arm holds still at %.3f rad", self.position)


def build(args: list[str]) -> Scheduler:
    """The robot; with ``--interlock`` as an argument, the one that was repaired."""
    scheduler = Scheduler(tick_rate=500, deterministic=True, blackbox_mb=16, max_deadline_misses=3, name="arm")
    arm = ArmController(interlock="--interlock" in args)
    return scheduler.add(Camera()).add(Planner()).add(CollisionChecker()).add(arm)


if __name__ == "__main__":
    robot = build(sys.argv[1:])
    try:
        robot.run_sync(1.0)
    except EmergencyStop as stopped:
        sys.exit(f"emergency stop: {stopped}")
