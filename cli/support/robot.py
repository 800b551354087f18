"""The robot of ``horus-async demo``: two wheels, a lidar, and a room to drive around in."""

from __future__ import annotations

import math
from typing import Any

from horus_async import Node, Scheduler, dt, rng

ROOM_M = (6.0, 4.0)
HALF_AXLE_M = 0.15
BEAMS = 19
FIELD_OF_VIEW = math.radians(180)
ANGLES = [FIELD_OF_VIEW * (beam / (BEAMS - 1) - 0.5) for beam in range(BEAMS)]
STOP_DISTANCE_M = 0.4
CRUISE_MPS, TURN_MPS = 0.6, 0.15


class Robot(Node):
    """The body: turns wheel speeds into a pose, as odometry would report it."""

    name = "robot"
    rate = 100
    subs = ("drive",)
    pubs = ("odometry",)

    async def init(self) -> None:
        """Start in a corner of the room."""
        self.x, self.y, self.heading = 1.0, 1.0, 0.3
        self.left = self.right = 0.0

    async def tick(self) -> None:
        """Drive on for one period."""
        for drive in self.recv_all("drive"):
            self.left, self.right = drive["left_mps"], drive["right_mps"]
        forward = (self.left + self.right) / 2 * dt()
        self.heading += (self.right - self.left) / (2 * HALF_AXLE_M) * dt() + rng().gauss(0.0, 0.0005)
        self.x += forward * math.cos(self.heading)
        self.y += forward * math.sin(self.heading)
        self.send("odometry", {"x": self.x, "y": self.y, "heading": self.heading})


class Lidar(Node):
    """Measures the distance to the walls, with a little noise."""

    name = "lidar"
    rate = 20
    subs = ("odometry",)
    pubs = ("scan",)

    async def tick(self) -> None:
        """One scan, from the robot's right to its left."""
        pose = self.latest("odometry")
        noise = rng()
        ranges = [round(_to_wall(pose, angle) * noise.gauss(1.0, 0.005), 3) for angle in ANGLES]
        self.send("scan", {"ranges_m": ranges})


class Guard(Node):
    """Says when something ahead is too close."""

    name = "guard"
    on = "scan"
    pubs = ("guard.stop",)

    def __init__(self, stop_distance_m: float) -> None:
        super().__init__()
        self.stop_distance_m = stop_distance_m

    async def tick(self) -> None:
        """Judge one scan by its middle third."""
        ranges = self.recv("scan")["ranges_m"]
        nearest = min(ranges[BEAMS // 3 : -(BEAMS // 3)])
        self.send("guard.stop", {"stop": nearest < self.stop_distance_m, "nearest_m": nearest})


class Controller(Node):
    """Drives to where there is room; turns on the spot when the guard says stop."""

    name = "controller"
    rate = 20
    subs = ("scan", "guard.stop")
    pubs = ("drive",)

    async def tick(self) -> None:
        """Send one command to the wheels."""
        scan, guard = self.latest("scan"), self.latest("guard.stop")
        if guard["stop"]:
            self.send("drive", {"left_mps": -TURN_MPS, "right_mps": TURN_MPS})
            return
        right, left = sum(scan["ranges_m"][: BEAMS // 2]), sum(scan["ranges_m"][-(BEAMS // 2) :])
        turn = TURN_MPS * (left - right) / (left + right)
        self.send("drive", {"left_mps": CRUISE_MPS - turn, "right_mps": CRUISE_MPS + turn})


def _to_wall(pose: dict[str, float], angle: float) -> float:
    """Metres from the robot to the wall; ``angle`` is relative to its heading, radians."""
    cosine, sine = math.cos(pose["heading"] + angle), math.sin(pose["heading"] + angle)
    ways = [
        ((side if direction > 0 else 0.0) - at) / direction
        for direction, at, side in ((cosine, pose["x"], ROOM_M[0]), (sine, pose["y"], ROOM_M[1]))
        if direction
    ]
    return max(0.0, min(ways))


def build(*, stop_distance_m: float = STOP_DISTANCE_M, **options: Any) -> Scheduler:
    """The whole robot, in a scheduler made with ``options``."""
    scheduler = Scheduler(tick_rate=100, name="demo", **options)
    for node in (Robot(), Lidar(), Guard(stop_distance_m), Controller()):
        scheduler.add(node)
    return scheduler
