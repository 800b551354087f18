"""However launch ends, its programs end with it: Ctrl-C at every moment, other signals, and its own death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engine.programs import PATIENCE, ROOT, environment, run_script
from tests.terminal import at_a_terminal

from .robots import Launched, is_there, robot, sender, wait_until_gone

if TYPE_CHECKING:
    from pathlib import Path

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf")
while True:
    time.sleep(60)
"""

CRASHES = "raise SystemExit(1)"

ROBOT = """
[programs.runs]
[programs.waits]
after_topics = ["never"]
[programs.again]
restart = "always"
backoff = 1000
backoff_limit = 1000
[programs.other]
after = ["runs"]
"""


@pytest.mark.parametrize(
    ("program", "state"),
    [("waits", "waiting"), ("runs", "starting"), ("runs", "up"), ("again", "restarting"), ("other", "up")],
)
def test_ctrl_c_at_any_moment_ends_all(tmp_path: Path, program: str, state: str) -> None:
    """While some wait, are starting, are up, or wait for their restart: each has an end, and nothing is left."""
    file = robot(tmp_path, ROBOT, runs=sender(), waits="pass", again=CRASHES, other=sender("other"))
    with Launched(file) as launched:
        launched.until_state(program, state)
        launched.signal()
        assert launched.end() == 130
        for name in ("runs", "waits", "again", "other"):
            assert launched.states(name)[-1] == "stopped"
        assert not any(map(is_there, launched.pids()))


@pytest.mark.parametrize("lines", range(0, 12, 2))
def test_ctrl_c_while_half_of_the_programs_are_starting(tmp_path: Path, lines: int) -> None:
    """After each of the first events."""
    toml = "".join(f"[programs.p{number}]\n" for number in range(6))
    file = robot(tmp_path, toml, **{f"p{number}": sender(f"t{number}") for number in range(6)})
    with Launched(file) as launched:
        launched.until(lambda _: len(launched.events) > lines)
        launched.signal()
        assert launched.end() == 130
        assert all(launched.states(f"p{number}")[-1] == "stopped" for number in range(6))
        assert not any(map(is_there, launched.pids()))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_end_all_as_well(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Every shutdown runs."""
    program = sender().replace("rate=50, pubs", "shutdown=lambda node: print('stowed', flush=True), rate=50, pubs")
    file = robot(tmp_path, "[programs.arm]", arm=program)
    with Launched(file) as launched:
        launched.until_state("arm", "up")
        launched.signal(number)
        assert launched.end() == code
        assert "stowed" in launched.lines("arm")
        assert launched.why("arm") == "exit code 143"


def test_a_program_that_ignores_sigterm_is_killed_and_that_is_said(tmp_path: Path) -> None:
    """After its grace."""
    file = robot(tmp_path, "[programs.deaf]\ngrace = 0.2", deaf=STUBBORN)
    with Launched(file) as launched:
        launched.until(lambda event: event.get("text") == "deaf")
        launched.signal()
        assert launched.end() == 130
        assert launched.why("deaf") == "did not end within its grace of 0.2 s, and was killed"


def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    """Also those whose turn has not come: they wait for one that does not end."""
    toml = '[programs.first]\ngrace = 1000\n[programs.deaf]\ngrace = 1000\nafter = ["first"]\n'
    file = robot(tmp_path, toml, first=sender(), deaf=STUBBORN)
    with Launched(file) as launched:
        launched.until(lambda event: event.get("text") == "deaf")
        launched.signal()
        launched.until_state("deaf", "stopping")
        launched.signal()
        assert launched.end() == 130
        assert "SIGINT again: killing them" in launched.notes()
        assert not any(map(is_there, launched.pids()))


def test_nothing_outlives_a_launch_that_is_killed(tmp_path: Path) -> None:
    """Neither a program, nor what a program has started, nor one that ignores SIGTERM, nor the guard itself."""
    messy = (
        sender()
        + f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
"""
    )
    file = robot(
        tmp_path,
        "[programs.arm]\n[programs.messy]\n[programs.deaf]\ngrace = 0.2",
        arm=sender("a"),
        messy=messy,
        deaf=STUBBORN,
    )
    with Launched(file) as launched:
        wanted = {("arm", "up"), ("messy", "up"), ("deaf", "deaf")}
        launched.until(lambda event: not wanted.difference(launched.seen()))
        guards = children_of(launched.process.pid) - set(launched.pids())
        assert len(guards) == 1
        launched.signal(signal.SIGKILL)
        wait_until_gone([*launched.pids(), int((tmp_path / "pid").read_text()), *guards])


@pytest.mark.parametrize("events", [0, 1, 3])
def test_nothing_outlives_a_launch_that_is_killed_while_it_starts(tmp_path: Path, events: int) -> None:
    """A program whose parent is gone before it runs anything does not run."""
    toml = "".join(f"[programs.p{number}]\n" for number in range(4))
    file = robot(tmp_path, toml, **{f"p{number}": sender(f"t{number}") for number in range(4)})
    with Launched(file) as launched:
        launched.until(lambda _: len(launched.events) > events)
        there = children_of(launched.process.pid)
        launched.signal(signal.SIGKILL)
        wait_until_gone([*there, *launched.pids()])


def test_a_program_without_its_launch_does_not_begin(tmp_path: Path) -> None:
    """It was killed between the start of the program's process and the program."""
    (tmp_path / "arm.py").write_text("print('it moves')")
    done = subprocess.run(
        [sys.executable, "-m", "horus_async", "run", str(tmp_path / "arm.py")],
        env=environment(HORUS_LAUNCHED_BY="1"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "launch was killed before this program began" in done.stderr


def test_the_same_file_twice_at_once_is_refused(tmp_path: Path) -> None:
    """In the same namespace; in another it is another robot."""
    file = robot(tmp_path, "[programs.arm]", arm=sender())
    with Launched(file, XDG_STATE_HOME=str(tmp_path)) as launched:
        launched.until_state("arm", "up")
        with Launched(file, XDG_STATE_HOME=str(tmp_path)) as again:
            assert again.end() == 2
            assert f"robot.toml runs already in namespace {os.environ['HORUS_NAMESPACE']!r}" in again.errors
        with Launched(file, "--namespace", "another-robot", XDG_STATE_HOME=str(tmp_path)) as other:
            other.until_state("arm", "up")
            other.signal()
            assert other.end() == 130
        launched.signal()
        assert launched.end() == 130
    with Launched(file, XDG_STATE_HOME=str(tmp_path)) as launched:
        launched.until_state("arm", "up")
        launched.signal()
        assert launched.end() == 130


def test_nobody_reads_what_is_printed_and_launch_ends_all_the_same(tmp_path: Path) -> None:
    """As at a terminal that somebody has paused; what could not be shown is counted."""
    file = robot(tmp_path, "[programs.loud]", loud="while True: print('x' * 100)")
    with Launched(file) as launched:
        launched.until_state("loud", "starting")
        os.set_blocking(launched.process.stdout.fileno(), True)  # type: ignore[union-attr]
        for _ in range(30_000):
            if launched.process.stdout.readline() == b"":  # type: ignore[union-attr]
                raise AssertionError("it ended")
        launched.signal()
        assert launched.process.wait(PATIENCE) == 130
        assert "lines could not be shown" in launched.errors


def test_at_a_terminal_there_is_a_table(tmp_path: Path) -> None:
    """With the last state of each program, below what they printed."""
    file = robot(
        tmp_path, "[programs.good]\n[programs.bad]", good="print('[red]hello\\x1b[2J')", bad="raise SystemExit(3)"
    )
    code, lines = at_a_terminal("launch", str(file), columns=100)
    assert code == 1
    assert any(line.rstrip() == "good | [red]hello\\x1b[2J" for line in lines)
    table = [line.split() for line in lines]
    assert ["program", "state", "process", "restarts"] in table
    assert ["good", "ended", "exit", "code", "0"] in table
    assert ["bad", "failed", "exit", "code", "3"] in table


def test_into_a_pipe_there_are_plain_lines(tmp_path: Path) -> None:
    """What programs print on standard output, how they fare on standard error."""
    file = robot(tmp_path, "[programs.good]\n[programs.other]", good="print('hello')", other="print('there')")
    done = subprocess.run(
        [sys.executable, "-m", "horus_async", "launch", str(file)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if "note:" not in line]
    assert sorted(lines) == ["good  | hello", "other | there"]
    assert "good  * ended: exit code 0" in done.stderr.splitlines()


def children_of(pid: int) -> set[int]:
    """The processes that a process has started, as Linux tells."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123 - no file of ours
        of_main = set(map(int, file.read().split()))
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:  # noqa: PTH123 - no file of ours
            of_main.update(map(int, file.read().split()))
    return of_main


def test_a_hangup_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    file = robot(tmp_path, "[programs.arm]", arm=sender())
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        launched = Launched(file)
    finally:
        signal.signal(signal.SIGHUP, before)
    with launched:
        launched.until_state("arm", "up")
        launched.signal(signal.SIGHUP)
        launched.signal(signal.SIGTERM)
        assert launched.end() == 143


def test_a_system_that_gives_no_process_is_one_line(tmp_path: Path) -> None:
    """Not a traceback of a group."""
    file = robot(tmp_path, "[programs.arm]", arm=sender())
    program = """
import subprocess, sys
from horus_async.cli import main
def refuse(*args, **more):
    raise BlockingIOError(11, "Resource temporarily unavailable")
subprocess.Popen = refuse
sys.argv = ["horus-async", "launch", sys.argv[1]]
main()
"""
    done = run_script(program, str(file))
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["horus-async: [Errno 11] Resource temporarily unavailable"]
