"""What several programs record under one name: shown, compared, replayed, exported, checked and deleted as one."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, Scheduler
from horus_async.errors import RecordingError, SessionExistsError, SessionNotFoundError
from horus_async.recorder import RecordingOptions, delete_session, list_sessions, open_session
from horus_async.recorder.read.set_file import read_set
from horus_async.recorder.sets.opening import find_set
from horus_async.recorder.sets.writing import SetWriter
from tests.examples.programs import horus

from .robots import Launched, reader, robot, sender

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
[programs.base]
restart = "on-failure"
backoff = 0.01
[programs.arm]
after_topics = ["odom"]
"""


def session(folder: Path, name: str, *, topic: str = "odom", node: str = "sender", **options: Any) -> None:
    """Record a short run in real time."""

    def step(node: Node) -> None:
        node.send(topic, {"n": 1})

    scheduler = Scheduler(tick_rate=100, recording=name, recordings_dir=folder, **options)
    scheduler.add(Node(node, tick=step, pubs=[topic]))
    scheduler.run_sync(0.05)


def set_of(folder: Path, name: str, *sessions: tuple[str, str, str]) -> Path:
    """A set with these sessions: program, topic, node."""
    programs = {program: {"app": f"{program}.py"} for program, _, _ in sessions}
    problems: list[str] = []
    with SetWriter(name, programs, root=folder, problem=problems.append) as written:
        for program, topic, node in sessions:
            where, called = written.begin(program)
            session(where, called, topic=topic, node=node)
            written.ended(program, 0, "exit code 0")
    assert not problems
    return written.path


def test_a_killed_and_restarted_program_is_there_in_all_its_parts(tmp_path: Path, recordings_dir: Path) -> None:
    """Nothing of it is lost: info tells of each, each is verified with 0 differences, and all are replayed as one."""
    file = robot(tmp_path, TOML, base=sender(), arm=reader())
    with Launched(file, "--record", "monday") as launched:
        launched.until_state("arm", "up")
        pid = next(event["pid"] for event in launched.events if event.get("program") == "base" and event.get("pid"))
        horus("topic", "echo", "echo", "-n", "3", cwd=tmp_path)
        os.kill(pid, signal.SIGKILL)
        launched.until_state("base", "restarting")
        launched.until_state("base", "up")
        horus("topic", "echo", "echo", "-n", "3", cwd=tmp_path)
        launched.signal()
        assert launched.end() == 130

    done = horus("record", "info", "monday", "--json", cwd=tmp_path)
    assert done.returncode == 0
    parts = {part["session"]: part for part in json.loads(done.stdout)["parts"]}
    assert list(parts) == ["base", "base.2", "arm"]
    assert parts["base"]["ended"] == "killed by SIGKILL"
    assert parts["base"]["begins"] < parts["arm"]["begins"] < parts["base.2"]["begins"]
    shown = horus("record", "info", "monday", cwd=tmp_path)
    assert "base, start 2  monday/base.2" in shown.stdout
    assert "base: the recording was not closed: its process was killed" in shown.stderr

    for part, app in (("base", "base"), ("base.2", "base"), ("arm", "arm")):
        done = horus("replay", f"monday/{part}", "--speed", "max", "--verify", f"{app}.py", "--json", cwd=tmp_path)
        assert (done.returncode, json.loads(done.stdout)["differences"]) == (0, 0), done.stdout + done.stderr
        assert json.loads(done.stdout)["compared"]

    done = horus("replay", "monday", "--speed", "max", "--json", cwd=tmp_path)
    replayed = json.loads(done.stdout)
    assert replayed["session"] == "monday"
    assert set(replayed["node_ticks"]) == {"sender", "base.2/sender", "reader"}
    sent = {
        part: json.loads(horus("record", "info", f"monday/{part}", "--json", cwd=tmp_path).stdout) for part in parts
    }
    counts = {node["node"]: node["messages"] for node in sent["base.2"]["nodes"]}
    done = horus("record", "export", "monday", "--format", "jsonl", "--output", "-", "--topic", "odom", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["stamp_ns"] for row in rows] == sorted(row["stamp_ns"] for row in rows)
    assert sum(row["publisher"] == "base.2/sender" for row in rows) == counts["sender"]
    assert horus("record", "diff", "monday", "monday", cwd=tmp_path).returncode == 0
    checked = json.loads(horus("record", "check", "monday", "--json", cwd=tmp_path).stdout)
    assert [row["session"] for row in checked["sessions"]] == ["monday/base", "monday/base.2", "monday/arm"]
    assert (recordings_dir / "monday" / "base.log").is_file()
    assert horus("record", "delete", "monday", cwd=tmp_path).returncode == 0
    assert not (recordings_dir / "monday").exists()


def test_what_programs_print_is_in_the_log_byte_by_byte(tmp_path: Path, recordings_dir: Path) -> None:
    """Also what is no text, and the end without a newline."""
    file = robot(tmp_path, "[programs.loud]", loud=r"import os; os.write(1, b'\xff\x00one\ntwo'); os._exit(0)")
    with Launched(file, "--record", "loud") as launched:
        assert launched.end() == 0
    assert (recordings_dir / "loud" / "loud.log").read_bytes() == b"\xff\x00one\ntwo"
    assert (recordings_dir / "loud" / "loud.log").stat().st_mode & 0o777 == 0o600


def test_a_program_that_keeps_its_recordings_elsewhere_is_in_the_set_all_the_same(
    tmp_path: Path, recordings_dir: Path
) -> None:
    """What the launch was told goes before what the program says."""
    program = sender().replace("tick_rate=50)", f"tick_rate=50, recordings_dir={str(tmp_path / 'own')!r})")
    file = robot(tmp_path, "[programs.arm]", arm=program)
    with Launched(file, "--record", "here") as launched:
        launched.until_state("arm", "up")
        launched.signal()
        assert launched.end() == 130
    assert read_set(recordings_dir / "here").parts[0].is_there
    assert not (tmp_path / "own").exists()


def test_a_name_that_is_taken_is_refused_before_anything_starts(tmp_path: Path, recordings_dir: Path) -> None:
    """A session's by a set, a set's by a session, a set's by a set; and one that would be a path."""
    session(recordings_dir, "taken")
    set_of(recordings_dir, "both", ("arm", "odom", "sender"))
    file = robot(tmp_path, "[programs.arm]", arm="open('began', 'w')")
    for name in ("taken", "both", "../out", "a/b"):
        done = horus("launch", file, "--record", name, cwd=tmp_path)
        assert done.returncode == 2
        assert "already" in done.stderr or "cannot be used" in done.stderr
    assert not (tmp_path / "began").exists()
    with pytest.raises(SessionExistsError):
        session(recordings_dir, "both")


def test_sets_are_listed_and_cleaned_as_one(recordings_dir: Path, tmp_path: Path) -> None:
    """Oldest first; by its start a set is too old as a whole."""
    set_of(recordings_dir, "both", ("arm", "odom", "sender"), ("base", "scan", "lidar"))
    session(recordings_dir, "alone")
    assert Scheduler.list_recordings() == ["both", "alone"]
    listed = json.loads(horus("record", "list", "--json", "--long", cwd=tmp_path).stdout)["sessions"]
    assert [row["name"] for row in listed] == ["both", "alone"]
    assert listed[0]["programs"] == ["both/arm", "both/base"]
    assert listed[0]["messages"] == 10
    done = horus("record", "delete", "both/arm", cwd=tmp_path)
    assert done.returncode == 2
    assert "a part of 'both', which is deleted as a whole: record delete both" in done.stderr
    assert horus("record", "clean", "--max-age-days", "0", "--force", cwd=tmp_path).returncode == 0
    assert not list_sessions()


def test_a_quota_of_one_program_takes_nothing_from_the_others(recordings_dir: Path) -> None:
    """It counts sets as one, and goes for those that are older."""
    session(recordings_dir, "old")
    with SetWriter("now", {"arm": {}, "base": {}}, root=recordings_dir, problem=print) as written:
        session(*written.begin("base"))
        scheduler = Scheduler(
            recording=RecordingOptions(name=written.begin("arm")[1], keep_sessions=1), recordings_dir=written.path
        )
        scheduler.add(Node("quota", tick=lambda node: node.send("x", 1), pubs=["x"]))
        scheduler.run_sync(0.05)
    assert Scheduler.list_recordings() == ["now"]
    assert [part.session for part in read_set(written.path).parts if part.is_there] == ["arm", "base"]


def test_nodes_of_one_name_are_told_apart(recordings_dir: Path) -> None:
    """By their programs; others keep their names."""
    set_of(recordings_dir, "both", ("left", "odom", "driver"), ("right", "scan", "driver"), ("mind", "plan", "planner"))
    together = open_session("both")
    assert set(together.nodes) == {"left/driver", "right/driver", "planner"}
    assert together.name == "both"
    assert sum(1 for node in together.nodes for _ in together.outputs(node)) == 15


def test_what_was_put_together_is_made_anew_when_there_is_more(recordings_dir: Path) -> None:
    """Else it is used again; what is old is removed."""
    folder = set_of(recordings_dir, "both", ("arm", "odom", "sender"))
    first = open_session("both").path
    assert open_session("both").path == first
    session(folder, "arm.2")
    second = open_session("both").path
    assert second != first
    assert not first.exists()
    assert set(open_session("both").nodes) == {"sender", "arm.2/sender"}


def test_a_part_that_recorded_nothing_is_said(recordings_dir: Path, tmp_path: Path) -> None:
    """Where all are taken together, too."""
    set_of(recordings_dir, "both", ("arm", "odom", "sender"), ("base", "scan", "lidar"))
    shutil.rmtree(recordings_dir / "both" / "base")
    done = horus("replay", "both", "--speed", "max", cwd=tmp_path)
    assert done.returncode == 0
    assert "note: both: base recorded nothing (exit code 0)" in done.stderr
    assert "base recorded nothing: exit code 0" in horus("record", "info", "both", cwd=tmp_path).stderr
    with pytest.raises(SessionNotFoundError, match=r"set 'both' has no session 'base'; it has: arm"):
        open_session("both/base")


def test_a_set_without_any_session_is_an_error_with_the_reason(recordings_dir: Path, tmp_path: Path) -> None:
    """In one line."""
    with SetWriter("none", {"arm": {}}, root=recordings_dir, problem=print) as written:
        written.begin("arm")
        written.ended("arm", 1, "exit code 1")
    done = horus("replay", "none", cwd=tmp_path)
    assert done.returncode == 2
    assert "set 'none' has no session with ticks: arm recorded nothing (exit code 1)" in done.stderr


def test_a_lost_or_hostile_set_file_takes_nothing_away(recordings_dir: Path, tmp_path: Path) -> None:
    """The sessions are found by their folders; names in it never lead elsewhere."""
    folder = set_of(recordings_dir, "both", ("arm", "odom", "sender"))
    session(recordings_dir, "alone")
    (folder / "set.json").write_text("{")
    assert list(open_session("both").nodes) == ["sender"]
    assert "set.json cannot be read" in horus("record", "info", "both", cwd=tmp_path).stderr
    assert horus("record", "check", "both", cwd=tmp_path).returncode == 1
    names: list[Any] = ["../alone", "alone/../../alone", "..", 3, None, {}, "a\x1b"]
    rows = [{"session": name} for name in names]
    fields = {"schema_version": 1, "programs": {"arm": {"parts": rows}, "base": 3, "\x1b[2J": {"app": 3, "parts": 3}}}
    (folder / "set.json").write_text(json.dumps(fields))
    assert [part.session for part in read_set(folder).parts] == ["arm"]
    assert "\x1b" not in horus("record", "info", "both", cwd=tmp_path).stdout
    (folder / "set.json").write_text('{"schema_version": 99}')
    done = horus("record", "info", "both", cwd=tmp_path)
    assert (done.returncode, "99" in done.stderr) == (2, True)
    assert Scheduler.delete_recording("both")


def test_programs_of_several_namespaces_are_not_mixed(recordings_dir: Path, tmp_path: Path) -> None:
    """Their topics of one name are different ones. Each is there by itself, and info shows all."""
    with SetWriter("fleet", {"left": {}, "right": {}}, root=recordings_dir, problem=print) as written:
        for program in ("left", "right"):
            session(*written.begin(program), namespace=program)
    done = horus("replay", "fleet", cwd=tmp_path)
    assert done.returncode == 2
    assert "namespaces left, right" in done.stderr
    assert "fleet/left, fleet/right" in done.stderr
    assert horus("record", "info", "fleet", cwd=tmp_path).returncode == 0


def test_a_set_is_verified_program_by_program(recordings_dir: Path, tmp_path: Path) -> None:
    """Which, has to be said."""
    set_of(recordings_dir, "both", ("arm", "odom", "sender"))
    done = horus("replay", "both", "--verify", "arm.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "give one of both/arm" in done.stderr


def test_sets_are_compared_program_by_program(recordings_dir: Path, tmp_path: Path) -> None:
    """A changed message, a program more, nothing in common."""
    set_of(recordings_dir, "a", ("arm", "odom", "sender"), ("base", "scan", "lidar"))
    shutil.copytree(recordings_dir / "a", recordings_dir / "b")
    assert horus("record", "diff", "a", "b", cwd=tmp_path).returncode == 0
    shutil.rmtree(recordings_dir / "b" / "arm")
    session(recordings_dir / "b", "arm", node="other")
    done = horus("record", "diff", "a", "b", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["sessions"]["base"]["same"]
    assert not found["sessions"]["arm"]["same"]
    assert found["shown"][0]["session"] == "arm"
    shutil.rmtree(recordings_dir / "b" / "base")
    done = horus("record", "diff", "a", "b", cwd=tmp_path)
    assert (done.returncode, "only a has base" in done.stdout) == (2, True)  # and no message could be compared


def test_a_set_that_is_being_recorded_is_not_deleted(recordings_dir: Path) -> None:
    """Neither while launch runs, nor while a program of it does."""
    with SetWriter("now", {"arm": {}}, root=recordings_dir, problem=print) as written:
        session(*written.begin("arm"))
        with pytest.raises(RecordingError, match="still being recorded"):
            delete_session("now")
        assert list_sessions()[0].is_open
    assert delete_session("now")


def test_a_set_is_found_by_its_name_its_folder_and_its_file(recordings_dir: Path) -> None:
    """And nothing else is taken for one."""
    folder = set_of(recordings_dir, "both", ("arm", "odom", "sender"))
    session(recordings_dir, "alone")
    for ref in ("both", str(folder), str(folder / "set.json"), folder):
        found = find_set(ref)
        assert found is not None
        assert found.path == folder
    for ref in ("alone", "none", "", ".", "..", "both/arm", "\0", "a" * 5000, str(folder / "arm")):
        assert find_set(ref) is None
