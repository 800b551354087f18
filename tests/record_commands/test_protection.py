"""What this user may not read is named; what may still be recorded is not deleted, with locks or without."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async import RecordingError
from horus_async.clock.system import wall_ns
from horus_async.observe import RunInfo
from horus_async.recorder import Recorder, RecordingOptions, delete_session, list_sessions, locking
from horus_async.recorder.read.listing import keep_within

from .sessions import call, call_json, robot

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400 * 10**9


# -- permission --------------------------------------------------------------------------------------------------------


def as_other(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``horus-async record`` by a user whom permissions concern."""
    command = [sys.executable, "-m", "horus_async", "record", *arguments]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv cannot lose its rights")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_sessions_without_permission_are_named(recordings_dir: Path, mode: int) -> None:
    """Neither listing nor looking for one hides them."""
    robot(recordings_dir, "mine")
    robot(recordings_dir, "theirs")
    (recordings_dir / "theirs").chmod(mode)
    try:
        listed = as_other("list")
        assert listed.returncode == 0
        assert "theirs" in listed.stdout
        assert "theirs: cannot be read: permission denied" in listed.stderr
        for command in ("info", "check", "delete"):
            done = as_other(command, "theirs")
            assert done.returncode == 2
            assert "ermission denied" in done.stderr
            assert done.stderr.count("\n") == 1
        assert "permission denied" in as_other("info", str(recordings_dir / "theirs")).stderr
        assert "theirs (permission denied), mine" in as_other("info", "other").stderr
        assert as_other("clean", "--max-age-days", "0").returncode == 0
        assert (recordings_dir / "theirs").is_dir()
    finally:
        (recordings_dir / "theirs").chmod(0o700)


def test_files_without_permission_are_named(recordings_dir: Path) -> None:
    """A folder that can be listed may have files that cannot be read."""
    session = robot(recordings_dir, "theirs")
    for path in session.path.iterdir():
        path.chmod(0o000)
    listed = as_other("list")
    assert "theirs" in listed.stdout
    assert "ermission denied" in listed.stderr
    assert "ermission denied" in as_other("info", "theirs").stderr


def test_a_folder_of_recordings_without_permission(recordings_dir: Path) -> None:
    """It is not empty: it cannot be looked into."""
    robot(recordings_dir, "s")
    recordings_dir.chmod(0o000)
    try:
        done = as_other("list")
        assert done.returncode == 2
        assert "ermission denied" in done.stderr
    finally:
        recordings_dir.chmod(0o700)


def test_what_is_no_session_is_still_none(recordings_dir: Path, tmp_path: Path) -> None:
    """Empty folders and files are not listed."""
    robot(recordings_dir, "s")
    (recordings_dir / "empty").mkdir()
    (recordings_dir / "file").touch()
    assert [summary.name for summary in list_sessions()] == ["s"]
    assert "there are: s" in call("info", "empty").stderr
    assert tmp_path.exists()


# -- locks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose ``flock`` fails."""

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def recording(root: Path) -> Recorder:
    """A recording that goes on, begun long ago."""
    recorder = Recorder(RecordingOptions(name="live"), root, block=True)
    recorder.run_started(RunInfo("scheduler", 100.0, True, 0, wall_ns() - 10 * DAY_NS, 0, "default"))
    return recorder


@pytest.mark.usefixtures("without_locks")
def test_without_locks_what_is_being_recorded_is_not_deleted(recordings_dir: Path) -> None:
    """Not by ``delete``, ``clean`` or a quota; once it has ended it is like any other."""
    recorder = recording(recordings_dir)
    try:
        result = call("delete", "live", "--force")
        assert result.exit_code == 2
        assert "may still be recorded" in result.output
        assert call_json("clean", "--max-age-days", "7", "--force")["sessions"] == []
        keep_within(robot(recordings_dir, "new").path, 0, 0)
        assert (recordings_dir / "live").is_dir()
        assert "nobody can tell" in call("info", "live").stderr
    finally:
        recorder.stop()
    assert not (recordings_dir / "live" / locking.UNLOCKED).exists()
    assert delete_session("live")


def test_one_recorded_without_locks_is_kept_where_there_are_some(
    recordings_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine that has the same folder, and locks of its own, cannot delete it either."""
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks")))
        recorder = recording(recordings_dir)
    try:
        with pytest.raises(RecordingError, match="may still be recorded"):
            delete_session("live")
    finally:
        recorder.stop()
    assert delete_session("live")


def test_one_recorded_with_locks_is_kept_where_there_are_none(
    recordings_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says that it goes on is then that nothing says that it has ended."""
    recorder = recording(recordings_dir)
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EOPNOTSUPP, "none")))
        with pytest.raises(RecordingError, match="may still be recorded"):
            delete_session("live")
        recorder.stop()
        assert delete_session("live")


@pytest.mark.parametrize("inside", [True, False])
def test_a_link_with_a_sessions_name_is_not_deleted(inside: bool, recordings_dir: Path, tmp_path: Path) -> None:
    """Neither it, nor the session that it leads to, here or elsewhere."""
    session = robot(recordings_dir, "real").path
    if not inside:
        session = session.rename(tmp_path / "elsewhere")
    link = recordings_dir / "link"
    link.symlink_to(session)
    before = sorted(path.name for path in session.iterdir())
    with pytest.raises(RecordingError, match="is a symbolic link, not a session"):
        delete_session("link")
    assert link.is_symlink()
    assert sorted(path.name for path in session.iterdir()) == before
    assert not [*recordings_dir.glob("~*")]
