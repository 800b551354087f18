"""``examples/record_replay.py``: the five steps, and that what they claim to prove can fail."""

from __future__ import annotations

import re
import runpy
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Scheduler

from .programs import EXAMPLES, python

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = EXAMPLES / "record_replay.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """The script's functions, without running it."""
    return runpy.run_path(str(EXAMPLE))


def test_all_five_steps_run_as_a_script(tmp_path: Path) -> None:
    """J.1-13, 17, 18, 19: it exits 0, each step says what it proved, and nothing is left behind."""
    (tmp_path / "tmp").mkdir()
    done = python("-W", "error", EXAMPLE, cwd=tmp_path, TMPDIR=str(tmp_path / "tmp"))

    assert done.returncode == 0, done.stderr
    proofs = re.findall(r"^proved: (.*)$", done.stdout, re.MULTILINE)
    assert len(proofs) == 5
    assert proofs[0].startswith("all 1000 messages")
    assert "1000 of 1000 messages are equal" in proofs[1]
    assert proofs[2].startswith("402 messages, exactly those of ticks 200 to 400")
    assert "500 commands, all equal" in proofs[3]
    assert "first in tick 73: output -7.9" in proofs[4]
    assert list(tmp_path.rglob("*")) == [tmp_path / "tmp"]


async def test_it_can_be_run_again_in_the_same_folder(example: dict[str, Any], tmp_path: Path) -> None:
    """Each run records a session of its own, with the same messages."""
    _, first = await example["record"](tmp_path)
    _, second = await example["record"](tmp_path)

    assert len(Scheduler.list_recordings(tmp_path)) == 2
    assert first == second


async def test_a_mixed_replay_is_a_gate(example: dict[str, Any], tmp_path: Path) -> None:
    """J.1-15: the live controller gets the recorded messages at their ticks; unchanged it passes, changed it fails."""
    files, original = await example["record"](tmp_path)
    sensor_file = next(file for file in files if "sensor@" in file)
    await example["mix"](sensor_file, original)

    example["mix"].__globals__["SETPOINT"] = 0.5
    with pytest.raises(SystemExit, match=r"ctrl\.cmd"):
        await example["mix"](sensor_file, original)
    example["mix"].__globals__["SETPOINT"] = 0.0


async def test_a_replay_of_something_else_is_found_out(example: dict[str, Any], tmp_path: Path) -> None:
    """The full replay compares: one message more or less than the original's is not proved."""
    files, original = await example["record"](tmp_path)
    shorter = {**original, "ctrl.cmd": original["ctrl.cmd"][:-1]}

    with pytest.raises(SystemExit, match=r"not proved: the messages on ctrl\.cmd"):
        await example["replay_all"](files[0], shorter)
    with pytest.raises(SystemExit, match="not proved"):
        example["check_equal"]({"ctrl.cmd": []}, {"ctrl.cmd": []})
