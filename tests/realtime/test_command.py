"""``horus-async run --realtime``, ``--cpu``, ``--priority`` and ``--gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from horus_async.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .fake_machine import FakeMachine

PROGRAM = """
from pathlib import Path
import gc
from horus_async import Node, Scheduler, {imports}

Path("began").touch()
def tick(node):
    if node.state is None:
        node.state = True
        Path("seen").write_text(f"{{gc.isenabled()}} {{gc.get_threshold()[0]}}")
        node.send("state", 1)
        node.request_stop()
scheduler = Scheduler({options}).add(Node("arm", tick=tick, pubs=["state"]))
"""

Run = tuple[int, str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs a program that was made with such options; exit code, and what stood on standard error."""
    monkeypatch.chdir(tmp_path)

    def start(*arguments: str, program: str = "") -> Run:
        (tmp_path / "robot.py").write_text(PROGRAM.format(options=program, imports="Gc, Realtime"), encoding="utf-8")
        done = CliRunner().invoke(main, ["run", "--no-blackbox", "--duration", "60", *arguments, "robot.py"])
        return done.exit_code, done.stderr

    return start


def test_real_time_from_the_command_line(run: Callable[..., Run], machine: FakeMachine) -> None:
    """With the priority and the CPU that are given; garbage goes between ticks."""
    code, said = run("--realtime", "--cpu", "3", "--priority", "80")

    assert code == 0, said
    assert machine.log.count("policy 1 80") == 1
    assert "policy 1 81" in machine.log  # tried for the watchdog
    assert "cpus [3]" in machine.log
    assert "garbage: 0 collections" in said


def test_it_takes_the_place_of_what_the_program_says(run: Callable[..., Run], machine: FakeMachine) -> None:
    """As all options do."""
    assert run("--realtime", program="realtime=Realtime(priority=7)")[0] == 0
    assert "policy 1 50" in machine.log
    assert "policy 1 7" not in machine.log
    machine.log.clear()

    assert run(program="realtime=Realtime(priority=7)")[0] == 0
    assert "policy 1 7" in machine.log


def test_the_same_program_in_virtual_time(run: Callable[..., Run], machine: FakeMachine) -> None:
    """What it says of real time is for real time."""
    code, said = run("--deterministic", program="realtime=True")

    assert code == 0, said
    assert not machine.log


REFUSED = {
    "a CPU without it": (("--cpu", "1"), "--cpu is for --realtime"),
    "a priority without it": (("--priority", "1"), "--priority is for --realtime"),
    "both times": (("--realtime", "--deterministic"), "--realtime and --deterministic contradict each other"),
    "priority 0": (("--realtime", "--priority", "0"), "'--priority': 0 is not in the range 1<=x<=98"),
    "priority 99": (("--realtime", "--priority", "99"), "'--priority': 99 is not in the range 1<=x<=98"),
    "no priority": (("--realtime", "--priority", "high"), "'high' is not a valid integer"),
    "a CPU below 0": (("--realtime", "--cpu", "-1"), "'--cpu': -1 is not in the range"),
    "no such CPU": (("--realtime", "--cpu", "64"), "horus-async: cpu=64: there is no such CPU; give one of 0-3"),
    "no such policy": (("--gc", "never"), "'never' is none of auto, between-ticks, off"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(
    run: Callable[..., Run], machine: FakeMachine, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """In one line, as wrong usage, and before the program begins."""
    code, shown = run(*arguments)

    assert code == 2
    assert said in shown.splitlines()[-1]
    assert not (tmp_path / "began").exists()
    assert not machine.log


def test_what_is_not_permitted_is_refused(run: Callable[..., Run], machine: FakeMachine, tmp_path: Path) -> None:
    """Before the program begins, which may already move something; where the program asks for it, before its nodes."""
    machine.unprivileged()
    code, said = run("--realtime")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert said.startswith("horus-async: real time is not permitted: RLIMIT_RTPRIO is 0 and has to be 51")
    assert not (tmp_path / "began").exists()

    code, said = run(program="realtime=True")
    assert code == 2
    assert said.startswith("horus-async: real time is not permitted: ")
    assert not (tmp_path / "seen").exists()


def test_a_deterministic_program_refuses_it(run: Callable[..., Run], machine: FakeMachine) -> None:
    """Its own options say what time it runs in."""
    code, said = run("--realtime", program="deterministic=True")

    assert code == 2
    assert said.splitlines()[-1].startswith(
        "horus-async: --realtime: scheduler 'scheduler' is deterministic, and its time"
    )
    assert machine.policy(0).priority == 0


@pytest.mark.parametrize(
    ("given", "seen", "summary"),
    [
        ("off", "False 700", "garbage: not collected"),
        ("between-ticks", "True 20000", "garbage: 0 collections (0 of all), the longest took 0 µs"),
        ("between ticks", "True 20000", "garbage: 0 collections"),
        ("auto", "True 700", ""),
    ],
)
def test_when_garbage_is_collected(
    run: Callable[..., Run], tmp_path: Path, given: str, seen: str, summary: str
) -> None:
    """In place of what the program says; the last line of the run says what came of it."""
    code, said = run("--gc", given, program="gc='off'" if given != "off" else "")

    assert code == 0, said
    assert (tmp_path / "seen").read_text(encoding="utf-8") == seen
    assert summary in said
    assert ("garbage" in said) is bool(summary)


def test_check_and_verify_take_no_notice(
    run: Callable[..., Run], machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run the program's nodes in virtual time, wherever the program would run them."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path / "sessions"))
    assert run("--record", "night", "--deterministic", program="realtime=True")[0] == 0
    done = CliRunner().invoke(main, ["replay", "night", "--verify", "robot.py", "--speed", "max"])
    assert "0 differ" in done.stdout

    done = CliRunner().invoke(main, ["check", "--duration", "0.1", "robot.py"])
    assert done.exit_code == 0, done.output
    assert not machine.log
