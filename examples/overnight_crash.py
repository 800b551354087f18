"""A robot that stopped in the night, and the black box that says why.

    horus-async run examples/overnight_crash.py
    horus-async blackbox --anomalies

An arm follows a planner; a collision checker looks at each plan and has 1.9 ms to veto it. Half a second into the run
the scene gets crowded and the checker slow. Its veto of a bad plan comes too late, the arm cannot brake in time and
exceeds its joint limit, and after three missed deadlines in a row the scheduler stops the robot. Everything happens in
virtual time, so it happens the same way each time. With ``-- --interlock`` the arm waits for the checker, as it should
have done from the start: the robot still stops, but with the arm within its limits.
"""

from __future__ import annotations

import sys

from horus_async import EmergencyStop, Node, Scheduler, Skip, sleep, tick

JOINT_LIMIT = 1.57
"""Radians."""
CRUISE, RUSH = 0.0001, 0.02
"""How fast the planner moves the arm, in normal plans and in the unsafe one, radians per tick."""
CROWDED = 250
"""The scheduler tick from which on the checker has more to look at."""
BAD_PLAN = 255
CHECK_TIMES = {250: 0.0042, 255: 0.0051, 260: 0.0048}
"""How long a check takes in the crowded scene, by tick, seconds; otherwise it takes a millisecond."""


class Camera(Node):
    """Counts the obstacles around the arm."""

    name = "camera"
    rate = 100
    pubs = ("scene",)

    async def tick(self) -> None:
        """Send one scene."""
        self.send("scene", {"obstacles": 40 if tick() >= CROWDED else 3})


class Planner(Node):
    """Says how fast the arm should move; from ``BAD_PLAN`` on, much too fast."""

    name = "planner"
    rate = 100
    subs = ("scene",)
    pubs = ("plan",)

    async def tick(self) -> None:
        """Send one plan."""
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
        """Send one verdict; how long that takes depends on the scene."""
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
        """The arm is at rest, close to its work."""
        self.position, self.speed = 1.4791, 0.0

    async def tick(self) -> None:
        """Move one step; brake if the plan is unsafe, and go slowly if it has not been checked."""
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
        """Close the brakes."""
        self.speed = 0.0
        self.log.info("the arm holds still at %.3f rad", self.position)


def build(args: list[str]) -> Scheduler:
    """The robot, or with ``--interlock`` the repaired one."""
    scheduler = Scheduler(tick_rate=500, deterministic=True, blackbox_mb=16, max_deadline_misses=3, name="arm")
    arm = ArmController(interlock="--interlock" in args)
    return scheduler.add(Camera()).add(Planner()).add(CollisionChecker()).add(arm)


if __name__ == "__main__":
    robot = build(sys.argv[1:])
    try:
        robot.run_sync(1.0)
    except EmergencyStop as stopped:
        sys.exit(f"emergency stop: {stopped}")
