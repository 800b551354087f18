"""A robot's log becomes a map: driver, odometry, mapper and a guard that stops the robot before it hits something.

    horus-async run --deterministic --record mines examples/lidar_mapping.py -- drive.dat
    horus-async replay mines --speed max --verify examples/lidar_mapping.py -- drive.dat

Without a log, the robot drives along a simulated corridor. A log is plain text, one scan per line. Columns, counted
from 0: 0 is the time stamp in microseconds, 2 and 3 are the left and right wheel's encoder ticks, 24 to 705 are 682
lidar ranges in millimetres over 240°, from the robot's right to its left, 0 for no return. The stamps need not be
evenly spaced. At the end of the log, the map is written as a PNG: light is free, dark is occupied, grey is unknown.

Scans and frames are common messages, so viewers show them without set-up:

    horus-async record export mines --format mcap --output mines.mcap
"""

from __future__ import annotations

import argparse
import math
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import frozen

from horus_async import HorusError, Node, Scheduler, elapsed, sleep
from horus_async.frames import stamped
from horus_async.messages import Header, LaserScan, Time

STOP_DISTANCE_M = 0.55
"""The guard commands a stop when something ahead is closer to the lidar than this, metres."""

DRIVER_RATE = 10.0
"""How often the driver looks for the next scans, Hz. It sends each scan at its stamp, not at its own ticks."""

WHEEL_RADIUS_M = 0.077
HALF_AXLE_M = 0.165
TICKS_PER_TURN = 2000
LIDAR_AHEAD_M = 0.145
"""From the axle to the lidar."""
BEAM_ANGLES = np.radians(np.linspace(-120.0, 120.0, 682))
NEAREST_M = 0.02
"""The lidar reports faults as smaller numbers, and no return as 0."""
FARTHEST_M = 5.6
SCAN_TIME_S = 0.1
GUARDED_ANGLE = math.radians(30)
"""The guard looks this far to either side of straight ahead."""

CELL_M = 0.05
MAP_M = 40.0
"""Side of the square map; the robot starts in its middle."""
HIT, PASS, SURE = 3, 1, 60
"""Evidence per cell: what a beam that ends in it adds, what one that passes subtracts, and where it saturates."""

Ranges = npt.NDArray[np.int16]


@frozen
class Scan:
    """One line of the log."""

    stamp_us: int
    left: int
    right: int
    ranges_mm: Ranges

    def message(self) -> LaserScan:
        """The scan as all programs know it, in the frame ``laser``."""
        return LaserScan(
            header=Header(stamp_of(self.stamp_us), "laser"),
            angle_min=float(BEAM_ANGLES[0]),
            angle_max=float(BEAM_ANGLES[-1]),
            angle_increment=float(BEAM_ANGLES[1] - BEAM_ANGLES[0]),
            scan_time=SCAN_TIME_S,
            range_min=NEAREST_M,
            range_max=FARTHEST_M,
            ranges=self.ranges_mm.astype(np.float32) / np.float32(1000),
        )


def stamp_of(stamp_us: int) -> Time:
    """A stamp of the log: scans and frames go by the same clock."""
    return Time.from_ns(1000 * stamp_us)


class Driver(Node):
    """Plays the log: each line is sent at its own stamp, counted from the first."""

    name = "driver"
    rate = DRIVER_RATE
    pubs = {"encoders": dict, "scan": LaserScan}  # noqa: RUF012

    def __init__(self, log: list[Scan]) -> None:
        super().__init__()
        self.log_lines = log

    async def init(self) -> None:
        """Start with the first line."""
        self.next_line = 0

    async def tick(self) -> None:
        """Send the scans due between this tick and the next, each at its stamp; after the last one, stop the run."""
        if self.next_line == len(self.log_lines):
            self.request_stop()
        at, until = elapsed(), elapsed() + 1 / DRIVER_RATE
        while self.next_line < len(self.log_lines):
            scan = self.log_lines[self.next_line]
            due = (scan.stamp_us - self.log_lines[0].stamp_us) / 1e6
            if due >= until:
                return
            if due > at:
                await sleep(due - at)
                at = due
            self.next_line += 1
            self.send("encoders", {"stamp_us": scan.stamp_us, "left": scan.left, "right": scan.right})
            self.send("scan", scan.message())


class Odometry(Node):
    """Estimates where the robot is from how far each wheel has turned (differential drive).

    It says so twice: as a pose, and as the frame ``base_link`` in the frame ``odom``.
    """

    name = "odometry"
    on = "encoders"
    pubs = ("pose", "frames", "frames.static")

    async def init(self) -> None:
        """Start in the middle, facing along x; the lidar stays where it is on the robot."""
        self.send("frames.static", stamped("base_link", "laser", (LIDAR_AHEAD_M, 0.0, 0.0), at=0.0))
        self.last: dict[str, int] | None = None
        self.x = self.y = self.theta = 0.0

    async def tick(self) -> None:
        """Move along an arc by one encoder reading."""
        reading = self.recv("encoders")
        last = self.last or reading
        per_tick = 2 * math.pi * WHEEL_RADIUS_M / TICKS_PER_TURN
        left = (reading["left"] - last["left"]) * per_tick
        right = (reading["right"] - last["right"]) * per_tick
        forward, turn = (left + right) / 2, (right - left) / (2 * HALF_AXLE_M)
        self.x += forward * math.cos(self.theta + turn / 2)
        self.y += forward * math.sin(self.theta + turn / 2)
        self.theta += turn
        self.last = reading
        self.send("pose", {"stamp_us": reading["stamp_us"], "x": self.x, "y": self.y, "theta": self.theta})
        at = stamp_of(reading["stamp_us"])
        self.send("frames", stamped("odom", "base_link", (self.x, self.y, 0.0), yaw=self.theta, at=at))


class Mapper(Node):
    """Draws an occupancy grid: cells gain evidence where beams end, and lose it where they pass."""

    name = "mapper"
    on = "pose"
    subs = ("scan",)
    pubs = ("map.update",)

    async def init(self) -> None:
        """Start with an unknown map."""
        side = round(MAP_M / CELL_M)
        self.grid: npt.NDArray[np.int8] = np.zeros((side, side), np.int8)
        self.scans = 0

    async def tick(self) -> None:
        """Draw the scan of one pose."""
        pose, scan = self.recv("pose"), self.recv("scan")
        assert scan.header.stamp == stamp_of(pose["stamp_us"])
        self.draw(pose, scan.ranges)
        self.scans += 1
        occupied = int(np.count_nonzero(self.grid > 0))
        self.send("map.update", {"scans": self.scans, "occupied": occupied, "crc": zlib.crc32(self.grid.tobytes())})

    def draw(self, pose: dict[str, float], distances: npt.NDArray[np.float32]) -> None:
        """Add one scan; what lies outside of the map is left out."""
        seen = distances >= NEAREST_M
        angles = BEAM_ANGLES[seen] + pose["theta"]
        ranges = distances[seen].astype(np.float64)
        x = pose["x"] + LIDAR_AHEAD_M * math.cos(pose["theta"])
        y = pose["y"] + LIDAR_AHEAD_M * math.sin(pose["theta"])
        along = np.arange(0.0, ranges.max(initial=0.0), CELL_M)
        beam, step = np.nonzero(along[None, :] < ranges[:, None] - CELL_M)
        self.add(x + along[step] * np.cos(angles[beam]), y + along[step] * np.sin(angles[beam]), -PASS)
        self.add(x + ranges * np.cos(angles), y + ranges * np.sin(angles), HIT)

    def add(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], evidence: int) -> None:
        """Change each cell that holds one of the points, once."""
        side = len(self.grid)
        column = np.floor(x / CELL_M).astype(np.intp) + side // 2
        row = side // 2 - 1 - np.floor(y / CELL_M).astype(np.intp)
        inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
        cells = row[inside], column[inside]
        self.grid[cells] = np.clip(self.grid[cells] + evidence, -SURE, SURE)

    def png(self) -> bytes:
        """The map as a PNG: light is free, dark is occupied, grey is unknown."""
        return gray_png((128 - self.grid.astype(np.int16) * 127 // SURE).astype(np.uint8))


class Guard(Node):
    """Commands a stop when something ahead is too close."""

    name = "guard"
    on = "scan"
    pubs = ("cmd",)

    async def tick(self) -> None:
        """Judge one scan by the nearest thing ahead."""
        scan = self.recv("scan")
        ahead = scan.ranges[np.abs(BEAM_ANGLES) < GUARDED_ANGLE]
        nearest_m = round(float(ahead[ahead >= NEAREST_M].min(initial=FARTHEST_M)), 3)
        self.send("cmd", {"stop": nearest_m < STOP_DISTANCE_M, "nearest_m": nearest_m})


def gray_png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of a picture, shape (height, width), 0 black to 255 white (PNG specification, RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    unfiltered = np.pad(picture, ((0, 0), (1, 0))).tobytes()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(unfiltered)), chunk(b"IEND", b""))
    )


def read_log(path: Path) -> list[Scan]:
    """All lines of a log.

    Raises:
        HorusError: The log cannot be read; the message says where.
    """
    log = []
    try:
        for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
            columns = line.split()
            ranges = [int(column) for column in columns[24 : 24 + len(BEAM_ANGLES)]]
            if len(ranges) < len(BEAM_ANGLES):
                raise HorusError(f"{path}, line {number}: {len(columns)} columns, at least 706 are needed")
            stamp_us, left, right = (int(columns[index]) for index in (0, 2, 3))
            log.append(Scan(stamp_us, left, right, np.array(ranges, np.int16)))
    except (OSError, ValueError, OverflowError) as error:
        raise HorusError(f"{path} is not a log: {error}") from error
    if not log:
        raise HorusError(f"{path} has no scans")
    return log


def corridor(scans: int = 60) -> list[Scan]:
    """The log of a robot that drives for six seconds along a corridor, 2 m wide, towards a wall 3.3 m ahead."""
    log = []
    for number in range(scans):
        driven = 0.05 * number
        wheel = round(driven * TICKS_PER_TURN / (2 * math.pi * WHEEL_RADIUS_M))
        with np.errstate(divide="ignore"):
            to_side = 1.0 / np.abs(np.sin(BEAM_ANGLES))
        to_end = (3.3 - LIDAR_AHEAD_M - driven) / np.maximum(np.cos(BEAM_ANGLES), 1e-3)
        ranges_m = np.minimum(to_side, to_end)
        ranges_mm = np.where(ranges_m < 5.6, np.round(1000 * ranges_m), 0).astype(np.int16)
        log.append(Scan(100_000 * number, wheel, wheel, ranges_mm))
    return log


def options(args: list[str]) -> Any:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="lidar_mapping.py", description="Draw a map from a robot's log.")
    parser.add_argument("log", type=Path, nargs="?", metavar="LOG", help="the robot's log; without, a simulated one")
    parser.add_argument("--map", type=Path, default=Path("map.png"), metavar="FILE", help="where the map goes")
    return parser.parse_args(args)


def build(args: list[str]) -> Scheduler:
    """The robot, ready to run; ``horus-async replay --verify`` takes its nodes from here."""
    file = options(args).log
    scheduler = Scheduler(name="lidar_mapping")
    for node in (Driver(corridor() if file is None else read_log(file)), Odometry(), Mapper(), Guard()):
        scheduler.add(node)
    return scheduler


def main(args: list[str]) -> None:
    """Run it and write the map."""
    scheduler = build(args)
    scheduler.run_sync()
    mapper = next(node for node in scheduler.nodes if isinstance(node, Mapper))
    target = options(args).map
    target.write_bytes(mapper.png())
    print(f"{mapper.scans} scans mapped: {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
