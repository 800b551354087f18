"""The map: scans, each with the odometry of its moment, become an occupancy grid and the frame ``odom`` in ``map``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from grid import CELL, Grid
from world import CORNER

from horus_async import Frames, Keep, Node, Param, ServiceError, now, now_ns, service
from horus_async.frames import RigidTransform, stamped
from horus_async.messages import LaserScan, OccupancyGrid, Odometry

if TYPE_CHECKING:
    from pathlib import Path

_JUMP = 0.3
"""No robot gets this far from one scan to the next, metres: then the odometry has begun anew."""


class Mapper(Node):
    """Draws each scan where it fits best, near to where the odometry says; sends the map once a second."""

    name, rate = "mapper", 20
    subs = {"scan": LaserScan, "odom": Odometry, "frames": None, "frames.static": None}  # noqa: RUF012
    pubs = {"map": Keep(OccupancyGrid, 1), "frames": None}  # noqa: RUF012
    hit = Param(3, min=1, max=20, doc="Evidence for something where a ray ends.")
    free = Param(1, min=1, max=20, doc="Evidence against it where a ray passes.")
    most_turn = Param(0.9, min=0.0, max=5.0, unit="rad/s", doc="Scans of a robot that turns faster are left out.")
    trust = Param(0.3, min=0.0, max=1.0, doc="How much of what a scan says of the odometry's drift is believed.")

    def __init__(self, folder: Path) -> None:
        """Maps are saved to this folder."""
        super().__init__()
        self.folder = folder

    async def init(self) -> None:
        """With an unknown map, on which the odometry begins at the origin."""
        self.grid = Grid()
        self.frames = Frames(self)
        self.pairs = self.sync("scan", "odom", slop=0.01)
        self.map_from_odom = RigidTransform.of(stamped("map", "odom"))
        self.last_base: RigidTransform | None = None
        self.next_map = now()

    async def tick(self) -> None:
        """Draw what has come."""
        for scan, odom in self.pairs:
            if not self.frames.can_lookup("odom", "laser", scan.header.stamp):
                continue  # this program has just begun, and the frames of others are still to come
            self.place(odom)
            if abs(odom.twist.twist.angular.z) <= self.most_turn:
                self.draw(scan)
            self.frames.send(self.map_from_odom.stamped())
        if now() >= self.next_map:
            self.next_map += 1.0
            self.send("map", self.grid.message(now_ns()))

    def place(self, odom: Odometry) -> None:
        """Keep the robot where it is on the map when its odometry begins anew."""
        base = self.frames.lookup("odom", "base_link", odom.header.stamp)
        last, self.last_base = self.last_base, base
        if last is not None and _distance(last, base) > _JUMP:
            self.log.warning("the odometry has jumped; the map stays")
            kept = self.map_from_odom @ last @ base.inverse()
            self.map_from_odom = _flat(*kept.motion[:2], kept.yaw, base.stamp_ns)
        else:
            self.map_from_odom = _flat(*self.map_from_odom.motion[:2], self.map_from_odom.yaw, base.stamp_ns)

    def draw(self, scan: LaserScan) -> None:
        """Find where the scan fits, believe a part of it, and draw it there."""
        points = self.frames.scan_points(scan, "odom")
        x, y, yaw = *self.map_from_odom.motion[:2], self.map_from_odom.yaw
        found = self.grid.match(points[:, :2], x, y, yaw)
        x, y, yaw = (old + self.trust * (new - old) for old, new in zip((x, y, yaw), found, strict=True))
        self.map_from_odom = _flat(x, y, yaw, self.map_from_odom.stamp_ns)
        sensor = self.map_from_odom @ self.frames.lookup("odom", "laser", scan.header.stamp)
        ends = self.map_from_odom.points(points)[:, :2]
        self.grid.add(sensor.motion[:2], ends, hit=self.hit, free=self.free)

    @service("map.save")
    async def save(self, request: Any) -> Any:
        """Write the map as a picture and what ROS's map_server wants beside it: ``{"name": "flat"}``."""
        name = request.get("name") if isinstance(request, dict) else None
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]{1,64}", name, re.ASCII):
            raise ServiceError(f"{request!r:.60}: give a name of 1 to 64 of A-Z a-z 0-9 _ -, as in {{'name': 'flat'}}")
        picture = self.folder / f"{name}.pgm"
        picture.write_bytes(self.grid.pgm())
        picture.with_suffix(".yaml").write_text(
            f"image: {name}.pgm\nresolution: {CELL}\norigin: [{CORNER[0]}, {CORNER[1]}, 0.0]\n"
            "negate: 0\noccupied_thresh: 0.55\nfree_thresh: 0.45\n"
        )
        return str(picture)


def _flat(x: float, y: float, yaw: float, stamp_ns: int | None) -> RigidTransform:
    return RigidTransform.of(stamped("map", "odom", (x, y, 0.0), yaw=yaw, at=(stamp_ns or 0) / 1e9))


def _distance(one: RigidTransform, other: RigidTransform) -> float:
    return float(abs(complex(*one.motion[:2]) - complex(*other.motion[:2])))
