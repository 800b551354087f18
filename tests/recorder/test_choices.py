"""What of a run is recorded: patterns, redaction, rotation, and how much is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, Scheduler
from horus_async.errors import ConfigurationError, RecordingError
from horus_async.observe import External, NodeInfo, Received, TickEnd
from horus_async.recorder import (
    ExecutionRecord,
    RecordedFile,
    RecordingOptions,
    Redact,
    delete_session,
    list_sessions,
    open_session,
    tick_digest,
)
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.records import Footer

from . import independent
from .runs import execution, message, play, record, recorder, run_info, settled, tell

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder import Session

SECRET = "correct horse battery staple"


def outputs(session: Session, node: str) -> list[tuple[str, int, Any]]:
    """What a node sent, as recorded."""
    return [
        (sent.topic, sent.seq, sent.data)
        for line in session.executions(node)
        if isinstance(line, ExecutionRecord)
        for sent in line.outputs
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"nodes": "sensor"},
        {"exclude_nodes": ("",)},
        {"topics": (3,)},
        {"exclude_topics": None},
        {"redact": ["a"]},
        {"redact": {"a": "drop"}},
        {"redact": {"": Redact.DROP}},
        {"rotate_mb": 0},
        {"rotate_seconds": "1"},
        {"keep_mb": float("nan")},
        {"keep_sessions": 0},
        {"keep_sessions": 1.0},
    ],
    ids=str,
)
def test_choices_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    """Each wrong option is an error that names it."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RecordingOptions(**options)


def test_nodes_and_topics_are_chosen_by_patterns(tmp_path: Path) -> None:
    """A node left out has no file, a topic left out no messages; header, manifest and footers say so."""
    observer = recorder(tmp_path, nodes=("s*", "camera"), exclude_nodes=("s?cret",), exclude_topics=("*.raw", "out/*"))
    nodes = tuple(NodeInfo(name, 100.0) for name in ("sensor", "secret", "camera", "motor"))
    observer.run_started(run_info(nodes))
    for tick in range(10):
        sent = [message(node.name, topic, tick, {"n": tick}) for node in nodes for topic in ("pose", "image.raw")]
        for number, node in enumerate(nodes):
            tell(observer, execution(node.name, tick), sent[2 * number : 2 * number + 2])
        observer.tick_ended(TickEnd(tick, 0, [node.name for node in nodes]))
        observer.received_external(External(tick, "in/x" if tick % 2 else "out/y", "p", tick, 0, b"1"))
    observer.node_added(NodeInfo("motor2", None))
    observer.run_stopped("duration", 10)
    session = open_session("session", tmp_path)
    assert set(session.nodes) == {"sensor", "camera"}
    assert outputs(session, "sensor") == [("pose", tick, {"n": tick}) for tick in range(10)]
    assert [line.topic for line in session.external()] == ["in/x"] * 5
    kept = [message(node, "pose", 3, {"n": 3}) for node in ("sensor", "camera")]
    assert next(session.scheduler_ticks(3)).digest == tick_digest(kept)
    chosen = {
        "nodes": ["s*", "camera"],
        "exclude_nodes": ["s?cret"],
        "exclude_topics": ["*.raw", "out/*"],
    }
    for file in session.all_files():
        lines = independent.lines(file.path.read_bytes())
        assert lines[0]["filter"] == chosen
        assert lines[-1]["excluded"] == {"scheduler": 25, "node": 10, "external": 5}[lines[0]["role"]]
    assert json.loads((tmp_path / "session" / "session.json").read_text())["filter"] == chosen
    assert check_session(session).verdict is Verdict.WHOLE


def test_what_is_redacted_is_nowhere_on_the_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Data is dropped, hashed or changed before anything is kept; a function that fails writes nothing of the value."""
    calls: list[object] = []

    def shorten(value: Any) -> object:
        calls.append(value)
        return {"length": len(value)}

    def fails(value: Any) -> object:
        raise ValueError(f"cannot {value}")

    observer = recorder(
        tmp_path, redact={"a*": Redact.DROP, "b": Redact.HASH, "c": shorten, "d": fails, "*": lambda value: value}
    )
    observer.run_started(run_info())
    text = json.dumps(SECRET).encode()
    for tick in range(2):
        sent = [message("sensor", topic, tick, SECRET) for topic in ("abc", "b", "c", "d")]
        sent.append(message("sensor", "other", tick, 1.5))
        tell(observer, execution("sensor", tick), sent)
        observer.tick_ended(TickEnd(tick, 0, ["sensor"]))
    observer.received_external(External(1, "b", "p", 0, 0, text))
    observer.run_stopped("duration", 2)
    session = open_session("session", tmp_path)
    hashed = f"sha256:{hashlib.sha256(text).hexdigest()}"
    expected = [None, hashed, {"length": len(SECRET)}, None, 1.5]
    assert [data for _, _, data in outputs(session, "sensor")] == expected * 2
    assert [line.data for line in session.external()] == [hashed]
    lines = [line for line in session.executions("sensor") if isinstance(line, ExecutionRecord)]
    recorded = [message("sensor", sent.topic, 0, sent.data)._replace(payload=sent.payload) for sent in lines[0].outputs]
    assert next(session.scheduler_ticks()).digest == tick_digest(recorded)
    assert calls == [SECRET] * 2  # once a message, though it is needed twice
    for path in (tmp_path / "session").glob("*.lz4"):
        found = b"".join(text for _, text in independent.frames(path.read_bytes()))
        assert b"horse" not in found
    assert "horse" not in caplog.text
    assert caplog.text.count("redaction of d failed with ValueError") == 1
    header = independent.lines(observer.stop()[1].read_bytes())[0]
    assert header["redacted"] == {"a*": "drop", "b": "hash", "c": "transform", "d": "transform", "*": "transform"}


def make_run(options: RecordingOptions, root: Path) -> list[object]:
    """Run a talker and an echo under a scheduler that records."""
    heard: list[object] = []

    def talk(node: Node) -> None:
        node.send("talk", node.state)
        node.send("noise", 1)
        node.state += 1

    def echo(node: Node) -> None:
        heard.extend(node.recv_all("talk"))
        node.send("echo", len(heard))

    talker = Node(name="talker", tick=talk, pubs=["talk", "noise"])
    talker.state = 0
    scheduler = Scheduler(deterministic=True, recording=options, recordings_dir=root)
    scheduler.add(talker).add(Node(name="echo", tick=echo, subs=["talk"], pubs=["echo"]))
    scheduler.run_sync(duration=0.3)
    return heard


@pytest.mark.parametrize("rotate_mb", [None, 1e-6])
def test_a_session_of_chosen_parts_replays(tmp_path: Path, rotate_mb: float | None) -> None:
    """What is there of a filtered, rotated session reaches a live node, and all of it."""
    options = RecordingOptions(
        name="part", exclude_nodes=("echo",), exclude_topics=("noise",), rotate_mb=rotate_mb, interval=0.001
    )
    original = make_run(options, tmp_path)
    heard: list[object] = []
    listener = Node(
        name="listener",
        tick=lambda node: heard.extend(node.recv_all("talk") + node.recv_all("noise")),
        subs=["talk", "noise"],
    )
    replay = Scheduler.replay_from(tmp_path / "part").set_replay_speed(float("inf"))
    replay.add(listener)
    replay.run_sync()
    assert heard == original == list(range(30))


# -- rotation ----------------------------------------------------------------------------------------------------------


def rotated(root: Path, ticks: int = 200, **options: Any) -> list[Path]:
    """A recording in several files, of a flush every ten ticks."""
    observer = recorder(root, interval=60, **options)
    observer.run_started(run_info())
    assert observer._writer is not None
    noise = random.Random(1)
    for tick in range(0, ticks, 10):
        play(observer, range(tick, tick + 10), noise)
        for file in observer._writer.files:  # the writer's thread sleeps: its interval is a minute
            file.write(file.feed.take())
    observer.run_stopped("duration", ticks)
    return observer.stop()


@pytest.mark.parametrize("options", [{"rotate_mb": 0.001}, {"rotate_seconds": 0.3}], ids=str)
def test_rotated_files_are_read_as_one(tmp_path: Path, options: dict[str, Any]) -> None:
    """A node has several files, each whole in itself, and lines, ranges, footers and topics are those of one file."""
    plain = {path.name.split("@")[0]: RecordedFile(path) for path in rotated(tmp_path, name="plain")}
    paths = rotated(tmp_path, **options)
    session = open_session("session", tmp_path)
    assert sorted(file.path for file in session.all_files()) == sorted(paths)
    assert sorted((tmp_path / "session").glob("*.lz4")) == sorted(paths)
    for name, file in {"scheduler": session.scheduler, **session.files}.items():
        assert file is not None
        assert [path.name.split(".")[1] for path in file.paths] == ["jsonl", *map(str, range(1, len(file.paths)))]
        assert len(file.paths) > 3
        assert file.size == sum(path.stat().st_size for path in file.paths)
        for start, stop in [(None, None), (0, 0), (57, 63), (None, 99), (150, None), (199, 300), (200, None), (9, 3)]:
            found = [line for line in file.records(start, stop) if not isinstance(line, Footer)]
            assert found == [line for line in plain[name].records(start, stop) if not isinstance(line, Footer)]
        whole, parted = plain[name].footer, file.footer
        assert whole is not None
        assert parted is not None
        assert (parted.ticks, parted.dropped, parted.topics) == (whole.ticks, whole.dropped, whole.topics)
        assert (parted.inputs, parted.outputs) == (whole.inputs, whole.outputs)
        assert [line for line in file.records() if isinstance(line, Footer)] == [parted]
        assert (file.first_tick, file.last_tick, file.indexed, file.cut, file.survey()) == (0, 199, True, None, [])
        for number, path in enumerate(file.paths):
            lines = independent.lines(path.read_bytes())
            assert (lines[0]["kind"], lines[0].get("part", 0), lines[-1]["kind"]) == ("header", number, "footer")
            following = file.paths[number + 1].name if number + 1 < len(file.paths) else None
            assert lines[-1].get("next") == following
            assert session.node_of(path) == (None if name == "scheduler" else name)
    assert check_session(session).verdict is Verdict.WHOLE
    (summary,) = [summary for summary in list_sessions(tmp_path) if summary.name == "session"]
    assert summary.bytes == sum(path.stat().st_size for path in paths)


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    """A file lost from the middle or the end of a row is named, what is left is read, and a check fails."""
    for lost in ("2", "last"):
        root = tmp_path / lost
        paths = [path for path in rotated(root, rotate_seconds=0.3) if path.name.startswith("sensor")]
        gone = paths[2] if lost == "2" else paths[-1]
        missing = [line["tick"] for line in independent.lines(gone.read_bytes()) if line["kind"] == "tick"]
        gone.unlink()
        session = open_session("session", root)
        assert gone.name in " ".join(session.unreadable)
        left = [line.tick for line in session.executions("sensor")]
        assert left == [tick for tick in range(200) if tick not in missing]
        assert check_session(session).verdict is Verdict.DAMAGED
        (root / "session" / "session.json").unlink()
        assert gone.name in open_session("session", root).unreadable


def test_the_default_is_one_file(tmp_path: Path) -> None:
    """Without rotation nothing of it shows, not even in headers."""
    for path in record(tmp_path, 10):
        lines = independent.lines(path.read_bytes())
        assert not {"part", "filter", "redacted"} & lines[0].keys()
        assert not {"next", "excluded"} & lines[-1].keys()
    assert "files" not in json.loads((tmp_path / "session" / "session.json").read_text())


# -- how much is kept --------------------------------------------------------------------------------------------------


def test_the_oldest_finished_sessions_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A quota by number deletes the oldest, and never an open one, one that cannot be read, or what is no session."""
    caplog.set_level(logging.INFO, "horus_async.recorder")
    running = recorder(tmp_path, "a-open")
    running.run_started(run_info())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "session.json").write_text("{")
    (tmp_path / "notes").mkdir()
    for name in ("b", "c", "d"):
        record(tmp_path, 3, name)
    observer = recorder(tmp_path, "e", keep_sessions=4)
    observer.run_started(run_info())
    there = {"a-open", "broken", "d", "e", "notes"}
    assert {path.name for path in tmp_path.iterdir()} == there
    assert "session b deleted" in caplog.text
    observer.run_stopped("duration", 0)
    assert {path.name for path in tmp_path.iterdir()} == there
    running.run_stopped("duration", 0)
    last = recorder(tmp_path, "f", keep_sessions=1)
    last.run_started(run_info())
    last.stop()
    assert {path.name for path in tmp_path.iterdir()} == {"broken", "f", "notes"}


def test_a_quota_of_bytes_counts_the_new_session(tmp_path: Path) -> None:
    """J.1-10: as a recording ends, the oldest sessions go until all take no more than was asked; it is logged."""
    for name in ("a", "b", "c"):
        record(tmp_path, 300, name)
    sizes = [summary.bytes for summary in list_sessions(tmp_path)]
    observer = recorder(tmp_path, "d", keep_mb=(sum(sizes) + 1000) / (1 << 20))
    observer.run_started(run_info())
    play(observer, range(300), random.Random(1))
    settled(observer)
    assert len(list_sessions(tmp_path)) in {3, 4}  # the empty files may just fit, or not
    observer.run_stopped("duration", 300)
    assert [summary.name for summary in list_sessions(tmp_path)] == ["b", "c", "d"]


def test_an_open_session_cannot_be_deleted(tmp_path: Path) -> None:
    """While it is recorded it is listed as open and kept, with an error that says why; afterwards it can go."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    play(observer, range(5), random.Random(1))
    (summary,) = list_sessions(tmp_path)
    assert summary.is_open
    with pytest.raises(RecordingError, match="'session' is still being recorded"):
        delete_session("session", tmp_path)
    observer.run_stopped("duration", 5)
    (summary,) = list_sessions(tmp_path)
    assert not summary.is_open
    assert [line.tick for line in open_session("session", tmp_path).executions("sensor")] == list(range(5))
    assert delete_session("session", tmp_path) is True


# -- ticks that go back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotate_mb", [None, 0.0005])
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("length", [7, 40])
def test_ranges_where_ticks_go_back(tmp_path: Path, rotate_mb: float | None, closed: bool, length: int) -> None:
    """A recorded repeated replay: each round gives its part of a range, in a closed file and in a cut one."""
    observer = recorder(tmp_path, interval=60, rotate_mb=rotate_mb)
    observer.run_started(run_info())
    assert observer._writer is not None
    played = [tick for _ in range(3) for tick in range(length)]
    for at, tick in enumerate(played):
        play(observer, range(tick, tick + 1), random.Random(1))
        if at % 10 == 9:
            for part in observer._writer.files:  # the writer's thread sleeps: its interval is a minute
                part.write(part.feed.take())
    observer.run_stopped("duration", len(played))
    paths = observer.stop()
    if not closed:
        paths[-1].write_bytes(paths[-1].read_bytes()[:-3])
    session = open_session("session", tmp_path)
    for file in (session.scheduler, *session.files.values()):
        assert file is not None
        for start, stop in [(None, None), (3, 5), (None, 2), (length - 2, None), (0, 0), (length, None)]:
            expected = [t for t in played if (start is None or t >= start) and (stop is None or t <= stop)]
            found = [line for line in file.records(start, stop) if not isinstance(line, Footer)]
            if closed or stop is not None:
                assert [getattr(line, "tick", None) for line in found] == expected
        assert file.rewound


def test_an_input_of_a_topic_left_out_keeps_its_name(tmp_path: Path) -> None:
    """What a node took is told by topic, publisher and number, whether or not the message is recorded."""
    observer = recorder(tmp_path, topics=("ctrl.*",))
    observer.run_started(run_info())
    observer.executed(execution("controller", 0, (Received("sensor.reading", "sensor", 0),)))
    observer.run_stopped("duration", 1)
    (line,) = open_session("session", tmp_path).executions("controller")
    assert isinstance(line, ExecutionRecord)
    assert [taken.topic for taken in line.inputs] == ["sensor.reading"]
