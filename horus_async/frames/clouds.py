"""Laser scans and point clouds as arrays of points, and points back into clouds."""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING, Any

import attrs

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import FramesError
from horus_async.messages import PointCloud, PointDatatype

from .reading import FARTHEST, counts, number, numbers_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from horus_async.messages import LaserScan

    from .transform import RigidTransform

_FLOATS = {PointDatatype.FLOAT32: "f4", PointDatatype.FLOAT64: "f8"}
_TURNED = (("normal_x", "normal_y", "normal_z"),)
"""Channels that are directions: they turn with the points."""


def rays(scan: LaserScan) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The points that a scan hit, in the frame of its sensor, and which ray each is.

    Rays beyond ``range_min`` and ``range_max`` hit nothing, nor do NaN and infinite ones; a ``range_max`` of 0 was
    never set, and is no limit.

    Raises:
        FramesError: The ranges are no row of numbers, or the angles are not finite.
    """
    import numpy as np

    ranges = numbers_of(scan.ranges).astype(np.float64)
    if ranges.ndim != 1:
        raise FramesError(f"the ranges of a scan have the shape {ranges.shape}; give a row of numbers")
    first, step, nearest, farthest = map(number, (scan.angle_min, scan.angle_increment, scan.range_min, scan.range_max))
    if not isfinite(first + step * len(ranges)):
        raise FramesError(f"the angles of a scan, {first} and {step} for each ray, are not finite")
    farthest = min(farthest, FARTHEST) if farthest > 0 else FARTHEST
    hit = np.flatnonzero(np.isfinite(ranges) & (ranges >= nearest) & (ranges <= farthest))
    angles = first + hit * step
    found = np.zeros((len(hit), 3))
    found[:, 0], found[:, 1] = ranges[hit] * np.cos(angles), ranges[hit] * np.sin(angles)
    return found, hit


def ray_times(scan: LaserScan, stamp_ns: int, which: NDArray[np.int64]) -> NDArray[np.int64]:
    """When each of these rays was measured, ns.

    Raises:
        FramesError: The time from ray to ray is not finite.
    """
    import numpy as np

    step = number(scan.time_increment) * NANOSECONDS
    if not abs(step) < NANOSECONDS * 3600.0:
        raise FramesError(f"time_increment={scan.time_increment} of a scan is no time from one ray to the next")
    found: NDArray[np.int64] = stamp_ns + np.rint(which * step).astype(np.int64)
    return found


def moved_cloud(cloud: PointCloud, transform: RigidTransform) -> PointCloud:
    """The cloud with its points, and the normals if it has any, in the transform's target; all else as it was.

    Raises:
        FramesError: It has no x, y and z of floating point, or fewer bytes than it says.
    """
    import numpy as np

    data = cloud.data
    counts(cloud.height, cloud.width, cloud.point_step, cloud.row_step)
    raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.ascontiguousarray(data).view(np.uint8)
    rows, size = cloud.height, cloud.width * cloud.point_step
    stride = cloud.row_step if rows > 1 else max(cloud.row_step, size)
    if stride < size or raw.size < rows * stride - (stride - size):
        raise FramesError(
            f"a cloud of {cloud.height} × {cloud.width} points of {cloud.point_step} bytes, {cloud.row_step} a row, "
            f"does not fit its {raw.size} bytes"
        )
    moved = raw.reshape(-1).copy()
    axes = _channels(cloud, ("x", "y", "z"))
    if axes is None:
        raise FramesError("a cloud without x, y and z has no points")
    if rows and cloud.width:
        _write(moved, cloud, stride, axes, transform.points)
        for names in _TURNED:
            normals = _channels(cloud, names)
            if normals is not None:
                _write(moved, cloud, stride, normals, transform.vectors)
    header = attrs.evolve(cloud.header, frame_id=transform.target)
    kept: Any = moved.tobytes() if isinstance(data, bytes) else moved.view(data.dtype).reshape(data.shape)
    return attrs.evolve(cloud, header=header, data=kept)


def _channels(cloud: PointCloud, names: tuple[str, ...]) -> list[tuple[int, np.dtype[Any]]] | None:
    """Offset and type of each of these channels; None if one is not there."""
    import numpy as np

    order = ">" if cloud.is_bigendian else "<"
    fields = {field.name: field for field in cloud.fields}
    found = []
    for name in names:
        field = fields.get(name)
        if field is None:
            return None
        kind = _FLOATS.get(field.datatype)
        if kind is None:
            raise FramesError(f"channel {name!r} of a cloud is {field.datatype!r}: points are FLOAT32 or FLOAT64")
        dtype = np.dtype(order + kind)
        counts(field.offset)
        if field.offset > cloud.point_step - dtype.itemsize:
            raise FramesError(
                f"channel {name!r} at byte {field.offset} is not within the {cloud.point_step} of a point"
            )
        found.append((field.offset, dtype))
    return found


def _write(
    raw: NDArray[np.uint8], cloud: PointCloud, stride: int, channels: list[tuple[int, np.dtype[Any]]], move: Any
) -> None:
    import numpy as np

    shape, strides = (cloud.height, cloud.width), (stride, cloud.point_step)
    views = [np.ndarray(shape, dtype, raw.data, offset, strides) for offset, dtype in channels]
    points = np.stack(views, axis=-1)
    if points.dtype.byteorder == (">" if sys.byteorder == "little" else "<"):
        points = points.astype(points.dtype.newbyteorder("="))
    moved = move(points)
    for axis, view in enumerate(views):
        view[...] = moved[..., axis]
