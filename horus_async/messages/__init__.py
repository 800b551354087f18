"""The common messages of robotics as attrs classes, named and laid out like their ROS 2 and Foxglove counterparts.

    from horus_async.messages import CmdVel, Header, LaserScan, Time

    scan = LaserScan(header=Header(Time.from_ns(now_ns()), "laser"), ranges=[1.0, 1.1], range_max=30.0)
    node.send("lidar.scan", scan)

They are mutable, because programs fill them in: a driver sets one field after the other, a loop keeps one message and
changes it every tick. That is safe: ``send`` encodes the message at once, and each receiver gets an object of its own.
Every field has a default, so that messages of older and newer releases still read: missing fields get their default,
and unknown ones are ignored.

Fields of many numbers take a list or a NumPy array, and the receiver gets what was sent. Two messages are equal if all
their fields are; NaN, which marks what was not measured, counts as equal to itself.
"""

from __future__ import annotations

from .base import Array, ByContent, Data, Header, Time
from .geometry import (
    CmdVel,
    Point,
    Pose,
    Pose2D,
    PoseStamped,
    PoseWithCovariance,
    Quaternion,
    Transform,
    TransformStamped,
    Twist,
    TwistStamped,
    TwistWithCovariance,
    Vector3,
)
from .navigation import MapMetaData, OccupancyGrid, Odometry, Path
from .perception import (
    BoundingBox2D,
    CompressedImage,
    Detection2D,
    Image,
    ImagePose2D,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    PointCloud,
    PointDatatype,
    PointField,
)
from .sensors import (
    BatteryState,
    CovarianceType,
    FixStatus,
    Imu,
    JointCommand,
    JointState,
    LaserScan,
    NavSatFix,
    NavSatStatus,
    PowerSupplyHealth,
    PowerSupplyStatus,
    PowerSupplyTechnology,
    SatelliteService,
)
from .status import Diagnostic, DiagnosticLevel, KeyValue, Log, LogLevel

__all__ = [
    "Array",
    "BatteryState",
    "BoundingBox2D",
    "ByContent",
    "CmdVel",
    "CompressedImage",
    "CovarianceType",
    "Data",
    "Detection2D",
    "Diagnostic",
    "DiagnosticLevel",
    "FixStatus",
    "Header",
    "Image",
    "ImagePose2D",
    "Imu",
    "JointCommand",
    "JointState",
    "KeyValue",
    "LaserScan",
    "Log",
    "LogLevel",
    "MapMetaData",
    "NavSatFix",
    "NavSatStatus",
    "ObjectHypothesis",
    "ObjectHypothesisWithPose",
    "OccupancyGrid",
    "Odometry",
    "Path",
    "Point",
    "Point2D",
    "PointCloud",
    "PointDatatype",
    "PointField",
    "Pose",
    "Pose2D",
    "PoseStamped",
    "PoseWithCovariance",
    "PowerSupplyHealth",
    "PowerSupplyStatus",
    "PowerSupplyTechnology",
    "Quaternion",
    "SatelliteService",
    "Time",
    "Transform",
    "TransformStamped",
    "Twist",
    "TwistStamped",
    "TwistWithCovariance",
    "Vector3",
]

for _name in __all__:
    _value = globals()[_name]
    if _value.__module__.startswith(__name__):
        # Recordings name classes by their module, and the file that defines one must not matter.
        _value.__module__ = __name__
del _name, _value
