"""The planner, as an action: a goal on the map, a way that is searched anew when it is blocked, and the drive."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import anyio
from attrs import frozen
from search import Costs, find_way
from world import RADIUS

from horus_async import ActionError, Frames, FramesError, Goals, Node, Param, action, now_ns, sleep
from horus_async.messages import CmdVel, Header, LaserScan, OccupancyGrid, Path, Point, Pose, Pose2D, PoseStamped, Time

STEP = 0.05
"""From one command to the next, seconds."""
_PATIENCE = 5.0
"""Seconds for which there may be no way before a goal fails: perhaps what is in it goes on."""
_TOO_CLOSE = 0.06
"""Metres ahead of the robot."""
_BACK_OFF = 1.5
"""Seconds."""


@frozen
class Progress:
    """Feedback: how far it is, by the way."""

    left: float
    """Metres."""
    ways: int
    """How many ways were searched so far."""


class Navigator(Node):
    """Carries out ``base.go_to``: a new goal takes the place of the present one."""

    name, rate = "navigator", 20
    subs = {"map": OccupancyGrid, "scan": LaserScan, "frames": None, "frames.static": None}  # noqa: RUF012
    pubs = {"cmd_vel": CmdVel, "path": Path}  # noqa: RUF012
    speed = Param(0.45, min=0.05, max=1.0, unit="m/s")
    turn_gain = Param(2.0, min=0.1, max=10.0, unit="1/s", doc="How hard it turns to the way.")
    ahead = Param(0.4, min=0.1, max=2.0, unit="m", doc="It drives to the point of the way that is so far ahead.")
    inflation = Param(0.3, min=RADIUS, max=1.0, unit="m", doc="How far its middle keeps from what is on the map.")
    tolerance = Param(0.1, min=0.02, max=1.0, unit="m", doc="As close to the goal is there.")

    async def init(self) -> None:
        """Without a map, and with nothing in the way."""
        self.frames = Frames(self)
        self.map: OccupancyGrid | None = None
        self.costs: Costs | None = None
        self.gap = math.inf

    async def tick(self) -> None:
        """See what is new; the action does the rest."""
        for grid in self.recv_all("map"):
            self.map, self.costs = grid, None
        for scan in self.recv_all("scan"):
            self.gap = self.gap_ahead(scan)

    def gap_ahead(self, scan: LaserScan) -> float:
        """How far the robot could go straight on, metres, whatever the map says."""
        try:
            points = self.frames.scan_points(scan, "base_link")
        except FramesError as error:  # the program that sends them begins
            self.log.warning("%s", error)
            return 0.0
        before = points[(abs(points[:, 1]) < RADIUS) & (points[:, 0] > 0.0)]
        return float(before[:, 0].min(initial=math.inf)) - RADIUS

    def pose(self) -> tuple[float, float, float]:
        """Where the robot is on the map: the newest odometry on the newest correction."""
        base = self.frames.lookup("map", "odom") @ self.frames.lookup("odom", "base_link")
        return *base.motion[:2], base.yaw

    @action("base.go_to", goal=Pose2D, feedback=Progress, result=Pose2D, policy=Goals.PREEMPT)
    async def go_to(self, goal: Pose2D, handle: Any) -> Pose2D:
        """Drive to x and y, in any heading; the result is where it stopped. Given up, it stops, too."""
        way: list[tuple[float, float]] = []
        ways, without = 0, 0.0
        try:
            while True:
                x, y, heading = await self.known_pose()
                if math.dist((x, y), (goal.x, goal.y)) <= self.tolerance:
                    return Pose2D(x, y, heading)
                costs = self.costs_now()
                way = rest_of(way, x, y)
                if not way or not costs.is_way(way):
                    way = await self.new_way(costs, (x, y), (goal.x, goal.y))
                    ways, without = ways + 1, 0.0 if way else without + 0.5
                    if without > _PATIENCE:
                        raise ActionError(f"no way to {goal.x:.2f}, {goal.y:.2f}")
                if not way:
                    self.send("cmd_vel", CmdVel())
                    await sleep(0.5)
                    continue
                if self.gap < _TOO_CLOSE:
                    await self.back_off()
                    way = []
                    continue
                self.send("cmd_vel", self.command(way, x, y, heading))
                handle.feedback(Progress(round(length_of([(x, y), *way]), 3), ways))
                await sleep(STEP)
        finally:
            self.send("cmd_vel", CmdVel())

    async def back_off(self) -> None:
        """Something came in its way: go back to where it has room to turn, and to search another way."""
        for _ in range(round(_BACK_OFF / STEP)):
            self.send("cmd_vel", CmdVel(-0.2, 0.0))
            await sleep(STEP)

    async def known_pose(self) -> tuple[float, float, float]:
        """Wait for a map and for the frames, which other programs send, and give the pose."""
        while self.map is None or not self.frames.can_lookup("map", "base_link"):
            await sleep(STEP)
        return self.pose()

    def costs_now(self) -> Costs:
        """Of the newest map, made once for each: the inflation is a parameter, and may have changed."""
        assert self.map is not None
        if self.costs is None or self.costs.inflation != self.inflation:
            self.costs = Costs.of(self.map, self.inflation)
        return self.costs

    async def new_way(
        self, costs: Costs, start: tuple[float, float], goal: tuple[float, float]
    ) -> list[tuple[float, float]]:
        """Search a way, in a thread, as it may take a while."""
        way = await anyio.to_thread.run_sync(find_way, costs, start, goal)
        stamp = Header(Time.from_ns(now_ns()), "map")
        self.send("path", Path(stamp, [PoseStamped(stamp, Pose(Point(x, y))) for x, y in way or ()]))
        return (way or [])[1:]

    def command(self, way: list[tuple[float, float]], x: float, y: float, heading: float) -> CmdVel:
        """Turn to a point of the way that is a little ahead, and go on the faster, the better it is turned."""
        to_x, to_y = point_ahead([(x, y), *way], self.ahead)
        off = math.remainder(math.atan2(to_y - y, to_x - x) - heading, 2 * math.pi)
        left = length_of([(x, y), *way])
        speed = min(self.speed, 1.5 * left, 1.5 * max(0.0, self.gap - 0.05)) * max(0.0, math.cos(off)) ** 3
        return CmdVel(speed, self.turn_gain * off)


def rest_of(way: list[tuple[float, float]], x: float, y: float) -> list[tuple[float, float]]:
    """Without the points that the robot has passed: those that are near, or behind the next one."""
    while len(way) > 1 and (math.dist((x, y), way[0]) < 0.15 or _is_past(way[0], way[1], x, y)):
        way = way[1:]
    return way


def _is_past(point: tuple[float, float], following: tuple[float, float], x: float, y: float) -> bool:
    along = (following[0] - point[0]) * (x - point[0]) + (following[1] - point[1]) * (y - point[1])
    return along > 0 and math.dist(point, (x, y)) < 0.5


def length_of(way: list[tuple[float, float]]) -> float:
    """Metres."""
    return sum(math.dist(one, other) for one, other in pairwise(way))


def point_ahead(way: list[tuple[float, float]], metres: float) -> tuple[float, float]:
    """The point of the way that is so far from its start, or its end."""
    for one, other in pairwise(way):
        length = math.dist(one, other)
        if length >= metres > 0:
            part = metres / length
            return one[0] + part * (other[0] - one[0]), one[1] + part * (other[1] - one[1])
        metres -= length
    return way[-1]
