"""A tree of named frames: where the parts of a robot are, and were, in each other. Names are loaded on first use.

self.frames = Frames(self)                                   # in init
self.frames.send(stamped("odom", "base_link", (x, y, 0), yaw=theta))
self.frames.lookup("map", "laser", scan.header.stamp).points(points)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.lazy_names import loader

if TYPE_CHECKING:
    from horus_async.errors import ExtrapolationError, FramesError
    from horus_async.messages import Transform, TransformStamped

    from .frames import Frames
    from .making import stamped
    from .names import MOVING, STATIC
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

_HOMES = {
    "frames": ("Frames",),
    "making": ("stamped",),
    "names": ("MOVING", "STATIC"),
    "picture": ("EdgeInfo",),
    "transform": ("ExtrapolationError", "FramesError", "RigidTransform", "Transform", "TransformStamped"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # A type checker that saw this would accept any misspelt name.
    __getattr__ = loader(__name__, __all__, _HOME_OF)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
