"""Behind TAB: what the command line completes, asked for as a shell asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async import Node, Scheduler, Topic
from horus_async.blackbox import BlackBox
from tests.engine.programs import environment

if TYPE_CHECKING:
    from pathlib import Path

MAIN = "from horus_async.cli import main; main(prog_name='horus-async')"


def ask(shell: str, **more: str) -> str:
    """What is told to a shell; nothing is ever said on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN],
        env=environment(_HORUS_ASYNC_COMPLETE=shell, **more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not done.stderr
    return done.stdout


def completed(line: str) -> list[str]:
    """The completions of the last word of a line: ``plain,WORD``, or ``file,WORD`` for a path."""
    words = line.split(" ")
    found = ask("bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)).splitlines()
    return [one.removeprefix("plain,") for one in found if one]


@pytest.fixture
def sessions(recordings_dir: Path) -> None:
    """Two of them, the first with three nodes."""
    scheduler = Scheduler(deterministic=True, recording="drive")
    for name in ("lidar", "leg.left", "leg.right"):
        scheduler.add(Node(name, tick=lambda node: node.send(f"{node.name}/out", 1)))
    scheduler.run_sync(0.02)
    Scheduler(deterministic=True, recording="walk").add(Node("a", tick=lambda node: None)).run_sync(0.02)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("horus-async rec", ["record"]),
        ("horus-async record d", ["diff", "delete"]),
        ("horus-async replay ", ["drive", "walk"]),
        ("horus-async record info d", ["drive"]),
        ("horus-async record diff walk ", ["drive", "walk"]),
        ("horus-async record delete w", ["walk"]),
        ("horus-async record cut w", ["walk"]),
        ("horus-async record cut drive --ticks 0-1 --name ", []),
        ("horus-async record merge walk d", ["drive"]),
        ("horus-async record st", ["start"]),
        ("horus-async record check w", ["walk"]),
        ("horus-async record inject dr", ["drive"]),
        ("horus-async replay drive --topic li", ["lidar/out"]),
        ("horus-async replay drive --exclude li", ["lidar/out"]),
        ("horus-async replay drive --rename li", ["lidar/out="]),
        ("horus-async replay drive --loop --nodes li", ["lidar"]),
        ("horus-async record info ./d", ["file,./d"]),
        ("horus-async replay drive --nodes le", ["leg.left", "leg.right"]),
        ("horus-async replay drive --nodes leg.left,l", ["leg.left,leg.right", "leg.left,lidar"]),
        ("horus-async record inject drive --nodes li", ["lidar"]),
        ("horus-async replay drive --override li", ["lidar.lidar/out="]),
        ("horus-async record export drive --topic l", ["leg.left/out", "leg.right/out", "lidar/out"]),
        ("horus-async record export drive --format p", ["parquet"]),
        ("horus-async record inject nowhere --nodes ", []),
        ("horus-async run ro", ["file,ro"]),
        ("horus-async check ro", ["file,ro"]),
        ("horus-async replay drive --verify ro", ["file,ro"]),
        ("horus-async record inject drive --nodes lidar --into ro", ["file,ro"]),
        ("horus-async record import ro", ["file,ro"]),
        ("horus-async blackbox --event d", []),
        ("horus-async blackbox --event D", ["DeadlineMiss"]),
    ],
)
def test_words(line: str, words: list[str], sessions: None) -> None:
    """Sessions, nodes and topics of a session, commands, files for APP."""
    assert completed(line) == words


def test_topics_and_namespaces_of_running_programs(namespace: str) -> None:
    """For all commands about a topic."""
    with Topic("scan.front") as front, Topic("scan/rear") as rear, Topic("odom") as odom:
        for topic in (front, rear, odom):
            topic.send(1)
        for command in ("echo", "hz", "bw", "info", "pub"):
            assert completed(f"horus-async topic {command} sc") == ["scan.front", "scan/rear"]
        assert completed(f"horus-async topic echo --namespace {namespace[:8]}") == [namespace]
        assert completed("horus-async topic echo --namespace elsewhere ") == []


def test_nodes_that_a_box_has_events_about(blackbox_dir: Path) -> None:
    """In the newest box, or in the one that is named."""
    assert completed("horus-async blackbox --node ") == []
    scheduler = Scheduler(deterministic=True, blackbox_mb=1, name="first")
    scheduler.add(Node("arm", tick=lambda node: None)).run_sync(0.02)
    assert completed("horus-async blackbox --node ") == ["arm"]
    with BlackBox.create(name="second", size_mb=1):
        assert completed("horus-async blackbox --node ") == []
        assert completed(f"horus-async blackbox {blackbox_dir}/first.hbb --node ") == ["arm"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_scripts(shell: str, tmp_path: Path, sessions: None) -> None:
    """They are what the documentation has evaluated; bash, where it is new enough, completes by it."""
    script = ask(f"{shell}_source")
    assert "_HORUS_ASYNC_COMPLETE" in script
    bash = shutil.which("bash")
    if shell != "bash" or bash is None:
        return
    command = tmp_path / "horus-async"
    command.write_text(f"#!{sys.executable}\n{MAIN}\n")
    command.chmod(0o700)
    call = "COMP_WORDS=(horus-async replay wa); COMP_CWORD=2; _horus_async_completion horus-async wa replay"
    done = subprocess.run(
        [bash, "--norc", "-c", f"{script}\n{call}\necho ${{COMPREPLY[@]}}"],
        env=environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "walk\n", done.stderr
