"""What rings say of the classes of their messages: in the header, between processes, to people, and when damaged."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Topic
from horus_async.cli import main
from horus_async.errors import SchemaMismatchError, TopicError, TopicTypeError
from horus_async.messages import CmdVel, Twist
from horus_async.topics.codec import decode
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.packed import marks
from horus_async.topics.packed.packed import form_of
from horus_async.topics.packed.schema import Schema, Struct
from horus_async.topics.ring.layout import PUBLISHERS_AT, SCHEMAS_LIMIT, Word
from horus_async.topics.ring.region import Region
from horus_async.topics.ring.writer import RingWriter
from tests.topics import message_classes, payload_types
from tests.topics.message_classes import Drive, Gear, Point, Tree
from tests.topics.test_processes import child, until, values

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def clean(namespace: str) -> Iterator[None]:
    """Remove what the processes that a test killed have left."""
    yield
    reclaim(namespace, grace_ns=0)


def new_writer() -> RingWriter:
    """A ring in ordinary memory."""
    return RingWriter(lambda _, size: bytearray(size), topic="a/b", namespace="n", capacity=4096, pid=7)


def schema_of(kind: type) -> Schema:
    """That of a class which has one."""
    form = form_of(kind)
    assert form is not None
    return form.schema


def wide(number: int, fields: int = 20) -> Schema:
    """A schema among many."""
    return Schema.of(Struct(f"m.C{number}", tuple((f"field{index}", "float") for index in range(fields))))


def test_the_header_as_a_stranger_reads_it() -> None:
    """Schemas stand where the header says, each with its length before it, whatever was entered around them."""
    writer = new_writer()
    writer.add_publisher("first")
    assert struct.unpack_from("<2Q", writer.region.map, 72) == (0, 0)
    writer.add_schema(schema_of(Point).text)
    writer.add_publisher("second")
    writer.add_schema(schema_of(Drive).text)
    assert writer.add_schema(schema_of(Point).text)

    at, length = struct.unpack_from("<2Q", writer.region.map, 72)
    table, found = bytes(writer.region.map[at : at + length]), []
    while table:
        (size,) = struct.unpack_from("<I", table)
        found.append(table[4 : 4 + size])
        table = table[8 + size :]  # a CRC behind each

    assert found == [schema_of(Point).text, schema_of(Drive).text]
    assert writer.region.schemas() == [schema_of(Point), schema_of(Drive)]
    assert writer.region.publisher(1) == "second"
    assert len(writer.generations) == 1


def test_many_schemas_and_publishers() -> None:
    """The tables outgrow their place without being mixed up, and are whole in every generation from then on."""
    writer = new_writer()
    schemas = [wide(number) for number in range(60)]
    names = [f"publisher {number} {'x' * 100}" for number in range(60)]
    for name, one in zip(names, schemas, strict=True):
        number = writer.add_publisher(name)
        assert writer.add_schema(one.text)
        region = writer.region
        assert region.schemas() == schemas[: number + 1]
        assert region.publisher(number) == name

    assert len(writer.generations) > 2
    for region in writer.generations:
        count = len(region.schemas())
        assert region.schemas() == schemas[:count]
        assert all(region.publisher(number) == names[number] for number in range(region.words[Word.PUBLISHERS]))


def test_a_table_has_a_limit() -> None:
    """Classes beyond it are sent in the general form, so that a program that makes classes cannot fill the memory."""
    writer = new_writer()
    large = [Schema.of(Struct(f"m.C{number}", (("x" * (SCHEMAS_LIMIT // 4), "int"),))) for number in range(5)]

    assert [writer.add_schema(one.text) for one in large] == [True, True, True, False, False]
    assert writer.region.schemas() == large[:3]


def test_a_class_without_room_in_the_table_is_sent_in_the_general_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost but speed."""
    monkeypatch.setattr("horus_async.topics.ring.writer.SCHEMAS_LIMIT", 10)
    with Topic("t", Point) as topic:
        topic.send(Point(1.5, 2.5))
        topic.send(Point(2.5, 3.5))

        assert topic.recv_all() == [Point(1.5, 2.5), Point(2.5, 3.5)]


def test_a_closed_ring_takes_no_schema_and_no_publisher() -> None:
    """Its memory may be another process's by now."""
    writer = new_writer()
    writer.close()

    with pytest.raises(TopicError, match="topic 'a/b' is closed"):
        writer.add_schema(b"{}")
    with pytest.raises(TopicError, match="topic 'a/b' is closed"):
        writer.add_publisher("p")


def test_no_room_for_a_larger_table() -> None:
    """The writer goes on as before: the class is not in the table, and can be entered later."""
    full = False

    def allocate(_: int, size: int) -> bytearray:
        if full:
            raise TopicError("no room")
        return bytearray(size)

    writer = RingWriter(allocate, topic="t", namespace="n", capacity=4096)
    full = True
    with pytest.raises(TopicError, match="no room"):
        writer.add_schema(wide(0, 500).text)
    assert writer.region.schemas() == []
    full = False
    assert writer.add_schema(wide(0, 500).text)
    assert writer.region.schemas() == [wide(0, 500)]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_header_is_an_error_of_ours(data: st.DataObject) -> None:
    """Whatever stands in the words and the table, a reader gets schemas or a TopicError."""
    writer = new_writer()
    for kind in (Point, Drive, Tree):
        writer.add_schema(schema_of(kind).text)
    memory, words = writer.region.map, writer.region.words
    at, length = words[Word.SCHEMA_AT], words[Word.SCHEMA_LENGTH]
    for _ in range(data.draw(st.integers(1, 4))):
        memory[at + data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        word = data.draw(st.sampled_from([Word.SCHEMA_AT, Word.SCHEMA_LENGTH]))
        words[word] = data.draw(st.integers(0, 9000) | st.integers(0, 2**64 - 1))
    try:
        found = Region(memory).schemas()
    except TopicError:
        return
    assert all(isinstance(one, Schema) for one in found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        '"float"',
        '{"tuple": []}',
        '{"class": "C"}',
        '{"class": "C", "fields": [["a"]]}',
        '{"class": "C", "fields": [["a", "float", 1]]}',
        '{"class": "C", "fields": [[1, "float"]]}',
        '{"class": "C", "fields": [["a", "float"], ["a", "int"]]}',
        '{"class": "C", "fields": [["a", "double"]]}',
        '{"class": "C", "fields": [["a", {"enum": "E", "members": {"A": "x"}}]]}',
        '{"class": "C", "fields": [["a", {"enum": "E", "members": [1]}]]}',
        '{"class": 1, "fields": []}',
        '{"class": "C", "fields": [["a", ' + '{"tuple": [' * 5000 + "]}" * 5000 + "]]}",
        "\ufeff",
    ],
)
def test_what_is_no_schema(text: str) -> None:
    """It is refused with an error that shows it."""
    with pytest.raises(TopicError, match="header is damaged"):
        Schema.parse(text.encode())


def test_a_message_whose_description_is_damaged() -> None:
    """The reader gets an error that says so, not a value and not a crash."""
    with Topic("t") as topic, child(SEND_ONE) as sender:
        sender.line()
        until(topic.has_msg)
        [region] = mapped("tests.topics.only_there.Speed")
        at, length = region.words[Word.SCHEMA_AT], region.words[Word.SCHEMA_LENGTH]
        region.map[at + 4 : at + length] = b"?" * (length - 4)
        with pytest.raises(TopicError, match="header is damaged"):
            topic.recv()
        assert topic.recv() is None


SEND_ONE = """
from tests.topics.only_there import Speed
with Topic("t", Speed) as topic:
    topic.send(Speed(1.5, (1, 2))); tell(os.getpid()); heard()
"""


def mapped(name: str) -> list[Region]:
    """What this process has mapped of other processes' rings that describe such a class."""
    regions = [region for region in marks.sources if isinstance(region, Region)]
    return [region for region in regions if name in [found.record.name for found in region.schemas()]]


def test_a_class_that_nobody_has_imported_here_arrives_as_a_dict() -> None:
    """By the schema in the ring of the other process; nothing is imported because a message says so (J.1-51)."""
    with Topic("t") as topic, child(SEND_ONE) as sender:
        sender.line()
        until(topic.has_msg)
        message = topic.recv_message()

    assert message is not None
    assert message.value == {
        "$type": "tests.topics.only_there.Speed",
        "value": {"metres_per_second": 1.5, "gear": (1, 2)},
    }
    assert "tests.topics.only_there" not in sys.modules


def test_a_reader_that_comes_late_and_one_that_reads_after_the_end() -> None:
    """The description is there as long as the messages are."""
    with child(SEND_ONE) as sender:
        sender.line()
        with Topic("t") as late:
            until(lambda: late.latest() is not None)
            assert late.latest()["value"]["metres_per_second"] == 1.5
            sender.go()
            assert sender.end() == 0
            assert late.latest()["value"]["metres_per_second"] == 1.5


def test_classes_met_later_are_described_before_their_first_message() -> None:
    """A sender that goes on to classes it did not send at first, in a ring that is read already and grows for them."""
    program = """
    import attrs
    def made(index):
        fields = {f"field{n}": attrs.field(type=float, default=float(n)) for n in range(50)}
        kind = attrs.make_class(f"Made{index}", fields)
        kind.__module__ = "__main__"
        globals()[kind.__name__] = kind
        return kind
    with Topic("t") as topic:
        for index in range(30):
            topic.send(made(index)(float(index)))
            heard()
    """
    with Topic("t") as topic, child(program) as sender:
        for index in range(30):
            until(topic.has_msg)
            value = topic.recv()
            assert value["$type"] == f"__main__.Made{index}"
            assert (value["value"]["field0"], value["value"]["field49"]) == (float(index), 49.0)
            sender.go()
        assert sender.end() == 0


def test_a_mismatch_names_topic_classes_and_process() -> None:
    """The reader is told what it asked for, what came instead, and from where."""
    with Topic("t", Point) as topic, child(SEND_ONE) as sender:
        pid = sender.line()
        until(topic.has_msg)
        with pytest.raises(TopicTypeError) as caught:
            topic.recv()
        assert topic.recv() is None

    assert str(caught.value) == (
        "topic 't' was opened for tests.topics.message_classes.Point, but holds tests.topics.only_there.Speed, "
        f"sent by topic-{pid} in process {pid}"
    )


OTHER_POSE = """
import sys, types, attrs
module = types.ModuleType("tests.topics.payload_types")
sys.modules["tests.topics.payload_types"] = module
Pose = attrs.make_class("Pose", {FIELDS})
Pose.__module__, module.Pose = module.__name__, Pose
with Topic("t", Pose) as topic:
    topic.send(Pose(*ARGS)); tell(os.getpid()); heard()
"""


@pytest.mark.parametrize(
    ("fields", "args", "reason"),
    [
        ('"heading": attrs.field(type=float)', "(1.5,)", "Pose needs a field 'x', which the message lacks"),
        ('"x": attrs.field(type=str)', '("a",)', "x is str there and float here"),
    ],
)
def test_the_same_name_with_other_fields(fields: str, args: str, reason: str) -> None:
    """The error names the topic, the process, the field and what both sides have."""
    program = OTHER_POSE.replace("FIELDS", fields).replace("ARGS", args)
    with Topic("t", payload_types.Pose) as topic, child(program) as sender:
        pid = sender.line()
        until(topic.has_msg)
        with pytest.raises(SchemaMismatchError) as caught:
            topic.recv()
        assert topic.recv() is None

    error = str(caught.value)
    assert error.startswith(f"topic 't', sent by topic-{pid} in process {pid}: tests.topics.payload_types.Pose is not")
    assert reason in error
    assert error.endswith("here it has x: float, heading: float")
    assert isinstance(caught.value, TopicTypeError)


def test_the_same_name_in_a_general_message() -> None:
    """A message that did not travel packed is told of in the same way."""
    program = OTHER_POSE.replace("FIELDS", '"heading": attrs.field(type=float)').replace("ARGS", "(1,)")
    with Topic("t", payload_types.Pose) as topic, child(program) as sender:
        pid = sender.line()
        until(topic.has_msg)
        with pytest.raises(SchemaMismatchError, match=f"topic 't', sent by topic-{pid} in process {pid}: .*field 'x'"):
            topic.recv()


def test_a_forked_child_describes_nothing_in_its_parents_ring() -> None:
    """Old handles refuse, also for a class that is new to them; a new one has a ring of its own."""
    program = """
    from horus_async.errors import TopicError
    from horus_async.messages import CmdVel, Pose
    topic, unused = Topic("t"), Topic("t")
    topic.send(CmdVel(1.5, 2.5))
    if os.fork() == 0:
        refused = 0
        for value in (CmdVel(1.0, 2.0), Pose()):
            try:
                topic.send(value)
            except TopicError:
                refused += 1
        with Topic("t") as mine:
            mine.send({"refused": refused})
            mine.send(CmdVel(3.5, 4.5))
        os._exit(0)
    os.wait()
    topic.send(CmdVel(5.5, 6.5))
    tell(os.getpid())
    heard()
    """
    with Topic("t") as topic, child(program) as sender:
        pid = int(sender.line())
        found = values(topic, 4)
        rings = json.loads(CliRunner().invoke(main, ["topic", "info", "t", "--json"]).stdout)["rings"]

    assert found == [CmdVel(1.5, 2.5), {"refused": 2}, CmdVel(3.5, 4.5), CmdVel(5.5, 6.5)]
    [described] = [ring["schemas"] for ring in rings if ring["pid"] == pid]
    assert [one["class"] for one in described] == ["horus_async.messages.CmdVel"]


def test_info_shows_the_types() -> None:
    """Each class that was sent, with its fields and their types, packed or not."""
    with Topic("t") as topic:
        for value in (Twist(), Tree(), {"a": 1}):
            topic.send(value)
        shown = CliRunner().invoke(main, ["topic", "info", "t"]).stdout
        [ring] = json.loads(CliRunner().invoke(main, ["topic", "info", "t", "--json"]).stdout)["rings"]
        listed = json.loads(CliRunner().invoke(main, ["topic", "list", "--json"]).stdout)

    vector = "horus_async.messages.Vector3"
    assert f"type      horus_async.messages.Twist: linear: {vector}, angular: {vector}\n" in shown
    assert "type      tests.topics.message_classes.Tree: value: float, left: Tree | None\n" in shown
    assert ring["schemas"] == [orjson.loads(schema_of(kind).text) for kind in (Twist, Tree)]
    assert listed[0]["schemas"] == ring["schemas"]


def test_echo_prints_packed_messages_of_another_process() -> None:
    """As recordings have them, though the command has never heard of the class."""
    command = [sys.executable, "-m", "horus_async", "topic", "echo", "t", "-n", "1"]
    value = Drive(1.5, gear=Gear.FIRST, loose=[0.5])
    with Topic("t", Drive) as topic, subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE) as echo:
        while echo.poll() is None:
            topic.send(value)
            topic.recv()
        assert echo.stdout is not None
        shown = json.loads(echo.stdout.read())

    assert shown["publisher"] == f"topic-{os.getpid()}"
    assert shown["value"]["$type"] == "tests.topics.message_classes.Drive"
    assert shown["value"]["value"]["speed"] == 1.5
    assert shown["value"]["value"]["gear"] == {"$type": "tests.topics.message_classes.Gear", "value": "FIRST"}


def test_a_ring_of_another_release_without_schemas() -> None:
    """Its words are 0: there is nothing to know, and nothing wrong."""
    writer = new_writer()

    assert writer.region.schemas() == []
    assert writer.region.words[Word.SCHEMA_AT] == 0
    assert writer.data_at > PUBLISHERS_AT


def test_the_order_of_fields_is_part_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that changed places are read by their names."""
    made: Any = attrs.make_class("Point", {"y": attrs.field(type=float), "x": attrs.field(type=float)})
    made.__module__ = Point.__module__
    form = form_of(Point)
    assert form is not None
    assert form.pack is not None
    packed = form.pack(Point(1.5, 2.5))
    assert packed is not None
    monkeypatch.setattr(message_classes, "Point", made)

    arrived: Any = decode(packed)

    assert type(arrived) is made
    assert (arrived.x, arrived.y) == (1.5, 2.5)


def test_a_schema_stays_what_it_is_when_types_are_resolved() -> None:
    """Others may have the types of a class resolved, as cattrs does; its schema is the same in all processes."""
    program = """
    import attrs
    from horus_async.messages import Path, Detection2D
    from horus_async.topics.packed.packed import form_of
    for kind in (Path, Detection2D):
        if sys.argv[1] == "resolved":
            attrs.resolve_types(kind)
        tell(form_of(kind).schema.text.decode())
    """
    told = []
    for how in ("written", "resolved"):
        with child(program, how) as process:
            told.append([process.line(), process.line()])
    assert told[0] == told[1]
    assert "list[" in told[0][0]
