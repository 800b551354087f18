"""Common messages in MCAP files: what other readers find there, and that an import gives the same session again."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer
from rosbags.highlevel import AnyReader

from horus_async import Node, Scheduler, now, now_ns, sleep
from horus_async.encodings import viewer_names
from horus_async.encodings.ros_types import CLASSES
from horus_async.encodings.shapes import shape_of
from horus_async.frames import stamped
from horus_async.messages import CmdVel, Header, Imu, JointCommand, LaserScan, Time, TransformStamped
from horus_async.recorder import open_session
from horus_async.recorder.exports import mcap_rests
from horus_async.recorder.exports.export import ExportFormat, export_session
from horus_async.recorder.imports.importing import import_file
from tests.encodings.values import KINDS, STORE, as_ros, fitting, of_shape
from tests.messages.catalogue import values

from .sessions import call, make
from .test_import_round_trip import VALUES, everything

if TYPE_CHECKING:
    from pathlib import Path

Sent = list[tuple[int, str, str, Any]]

EDGES = of_shape(shape_of(TransformStamped, edges=True))
ONE_CLASS = st.sampled_from([*KINDS.values()]).flatmap(
    lambda kind: st.lists(st.tuples(st.just(kind.__name__), fitting(kind)), min_size=1, max_size=4)
)
"""Messages of one class: CDR."""
ANY = st.sampled_from([*KINDS.values()]).flatmap(values)
MIXED = st.lists(st.tuples(st.sampled_from(["LaserScan", "mixed", "a.b", "a/b", "frames"]), VALUES | ANY), max_size=3)
"""Anything on the same topics, which then are JSON."""
FRAMES = st.lists(st.tuples(st.sampled_from(["frames", "frames.static", "tf"]), EDGES), max_size=3)


@st.composite
def sessions(draw: Any) -> Sent:
    """What nodes sent: ticks, nodes, topics, messages."""
    messages = [item for part in draw(st.lists(ONE_CLASS, min_size=1, max_size=3)) for item in part]
    messages += draw(FRAMES)
    if draw(st.booleans()):
        messages += draw(MIXED)
    where = st.tuples(st.integers(0, 9), st.sampled_from(["front", "rear/lidar", "左腕"]))
    return [(*draw(where), topic, value) for topic, value in messages]


def recorded(root: Path, sent: Sent) -> Any:
    """A session of these."""
    messages: dict[int, list[tuple[str, str, Any]]] = {}
    for tick, node, topic, value in sent:
        messages.setdefault(tick, []).append((node, topic, value))
    return make(root, "s", messages, ticks=10)


@settings(max_examples=80, deadline=None)
@given(sent=sessions(), full=st.sampled_from([1, 200, 1 << 20]))
def test_an_import_gives_the_same_session(tmp_path_factory: pytest.TempPathFactory, sent: Sent, full: int) -> None:
    """Whatever classes, forms of numbers and mixtures: the same messages, to the last byte of their text.

    However often what stands beside them is written, and a second time as well.
    """
    root = tmp_path_factory.mktemp("x")
    session = recorded(root, sent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mcap_rests, "FULL", full)
        export_session(session, root / "s.mcap", ExportFormat.MCAP)
    for name, file in (("again", "s"), ("third", "again")):
        found = import_file(root / f"{file}.mcap", name, tick_rate=100, root=root)
        assert (found.notes, found.renamed, found.missing, found.attachments) == ([], {}, 0, [])
        again = open_session(name, root)
        assert everything(again) == everything(session)
        export_session(again, root / f"{name}.mcap", ExportFormat.MCAP)
    assert channels(root / "third.mcap") == channels(root / "s.mcap")


def channels(path: Path) -> list[tuple[str, str, str, list[tuple[str, str]]]]:
    """Topic, encoding, schema and metadata of each channel."""
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    return sorted(
        (found.topic, found.message_encoding, summary.schemas[found.schema_id].name, sorted(found.metadata.items()))
        for found in summary.channels.values()
    )


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_rosbags_reads_the_whole_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Sessions of common messages are ROS 2 files: rosbags finds each message as it makes it itself."""
    root = tmp_path_factory.mktemp("x")
    kinds = data.draw(st.lists(st.sampled_from([*KINDS.values()]), min_size=1, max_size=4, unique=True))
    sent = [(tick, "n", kind.__name__, data.draw(fitting(kind))) for tick in range(2) for kind in kinds]
    export_session(recorded(root, sent), root / "s.mcap", ExportFormat.MCAP)
    expected = {
        (f"/{topic}", tick): bytes(STORE.serialize_cdr(as_ros(shape_of(KINDS[topic]), value), CLASSES[topic]))
        for tick, _, topic, value in sent
    }
    found = {}
    with AnyReader([root / "s.mcap"]) as reader:
        for connection, stamp_ns, raw in reader.messages():
            reader.deserialize(raw, connection.msgtype)
            found[connection.topic, stamp_ns // 10_000_000] = bytes(raw)
            assert connection.msgtype == CLASSES[connection.topic[1:]]
    assert found == expected


def test_frames_go_by_the_names_that_viewers_know(recordings_dir: Path, tmp_path: Path) -> None:
    """``frames`` is ``/tf``, a dot in a name is a slash, and names that would be the same stay apart."""
    edge = stamped("odom", "base", at=1.0)
    sent = [("n", "frames", edge), ("n", "frames.static", [edge, edge]), ("n", "tf", {"x": 1}), ("n", "a.b", 1)]
    session = make(recordings_dir, "s", {0: [*sent, ("n", "a/b", 2), ("n", "left-arm.cmd", CmdVel())]}, ticks=1)
    call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    assert [(topic, schema) for topic, _, schema, _ in channels(tmp_path / "s.mcap")] == [
        ("/a/b", "/a/b"),
        ("/a/b_2", "/a/b_2"),
        ("/left_arm/cmd", "geometry_msgs/msg/Twist"),
        ("/tf", "tf2_msgs/msg/TFMessage"),
        ("/tf_2", "/tf_2"),
        ("/tf_static", "tf2_msgs/msg/TFMessage"),
    ]
    import_file(tmp_path / "s.mcap", "again", tick_rate=100)
    assert everything(open_session("again")) == everything(session)
    assert len(set(viewer_names(["frames", "tf", "tf_2", "frames.static", "/x"]).values())) == 5


def test_what_does_not_fit_makes_its_topic_json_and_is_said(recordings_dir: Path, tmp_path: Path) -> None:
    """A topic has one type, so one message that its ROS 2 type cannot hold makes all of them JSON; a note names it."""
    good, bad = Imu(), Imu(orientation_covariance=[0.0] * 8)
    session = make(recordings_dir, "s", {0: [("n", "imu", good)], 1: [("n", "imu", bad)]}, ticks=2)
    found = call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    assert "topic imu, number 1 of n: sensor_msgs/msg/Imu cannot hold it" in found.stderr
    assert [row[1] for row in channels(tmp_path / "s.mcap")] == ["json"]
    import_file(tmp_path / "s.mcap", "again", tick_rate=100)
    assert everything(open_session("again")) == everything(session)


def test_classes_of_one_type_come_back_apart(recordings_dir: Path, tmp_path: Path) -> None:
    """`JointCommand` and `CmdVel` have the types of others, and the file says which class they were."""
    session = make(recordings_dir, "s", {0: [("n", "a", JointCommand(name=["j"])), ("n", "b", CmdVel(1.0))]}, ticks=1)
    call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    types = ["sensor_msgs/msg/JointState", "geometry_msgs/msg/Twist"]
    assert [row[2] for row in channels(tmp_path / "s.mcap")] == types
    import_file(tmp_path / "s.mcap", "again", tick_rate=100)
    assert everything(open_session("again")) == everything(session)


def test_what_is_the_same_in_every_message_is_written_once(recordings_dir: Path, tmp_path: Path) -> None:
    """That covariances are lists, and what float32 cannot say of an angle: a thousand messages need a line of it."""
    scans = {
        tick: [
            ("n", "imu", Imu(Header(Time(tick)))),
            ("n", "scan", LaserScan(Header(Time(tick)), angle_min=-0.1, ranges=np.ones(9, np.float32) * tick)),
        ]
        for tick in range(1000)
    }
    session = make(recordings_dir, "s", scans, ticks=1000)
    call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    with (tmp_path / "s.mcap").open("rb") as stream:
        (attachment,) = make_reader(stream).iter_attachments()
    assert len(attachment.data) < 1000
    import_file(tmp_path / "s.mcap", "again", tick_rate=100)
    assert everything(open_session("again")) == everything(session)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([3.0, 7.0, 33.3, 60.0, 100.0, 1000.0]),
    waits=st.lists(st.floats(0, 0.5), min_size=1, max_size=6),
)
def test_ticks_come_back_by_themselves(
    tmp_path_factory: pytest.TempPathFactory, rate: float, waits: list[float]
) -> None:
    """A run in virtual time comes back at its own ticks, without a word about their rate, also what came between."""
    root, turns = tmp_path_factory.mktemp("x"), itertools.cycle(waits)

    async def tick(node: Node) -> None:
        node.send("a", now())
        await sleep(next(turns))
        node.send("a", Time.from_ns(now_ns()))

    scheduler = Scheduler(tick_rate=rate, deterministic=True, recording="s", recordings_dir=root)
    scheduler.add(Node("n", tick=tick, pubs=["a"])).run_sync(duration=2.0)
    session = open_session("s", root)
    export_session(session, root / "s.mcap", ExportFormat.MCAP)
    import_file(root / "s.mcap", "again", root=root)
    again = open_session("again", root)
    before, after = everything(session), everything(again)
    assert [row[1:] for row in after] == [row[1:] for row in before]
    for old, new in zip(before, after, strict=True):
        begins = int(new[0] * 1_000_000_000 / Fraction(str(rate)))
        assert old[0] == new[0] or (old[0] == new[0] - 1 and old[1] == begins)  # at the very instant
    assert (again.tick_rate, again.start_ns) == (rate, session.start_ns)


def rewritten(source: Path, target: Path, *, attachments: bool, change: Any = None) -> None:
    """The same file, by the official library, perhaps with other data, or without attachments."""
    with source.open("rb") as stream, target.open("wb") as out:
        reader = make_reader(stream)
        writer: Any = Writer(out)
        writer.start(profile="ros2")
        numbers: dict[int, int] = {}
        for schema, channel, message in reader.iter_messages():
            assert schema is not None
            if channel.id not in numbers:
                kind = writer.register_schema(schema.name, schema.encoding, schema.data)
                numbers[channel.id] = writer.register_channel(
                    channel.topic, channel.message_encoding, kind, channel.metadata
                )
            data = change(message.data) if change else message.data
            writer.add_message(numbers[channel.id], message.log_time, data, message.log_time, message.sequence)
        for record in reader.iter_metadata():
            writer.add_metadata(record.name, record.metadata)
        if attachments:
            for attachment in reader.iter_attachments():
                writer.add_attachment(
                    attachment.log_time, attachment.create_time, attachment.name, attachment.media_type, attachment.data
                )
        writer.finish()


def test_a_file_that_lost_its_attachments_says_so(recordings_dir: Path, tmp_path: Path) -> None:
    """Tools may leave them out: then the messages are as CDR has them, and a note says that something is missing."""
    make(recordings_dir, "s", {0: [("n", "scan", LaserScan(angle_min=-0.1, ranges=[0.1, 0.2]))]}, ticks=1)
    call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    rewritten(tmp_path / "s.mcap", tmp_path / "t.mcap", attachments=False)
    found = import_file(tmp_path / "t.mcap", "t")
    assert found.notes == [
        "1 of 1 attachments horus_rest are missing: numbers and arrays of their messages are as CDR has them"
    ]
    (row,) = everything(open_session("t"))
    value = orjson.loads(row[-1])["value"]
    assert value["angle_min"] == float(np.float32(-0.1))
    assert value["ranges"]["$ndarray"]["dtype"] == "<f4"


def test_what_stands_beside_another_message_is_not_taken(recordings_dir: Path, tmp_path: Path) -> None:
    """Messages that a tool has changed do not get the old numbers back: they are bytes, with a note."""
    make(recordings_dir, "s", {0: [("n", "scan", LaserScan(angle_min=-0.1))]}, ticks=1)
    call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    old, new = np.float32(-0.1).tobytes(), np.float32(-0.7).tobytes()
    rewritten(tmp_path / "s.mcap", tmp_path / "t.mcap", attachments=True, change=lambda data: data.replace(old, new))
    found = import_file(tmp_path / "t.mcap", "t")
    assert "what is kept beside it is of another message" in found.notes[0]
