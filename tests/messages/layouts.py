"""The fields of the ROS 2 definitions, in their order, written down from the .msg files of ROS 2 Jazzy."""

from __future__ import annotations

ROS_2 = {
    "builtin_interfaces/msg/Time": "sec nanosec",
    "diagnostic_msgs/msg/DiagnosticStatus": "level name message hardware_id values",
    "diagnostic_msgs/msg/KeyValue": "key value",
    "geometry_msgs/msg/Point": "x y z",
    "geometry_msgs/msg/Pose": "position orientation",
    "geometry_msgs/msg/Pose2D": "x y theta",
    "geometry_msgs/msg/PoseStamped": "header pose",
    "geometry_msgs/msg/PoseWithCovariance": "pose covariance",
    "geometry_msgs/msg/Quaternion": "x y z w",
    "geometry_msgs/msg/Transform": "translation rotation",
    "geometry_msgs/msg/TransformStamped": "header child_frame_id transform",
    "geometry_msgs/msg/Twist": "linear angular",
    "geometry_msgs/msg/TwistStamped": "header twist",
    "geometry_msgs/msg/TwistWithCovariance": "twist covariance",
    "geometry_msgs/msg/Vector3": "x y z",
    "nav_msgs/msg/MapMetaData": "map_load_time resolution width height origin",
    "nav_msgs/msg/OccupancyGrid": "header info data",
    "nav_msgs/msg/Odometry": "header child_frame_id pose twist",
    "nav_msgs/msg/Path": "header poses",
    "rcl_interfaces/msg/Log": "stamp level name msg file function line",
    "sensor_msgs/msg/BatteryState": "header voltage temperature current charge capacity design_capacity percentage "
    "power_supply_status power_supply_health power_supply_technology present cell_voltage cell_temperature location "
    "serial_number",
    "sensor_msgs/msg/CompressedImage": "header format data",
    "sensor_msgs/msg/Image": "header height width encoding is_bigendian step data",
    "sensor_msgs/msg/Imu": "header orientation orientation_covariance angular_velocity angular_velocity_covariance "
    "linear_acceleration linear_acceleration_covariance",
    "sensor_msgs/msg/JointState": "header name position velocity effort",
    "sensor_msgs/msg/LaserScan": "header angle_min angle_max angle_increment time_increment scan_time range_min "
    "range_max ranges intensities",
    "sensor_msgs/msg/NavSatFix": "header status latitude longitude altitude position_covariance "
    "position_covariance_type",
    "sensor_msgs/msg/NavSatStatus": "status service",
    "sensor_msgs/msg/PointCloud2": "header height width fields is_bigendian point_step row_step data is_dense",
    "sensor_msgs/msg/PointField": "name offset datatype count",
    "std_msgs/msg/Header": "stamp frame_id",
    "vision_msgs/msg/BoundingBox2D": "center size_x size_y",
    "vision_msgs/msg/Detection2D": "header results bbox id",
    "vision_msgs/msg/ObjectHypothesis": "class_id score",
    "vision_msgs/msg/ObjectHypothesisWithPose": "hypothesis pose",
    "vision_msgs/msg/Point2D": "x y",
    "vision_msgs/msg/Pose2D": "position theta",
}

RENAMED = {
    "Diagnostic": "diagnostic_msgs/msg/DiagnosticStatus",
    "ImagePose2D": "vision_msgs/msg/Pose2D",
    "JointCommand": "sensor_msgs/msg/JointState",
    "PointCloud": "sensor_msgs/msg/PointCloud2",
}
"""Classes whose name is not that of their definition."""

CONSTANTS = {
    "CovarianceType": {"UNKNOWN": 0, "APPROXIMATED": 1, "DIAGONAL_KNOWN": 2, "KNOWN": 3},
    "DiagnosticLevel": {"OK": 0, "WARN": 1, "ERROR": 2, "STALE": 3},
    "FixStatus": {"UNKNOWN": -2, "NO_FIX": -1, "FIX": 0, "SBAS_FIX": 1, "GBAS_FIX": 2},
    "LogLevel": {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "FATAL": 50},
    "PointDatatype": {
        "INT8": 1,
        "UINT8": 2,
        "INT16": 3,
        "UINT16": 4,
        "INT32": 5,
        "UINT32": 6,
        "FLOAT32": 7,
        "FLOAT64": 8,
    },
    "PowerSupplyHealth": {
        "UNKNOWN": 0,
        "GOOD": 1,
        "OVERHEAT": 2,
        "DEAD": 3,
        "OVERVOLTAGE": 4,
        "UNSPEC_FAILURE": 5,
        "COLD": 6,
        "WATCHDOG_TIMER_EXPIRE": 7,
        "SAFETY_TIMER_EXPIRE": 8,
    },
    "PowerSupplyStatus": {"UNKNOWN": 0, "CHARGING": 1, "DISCHARGING": 2, "NOT_CHARGING": 3, "FULL": 4},
    "PowerSupplyTechnology": {
        "UNKNOWN": 0,
        "NIMH": 1,
        "LION": 2,
        "LIPO": 3,
        "LIFE": 4,
        "NICD": 5,
        "LIMN": 6,
        "TERNARY": 7,
    },
    "SatelliteService": {"UNKNOWN": 0, "GPS": 1, "GLONASS": 2, "COMPASS": 4, "GALILEO": 8},
}
