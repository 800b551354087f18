"""What people see at a terminal: tables that fold between words, and lines of state; nothing of it in a pipe."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async import Node, Scheduler, Topic
from horus_async.blackbox import BlackBox
from horus_async.cli.terminal.table import GAP, lines_of
from tests.engine.programs import environment
from tests.policy.traces import foreign_lines, write_lines
from tests.terminal import at_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

words = st.text("abcxyz019.:/-_", min_size=1, max_size=30)
cells = st.lists(words, min_size=1, max_size=6).map(" ".join)
tables = st.integers(1, 8).flatmap(
    lambda columns: st.lists(st.lists(cells, min_size=columns, max_size=columns), min_size=1, max_size=5)
)


@given(table=tables, width=st.integers(1, 120))
def test_no_word_is_broken_or_lost(table: list[list[str]], width: int) -> None:
    """Whatever the width; and no line is wider, unless one word, or the first column, is."""
    columns, *rows = table
    lines = list(lines_of(columns, rows, width))
    shown = [word for line in lines for word in line.split()]
    for row in rows:
        for word in " ".join(row).split():
            assert word in shown
    longest = max(len(word) for row in table for cell in row for word in cell.split())
    first = max(len(row[0]) for row in table)
    assert all(len(line) <= max(width, longest + GAP, first) for line in lines)


@given(table=tables)
def test_a_table_that_fits_or_goes_into_a_file_is_one_line_a_row(table: list[list[str]]) -> None:
    """Then nothing is folded."""
    columns, *rows = table
    whole = list(lines_of(columns, rows, None))
    assert len(whole) == len(table)
    assert list(lines_of(columns, rows, max(map(len, whole)))) == whole


@pytest.fixture
def robot(tmp_path: Path, recordings_dir: Path, blackbox_dir: Path) -> Path:
    """A program, some sessions with long names and many nodes, a box with a long event, and a trace."""
    for name in ("a_session_with_a_name_of_some_length", "s"):
        scheduler = Scheduler(deterministic=True, recording=name)
        for node in ("front.lidar", "wheel_odometry", "global_planner", "a_node_whose_name_does_not_end_soon"):
            scheduler.add(Node(node, tick=lambda node: node.send(f"{node.name}/out", {"value": 1.5}), rate=100))
        scheduler.run_sync(0.05)
    with BlackBox.create(name="scheduler", size_mb=1) as box:
        box.custom("words", " ".join(f"word{number}" for number in range(60)))
    (tmp_path / "traces").mkdir()
    write_lines(tmp_path / "traces" / "20260424-171305-7a8b3c1d9f2e4a55-x.jsonl", foreign_lines())
    path = tmp_path / "robot.py"
    path.write_text(
        "from horus_async import Node, Scheduler\n"
        "def build(args):\n"
        "    scheduler = Scheduler(recording='r')\n"
        "    scheduler.add(Node('arm', tick=lambda node: node.send('joints', 1), rate=100, subs=['scan']))\n"
        "    return scheduler.add(Node('a_node_with_quite_a_long_name', tick=lambda node: None, rate=100))\n"
    )
    return path


COMMANDS = {
    "list": ("record", "list", "--long"),
    "info": ("record", "info", "s"),
    "check": ("record", "check", "s"),
    "topics": ("topic", "list"),
    "topic": ("topic", "info", "a/topic/with/a/name"),
    "doctor": ("doctor",),
    "box": ("blackbox",),
    "traces": ("trace", "list", "traces"),
    "requests": ("trace", "query", "traces"),
    "summary": ("trace", "summary", "traces"),
    "run": ("run", "--duration", "0.1", "robot.py"),
    "verify": ("replay", "s", "--verify", "robot.py"),
}


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_wider_than_the_terminal(command: str, columns: int, robot: Path) -> None:
    """But for a single word that is, such as a path, where it is indented."""
    with Topic("a/topic/with/a/name") as topic:
        topic.send({"value": "some words " * 3})
        code, lines = at_a_terminal(*COMMANDS[command], columns=columns, cwd=robot.parent)
    assert code in ({2} if command == "verify" else {0, 1, 2} if command == "doctor" else {0, 1}), lines
    for line in lines:
        assert len(line) <= columns or max(map(len, line.split())) > columns - 25 or _is_prose(line), line


def _is_prose(line: str) -> bool:
    """Lines that say one thing to people and to programs."""
    return line.startswith(
        (
            "session ",
            "newest ",
            "horus-async: ",
            "node ",
            "note: ",
            "recorded ",
            "compared ",
            "first diff",
            "nothing was",
        )
    )


def test_a_pipe_gets_one_line_a_row(robot: Path) -> None:
    """Unless COLUMNS asks for a width, and not GNU readline, which sets LINES too."""
    command = [sys.executable, "-m", "horus_async", "record", "list", "--long"]
    plain = {name: value for name, value in environment().items() if name not in {"COLUMNS", "LINES"}}
    for more in ({}, {"COLUMNS": "60", "LINES": "24"}):
        lines = subprocess.check_output(command, env={**plain, **more}, text=True, timeout=300).splitlines()
        assert len(lines) == 3
    lines = subprocess.check_output(command, env={**plain, "COLUMNS": "60"}, text=True, timeout=300).splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 60 for line in lines)


STATES = {
    "run": (("run", "--duration", "1.5", "robot.py"), ["started: ", "2 nodes at 100 Hz", "recording as r: ", "black"]),
    "replay": (("replay", "s"), ["started: replay of s, ticks 0 to 4 at speed 1.0", "ended: replay finished"]),
    "check": (("check", "robot.py", "--duration", "0.1"), ["started: 4 runs of robot.py, each 0.1 s"]),
    "verify": (("replay", "s", "--verify", "robot.py"), ["started: the nodes of robot.py on what s"]),
    "inject": (("record", "inject", "s", "--nodes", "front.lidar"), ["started: front.lidar of s, 1 node at 100 Hz"]),
}


@pytest.mark.parametrize("command", STATES)
def test_lines_of_state_at_a_terminal_only(command: str, robot: Path) -> None:
    """On standard error: what has started, where it is recorded, how far it is, what it waits for."""
    arguments, expected = STATES[command]
    _, lines = at_a_terminal(*arguments, columns=200, cwd=robot.parent)
    said = "\n".join(lines)
    assert all(text in said for text in expected), said
    if command == "run":
        assert "after 1 s: tick " in said
        assert "waiting for scan, which arm reads: nobody sends it yet" in said
        arguments = (*arguments[:3], "--record", "r2", *arguments[3:])
    done = subprocess.run(
        [sys.executable, "-m", "horus_async", *arguments],
        env=environment(),
        cwd=robot.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "started" not in done.stdout + done.stderr
    assert "ended" not in done.stdout + done.stderr
