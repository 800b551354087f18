"""Random trees, and what an independent library makes of them."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
import transforms3d as t3
from attrs import define, field

from horus_async.frames import Frames
from horus_async.messages import Header, Quaternion, Time, Transform, TransformStamped, Vector3

SECOND = 1_000_000_000


def edge(parent: str, child: str, ns: int = 0, at: Any = (0.0, 0.0, 0.0), turn: Any = (0.0, 0.0, 0.0, 1.0)) -> Any:
    """A message; ``turn`` is x, y, z, w."""
    return TransformStamped(Header(Time.from_ns(ns), parent), child, Transform(Vector3(*at), Quaternion(*turn)))


@define
class World:
    """A tree as matrices: each frame under an earlier one, moving or not, with samples at its own times."""

    parents: list[int]
    """Of frame 1, 2, …; frame 0 is the root."""
    static: list[bool]
    stamps: list[list[int]]
    quaternions: list[Any] = field(factory=list)
    """Of transforms3d: w, x, y, z."""
    positions: list[Any] = field(factory=list)

    def fill(self, random: np.random.Generator) -> None:
        """Place the frames."""
        for stamps in self.stamps:
            turns = random.normal(size=(len(stamps), 4))
            self.quaternions.append(turns / np.linalg.norm(turns, axis=1, keepdims=True))
            self.positions.append(random.normal(scale=3.0, size=(len(stamps), 3)))

    def frames(self, random: np.random.Generator) -> Frames:
        """The same as it comes from a robot: edges and samples in any order."""
        found = Frames(history=1000.0)
        messages = []
        for child, (parent, static, stamps) in enumerate(zip(self.parents, self.static, self.stamps, strict=True), 1):
            for index, ns in enumerate(stamps[:1] if static else stamps):
                w, x, y, z = map(float, self.quaternions[child - 1][index])
                at = tuple(map(float, self.positions[child - 1][index]))
                messages.append((edge(f"f{parent}", f"f{child}", ns, at, (x, y, z, w)), static))
        for at in random.permutation(len(messages)):
            found.add(messages[at][0], static=messages[at][1])
        return found

    def pose(self, frame: int, ns: int) -> Any:
        """Where a frame is in the one above it, a 4 × 4 matrix; None where its samples say nothing."""
        stamps, turns, places = self.stamps[frame - 1], self.quaternions[frame - 1], self.positions[frame - 1]
        if self.static[frame - 1]:
            return t3.affines.compose(places[0], t3.quaternions.quat2mat(turns[0]), np.ones(3))
        if not stamps[0] <= ns <= stamps[-1]:
            return None
        low = min(bisect_right(stamps, ns) - 1, max(len(stamps) - 2, 0))
        high = min(low + 1, len(stamps) - 1)
        part = 0.0 if high == low else (ns - stamps[low]) / (stamps[high] - stamps[low])
        way = t3.quaternions.qmult(t3.quaternions.qinverse(turns[low]), turns[high])
        axis, angle = t3.quaternions.quat2axangle(way if way[0] >= 0 else -way)
        turn = t3.quaternions.quat2mat(turns[low]) @ t3.axangles.axangle2mat(axis, part * angle)
        return t3.affines.compose((1 - part) * places[low] + part * places[high], turn, np.ones(3))

    def above(self, frame: int) -> list[int]:
        """A frame, the one above it, and so on."""
        return [frame, *self.above(self.parents[frame - 1])] if frame else [0]

    def between(self, target: int, source: int, ns: int) -> Any:
        """What takes points of ``source`` into ``target``; None where an edge on the way says nothing."""
        common = next(frame for frame in self.above(source) if frame in self.above(target))
        found = []
        for end in (target, source):
            whole = np.eye(4)
            for frame in self.above(end)[: self.above(end).index(common)]:
                pose = self.pose(frame, ns)
                if pose is None:
                    return None
                whole = pose @ whole
            found.append(whole)
        return np.linalg.inv(found[0]) @ found[1]
