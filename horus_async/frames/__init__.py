"""A tree of named frames: where the parts of a robot are, and were, in each other.

    self.frames = Frames(self)                                   # in init
    self.frames.send(stamped("odom", "base_link", (x, y, 0), yaw=theta))
    self.frames.lookup("map", "laser", scan.header.stamp).points(points)
"""

from __future__ import annotations

from horus_async.errors import ExtrapolationError, FramesError
from horus_async.messages import Transform, TransformStamped

from .frames import MOVING, STATIC, Frames
from .making import stamped
from .picture import EdgeInfo
from .transform import RigidTransform

__all__ = [
    "MOVING",
    "STATIC",
    "EdgeInfo",
    "ExtrapolationError",
    "Frames",
    "FramesError",
    "RigidTransform",
    "Transform",
    "TransformStamped",
    "stamped",
]
