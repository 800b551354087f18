"""What is left when the process is killed or the disk is full: real processes, real limits."""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.errors import RecordingError
from horus_async.recorder import ExecutionRecord, GapRecord, RecordingState, Session, open_session
from horus_async.recorder import writer as writer_module

from .runs import play, recorder, run_info, settled

if TYPE_CHECKING:
    from horus_async.recorder import Recorder

CHILD = """
import os, random, sys, time
from pathlib import Path
from tests.recorder.runs import execution, message, recorder, run_info
observer = recorder(Path(sys.argv[1]), block=sys.argv[2] == "block")
observer.run_started(run_info())
noise = random.Random(int(sys.argv[3]))
print("ready", flush=True)
for tick in range(10**9):
    data = {"tick": tick, "text": "x" * (noise.randrange(20_000) if tick % 50 == 0 else noise.randrange(50))}
    observer.executed(execution("sensor", tick, (message("sensor", "t", tick, data),)))
    os.write(1, b"%d %d\\n" % (tick, time.monotonic_ns()))
    if tick % 20 == 0:
        time.sleep(0.001)
"""


@pytest.mark.parametrize("seed", range(6))
def test_kill_9_loses_at_most_two_intervals(tmp_path: Path, seed: int) -> None:
    """J.1-7: killed at any moment, the recording opens as it is, and is whole up to at most 100 ms before."""
    mode = "block" if seed % 2 else "drop"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), mode, str(seed)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    killer = threading.Timer(random.Random(seed).uniform(0.05, 0.4), lambda: os.kill(child.pid, signal.SIGKILL))
    killer.start()
    acknowledged = [line.split() for line in child.stdout.read().splitlines()]
    killed_ns = int(acknowledged[-1][-1])
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    killer.join()
    session = open_session("session", tmp_path)
    lines = list(session.executions("sensor"))
    ticks = [line.tick for line in lines]
    assert ticks == list(range(len(ticks)))
    assert session.damage == {}
    for line in lines:
        assert isinstance(line, ExecutionRecord)
        assert line.outputs[0].data["tick"] == line.tick
    lost = [int(stamp) for tick, *rest in acknowledged if int(tick) >= len(ticks) and rest for stamp in rest]
    # 100 ms is what is promised; the rest is for a machine on which the writer's thread has to wait for a processor.
    assert not lost or killed_ns - lost[0] < 500_000_000


def wait_for(observer: Recorder, state: RecordingState) -> None:
    """Return when the recording is in a state."""
    deadline = monotonic_ns() + 20 * NANOSECONDS
    while observer.stats().state is not state:
        assert monotonic_ns() < deadline
        threading.Event().wait(0.001)


@pytest.mark.parametrize("block", [False, True], ids=["real time", "deterministic"])
def test_a_full_disk_stops_the_recording_for_a_while(
    tmp_path: Path, block: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is full and has room again: the run goes on, the log and stats say so, gap lines count exactly."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    caplog.set_level(logging.INFO, "horus_async.recorder")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    observer = recorder(tmp_path, block=block, interval=0.002, memory_mb=1)
    observer.run_started(run_info(deterministic=block))
    noise = random.Random(1)
    tick = 0
    try:
        for _ in range(2):
            play(observer, range(tick, tick + 300), noise)
            tick += 300
            largest = max(path.stat().st_size for path in (tmp_path / "session").iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 500, before[1]))
            while observer.stats().state is not RecordingState.FAILED:
                play(observer, range(tick, tick + 50), noise)
                tick += 50
            play(observer, range(tick, tick + 400), noise)
            tick += 400
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            wait_for(observer, RecordingState.ON)
        play(observer, range(tick, tick + 300), noise)
        tick += 300
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    observer.run_stopped("duration", tick)
    assert observer.stats().state is RecordingState.OFF
    assert check_gaps(open_session("session", tmp_path), tick) == observer.stats().dropped > 0
    assert "stopped, the run goes on" in caplog.text
    assert "goes on; its gap lines" in caplog.text


def check_gaps(session: Session, ticks: int) -> int:
    """Check that the lines and the gaps of every file account for all ticks; the lines that are missing."""
    dropped = 0
    assert session.cuts == {}
    for file in session.all_files():
        expected = missing = 0
        for line in file.records():
            if isinstance(line, GapRecord):
                assert line.tick == expected
                expected += line.dropped
                missing += line.dropped
                assert "File too large" in line.reason or "in time" in line.reason
            elif hasattr(line, "tick"):
                assert line.tick == expected
                expected += 1
        assert expected == ticks
        assert file.damage == []
        footer = file.footer
        assert footer is not None
        assert (footer.dropped, footer.ticks) == (missing, ticks - missing)
        if file is not session.scheduler:
            assert footer.outputs == ticks - missing
        dropped += missing
    return dropped


def test_a_disk_that_stays_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written stays readable, the run ends normally, and the stats still say that the recording failed."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.01)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    observer = recorder(tmp_path, interval=0.002, memory_mb=0.1)
    observer.run_started(run_info())
    play(observer, range(100), random.Random(1))
    settled(observer)
    try:
        largest = max(path.stat().st_size for path in (tmp_path / "session").iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 10, before[1]))
        tick = 100
        while observer.stats().state is not RecordingState.FAILED:
            play(observer, range(tick, tick + 100), random.Random(1))
            tick += 100
        play(observer, range(tick, tick + 5000), random.Random(1))
        observer.run_stopped("duration", tick + 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    stats = observer.stats()
    assert stats.state is RecordingState.FAILED
    assert "without its last lines" in caplog.text
    session = open_session("session", tmp_path)
    assert (session.cuts, session.damage, session.ended_at) == ({}, {}, None)
    for node in ("sensor", "controller"):
        ticks = [line.tick for line in session.executions(node) if isinstance(line, ExecutionRecord)]
        assert ticks == list(range(len(ticks)))
    assert stats.bytes == sum(path.stat().st_size for path in observer.stop())


def test_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    """Where recording cannot even begin, the run is refused, and no half session is left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    observer = recorder(tmp_path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with pytest.raises(RecordingError, match="cannot record into"):
            observer.run_started(run_info())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
