"""Transforms as messages, from numbers."""

from __future__ import annotations

from typing import Any

from horus_async.errors import FramesError
from horus_async.messages import Header, Point, Quaternion, Time, Transform, TransformStamped, Vector3
from horus_async.nodes.context import now_ns

from .reading import frame_name, motion_of, time_of
from .rigid import rotation_of


def stamped(
    parent: str,
    child: str,
    translation: Any = (0.0, 0.0, 0.0),
    rotation: Any = None,
    *,
    rpy: Any = None,
    yaw: float | None = None,
    at: float | Time | None = None,
) -> TransformStamped:
    """Where ``child`` is in ``parent``, as a message.

    Args:
        parent: The frame that the numbers are in.
        child: The frame that is placed.
        translation: Where its origin is: x, y, z in metres, or a `Vector3`.
        rotation: How it is turned: a quaternion x, y, z, w, or a `Quaternion`; by default not at all.
        rpy: Instead: radians about the fixed axes X, then Y, then Z.
        yaw: Instead: radians about Z.
        at: When, seconds or a `Time`; by default now, in the time of the run.

    Raises:
        FramesError: A name is empty, or the numbers are no rigid motion.
    """
    if sum(value is not None for value in (rotation, rpy, yaw)) > 1:
        raise FramesError(f"edge {parent} → {child}: give one of rotation, rpy and yaw")
    if yaw is not None:
        rpy = (0.0, 0.0, yaw)
    if rpy is not None:
        rotation = rotation_of(*_numbers(rpy, 3, "rpy"))
    shift = (
        translation if isinstance(translation, (Vector3, Point)) else Vector3(*_numbers(translation, 3, "translation"))
    )
    if rotation is None:
        rotation = Quaternion()
    elif not isinstance(rotation, Quaternion):
        rotation = Quaternion(*_numbers(rotation, 4, "rotation"))
    motion = motion_of(shift, rotation)
    ns = now_ns() if at is None else time_of(at)[0]
    header = Header(Time.from_ns(ns), frame_name(parent, "the parent's name"))
    moved = Transform(Vector3(*motion[:3]), Quaternion(*motion[3:]))
    return TransformStamped(header, frame_name(child, "the child's name"), moved)


def _numbers(values: Any, count: int, what: str) -> list[float]:
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    if len(found) != count or isinstance(values, str):
        raise FramesError(f"{what}={values!r:.60}; give {count} numbers")
    return found
