"""``horus-async run`` and its black box: on by default, its size, the summary, and what a refused box says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from horus_async.blackbox import BlackBox, open_blackbox
from tests.engine.programs import run_script

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
from horus_async import Node, Scheduler, sleep, tick
async def work(node):
    await sleep(0.003 if tick() == 1 else 0.001)
def build():
    return Scheduler(deterministic=True).add(Node("arm", tick=work, rate=50, deadline=0.002, budget=0.002))
"""
RUN = "import sys; from horus_async.cli import main; main(sys.argv[1:], prog_name='horus-async')"


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program, as APP."""
    path = tmp_path / "robot.py"
    path.write_text(PROGRAM.replace("tick() == 1", "tick() == 2"))
    return f"{path}:build"


@pytest.mark.parametrize(
    ("options", "size"), [((), 16), (("--blackbox-mb", "2"), 2), (("--no-blackbox",), 0)], ids=["default", "2", "none"]
)
def test_size(program: str, blackbox_dir: Path, options: tuple[str, ...], size: int) -> None:
    """16 MB by default, as many as asked for, or none."""
    done = run_script(RUN, "run", program, "--duration", "0.1", *options)
    assert done.returncode == 0, done.stderr
    found = [path.stat().st_size for path in blackbox_dir.glob("*.hbb")]
    assert found == ([size * 2**20] if size else [])


def test_the_summary_has_true_values(program: str) -> None:
    """At the end, a line a node: ticks, rate, mean, p99, max, budget overruns, misses, errors, lost."""
    done = run_script(RUN, "run", program, "--duration", "0.1")
    head, row = done.stderr.splitlines()[-2:]
    assert " ".join(head.split()) == "node ticks rate Hz mean µs p99 µs max µs overruns misses errors lost"
    name, ticks, rate, mean, p99, longest, overruns, misses, errors, lost = row.split()
    assert (name, ticks, rate, overruns, misses, errors, lost) == ("arm", "5", "50", "1", "1", "0", "0")
    assert 0 < float(mean) <= float(p99) <= float(longest)


def test_a_full_disk_is_said_in_one_line(program: str, blackbox_dir: Path) -> None:
    """A box that was asked for and cannot be allocated: exit code 2, one line, no file left."""
    done = run_script(FULL_DISK + RUN, "run", program, "--blackbox-mb", "16")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert re.search(r"cannot be made: .* \(it needs 16 MiB\); make room, or use a smaller blackbox_mb", lines[0])
    assert list(blackbox_dir.iterdir()) == []


def test_on_a_full_disk_the_robot_runs_without_the_box_that_nobody_asked_for(program: str, blackbox_dir: Path) -> None:
    """One line says so."""
    done = run_script(FULL_DISK + RUN, "run", program, "--duration", "0.1")
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()[0]
    assert said.startswith("running without a black box")
    assert "make room" in said
    assert list(blackbox_dir.iterdir()) == []


def test_a_default_box_in_use_is_another_one(program: str, blackbox_dir: Path) -> None:
    """A second program of the same name runs too; its events are beside, and a line says where."""
    with BlackBox.create(name="robot", size_mb=1):
        done = run_script(RUN, "run", program, "--duration", "0.1")
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()[0]
    assert "in use by another run (process" in said
    assert str(blackbox_dir / "robot-2.hbb") in said
    assert open_blackbox(blackbox_dir / "robot-2.hbb").events("SchedulerStart")


def test_a_box_that_was_asked_for_and_is_in_use_is_said_in_one_line(program: str) -> None:
    """Exit code 2, and the line names who has it."""
    with BlackBox.create(name="robot", size_mb=1):
        done = run_script(RUN, "run", program, "--duration", "0.1", "--blackbox-mb", "1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "in use by another run (process" in line


HOMELESS = """
import os, pwd, sys
def unknown(*_): raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = pwd.getpwnam = unknown
for name in list(os.environ):
    if name in ("HOME", "HORUS_BLACKBOX_DIR", "HORUS_RECORDINGS_DIR") or name.startswith("XDG_"):
        del os.environ[name]
"""
READ_ONLY = """
import os
for name in ("HORUS_BLACKBOX_DIR", "HORUS_RECORDINGS_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME"):
    os.environ.pop(name, None)
os.environ["HOME"] = "/proc/nothing"
"""
FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
"""
homes = pytest.mark.parametrize("home", [HOMELESS, READ_ONLY], ids=["no home", "read-only home"])


@homes
def test_without_a_place_the_robot_runs_without_the_box_that_nobody_asked_for(home: str, program: str) -> None:
    """One line says so and names the options."""
    done = run_script(home + RUN, "run", program, "--duration", "0.1")
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()[0]
    assert said.startswith("running without a black box")
    assert "--no-blackbox" in said
    assert "HORUS_BLACKBOX_DIR" in said
    assert "arm" in done.stderr.splitlines()[-1]


@homes
@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("run", "--blackbox-mb", "1", "PROGRAM"), ("blackbox_dir=", "HORUS_BLACKBOX_DIR")),
        (("run", "--no-blackbox", "--record", "x", "PROGRAM"), ("recordings_dir=", "HORUS_RECORDINGS_DIR")),
        (("demo",), ("recordings_dir=", "HORUS_RECORDINGS_DIR")),
    ],
)
def test_what_was_asked_for_and_has_no_place_is_one_line(
    home: str, program: str, options: tuple[str, ...], names: tuple[str, str]
) -> None:
    """Exit code 2, and the line names the option and the variable."""
    done = run_script(home + RUN, *(program if word == "PROGRAM" else word for word in options))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert all(name in line for name in names), line


@homes
def test_looking_without_a_home(home: str, tmp_path: Path) -> None:
    """``record list``, ``blackbox`` and ``doctor`` have no traceback either, and nothing is made where they run."""
    for command in (("record", "list"), ("blackbox",), ("doctor",)):
        done = run_script(f"import os; os.chdir({str(tmp_path)!r})\n{home}" + RUN, *command)
        assert "Traceback" not in done.stderr + done.stdout
        assert len(done.stderr.splitlines()) <= 1
        assert "HORUS_" in done.stdout + done.stderr or home == READ_ONLY
    assert not list(tmp_path.iterdir())


def test_blackbox_is_a_command(program: str, blackbox_dir: Path) -> None:
    """``horus-async blackbox --anomalies`` shows what went wrong, with exit code 1 (J.1-28, 33)."""
    assert run_script(RUN, "run", program, "--duration", "0.1").returncode == 0
    done = run_script(RUN, "blackbox", "--anomalies")
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["BudgetViolation", "DeadlineMiss"]
    assert 'DeadlineMiss { name: "arm", deadline_us: 2000, actual_us: 3000 }' in done.stdout
    with open_blackbox(blackbox_dir / "robot.hbb") as box:
        assert len(box.anomalies()) == 2
    assert run_script(RUN, "blackbox", "--event", "NodeTick").returncode == 0
    assert run_script(RUN, "blackbox", "--event", "Nothing").returncode == 2
