"""``record import``: what others recorded, as a session."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Bag1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Bag2Writer
from rosbags.typesys import Stores, get_typestore

from horus_async import Node, Scheduler, tick
from horus_async.recorder import Session, open_session
from horus_async.topics.codec import decode

from .sessions import call, call_json, make, outsider, robot
from .test_export import RICH

if TYPE_CHECKING:
    from pathlib import Path

    from rosbags.typesys.store import Typestore

START_NS = 1_700_000_000_000_000_000
SCAN = "sensor_msgs/msg/LaserScan"


def scan_message(store: Typestore, number: int, *, ros1: bool = False) -> Any:
    """A laser scan with some ranges."""
    types = store.types
    time = types["builtin_interfaces/msg/Time"](sec=number, nanosec=5)
    header_fields: dict[str, Any] = {"stamp": time, "frame_id": "laser"}
    if ros1:
        header_fields["seq"] = number
    return types[SCAN](
        header=types["std_msgs/msg/Header"](**header_fields),
        angle_min=-1.0,
        angle_max=1.0,
        angle_increment=0.5,
        time_increment=0.0,
        scan_time=0.1,
        range_min=0.0,
        range_max=9.0,
        ranges=np.arange(5, dtype=np.float32) + number,
        intensities=np.zeros(0, dtype=np.float32),
    )


def ros2_bag(path: Path, count: int = 20, storage: StoragePlugin = StoragePlugin.SQLITE3) -> Path:
    """A ROS 2 bag of scans at 10 Hz and a few words."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Bag2Writer(path, version=9, storage_plugin=storage) as writer:
        scans = writer.add_connection("/scan", SCAN, typestore=store)
        words = writer.add_connection("/say it", "std_msgs/msg/String", typestore=store)
        for number in range(count):
            stamp = START_NS + number * 100_000_000
            writer.write(scans, stamp, store.serialize_cdr(scan_message(store, number), SCAN))
        word = store.types["std_msgs/msg/String"](data="go")
        writer.write(words, START_NS + 50_000_000, store.serialize_cdr(word, "std_msgs/msg/String"))
    return path


def ros1_bag(path: Path) -> Path:
    """A ROS 1 bag of scans by two publishers."""
    store = get_typestore(Stores.ROS1_NOETIC)
    with Bag1Writer(path) as writer:
        for name in ("/front", "/rear"):
            connection = writer.add_connection(f"{name}/scan", SCAN, typestore=store, callerid=f"{name}_lidar")
            for number in range(10):
                data = store.serialize_ros1(scan_message(store, number, ros1=True), SCAN)
                writer.write(connection, START_NS + number * 100_000_000, data)
    return path


def cdr_mcap(path: Path, count: int, *, finish: bool = True) -> Path:
    """An MCAP file of CDR messages on two topics, as a ROS 2 robot writes it."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    definition, _ = store.generate_msgdef(SCAN, ros_version=2)
    with path.open("wb") as stream:
        writer: Any = McapWriter(stream, chunk_size=20_000)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema(name=SCAN, encoding="ros2msg", data=definition.encode())
        channels = [
            writer.register_channel(topic=topic, message_encoding="cdr", schema_id=schema) for topic in ("/a", "/b")
        ]
        for number in range(count):
            stamp = START_NS + number * 1_000_000
            data = bytes(store.serialize_cdr(scan_message(store, number), SCAN))
            writer.add_message(channels[number % 2], stamp, data, stamp, number)
        if finish:
            writer.finish()
    return path


def values(session: Session, topic: str) -> list[tuple[int, int, Any]]:
    """Tick, stamp and value of each message of a topic."""
    return [
        (sent.tick, sent.stamp_ns, decode(sent.payload))
        for node in session.nodes
        for line in session.executions(node)
        for sent in getattr(line, "outputs", ())
        if sent.topic == topic
    ]


def test_not_one_of_8000_cdr_messages_is_lost(recordings_dir: Path, tmp_path: Path) -> None:
    """8,000 CDR messages of an MCAP file become 8,000 messages of dicts and arrays, each with its stamp."""
    path = cdr_mcap(tmp_path / "nav.mcap", 8000)
    found = call_json("import", path, "--name", "nav")
    assert (found["messages"], found["ticks"], found["topics"]) == (8000, 8000, {"a": 4000, "b": 4000})
    session = open_session("nav")
    for topic, first in (("a", 0), ("b", 1)):
        messages = values(session, topic)
        assert [stamp for _, stamp, _ in messages] == [START_NS + n * 1_000_000 for n in range(first, 8000, 2)]
        assert [value["header"]["stamp"]["sec"] for _, _, value in messages] == [*range(first, 8000, 2)]
    _, _, value = values(session, "b")[1000]
    assert value["header"]["frame_id"] == "laser"
    assert value["ranges"].dtype == np.float32
    assert value["ranges"].tolist() == [2001.0, 2002.0, 2003.0, 2004.0, 2005.0]
    assert call_json("check", "nav")["verdict"] == "whole"
    assert call_json("info", "nav")["messages"] == 8000


@pytest.mark.parametrize("storage", [*StoragePlugin])
@pytest.mark.parametrize("folder", [True, False])
def test_ros2_bag_with_a_tick_rate(
    recordings_dir: Path, tmp_path: Path, storage: StoragePlugin, *, folder: bool
) -> None:
    """With a tick rate each message belongs to the first tick at or after its stamp, on a regular clock."""
    path = ros2_bag(tmp_path / "bag", storage=storage)
    if not folder:
        (path,) = [file for file in path.iterdir() if file.suffix in {".db3", ".mcap"}]
    result = call("import", path, "--name", "bag", "--tick-rate", "25")
    assert result.exit_code == 0, result.output
    assert "topic /say it is say_it here" in result.output
    session = open_session("bag")
    assert (session.tick_rate, session.start_ns, list(session.nodes)) == (25.0, START_NS, ["bag"])
    assert [number for number, _, _ in values(session, "scan")] == [-(-number * 25 // 10) for number in range(20)]
    assert values(session, "say_it") == [(2, START_NS + 50_000_000, {"data": "go"})]
    ticks = list(session.scheduler_ticks())
    assert [line.tick for line in ticks] == [*range(49)]
    assert ticks[10].now_ns == START_NS + 400_000_000


def test_ros1_bag_without_a_tick_rate(recordings_dir: Path, tmp_path: Path) -> None:
    """Without a tick rate each message has a tick of its own; publishers become nodes."""
    assert call("import", ros1_bag(tmp_path / "old.bag"), "--name", "old").exit_code == 0
    session = open_session("old")
    assert sorted(session.nodes) == ["front_lidar", "rear_lidar"]
    assert session.last_tick == 19
    front = values(session, "front/scan")
    assert len(front) == 10
    assert front[3][2]["ranges"].tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert front[3][1] == START_NS + 300_000_000
    assert front[3][2]["header"]["seq"] == 3


@pytest.mark.parametrize("rate", [(), ("--tick-rate", "50")])
def test_imported_session_replays_into_a_live_node(recordings_dir: Path, tmp_path: Path, rate: tuple[str, ...]) -> None:
    """A user's node hears every imported message in a replay, with its stamp and publisher."""
    assert call("import", cdr_mcap(tmp_path / "x.mcap", 200), "--name", "x", *rate).exit_code == 0
    heard: list[tuple[str, str, int, float]] = []

    async def listen(node: Node) -> None:
        while (message := node.recv_message("a")) is not None:
            heard.append((message.topic, message.publisher, message.stamp_ns, message.value["ranges"][0]))

    replayed = Scheduler.replay_from("x").set_replay_speed(float("inf"))
    replayed.add(Node("live", tick=listen, subs=["a"])).run_sync()
    assert heard == [("a", "bag", START_NS + n * 1_000_000, float(n)) for n in range(0, 200, 2)]


def test_imported_node_plays_among_live_ones(recordings_dir: Path, tmp_path: Path) -> None:
    """``add_replay`` lets an imported node play in a live run, and the run can be recorded and compared."""
    assert call("import", ros2_bag(tmp_path / "bag"), "--name", "bag", "--tick-rate", "100").exit_code == 0

    async def answer(node: Node) -> None:
        for scan in node.recv_all("scan"):
            node.send("nearest", {"m": float(scan["ranges"].min())})

    for name in ("one", "two"):
        scheduler = Scheduler(tick_rate=100, deterministic=True, recording=name)
        scheduler.add_replay(open_session("bag").files["bag"].path)
        scheduler.add(Node("live", tick=answer, subs=["scan"], pubs=["nearest"])).run_sync(2.0)
    assert [value["m"] for _, _, value in values(open_session("one"), "nearest")] == [float(n) for n in range(20)]
    found = call_json("diff", "one", "two")
    assert (found["same"], found["topics"]["nearest"]) == (True, 20)


def test_export_and_import_give_the_same_session(recordings_dir: Path, tmp_path: Path) -> None:
    """What is exported as MCAP and imported again has the same messages at the same ticks, tags and all."""
    sent: dict[int, list[tuple[str, str, Any]]] = {
        0: [("n", "t", RICH), ("n", "number", 2.5)],
        3: [("m", "u", {"a": 1})],
        4: [("n", "t", {"$odd": 1})],
    }
    make(recordings_dir, "s", sent, ticks=5)
    assert call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap").exit_code == 0
    assert call("import", tmp_path / "s.mcap", "--name", "again", "--tick-rate", "100").exit_code == 0
    found = call_json("diff", "s", "again")
    assert (found["same"], found["compared"]) == (True, 4)


@pytest.mark.parametrize("rate", [30.0, 100.0, 333.0, 29.97])
def test_ticks_come_back_at_any_rate(recordings_dir: Path, tmp_path: Path, rate: float) -> None:
    """A run at an odd rate that is exported and imported at that rate has its messages at the same ticks."""

    def send(node: Node) -> None:
        node.send("t", {"tick": tick()})

    Scheduler(tick_rate=rate, deterministic=True, recording="s").add(Node("n", tick=send)).run_sync(10.0)
    call("export", "s", "--format", "mcap", "--output", tmp_path / "s.mcap")
    assert call("import", tmp_path / "s.mcap", "--name", "again", "--tick-rate", rate).exit_code == 0
    assert call_json("diff", "s", "again")["same"] is True
    assert [number for number, _, _ in values(open_session("again"), "t")] == [*range(math.ceil(rate * 10))]


def test_json_of_others(recordings_dir: Path, tmp_path: Path) -> None:
    """JSON messages become values; those of an unknown encoding become bytes, and a note says so."""
    with (tmp_path / "x.mcap").open("wb") as stream:
        writer: Any = McapWriter(stream)
        writer.start()
        json = writer.register_channel(topic="plain", message_encoding="json", schema_id=0)
        other = writer.register_channel(topic="other", message_encoding="protobuf", schema_id=0)
        writer.add_message(json, 10, orjson.dumps({"x": [1, 2]}), 10, 0)
        writer.add_message(other, 20, b"\x08\x01", 20, 0)
        writer.finish()
    result = call("import", tmp_path / "x.mcap", "--name", "x")
    assert result.exit_code == 0
    assert "topic other: 1 messages are bytes; the first, at 20 ns: protobuf without a schema" in result.stderr
    session = open_session("x")
    assert values(session, "plain") == [(0, 10, {"x": [1, 2]})]
    assert values(session, "other") == [(1, 20, b"\x08\x01")]


def test_cut_mcap_gives_what_is_there(recordings_dir: Path, tmp_path: Path) -> None:
    """Of an MCAP file whose writer was killed the whole chunks are imported, and a note says that it is cut."""
    path = cdr_mcap(tmp_path / "x.mcap", 1000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = call("import", path, "--name", "x")
    assert result.exit_code == 0, result.output
    assert "cut off or damaged" in result.stderr
    count = call_json("info", "x")["messages"]
    assert 300 < count < 700
    assert [value["header"]["stamp"]["sec"] for _, _, value in values(open_session("x"), "a")] == [*range(0, count, 2)]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89MCAP0\r\n", b"\x89MCAP0\r\n" + bytes(100)])
@pytest.mark.parametrize("suffix", [".mcap", ".bag", ".db3", ".txt"])
def test_garbage_is_one_line(recordings_dir: Path, tmp_path: Path, content: bytes, suffix: str) -> None:
    """A file that is none of these gives one line and exit code 2, and leaves no session behind."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    result = call("import", path, "--name", "x")
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert not (recordings_dir / "x").exists()


def test_misuse(recordings_dir: Path, tmp_path: Path) -> None:
    """A taken name, a bad name, a rate that cannot be and a file that is not there are wrong usage."""
    robot(recordings_dir, "taken", outside=[outsider(0, 1)])
    path = cdr_mcap(tmp_path / "x.mcap", 4)
    for arguments, words in (
        ((path, "--name", "taken"), "already"),
        ((path, "--name", "../x"), "session name"),
        ((path, "--name", "x", "--tick-rate", "0"), "--tick-rate"),
        ((tmp_path / "none.mcap", "--name", "x"), "there is no file"),
        ((recordings_dir / "taken", "--name", "x"), "no ROS 2 bag"),
    ):
        result = call("import", *arguments)
        assert result.exit_code == 2, result.output
        assert words in result.output
    assert [path.name for path in recordings_dir.iterdir()] == ["taken"]


@pytest.mark.parametrize(("package", "extra"), [("mcap", "[mcap]"), ("rosbags", "[bags]")])
def test_missing_extra_says_what_to_install(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    """Without an extra's package one line says what to install, with exit code 2."""
    path = cdr_mcap(tmp_path / "x.mcap", 4)
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, module, None)
    result = call("import", path, "--name", "x")
    assert result.exit_code == 2
    assert extra in result.output
    assert not (recordings_dir / "x").exists()
