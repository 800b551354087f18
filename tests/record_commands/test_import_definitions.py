"""``record import``: definitions of ROS types as real files hold them, and the values that they give."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.rosbag1 import Writer as Bag1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Bag2Writer
from rosbags.typesys import Stores, get_typestore

from horus_async.recorder.imports.ros import MisfitError, UnreadableDefinitionError, known_decoder, ros_decoder
from horus_async.topics.codec import decode, encode, to_json

from .bag_files import HUMBLE, START_NS, cdr_file, found, types_of
from .sessions import call, call_json

if TYPE_CHECKING:
    from pathlib import Path

LINE = "=" * 80


def nested(depth: int, how: str) -> bytes:
    """The definition of a type in which others are nested."""
    parts = [f"T{number + 1}{how} x\n{LINE}\nMSG: pkg/T{number + 1}\n" for number in range(depth)]
    return ("".join(parts) + "int32 x\nstring s\n").encode()


GOOD = struct.pack("<iI", 7, 3) + b"hi\0"
IDL = "module pkg { module msg { struct Foo { long x; string s; }; }; };"
VALUE = {"x": 7, "s": "hi"}


def test_constants_are_no_fields_and_empty_is_an_empty_dict(recordings_dir: Path, tmp_path: Path) -> None:
    """A message has the fields of its type and nothing else, also inside others, and in a sequence."""
    definition = (
        "uint8 OK=0\nstring NAME=x # y\npkg/Part part\npkg/Part[] parts\nstd_msgs/Empty nothing\nfloat32 last\n"
        f"{LINE}\nMSG: pkg/Part\nint32 LIMIT = 5\nint32 n\n{LINE}\nMSG: std_msgs/Empty\n"
    )
    store = types_of(definition)
    types = store.types
    part = types["pkg/msg/Part"]
    value = types["pkg/msg/Foo"](
        part=part(n=1), parts=[part(n=2), part(n=3)], nothing=types["std_msgs/msg/Empty"](), last=1.5
    )
    with Bag2Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        foo = writer.add_connection("/foo", "pkg/msg/Foo", typestore=store)
        go = writer.add_connection("/go", "std_msgs/msg/Empty", typestore=store)
        writer.write(foo, START_NS, store.serialize_cdr(value, "pkg/msg/Foo"))
        writer.write(go, START_NS, store.serialize_cdr(types["std_msgs/msg/Empty"](), "std_msgs/msg/Empty"))
    assert call("import", tmp_path / "bag", "--name", "s").exit_code == 0
    assert found("s", "foo") == [{"part": {"n": 1}, "parts": [{"n": 2}, {"n": 3}], "nothing": {}, "last": 1.5}]
    assert found("s", "go") == [{}]


@pytest.mark.parametrize(
    ("form", "name", "definition"),
    [
        ("ros2msg", "pkg/msg/Foo", "int32 x\r\nstring s\r\n"),
        ("ros2msg", "pkg/Foo", "\ufeffint32 x\nstring s"),
        ("ros2msg", "pkg/msg/Foo", "# \u00b0\nint32 x # 5 \u00b0C\n\n  string   s\t# \u0085 and so on\n"),
        (
            "ros2msg",
            "pkg/msg/Foo",
            "int32 x 5\nstring s 'a # b'\nint32 small=3\nint32 Mixed_1 = -3\nstring S=a=b # c\n",
        ),
        ("ros2msg", "pkg/msg/Foo", '@unit("m")\nint32 x\n@optional string s\n'),
        ("ros2msg", "pkg/msg/Foo", f"{LINE}\nMSG: pkg/Foo\nint32 x\nstring s\n"),
        ("ros2msg", "pkg/msg/Foo", f"Number number\n{LINE}  \r\nMSG: pkg/Number\nint32 x\nstring s\n"),
        ("ros2idl", "pkg/msg/Foo", IDL),
        (
            "ros2idl",
            "pkg/msg/Foo",
            f"{LINE}\r\nIDL: pkg/msg/Foo\r\n// \u00b0C\n{IDL}",
        ),
        ("omgidl", "pkg::msg::Foo", IDL),
        ("omgidl", "acme::Foo", "module acme { struct Foo { long x; string s; }; };"),
    ],
)
def test_definitions_as_real_files_hold_them(
    recordings_dir: Path, tmp_path: Path, form: str, name: str, definition: str
) -> None:
    """Line ends, Latin-1, marks, separators, annotations, constants of any case and IDL do not keep it from reading."""
    for encoding in ("utf-8",) if "\ufeff" in definition else ("utf-8", "latin-1"):
        path = cdr_file(tmp_path / "x.mcap", name, form, definition.encode(encoding), GOOD)
        result = call("import", path, "--name", encoding)
        assert result.exit_code == 0, result.output
        (value,) = found(encoding, "t")
        assert value in (VALUE, {"number": VALUE})
        assert result.stderr == ""


@pytest.mark.parametrize(
    ("form", "definition", "body"),
    [
        ("ros2msg", b"", GOOD),
        ("ros2msg", b"int32 x\nstring s\nfloat64 y\n", GOOD),
        ("ros2msg", b"int32 x\nstring s\npkg/Missing y\n", GOOD),
        ("ros2msg", b"int32 x\nthis is no definition ~\n", GOOD),
        ("ros2msg", b"int32 x\nwstring s\n", GOOD),
        ("ros2msg", b"int32 x\nFoo s\n", GOOD),
        ("ros2msg", b"string[4000000000] x\n", GOOD),
        ("ros2msg", b"int32 x\nstring s\n", struct.pack("<iI", 7, 3) + b"\xd0\x20\xff"),
        ("ros2msg", b"int32 x\nstring s\n", struct.pack("<iI", 7, 4_000_000_000) + b"hi\0"),
        ("ros2idl", b"module pkg { module msg { union Foo switch (long) { case 1: long x; }; }; };", GOOD),
        ("ros2idl", b"module pkg { module msg { struct Bar { long x; string s; }; }; };", GOOD),
        ("ros2idl", b"module pkg { module msg { struct Foo { long x[-3]; string s; }; }; };", GOOD),
        ("ros2msg", nested(20, "[]"), GOOD),
        ("ros2msg", nested(2000, ""), GOOD),
        ("nobody's", b"\x00\x01\x02", GOOD),
    ],
)
def test_what_cannot_be_decoded_costs_itself(
    recordings_dir: Path, tmp_path: Path, form: str, definition: bytes, body: bytes
) -> None:
    """A topic whose definition or message cannot be read comes as bytes, with a note; the others come as they are."""
    path = cdr_file(tmp_path / "x.mcap", "pkg/msg/Foo", form, definition, body, body)
    result = call("import", path, "--name", "s")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("note:") == 1
    assert "topic /t: 2 messages are bytes" in result.stderr
    assert found("s", "t") == [b"\0\1\0\0" + body] * 2
    assert found("s", "good") == [{"data": "good"}] * 2


def test_one_bad_message_of_a_topic(recordings_dir: Path, tmp_path: Path) -> None:
    """Only the message that cannot be read is bytes; the note counts, and says what was wrong with the first."""
    bad = GOOD[:-4]
    path = cdr_file(tmp_path / "x.mcap", "pkg/msg/Foo", "ros2msg", b"int32 x\nstring s\n", GOOD, bad, GOOD, b"")
    result = call("import", path, "--name", "s")
    assert found("s", "t") == [VALUE, b"\0\1\0\0" + bad, VALUE, b"\0\1\0\0"]
    assert f"topic /t: 2 messages are bytes; the first, at {START_NS + 1} ns: " in result.stderr


@pytest.mark.parametrize("second", [b"\x06", b"\x07", b"\x09", b"\x0b", b"\x02", b"\x03"])
def test_other_representations_of_cdr_are_not_guessed(second: bytes) -> None:
    """XCDR2 and parameter lists lie differently in memory: such a message is not read as if it were plain CDR."""
    decoder = ros_decoder("cdr", "pkg/msg/Foo", "ros2msg", "int32 x\nstring s\n")
    assert decode(decoder(b"\0\1\0\0" + GOOD)) == VALUE
    with pytest.raises(Exception, match="encapsulation"):
        decoder(b"\0" + second + b"\0\0" + GOOD)


def test_events_of_services(recordings_dir: Path, tmp_path: Path) -> None:
    """A service's events are recorded with the service's text, from which their type follows."""
    event = struct.pack("<BxxxiI", 1, 9, 5) + bytes(range(16)) + struct.pack("<4xq", 4)
    body = event + struct.pack("<I4xqqI", 1, 2, 3, 0)
    text = b"int64 a\nint64 b\n---\nint64 sum\n"
    path = cdr_file(tmp_path / "x.mcap", "pkg/srv/Add_Event", "ros2msg", text, body)
    assert call("import", path, "--name", "s").exit_code == 0
    (value,) = found("s", "t")
    assert (value["request"], value["response"]) == ([{"a": 2, "b": 3}], [])
    assert (value["info"]["event_type"], value["info"]["stamp"]) == (1, {"sec": 9, "nanosec": 5})
    assert value["info"]["client_gid"].tolist() == [*range(16)]
    joined = f"{LINE}\nSRV: pkg/srv/Add\n".encode() + text
    decoder = ros_decoder("cdr", "pkg/srv/Add_Request", "ros2msg", joined)
    assert decode(decoder(b"\0\1\0\0" + struct.pack("<qq", 2, 3))) == {"a": 2, "b": 3}


def test_fields_with_names_that_python_keeps(recordings_dir: Path, tmp_path: Path) -> None:
    """Fields called ``from`` or ``class`` keep their names."""
    path = cdr_file(tmp_path / "x.mcap", "pkg/msg/Foo", "ros2msg", b"int32 from\nstring class\n", GOOD)
    assert call("import", path, "--name", "s").exit_code == 0
    assert found("s", "t") == [{"from": 7, "class": "hi"}]


def two_definitions(folder: Path) -> dict[str, bytes]:
    """A ROS 1 and a ROS 2 bag with one type name that means two types, and the messages' bodies."""
    bodies = {"int32 speed_mm\n": struct.pack("<i", 1500), "float32 speed\n": struct.pack("<f", 1.5)}
    with Bag1Writer(folder / "r.bag") as writer:
        for topic, (text, body) in zip(("/old", "/new"), bodies.items(), strict=True):
            connection = writer.add_connection(topic, "pkg/msg/Foo", typestore=types_of(text, ros1=True))
            writer.write(connection, START_NS, body)
    with Bag2Writer(folder / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as bag:
        for topic, (text, body) in zip(("/old", "/new"), bodies.items(), strict=True):
            connection = bag.add_connection(topic, "pkg/msg/Foo", typestore=types_of(text))
            bag.write(connection, START_NS, b"\0\1\0\0" + body)
    return bodies


def test_two_definitions_of_one_name(recordings_dir: Path, tmp_path: Path) -> None:
    """Each topic is decoded by the definition of its own connection, in ROS 1 and in ROS 2."""
    two_definitions(tmp_path)
    with closing(sqlite3.connect(tmp_path / "bag" / "bag.db3")) as database, database:  # which rosbags left out
        (digest,) = database.execute("SELECT type_description_hash FROM topics WHERE name = '/new'").fetchone()
        row = ("pkg/msg/Foo", "ros2msg", "float32 speed\n", digest)
        database.execute(
            "INSERT INTO message_definitions (topic_type, encoding, encoded_message_definition, type_description_hash)"
            " VALUES (?, ?, ?, ?)",
            row,
        )
    for name in ("r.bag", "bag"):
        assert call("import", tmp_path / name, "--name", name).exit_code == 0
        assert (found(name, "old"), found(name, "new")) == ([{"speed_mm": 1500}], [{"speed": 1.5}])


def test_a_definition_of_another_digest_is_not_taken(recordings_dir: Path, tmp_path: Path) -> None:
    """A topic whose own definition is missing comes as bytes: that of the same name is another's."""
    bodies = two_definitions(tmp_path)
    result = call("import", tmp_path / "bag", "--name", "s")
    assert found("s", "old") == [{"speed_mm": 1500}]
    assert found("s", "new") == [b"\0\1\0\0" + bodies["float32 speed\n"]]
    assert "topic /new: 1 messages are bytes" in result.stderr


@pytest.mark.parametrize(
    ("definition", "md5", "expected"),
    [
        ("string data\n", "*", {"data": "x"}),
        ("string data\r\n", "0" * 32, {"data": "x"}),
        (" ", "992ce8a1687cec8c8bd883ec73ca41d1", {"data": "x"}),
        ("", "*", b"\1\0\0\0x"),
        ("", "d41d8cd98f00b204e9800998ecf8427e", b"\1\0\0\0x"),
        ("string data\nint32 more\n", "*", b"\1\0\0\0x"),
    ],
)
def test_connections_of_ros_1(
    recordings_dir: Path, tmp_path: Path, definition: str, md5: str, expected: object
) -> None:
    """The checksum is not needed with a definition; without one it tells whether the type is the one that ROS has."""
    with Bag1Writer(tmp_path / "x.bag") as writer:
        connection = writer.add_connection("/t", "std_msgs/msg/String", msgdef=definition, md5sum=md5, callerid="/odd")
        good = writer.add_connection("/good", "std_msgs/msg/Int32", typestore=get_typestore(Stores.ROS1_NOETIC))
        writer.write(connection, START_NS, b"\1\0\0\0x")
        writer.write(good, START_NS, struct.pack("<i", 3))
    assert call("import", tmp_path / "x.bag", "--name", "s").exit_code == 0
    assert (found("s", "t"), found("s", "good")) == ([expected], [{"data": 3}])


def test_types_that_a_file_does_not_define() -> None:
    """ROS's own types are known, by the distribution's definition, or by the one that fits; others are refused."""
    log = HUMBLE.types["rcl_interfaces/msg/ParameterDescriptor"]
    fields: dict[str, Any] = {
        "name": "p",
        "type": 1,
        "description": "",
        "additional_constraints": "",
        "read_only": True,
    }
    value = log(**fields, dynamic_typing=False, floating_point_range=[], integer_range=[])
    kind = "rcl_interfaces/msg/ParameterDescriptor"
    foxy = get_typestore(Stores.ROS2_FOXY)
    old = foxy.types[kind](**fields, floating_point_range=[], integer_range=[])
    new_data, old_data = bytes(HUMBLE.serialize_cdr(value, kind)), bytes(foxy.serialize_cdr(old, kind))
    decoder = known_decoder("cdr", kind)
    assert "dynamic_typing" in decode(decoder(new_data))
    assert decode(decoder(old_data))["read_only"] is True
    assert "dynamic_typing" not in decode(known_decoder("cdr", kind, "foxy")(old_data))
    with pytest.raises(UnreadableDefinitionError, match="no definition of pkg/msg/Foo"):
        known_decoder("cdr", "pkg/msg/Foo", "humble")


_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
KINDS: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in ("bool", *_INTEGERS, "float32", "float64")}
KINDS |= {"byte": np.dtype(np.int8), "char": np.dtype(np.uint8)}
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
words = st.text(letters, max_size=5) | st.just("null")


def numbers(base: str) -> st.SearchStrategy[Any]:
    """Values of a kind of number."""
    kind = KINDS[base]
    if kind.kind == "b":
        return st.booleans()
    if kind.kind == "f":
        plain = st.floats(width=32) if base == "float32" else st.floats()
        return plain | st.sampled_from([float("nan"), float("-inf"), -0.0])
    return st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max))


@st.composite
def some_type(draw: st.DrawFn, depth: int = 0) -> tuple[list[tuple[str, str, Any]], list[Any]]:
    """Fields (type, name and inner fields), and a value for each; may be none at all."""
    fields: list[tuple[str, str, Any]] = []
    values: list[Any] = []
    for number in range(draw(st.integers(0 if depth else 1, 4))):
        base = draw(st.sampled_from([*KINDS, "string", *(["inner"] * 3 if depth < 2 else [])]))
        inner: Any = None
        if base == "inner":
            inner, one = draw(some_type(depth + 1))
            item: st.SearchStrategy[Any] = st.just(one)
        else:
            item = words if base == "string" else numbers(base)
        how = draw(st.sampled_from(["", "", "[3]", "[]"]))
        size = {"": None, "[3]": 3, "[]": draw(st.integers(0, 3))}[how]
        values.append(draw(item) if size is None else [draw(item) for _ in range(size)])
        fields.append((base + how, f"f{number}", inner))
    return fields, values


def definition_of(fields: list[tuple[str, str, Any]], parts: list[str], name: str = "Foo") -> str:
    """The text of a type; those of the inner ones are added to ``parts``."""
    lines = []
    for number, (kind, field, inner) in enumerate(fields):
        if inner is None:
            lines.append(f"{kind} {field}\n")
        else:
            lines.append(f"{name}{number}{kind.removeprefix('inner')} {field}\n")
            parts.append(f"{LINE}\nMSG: pkg/{name}{number}\n" + definition_of(inner, parts, f"{name}{number}"))
    return "".join(lines)


def built(types: Any, fields: list[tuple[str, str, Any]], values: list[Any], name: str = "Foo") -> tuple[Any, Any]:
    """A message as ``rosbags`` has it, and the value that it should become."""
    given_: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for number, ((kind, field, inner), value) in enumerate(zip(fields, values, strict=True)):
        base = kind.partition("[")[0]
        if inner is not None:
            items = value if "[" in kind else [value]
            pairs = [built(types, inner, item, f"{name}{number}") for item in items]
            left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            given_[field], wanted[field] = (left, right) if "[" in kind else (left[0], right[0])
        elif "[" in kind and base != "string":
            given_[field] = wanted[field] = np.array(value, KINDS[base])
        else:
            given_[field] = wanted[field] = value
    return types[f"pkg/msg/{name}"](**given_), wanted


@settings(deadline=None, max_examples=150)
@given(some_type(), st.sampled_from(["ros1", "little", "big"]))
def test_messages_of_any_type(drawn: tuple[list[tuple[str, str, Any]], list[Any]], how: str) -> None:
    """A message comes as what was put into it, and its payload is what a node that sends that value would write."""
    fields, values = drawn
    parts: list[str] = []
    text = definition_of(fields, parts) + "".join(parts)
    store = types_of(text)
    message, wanted = built(store.types, fields, values)
    if how == "ros1":
        data = bytes(store.serialize_ros1(message, "pkg/msg/Foo"))
    else:
        data = bytes(store.serialize_cdr(message, "pkg/msg/Foo", little_endian=how == "little"))
    decoder = ros_decoder("ros1" if how == "ros1" else "cdr", "pkg/msg/Foo", "ros2msg", text)
    payload = decoder(data)
    assert payload == to_json(encode(wanted))
    for end in range(4, len(data) - 4):
        with pytest.raises(MisfitError):
            decoder(data[:end])
    with pytest.raises(MisfitError):
        decoder(data + bytes(5))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["ros2msg", "ros2idl", "omgidl", ""]))
def test_any_definition_is_read_or_refused(definition: bytes, form: str) -> None:
    """Whatever stands there, it is read, or the error is of ours."""
    with suppress(UnreadableDefinitionError):
        ros_decoder("cdr", "pkg/msg/Foo", form, definition)


@settings(deadline=None, max_examples=200)
@given(some_type(), st.binary(max_size=60), st.sampled_from(["ros1", "little", "big"]))
def test_any_message_is_read_or_refused(
    drawn: tuple[list[tuple[str, str, Any]], list[Any]], body: bytes, how: str
) -> None:
    """Whatever a message holds, it is read, or the error is of ours."""
    parts: list[str] = []
    text = definition_of(drawn[0], parts) + "".join(parts)
    with suppress(MisfitError):
        encoding = "ros1" if how == "ros1" else "cdr"
        ros_decoder(encoding, "pkg/msg/Foo", "ros2msg", text)((b"\0\0\0\0" if how == "big" else b"\0\1\0\0") + body)


def test_a_topic_of_many_definitions_is_counted_once(recordings_dir: Path, tmp_path: Path) -> None:
    """What the file counts and what came are the same."""
    path = cdr_file(tmp_path / "x.mcap", "pkg/msg/Foo", "ros2msg", b"int32 x\nstring s\n", GOOD, GOOD)
    assert call_json("import", path, "--name", "s")["missing"] == 0
