"""``horus-async replay TRACE --model M`` is ``trace replay``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from horus_async import Node, Scheduler
from horus_async.cli import main
from tests.policy.traces import foreign_lines, write_lines

SAME = f"{Path(__file__).parent / 'conftest.py'}:reach"


def run(*arguments: str | Path) -> Result:
    """``horus-async``."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A trace, whatever its name."""
    return write_lines(tmp_path / "a name without an ending", foreign_lines())


@pytest.mark.parametrize(
    "options",
    [
        ["--model", SAME],
        [f"--model={SAME}", "--diff", "all", "--fail-on", "actions", "--n", "2", "--json"],
        ["--model", SAME, "--fail-on", "cache", "--diff", "all"],
        ["--no-replay"],
        ["--model", "nowhere"],
        ["--help"],
    ],
)
def test_both_forms_do_the_same(path: Path, options: list[str]) -> None:
    """Output and exit code, with any options."""
    short, long = run("replay", path, *options), run("trace", "replay", path, *options)
    assert short.exit_code == long.exit_code
    if "--diff" not in options and "--help" not in options:  # latencies differ, and the usage names the command
        assert short.stdout == long.stdout


def test_the_trace_may_come_after_the_options(path: Path) -> None:
    """As with any command."""
    assert run("replay", "--model", SAME, path).exit_code == 0


def test_a_trace_without_a_model_says_how_it_is_done(path: Path) -> None:
    """And exits with 2."""
    result = run("replay", path)
    assert result.exit_code == 2
    assert f"replay '{path}' --model POLICY puts the requests of this trace to POLICY" in result.stderr


def test_a_missing_trace_is_exit_1(tmp_path: Path) -> None:
    """As of ``trace replay``."""
    assert run("replay", tmp_path / "nothing.jsonl", "--model", SAME).exit_code == 1


def test_sessions_replay_as_before(recordings_dir: Path) -> None:
    """Their files are no traces, and what comes after -- is the program's."""
    scheduler = Scheduler(deterministic=True, recording="s")
    scheduler.add(Node("n", tick=lambda node: node.send("t", 1), rate=10)).run_sync(0.3)
    (file,) = (recordings_dir / "s").glob("scheduler@*")
    assert run("replay", file, "--speed", "max").exit_code == 0
    result = run("replay", "s", "--", "--model")
    assert result.exit_code == 2
    assert "--verify" in result.stderr
    assert run("replay", "s", "--override", f"n.t={[0] * 400}", "--speed", "max").exit_code == 0
