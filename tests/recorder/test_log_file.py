"""The file of the log: killed, full, rotated, missing; and every reader of sessions with one."""

from __future__ import annotations

import errno
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from attrs import evolve
from click.testing import CliRunner

from horus_async import Ignore, Node, RecordingOptions, Scheduler, rng, tick
from horus_async.append_file import AppendFile
from horus_async.blackbox import open_blackbox
from horus_async.cli import main
from horus_async.errors import ConfigurationError
from horus_async.observe import Logged
from horus_async.recorder import GapRecord, LogLine, open_session
from horus_async.recorder.frames import pack
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.read.diff import diff_sessions
from horus_async.recorder.read.info import count_log_lines, session_info
from horus_async.recorder.write import writer as writer_module
from tests.engine.programs import PATIENCE, environment, scheduler_of

from . import independent
from .runs import play, record, recorder, run_info, settled

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder import Recorder, Session


def logged(number: int, tick: int | None, node: str | None = "sensor", filler: int = 0) -> Logged:
    """Something that a node logs."""
    entry = logging.makeLogRecord({"msg": str(number), "levelname": "INFO", "levelno": 20, "filler": "x" * filler})
    return Logged(node, tick, tick or 0, 0, 20, str(number), entry)


def numbers(session: Session) -> list[int]:
    """The texts of a log whose lines are numbers."""
    return [int(line.message) for line in session.log]


def whole(session: Session) -> None:
    """Nothing is wrong with it."""
    found = check_session(session)
    assert found.verdict is Verdict.WHOLE, found
    assert found.dropped == 0


# -- written in time ---------------------------------------------------------------------------------------------------

HANGS = """
import sys, threading
from horus_async import Node, Scheduler
begun, hangs = threading.Event(), threading.Event()
def drive(node):
    for number in range(25):
        node.log.info("driver %d", number)
    begun.set()
    hangs.wait()
    for number in range(25, 50):
        node.log.info("driver %d", number)
    print("logged", flush=True)
    threading.Event().wait()
def tick(node):
    if begun.is_set():
        for number in range(50):
            node.log.info("tick %d", number)
        hangs.set()
        threading.Event().wait()  # the event loop hangs from here on
Scheduler(recording="s", recordings_dir=sys.argv[1]).add(
    Node("arm", init=lambda node: node.in_thread(drive, node), tick=tick)).run_sync()
"""


def test_killed_while_the_event_loop_hangs(tmp_path: Path) -> None:
    """What was logged before, also by a thread, is on the disk without the event loop's doing; kill -9 leaves it."""
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, str(tmp_path)], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        messages: list[str] = []
        try:
            assert process.stdout.readline() == "logged\n"
            for _ in range(PATIENCE * 100):
                if list(tmp_path.glob("s/log@*")):
                    messages = [line.message for line in open_session("s", tmp_path).log]
                if len(messages) == 100:
                    break
                threading.Event().wait(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
    expected = [f"{who} {number}" for who in ("driver", "tick") for number in range(50)]
    assert sorted(messages) == sorted(expected)
    session = open_session("s", tmp_path)
    assert check_session(session).verdict is Verdict.CUT
    assert [line.message for line in session.log] == messages
    assert count_log_lines(session) == 100
    assert [message for message in messages if "driver" in message] == expected[:50]


@pytest.mark.parametrize("cut", [1, 100, 1000])
def test_a_file_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    """Whole frames are read; `check` and `info` say that it was cut."""
    observer = recorder(tmp_path, interval=60)
    observer.run_started(run_info())
    assert observer._writer is not None
    for number in range(100):
        observer.logged(logged(number, number, filler=20))
        if number % 10 == 9:
            log = observer._writer.files.log
            log.write(log.feed.take())
    observer.run_stopped("duration", 0)
    path = observer.stop()[-1]
    path.write_bytes(path.read_bytes()[:-cut])
    session = open_session("session", tmp_path)
    there = numbers(session)
    assert there == list(range(len(there)))
    assert len(there) >= 100 - cut // 2
    assert check_session(session).verdict is Verdict.CUT


# -- what does not fit -------------------------------------------------------------------------------------------------


def accounted(session: Session, count: int) -> int:
    """Each line of the log is there or counted, in its place; how many are missing."""
    assert session.log_file is not None
    expected = missing = 0
    for found in session.log_file.records():
        if isinstance(found, GapRecord):
            assert found.tick == expected
            expected += found.dropped
            missing += found.dropped
        elif isinstance(found, LogLine):
            assert int(found.message) == expected
            expected += 1
    assert expected == count
    footer = session.log_file.footer
    assert footer is not None
    assert (footer.lines, footer.dropped) == (count - missing, missing)
    return missing


@pytest.mark.parametrize("rotate_mb", [None, 0.01])
@pytest.mark.parametrize("block", [True, False], ids=["deterministic", "real time"])
def test_more_than_there_is_room_for(tmp_path: Path, block: bool, rotate_mb: float | None) -> None:
    """In real time it is counted, in gap lines and in ``dropped``; a deterministic run waits and loses nothing.

    Messages have their own room, of which the log takes nothing.
    """
    observer = recorder(tmp_path, block=block, memory_mb=0.1, interval=0.01, rotate_mb=rotate_mb)
    observer.run_started(run_info())
    for number in range(3000):
        observer.logged(logged(number, number, filler=random.Random(number).randrange(300)))
        play(observer, range(number, number + 1), random.Random(1)) if number < 20 else None
    observer.run_stopped("duration", 20)
    session = open_session("session", tmp_path)
    missing = accounted(session, 3000)
    assert observer.stats().dropped == missing
    assert (missing == 0) is block
    assert [found.tick for found in session.executions("sensor")] == list(range(20))
    found = check_session(session)
    assert (found.verdict, found.dropped) == (Verdict.WHOLE, missing)
    assert session_info(session).log_lines == 3000 - missing


@pytest.mark.parametrize("block", [True, False], ids=["deterministic", "real time"])
def test_a_disk_that_is_full_for_a_while(tmp_path: Path, block: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes meanwhile is counted, lines without a tick too; the run goes on, and so does the log."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.0)
    full = threading.Event()
    append = AppendFile.append

    def refuse(file: AppendFile, data: bytes) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, data)

    monkeypatch.setattr(AppendFile, "append", refuse)
    observer = recorder(tmp_path, block=block, memory_mb=0.1, interval=0.01)
    observer.run_started(run_info())
    count = 0

    def log(more: int, tick: int | None) -> None:
        nonlocal count
        for _ in range(more):
            observer.logged(logged(count, tick, filler=50)._replace(at_tick=count))
            count += 1

    log(100, None)
    _drained(observer)
    full.set()
    log(3000, None)
    log(100, 3)
    _drained(observer)
    full.clear()
    while observer.stats().state.name == "FAILED":
        threading.Event().wait(0.001)
    log(10, None)
    observer.run_stopped("duration", 0)
    session = open_session("session", tmp_path)
    missing = accounted(session, count)
    assert missing >= 3000
    assert observer.stats().dropped == missing


def _drained(observer: Recorder) -> None:
    """Return when the writer has taken what was logged."""
    assert observer._writer is not None
    before = observer._writer.log._takes
    while observer._writer.log._takes < before + 2:
        observer._writer.intake.room.wake.set()
        threading.Event().wait(0.001)


# -- its names and parts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotate_mb", [None, 0.002])
def test_nodes_with_the_names_of_other_files(tmp_path: Path, rotate_mb: float | None) -> None:
    """Nodes called log, scheduler and external: nobody takes one file for another."""

    def work(node: Node) -> None:
        node.send(f"from.{len(node.name)}", tick())
        node.log.info("%s %d", node.name, tick(), extra={"filler": rng().randbytes(50).hex()})
        while tick() == 50 and sum(path.stat().st_size for path in (tmp_path / "s").glob("log@*")) < 3000:
            threading.Event().wait(0.001)  # so that it is written in two pieces at least

    names = ["log", "scheduler", "external", "%6Cog"]
    recording = RecordingOptions(name="s", rotate_mb=rotate_mb, interval=0.001)
    nodes = [Node(name, tick=work) for name in names]
    scheduler = scheduler_of(*nodes, recording=recording, recordings_dir=tmp_path)
    scheduler.run_sync(1)
    paths = scheduler.stop_recording()
    session = open_session("s", tmp_path)
    assert list(session.files) == names
    assert [line.message for line in session.log] == [f"{name} {number}" for number in range(100) for name in names]
    assert session.log_file is not None
    assert all(path.name.startswith("log@") for path in session.log_file.paths)
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "session.json",
        *(str(p).rsplit("/")[-1] for p in paths),
    }
    for name in names:
        assert [sent.data for sent in session.outputs(name)] == list(range(100))
        assert session.node_of(session.files[name].path) == name
    assert session.node_of(session.log_file.path) is None
    whole(session)
    if rotate_mb is not None:
        assert len(session.log_file.paths) > 1
        lost = session.log_file.paths[1]
        lost.unlink()
        session = open_session("s", tmp_path)
        assert lost.name in session.unreadable
        assert check_session(session).verdict is Verdict.DAMAGED


@pytest.mark.parametrize("closed", [True, False])
def test_ranges_of_ticks(tmp_path: Path, closed: bool) -> None:
    """By the tick that was going on, whether or not a line has one of its own; found by the index, or without."""
    noise = random.Random(1)
    observer = recorder(tmp_path, interval=60)
    observer.run_started(run_info())
    assert observer._writer is not None
    log = observer._writer.files.log
    told = []
    for number in range(3000):
        at_tick = number // 10
        began = noise.choice([None, at_tick, at_tick, max(0, at_tick - 3)])
        observer.logged(logged(number, began, filler=200)._replace(at_tick=at_tick))
        told.append((began, at_tick))
        if number % 100 == 99:
            log.write(log.feed.take())
    observer.run_stopped("duration", 300)
    if not closed:
        path = log.path
        path.write_bytes(path.read_bytes()[:-3])
    session = open_session("session", tmp_path)
    assert session.log_file is not None
    assert [(line.tick, line.at_tick) for line in session.log] == told
    assert not session.log_file.rewound
    assert session.log_file.indexed is closed
    for start, stop in [(0, 0), (123, 125), (290, None), (None, 5), (400, None)]:
        found = [int(line.message) for line in session.log.select(start=start, stop=stop)]
        assert found == list(range(10 * (start or 0), min(3000, 10 * (300 if stop is None else stop + 1))))


def test_without_a_line_there_is_no_file(tmp_path: Path) -> None:
    """The manifest says so, and so does the session; one recorded before there were logs is whole, too."""
    record(tmp_path, 10)
    session = open_session("session", tmp_path)
    assert (session.log_file, list(session.log), session_info(session).log_lines) == (None, [], 0)
    path = session.path / "session.json"
    manifest = orjson.loads(path.read_bytes())
    assert manifest.pop("log") is None
    assert "logged" not in manifest
    path.write_bytes(orjson.dumps(manifest))
    whole(open_session("session", tmp_path))


@pytest.mark.parametrize(("options", "said"), [({"log": False}, False), ({"log_level": 30}, 30)])
def test_what_was_left_out_is_said(tmp_path: Path, options: dict[str, Any], said: Any) -> None:
    """In headers and in the manifest; messages are recorded as ever."""
    observer = recorder(tmp_path, **options)
    observer.run_started(run_info())
    play(observer, range(3), random.Random(1))
    observer.run_stopped("duration", 3)
    headers = [independent.lines(path.read_bytes())[0] for path in observer.stop()]
    manifest = orjson.loads((tmp_path / "session" / "session.json").read_bytes())
    assert [fields["logged"] for fields in (*headers, manifest)] == [said] * 4
    whole(open_session("session", tmp_path))


@pytest.mark.parametrize(
    "options", [{"log": 1}, {"log": None}, {"log_level": "INFO"}, {"log_level": -1}, {"log_level": True}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    """The error names the option and its value."""
    with pytest.raises(ConfigurationError, match="=".join(map(str, *options.items())).replace("INFO", "'INFO'")):
        RecordingOptions(**options)


# -- readers -----------------------------------------------------------------------------------------------------------


def robot(**options: Any) -> Scheduler:
    """Two nodes that log and send, one of which waits."""

    async def sense(node: Node) -> None:
        node.log.info("sense %d", tick(), extra={"tick": 3})
        node.send("reading", tick())

    def act(node: Node) -> None:
        node.log.warning("act %s", node.recv("reading"))
        node.send("done", 1)
        raise ValueError("no")

    act_node = Node("act", tick=act, subs=["reading"], failure_policy=Ignore())
    return scheduler_of(Node("sense", tick=sense, pubs=["reading"]), act_node, **options)


def recorded_robot(root: Path, name: str = "s") -> Session:
    """A session of it."""
    robot(recording=name, recordings_dir=root).run_sync(0.1)
    return open_session(name, root)


async def test_replay_and_verification(tmp_path: Path) -> None:
    """They know nothing of the log, be it there or lost; what live nodes log in a replay is their own."""
    await robot(recording="s", recordings_dir=tmp_path).run(0.1)
    session = open_session("s", tmp_path)
    assert len(list(session.log)) == 30
    assert (await Scheduler.verify(session.path, robot())).differences == 0
    replay = Scheduler.replay_from(session.path).set_replay_speed(float("inf"))
    heard: list[str] = []

    def listen(node: Node) -> None:
        node.log.info("heard %s", node.recv("reading"))
        heard.append("")

    again = RecordingOptions(name="again")
    replay._options = evolve(replay._options, recording=again, recordings_dir=tmp_path)
    await replay.add(Node("live", tick=listen, subs=["reading"])).run()
    lines = list(open_session("again", tmp_path).log)
    assert [line.message for line in lines] == [f"heard {number}" for number in range(10)]
    assert [(line.tick, line.now_ns) for line in lines] == [(number, number * 10_000_000) for number in range(10)]
    assert session.log_file is not None
    session.log_file.path.unlink()
    session = open_session("s", tmp_path)
    assert check_session(session).verdict is Verdict.DAMAGED
    assert (await Scheduler.verify(session.path, robot())).differences == 0


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`list`, `info`, `check`, `export`, `diff`, `delete` and `add_replay` of a session with a log."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    session = recorded_robot(tmp_path)
    recorded_robot(tmp_path, "other")

    def call(*arguments: str) -> Any:
        result = CliRunner().invoke(main, ["record", *arguments])
        assert result.exit_code == 0, result.output
        return result

    assert "20 messages and 30 log lines in" in call("info", "s").stdout
    assert orjson.loads(call("info", "s", "--json").stdout)["log_lines"] == 30
    assert "log@" in call("check", "s").stdout
    exported = call("export", "s", "--output", str(tmp_path / "out.csv"), "--format", "csv")
    assert f"the 30 lines of its log are not exported; read {tmp_path}/s/log@" in exported.stderr
    assert not list(tmp_path.glob("out*log*"))
    assert call("diff", "s", "other").exit_code == 0
    assert session.log_file is not None
    with pytest.raises(Exception, match="log@"):
        Scheduler().add_replay(session.log_file.path)
    call("delete", "s", "--force")
    assert not (tmp_path / "s").exists()


def test_logs_are_not_compared(tmp_path: Path) -> None:
    """Two sessions whose messages agree and whose logs do not are the same."""
    session, other = recorded_robot(tmp_path), recorded_robot(tmp_path, "other")
    assert other.log_file is not None
    other.log_file.path.unlink()
    assert diff_sessions(session, open_session("other", tmp_path)).same


def test_a_line_that_is_missing_is_noticed(tmp_path: Path) -> None:
    """The footer counts the lines of the log."""
    session = recorded_robot(tmp_path)
    whole(session)
    assert session.log_file is not None
    path = session.log_file.path
    frames = [text.splitlines(keepends=True) for _, text in independent.frames(path.read_bytes())]
    frames[1] = frames[1][1:]
    path.write_bytes(b"".join(pack(b"".join(lines), len(lines)) for lines in frames))
    found = check_session(open_session("s", tmp_path))
    assert found.verdict is Verdict.DAMAGED
    assert any("30 lines of the log, and it holds 29" in problem for file in found.files for problem in file.problems)


@pytest.mark.parametrize(
    "line", [b'{"kind":"log"}', b'{"kind":"log","tick":"x","now_ns":0,"node":null,"level":"INFO","message":""}']
)
def test_a_damaged_line(tmp_path: Path, line: bytes) -> None:
    """It is skipped and told, as in any file."""
    session = recorded_robot(tmp_path)
    assert session.log_file is not None
    path = session.log_file.path
    path.write_bytes(path.read_bytes() + pack(line + b"\n", 1))
    session = open_session("s", tmp_path)
    assert len(list(session.log)) == 30
    assert check_session(session).verdict is Verdict.DAMAGED


def test_lines_of_a_foreign_writer(tmp_path: Path) -> None:
    """With what the specification names and no more."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    assert observer._writer is not None
    observer._writer.log.put(
        b'{"kind":"log","tick":4,"now_ns":5,"node":"n","level":"WARNING","message":"m","joint":3}\n', 4
    )
    observer.run_stopped("duration", 0)
    (line,) = open_session("session", tmp_path).log
    assert (line.tick, line.at_tick, line.levelno, line.extra) == (4, 4, 30, {"joint": 3})


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("block", [True, False], ids=["deterministic", "real time"])
def test_a_forked_child(tmp_path: Path, block: bool) -> None:
    """What it logs, more than there is room for, goes nowhere and waits for nobody; its parent's log is whole."""
    observer = recorder(tmp_path, block=block, memory_mb=0.1)
    observer.run_started(run_info())
    for number in range(10):
        observer.logged(logged(number, number))
    settled(observer)
    child = os.fork()
    if child == 0:
        try:
            for number in range(5000):
                observer.logged(logged(number, number, filler=100))
        finally:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    for number in range(10, 20):
        observer.logged(logged(number, number))
    observer.run_stopped("duration", 0)
    session = open_session("session", tmp_path)
    assert numbers(session) == list(range(20))
    whole(session)


# -- the black box -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", [False, "s"])
def test_the_black_box_has_warnings(tmp_path: Path, recording: Any) -> None:
    """From WARNING up, with node, level, tick and `extra`, from threads too; what is not logged by nodes has events."""

    def work(node: Node) -> None:
        node.log.info("not in the box")
        node.log.warning("hot", extra={"joint": 3, "level": object()})
        try:
            raise ValueError("broken")
        except ValueError:
            node.log.exception("failed")
        thread = threading.Thread(target=node.log.error, args=("thread",))
        thread.start()
        thread.join()
        raise ValueError("no")

    options: dict[str, Any] = {"recording": recording, "recordings_dir": tmp_path}
    scheduler = scheduler_of(
        Node("arm", tick=work, rate=50, failure_policy=Ignore()), blackbox_mb=1, blackbox_dir=tmp_path, **options
    )
    scheduler.run_sync(0.04)
    events = open_blackbox(tmp_path / "scheduler.hbb").events("Custom")
    assert [(event.tick, event.category, event.message) for event in events] == [
        (number, "log", text) for number in (0, 2) for text in ("hot", "failed", "thread")
    ]
    hot, failed, thread = (event.data for event in events[:3])
    assert (hot["node"], hot["level"], hot["extra"]["joint"]) == ("arm", "WARNING", 3)
    assert failed["level"] == "ERROR"
    assert failed["exception"].endswith("ValueError: broken")
    assert thread == {"node": "arm", "level": "ERROR"}
    box = open_blackbox(tmp_path / "scheduler.hbb")
    assert len(box.events("Custom", node="arm")) == 6
    assert box.events("Custom", node="leg") == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_leaves_the_box_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It logs on, and nothing fails there."""

    def work(node: Node) -> None:
        if tick() == 1:
            child = os.fork()
            if child == 0:
                try:
                    node.log.warning("child")
                finally:
                    os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        node.log.warning("parent")

    scheduler = scheduler_of(
        Node("arm", tick=work), blackbox_mb=1, blackbox_dir=tmp_path, recording="s", recordings_dir=tmp_path
    )
    scheduler.run_sync(0.03)
    assert scheduler.blackbox is not None
    assert [event.message for event in scheduler.blackbox.events("Custom")] == ["parent"] * 3
    lines = list(open_session("s", tmp_path).log)
    assert [line.message for line in lines if line.logger is None] == ["parent"] * 3
    assert [(line.node, line.tick) for line in lines if "os.fork()" in line.message] == [("arm", 1)]
    assert "left out" not in capfd.readouterr().err
