"""What a lookup gives: how to take points of one frame into another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from horus_async.errors import ExtrapolationError, FramesError  # noqa: F401 - for the front of the room
from horus_async.messages import (
    Header,
    Point,
    Pose,
    Quaternion,
    Time,
    Transform,
    TransformStamped,
    Vector3,
)

from .reading import motion_of, numbers_of, read
from .rigid import compose, inverse, normalised, yaw_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .rigid import Motion


@frozen
class RigidTransform:
    """Takes points of the frame ``source`` into the frame ``target``; also: where ``source`` is in ``target``.

    Attributes:
        target: The frame that points are taken into.
        source: The frame that they are in.
        stamp_ns: The time for which it holds, ns; None if nothing on the way moves.
        motion: Its numbers: translation x, y, z (metres), rotation x, y, z, w.
    """

    target: str
    source: str
    stamp_ns: int | None
    motion: Motion

    @classmethod
    def of(cls, stamped: TransformStamped) -> Self:
        """From a message: its ``header.frame_id`` is the target, its ``child_frame_id`` the source.

        Raises:
            FramesError: It has an empty name, or numbers that are no rigid motion.
        """
        parent, child, ns, motion = read(stamped)
        return cls(parent, child, ns, motion)

    @property
    def translation(self) -> Vector3:
        """Where the origin of ``source`` is in ``target``, metres."""
        return Vector3(*self.motion[:3])

    @property
    def rotation(self) -> Quaternion:
        """How ``source`` is turned in ``target``; a unit quaternion."""
        return Quaternion(*self.motion[3:])

    @property
    def yaw(self) -> float:
        """The heading of ``source`` in ``target``: the rotation about Z, radians from −π to π."""
        return yaw_of(self.motion)

    @property
    def transform(self) -> Transform:
        """Translation and rotation as a message."""
        return Transform(self.translation, self.rotation)

    def stamped(self) -> TransformStamped:
        """The same as a message, with its frames and its time."""
        return TransformStamped(Header(Time.from_ns(self.stamp_ns or 0), self.target), self.source, self.transform)

    def pose(self) -> Pose:
        """Where ``source`` is in ``target``."""
        return Pose(Point(*self.motion[:3]), self.rotation)

    def matrix(self) -> NDArray[np.float64]:
        """The same as a 4 × 4 matrix: ``matrix() @ [x, y, z, 1]``."""
        import numpy as np

        whole = np.eye(4)
        whole[:3, :3] = rotation_matrix(self.motion)
        whole[:3, 3] = self.motion[:3]
        return whole

    def inverse(self) -> RigidTransform:
        """The way back: takes points of ``target`` into ``source``."""
        return RigidTransform(self.source, self.target, self.stamp_ns, inverse(self.motion))

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        """First ``other``, then this: ``map_from_base @ base_from_laser`` is ``map_from_laser``.

        Raises:
            FramesError: ``other`` does not lead where this begins.
        """
        if not isinstance(other, RigidTransform):
            return NotImplemented
        if other.target != self.source:
            raise FramesError(
                f"{self.target!r} from {self.source!r} cannot follow {other.target!r} from {other.source!r}: "
                f"the one has to begin where the other ends, in {self.source!r}"
            )
        stamp = self.stamp_ns if other.stamp_ns is None else other.stamp_ns
        motion = normalised(compose(self.motion, other.motion))
        return RigidTransform(self.target, other.source, stamp, motion)

    def points(self, points: Any) -> NDArray[Any]:
        """Take points into ``target``.

        Args:
            points: An array whose last axis is x, y, z (metres), of any shape before it; or what NumPy makes one of.

        Returns:
            A new array of the same shape: float32 for float32, else float64.

        Raises:
            FramesError: The last axis has not three numbers.
        """
        import numpy as np

        turned = self._turned(points)
        with np.errstate(invalid="ignore", over="ignore"):
            turned += np.array(self.motion[:3], turned.dtype)
        return turned

    def vectors(self, vectors: Any) -> NDArray[Any]:
        """Turn directions into ``target``: as `points`, but nothing is shifted.

        Raises:
            FramesError: The last axis has not three numbers.
        """
        return self._turned(vectors)

    def _turned(self, rows: Any) -> NDArray[Any]:
        import numpy as np

        rows = numbers_of(rows)
        if rows.shape[-1:] != (3,):
            raise FramesError(f"an array of shape {rows.shape} holds no points: its last axis has to be x, y, z")
        dtype = np.float32 if rows.dtype == np.float32 else np.float64
        with np.errstate(invalid="ignore", over="ignore"):  # points that are NaN or infinite stay points that are none
            turned: NDArray[Any] = rows.astype(np.float64, copy=False) @ rotation_matrix(self.motion).T
            return turned.astype(dtype, copy=False)

    def apply(self, value: Any) -> Any:
        """Take something into ``target``; what is given stays as it is.

        Args:
            value: A `Point`; a `Vector3`, which is turned and not shifted; a `Quaternion`; a `Pose`; or an array of
                points as in `points`.

        Returns:
            The same kind of thing, new.

        Raises:
            FramesError: It is none of these, or has numbers that are no position or rotation.
        """
        if isinstance(value, Pose):
            return Pose(*_parts(compose(self.motion, motion_of(value.position, value.orientation))))
        if isinstance(value, Point):
            return Point(*compose(self.motion, motion_of(value, Quaternion()))[:3])
        if isinstance(value, Vector3):
            return Vector3(*compose((0.0, 0.0, 0.0, *self.motion[3:]), motion_of(value, Quaternion()))[:3])
        if isinstance(value, Quaternion):
            return Quaternion(*normalised(compose(self.motion, motion_of(Point(), value)))[3:])
        if isinstance(value, (list, tuple)) or hasattr(value, "__array__"):
            return self.points(value)
        kind = type(value).__name__
        raise FramesError(
            f"a {kind} cannot be taken from {self.source!r} into {self.target!r}: give a Point, Vector3, Quaternion, "
            "Pose or an array of points; Frames.transform takes messages with a header"
        )


def _parts(motion: Motion) -> tuple[Point, Quaternion]:
    motion = normalised(motion)
    return Point(*motion[:3]), Quaternion(*motion[3:])


def rotation_matrix(motion: Motion) -> NDArray[np.float64]:
    """The rotation of a motion as a 3 × 3 matrix."""
    import numpy as np

    _, _, _, i, j, k, w = motion
    return np.array(
        [
            [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)],
            [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)],
            [2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)],
        ]
    )
