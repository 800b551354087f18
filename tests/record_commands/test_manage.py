"""``record list``, ``info``, ``check``, ``clean`` and ``delete``: J.1-25."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from horus_async import Node, Scheduler
from horus_async.clock.system import NANOSECONDS, wall_ns
from horus_async.observe import RunInfo
from horus_async.recorder import Recorder, RecordingOptions
from tests.recorder.runs import play, recorder, run_info, settled

from .sessions import bulky, call, call_json, cut_off, damage, frames_of, make, outsider, robot

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400 * NANOSECONDS


def test_list_shows_all_sessions(recordings_dir: Path) -> None:
    """J.1-25: ``list`` shows name, start, duration, nodes and size, oldest first; ``--long`` adds four more."""
    robot(recordings_dir, "later", started_ns=wall_ns())
    robot(recordings_dir, "earlier")
    lines = call("list").output.splitlines()
    assert lines[0].split() == ["name", "started", "duration", "s", "nodes", "size"]
    assert [line.split()[0] for line in lines[1:]] == ["earlier", "later"]
    assert "0.50" in lines[1]
    assert "sensor, controller" in lines[1]
    assert "messages" not in lines[0]
    assert lines[1].split()[-1] == "kB"
    long = call("list", "--long").output.splitlines()
    assert long[0].split()[-5:] == ["rate", "Hz", "mode", "seed", "messages"]
    assert long[1].split()[-4:] == ["100.0", "deterministic", "7", "100"]


def test_list_as_json(recordings_dir: Path) -> None:
    """J.1-25: ``list --json`` gives the same as data."""
    robot(recordings_dir, "a")
    (session,) = call_json("list", "--long")["sessions"]
    assert (session["name"], session["duration"], session["nodes"]) == ("a", 0.5, ["sensor", "controller"])
    assert (session["messages"], session["seed"], session["problem"]) == (100, 7, None)
    assert session["bytes"] == sum(path.stat().st_size for path in (recordings_dir / "a").iterdir())


def test_list_of_nothing(recordings_dir: Path) -> None:
    """An empty place for recordings is no error, and it is named."""
    result = call("list")
    assert result.exit_code == 0
    assert str(recordings_dir) in result.stderr


def test_list_shows_what_cannot_be_read(recordings_dir: Path) -> None:
    """A session that cannot be read is listed, with the reason."""
    folder = recordings_dir / "broken"
    folder.mkdir(parents=True)
    (folder / "x@1.jsonl.lz4").write_bytes(b"no frames")
    result = call("list")
    assert "broken" in result.stdout
    assert "holds nothing that can be read" in result.stderr


def test_info_counts_by_node_and_topic(recordings_dir: Path) -> None:
    """J.1-25: ``info`` gives ticks of each node, and count, rate, bytes, first and last tick and type of each topic."""
    messages = {tick: [("n", "a", {"x": tick})] + ([("n", "b", b"1234")] if tick % 2 else []) for tick in range(10, 60)}
    make(recordings_dir, "s", messages, ticks=100, outside=[outsider(3, 1.5)])
    found = call_json("info", "s")
    assert (found["messages"], found["duration"], found["mode"]) == (76, 1.0, "deterministic")
    (node,) = found["nodes"]
    assert (node["ticks"], node["rate"], node["messages"], node["dropped"]) == (100, 100.0, 75, 0)
    a, b, outside = found["topics"]
    assert (a["count"], a["rate"], a["first_tick"], a["last_tick"], a["type"]) == (50, 50.0, 10, 59, "dict")
    assert a["bytes"] == 50 * len('{"x":10}')
    assert (b["count"], b["first_tick"], b["last_tick"], b["type"]) == (25, 11, 59, "bytes")
    assert (outside["topic"], outside["publisher"], outside["type"]) == ("operator.cmd", "joystick", "float")
    assert found["notes"] == []


@pytest.mark.parametrize("spread", [range(20_000), range(40), range(19_960, 20_000), range(0, 20_000, 999)])
def test_info_of_a_long_session_knows_the_same_without_reading_it_all(recordings_dir: Path, spread: range) -> None:
    """Count, first and last tick, and bytes of a long session's topic are exact, wherever its messages lie."""
    make(recordings_dir, "s", {tick: [("n", "t", {"x": tick})] for tick in spread}, ticks=20_000)
    (topic,) = call_json("info", "s")["topics"]
    assert topic["count"] == len(spread)
    assert (topic["first_tick"], topic["last_tick"]) == (spread[0], spread[-1])
    assert topic["bytes"] == sum(len(f'{{"x":{tick}}}') for tick in spread)


def test_info_of_a_killed_recording(recordings_dir: Path) -> None:
    """J.1-25: ``info`` of a session whose process was killed counts what is there and says what is cut."""
    bulky(recordings_dir, "s", close=False)
    result = call("info", "s")
    assert result.exit_code == 0
    assert "cut off at byte" in result.stderr
    assert call_json("info", "s")["messages"] == 3


def test_info_says_what_was_left_out(recordings_dir: Path) -> None:
    """Messages that the recording was told to leave out are counted in a note."""
    options = RecordingOptions(name="s", exclude_topics=("camera.*",))
    Scheduler(deterministic=True, recording=options).add(Node("n", tick=_send_two)).run_sync(0.1)
    found = call_json("info", "s")
    assert [topic["topic"] for topic in found["topics"]] == ["pose"]
    assert found["notes"] == ["10 messages were left out, as the recording was told to"]


def _send_two(node: Node) -> None:
    node.send("camera.front", b"large")
    node.send("pose", 1)


def test_info_and_check_of_a_rotated_session(recordings_dir: Path) -> None:
    """A session in several files is shown as one, and a file of it that is gone is noticed."""
    observer = recorder(recordings_dir, "s", rotate_mb=0.0001)
    observer.run_started(run_info())
    for start in range(0, 400, 100):
        play(observer, range(start, start + 100), random.Random(start))
        settled(observer)
    observer.run_stopped("duration", 400)
    files = sorted((recordings_dir / "s").glob("sensor@*"))
    assert len(files) > 1
    found = call_json("info", "s")
    assert [node["ticks"] for node in found["nodes"]] == [400, 400]
    assert (found["messages"], found["notes"]) == (800, [])
    assert call("check", "s").exit_code == 0
    files[-1].unlink()
    assert call("check", "s").exit_code == 1


def test_info_of_no_session(recordings_dir: Path) -> None:
    """A session that is not there is wrong usage."""
    assert call("info", "nothing").exit_code == 2


def test_check_of_a_whole_session(recordings_dir: Path) -> None:
    """``check`` of a whole session gives 0 and counts the lines of each file."""
    robot(recordings_dir, "s", outside=[outsider(2, 1)])
    result = call("check", "s")
    assert result.exit_code == 0
    assert "s is whole" in result.output
    found = call_json("check", "s")
    assert found["verdict"] == "whole"
    assert [file["ticks"] for file in found["files"]] == [50, 50, 50, 0]
    assert sum(file["messages"] for file in found["files"]) == 100


def test_check_of_a_cut_session(recordings_dir: Path) -> None:
    """``check`` of a session that merely ends early gives 0, and says where it is cut."""
    bulky(recordings_dir, "s", close=False)
    result = call("check", "s")
    assert result.exit_code == 0
    assert "is cut off at its end" in result.output
    assert "cut off at byte" in result.output


def test_check_of_a_damaged_session(recordings_dir: Path) -> None:
    """``check`` of a damaged session gives 1: which file, where, what of it can still be read."""
    session = bulky(recordings_dir, "s")
    frame = damage(session.files["camera"].path)
    result = call("check", "s")
    assert result.exit_code == 1
    assert f"damaged at byte {frame.offset}" in result.output
    found = call_json("check", "s")
    (camera,) = [file for file in found["files"] if file["verdict"] == "damaged"]
    assert (camera["messages"], camera["first_tick"], camera["last_tick"]) == (3, 1, 3)


def test_check_notices_a_frame_that_was_taken_out(recordings_dir: Path) -> None:
    """A file from which a whole frame was cut out is damaged, though each frame in it is good."""
    path = bulky(recordings_dir, "s").files["camera"].path
    data = path.read_bytes()
    _, frame, *_ = frames_of(path)
    path.write_bytes(data[: frame.offset] + data[frame.offset + frame.size :])
    result = call("check", "s")
    assert result.exit_code == 1
    assert "lines are missing" in result.output


def test_check_notices_missing_files(recordings_dir: Path) -> None:
    """A file that the manifest names and that is gone is damage."""
    session = robot(recordings_dir, "s")
    session.files["sensor"].path.unlink()
    result = call("check", "s")
    assert result.exit_code == 1
    assert "sensor@" in result.output
    assert "is missing" in result.output


def test_check_of_a_session_of_which_all_is_destroyed(recordings_dir: Path) -> None:
    """A session whose files are all destroyed is damaged as long as its manifest says that it is one."""
    session = robot(recordings_dir, "s")
    for file in session.all_files():
        file.path.write_bytes(b"\xff" * 100)
    assert call("check", "s").exit_code == 1


@pytest.mark.parametrize("content", [None, b"", b"hello"])
def test_check_of_no_recording(recordings_dir: Path, tmp_path: Path, content: bytes | None) -> None:
    """What is no recording gives 2 and one line."""
    folder = tmp_path / "folder"
    folder.mkdir()
    if content is not None:
        (folder / "x@1.jsonl.lz4").write_bytes(content)
    result = call("check", folder)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1


def test_clean_goes_by_the_recorded_start(recordings_dir: Path) -> None:
    """J.1-25: ``clean`` deletes the sessions that were started before then, whatever their names and file times."""
    now = wall_ns()
    robot(recordings_dir, "new", started_ns=now - DAY_NS)
    robot(recordings_dir, "old", started_ns=now - 10 * DAY_NS)
    robot(recordings_dir, "recording_20200101T000000.000_p1", started_ns=now)
    assert call_json("clean", "--max-age-days", "7", "--dry-run") == {"sessions": ["old"], "deleted": False}
    assert "1 session would be deleted" in call("clean", "--max-age-days", "7", "--dry-run").output
    assert (recordings_dir / "old").exists()
    result = call("clean", "--max-age-days", "7", "--force")
    assert result.exit_code == 0
    assert sorted(path.name for path in recordings_dir.iterdir()) == ["new", "recording_20200101T000000.000_p1"]
    assert "no session is older" in call("clean", "--max-age-days", "7", "--force").output


def test_clean_needs_an_age(recordings_dir: Path) -> None:
    """J.1-25: without ``--max-age-days`` nothing is deleted."""
    robot(recordings_dir, "a")
    assert call("clean", "--force").exit_code == 2
    assert (recordings_dir / "a").exists()


def test_clean_keeps_what_is_being_recorded(recordings_dir: Path) -> None:
    """A long recording that still runs is kept, however long ago it was started, and cannot be deleted either."""
    started_ns = wall_ns() - 10 * DAY_NS
    observer = Recorder(RecordingOptions(name="s"), recordings_dir, block=True)
    observer.run_started(RunInfo("scheduler", 100.0, True, 0, started_ns, 0, "default"))
    try:
        assert call_json("clean", "--max-age-days", "7", "--force")["sessions"] == []
        assert call("delete", "s", "--force").exit_code == 2
        assert call_json("info", "s")["notes"][-1] == "it is still being recorded"
        assert (recordings_dir / "s").exists()
    finally:
        observer.stop()
    assert call_json("clean", "--max-age-days", "7", "--force")["sessions"] == ["s"]


@pytest.mark.parametrize(("answer", "left"), [(False, True), (True, False)])
@pytest.mark.parametrize("command", [("delete", "s"), ("clean", "--max-age-days", "0")])
def test_asks_on_a_terminal(
    recordings_dir: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], *, answer: bool, left: bool
) -> None:
    """J.1-25: on a terminal ``delete`` and ``clean`` ask, and do nothing when the answer is no."""
    robot(recordings_dir, "s", started_ns=wall_ns() - DAY_NS)
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr("horus_async.cli.record._at_a_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    assert call(*command).exit_code == 0
    assert len(asked) == 1
    assert (recordings_dir / "s").exists() is left


@pytest.mark.parametrize("command", [("delete", "s"), ("clean", "--max-age-days", "0")])
def test_force_does_not_ask(recordings_dir: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """J.1-25: with ``--force`` nobody is asked, on a terminal too."""
    robot(recordings_dir, "s", started_ns=wall_ns() - DAY_NS)
    monkeypatch.setattr("horus_async.cli.record._at_a_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", lambda _: pytest.fail("asked"))
    assert call(*command, "--force").exit_code == 0
    assert not (recordings_dir / "s").exists()


def test_delete_twice(recordings_dir: Path) -> None:
    """J.1-25: ``delete`` deletes a session; the second time there is none, which is wrong usage."""
    robot(recordings_dir, "s")
    robot(recordings_dir, "t")
    assert call("delete", "s").exit_code == 0
    result = call("delete", "s")
    assert result.exit_code == 2
    assert "there are: t" in result.output


def test_delete_goes_by_name_only(recordings_dir: Path, tmp_path: Path) -> None:
    """A folder outside the place for recordings is not deleted."""
    session = robot(tmp_path / "elsewhere", "s")
    assert call("delete", session.path, "--force").exit_code == 2
    assert session.path.exists()


def test_every_command_has_help_with_an_example(recordings_dir: Path) -> None:
    """Each command's ``--help`` shows an example."""
    for command in ("list", "info", "replay", "inject", "diff", "export", "import", "check", "clean", "delete"):
        result = call(command, "--help")
        assert result.exit_code == 0
        assert "Example: horus-async" in " ".join(result.output.split()), command
        assert command in call("--help").output


def test_cut_file_of_one_node_leaves_the_others(recordings_dir: Path) -> None:
    """The cut is reported for the file that has it, and only for that."""
    session = bulky(recordings_dir, "s")
    cut_off(session.files["camera"].path)
    found = call_json("check", "s")
    assert [file["verdict"] for file in found["files"]] == ["whole", "cut"]
    assert found["files"][1]["messages"] == 3
