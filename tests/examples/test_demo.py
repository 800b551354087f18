"""``horus-async demo``: the main job start to end, and that its proof can fail."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import orjson
from click.testing import CliRunner

from horus_async import Scheduler
from horus_async.cli.demo import demo
from horus_async.cli.support import robot as _robot
from horus_async.recorder import ExecutionRecord, open_session

from .programs import horus

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_demo_records_replays_and_verifies(tmp_path: Path, recordings_dir: Path) -> None:
    """J.1-13, 15: it exits 0 after every recorded message was replayed equal and sent again by the same program."""
    done = horus("demo", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    proof = orjson.loads(done.stdout)
    session = open_session(proof["session"])

    sent = {
        node: sum(len(line.outputs) for line in session.executions(node) if isinstance(line, ExecutionRecord))
        for node in session.nodes
    }
    assert {node: figures["messages"] for node, figures in proof["nodes"].items()} == sent
    assert proof["recorded"] == proof["replayed"] == proof["verified"] == sum(sent.values()) > 1000
    assert (proof["differences"], proof["holds"]) == (0, True)
    assert proof["changed_differences"] > 0
    assert proof["changed_first"]["node"] == "guard"
    assert proof["path"] == str(recordings_dir / proof["session"])


def test_the_demo_says_where_the_recording_is_and_what_to_type_next(tmp_path: Path, recordings_dir: Path) -> None:
    """A table of the nodes, the folder, and commands that work on what it recorded."""
    done = horus("demo", cwd=tmp_path)
    (session,) = Scheduler.list_recordings()
    lines = done.stdout.splitlines()

    assert done.returncode == 0
    assert any(line.split()[:3] == ["robot", "3000", "3000"] for line in lines)
    assert str(recordings_dir / session) in done.stdout
    (suggested,) = (line.strip() for line in lines if " replay demo_" in line)
    again = subprocess.run(
        f"{suggested} --speed max", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr


def test_the_demo_ends_with_a_page(tmp_path: Path, recordings_dir: Path) -> None:
    """It shows the recording beside the changed program, and lies with the recording."""
    done = horus("demo", cwd=tmp_path)
    (session,) = Scheduler.list_recordings()
    page = recordings_dir / session / "page.html"
    assert f"page       {page}: " in done.stdout
    text = page.read_text()
    assert '"kind":"verification"' in text
    assert "the guard stops at 0.5 m" in text
    assert len(text) < 6_000_000
    assert horus("record", "check", session, cwd=tmp_path).returncode == 0


def test_the_demo_fails_when_the_program_does_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that changes between recording and verification makes it exit 1 and name the difference."""
    built = []

    def build(**options: Any) -> Scheduler:
        built.append(options)
        monkeypatch.setattr(_robot, "CRUISE_MPS", 0.6 if len(built) == 1 else 0.7)
        return _robot.build(**options)

    monkeypatch.setattr("horus_async.cli.demo.build", build)
    result = CliRunner().invoke(demo)

    assert result.exit_code == 1
    assert "THE PROOF FAILED" in result.output
    assert "first: tick 0, node controller, topic drive, field left_mps" in result.output


def test_the_robot_stays_in_its_room() -> None:
    """The simulated robot drives about, meets walls, and never leaves through one."""
    from horus_async.testing import run_nodes

    nodes = _robot.build().nodes
    captured = run_nodes(*nodes, duration=60)
    poses = captured.values("odometry")

    assert all(0 < pose["x"] < _robot.ROOM_M[0] and 0 < pose["y"] < _robot.ROOM_M[1] for pose in poses)
    assert max(pose["x"] for pose in poses) - min(pose["x"] for pose in poses) > 2
    assert {stop["stop"] for stop in captured.values("guard.stop")} == {False, True}
