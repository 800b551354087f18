"""A process that records and forks: the recording stays its own."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from horus_async.recorder import open_session
from horus_async.recorder.locking import is_being_recorded
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.read.listing import delete_session

from .runs import play, recorder, run_info, settled

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("block", [True, False], ids=["deterministic", "real time"])
def test_a_forked_child_neither_writes_nor_keeps_the_lock(tmp_path: Path, block: bool) -> None:
    """A child that goes on with the run, stops the recording and outlives its parent's changes nothing of it."""
    observer = recorder(tmp_path, block=block, memory_mb=1)
    observer.run_started(run_info())
    play(observer, range(100), random.Random(1))
    settled(observer)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            play(observer, range(100, 12_000), random.Random(1))  # more than memory_mb: it must not wait for anybody
            observer.stop()
            os.write(write, b"done")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(write)
        assert os.read(read, 4) == b"done"
        assert is_being_recorded(tmp_path / "session")
        play(observer, range(100, 200), random.Random(1))
        observer.run_stopped("duration", 200)
        assert not is_being_recorded(tmp_path / "session")
        session = open_session("session", tmp_path)
        assert check_session(session).verdict is Verdict.WHOLE
        assert [line.tick for line in session.executions("sensor")] == list(range(200))
        assert delete_session("session", tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
