"""How soon a line is on the disk, on a clock that the test turns: nothing here depends on the machine's speed."""

from __future__ import annotations

import random
from logging import makeLogRecord
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.clock.system import NANOSECONDS
from horus_async.observe import Logged
from horus_async.recorder import ExecutionRecord, LogLine, RecordedFile
from horus_async.recorder.write import writer as writer_module

from .runs import execution, message, recorder, run_info, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.recorder import Recorder
    from horus_async.recorder.write.frame_file import FrameFile

INTERVAL = 0.05
INTERVAL_NS = round(INTERVAL * NANOSECONDS)
SECONDS = 2


class VirtualMachine:
    """A clock, lines that come at given moments while it goes on, and a process that may be killed at any of them.

    Stands in for the event that the writer's thread waits for.
    """

    def __init__(self, moments: list[int], put: Callable[[int], None], check: Callable[[int], None]) -> None:
        self.now_ns = 0
        self.put_at: list[int] = []
        self._moments = moments
        self._put = put
        self._check = check
        self.at_end: Callable[[], None] = lambda: None

    def turn(self, nanoseconds: int) -> None:
        """Let time go by: lines come in meanwhile, and at the end of it the process could be killed."""
        end_ns = self.now_ns + nanoseconds
        while self._moments and self._moments[0] <= end_ns:
            self.now_ns = self._moments.pop(0)
            self._put(len(self.put_at))
            self.put_at.append(self.now_ns)
        self.now_ns = end_ns
        self._check(self.now_ns)
        if not self._moments and end_ns > (SECONDS + 1) * NANOSECONDS:
            self.at_end()

    def wait(self, seconds: float) -> None:
        """Sleep; nobody wakes the sleeper."""
        self.turn(round(seconds * NANOSECONDS))

    def set(self) -> None:
        """Somebody asks for a flush."""

    def clear(self) -> None:
        """The flush begins."""


@pytest.mark.parametrize(
    ("flush_ns", "bound_ns"),
    [(0, INTERVAL_NS), (INTERVAL_NS // 10, INTERVAL_NS * 11 // 10), (INTERVAL_NS, 2 * INTERVAL_NS)],
    ids=["no time", "a tenth of an interval", "an interval"],
)
@pytest.mark.parametrize("block", [True, False], ids=["deterministic", "real time"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("in_log", [False, True], ids=["ticks", "log"])
def test_a_line_is_written_within_two_intervals(
    tmp_path: Path,
    *,
    seed: int,
    block: bool,
    flush_ns: int,
    bound_ns: int,
    in_log: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """J.1-7: killed at any moment, all that came more than two intervals before is there, if a flush takes up to one.

    With flushes that take no time it is one interval.
    """
    observer = recorder(tmp_path, interval=INTERVAL, block=block)

    def put(tick: int) -> None:
        if in_log:
            observer.logged(Logged("sensor", tick, tick, 0, 20, "text", makeLogRecord({})))
            return
        tell(observer, execution("sensor", tick), [message("sensor", "t", tick, tick)])

    run = _on_a_virtual_machine(observer, seed, put, _there, monkeypatch, in_log=in_log, flush_ns=flush_ns)
    assert bound_ns // 2 < run.worst_ns <= bound_ns
    assert _there(run.path) == 300


@pytest.mark.parametrize("seed", range(3))
def test_what_a_tick_sends_that_never_ends_is_written_within_one_and_a_half(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any moment, all that came more than that before is there, and what waits is never more."""
    observer = recorder(tmp_path, interval=INTERVAL, block=False)

    def put(number: int) -> None:
        observer.sent(message("sensor", "t", number, number)._replace(began=0))

    def there(path: Path) -> int:
        return sum(1 for record in RecordedFile(path).sends() for _ in record.outputs)

    run = _on_a_virtual_machine(observer, seed, put, there, monkeypatch)
    assert INTERVAL_NS // 2 < run.worst_ns <= INTERVAL_NS * 3 // 2
    assert there(run.path) == 300


def _on_a_virtual_machine(
    observer: Recorder,
    seed: int,
    put: Callable[[int], None],
    there: Callable[[Path], int],
    monkeypatch: pytest.MonkeyPatch,
    *,
    in_log: bool = False,
    flush_ns: int = 0,
) -> SimpleNamespace:
    """Record 300 things at random moments.

    Args:
        observer: Has not begun. Its writer's thread never runs: its work is done here.
        seed: Of the moments.
        put: Tells it of one.
        there: How many of them a file has.
        monkeypatch: Sets the clock.
        in_log: Whether they go into the log, not into the file of the node.
        flush_ns: How long a flush takes.

    Returns:
        ``path``, of the file; ``worst_ns``, how old the oldest was that was told of and missing in it, at any moment.
    """
    monkeypatch.setattr(writer_module, "threading", SimpleNamespace(Thread=_NoThread))
    monkeypatch.setattr(writer_module, "start_thread", _NoThread.start)
    noise = random.Random(seed)
    moments = sorted(noise.randrange(SECONDS * NANOSECONDS) for _ in range(300))
    found = SimpleNamespace(worst_ns=0)

    def check(now_ns: int) -> None:
        missing = machine.put_at[there(found.path) :]
        if missing:
            found.worst_ns = max(found.worst_ns, now_ns - missing[0])

    machine = VirtualMachine(moments, put, check)
    monkeypatch.setattr(writer_module, "monotonic_ns", lambda: machine.now_ns)
    observer.run_started(run_info())
    writer = observer._writer
    assert writer is not None
    files = [*writer.files, *([writer.files.log] if in_log else [])]
    found.path = (writer.files.log if in_log else writer.files.nodes["sensor"]).path
    monkeypatch.setattr(writer.intake.room, "wake", machine)
    for file in files:
        monkeypatch.setattr(file, "write", _slow(file, machine, flush_ns // len(files)))
    machine.at_end = lambda: setattr(writer, "_ending", True)
    writer._write_until_end()
    assert len(machine.put_at) == 300
    observer.run_stopped("duration", 300)
    writer._work()  # as the thread would: closes the files
    return found


def _there(path: Path) -> int:
    """How many lines are on the disk; the log has no file before the first."""
    records = RecordedFile(path).records() if path.exists() else ()
    return sum(isinstance(line, ExecutionRecord | LogLine) for line in records)


class _NoThread:
    """A thread that never runs."""

    ident = 1

    def __init__(self, **_: Any) -> None: ...

    def start(self) -> None: ...

    def join(self, _: float | None = None) -> None: ...

    def is_alive(self) -> bool:
        return False


def _slow(file: FrameFile, machine: VirtualMachine, nanoseconds: int) -> Callable[[bytes], bool]:
    """A way to write that takes its time, before the bytes are there."""
    write = file.write

    def slowly(text: bytes) -> bool:
        machine.turn(nanoseconds)
        return write(text)

    return slowly
