"""Recording a run: what is written, where, and what it costs the run."""

from __future__ import annotations

import json
import logging
import os
import random
import stat
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from horus_async.errors import ConfigurationError, RecordingError, SessionExistsError, SessionNameError
from horus_async.observe import Execution, External, NodeInfo, TickEnd
from horus_async.recorder import (
    ExecutionRecord,
    Fsync,
    GapRecord,
    RecordedFile,
    Recorder,
    RecordingOptions,
    RecordingState,
    list_sessions,
    open_session,
    recordings_root,
)
from horus_async.recorder.naming import file_name
from horus_async.recorder.write import writer as writer_module
from horus_async.topics.codec import as_bytes, decode, encode

from . import independent
from .runs import PERIOD_NS, accounted, execution, message, play, record, recorder, run_info, settled, tell


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a file, by the independent reader."""
    return independent.lines(path.read_bytes())


def body(path: Path) -> list[dict[str, Any]]:
    """The lines between header and footer."""
    found = lines(path)
    assert (found[0]["kind"], found[-1]["kind"]) == ("header", "footer")
    return found[1:-1]


def test_a_session_has_one_file_per_node_and_one_for_the_scheduler(tmp_path: Path) -> None:
    """J.1-1: scheduler, nodes and manifest, and nothing else."""
    paths = record(tmp_path, 3)
    assert [path.name.split("@")[0] for path in paths] == ["scheduler", "sensor", "controller"]
    assert {path.name for path in (tmp_path / "session").iterdir()} == {"session.json", *(path.name for path in paths)}
    identity = {path.name.split("@")[1].removesuffix(".jsonl.lz4") for path in paths}
    assert len(identity) == 1
    assert len(identity.pop()) >= 8
    assert [len(body(path)) for path in paths] == [3, 3, 3]


def test_everything_is_private_to_the_user(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, whatever they hold."""
    root = tmp_path / "new" / "root"
    paths = record(root, 3)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths[0].parent.iterdir()} == {0o600}


def test_stop_gives_the_same_paths_before_and_after_the_end(tmp_path: Path) -> None:
    """J.1-3: stopped in mid-run, after the run, or twice: the same list, and no line after the stop."""
    early = recorder(tmp_path, "early")
    early.run_started(run_info())
    play(early, range(5), random.Random(1))
    stopped = early.stop()
    play(early, range(5, 9), random.Random(1))
    early.run_stopped("duration", 9)
    assert early.stop() == stopped
    assert len(body(stopped[0])) == 5
    late = recorder(tmp_path, "late")
    late.run_started(run_info())
    late.run_stopped("duration", 0)
    assert [path.name.split("@")[0] for path in late.stop()] == [path.name.split("@")[0] for path in stopped]
    assert recorder(tmp_path, "never").stop() == []


def test_each_message_is_recorded_once_in_order(tmp_path: Path) -> None:
    """J.1-4: what was sent in a tick is there, in order, once; silent ticks have a line without outputs."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    sent = [message("sensor", "sensor.reading", tick, {"n": n}, seq=3 * tick + n) for tick in (0, 2) for n in range(3)]
    tell(observer, execution("sensor", 0), sent[:3])
    observer.executed(execution("sensor", 1))
    tell(observer, execution("sensor", 2), sent[3:])
    observer.run_stopped("duration", 3)
    session = open_session("session", tmp_path)
    executions = [line for line in session.executions("sensor") if isinstance(line, ExecutionRecord)]
    assert [[output.seq for output in line.outputs] for line in executions] == [[0, 1, 2], [], [6, 7, 8]]
    assert [line.tick for line in executions] == [0, 1, 2]
    assert [output.payload for line in executions for output in line.outputs] == [message.payload for message in sent]


@pytest.mark.parametrize("value", [b"\x00" * 100_000, "text" * 50_000, float("nan")], ids=["bytes", "text", "nan"])
def test_large_and_tagged_messages_are_recorded_by_value(tmp_path: Path, value: Any) -> None:
    """J.1-8: what the writer's thread turns into a line is as exact as what the event loop's does."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    sent = message("sensor", "sensor.reading", 0, None)._replace(payload=as_bytes(encode(value)))
    tell(observer, execution("sensor", 0), [sent])
    observer.tick_ended(TickEnd(0, 0, ["sensor"]))
    observer.run_stopped("duration", 1)
    (line,) = open_session("session", tmp_path).executions("sensor")
    assert isinstance(line, ExecutionRecord)
    assert repr(decode(line.outputs[0].payload)) == repr(value)


def test_lines_are_the_same_in_every_run(tmp_path: Path) -> None:
    """J.1-6: two runs of the same program give the same lines, apart from header and footer."""
    texts = []
    for name in ("a", "b"):
        paths = record(tmp_path, 50, name)
        raw = [b"".join(text for _, text in independent.frames(path.read_bytes())).splitlines() for path in paths]
        texts.append([file[1:-1] for file in raw])
    assert texts[0] == texts[1]


def test_header_footer_and_manifest(tmp_path: Path) -> None:
    """Header, footer and manifest say what the run was, in ISO 8601 UTC."""
    paths = record(tmp_path, 4)
    header, footer = lines(paths[1])[0], lines(paths[1])[-1]
    assert header["schema_version"] == 1
    assert (header["session"], header["node"], header["tick_rate"]) == ("session", "sensor", 100.0)
    assert (header["seed"], header["deterministic"], header["start_ns"]) == (7, True, 0)
    assert header["started_at"] == "2026-11-21T03:00:00.123Z"
    assert header["pubs"] == ["sensor.reading"]
    assert {"horus_version", "python", "platform", "rate", "on", "subs", "order", "compute"} <= header.keys()
    counts = {key: footer[key] for key in ("ticks", "inputs", "outputs", "dropped")}
    assert counts == {"ticks": 4, "inputs": 0, "outputs": 4, "dropped": 0}
    assert footer["ended_at"].endswith("Z")
    manifest = json.loads((tmp_path / "session" / "session.json").read_text())
    assert manifest["scheduler"] == paths[0].name
    assert manifest["nodes"] == {"sensor": paths[1].name, "controller": paths[2].name}
    assert manifest["external"] is None
    assert manifest["ended_at"] is not None
    assert manifest["schema_version"] == 1


def test_messages_from_outside_have_a_file_of_their_own(tmp_path: Path) -> None:
    """The external file comes with the first message; one that is no JSON is a gap, not a broken line."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    observer.received_external(External(0, "t", "p", 1, 5, b'{"a":1}'))
    observer.received_external(External(1, "t", "p", 2, 6, b'"}broken'))
    observer.received_external(External(2, "t", "p", 3, 7, b"2"))
    observer.run_stopped("duration", 3)
    path = observer.stop()[-1]
    assert path.name.startswith("external@")
    found = body(path)
    assert [(line["kind"], line["tick"]) for line in found] == [("message", 0), ("gap", 1), ("message", 2)]
    assert found[0] == {
        "kind": "message", "tick": 0, "topic": "t", "publisher": "p", "seq": 1, "stamp_ns": 5, "data": {"a": 1},
    }  # fmt: skip
    session = open_session("session", tmp_path)
    assert [message.seq for message in session.external()] == [1, 3]
    assert observer.stats().dropped == found[1]["dropped"] == 1


def test_a_node_that_joins_gets_a_file(tmp_path: Path) -> None:
    """Nodes that were announced later, and even unannounced ones, are recorded."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    observer.node_added(NodeInfo("late", 10.0))
    observer.executed(execution("late", 0))
    observer.executed(execution("surprise", 0))
    observer.run_stopped("duration", 1)
    session = open_session("session", tmp_path)
    assert list(session.nodes) == ["sensor", "controller", "late", "surprise"]
    assert session.nodes["late"].rate == 10.0
    assert all(len(list(session.executions(node))) == 1 for node in ("late", "surprise"))


def test_the_stats_count(tmp_path: Path) -> None:
    """Messages are the nodes' outputs and bytes those of the files; the state follows the recording."""
    observer = recorder(tmp_path)
    assert observer.stats().state is RecordingState.OFF
    observer.run_started(run_info())
    assert observer.stats().state is RecordingState.ON
    play(observer, range(10), random.Random(1))
    observer.run_stopped("duration", 10)
    stats = observer.stats()
    assert (stats.state, stats.messages, stats.dropped) == (RecordingState.OFF, 20, 0)
    indexes = sum(path.stat().st_size for path in observer.stop())
    assert stats.bytes == indexes


def test_names_are_made_safe(tmp_path: Path) -> None:
    """J.1-11: no node name becomes a path or takes another file's place, and all names are kept apart."""
    names = ["../../etc/passwd", "a/b", "a,b", ".hidden", "scheduler", "external", "x" * 255, "ü ß", "a%2Fb", "."]
    nodes = tuple(NodeInfo(name, None) for name in names)
    observer = recorder(tmp_path)
    observer.run_started(run_info(nodes))
    observer.run_stopped("duration", 0)
    paths = observer.stop()
    assert len({path.name for path in paths}) == len(names) + 1
    assert all(path.parent == tmp_path / "session" and path.is_file() for path in paths)
    assert list(open_session("session", tmp_path).nodes) == names
    assert file_name("arm/joint", "id") == "arm,joint@id.jsonl.lz4"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a..b", "a b", "x" * 256, "ü", "a\n"])
def test_bad_session_names_are_refused(name: str) -> None:
    """J.1-11: a session name is a folder name and nothing else."""
    with pytest.raises(SessionNameError, match="session name"):
        RecordingOptions(name=name)


def test_an_existing_session_is_refused(tmp_path: Path) -> None:
    """A session is never written into by another run, and stays as it is."""
    paths = record(tmp_path, 3)
    before = [path.read_bytes() for path in paths]
    with pytest.raises(SessionExistsError, match="'session'"):
        recorder(tmp_path).run_started(run_info())
    assert [path.read_bytes() for path in paths] == before


def test_a_recording_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """A file in the root's place is an error of ours, and nothing is left behind."""
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        observer = recorder(root)
        with pytest.raises(RecordingError, match="cannot record into"):
            observer.run_started(run_info())
        assert observer.stop() == []


@pytest.mark.parametrize(
    "options", [{"interval": 0}, {"interval": float("nan")}, {"memory_mb": 0}, {"memory_mb": True}, {"fsync": "off"}]
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """Options that cannot work are named."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RecordingOptions(**options)


def test_the_default_name_tells_time_and_process(tmp_path: Path) -> None:
    """Without a name the session is called after its start and its process."""
    observer = recorder(tmp_path, None)
    observer.run_started(run_info())
    observer.stop()
    assert observer.session == f"recording_20261121T030000.123_p{os.getpid()}"


def test_default_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over the environment, that over the platform's folder."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path / "env"))
    assert recordings_root() == tmp_path / "env"
    assert recordings_root("~/x") == Path.home() / "x"
    monkeypatch.delenv("HORUS_RECORDINGS_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if os.uname().sysname == "Linux":
        assert recordings_root() == tmp_path / "data" / "horus" / "recordings"


def test_too_much_for_the_memory_is_dropped_and_counted(tmp_path: Path) -> None:
    """In real time what does not fit is dropped: gaps, footers and stats agree to the message, and order is kept."""
    observer = recorder(tmp_path, block=False, memory_mb=0.05, interval=60)
    observer.run_started(run_info(deterministic=False))
    rounds, ticks = 20, 200
    for turn in range(rounds):
        play(observer, range(turn * ticks, (turn + 1) * ticks), random.Random(turn))
        settled(observer)
    observer.run_stopped("duration", rounds * ticks)
    session = open_session("session", tmp_path)
    assert accounted(session, rounds * ticks) == observer.stats().dropped > 0
    for file in session.all_files():
        records = list(file.records())[:-1]
        for before, gap, after in zip(records, records[1:], records[2:], strict=False):
            if isinstance(gap, GapRecord):
                assert not isinstance(before, GapRecord)
                assert before.tick <= gap.tick <= after.tick  # type: ignore[union-attr,operator]


def test_nothing_is_dropped_in_deterministic_mode(tmp_path: Path) -> None:
    """With little memory the run waits, and every line is there."""
    observer = recorder(tmp_path, memory_mb=0.05, interval=0.001)
    observer.run_started(run_info())
    play(observer, range(5000), random.Random(1))
    large = message("sensor", "sensor.reading", 5000, "x" * 200_000)
    tell(observer, execution("sensor", 5000), [large])
    observer.run_stopped("duration", 5001)
    assert observer.stats().dropped == 0
    session = open_session("session", tmp_path)
    assert sum(1 for _ in session.executions("sensor")) == 5001


def test_many_frames_are_one_recording(tmp_path: Path) -> None:
    """J.1-12: a recording of many frames is read to the end, a frame at a time."""
    observer = recorder(tmp_path, interval=0.001)
    observer.run_started(run_info())
    for tick in range(12):
        tell(observer, execution("sensor", tick), [message("sensor", "t", tick, "x" * 300_000)])
    observer.run_stopped("duration", 12)
    file = RecordedFile(observer.stop()[1])
    texts = [text for _, text in independent.frames(file.path.read_bytes())]
    assert len(texts) > 4
    assert max(map(len, texts)) < 1 << 20
    assert [record.tick for record in file.records() if isinstance(record, ExecutionRecord)] == list(range(12))


def test_a_record_that_cannot_be_a_line_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A payload that is neither JSON nor binary does not stop the recording; a gap stands in its place."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    broken = message("sensor", "t", 1, None)._replace(payload=b"\0broken")
    with caplog.at_level(logging.ERROR, "horus_async.recorder"):
        for tick in range(3):
            tell(observer, execution("sensor", tick), [broken] if tick == 1 else [])
        observer.run_stopped("duration", 3)
    found = body(observer.stop()[1])
    assert [line["kind"] for line in found] == ["tick", "gap", "tick", "tick"]
    assert (found[1]["tick"], found[1]["dropped"]) == (1, 1)
    assert len(caplog.records) == 1
    assert observer.stats().messages == 0


def test_a_writer_that_fails_for_good_never_blocks_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even if the writer's thread dies of an unforeseen error, a deterministic run goes on, and the log says so."""

    def broken(*_: object) -> None:
        raise AssertionError("unforeseen")

    monkeypatch.setattr(writer_module.SessionWriter, "_write", broken)
    observer = recorder(tmp_path, memory_mb=0.01, interval=0.001)
    observer.run_started(run_info())
    play(observer, range(500), random.Random(1))
    observer.run_stopped("duration", 500)
    assert observer.stats().state is RecordingState.FAILED
    assert "unforeseen" in caplog.text


def test_fsync_each_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Fsync.INTERVAL every file is synced after it was written; with OFF none is."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for fsync, expected in ((Fsync.OFF, False), (Fsync.INTERVAL, True)):
        synced.clear()
        observer = Recorder(RecordingOptions(name=fsync.value, fsync=fsync), tmp_path, block=True)
        observer.run_started(run_info())
        play(observer, range(3), random.Random(1))
        observer.stop()
        assert (len(synced) >= 3) is expected


def test_no_thread_and_no_descriptor_is_left(tmp_path: Path) -> None:
    """A recording that ended, or was read, leaves nothing open."""
    record(tmp_path, 3, "warm-up")
    threads = threading.active_count()
    descriptors = len(list(Path("/dev/fd").iterdir()))
    record(tmp_path, 50)
    for file in open_session("session", tmp_path).all_files():
        records = file.records()
        next(records)
        records.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads
    assert len(list(Path("/dev/fd").iterdir())) == descriptors


def test_size_of_two_nodes(tmp_path: Path) -> None:
    """Two nodes with a dict each stay under 100 bytes a tick, over all files of the session."""
    # However slow the machine is: short frames, as those of a slow one, are larger.
    observer = Recorder(RecordingOptions(name="session", interval=60), tmp_path, block=True)
    observer.run_started(run_info())
    play(observer, range(5000), random.Random(1))
    observer.run_stopped("duration", 5000)
    size = sum(path.stat().st_size for path in (tmp_path / "session").iterdir())
    assert size / 5000 < 100


def test_init_and_shutdown_have_lines(tmp_path: Path) -> None:
    """What was sent in init and shutdown is recorded under their own kinds, and not counted as ticks."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    for kind in ("init", "tick", "shutdown"):
        sent = [message("sensor", "t", 0, kind)]
        tell(observer, Execution(kind, "sensor", 0, 0, PERIOD_NS, 0, [], None), sent)
    observer.run_stopped("duration", 1)
    found = lines(observer.stop()[1])
    assert [line["kind"] for line in found] == ["header", "init", "tick", "shutdown", "footer"]
    assert (found[-1]["ticks"], found[-1]["outputs"]) == (1, 3)
    assert [orjson.dumps(line["outputs"][0]["data"]) for line in found[1:-1]] == [b'"init"', b'"tick"', b'"shutdown"']
    assert [summary.name for summary in list_sessions(tmp_path)] == ["session"]
