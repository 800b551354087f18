"""The ROS 2 types that the common messages are written as: which class is which, and what they are made of.

The definitions are those of ROS 2 Jazzy, without comments and constants; the tests hold them against an independent
copy. A class has the fields of its type, in the same order, but for `CmdVel`.
"""

from __future__ import annotations

from functools import cache

MODULE = "horus_async.messages"

CLASSES = {
    "BatteryState": "sensor_msgs/msg/BatteryState",
    "BoundingBox2D": "vision_msgs/msg/BoundingBox2D",
    "CmdVel": "geometry_msgs/msg/Twist",
    "CompressedImage": "sensor_msgs/msg/CompressedImage",
    "Detection2D": "vision_msgs/msg/Detection2D",
    "Diagnostic": "diagnostic_msgs/msg/DiagnosticStatus",
    "Header": "std_msgs/msg/Header",
    "Image": "sensor_msgs/msg/Image",
    "ImagePose2D": "vision_msgs/msg/Pose2D",
    "Imu": "sensor_msgs/msg/Imu",
    "JointCommand": "sensor_msgs/msg/JointState",
    "JointState": "sensor_msgs/msg/JointState",
    "KeyValue": "diagnostic_msgs/msg/KeyValue",
    "LaserScan": "sensor_msgs/msg/LaserScan",
    "Log": "rcl_interfaces/msg/Log",
    "MapMetaData": "nav_msgs/msg/MapMetaData",
    "NavSatFix": "sensor_msgs/msg/NavSatFix",
    "NavSatStatus": "sensor_msgs/msg/NavSatStatus",
    "ObjectHypothesis": "vision_msgs/msg/ObjectHypothesis",
    "ObjectHypothesisWithPose": "vision_msgs/msg/ObjectHypothesisWithPose",
    "OccupancyGrid": "nav_msgs/msg/OccupancyGrid",
    "Odometry": "nav_msgs/msg/Odometry",
    "Path": "nav_msgs/msg/Path",
    "Point": "geometry_msgs/msg/Point",
    "Point2D": "vision_msgs/msg/Point2D",
    "PointCloud": "sensor_msgs/msg/PointCloud2",
    "PointField": "sensor_msgs/msg/PointField",
    "Pose": "geometry_msgs/msg/Pose",
    "Pose2D": "geometry_msgs/msg/Pose2D",
    "PoseStamped": "geometry_msgs/msg/PoseStamped",
    "PoseWithCovariance": "geometry_msgs/msg/PoseWithCovariance",
    "Quaternion": "geometry_msgs/msg/Quaternion",
    "Time": "builtin_interfaces/msg/Time",
    "Transform": "geometry_msgs/msg/Transform",
    "TransformStamped": "geometry_msgs/msg/TransformStamped",
    "Twist": "geometry_msgs/msg/Twist",
    "TwistStamped": "geometry_msgs/msg/TwistStamped",
    "TwistWithCovariance": "geometry_msgs/msg/TwistWithCovariance",
    "Vector3": "geometry_msgs/msg/Vector3",
}
"""The type of each class."""

TRANSFORMS = "tf2_msgs/msg/TFMessage"
"""The type of messages on the topics of frames: viewers and ROS look for it, not for single transforms."""

_FIELDS = {
    "builtin_interfaces/msg/Time": "int32 sec; uint32 nanosec",
    "diagnostic_msgs/msg/DiagnosticStatus": (
        "byte level; string name; string message; string hardware_id; diagnostic_msgs/KeyValue[] values"
    ),
    "diagnostic_msgs/msg/KeyValue": "string key; string value",
    "geometry_msgs/msg/Point": "float64 x; float64 y; float64 z",
    "geometry_msgs/msg/Pose": "geometry_msgs/Point position; geometry_msgs/Quaternion orientation",
    "geometry_msgs/msg/Pose2D": "float64 x; float64 y; float64 theta",
    "geometry_msgs/msg/PoseStamped": "std_msgs/Header header; geometry_msgs/Pose pose",
    "geometry_msgs/msg/PoseWithCovariance": "geometry_msgs/Pose pose; float64[36] covariance",
    "geometry_msgs/msg/Quaternion": "float64 x; float64 y; float64 z; float64 w",
    "geometry_msgs/msg/Transform": "geometry_msgs/Vector3 translation; geometry_msgs/Quaternion rotation",
    "geometry_msgs/msg/TransformStamped": (
        "std_msgs/Header header; string child_frame_id; geometry_msgs/Transform transform"
    ),
    "geometry_msgs/msg/Twist": "geometry_msgs/Vector3 linear; geometry_msgs/Vector3 angular",
    "geometry_msgs/msg/TwistStamped": "std_msgs/Header header; geometry_msgs/Twist twist",
    "geometry_msgs/msg/TwistWithCovariance": "geometry_msgs/Twist twist; float64[36] covariance",
    "geometry_msgs/msg/Vector3": "float64 x; float64 y; float64 z",
    "nav_msgs/msg/MapMetaData": (
        "builtin_interfaces/Time map_load_time; float32 resolution; uint32 width; uint32 height; "
        "geometry_msgs/Pose origin"
    ),
    "nav_msgs/msg/OccupancyGrid": "std_msgs/Header header; nav_msgs/MapMetaData info; int8[] data",
    "nav_msgs/msg/Odometry": (
        "std_msgs/Header header; string child_frame_id; geometry_msgs/PoseWithCovariance pose; "
        "geometry_msgs/TwistWithCovariance twist"
    ),
    "nav_msgs/msg/Path": "std_msgs/Header header; geometry_msgs/PoseStamped[] poses",
    "rcl_interfaces/msg/Log": (
        "builtin_interfaces/Time stamp; uint8 level; string name; string msg; string file; string function; uint32 line"
    ),
    "sensor_msgs/msg/BatteryState": (
        "std_msgs/Header header; float32 voltage; float32 temperature; float32 current; float32 charge; "
        "float32 capacity; float32 design_capacity; float32 percentage; uint8 power_supply_status; "
        "uint8 power_supply_health; uint8 power_supply_technology; bool present; float32[] cell_voltage; "
        "float32[] cell_temperature; string location; string serial_number"
    ),
    "sensor_msgs/msg/CompressedImage": "std_msgs/Header header; string format; uint8[] data",
    "sensor_msgs/msg/Image": (
        "std_msgs/Header header; uint32 height; uint32 width; string encoding; uint8 is_bigendian; uint32 step; "
        "uint8[] data"
    ),
    "sensor_msgs/msg/Imu": (
        "std_msgs/Header header; geometry_msgs/Quaternion orientation; float64[9] orientation_covariance; "
        "geometry_msgs/Vector3 angular_velocity; float64[9] angular_velocity_covariance; "
        "geometry_msgs/Vector3 linear_acceleration; float64[9] linear_acceleration_covariance"
    ),
    "sensor_msgs/msg/JointState": (
        "std_msgs/Header header; string[] name; float64[] position; float64[] velocity; float64[] effort"
    ),
    "sensor_msgs/msg/LaserScan": (
        "std_msgs/Header header; float32 angle_min; float32 angle_max; float32 angle_increment; "
        "float32 time_increment; float32 scan_time; float32 range_min; float32 range_max; float32[] ranges; "
        "float32[] intensities"
    ),
    "sensor_msgs/msg/NavSatFix": (
        "std_msgs/Header header; sensor_msgs/NavSatStatus status; float64 latitude; float64 longitude; "
        "float64 altitude; float64[9] position_covariance; uint8 position_covariance_type"
    ),
    "sensor_msgs/msg/NavSatStatus": "int8 status; uint16 service",
    "sensor_msgs/msg/PointCloud2": (
        "std_msgs/Header header; uint32 height; uint32 width; sensor_msgs/PointField[] fields; bool is_bigendian; "
        "uint32 point_step; uint32 row_step; uint8[] data; bool is_dense"
    ),
    "sensor_msgs/msg/PointField": "string name; uint32 offset; uint8 datatype; uint32 count",
    "std_msgs/msg/Header": "builtin_interfaces/Time stamp; string frame_id",
    "tf2_msgs/msg/TFMessage": "geometry_msgs/TransformStamped[] transforms",
    "vision_msgs/msg/BoundingBox2D": "vision_msgs/Pose2D center; float64 size_x; float64 size_y",
    "vision_msgs/msg/Detection2D": (
        "std_msgs/Header header; vision_msgs/ObjectHypothesisWithPose[] results; vision_msgs/BoundingBox2D bbox; "
        "string id"
    ),
    "vision_msgs/msg/ObjectHypothesis": "string class_id; float64 score",
    "vision_msgs/msg/ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis; geometry_msgs/PoseWithCovariance pose"
    ),
    "vision_msgs/msg/Point2D": "float64 x; float64 y",
    "vision_msgs/msg/Pose2D": "vision_msgs/Point2D position; float64 theta",
}
"""Type and name of each field, in the words of a ``.msg`` file."""


def fields_of(name: str) -> list[tuple[str, str]]:
    """Type and name of each field of a type."""
    return [(kind, field) for kind, _, field in (line.partition(" ") for line in _FIELDS[name].split("; "))]


def full_name(kind: str) -> str:
    """A type's name with its kind: ``pkg/Foo`` is ``pkg/msg/Foo``."""
    package, _, name = kind.partition("/")
    return f"{package}/msg/{name}"


@cache
def definition(name: str) -> str:
    """A type as a ``ros2msg`` schema: its own fields, and behind it those of each type that it is made of."""
    parts = [_text(name)]
    seen, waiting = {name}, _types_in(name)
    while waiting:
        kind = waiting.pop(0)
        if kind not in seen:
            seen.add(kind)
            package, _, short = kind.partition("/msg/")
            parts.append(f"MSG: {package}/{short}\n{_text(kind)}")
            waiting += _types_in(kind)
    return ("=" * 80 + "\n").join(parts)


def _text(name: str) -> str:
    return "".join(f"{kind} {field}\n" for kind, field in fields_of(name))


def _types_in(name: str) -> list[str]:
    return [full_name(kind.removesuffix("[]")) for kind, _ in fields_of(name) if "/" in kind]
