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
    """A box that cannot be allocated: exit code 2, one line, no file left."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); " + RUN
    done = run_script("import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " + limited, "run", program)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert re.search(r"cannot be made: .* \(it needs 16 MiB\); make room, or use a smaller blackbox_mb", lines[0])
    assert list(blackbox_dir.iterdir()) == []


def test_a_box_in_use_is_said_in_one_line(program: str) -> None:
    """A second process with the same box: exit code 2, and the line names who has it."""
    with BlackBox.create(name="scheduler", size_mb=1):
        done = run_script(RUN, "run", program, "--duration", "0.1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "in use by another run (process" in line


def test_blackbox_is_a_command(program: str, blackbox_dir: Path) -> None:
    """``horus-async blackbox --anomalies`` shows what went wrong, with exit code 1 (J.1-28, 33)."""
    assert run_script(RUN, "run", program, "--duration", "0.1").returncode == 0
    done = run_script(RUN, "blackbox", "--anomalies")
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["BudgetViolation", "DeadlineMiss"]
    assert 'DeadlineMiss { name: "arm", deadline_us: 2000, actual_us: 3000 }' in done.stdout
    with open_blackbox(blackbox_dir / "scheduler.hbb") as box:
        assert len(box.anomalies()) == 2
    assert run_script(RUN, "blackbox", "--event", "NodeTick").returncode == 0
    assert run_script(RUN, "blackbox", "--event", "Nothing").returncode == 2
