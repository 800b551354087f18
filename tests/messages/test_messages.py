"""The common messages: what is in them, and that they arrive as they were sent."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from typing import Any

import attrs
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Topic, messages
from horus_async.errors import TopicTypeError
from horus_async.messages import BatteryState, Image, JointCommand, JointState, LaserScan, PointCloud, Time, Twist
from horus_async.topics.codec import as_bytes, decode, encode, to_json
from horus_async.topics.packed.packed import form_of

from .catalogue import BEGIN, CLASSES, END, ENUMS, PAGE, layout, table, values
from .layouts import CONSTANTS, RENAMED, ROS_2

ASKED_FOR = {
    "CmdVel",
    "Twist",
    "Pose2D",
    "Pose",
    "Odometry",
    "Imu",
    "LaserScan",
    "JointState",
    "JointCommand",
    "BatteryState",
    "NavSatFix",
    "Image",
    "CompressedImage",
    "PointCloud",
    "OccupancyGrid",
    "Path",
    "Transform",
    "Detection2D",
    "Diagnostic",
    "Log",
}

every_class = pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)


def test_the_common_messages_are_there() -> None:
    """Each message that robot programs share has a class."""
    assert CLASSES.keys() >= ASKED_FOR
    assert sorted(messages.__all__) == messages.__all__


@every_class
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_message_arrives_equal_and_of_the_same_type(kind: type, data: st.DataObject) -> None:
    """Whatever its fields hold (NaN, arrays, lists, nested messages), it comes back so (J.1-10)."""
    sent = data.draw(values(kind))

    arrived = decode(as_bytes(encode(sent)))

    assert type(arrived) is kind
    assert arrived == sent
    for attribute in attrs.fields(kind):
        assert type(getattr(arrived, attribute.name)) is type(getattr(sent, attribute.name))


@every_class
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_a_recording_holds_the_same_message(kind: type, data: st.DataObject) -> None:
    """The JSON text that a recording keeps decodes to the message, too."""
    sent = data.draw(values(kind))

    assert decode(to_json(encode(sent))) == sent


@every_class
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_packed_and_general_give_the_same(kind: type, data: st.DataObject) -> None:
    """Where a message can travel packed, it arrives as it does in the general form, and has the same text."""
    sent = data.draw(values(kind))
    form = form_of(kind)
    assert form is not None
    message = None if form.pack is None else form.pack(sent)

    general = as_bytes(encode(sent))
    if message is not None:
        assert decode(message) == decode(general) == sent
        assert to_json(message) == to_json(general)


def test_messages_travel_packed() -> None:
    """All but those with bytes or lists of other messages in them, as their constructors make them."""
    packed = {name for name, kind in CLASSES.items() if (form := form_of(kind)) and form.pack and form.pack(kind())}

    general = {"CompressedImage", "Detection2D", "Diagnostic", "Image", "Path", "PointCloud"}
    assert CLASSES.keys() - packed == general


@every_class
def test_a_typed_topic_carries_it(kind: type) -> None:
    """A topic of that type delivers an object of that class, and refuses another class."""
    with Topic("robot.message", kind) as topic:
        topic.send(kind())

        arrived = topic.recv()
        assert type(arrived) is kind
        assert arrived == kind()
        with pytest.raises(TopicTypeError, match=kind.__name__):
            topic.send({"not": "a message"})


@every_class
def test_a_message_of_another_release_still_reads(kind: type) -> None:
    """Missing fields get their defaults, unknown ones are left out."""
    name = f"horus_async.messages.{kind.__name__}"

    assert decode(orjson.dumps({"$type": name, "value": {}})) == kind()
    assert decode(orjson.dumps({"$type": name, "value": {"added_later": 1}})) == kind()


@every_class
def test_defaults_are_not_shared(kind: type) -> None:
    """Filling in one message changes no other one."""
    first, second = kind(), kind()
    for attribute in attrs.fields(kind):
        value = getattr(first, attribute.name)
        if isinstance(value, list) or attrs.has(type(value)):
            assert value is not getattr(second, attribute.name)


@every_class
def test_fields_are_those_of_the_ros_2_definition(kind: type) -> None:
    """Names and order are those of the .msg file that the docstring names."""
    definition = RENAMED.get(kind.__name__)
    if definition is None:
        if kind is messages.CmdVel:
            assert [field.name for field in attrs.fields(kind)] == ["linear", "angular"]
            return
        (definition,) = (name for name in ROS_2 if name.endswith(f"/{kind.__name__}") and name in layout(kind))

    assert layout(kind).startswith(definition)
    assert " ".join(field.name for field in attrs.fields(kind)) == ROS_2[definition]


@pytest.mark.parametrize("name", CONSTANTS)
def test_choices_have_the_numbers_of_the_ros_2_definition(name: str) -> None:
    """Each enum has the constants of its .msg file."""
    assert {member: value.value for member, value in ENUMS[name].__members__.items()} == CONSTANTS[name]
    assert CONSTANTS.keys() == ENUMS.keys()


@every_class
def test_names_in_recordings_do_not_depend_on_files(kind: type) -> None:
    """A message is named after the public module, not the file that its class is written in."""
    assert to_json(encode(kind())).startswith(f'{{"$type":"horus_async.messages.{kind.__name__}"'.encode())


@every_class
def test_every_documented_field_exists(kind: type) -> None:
    """A docstring's list of attributes names fields only."""
    _, _, listed = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    named = [line.split(":")[0].strip() for line in listed.splitlines() if line.startswith("    ") and line[4] != " "]

    assert set(named) <= {field.name for field in attrs.fields(kind)}


def test_what_is_not_measured_equals_itself() -> None:
    """Two messages with NaN in the same fields are equal, in lists and arrays as well."""
    assert BatteryState() == BatteryState()
    assert BatteryState(voltage=1.0) != BatteryState()
    assert LaserScan(ranges=[math.nan, 1.0]) == LaserScan(ranges=[float("nan"), 1.0])
    assert LaserScan(ranges=np.array([math.nan, 1.0])) == LaserScan(ranges=np.array([math.nan, 1.0]))
    assert LaserScan(ranges=np.array([math.nan, 1.0])) != LaserScan(ranges=np.array([1.0, math.nan]))


@pytest.mark.parametrize(
    "other",
    [
        [1.0, 2.0],
        np.array([1.0, 2.0], np.float32),
        np.array([[1.0, 2.0]]),
        np.array([1.0, 3.0]),
        np.array([1.0]),
    ],
    ids=["list", "dtype", "shape", "element", "length"],
)
def test_arrays_are_compared_with_type_and_shape(other: Any) -> None:
    """An array that differs in kind, dtype, shape or an element makes another message."""
    scan = LaserScan(ranges=np.array([1.0, 2.0]))

    assert scan == LaserScan(ranges=np.array([1.0, 2.0]))
    assert scan != LaserScan(ranges=other)
    assert LaserScan(ranges=other) != scan


def test_points_and_pixels_are_compared_byte_by_byte() -> None:
    """Structured arrays and images are equal when all bytes are."""
    points = np.zeros(3, [("x", np.float32), ("ring", np.uint16)])
    moved = points.copy()
    moved["ring"][2] = 1
    pixels = np.zeros((2, 2, 3), np.uint8)

    assert PointCloud(data=points) == PointCloud(data=points.copy())
    assert PointCloud(data=points) != PointCloud(data=moved)
    assert Image(data=pixels) == Image(data=pixels.copy())
    assert Image(data=pixels) != Image(data=pixels + 1)
    assert Image(data=pixels) != Image(data=pixels.tobytes())


def test_odd_arrays_are_compared_too() -> None:
    """Arrays of Python objects are compared element by element."""
    assert JointState(position=np.array([1, None], object)) == JointState(position=np.array([1, None], object))
    assert JointState(position=np.array([1, None], object)) != JointState(position=np.array([2, None], object))


def test_another_class_is_never_equal() -> None:
    """Equal fields do not make a state a command."""
    assert JointState() != JointCommand()
    assert JointState() != "a message"


def test_messages_change_and_have_no_hash() -> None:
    """A message is filled in field by field; what was sent before stays as it was."""
    twist = Twist()
    with Topic("robot.twist", Twist) as topic:
        topic.send(twist)
        twist.linear.x = 0.5
        topic.send(twist)

        assert [value.linear.x for value in topic.recv_all()] == [0.0, 0.5]
    with pytest.raises(TypeError, match="unhashable"):
        hash(twist)
    with pytest.raises(AttributeError):
        twist.speed = 1  # type: ignore[attr-defined]


@given(st.integers(0, 2**62))
def test_time_and_nanoseconds(ns: int) -> None:
    """A time made from nanoseconds gives them back, and its parts are in range."""
    time = Time.from_ns(ns)

    assert time.ns == ns
    assert 0 <= time.nanosec < 1_000_000_000


def test_arrays_are_optional() -> None:
    """Importing, comparing and sending messages loads no NumPy, and ``import horus_async`` loads no messages."""
    script = """
import sys, horus_async
assert "horus_async.messages" not in sys.modules
from horus_async import Topic, messages
with Topic("battery", messages.BatteryState) as topic:
    topic.send(messages.BatteryState(cell_voltage=[3.7]))
    assert topic.recv() == messages.BatteryState(cell_voltage=[3.7])
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_page_lists_all_messages() -> None:
    """docs/messages.md holds the table made from the classes; ``python -m tests.messages.catalogue`` renews it."""
    text = PAGE.read_text(encoding="utf-8")

    assert text.split(BEGIN)[1].split(END)[0] == table()
