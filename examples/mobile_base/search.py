"""The way over a map, by A*. No node: arrays in, points out."""

from __future__ import annotations

import heapq
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from horus_async.messages import OccupancyGrid

COARSE = 2
"""So many cells of the map a side make one of the search."""
_OCCUPIED = 52
"""Per cent."""
_STEPS = [(i, j, math.hypot(i, j)) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]


@frozen(eq=False)
class Costs:
    """Where the middle of the robot may be. What nobody has seen yet counts as free."""

    blocked: Any
    """Cells that are occupied or too close to one, an array of booleans."""
    cost: Any
    """What a cell costs more, as it is near to one."""
    corner: tuple[float, float]
    cell: float
    inflation: float

    @classmethod
    def of(cls, grid: OccupancyGrid, inflation: float) -> Costs:
        """From a map; ``inflation`` in metres is how far the robot keeps from what is occupied."""
        about = grid.info
        data: Any = np.asarray(grid.data).reshape(about.height, about.width) >= _OCCUPIED
        height, width = about.height // COARSE, about.width // COARSE
        data = data[: height * COARSE, : width * COARSE].reshape(height, COARSE, width, COARSE).any(axis=(1, 3))
        cell = about.resolution * COARSE
        blocked = _grown(data, inflation / cell)
        near = _grown(data, inflation / cell + 1.5).astype(np.float64) + _grown(data, inflation / cell + 3)
        return cls(blocked, near, (about.origin.position.x, about.origin.position.y), cell, inflation)

    def cell_of(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a point, which may be outside."""
        return math.floor((y - self.corner[1]) / self.cell), math.floor((x - self.corner[0]) / self.cell)

    def point_of(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a cell."""
        return self.corner[0] + (column + 0.5) * self.cell, self.corner[1] + (row + 0.5) * self.cell

    def is_inside(self, row: int, column: int) -> bool:
        """Whether that is on the map."""
        height, width = self.blocked.shape
        return bool(0 <= row < height and 0 <= column < width)

    def is_free(self, row: int, column: int) -> bool:
        """Whether the robot may be there."""
        return self.is_inside(row, column) and not bool(self.blocked[row, column])

    def is_way(self, points: list[tuple[float, float]]) -> bool:
        """Whether straight lines between these lead through free cells."""
        for (x, y), (to_x, to_y) in pairwise(points):
            steps = max(1, math.ceil(2 * math.hypot(to_x - x, to_y - y) / self.cell))
            for step in range(1, steps + 1):
                if not self.is_free(*self.cell_of(x + (to_x - x) * step / steps, y + (to_y - y) * step / steps)):
                    return False
        return True


def _grown(occupied: Any, cells: float) -> Any:
    """All cells whose middle is within so many cells of an occupied one."""
    reach = math.floor(cells)
    padded = np.pad(occupied, reach)
    height, width = occupied.shape
    found = np.zeros_like(occupied)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            if math.hypot(row, column) <= cells:
                found |= padded[reach + row : reach + row + height, reach + column : reach + column + width]
    return found


def find_way(costs: Costs, start: tuple[float, float], goal: tuple[float, float]) -> list[tuple[float, float]] | None:
    """The cheapest way from start to goal, as few points as will do; None if there is none.

    A start that is blocked is left by the nearest way: the robot is there, so it has to get away.
    """
    begin, end = costs.cell_of(*start), costs.cell_of(*goal)
    if not costs.is_free(*end):
        return None
    came, spent = {begin: begin}, {begin: 0.0}
    queue = [(0.0, begin)]
    while queue:
        _, here = heapq.heappop(queue)
        if here == end:
            cells = [here]
            while cells[-1] != begin:
                cells.append(came[cells[-1]])
            return _straightened(costs, [start, *(costs.point_of(*cell) for cell in cells[-2:0:-1]), goal])
        for row, column, length in _STEPS:
            there = here[0] + row, here[1] + column
            if not costs.is_free(*there):
                if costs.is_free(*here) or math.dist(there, begin) > 5 or not costs.is_inside(*there):
                    continue
                dearer = 10.0
            else:
                dearer = 1 + costs.cost[there]
            total = spent[here] + length * dearer
            if total < spent.get(there, math.inf):
                spent[there], came[there] = total, here
                heapq.heappush(queue, (total + math.dist(there, end), there))
    return None


def _straightened(costs: Costs, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leave out points where a straight line of up to a metre does as well."""
    kept = [points[0]]
    for point, following in pairwise(points[1:]):
        if math.dist(kept[-1], following) > 1.0 or not costs.is_way([kept[-1], following]):
            kept.append(point)
    return [*kept, points[-1]]
