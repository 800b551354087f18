"""``examples/lidar_mapping.py`` from the command line, on a small log and, where it is there, on a real robot's."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from horus_async.recorder import Session, open_session
from horus_async.recorder.exports.export import ExportFormat, export_session
from horus_async.recorder.imports.importing import import_file
from horus_async.recorder.messages import RecordedMessage, session_messages

from .programs import EXAMPLES, LIDAR_AHEAD_M, ROOT, WALL_M, WIDTH_M, horus, write_log

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = EXAMPLES / "lidar_mapping.py"
REAL_LOG = ROOT.parent / "shared" / "data" / "mines_exp2.dat"
TOPICS = 6
"""Messages a scan: encoders, scan, pose, frames, map.update, cmd."""
ONCE = 1
"""Where the lidar is on the robot."""


def _record(folder: Path, log: Path, *options: str, name: str = "drive", **env: str) -> Session:
    done = horus("run", *options, "--record", name, EXAMPLE, "--", log, "--map", "map.png", cwd=folder, **env)
    assert done.returncode == 0, done.stderr
    return open_session(name)


def _sent(session: Session, node: str) -> list[tuple[int, int, dict[str, Any]]]:
    """Tick, stamp and data of all that a node sent, without frames."""
    outputs = (output for output in session.outputs(node) if not output.topic.startswith("frames"))
    return [(output.tick, output.stamp_ns, output.data) for output in outputs]


def _pixels(png: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The picture in an 8 bit grey PNG without filters, with all its checksums checked."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        at += 12 + length
    assert at == len(png)
    width, height, *mode = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert mode == [8, 0, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_each_scan_is_sent_at_its_own_stamp(tmp_path: Path) -> None:
    """The log's uneven stamps are kept to the nanosecond, every node gets each scan, and the run ends by itself."""
    scans = write_log(tmp_path / "log.dat")
    session = _record(tmp_path, tmp_path / "log.dat", "--deterministic")

    driven = _sent(session, "driver")
    assert [stamp for _, stamp, _ in driven] == [1000 * stamp for stamp, _ in scans for _ in ("encoders", "scan")]
    for node in ("odometry", "mapper", "guard"):
        assert [stamp for _, stamp, _ in _sent(session, node)] == [1000 * stamp for stamp, _ in scans]


def test_the_odometry_and_the_guard_see_what_there_is(tmp_path: Path) -> None:
    """The robot ends where it was driven to, and the guard stops it when the wall is near, not before."""
    scans = write_log(tmp_path / "log.dat")
    session = _record(tmp_path, tmp_path / "log.dat", "--deterministic")

    pose = _sent(session, "odometry")[-1][2]
    assert pose["x"] == pytest.approx(WALL_M - LIDAR_AHEAD_M - scans[-1][1], abs=0.001)
    assert (pose["y"], pose["theta"]) == (0.0, 0.0)
    commands = [command for _, _, command in _sent(session, "guard")]
    assert [command["stop"] for command in commands] == [ahead < 0.55 for _, ahead in scans]
    assert {command["stop"] for command in commands} == {False, True}


def test_an_export_shows_the_scan_in_its_frame(tmp_path: Path) -> None:
    """Viewers find a scan of ROS's kind, and its frame is connected to the root at the time of each scan."""
    scans = write_log(tmp_path / "log.dat")
    session = _record(tmp_path, tmp_path / "log.dat", "--deterministic")
    export_session(session, tmp_path / "drive.mcap", ExportFormat.MCAP, topics=["scan", "frames", "frames.static"])
    edges, found = {}, []
    with AnyReader([tmp_path / "drive.mcap"]) as reader:
        for connection, _, raw in reader.messages():
            message: Any = reader.deserialize(raw, connection.msgtype)
            if connection.topic == "/scan":
                found.append(message)
                assert connection.msgtype == "sensor_msgs/msg/LaserScan"
            else:
                (edge,) = message.transforms
                key = connection.topic, edge.child_frame_id, (edge.header.stamp.sec, edge.header.stamp.nanosec)
                edges[key] = edge.header.frame_id
    assert len(found) == len(scans)
    for scan in found:
        assert scan.header.frame_id == "laser"
        assert edges["/tf_static", "laser", (0, 0)] == "base_link"
        assert edges["/tf", "base_link", (scan.header.stamp.sec, scan.header.stamp.nanosec)] == "odom"
    import_file(tmp_path / "drive.mcap", "again")
    assert [output.data for output in open_session("again").outputs("odometry")] == [
        output.data for output in session.outputs("odometry") if output.topic.startswith("frames")
    ]


def test_the_map_shows_the_corridor(tmp_path: Path) -> None:
    """Dark where the walls are, light where the robot drove, grey behind the wall."""
    write_log(tmp_path / "log.dat")
    _record(tmp_path, tmp_path / "log.dat", "--deterministic")
    picture = _pixels((tmp_path / "map.png").read_bytes())

    def at(x: float, y: float) -> int:
        middle = len(picture) // 2
        return int(picture[middle - 1 - int(np.floor(y / 0.05)), middle + int(np.floor(x / 0.05))])

    assert at(1.0, 0.0) > 150
    assert at(WALL_M + 0.5, 0.0) == 128
    assert min(at(WALL_M, 0.0), at(WALL_M - 0.025, 0.0)) < 64
    assert min(at(1.0, WIDTH_M / 2), at(1.0, WIDTH_M / 2 - 0.025)) < 64


def test_verify_compares_every_message_and_finds_a_changed_constant(tmp_path: Path) -> None:
    """J.1-15: unchanged code passes with exit 0; a changed constant is named with tick, node, topic and field, exit 1.

    Nothing is run or written for it: no map appears.
    """
    scans = write_log(tmp_path / "log.dat")
    session = _record(tmp_path, tmp_path / "log.dat", "--deterministic")
    (tmp_path / "map.png").unlink()
    changed, count = re.subn(
        r"^STOP_DISTANCE_M = .*$", "STOP_DISTANCE_M = 0.8", EXAMPLE.read_text(), flags=re.MULTILINE
    )
    assert count == 1
    (tmp_path / "changed.py").write_text(changed)
    verify = ("replay", "drive", "--speed", "max", "--verify")

    same = horus(*verify, EXAMPLE, "--", "log.dat", cwd=tmp_path)
    other = horus(*verify, "changed.py", "--", "log.dat", cwd=tmp_path)

    assert (same.returncode, same.stdout) == (0, f"compared {TOPICS * len(scans) + ONCE} messages, 0 differ\n")
    now_stopped = [n for n, (_, ahead) in enumerate(scans) if 0.55 <= ahead < 0.8]
    tick = _sent(session, "guard")[now_stopped[0]][0]
    assert other.returncode == 1
    assert f"compared {TOPICS * len(scans) + ONCE} messages, {len(now_stopped)} differ" in other.stdout
    assert f"tick {tick}, node guard, topic cmd, field stop: recorded False, live True" in other.stdout
    assert not (tmp_path / "map.png").exists()


def test_the_recording_is_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    """J.1-34: apart from header and times of day, each file holds the same bytes under PYTHONHASHSEED 0, 1, random."""
    write_log(tmp_path / "log.dat")
    found = []
    for run, seed in enumerate(("0", "1", "random")):
        session = _record(tmp_path, tmp_path / "log.dat", "--deterministic", name=f"run{run}", PYTHONHASHSEED=seed)
        found.append({file.path.name.partition("@")[0]: _body(file.path) for file in session.all_files()})

    assert sorted(found[0]) == ["driver", "guard", "mapper", "odometry", "scheduler"]
    assert found[0] == found[1] == found[2]


def _body(path: Path) -> bytes:
    """A file's lines without the header, and without when it ended."""
    import lz4.frame

    with lz4.frame.open(path) as file:
        header, *lines = file.read().splitlines()
    assert header.startswith(b'{"kind":"header"')
    return b"\n".join(re.sub(rb'"ended_at":"[^"]*"', b"", line) for line in lines)


def test_without_a_log_it_drives_along_a_corridor(tmp_path: Path) -> None:
    """Whoever has no log can run it as it stands: a map of the corridor, a stop before its end, and it verifies."""
    command = ("run", "--deterministic", "--record", "corridor", EXAMPLE, "--", "--map", "map.png")
    done = horus(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("60 scans mapped")
    session = open_session("corridor")
    pose = _sent(session, "odometry")[-1][2]
    assert pose["x"] == pytest.approx(59 * 0.05, abs=0.001)
    stops = [command["stop"] for _, _, command in _sent(session, "guard")]
    assert stops == sorted(stops)  # once it has stopped, it is not told to go on
    assert 0 < sum(stops) < len(stops)
    picture = _pixels((tmp_path / "map.png").read_bytes())
    middle = len(picture) // 2
    assert picture[middle, middle + 20] > 150  # free, 1 m ahead
    assert picture[middle - 20 : middle - 18, middle + 20].min() < 64  # the wall to the left
    verified = horus("replay", "corridor", "--speed", "max", "--verify", EXAMPLE, cwd=tmp_path)
    assert (verified.returncode, verified.stdout) == (0, f"compared {TOPICS * 60 + ONCE} messages, 0 differ\n")


def test_in_real_time_every_scan_is_handled_too(tmp_path: Path) -> None:
    """However late the machine is, no scan is left out, and the run ends by itself."""
    scans = write_log(tmp_path / "log.dat", 12, seconds=0.4)
    session = _record(tmp_path, tmp_path / "log.dat")

    for node in ("odometry", "mapper", "guard"):
        assert len(_sent(session, node)) == len(scans)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no.dat is not a log"),
        ("", "no.dat has no scans"),
        ("1 2 3\n", "no.dat, line 1: 3 columns, at least 706 are needed"),
        (" ".join(["x"] * 707), "no.dat is not a log"),
    ],
    ids=["missing", "empty", "short", "words"],
)
def test_a_bad_log_is_one_clear_line(tmp_path: Path, text: str | None, says: str) -> None:
    """The line names the file and what is wrong with it; exit 2, running or verifying."""
    if text is not None:
        (tmp_path / "no.dat").write_text(text)
    done = horus("run", EXAMPLE, "--", "no.dat", cwd=tmp_path)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


@pytest.mark.skipif(not REAL_LOG.is_file(), reason="the real robot's log is not on this machine")
def test_a_real_robots_log(tmp_path: Path) -> None:
    """All 641 scans of a real drive are mapped, and a verification compares each message and finds none different."""
    session = _record(tmp_path, REAL_LOG, "--deterministic")
    verified = horus("replay", "drive", "--speed", "max", "--verify", EXAMPLE, "--", REAL_LOG, cwd=tmp_path)

    assert len(_sent(session, "mapper")) == 641
    assert (verified.returncode, verified.stdout) == (0, f"compared {641 * TOPICS + ONCE} messages, 0 differ\n")


@pytest.mark.skipif(not REAL_LOG.is_file(), reason="the real robot's log is not on this machine")
def test_a_real_robots_log_comes_back_from_mcap(tmp_path: Path) -> None:
    """Every message of the drive, exported and imported, is the same; rosbags reads each scan that was sent."""
    session = _record(tmp_path, REAL_LOG, "--deterministic")
    export_session(session, tmp_path / "drive.mcap", ExportFormat.MCAP)
    found = import_file(tmp_path / "drive.mcap", "again", tick_rate=session.tick_rate)
    assert (found.notes, found.missing) == ([], 0)
    before, after = (sorted(session_messages(one), key=_identity) for one in (session, open_session("again")))
    assert [(*_identity(message), message.data) for message in before] == [
        (*_identity(message), message.data) for message in after
    ]

    export_session(session, tmp_path / "scans.mcap", ExportFormat.MCAP, topics=["scan", "frames", "frames.static"])
    scans = iter([message.value for message in session_messages(session, ["scan"])])
    with AnyReader([tmp_path / "scans.mcap"]) as reader:
        for connection, _, raw in reader.messages():
            message: Any = reader.deserialize(raw, connection.msgtype)
            if connection.topic == "/scan":
                assert np.array_equal(message.ranges, next(scans).ranges)
    assert next(scans, None) is None


def _identity(message: RecordedMessage) -> tuple[Any, ...]:
    """What names a message, and when it was sent."""
    return message.publisher, message.topic, message.seq, message.stamp_ns
