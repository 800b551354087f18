"""An occupancy grid made of scans: cells gain evidence where rays end, and lose it where they pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from world import CORNER, SIZE

from horus_async.messages import Header, MapMetaData, OccupancyGrid, Point, Pose, Time

CELL = 0.05
"""Side of a cell, metres."""
SURE = 60
"""Evidence saturates here, so that what has moved away is forgotten."""
OCCUPIED = 3
"""Evidence from which on something is there."""
_SHIFTS = np.stack(np.meshgrid(*[np.arange(-2, 3) * 0.02] * 2), axis=-1).reshape(-1, 2)
_TURNS = np.arange(-2, 3) * 0.008
"""What `Grid.match` tries, metres and radians."""


class Grid:
    """Evidence by cell: above 0 for something there, below 0 for free, 0 for unknown."""

    def __init__(self) -> None:
        columns, rows = (round(side / CELL) for side in SIZE)
        self.evidence = np.zeros((rows, columns), np.int8)

    def cells(self, points: Any) -> Any:
        """Row and column of points (..., 2), and whether they are on the map; else the nearest cell's."""
        found = np.floor((points - np.array(CORNER)) / CELL).astype(np.intp)
        rows, columns = found[..., 1], found[..., 0]
        height, width = self.evidence.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return rows.clip(0, height - 1), columns.clip(0, width - 1), inside

    def add(self, sensor: Any, ends: Any, *, hit: int, free: int) -> None:
        """Draw rays from the sensor (2,) to their ends (N, 2)."""
        ways = ends - sensor
        lengths = np.hypot(ways[:, 0], ways[:, 1])
        steps = np.arange(0.0, lengths.max(initial=0.0), CELL)
        ray, step = np.nonzero(steps[None, :] < lengths[:, None] - CELL)
        self._change(sensor + ways[ray] * (steps[step] / lengths[ray])[:, None], -free)
        self._change(ends, hit + free)  # they were passed, too, by the rays beside them

    def _change(self, points: Any, evidence: int) -> None:
        rows, columns, inside = self.cells(points)
        cells = rows[inside], columns[inside]
        changed = self.evidence[cells].astype(np.int16) + evidence  # each cell once, however many rays
        self.evidence[cells] = changed.clip(-SURE, SURE)

    def match(self, points: Any, x: float, y: float, yaw: float) -> tuple[float, float, float]:
        """The pose near this one that puts points (N, 2) best upon what is on the map; of equals, the nearest."""
        there = np.maximum(self.evidence, 0).astype(np.float32)
        there[1:-1, 1:-1] += 0.5 * (there[:-2, 1:-1] + there[2:, 1:-1] + there[1:-1, :-2] + there[1:-1, 2:])
        best, pose = -np.inf, (x, y, yaw)
        for turn in _TURNS:
            cos, sin = np.cos(yaw + turn), np.sin(yaw + turn)
            turned = points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
            rows, columns, inside = self.cells(turned[None] + _SHIFTS[:, None])
            scores = (there[rows, columns] * inside).sum(axis=1)
            scores -= (np.abs(_SHIFTS).sum(axis=1) + 2 * abs(turn)) * len(points)
            found = int(scores.argmax())
            if scores[found] > best:
                best, pose = scores[found], (x + _SHIFTS[found, 0], y + _SHIFTS[found, 1], yaw + turn)
        return tuple(map(float, pose))  # type: ignore[return-value]

    def message(self, stamp_ns: int) -> OccupancyGrid:
        """As others take it: per cent, −1 for unknown."""
        height, width = self.evidence.shape
        certain = (50 + self.evidence.astype(np.int16) * 50 // SURE).astype(np.int8)
        data = np.where(self.evidence == 0, np.int8(-1), certain).ravel()
        about = MapMetaData(resolution=CELL, width=width, height=height, origin=Pose(Point(*CORNER)))
        return OccupancyGrid(Header(Time.from_ns(stamp_ns), "map"), about, data)

    def pgm(self) -> bytes:
        """A picture, north up: white is free, black is occupied, grey is unknown."""
        height, width = self.evidence.shape
        grey = (128 - self.evidence.astype(np.int16) * 127 // SURE).astype(np.uint8)
        return b"P5 %d %d 255\n" % (width, height) + grey[::-1].tobytes()
