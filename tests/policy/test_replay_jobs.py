"""Replaying in several processes finds what one finds, in the same order, also where the policy holds state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.cli import main
from horus_async.policy import ImageMode, TraceReader
from horus_async.policy.replay.units import plan_of
from tests.engine.programs import environment
from tests.policy.conftest import wait_until
from tests.policy.traces import exchange, foreign_lines, record, write_lines
from tests.terminal import at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

STATEFUL = """
class policy:
    count = 0
    def reset(self, episode): self.count = 0
    def act(self, request):
        self.count += 1
        return [[float(self.count), request['state'][0]]]
"""


def run(*arguments: str | Path) -> Result:
    """``horus-async``."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def report(path: Path, model: str, jobs: int, *more: str) -> dict[str, Any]:
    """The JSON report of a replay in so many processes."""
    result = run("trace", "replay", path, "--model", model, "--jobs", str(jobs), "--json", *more)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = orjson.loads(result.stdout)
    return found


def trace_of(path: Path, episodes: Iterable[str | None]) -> Path:
    """A trace with a request for each of these episodes; recorded are the numbers of the requests."""
    lines = foreign_lines(len(list(episodes)))
    requests = [line for line in lines if line["kind"] == "request"]
    for number, (line, episode) in enumerate(zip(requests, episodes, strict=True)):
        line["episode_id"] = episode
        line["request"] = {"state": [number / 7], "episode_id": episode}
        line["response"] = {"actions": [[1.0, number / 7]]}
    return write_lines(path, lines)


@pytest.mark.parametrize(
    "episodes", [["a"] * 5 + ["b"] * 4 + ["c"] * 6, ["a", "b", "a", "b", "c", "c"], [None] * 5, [None, "a", None, "b"]]
)
def test_a_policy_that_holds_state_gives_what_one_process_gives(
    episodes: list[str | None], tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """Episodes one after the other, at the same time, and none: each request finds the state that it found then."""
    path, model = trace_of(tmp_path / "t.jsonl", episodes), policy_module(STATEFUL)
    one = report(path, model, 1)
    assert {diff["actions"]["max_abs_diff"] for diff in one["per_request_diffs"]} != {0.0}
    assert report(path, model, 3) == one


def test_a_policy_without_state_gives_what_one_process_gives(
    tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """In the order of the trace, with --n, with failures and with what the policy prints."""
    path = trace_of(tmp_path / "t.jsonl.gz", [None] * 100)
    model = policy_module(
        "def policy(request):\n"
        "    print('noise')\n"
        "    if request['state'][0] > 10: raise ValueError('far')\n"
        "    return [[1.0, request['state'][0] * 1.01]]\n"
    )
    one, three = report(path, model, 1), report(path, model, 3)
    assert three == one
    assert [diff["seq"] for diff in three["per_request_diffs"]] == list(range(100))
    assert report(path, model, 2, "--n", "17")["summary"]["n_replayed"] == 17


def test_images_are_found_by_every_process(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Those of the trace as well as those of --image-dir."""
    image = "iVBORw0KGgo" + "A" * 21
    exchanges = [exchange({"state": [1.0], "image": image}, result=[[32.0]])] * 3
    model = policy_module("def policy(request): return [[float(len(request['image']))]]")
    path = record(tmp_path / "full", exchanges, images=ImageMode.FULL)
    assert report(path, model, 2)["summary"]["n_pass_actions"] == 3


@settings(deadline=None)
@given(episodes=st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=30), jobs=st.integers(1, 4))
def test_units_are_the_trace_in_order_and_state_passes_between_none(
    episodes: list[str | None], jobs: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any cut of a stateful policy's trace is where an episode begins, and no earlier one goes on after it."""
    path = trace_of(tmp_path_factory.mktemp("t") / "t.jsonl", episodes)
    with TraceReader(path) as trace:
        plan = plan_of(trace, 0)
    for stateful in (False, True):
        units = list(plan.units(stateful=stateful, jobs=jobs))
        assert [number for unit in units for number in range(unit.first, unit.last)] == list(range(len(episodes)))
    for before, after in pairwise(units):
        begun = set(episodes[: before.last]) - {None}
        assert episodes[after.first] is not None
        assert not begun & set(episodes[after.first :])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\ndef policy(request): os._exit(7)", "ended with code 7"),
        ("raise OSError('no weights')", "no weights"),
        ("class policy:\n def act(self, o): return [[1]]\n def warm_up(self): raise OSError('gpu')", "gpu"),
    ],
)
def test_a_process_that_cannot_go_on_is_exit_2(
    source: str, said: str, tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """With one line that says why."""
    path = trace_of(tmp_path / "t.jsonl", [None] * 5)
    result = run("trace", "replay", path, "--model", policy_module(source), "--jobs", "2")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_latencies_that_were_measured_side_by_side_are_said_to_be(
    tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """Processes that share a machine are slower than one that has it for itself."""
    path, model = trace_of(tmp_path / "t.jsonl", [None] * 3), policy_module(STATEFUL)
    assert "side by side" in report(path, model, 2, "--diff", "all")["notes"][-1]


def test_no_request_is_nothing_compared(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """An empty trace is no success, in however many processes."""
    path = trace_of(tmp_path / "t.jsonl", [])
    arguments = ["--model", policy_module(STATEFUL), "--jobs", "3", "--fail-on", "actions"]
    assert run("replay", path, *arguments).exit_code == 3


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_progress_is_shown_at_a_terminal(jobs: str, tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Below the lines, which all come; into a pipe only the lines do."""
    path, model = trace_of(tmp_path / "t.jsonl", [None] * 60), policy_module(STATEFUL)
    command = ["replay", str(path), "--model", model, "--jobs", jobs]
    code, lines = at_a_terminal(*command)
    assert code == 0
    assert any("replaying" in line for line in lines)
    assert sum("seq=" in line for line in lines) == 60
    assert "replaying" not in run(*command).output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_processes_end_with_the_command(
    number: signal.Signals, code: int, tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """However it is ended, and whatever the policy is at; nothing but the command's own line is printed."""
    path = trace_of(tmp_path / "t.jsonl", [None] * 8)
    model = policy_module(
        "import os, pathlib, time\n"
        f"place = pathlib.Path({str(tmp_path / 'pids')!r})\n"
        "place.mkdir(exist_ok=True)\n"
        "def policy(request):\n"
        "    (place / str(os.getpid())).touch()\n"
        "    if (place / 'stay').exists(): time.sleep(3600)\n"
        "    return [[1.0, 2.0]]\n"
    )
    (tmp_path / "pids").mkdir()
    if number is not signal.SIGKILL:  # nobody can end a process that does not look, after a kill
        (tmp_path / "pids" / "stay").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "horus_async", "trace", "replay", path, "--model", model, "--jobs", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        wait_until(lambda: len(_pids(tmp_path)) == 2 or process.poll() is not None)
        process.send_signal(number)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    if process.returncode != 0 or number is not signal.SIGKILL:  # it may have been done already
        assert process.returncode == code
    wait_until(lambda: not any(map(_lives, _pids(tmp_path))))


def _pids(folder: Path) -> list[int]:
    return [int(path.name) for path in (folder / "pids").iterdir() if path.name.isdecimal()]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
