"""Messages as CDR: the bytes that ROS 2 has, of objects and of recordings alike, and what becomes of each message."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from horus_async import messages
from horus_async.encodings import MisfitError, RecordedChannel, channel_for, json_channel, recorded_channel
from horus_async.encodings.rest import rest_of, with_rest
from horus_async.encodings.ros_types import CLASSES, TRANSFORMS, definition
from horus_async.encodings.shapes import shape_of, type_name
from horus_async.messages import CmdVel, Image, Imu, JointState, LaserScan, Time, TransformStamped
from horus_async.topics.codec import encode, to_json
from tests.messages.catalogue import CLASSES as ALL
from tests.messages.layouts import ROS_2

from .values import KINDS, STORE, as_ros, fitting, of_shape

every_class = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def channel(kind: type, topic: str = "") -> RecordedChannel:
    """The channel of a class."""
    found = recorded_channel(f"horus_async.messages.{kind.__name__}", topic)
    assert found is not None
    return found


def recorded(message: Any) -> Any:
    """A message as a recording has it."""
    return orjson.loads(to_json(encode(message)))


def test_every_class_has_a_type() -> None:
    """Each common message is some ROS 2 type."""
    assert CLASSES.keys() == ALL.keys()


def test_definitions_are_those_of_ros_2() -> None:
    """The fields and their types are those that rosbags has of ROS 2 Jazzy, or have the names of tests/messages."""
    jazzy, found = get_typestore(Stores.ROS2_JAZZY).fielddefs, STORE.fielddefs
    compared = [name for name in found if name in jazzy]
    assert {name: jazzy[name][1] for name in compared} == {name: found[name][1] for name in compared}
    assert {name.partition("/")[0] for name in found.keys() - jazzy.keys()} == {"vision_msgs"}
    for name, (_, fields) in found.items():
        if name in ROS_2:
            assert " ".join(field for field, _ in fields) == ROS_2[name]


@every_class
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_bytes_are_those_of_rosbags(kind: type, data: st.DataObject) -> None:
    """Whatever a message holds, as an object or in a recording, it is the same CDR as from rosbags, which is ROS's."""
    message = data.draw(fitting(kind))
    name = type_name(kind)

    found = channel(kind)
    assert found.encode(message) == bytes(STORE.serialize_cdr(as_ros(shape_of(kind), message), name))
    assert found.write(recorded(message)) == found.encode(message)


@given(message=of_shape(shape_of(TransformStamped, edges=True)))
@settings(max_examples=40, deadline=None)
def test_frames_are_tf_messages(message: Any) -> None:
    """On a topic of frames an edge, or a list of them, is a ``TFMessage``."""
    found = channel(TransformStamped, "frames.static")
    assert found.schema_name == "tf2_msgs/msg/TFMessage"
    ros = as_ros(shape_of(TransformStamped, edges=True), message)
    assert found.encode(message) == found.write(recorded(message)) == bytes(STORE.serialize_cdr(ros, TRANSFORMS))
    assert restored(found, recorded(message)) == to_json(encode(message))


def restored(found: RecordedChannel, message: Any) -> bytes:
    """A message after it was written and read, with what stood beside it, which is JSON too."""
    rest = orjson.loads(orjson.dumps(rest_of(found.read(found.write(message)), message)))
    return orjson.dumps(with_rest(found.read(found.write(message)), rest))


@every_class
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_read_is_what_was_written(kind: type, data: st.DataObject) -> None:
    """With what stands beside it, a message is the same to the last byte of its recorded text."""
    message = data.draw(fitting(kind))
    assert restored(channel(kind), recorded(message)) == to_json(encode(message))


def test_usual_messages_need_nothing_beside_them() -> None:
    """Floats, arrays of ROS's kind of number, bytes, enums and NaN are all in CDR."""
    for message in (
        messages.Odometry(
            pose=messages.PoseWithCovariance(covariance=np.zeros(36)),
            twist=messages.TwistWithCovariance(covariance=np.zeros(36)),
        ),
        LaserScan(angle_min=-0.5, ranges=np.ones(9, np.float32), intensities=np.zeros(0, np.float32)),
        Image(height=2, width=2, encoding="rgb8", step=6, data=b"123456123456"),
        messages.BatteryState(cell_voltage=np.ones(2, np.float32), cell_temperature=np.zeros(0, np.float32)),
        messages.PointCloud(fields=[messages.PointField("x")], data=b"1234"),
        messages.NavSatFix(position_covariance=np.zeros(9)),
        CmdVel(0.5, math.inf),
    ):
        found = channel(type(message))
        assert rest_of(found.read(found.encode(message)), recorded(message)) == []


def test_what_is_no_number_of_that_size_is_refused_or_rounded() -> None:
    """A float32 rounds, to infinity beyond its range; whole numbers that do not fit, and other types, are a misfit."""
    found = channel(LaserScan)
    assert struct.unpack_from("<f", found.encode(LaserScan(range_max=1e300)), 20 + 24)[0] == math.inf
    for message in (
        messages.Header(Time(2**31)),
        Image(height=-1),
        Imu(orientation_covariance=[0.0] * 8),
        JointState(name=["a", 1]),  # type: ignore[list-item]
        JointState(position="abc"),  # type: ignore[arg-type]
        LaserScan(ranges=np.array([1j])),
        LaserScan(angle_min=None),  # type: ignore[arg-type]
        messages.Path(poses=[messages.Pose()]),  # type: ignore[list-item]
        messages.OccupancyGrid(data=[1.5]),
        messages.OccupancyGrid(data=np.array([300])),
        Image(data=np.array([None], object)),
    ):
        found = channel(type(message))
        with pytest.raises(MisfitError):
            found.encode(message)
        with pytest.raises(MisfitError):
            found.write(recorded(message))


@every_class
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_bytes_are_a_message_or_a_misfit(kind: type, data: st.DataObject) -> None:
    """Cut off, changed or random: reading ends, and says what is wrong."""
    found = channel(kind)
    whole = bytearray(found.encode(data.draw(fitting(kind))))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    with suppress(MisfitError):
        found.read(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
PATHS = st.lists(
    st.sampled_from(["value", "header", "stamp", "ranges", "$type", "level", "fields", "datatype"])
    | st.integers(-1, 2),
    max_size=5,
)
RESTS = st.lists(st.tuples(PATHS, st.sampled_from(["as", "is", "x"]), JSON | st.just("list")).map(list), max_size=3)


@given(rest=RESTS, kind=st.sampled_from([LaserScan, messages.PointCloud, messages.Log, Time]))
def test_what_stands_beside_a_message_changes_no_other(rest: Any, kind: type) -> None:
    """A rest of anybody's making is applied or refused; the next message is read as ever."""
    found = channel(kind)
    message = messages.PointCloud(fields=[messages.PointField()]) if kind is messages.PointCloud else kind()
    data = found.encode(message)
    before = orjson.dumps(found.read(data))
    with suppress(MisfitError):
        with_rest(found.read(data), rest)
    assert orjson.dumps(found.read(data)) == before


def test_arrays_of_ros_kinds_need_no_numpy() -> None:
    """Where NumPy is not installed, they are written and read all the same; other kinds of array are a misfit."""
    script = """
import sys
sys.modules["numpy"] = None
from horus_async.encodings import MisfitError, recorded_channel
from horus_async.encodings.rest import rest_of, with_rest
scan = recorded_channel("horus_async.messages.LaserScan")
message = scan.read(scan.encode(__import__("horus_async.messages").messages.LaserScan(ranges=[1.0])))
message["value"]["ranges"]["$ndarray"]["shape"] = [1, 1]
read = scan.read(scan.write(message))
assert with_rest(read, rest_of(scan.read(scan.write(message)), message)) == message
message["value"]["ranges"]["$ndarray"]["dtype"] = "<i4"
try:
    scan.write(message)
except MisfitError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout


def test_other_classes_and_values_are_json() -> None:
    """What is no common message is JSON, as an object; a live channel is made from its first message."""
    assert channel_for(dict) is channel_for(np.ndarray) is None
    told = json_channel("/pose", {"x": 1.5, "tags": (1, 2), "nothing": None})
    assert (told.encoding, told.schema_encoding, told.schema_name) == ("json", "jsonschema", "/pose")
    assert orjson.loads(told.schema_data)["properties"]["x"] == {"type": "number"}
    assert orjson.loads(told.encode({"x": 2.5})) == {"x": 2.5}
    assert json_channel("/n", 5).encode(7) == b'{"value":7}'
    live = channel_for(CmdVel)
    assert live is not None
    assert (live.encoding, live.schema_name) == ("cdr", "geometry_msgs/msg/Twist")
    assert live.schema_data == definition("geometry_msgs/msg/Twist").encode()
