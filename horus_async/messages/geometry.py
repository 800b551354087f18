"""Positions, directions, motions and frames. Metres, radians and seconds; right-handed axes (REP 103)."""

from __future__ import annotations

from attrs import define, field

from .base import Array, ByContent, Header, matrix_6x6


@define(eq=False)
class Vector3(ByContent):
    """A direction with a length, in the unit of its field; a transform rotates it, but does not shift it.

    Layout: geometry_msgs/msg/Vector3; foxglove.Vector3.
    """

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@define(eq=False)
class Point(ByContent):
    """A position in metres.

    Layout: geometry_msgs/msg/Point; foxglove.Point3.
    """

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@define(eq=False)
class Quaternion(ByContent):
    """An orientation as a unit quaternion; the default is no rotation.

    Layout: geometry_msgs/msg/Quaternion; foxglove.Quaternion.
    """

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    w: float = 1.0


@define(eq=False)
class Pose(ByContent):
    """A position and an orientation.

    Layout: geometry_msgs/msg/Pose; foxglove.Pose.

    Attributes:
        position: metres.
        orientation: a unit quaternion.
    """

    position: Point = field(factory=Point)
    orientation: Quaternion = field(factory=Quaternion)


@define(eq=False)
class Pose2D(ByContent):
    """A position and a heading in the plane.

    Layout: geometry_msgs/msg/Pose2D.

    Attributes:
        x: metres.
        y: metres.
        theta: radians, counter-clockwise from the x axis.
    """

    x: float = 0.0
    y: float = 0.0
    theta: float = 0.0


@define(eq=False)
class PoseStamped(ByContent):
    """A pose with its time and coordinate frame.

    Layout: geometry_msgs/msg/PoseStamped; foxglove.PoseInFrame.
    """

    header: Header = field(factory=Header)
    pose: Pose = field(factory=Pose)


@define(eq=False)
class PoseWithCovariance(ByContent):
    """A pose and how uncertain it is.

    Layout: geometry_msgs/msg/PoseWithCovariance.

    Attributes:
        pose: the estimate.
        covariance: 6 × 6, row by row, over x, y, z (metres) and the rotations about X, Y, Z (radians).
    """

    pose: Pose = field(factory=Pose)
    covariance: Array = field(factory=matrix_6x6)


@define(eq=False)
class CmdVel(ByContent):
    """How fast a ground robot should go: the two numbers of a ``Twist`` on ``cmd_vel`` that a wheeled base uses.

    Layout: linear.x and angular.z of geometry_msgs/msg/Twist.

    Attributes:
        linear: forward, m/s.
        angular: counter-clockwise, rad/s.
    """

    linear: float = 0.0
    angular: float = 0.0


@define(eq=False)
class Twist(ByContent):
    """A velocity in free space.

    Layout: geometry_msgs/msg/Twist.

    Attributes:
        linear: m/s along x, y, z.
        angular: rad/s about x, y, z.
    """

    linear: Vector3 = field(factory=Vector3)
    angular: Vector3 = field(factory=Vector3)


@define(eq=False)
class TwistStamped(ByContent):
    """A velocity with its time and coordinate frame.

    Layout: geometry_msgs/msg/TwistStamped.
    """

    header: Header = field(factory=Header)
    twist: Twist = field(factory=Twist)


@define(eq=False)
class TwistWithCovariance(ByContent):
    """A velocity and how uncertain it is.

    Layout: geometry_msgs/msg/TwistWithCovariance.

    Attributes:
        twist: the estimate.
        covariance: 6 × 6, row by row, over the velocities along x, y, z (m/s) and about X, Y, Z (rad/s).
    """

    twist: Twist = field(factory=Twist)
    covariance: Array = field(factory=matrix_6x6)


@define(eq=False)
class Transform(ByContent):
    """From one coordinate frame to another: a rotation, then a translation.

    Layout: geometry_msgs/msg/Transform.

    Attributes:
        translation: metres.
        rotation: a unit quaternion.
    """

    translation: Vector3 = field(factory=Vector3)
    rotation: Quaternion = field(factory=Quaternion)


@define(eq=False)
class TransformStamped(ByContent):
    """Where the frame ``child_frame_id`` is in the frame ``header.frame_id``, and when.

    Layout: geometry_msgs/msg/TransformStamped; foxglove.FrameTransform.
    """

    header: Header = field(factory=Header)
    child_frame_id: str = ""
    transform: Transform = field(factory=Transform)
