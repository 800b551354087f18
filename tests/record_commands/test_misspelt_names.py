"""A name that nobody knows: the error ends with the one that was meant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from horus_async import Scheduler, Topic
from horus_async.cli import main
from horus_async.errors import HorusError

from .mcap_files import json_mcap
from .sessions import make

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    ("rnu robot.py", "run"),
    ("recrod list", "record"),
    ("record exprot drive", "export"),
    ("record lst", "list"),
    ("topic ehco scan", "echo"),
    ("trace sumary .", "summary"),
]
SESSIONS = [
    "record info drvie",
    "replay drvie",
    "record replay drvie",
    "record delete drvie --force",
    "record check drvie",
    "record diff drive drvie",
    "record diff drvie drive",
    "record export drvie --format csv --output x.csv",
    "record cut drvie --ticks 1-2 --name part",
    "record merge drive drvie --name both",
    "record inject drvie --nodes lidar",
]
NODES = [
    "replay drive --nodes lidra",
    "replay drive --nodes odom_node,lidra",
    "record inject drive --nodes lidra",
    "replay drive --verify robot.py --nodes lidra",
]
TOPICS = [
    "record export drive --format csv --output x.csv --topic scna",
    "replay drive --topic scna",
    "replay drive --exclude scna",
    "replay drive --rename scna=other",
    "record import drive.mcap --name new --topic scna",
    "topic info scna",
]
OTHERS = [
    ("replay drive --override lidra.scan=1", "lidar.scan"),
    ("replay drive --override lidar.scna=1", "lidar.scan"),
    ("run robto.py", "robot.py"),
    ("check robto.py", "robot.py"),
    ("replay drive --verify robto.py", "robot.py"),
    ("run robot.py:biuld", "build"),
    ("check robot.py:shceduler", "scheduler"),
    ("blackbox --event DeadlinMiss", "DeadlineMiss"),
]
CASES = [
    *COMMANDS,
    *((line, "drive") for line in SESSIONS),
    *((line, "lidar") for line in NODES),
    *((line, "scan") for line in TOPICS),
    *OTHERS,
]

ROBOT = """
from horus_async import Node, Scheduler


async def tick(node):
    node.send("scan", 1)


def build(args):
    return Scheduler(tick_rate=100).add(Node("lidar", tick=tick, pubs=["scan"]))


scheduler = build([])
"""


@pytest.fixture
def place(recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session, a program, a file, and a topic that lives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HORUS_NAMESPACE", f"misspelt{os.getpid()}")
    make(recordings_dir, "drive", {0: [("lidar", "scan", 1), ("odom_node", "odom", 2)]}, ticks=1)
    (tmp_path / "robot.py").write_text(ROBOT)
    json_mcap(tmp_path / "drive.mcap", [("/scan", 1, b"1"), ("/odom", 2, b"2")])


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("line", "meant"), CASES)
def test_the_nearest_name_is_said(line: str, meant: str) -> None:
    """In commands, sessions, nodes, topics, programs and what is in them."""
    with Topic("scan", namespace=os.environ["HORUS_NAMESPACE"]) as topic:
        topic.send(1)
        result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 2, result.output
    assert result.stderr.lower().rstrip().endswith(f"did you mean {meant.lower()!r}?"), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("line", ["xyzzy", "record info xyzzy", "replay drive --nodes xyzzy", "run xyzzy.py"])
def test_nothing_is_said_where_nothing_is_like_it(line: str) -> None:
    """A guess would mislead."""
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 2
    assert "mean" not in result.stderr


@pytest.mark.usefixtures("place")
def test_in_python_too() -> None:
    """The errors are the same."""
    for name in ("drvie", "drive "):
        with pytest.raises(HorusError, match=r"no session .*; did you mean 'drive'\?"):
            Scheduler.replay_from(name)
    replay = Scheduler.replay_from("drive")
    with pytest.raises(HorusError, match=r"no node 'lidra' .*; did you mean 'lidar'\?"):
        replay.set_replay_override("lidra", "scan", 1)
    with pytest.raises(HorusError, match=r"sent nothing on 'scna' .*; did you mean 'scan'\?"):
        replay.set_replay_override("lidar", "scna", 1)
