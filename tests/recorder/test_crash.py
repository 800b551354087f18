"""What is left when the process is killed or the disk is full: real processes, real limits."""

from __future__ import annotations

import errno
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import durability
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.errors import RecordingError
from horus_async.recorder import ExecutionRecord, RecordingState, Session, open_session
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.write import writer as writer_module
from horus_async.recorder.write.frame_file import FrameFile, Rotation

from .runs import accounted, execution, play, recorder, run_info, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.recorder import Recorder

CHILD = """
import os, random, sys, time
from pathlib import Path
from benchmarks.durability import _tell_flushes
from tests.recorder.runs import execution, message, recorder, run_info, tell
observer = recorder(Path(sys.argv[1]), block=sys.argv[2] == "block")
observer.run_started(run_info())
given = [0]
_tell_flushes(observer, given)
noise = random.Random(int(sys.argv[3]))
for tick in range(10**9):
    data = {"tick": tick, "text": "x" * (noise.randrange(20_000) if tick % 50 == 0 else noise.randrange(50))}
    tell(observer, execution("sensor", tick), [message("sensor", "t", tick, data)])
    given[0] = tick + 1
    if tick % 20 == 0:
        time.sleep(0.001)
"""


@pytest.mark.parametrize("seed", range(6))
def test_kill_9_loses_nothing_that_was_flushed(tmp_path: Path, seed: int) -> None:
    """J.1-7: killed at any moment, the recording opens as it is, and has what was given before the last flush began.

    ``test_flush_interval`` shows how often it flushes; how much is lost in milliseconds, 100 at most, is measured by
    ``python -m benchmarks.soak durability``.
    """
    mode = "block" if seed % 2 else "drop"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), mode, str(seed)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert child.stdout is not None
    told = child.stdout.readline()
    assert told.startswith(b"written ")
    killer = threading.Timer(random.Random(seed).uniform(0.05, 0.4), lambda: os.kill(child.pid, signal.SIGKILL))
    killer.start()
    *whole, _ = (told + child.stdout.read()).split(b"\n")  # a torn line may be the last
    written = max(int(line.removeprefix(b"written ")) for line in whole)
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
    assert len(ticks) > written


@pytest.mark.parametrize("seed", range(8))
def test_a_recording_that_is_ended_holds_what_was_acknowledged(tmp_path: Path, seed: int) -> None:
    """J.1-7: killed, killed while stopped, crashed or left at any moment: a prefix with every acknowledged digest.

    ``python -m benchmarks.soak durability --minutes N`` does the same for as long as one likes.
    """
    lap = durability.run_lap(tmp_path, seed)
    assert lap.read >= lap.durable
    assert lap.verdict in {Verdict.CUT, Verdict.WHOLE}
    assert lap.acknowledged > 0


def test_the_kill_loop_finds_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reader that leaves out the last frame, the loop fails: it finds what it is there for."""
    everything = Session.executions

    def careless(session: Session, node: str) -> Iterator[Any]:
        return iter(list(everything(session, node))[:-20])

    monkeypatch.setattr(Session, "executions", careless)
    told = [[b"given", b"%d" % tick, b"0", b"0"] for tick in range(100)] + [[b"written", b"99"]]
    observer = recorder(tmp_path, durability.SESSION)
    observer.run_started(run_info())
    play(observer, range(100), random.Random(1))
    observer.run_stopped("duration", 100)
    digests = [tick.digest for tick in open_session(durability.SESSION, tmp_path).scheduler_ticks()]
    with pytest.raises(durability.DurabilityError, match="tick 0 is not what was given"):
        durability._judge(tmp_path, "kill", told)
    assert len(digests) == 100
    with pytest.raises(durability.DurabilityError, match="100 ticks were known to be written, 80 are there"):
        durability._judge(tmp_path, "kill", [[b"written", b"99"]])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; skips where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("rotate_mb", [None, 0.005], ids=["one file", "rotated"])
def test_a_disk_that_somebody_else_fills(
    small_disk: Path, rotate_mb: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC on a real file system: the run goes on, what was written stays, and recording resumes with exact gaps."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    observer = recorder(small_disk, block=False, interval=0.002, memory_mb=1, rotate_mb=rotate_mb)
    observer.run_started(run_info(deterministic=False))
    noise = random.Random(1)
    tick = 0
    for _ in range(2):
        play(observer, range(tick, tick + 300), noise)
        tick += 300
        settled(observer)
        with pytest.raises(OSError, match="No space"):
            fill(small_disk / "filler")
        while observer.stats().state is not RecordingState.FAILED:
            play(observer, range(tick, tick + 50), noise)
            tick += 50
        play(observer, range(tick, tick + 400), noise)
        tick += 400
        (small_disk / "filler").unlink()
        wait_for(observer, RecordingState.ON)
    play(observer, range(tick, tick + 300), noise)
    tick += 300
    observer.run_stopped("duration", tick)
    assert observer.stats().state is RecordingState.OFF
    session = open_session("session", small_disk)
    assert (len(session.all_files()) > 6) == (rotate_mb is not None)
    assert accounted(session, tick, "No space left") == observer.stats().dropped > 0
    assert check_session(session).verdict is Verdict.WHOLE
    assert observer.stats().bytes == sum(path.stat().st_size for path in observer.stop())


def wait_for(observer: Recorder, state: RecordingState) -> None:
    """Return when the recording is in a state."""
    deadline = monotonic_ns() + 300 * NANOSECONDS
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
    assert accounted(open_session("session", tmp_path), tick, "File too large") == observer.stats().dropped > 0
    assert "stopped, the run goes on" in caplog.text
    assert "goes on; its gap lines" in caplog.text


def test_after_a_full_disk_a_deterministic_run_waits_for_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing can be written nobody waits; as soon as it can, nothing is dropped any more."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.0)
    real, full = os.pwrite, [False]

    def pwrite(*arguments: Any) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, "pwrite", pwrite)
    observer = recorder(tmp_path, block=True, interval=0.002, memory_mb=0.02)
    observer.run_started(run_info())
    play(observer, range(10), random.Random(1))
    full[0] = True
    play(observer, range(10, 20), random.Random(1))
    wait_for(observer, RecordingState.FAILED)
    full[0] = False
    wait_for(observer, RecordingState.ON)
    settled(observer)
    dropped = observer.stats().dropped
    play(observer, range(20, 2000), random.Random(1))
    observer.run_stopped("duration", 2000)
    assert observer.stats().dropped == dropped
    assert accounted(open_session("session", tmp_path), 2000, "No space") == dropped > 0


def test_a_file_that_never_got_its_header_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a node which nobody announced: the disk takes its name, and not a byte of it."""
    real_open, real_pwrite = os.open, os.pwrite
    late: set[int] = set()

    def opened(path: Any, *arguments: int) -> int:
        descriptor = real_open(path, *arguments)
        if ".late@" in str(path):
            late.add(descriptor)
        return descriptor

    def pwrite(descriptor: int, *arguments: Any) -> int:
        if descriptor in late:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_pwrite(descriptor, *arguments)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "pwrite", pwrite)
    observer = recorder(tmp_path, interval=0.002)
    observer.run_started(run_info())
    observer.executed(execution("late", 0))
    wait_for(observer, RecordingState.FAILED)
    assert late
    observer.run_stopped("duration", 1)
    monkeypatch.undo()
    assert not [path.name for path in (tmp_path / "session").iterdir() if path.suffix == ".part"]


@pytest.mark.parametrize("end", [FrameFile.close, lambda file: file.finish(b'{"kind":"footer"}\n')])
def test_a_next_file_that_was_begun_in_vain_is_not_left(
    end: Callable[[FrameFile], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The footer that would have named it found no room: nothing says that there is another file."""
    file = FrameFile(tmp_path / "n@1.jsonl.lz4", b'{"kind":"header"}\n', Rotation(1, None, sync=False))
    file.write(b'{"kind":"tick","tick":1}\n')
    assert file._part.file is not None
    full, real = file._part.file._fd, os.pwrite

    def pwrite(descriptor: int, *arguments: Any) -> int:
        if descriptor == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space"):
            file.write(b'{"kind":"tick","tick":2}\n')
        assert file._next is not None
    end(file)
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["n@1.jsonl.lz4"]


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
