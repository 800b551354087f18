"""Ctrl-C, SIGTERM and SIGHUP while a command plays messages or writes, sent to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from tests.engine.test_signals import hangs_up

from .mcap_files import json_mcap
from .sessions import make, robot
from .test_inject import app

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {
    "replay": ("replay", "s", "--loop"),
    "record replay": ("record", "replay", "s", "--loop", "--speed", "0.5"),
    "record inject": ("record", "inject", "s", "--nodes", "sensor", "--into", "app.py", "--duration", "1000"),
    "run": ("run", "app.py:build", "--no-blackbox"),
}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=[*COMMANDS])
def test_a_signal_ends_a_command_with_its_exit_code(
    recordings_dir: Path, tmp_path: Path, command: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    """J.1-43: what a command plays is seen by another process, and a signal ends it with 128 + its number, silently."""
    robot(recordings_dir, "s", ticks=20)
    app(tmp_path, deterministic=False)
    with Topic("sensor.reading") as topic:
        process = subprocess.Popen(
            [sys.executable, "-m", "horus_async", *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = monotonic_ns() + 300 * NANOSECONDS
            while topic.recv() is None:
                assert process.poll() is None
                assert monotonic_ns() < deadline
                threading.Event().wait(0.001)
            process.send_signal(number)
            _, complaints = process.communicate(timeout=300)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == code, complaints
    assert "Aborted" not in complaints
    assert "Traceback" not in complaints


INTERRUPTED = """
import os, sys
import rich.progress
from horus_async.cli import main
from horus_async.recorder.edit import cut, merge

cut._STEP = merge._STEP = 500
number, update, calls = int(sys.argv.pop(1)), rich.progress.Progress.update, []

def interrupt(*args, **kwargs):
    update(*args, **kwargs)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), number)

rich.progress.Progress.update = interrupt
main()
"""
"""The command, which gets the signal of its first argument in the midst of its work."""

WRITERS = {
    "import": ("import", "x.mcap", "--name", "new"),
    "csv": ("export", "s", "--format", "csv", "--output", "new.csv"),
    "mcap": ("export", "s", "--format", "mcap", "--output", "new.mcap"),
    "cut": ("cut", "s", "--ticks", "1-2999", "--name", "new"),
    "merge": ("merge", "s", "r", "--name", "new"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=hangs_up)])
@pytest.mark.parametrize("command", WRITERS.values(), ids=[*WRITERS])
def test_a_signal_leaves_nothing_half_written(
    recordings_dir: Path, tmp_path: Path, command: tuple[str, ...], number: signal.Signals
) -> None:
    """Also what ``timeout`` and a closed terminal send: no part of a session under the name of the whole, no files."""
    for name, node in (("s", "a"), ("r", "b")):
        make(recordings_dir, name, {tick: [(node, "t", {"n": tick})] for tick in range(3000)}, ticks=3000)
    json_mcap(tmp_path / "x.mcap", [("t", tick, b"1") for tick in range(3000)])
    before = sorted(path.name for folder in (tmp_path, recordings_dir) for path in folder.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(int(number)), "record", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for folder in (tmp_path, recordings_dir) for path in folder.iterdir()) == before


PRINTING_ROBOT = """
from horus_async import Node, Scheduler


async def tick(node):
    print("printed by the program", flush=True)


scheduler = Scheduler(deterministic=True).add(Node("a", tick=tick))
scheduler.run_sync(0.1)
"""
EXPORT = "record export s --format csv --topic ctrl.cmd --output"
WORKS = [
    f"{EXPORT} new.csv",
    "record cut s --ticks 0-9 --name new",
    "record delete s",
    "replay s --speed max",
    "run robot.py",
    "record inject s --nodes controller --duration 0.1",
]
PRINTS = ["record list", "record info s --json", "record check s", f"{EXPORT} -", f"{EXPORT} /dev/stdout", "topic list"]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of ours as a shell does."""
    line = f"{sys.executable} -m horus_async {command}"
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", WORKS)
def test_closed_standard_streams_do_no_harm(recordings_dir: Path, tmp_path: Path, command: str, closed: str) -> None:
    """As a service manager may start a program: what would be said is not, and the exit code tells of the command."""
    robot(recordings_dir, "s", ticks=20)
    (tmp_path / "robot.py").write_text(PRINTING_ROBOT)
    done = shell(f"{command} {closed}", tmp_path)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


@pytest.mark.parametrize("command", PRINTS)
def test_what_is_printed_is_not_lost_in_silence(recordings_dir: Path, tmp_path: Path, command: str) -> None:
    """Where standard output is closed, a command that is there to print says so, in one line."""
    robot(recordings_dir, "s", ticks=20)
    done = shell(f"{command} >&-", tmp_path)
    assert (done.returncode, done.stderr.count("Traceback"), done.stderr.count("Exception")) == (2, 0, 0), done.stderr
    assert done.stderr.endswith(
        "horus-async: standard output is closed, and what this command prints would be lost: send it somewhere\n"
    )
    assert shell(f"{command} >&- 2>&-", tmp_path).returncode == 2
    assert shell(f"{command} 2>&-", tmp_path).returncode == 0
