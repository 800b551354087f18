"""Protobuf messages in MCAP files, by the descriptors that the file holds."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.recorder import open_session

from .mcap_files import messages_of, write_mcap
from .sessions import call, call_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("google.protobuf")
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2

Field = descriptor_pb2.FieldDescriptorProto
TIME = "google/protobuf/timestamp.proto"
SPAN = "google/protobuf/duration.proto"


def add_field(message: Any, name: str, kind: int, type_name: str = "", **options: Any) -> Any:
    """A field of a message type; ``repeated``, ``optional`` or in a ``oneof``."""
    label = Field.LABEL_REPEATED if options.pop("repeated", False) else Field.LABEL_OPTIONAL
    return message.field.add(
        name=name, number=len(message.field) + 1, type=kind, type_name=type_name or None, label=label, **options
    )


def robot_files() -> list[Any]:
    """Two files: ``geo.proto`` with a vector, and ``robot.proto`` with a state that holds fields of all kinds."""
    geo = descriptor_pb2.FileDescriptorProto(name="geo.proto", package="geo", syntax="proto3")
    vector = geo.message_type.add(name="Vector")
    for name in "xy":
        add_field(vector, name, Field.TYPE_DOUBLE)
    robot = descriptor_pb2.FileDescriptorProto(
        name="robot.proto", package="robot", syntax="proto3", dependency=["geo.proto", TIME, SPAN]
    )
    mode = robot.enum_type.add(name="Mode")
    for number, name in enumerate(("IDLE", "DRIVING")):
        mode.value.add(name=name, number=number)
    state = robot.message_type.add(name="State")
    entry = state.nested_type.add(name="JointsEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    add_field(entry, "key", Field.TYPE_STRING)
    add_field(entry, "value", Field.TYPE_MESSAGE, ".geo.Vector")
    state.oneof_decl.add(name="goal")
    state.oneof_decl.add(name="_speed")
    add_field(state, "stamp", Field.TYPE_MESSAGE, ".google.protobuf.Timestamp")
    add_field(state, "age", Field.TYPE_MESSAGE, ".google.protobuf.Duration")
    add_field(state, "mode", Field.TYPE_ENUM, ".robot.Mode")
    add_field(state, "modes", Field.TYPE_ENUM, ".robot.Mode", repeated=True)
    add_field(state, "serial", Field.TYPE_FIXED64)
    add_field(state, "delta", Field.TYPE_SINT64)
    add_field(state, "image", Field.TYPE_BYTES)
    add_field(state, "name", Field.TYPE_STRING)
    add_field(state, "ranges", Field.TYPE_FLOAT, repeated=True)
    add_field(state, "path", Field.TYPE_MESSAGE, ".geo.Vector", repeated=True)
    add_field(state, "joints", Field.TYPE_MESSAGE, ".robot.State.JointsEntry", repeated=True)
    add_field(state, "room", Field.TYPE_STRING, oneof_index=0)
    add_field(state, "place", Field.TYPE_MESSAGE, ".geo.Vector", oneof_index=0)
    add_field(state, "speed", Field.TYPE_DOUBLE, oneof_index=1, proto3_optional=True)
    add_field(state, "parent", Field.TYPE_MESSAGE, ".robot.State")
    return [robot, geo]  # a file may stand before those it imports


def state_class() -> Any:
    """The class of ``robot.State``, as a robot's program has it."""
    pool = descriptor_pool.DescriptorPool()
    robot, geo = robot_files()
    for known in (timestamp_pb2, duration_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.Add(geo)
    pool.Add(robot)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("robot.State"))


def schema(files: list[Any]) -> bytes:
    """A schema of these files."""
    return bytes(descriptor_pb2.FileDescriptorSet(file=files).SerializeToString())


def known_files() -> list[Any]:
    """The files of the well-known types."""
    files = []
    for known in (timestamp_pb2, duration_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        known.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return files


def write(path: Path, name: str, definition: bytes, *messages: bytes) -> Path:
    """An MCAP file of protobuf messages on ``/state``, and a good one on ``/good``."""

    def fill(writer: Any) -> None:
        channel = writer.register_channel("/state", "protobuf", writer.register_schema(name, "protobuf", definition))
        for stamp, data in enumerate(messages):
            writer.add_message(channel, stamp, data, stamp)
        writer.add_message(writer.register_channel("/good", "json", 0), 0, b"1", 0)

    return write_mcap(path, fill)


@pytest.mark.parametrize("more", [known_files, list], ids=["all files", "without the well-known ones"])
def test_fields_of_all_kinds(recordings_dir: Path, tmp_path: Path, more: Callable[[], list[Any]]) -> None:
    """Enums are names, or numbers that have none; what tells set from unset is None while unset; the rest as it is."""
    full = state_class()(
        stamp={"seconds": 2**40, "nanos": 7},
        age={"seconds": -1, "nanos": -5},
        mode=1,
        modes=[0, 1, 5],
        serial=2**64 - 1,
        delta=-(2**63),
        image=b"\0\xff",
        name="ö",
        ranges=[1.5, math.inf],
        path=[{"x": 1.0}, {"y": 2.0}],
        place={"x": 4.0},
        speed=0.0,
        parent={"name": "up"},
    )
    full.joints["b"].x = 3.0
    full.joints["a"].x = 0.0
    empty = state_class()()
    path = write(
        tmp_path / "x.mcap",
        "robot.State",
        schema(robot_files() + more()),
        full.SerializeToString(),
        empty.SerializeToString(),
    )
    assert call_json("import", path, "--name", "x")["notes"] == []
    unset: dict[str, Any] = {
        **dict.fromkeys(("stamp", "age", "room", "place", "speed", "parent")),
        "mode": "IDLE",
        "modes": [],
        "serial": 0,
        "delta": 0,
        "image": b"",
        "name": "",
        "ranges": [],
        "path": [],
        "joints": {},
    }
    got, nothing = messages_of("x", "state")
    assert nothing == unset
    assert got.keys() == nothing.keys()
    assert got == {
        **unset,
        "stamp": {"seconds": 2**40, "nanos": 7},
        "age": {"seconds": -1, "nanos": -5},
        "mode": "DRIVING",
        "modes": ["IDLE", "DRIVING", 5],
        "serial": 2**64 - 1,
        "delta": -(2**63),
        "image": b"\0\xff",
        "name": "ö",
        "ranges": [1.5, math.inf],
        "path": [{"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 2.0}],
        "joints": {"b": {"x": 3.0, "y": 0.0}, "a": {"x": 0.0, "y": 0.0}},
        "place": {"x": 4.0, "y": 0.0},
        "speed": 0.0,
        "parent": {**unset, "name": "up"},
    }
    assert type(got["serial"]) is int


def looped() -> list[Any]:
    """Two files that import each other."""
    return [
        descriptor_pb2.FileDescriptorProto(name=name, dependency=[other])
        for name, other in (("a.proto", "b.proto"), ("b.proto", "a.proto"))
    ]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (b"\xff\xffgarbage", "the definition of robot.State cannot be read"),
        (schema([]), "the definition of robot.State cannot be read"),
        (schema(robot_files()[:1]), "the file geo.proto is missing from its descriptors"),
        (schema(looped()), "imports itself"),
    ],
)
def test_descriptors_that_do_not_describe(recordings_dir: Path, tmp_path: Path, definition: bytes, words: str) -> None:
    """Messages whose descriptors are damaged or not whole come as bytes, with a note that says what is wrong."""
    path = write(tmp_path / "x.mcap", "robot.State", definition, b"\x08\1", b"")
    found = call_json("import", path, "--name", "x")
    (note,) = found["notes"]
    assert note.startswith("topic /state: 2 messages are bytes; the first, at 0 ns: ")
    assert words in note
    assert messages_of("x", "state") == [b"\x08\1", b""]
    assert messages_of("x", "good") == [1]


def test_message_that_is_cut_costs_itself(recordings_dir: Path, tmp_path: Path) -> None:
    """One that the descriptors do not fit comes as bytes, the others as dicts."""
    whole = state_class()(name="a" * 10).SerializeToString()
    path = write(tmp_path / "x.mcap", "robot.State", schema(robot_files()), whole, whole[:-3])
    assert len(call_json("import", path, "--name", "x")["notes"]) == 1
    first, second = messages_of("x", "state")
    assert (first["name"], second) == ("a" * 10, whole[:-3])


def test_fields_that_the_descriptors_lack_are_kept(recordings_dir: Path, tmp_path: Path) -> None:
    """Data of fields that the descriptors do not know stay with the message, by their numbers."""
    robot, geo = robot_files()
    del robot.message_type[0].field[4:8], geo.message_type[0].field[1]
    whole = state_class()(serial=5, image=b"\1", path=[{"x": 1.0, "y": 2.0}]).SerializeToString()
    path = write(tmp_path / "x.mcap", "robot.State", schema([robot, geo]), whole, b"")
    assert call_json("import", path, "--name", "x")["notes"] == []
    got, nothing = messages_of("x", "state")
    assert got["unknown fields"] == {"5": [5], "7": [b"\1"]}
    assert got["path"] == [{"x": 1.0, "unknown fields": {"2": [2**62]}}]
    assert "unknown fields" not in nothing


def test_without_protobuf_the_error_says_what_to_install(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the extra; the other topics can be imported without it."""
    path = write(tmp_path / "x.mcap", "robot.State", schema(robot_files()), b"")
    for module in [name for name in sys.modules if name.startswith("google.protobuf")]:
        monkeypatch.setitem(sys.modules, module, None)
    result = call("import", path, "--name", "x")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "[protobuf]'" in result.output
    assert not (recordings_dir / "x").exists()
    assert call("import", path, "--name", "x", "--exclude", "/state").exit_code == 0
    assert list(open_session("x").nodes) == ["bag"]
