"""The robot that stopped in the night: what happens, what the box says of it, and that its page tells the truth."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .programs import ROOT, horus

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = ROOT / "examples" / "overnight_crash.py"
PAGE = ROOT / "docs" / "overnight_crash.md"
_VARYING = re.compile(r"^\[\d\d:\d\d:\d\d\.\d{3}\] |, traceback: .*(?= \})", re.MULTILINE)


def _events(folder: Path, *options: str) -> list[dict[str, object]]:
    done = horus("blackbox", "--json", *options, cwd=folder, HORUS_BLACKBOX_DIR=str(folder))
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_box_tells_the_story(tmp_path: Path) -> None:
    """Deadline misses, then the joint limit, then the emergency stop; exit code 1 and one line that says why."""
    done = horus("run", EXAMPLE, cwd=tmp_path, HORUS_BLACKBOX_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("collision_checker missed 3 in a row")
    story = [event["event"] for event in _events(tmp_path, "--anomalies")]
    assert story == ["DeadlineMiss", "DeadlineMiss", "NodeError", "FailurePolicy", "DeadlineMiss", "EmergencyStop"]
    first, second, error, *_ = _events(tmp_path, "--anomalies")
    assert (first["deadline_us"], first["actual_us"], second["actual_us"]) == (1900, 4200, 5100)
    assert (error["name"], error["error"]) == ("arm_controller", "RuntimeError: joint limit exceeded")
    (stop,) = _events(tmp_path, "--event", "SchedulerStop")
    assert str(stop["reason"]).startswith("emergency stop: deadline miss threshold exceeded")


def test_the_repaired_robot_stops_in_time(tmp_path: Path) -> None:
    """With the interlock the robot still stops, and the arm stays within its limit."""
    done = horus("run", EXAMPLE, "--", "--interlock", cwd=tmp_path, HORUS_BLACKBOX_DIR=str(tmp_path))
    assert done.returncode == 1
    story = [event["event"] for event in _events(tmp_path, "--anomalies")]
    assert story == ["DeadlineMiss"] * 3 + ["EmergencyStop"]


def test_the_page_shows_what_the_commands_print(tmp_path: Path) -> None:
    """Each `blackbox` command on the page prints what the page says, but for times and tracebacks."""
    horus("run", EXAMPLE, cwd=tmp_path, HORUS_BLACKBOX_DIR=str(tmp_path))
    blocks = re.findall(r"\$ horus-async (blackbox [^\n]*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for command, printed in blocks:
        done = horus(*command.split(), cwd=tmp_path, HORUS_BLACKBOX_DIR=str(tmp_path))
        assert _VARYING.sub("", done.stdout) == _VARYING.sub("", printed)
