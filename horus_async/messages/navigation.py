"""Where the robot is, where it is going, and what is in the way."""

from __future__ import annotations

from attrs import define, field

from .base import Array, ByContent, Header, Time
from .geometry import Pose, PoseStamped, PoseWithCovariance, TwistWithCovariance


@define(eq=False)
class Odometry(ByContent):
    """An estimate of position and velocity.

    Layout: nav_msgs/msg/Odometry.

    Attributes:
        header: its frame is the one of the pose.
        child_frame_id: the frame of the velocity, usually ``base_link``.
        pose: metres and a quaternion, in ``header.frame_id``.
        twist: m/s and rad/s, in ``child_frame_id``.
    """

    header: Header = field(factory=Header)
    child_frame_id: str = ""
    pose: PoseWithCovariance = field(factory=PoseWithCovariance)
    twist: TwistWithCovariance = field(factory=TwistWithCovariance)


@define(eq=False)
class Path(ByContent):
    """Poses to follow in order.

    Layout: nav_msgs/msg/Path; foxglove.PosesInFrame.
    """

    header: Header = field(factory=Header)
    poses: list[PoseStamped] = field(factory=list)


@define(eq=False)
class MapMetaData(ByContent):
    """What a map covers.

    Layout: nav_msgs/msg/MapMetaData.

    Attributes:
        map_load_time: when it was loaded.
        resolution: metres per cell.
        width: cells along x.
        height: cells along y.
        origin: the pose of the corner of cell (0, 0) in the map's frame.
    """

    map_load_time: Time = field(factory=Time)
    resolution: float = 0.0
    width: int = 0
    height: int = 0
    origin: Pose = field(factory=Pose)


@define(eq=False)
class OccupancyGrid(ByContent):
    """A map of free and occupied cells.

    Layout: nav_msgs/msg/OccupancyGrid; foxglove.Grid.

    Attributes:
        info: size and position.
        data: probability that a cell is occupied, 0 to 100 per cent, −1 if unknown; row by row from cell (0, 0),
            ``width * height`` values.
    """

    header: Header = field(factory=Header)
    info: MapMetaData = field(factory=MapMetaData)
    data: Array = field(factory=list)
