"""A disk that does not answer: the first tick and the stop do not wait for it, and what it did not take is counted.

The disk stands still until the test lets it go on, so that nothing here goes by the clock.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, Scheduler
from horus_async.blackbox import open_blackbox, place, sealing
from horus_async.limits import disk
from horus_async.recorder import ExecutionRecord, open_session
from horus_async.recorder.locking import FolderLock
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.write import recorder as recorder_module
from horus_async.recorder.write import writer as writer_module
from horus_async.recording_state import RecordingState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TICKS = 20


class StuckDisk:
    """Calls that stand still from one on, until `let_go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._goes_on = threading.Event()
        self._monkeypatch = monkeypatch
        self.reached = threading.Event()

    def stick(self, module: Any, name: str) -> None:
        """Have a call stand still from now on."""
        real = getattr(module, name)

        def stuck(*arguments: Any, **options: Any) -> Any:
            if not self._goes_on.is_set():
                self.reached.set()
                assert self._goes_on.wait(300)
            return real(*arguments, **options)

        self._monkeypatch.setattr(module, name, stuck)

    def let_go(self) -> None:
        """Have all calls go on."""
        self._goes_on.set()


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[StuckDisk]:
    """A disk, for which everything waits two pauses only. It goes on at the end, and all threads are waited for."""
    monkeypatch.setattr(disk, "START_PATIENCE", 0.1)
    monkeypatch.setattr(disk, "END_PATIENCE", 0.1)
    before = set(threading.enumerate())
    double = StuckDisk(monkeypatch)
    yield double
    double.let_go()
    for thread in set(threading.enumerate()) - before:
        thread.join(300)
        assert not thread.is_alive()
    disk.calm()


@pytest.fixture
def let_go_when_said(stuck: StuckDisk) -> Iterator[list[str]]:
    """The disk goes on once somebody says that it is waited for; what was said."""
    said: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            if "waiting for the disk" in said[-1]:
                stuck.let_go()

    handler = Listening()
    logging.getLogger("horus_async").addHandler(handler)
    yield said
    logging.getLogger("horus_async").removeHandler(handler)


def robot(**options: Any) -> Scheduler:
    """A node that sends each tick."""
    return Scheduler(tick_rate=1000, **options).add(Node(name="n", tick=lambda node: node.send("t", 1), pubs=["t"]))


def _open_log(node: Node) -> None:
    node.log.warning("hello")


BEGINNINGS = [
    (recorder_module, "make_private"),
    (FolderLock, "take"),
    (os, "rename"),
    (os, "pwrite"),
]


@pytest.mark.parametrize(("module", "call"), BEGINNINGS)
def test_a_run_begins_and_ends_while_its_recording_cannot(
    stuck: StuckDisk, module: Any, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In real time: every tick comes, all messages count as dropped, and both are said."""
    stuck.stick(module, call)
    scheduler = robot(recording="r")
    scheduler.run_sync(duration=TICKS / 1000)
    assert stuck.reached.is_set()
    stats = scheduler.stats()
    assert stats.nodes["n"].ticks > 0
    assert stats.recording is not None
    assert stats.recording.state is RecordingState.FAILED
    assert stats.recording.messages == 0
    assert stats.recording.dropped >= stats.nodes["n"].ticks
    assert "the run begins before its recording r" in caplog.text
    assert f"{stats.recording.dropped} messages or lines are lost" in caplog.text


def test_what_was_written_before_the_disk_got_stuck_stays(stuck: StuckDisk, caplog: pytest.LogCaptureFixture) -> None:
    """Written and dropped messages are all that were sent, and the session is cut, not damaged."""
    sent: list[int] = []

    def tick(node: Node) -> None:
        node.send("t", len(sent))
        sent.append(1)
        if len(sent) == TICKS:
            recording = scheduler.stats().recording
            assert recording is not None
            if recording.messages < TICKS // 2:
                sent.pop()  # not yet: it ticks until something is written
            else:
                stuck.stick(os, "pwrite")

    scheduler = Scheduler(tick_rate=1000, recording="r").add(Node(name="n", tick=tick, pubs=["t"]))
    ticks = 0

    def count(node: Node) -> None:
        nonlocal ticks
        ticks += 1
        if stuck.reached.is_set():
            node.request_stop()

    scheduler.add(Node(name="watch", tick=count))
    scheduler.run_sync(duration=100)
    recording = scheduler.stats().recording
    assert recording is not None
    assert recording.state is RecordingState.FAILED
    assert recording.dropped > 0
    session = open_session("r")
    assert not session.damage
    assert session.ended_at is None
    read = [one for line in session.executions("n") if isinstance(line, ExecutionRecord) for one in line.outputs]
    assert len(read) == recording.messages
    assert "messages or lines are lost" in caplog.text


def test_a_disk_that_comes_late_has_everything(stuck: StuckDisk) -> None:
    """What waited in memory is written once the files are there: nothing is missing."""
    stuck.stick(os, "rename")

    ticks: list[int] = []

    def tick(node: Node) -> None:
        node.send("t", 1)
        ticks.append(1)
        if len(ticks) == TICKS:
            stuck.let_go()
        recording = scheduler.stats().recording
        if recording is not None and recording.messages:
            node.request_stop()

    scheduler = Scheduler(tick_rate=1000, recording="r").add(Node(name="n", tick=tick, pubs=["t"]))
    scheduler.run_sync(duration=100)
    recording = scheduler.stats().recording
    if recording is not None and recording.state is RecordingState.OFF:  # else the machine was too slow at the end
        assert recording.dropped == 0
        session = open_session("r")
        assert check_session(session).verdict is Verdict.WHOLE
        assert len([*session.executions("n")]) == scheduler.stats().nodes["n"].ticks


def test_a_recording_that_cannot_begin_after_all(
    stuck: StuckDisk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run went on meanwhile, so it is not refused any more: it is said, and everything counts as dropped."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder_module, "make_private", refuse)
    stuck.stick(recorder_module, "make_private")

    def tick(node: Node) -> None:
        node.send("t", 1)
        stuck.let_go()
        if "cannot begin" in caplog.text:
            node.request_stop()

    scheduler = Scheduler(tick_rate=1000, recording="r").add(Node(name="n", tick=tick, pubs=["t"]))
    scheduler.run_sync(duration=100)
    recording = scheduler.stats().recording
    assert recording is not None
    assert recording.state is RecordingState.FAILED
    assert recording.dropped >= scheduler.stats().nodes["n"].ticks
    assert "cannot begin, the run goes on without" in caplog.text


@pytest.mark.parametrize(("module", "call"), BEGINNINGS)
def test_a_deterministic_run_waits_and_says_what_for(
    stuck: StuckDisk, let_go_when_said: list[str], module: Any, call: str
) -> None:
    """It drops nothing."""
    stuck.stick(module, call)
    robot(deterministic=True, recording="r").run_sync(duration=TICKS / 1000)
    assert any("the recording r is being begun" in line for line in let_go_when_said)
    assert check_session(open_session("r")).verdict is Verdict.WHOLE
    assert len([*open_session("r").executions("n")]) == TICKS


def test_the_end_of_a_deterministic_run_waits_and_says_what_for(stuck: StuckDisk, let_go_when_said: list[str]) -> None:
    """For the last lines, too."""

    def tick(node: Node) -> None:
        node.send("t", 1)
        stuck.stick(os, "pwrite")
        node.request_stop()

    Scheduler(deterministic=True, recording="r").add(Node(name="n", tick=tick, pubs=["t"])).run_sync()
    assert any("the recording r is being written" in line for line in let_go_when_said)
    assert check_session(open_session("r")).verdict is Verdict.WHOLE


def test_a_deterministic_run_without_room_waits_and_says_what_for(
    stuck: StuckDisk, let_go_when_said: list[str]
) -> None:
    """In the middle, when its memory is full."""
    from horus_async.recorder import RecordingOptions

    ticks: list[int] = []

    def tick(node: Node) -> None:
        if not ticks:
            stuck.stick(os, "pwrite")
        ticks.append(1)
        node.send("t", "x" * 10_000)

    options = RecordingOptions(name="r", memory_mb=0.1)
    Scheduler(deterministic=True, recording=options).add(Node(name="n", tick=tick, pubs=["t"])).run_sync(duration=1)
    assert any("drops nothing" in line for line in let_go_when_said)
    assert len([*open_session("r").executions("n")]) == 100


STUCK_APP = """
import os, sys, threading
from horus_async import Node, Scheduler
real = os.pwrite
ticks = []
def stuck(*arguments):
    if ticks or {from_the_start}:
        threading.Event().wait()
    return real(*arguments)
os.pwrite = stuck
def tick(node):
    ticks.append(1)
    node.send("t", 1)
    node.request_stop()
scheduler = Scheduler(deterministic=True, recording="r").add(Node(name="n", tick=tick, pubs=["t"]))
scheduler.run_sync()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_second_signal_ends_the_wait(signum: signal.Signals, from_the_start: bool, tmp_path: Path) -> None:
    """Whether the recording is being begun or written; the exit code is the signal's."""
    app = tmp_path / "app.py"
    app.write_text(STUCK_APP.format(from_the_start=from_the_start))
    with subprocess.Popen([sys.executable, str(app)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "waiting for the disk" in line:
                break
        process.send_signal(signum)
        threading.Event().wait(0.3)  # one signal stays pending only once
        process.send_signal(signum)
        rest = process.stderr.read()
        assert process.wait(300) == 128 + signum, rest
    assert "Traceback" not in rest
    assert from_the_start or "are lost" in rest


# The black box


def test_a_run_begins_while_its_box_cannot(stuck: StuckDisk, caplog: pytest.LogCaptureFixture) -> None:
    """The box is in memory till then: the run and its reader see all events, and it is said that a kill would not."""
    stuck.stick(place, "_make")
    scheduler = robot(blackbox_mb=1)
    scheduler.run_sync(duration=TICKS / 1000)
    assert stuck.reached.is_set()
    assert scheduler.stats().nodes["n"].ticks > 0
    assert "kept in memory" in caplog.text
    assert "did not take its last events" in caplog.text


def test_a_box_in_memory_is_copied_once_there_is_a_file(stuck: StuckDisk, blackbox_dir: Path) -> None:
    """All of it, also what came before."""
    stuck.stick(place, "_make")

    ticks: list[int] = []

    def tick(node: Node) -> None:
        box = scheduler.blackbox
        assert box is not None
        if not ticks:
            box.custom("test", "while the disk was stuck")
            assert [record.event for record in box.events("Custom")]
        stuck.let_go()
        ticks.append(1)
        if (blackbox_dir / "scheduler.hbb").exists():
            node.request_stop()

    scheduler = Scheduler(tick_rate=1000, blackbox_mb=1).add(Node(name="n", tick=tick))
    disk_patience, disk.END_PATIENCE = disk.END_PATIENCE, 100.0
    try:
        scheduler.run_sync(duration=100)
    finally:
        disk.END_PATIENCE = disk_patience
    with open_blackbox(blackbox_dir / "scheduler.hbb") as box:
        assert len(box.events("Custom")) == 1
        assert len(box.events("NodeTick")) == scheduler.stats().nodes["n"].ticks
        assert box.events("SchedulerStop")
        assert not box.damage


def test_the_stop_does_not_wait_for_the_sync_of_a_box(
    stuck: StuckDisk, blackbox_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a power cut might cost is said; the process that reads it sees all events."""
    stuck.stick(sealing, "_fdatasync")
    robot(blackbox_mb=1).run_sync(duration=TICKS / 1000)
    assert "a power cut may cost them" in caplog.text
    with open_blackbox(blackbox_dir / "scheduler.hbb") as box:
        assert box.events("SchedulerStop")


def test_one_slow_disk_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else waits for it at the same end of a run gets a short look only."""
    monkeypatch.setattr(disk, "START_PATIENCE", 1.0)
    monkeypatch.setattr(disk, "END_PATIENCE", 2.0)
    disk.calm()
    pauses: list[float] = []

    def never(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    waits: tuple[Callable[[Callable[[float], bool]], bool], ...] = (disk.wait_at_start, disk.wait_at_end)
    for wait, patience in zip(waits, (1.0, 2.0), strict=True):
        pauses.clear()
        assert not wait(never)
        assert sum(pauses) == pytest.approx(patience)
        assert not wait(never)
        assert sum(pauses) < patience + 0.2
    disk.calm()


def test_the_end_waits_on_for_a_disk_that_gets_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Much waits, and each look finds that some megabytes more are written: none of it is dropped."""
    from .recorder.runs import play, recorder, run_info

    observer = recorder(tmp_path, block=False)
    observer.run_started(run_info())
    import random

    play(observer, range(50), random.Random(1))
    writer = observer._writer
    assert writer is not None
    looks: list[int] = []
    real = writer.stats

    def growing() -> writer_module.RecordingStats:
        from attrs import evolve

        looks.append(1)
        return evolve(real(), bytes=len(looks) * writer_module._LEAST_PROGRESS)

    monkeypatch.setattr(writer, "stats", growing)
    waited = iter([False, False, False, True])
    monkeypatch.setattr(disk, "wait_at_end", lambda done: next(waited) and (done(300.0) or True))
    observer.run_stopped("duration", 50)
    monkeypatch.setattr(writer, "stats", real)
    assert observer.stats().state is RecordingState.OFF
    assert observer.stats().dropped == 0


@pytest.mark.parametrize("wait", [disk.wait_at_end, lambda done: disk.wait_to_the_end(done, "a test")])
def test_after_a_second_signal_a_disk_that_answers_has_half_a_second(wait: Callable[..., bool]) -> None:
    """Which is enough for it; nobody waits for another."""
    pauses: list[float] = []

    def never(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    disk.calm()
    disk.hurry()
    assert not wait(never)
    assert sum(pauses) == pytest.approx(0.5)
    disk.calm()
