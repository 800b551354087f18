"""Importing a bag as a mobile robot with Nav2 makes it, beside ``rosbags`` reading and decoding all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import NANOSECONDS, perf_ns

if TYPE_CHECKING:
    from collections.abc import Callable

_START_NS = 1_700_000_000 * NANOSECONDS
_SECONDS = 120


def import_bag(scale: float) -> list[float]:
    """Microseconds a message, from the file to the whole session."""
    from horus_async.recorder.imports.importing import import_file

    path = _nav_bag(round(_SECONDS * scale))
    start = perf_ns()
    found = import_file(path, "imported", root=Path("recordings"))
    return [(perf_ns() - start) / found.messages / 1000]


def read_bag(scale: float) -> list[float]:
    """Microseconds a message, from the file to objects that are dropped at once."""
    from rosbags.highlevel import AnyReader

    path = _nav_bag(round(_SECONDS * scale))
    start = perf_ns()
    messages = 0
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
            messages += 1
    return [(perf_ns() - start) / messages / 1000]


def _nav_bag(seconds: int) -> Path:
    """A ROS 2 bag in SQLite: transforms and IMU at 100 Hz, odometry at 50, scans at 10. Made once for all rounds."""
    path = Path(os.environ["HORUS_BENCH_SHARED"]) / f"nav_{seconds}"
    if path.exists():
        return path
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    rows = (
        ("/tf", "tf2_msgs/msg/TFMessage", 100, _transforms),
        ("/imu", "sensor_msgs/msg/Imu", 100, _imu),
        ("/odom", "nav_msgs/msg/Odometry", 50, _odometry),
        ("/scan", "sensor_msgs/msg/LaserScan", 10, _scan),
    )
    plan = sorted(
        (_START_NS + number * NANOSECONDS // rate, row)
        for row, (_, _, rate, _) in enumerate(rows)
        for number in range(seconds * rate)
    )
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = [writer.add_connection(topic, kind, typestore=store) for topic, kind, _, _ in rows]
        for stamp_ns, row in plan:
            _, kind, _, make = rows[row]
            writer.write(connections[row], stamp_ns, store.serialize_cdr(make(store.types, stamp_ns), kind))
    return path


def _header(types: Any, stamp_ns: int, frame: str) -> Any:
    time = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, NANOSECONDS))
    return types["std_msgs/msg/Header"](time, frame)


def _geometry(types: Any, stamp_ns: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What makes a vector and a quaternion, all numbers with many digits."""
    part = stamp_ns % NANOSECONDS / 3e9
    vector, quaternion = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    return lambda: vector(part, -part, part / 7), lambda: quaternion(part, 0.1, part / 3, 0.9)


def _transforms(types: Any, stamp_ns: int) -> Any:
    vector, quaternion = _geometry(types, stamp_ns)
    transform = types["geometry_msgs/msg/Transform"](vector(), quaternion())
    stamped = types["geometry_msgs/msg/TransformStamped"]
    return types["tf2_msgs/msg/TFMessage"]([stamped(_header(types, stamp_ns, "odom"), "base_link", transform)])


def _imu(types: Any, stamp_ns: int) -> Any:
    vector, quaternion = _geometry(types, stamp_ns)
    matrix = _noise(stamp_ns, 9)
    header = _header(types, stamp_ns, "imu")
    return types["sensor_msgs/msg/Imu"](header, quaternion(), matrix, vector(), matrix, vector(), matrix)


def _odometry(types: Any, stamp_ns: int) -> Any:
    vector, quaternion = _geometry(types, stamp_ns)
    point, matrix = types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0), _noise(stamp_ns, 36)
    pose = types["geometry_msgs/msg/PoseWithCovariance"](types["geometry_msgs/msg/Pose"](point, quaternion()), matrix)
    twist = types["geometry_msgs/msg/Twist"](vector(), vector())
    twist = types["geometry_msgs/msg/TwistWithCovariance"](twist, matrix)
    return types["nav_msgs/msg/Odometry"](_header(types, stamp_ns, "odom"), "base_link", pose, twist)


def _scan(types: Any, stamp_ns: int) -> Any:
    ranges = _noise(stamp_ns, 360).astype("float32")
    header = _header(types, stamp_ns, "laser")
    return types["sensor_msgs/msg/LaserScan"](header, 0.0, 6.28, 0.0175, 0.0, 0.1, 0.1, 12.0, ranges, ranges)


def _noise(stamp_ns: int, count: int) -> Any:
    import numpy as np

    return np.random.default_rng(stamp_ns).random(count)
