"""``top`` beside real robots: what it shows, and how it leaves the terminal."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.testing import unique_namespace
from horus_async.topics.ring import memory
from tests.watching.robots import ROBOT, at, call, running, top_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TALKER = """
from horus_async import Topic
import time
with Topic("talk") as talk:
    talk.send("hello")
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The namespace and the process of one that runs."""
    namespace = unique_namespace()
    with running(namespace, tmp_path_factory.mktemp("robot")) as process:
        top_of(namespace, lambda said: said["nodes"])
        yield namespace, process


def named(rows: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The rows by their names."""
    return {row[kind]: row for row in rows}


def test_all_of_a_robot_is_seen(robot: tuple[str, int]) -> None:
    """Its nodes with what they have done, its topics, its process, and what goes wrong in it."""
    namespace, pid = robot
    said = top_of(namespace, lambda said: any(row["on"] and row["rate"] for row in said["nodes"]))
    nodes, topics = named(said["nodes"], "node"), named(said["topics"], "topic")
    assert nodes.keys() == {"arm", "weak", "listener"}
    assert {row["pid"] for row in said["nodes"]} == {pid}
    assert nodes["arm"]["wanted"] == 50
    assert nodes["arm"]["rate"] > 0
    assert nodes["listener"]["wanted"] is None
    assert nodes["listener"]["on"] == ["arm.at"]
    assert nodes["weak"]["errors"] > 0
    assert topics["arm.at"]["publishers"] == ["arm"]
    assert topics["arm.at"]["rate"] > 0
    assert topics["arm.at"]["bytes_per_second"] > topics["arm.at"]["rate"]
    process = next(row for row in said["processes"] if row["pid"] == pid)
    assert process["nodes"] == 3
    assert process["state"] == "running"
    assert process["program"] in {"robot.py", ""}
    failures = [one for one in said["anomalies"] if one["node"] == "weak"]
    assert failures[0]["text"] == "ValueError: no oil"


def test_who_does_not_answer_is_named(tmp_path: Path) -> None:
    """A deterministic run and a program without a scheduler show by their topics, and it is said why not more."""
    namespace = unique_namespace()
    with (
        running(namespace, tmp_path, ROBOT, "--deterministic") as silent,
        running(namespace, tmp_path, TALKER, name="talker.py") as talker,
    ):
        said = top_of(namespace, lambda said: {"arm.at", "talk"} <= {row["topic"] for row in said["topics"]})
    assert said["nodes"] == []
    assert {row["pid"] for row in said["processes"]} == {silent, talker}
    (note,) = said["notes"]
    assert "deterministic" in note
    assert str(talker) in note


def test_what_the_dead_left_is_said_to_be_theirs(tmp_path: Path) -> None:
    """A process that is killed meanwhile is dead, and its rings are left over."""
    namespace = unique_namespace()
    with running(namespace, tmp_path, TALKER) as talker, at("top", HORUS_NAMESPACE=namespace) as terminal:
        terminal.see("talk")
        os.kill(talker, signal.SIGKILL)
        terminal.see(lambda text: "left over" in text and "dead" in text)
        terminal.type("q")
        assert terminal.end() == 0


def test_a_stopped_robot_is_silent(tmp_path: Path) -> None:
    """What it had said is still there, with for how long it has said nothing."""
    namespace = unique_namespace()
    with running(namespace, tmp_path) as process, at("top", HORUS_NAMESPACE=namespace) as terminal:
        terminal.see("listener")
        os.kill(process, signal.SIGSTOP)
        terminal.see("silent")
        os.kill(process, signal.SIGCONT)
        terminal.see("running")


def test_nothing_is_an_answer_too() -> None:
    """An empty namespace is said to be one; without a terminal it is shown once."""
    done = call("top", "--namespace", unique_namespace())
    assert done.returncode == 0
    assert "nothing runs in namespace" in done.stderr


def test_the_folder_of_somebody_else_is_refused() -> None:
    """In one line."""
    namespace = unique_namespace()
    place = memory.root() / namespace
    place.symlink_to("/tmp")
    try:
        done = call("top", "--once", "--namespace", namespace)
    finally:
        place.unlink()
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_keys_sort_filter_and_quit(robot: tuple[str, int]) -> None:
    """Each shows what it does, and ``q`` leaves the terminal as it was."""
    with at("top", HORUS_NAMESPACE=robot[0]) as terminal:
        terminal.see("listener")
        terminal.type("s")
        terminal.see("(rate")
        terminal.type("r")
        terminal.see("backwards")
        terminal.type("/weak\r")
        terminal.see(lambda text: "(weak)" in text and "listener" not in text.rpartition("NODES")[2])
        terminal.type("\x1b")
        terminal.see("listener")
        terminal.type("\t")
        terminal.see(lambda text: "listener" in text and "TOPICS" not in text.rpartition("NODES")[2])
        terminal.type("p")
        terminal.see("paused")
        assert not terminal.is_as_before()
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_as_before()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_signals_leave_the_terminal_as_it_was(robot: tuple[str, int], number: signal.Signals, code: int) -> None:
    """As they would find it without the command."""
    with at("top", HORUS_NAMESPACE=robot[0]) as terminal:
        terminal.see("listener")
        terminal.process.send_signal(number)
        assert terminal.end() == code
        assert terminal.is_as_before()


def test_ctrl_z_gives_the_terminal_back_meanwhile(robot: tuple[str, int]) -> None:
    """And it is taken again when the command goes on."""
    with at("top", HORUS_NAMESPACE=robot[0]) as terminal:
        terminal.see("listener")
        os.kill(terminal.process.pid, signal.SIGTSTP)
        os.waitpid(terminal.process.pid, os.WUNTRACED)
        terminal.see("\x1b[?1049l")
        assert terminal.is_as_before()
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.see("listener")
        assert not terminal.is_as_before()
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_as_before()


def test_it_fits_a_terminal_that_changes(robot: tuple[str, int]) -> None:
    """No line is wider, and there are no more lines than it has."""
    with at("top", HORUS_NAMESPACE=robot[0], columns=120, rows=40) as terminal:
        terminal.see("listener")
        for columns, rows in ((80, 24), (40, 10), (20, 3), (200, 50)):
            terminal.resize(columns, rows)
            terminal.see(lambda text: text.count("horus-async top") > 2)
        terminal.resize(1, 1)
        terminal.type("q")
        assert terminal.end() == 0
