"""Disks that fail at every call, and what power cuts leave.

``python -m benchmarks.soak errors full images`` does the same for longer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import faults, power_cuts
from benchmarks.small import SmallRun
from horus_async.append_file import AppendFile
from horus_async.errors import RecordingError
from horus_async.recorder.write.frame_file import FrameFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@pytest.mark.parametrize("seed", [6, 7], ids=["no fsync, real time", "fsync, deterministic"])
def test_each_call_to_the_system_fails_in_turn(tmp_path: Path, seed: int) -> None:
    """EIO, ENOSPC, EDQUOT or EROFS at any open, write, fsync, truncation or rename: the run goes on, all is accounted.

    What was written stays readable, recording resumes, and lines and gaps count every tick.
    """
    found = faults.fail_each_call(tmp_path, seed)
    assert found["runs"] > 100
    assert 0 < found["refused at the start"] < found["runs"] / 2


@pytest.mark.parametrize("seed", range(4))
def test_files_that_may_not_grow(tmp_path: Path, seed: int) -> None:
    """The same with the system's own refusal, on and off."""
    assert faults.fill_the_disk(tmp_path, seed)["ticks"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_what_a_power_cut_leaves(tmp_path: Path, seed: int) -> None:
    """Killed or cut off after any call, with the unsynced end missing, torn or zeros: all that was flushed is there."""
    assert power_cuts.crash_images(tmp_path, seed)["images"] > 200


def test_the_sweep_finds_lines_that_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a writer that forgets what it could not write, the sweep fails."""

    def careless(file: FrameFile, items: Iterable[Any], reason: str) -> None: ...

    monkeypatch.setattr(FrameFile, "lose", careless)
    with pytest.raises(AssertionError, match="where tick"):
        faults.fail_each_call(tmp_path, 3)


def test_the_sweep_finds_what_a_torn_write_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a writer that goes on behind what a failed write left, the sweep fails."""

    def careless(file: AppendFile) -> None:
        file.size = os.fstat(file._fd).st_size

    monkeypatch.setattr(AppendFile, "cut_back", careless)
    with pytest.raises(AssertionError):
        faults.fail_each_call(tmp_path, 3)


@pytest.mark.parametrize("forgotten", ["file", "name"])
def test_the_images_show_a_sync_that_is_missing(
    tmp_path: Path, forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a writer that does not sync its files, or not their names, something flushed is missing."""
    if forgotten == "file":
        monkeypatch.setattr(FrameFile, "sync", lambda _: None)
    else:
        monkeypatch.setattr("horus_async.recorder.write.frame_file.sync_folder", lambda _: None)
        monkeypatch.setattr("horus_async.recorder.manifest.sync_folder", lambda _: None)
    with pytest.raises(AssertionError, match="were flushed"):
        power_cuts.crash_images(tmp_path, 1)


def test_a_beginning_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a recording can neither begin nor take away what it has begun, the error says both."""

    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pathlib.Path.rmdir", refuse)
    with (
        faults.on(faults.FailingDisk(1, 1, 5, torn=False)),
        pytest.raises(RecordingError, match="Input/output error; what it has begun there cannot be removed"),
    ):
        SmallRun(tmp_path)
