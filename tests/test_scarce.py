"""No threads, no memory: a run ends in an error of ours that says so, or goes on and counts what it had to drop."""

from __future__ import annotations

import errno
import logging
import random
import resource
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lz4.frame
import pytest

from horus_async import Node, Scheduler
from horus_async.engine.runtime import Runtime
from horus_async.errors import HorusError, LimitError, NodeFailure, RecordingError
from horus_async.limits import threads
from horus_async.limits.memory import named
from horus_async.recorder import open_session
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.write import line_maker
from horus_async.recorder.write import writer as writer_module
from horus_async.recording_state import RecordingState

from .recorder.runs import accounted, play, recorder, run_info, settled

if TYPE_CHECKING:
    from collections.abc import Callable

ROBOT = """
from horus_async import Node, Scheduler
scheduler = Scheduler(tick_rate=100, watchdog=5.0)
for i in range(5):
    scheduler.add(Node(name=f"n{i}", tick=lambda node, i=i: node.send(f"t{i}", i), pubs=[f"t{i}"], subs=["t0"]))
"""


def a_scheduler(**options: Any) -> Scheduler:
    """One that starts all kinds of threads."""
    sensor = Node(name="sensor", tick=lambda node: node.send("t", 1), pubs=["t"])
    reader = Node(name="reader", tick=lambda node: node.recv("t"), subs=["t"])
    return Scheduler(watchdog=60.0, **options).add(sensor).add(reader)


# Threads


def test_a_thread_that_dies_before_it_begins_is_not_waited_for() -> None:
    """Where there is no memory for its first call, nobody says that it has begun, however long one waits."""
    thread = threading.Thread(target=print, name="short-lived", daemon=True)
    thread._bootstrap = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(LimitError, match=r"'short-lived'.*ulimit -u"):
        threads.start_thread(thread)


def test_a_thread_that_dies_before_its_function_is_called_has_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it has told Python that it began."""
    monkeypatch.setattr(threads, "_call", lambda *_: None)
    thread = threading.Thread(target=print, name="short-lived", daemon=True)
    with pytest.raises(LimitError, match=r"'short-lived'.*ulimit -u"):
        threads.start_thread(thread)


def test_a_thread_is_started_once_and_does_its_work() -> None:
    """With all its arguments; whoever starts it again hears of that."""
    got: list[object] = []
    thread = threading.Thread(target=lambda *args, **options: got.append((args, options)), args=(1,), kwargs={"a": 2})
    threads.start_thread(thread)
    thread.join()
    assert got == [((1,), {"a": 2})]
    with pytest.raises(RuntimeError, match="once"):
        threads.start_thread(thread)


# Memory of the engine


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_has_no_memory_to_begin_is_not_waited_for(
    number: int, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows no plan, and says nothing: the run ends, with an error of ours or as it would have ended."""
    real, calls = Runtime._work, iter(range(1 << 30))

    async def work(runtime: Runtime, after: Any) -> None:
        if next(calls) == number:
            raise MemoryError
        await real(runtime, after)

    monkeypatch.setattr(Runtime, "_work", work)
    ended: list[str] = []
    node = Node(name="n", tick=lambda _: None, shutdown=lambda node: ended.append(node.name))
    scheduler = Scheduler(deterministic=deterministic).add(node)
    if number == 0:  # the one that follows the run's plan
        with pytest.raises(LimitError, match="there is no memory left"):
            scheduler.run_sync(duration=0.05)
    else:  # one at the end, which is tried again
        scheduler.run_sync(duration=0.05)
    assert ended == ["n"] * number  # no init has run before the first worker


def failed_by(error: BaseException, *, after: BaseException | None = None) -> BaseException:
    """An error that came from another."""
    error.__cause__ = after
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "no memory"),
        ImportError("/x/lz4.so: failed to map segment from shared object"),
        SyntaxError("expected ':'", (f"{Path(threads.__file__).parent}/x.py", 1, 1, "", 1, 1)),
        ExceptionGroup("two", [ValueError(), MemoryError()]),
        failed_by(RuntimeError("internal error"), after=MemoryError()),
    ],
    ids=repr,
)
def test_whatever_comes_of_no_memory_is_named(error: BaseException) -> None:
    """Groups, causes, what the loader and the compiler say: as one error of ours."""
    with pytest.raises(LimitError, match="there is no memory left"), named():
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), ImportError("no module"), SyntaxError("x"), OSError(5, "x")])
def test_what_has_nothing_to_do_with_memory_stays(error: BaseException) -> None:
    """Also a program's own mistakes in its syntax."""
    with pytest.raises(type(error)), named():
        raise error


def _refuse_thread(number: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the system refuse the thread of this number; the names of those that were to start."""
    asked: list[str] = []
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        asked.append(thread.name)
        if len(asked) == number:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return asked


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("number", range(1, 6))
def test_each_thread_of_a_run_is_refused_in_turn(
    number: int, deterministic: bool, monkeypatch: pytest.MonkeyPatch, recordings_dir: Path
) -> None:
    """The error is ours, and about that thread; nothing goes on, and nothing is left of the recording."""
    scheduler = a_scheduler(deterministic=deterministic, recording="r", blackbox_mb=1)
    asked = _refuse_thread(number, monkeypatch)
    refused = None
    try:
        scheduler.run_sync(duration=0.02)
    except HorusError as error:
        refused = error
    if refused is None:
        assert len(asked) < number
        assert number > 3 - deterministic
        return
    assert len(asked) == number
    assert f"allows no thread for '{asked[-1]}'" in str(refused)
    left = [*recordings_dir.glob("*")]
    assert not left or asked[-1] == "horus-watchdog"
    assert not left or open_session("r").ended_at is not None


def test_a_thread_of_a_node_that_is_refused_is_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As whatever happens in it."""

    class Driver(Node):
        name = "driver"

        async def init(self) -> None:
            _refuse_thread(1, monkeypatch)
            self.in_thread(print)

        async def tick(self) -> None: ...

    with pytest.raises(NodeFailure) as failure:
        Scheduler().add(Driver()).run_sync(duration=5)
    assert isinstance(failure.value.exceptions[0], LimitError)


# Memory of the recorder


def no_memory(**_: Any) -> Exception:
    """As Python says it."""
    return MemoryError()


def lz4_says(**_: Any) -> Exception:
    """As LZ4 says it."""
    return RuntimeError("LZ4F_compressFrame failed with code: ERROR_allocation_failed")


@pytest.mark.parametrize("block", [False, True], ids=["real time", "deterministic"])
@pytest.mark.parametrize("failure", [no_memory, lz4_says])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_frames_that_cannot_be_packed_are_counted(
    tmp_path: Path, block: bool, failure: Callable[[], Exception], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while there is no memory: then the recording goes on, and gap lines say what is missing."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.0)
    observer = recorder(tmp_path, block=block, interval=0.002)
    observer.run_started(run_info(deterministic=block))
    real, calls = lz4.frame.compress, iter(range(1 << 30))

    def compress(*arguments: Any, **options: Any) -> bytes:
        if first <= next(calls) < first + 5:
            raise failure()
        packed: bytes = real(*arguments, **options)
        return packed

    monkeypatch.setattr(lz4.frame, "compress", compress)
    for tick in range(0, 200, 10):
        play(observer, range(tick, tick + 10), random.Random(tick))
        settled(observer)
    observer.run_stopped("duration", 200)
    stats = observer.stats()
    assert stats.state is RecordingState.OFF
    assert accounted(open_session("session", tmp_path), 200, "no memory") == stats.dropped > 0


@pytest.mark.parametrize("made", ["sent", "executed", "tick_ended"])
@pytest.mark.parametrize("number", [0, 1, 10])
def test_lines_that_cannot_be_made_are_counted(
    tmp_path: Path, made: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In real time, where the writer's thread makes them: it goes on with the next one."""
    real, calls = getattr(line_maker.LineMaker, made), iter(range(1 << 30))

    def make(maker: line_maker.LineMaker, record: Any) -> None:
        if next(calls) == number:
            raise MemoryError
        real(maker, record)

    monkeypatch.setattr(line_maker.LineMaker, made, make)
    observer = recorder(tmp_path, block=False, interval=0.002)
    observer.run_started(run_info())
    play(observer, range(20), random.Random(1))
    observer.run_stopped("duration", 20)
    stats = observer.stats()
    assert (stats.state, stats.dropped) == (RecordingState.OFF, 1)
    session = open_session("session", tmp_path)
    assert check_session(session).verdict is Verdict.WHOLE
    assert not session.damage


def test_a_text_that_cannot_be_taken_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no memory for one copy: nothing is lost by that."""
    from horus_async.recorder.write.feed import Feed

    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.0)
    real, calls = Feed.take, iter(range(1 << 30))

    def take(feed: Feed) -> bytes:
        if 3 <= next(calls) < 9:
            raise MemoryError
        return real(feed)

    monkeypatch.setattr(Feed, "take", take)
    observer = recorder(tmp_path, block=False, interval=0.002)
    observer.run_started(run_info())
    assert observer._writer is not None
    for tick in range(30):
        play(observer, range(tick, tick + 1), random.Random(1))
        observer._writer.intake.room.wake.set()
    while next(calls) < 20:
        observer._writer.intake.room.wake.set()
        threading.Event().wait(0.001)
    observer.run_stopped("duration", 30)
    assert observer.stats().state is RecordingState.OFF
    assert accounted(open_session("session", tmp_path), 30) == observer.stats().dropped


@pytest.mark.parametrize("method", ["sent", "executed", "tick_ended"])
def test_a_recording_that_is_told_of_nothing_any_more_is_not_whole(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a deterministic run the loop makes the lines: what it has no memory for must not pass for all there was."""
    real, calls = getattr(line_maker.LineMaker, method), iter(range(1 << 30))

    def make(maker: line_maker.LineMaker, record: Any) -> None:
        if next(calls) == 5:
            raise MemoryError
        real(maker, record)

    monkeypatch.setattr(line_maker.LineMaker, method, make)
    scheduler = a_scheduler(deterministic=True, recording="r")
    with caplog.at_level(logging.ERROR):
        scheduler.run_sync(duration=1)
    recording = scheduler.stats().recording
    assert recording is not None
    assert recording.state is RecordingState.FAILED
    assert "left out from here on" in caplog.text
    caplog.clear()  # its frames hold what they used
    session = open_session("r")
    assert session.ended_at is None
    assert check_session(session).verdict is Verdict.CUT


def test_a_recording_without_memory_to_begin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left of it."""

    def refuse(*_: Any, **__: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(lz4.frame, "compress", refuse)
    with pytest.raises(RecordingError, match="there is no memory left"):
        recorder(tmp_path).run_started(run_info())
    assert not [*tmp_path.iterdir()]


# The whole


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.parametrize("mode", [(), ("--deterministic",)], ids=["real time", "deterministic"])
@pytest.mark.parametrize("mib", [48, 56, 64, 72, 80, 88, 96, 104, 112, 160])
def test_a_limit_of_memory_is_named(mib: int, mode: tuple[str, ...], tmp_path: Path) -> None:
    """At whatever it is reached: memory of a topic, the black box, a thread."""
    app = tmp_path / "robot.py"
    app.write_text(ROBOT)
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (mib << 20, mib << 20))
    command = (sys.executable, "-m", "horus_async", "run", *mode, "--record", "r", "--duration", "0.1")
    done = subprocess.run(
        [*command, f"{app}:scheduler"], capture_output=True, text=True, check=False, preexec_fn=limit, timeout=300
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in {0, 1, 2}, done.stderr
    if done.returncode == 1:
        assert "is not whole" in done.stderr.splitlines()[-1]
    if done.returncode == 2:
        assert "ulimit -v" in done.stderr.splitlines()[-1]
    if (tmp_path / "recordings" / "r").exists():
        assert not open_session("r").damage
    else:
        assert done.returncode == 2
