"""The exit code of ``horus-async run`` says whether what it was to record is whole."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from horus_async.cli import main
from horus_async.recorder.write.frame_file import FrameFile

if TYPE_CHECKING:
    from pathlib import Path

ROBOT = """
import sys
from horus_async import Node, Scheduler
scheduler = Scheduler(tick_rate=100).add(Node(name="a", tick=lambda node: node.send("t", {body}), pubs=["t"]))
if __name__ == "__main__":
    scheduler.run_sync(duration=0.5)
    sys.exit({code})
"""

MODES = pytest.mark.parametrize("mode", [(), ("--deterministic",)], ids=["real time", "deterministic"])


def run(tmp_path: Path, *options: str, code: object = 0, body: str = "1", name: str = "") -> Result:
    """What the command makes of a robot."""
    app = tmp_path / "robot.py"
    app.write_text(ROBOT.format(body=body, code=code))
    return CliRunner().invoke(main, ["run", "--no-blackbox", "--duration", "0.5", *options, f"{app}{name}"])


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, *, failures: int) -> None:
    """From the first lines on there is no space, for so many pieces."""
    real, calls = FrameFile.write, iter(range(1 << 30))

    def write(file: FrameFile, text: bytes) -> bool:
        if text and next(calls) < failures:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, text)

    monkeypatch.setattr(FrameFile, "write", write)


@MODES
@pytest.mark.parametrize("name", ["", ":scheduler"], ids=["script", "scheduler"])
def test_a_whole_recording_is_fine(tmp_path: Path, mode: tuple[str, ...], name: str) -> None:
    """Nothing is missing, so it is 0."""
    done = run(tmp_path, *mode, "--record", "r", name=name)
    assert done.exit_code == 0, done.output


@MODES
@pytest.mark.parametrize("name", ["", ":scheduler"], ids=["script", "scheduler"])
@pytest.mark.parametrize("failures", [1, 1 << 30], ids=["for a while", "to the end"])
def test_a_recording_that_lacks_something_is_not(
    tmp_path: Path, mode: tuple[str, ...], name: str, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``record check`` says it, too; the robot has ticked to its end all the same."""
    fill_the_disk(monkeypatch, failures=failures)
    done = run(tmp_path, *mode, "--record", "r", name=name)
    assert done.exit_code == 1, done.output
    last = done.stderr.splitlines()[-1]
    assert "its recording r is not whole" in last
    assert "messages or lines are missing" in last
    assert ("No space left on device" in last) == (failures > 1)
    assert ("to tick 49" if mode else "to tick ") in done.stderr  # a busy machine leaves out ticks of real time


def test_an_exit_code_of_the_program_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it fails with comes first."""
    fill_the_disk(monkeypatch, failures=1 << 30)
    assert run(tmp_path, "--record", "r", code=3).exit_code == 3
    failed = run(tmp_path, "--record", "s", body="1 / 0")
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[-1].startswith("horus-async: node 'a' failed in tick 0: ZeroDivisionError")


def test_a_program_may_exit_with_any_object(tmp_path: Path) -> None:
    """Python prints it and exits with 1, also where it cannot be hashed."""
    done = run(tmp_path, code=["broken"])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert "['broken']" in done.output


def test_a_program_without_a_recording_is_fine(tmp_path: Path) -> None:
    """There is nothing that could lack anything."""
    assert run(tmp_path).exit_code == 0
