"""Listing, deleting, cleaning and quotas of several processes at once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from horus_async import Node, RecordingOptions, Scheduler
from horus_async.recorder import delete_session, list_sessions, open_session, removal
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.read import listing
from tests.engine.programs import environment

from .sessions import call, make

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WORKER = """
import sys, subprocess
from click.testing import CliRunner
from horus_async import Node, RecordingOptions, Scheduler
from horus_async.cli.record import record
from horus_async.recorder import list_sessions, delete_session, open_session
what, rounds, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for number in range(rounds):
    if what == "list":
        list_sessions()
        done = CliRunner().invoke(record, ["list"])
        assert done.exit_code == 0, done.output + str(done.exception)
    elif what == "delete":
        for summary in list_sessions():
            if summary.name.startswith("old"):
                delete_session(summary.name)
    elif what == "clean":
        done = CliRunner().invoke(record, ["clean", "--max-age-days", "36500", "--force"])
        assert done.exit_code == 0, done.output + str(done.exception)
    elif what == "record":
        options = RecordingOptions(name=f"old_{name}_{number}", keep_sessions=100)
        Scheduler(deterministic=True, recording=options).add(Node("a", tick=lambda n: n.send("t", 1))).run_sync(0.05)
"""


def test_several_processes_at_once(recordings_dir: Path) -> None:
    """Nobody fails, nobody sees half a session, and what nobody deleted is whole."""
    for number in range(5):
        Scheduler(deterministic=True, recording=f"keep{number}").add(
            Node("a", tick=lambda node: node.send("t", 1))
        ).run_sync(0.1)
    jobs = [("list", 60), ("list", 60), ("delete", 80), ("delete", 80), ("clean", 40), ("record", 40), ("record", 40)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, what, str(rounds), str(number)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, (what, rounds) in enumerate(jobs)
    ]
    for worker in workers:
        said, _ = worker.communicate()
        assert worker.returncode == 0, said
    for summary in list_sessions():
        assert summary.problem is None
        if summary.name.startswith("keep"):
            assert len(list(open_session(summary.name).executions("a"))) >= 10
    assert {f"keep{number}" for number in range(5)} <= {summary.name for summary in list_sessions()}


def test_a_session_that_goes_while_it_is_listed_is_left_out(
    recordings_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is the first that is gone."""
    real = read_manifest

    def read(folder: Path) -> object:
        if folder.name == "b":
            delete_session("b")
        return real(folder)

    for name in "abc":
        make(recordings_dir, name, {0: [("n", "t", 1)]}, ticks=1)
    monkeypatch.setattr(listing, "read_manifest", read)
    assert [summary.name for summary in list_sessions()] == ["a", "c"]


def test_who_looks_does_not_keep_others_from_deleting(recordings_dir: Path) -> None:
    """Looking takes a folder's lock for a moment; deleting waits for that, but not for a recording."""
    make(recordings_dir, "s", {0: [("n", "t", 1)]}, ticks=1)
    descriptor = os.open(recordings_dir / "s", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.02, os.close, (descriptor,))
    timer.start()
    assert delete_session("s")
    timer.join()


def test_another_session_of_the_same_name_is_not_deleted(recordings_dir: Path) -> None:
    """``clean`` and quotas delete what they have looked at, not what has its name by then."""
    make(recordings_dir, "s", {0: [("n", "t", 1)]}, ticks=1)
    (seen,) = list_sessions()
    delete_session("s")
    Scheduler(deterministic=True, recording="s").add(Node("a", tick=lambda node: node.send("t", 1))).run_sync(0.1)
    assert not delete_session("s", only=seen)
    assert list(open_session("s").nodes) == ["a"]


def test_what_a_killed_deletion_left_goes_with_the_next(recordings_dir: Path) -> None:
    """Half a session is nobody's session, and its room comes back."""
    make(recordings_dir, "s", {0: [("n", "t", 1)]}, ticks=1)
    make(recordings_dir, "left", {0: [("n", "t", 1)]}, ticks=1)
    (recordings_dir / "left").rename(recordings_dir / f"{removal.CONDEMNED}1234")
    assert [summary.name for summary in list_sessions()] == ["s"]
    assert call("delete", "s", "--force").exit_code == 0
    assert list(recordings_dir.iterdir()) == []


def test_a_quota_beside_another(recordings_dir: Path) -> None:
    """Sessions that somebody else deletes meanwhile count as gone."""
    for number in range(4):
        options = RecordingOptions(name=f"s{number}", keep_sessions=2)
        Scheduler(deterministic=True, recording=options).add(Node("a", tick=lambda node: node.send("t", 1))).run_sync(
            0.02
        )
    assert Scheduler.list_recordings() == ["s2", "s3"]
