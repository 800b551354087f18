"""A small recorded run whose every message is known, made without an engine, flush by flush."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orjson import dumps

from horus_async.observe import Execution, External, NodeInfo, Received, RunInfo, Sent, TickEnd
from horus_async.recorder import ExecutionRecord, Recorder, RecordingOptions, SchedulerTick

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.observe import Observer
    from horus_async.recorder.records import SessionLine

PERIOD_NS = 10_000_000
NODES = ("sensor", "controller")
SESSION = "session"
_RUN = RunInfo(
    "scheduler", 100.0, True, 7, 1_795_230_000_000_000_000, 0, "default", tuple(map(NodeInfo, NODES, [100.0] * 2))
)


class SmallRun:
    """A recording that is written only when `flush` is called: its writer's thread sleeps.

    Args:
        root: The folder of sessions.
        block: Whether it waits when it has too much to write, as in a deterministic run.
        options: Further options of the recording.
    """

    def __init__(self, root: Path, *, block: bool = True, **options: Any) -> None:
        options = {"name": SESSION, "interval": 60.0, **options}
        self.recorder = Recorder(RecordingOptions(**options), root, block=block)
        self.ticks = 0
        self.flushed = 0
        """Ticks flushed so far."""
        self.recorder.run_started(_RUN)

    def play(self, ticks: int) -> None:
        """A sensor, a controller that follows it, and every seventh tick an external command."""
        for _ in range(ticks):
            play_tick(self.recorder, self.ticks)
            self.ticks += 1

    def flush(self) -> None:
        """Write what has been played."""
        assert self.recorder._writer is not None
        self.recorder._writer.flush()
        self.flushed = self.ticks

    def close(self) -> list[Path]:
        """End the recording. Returns its files, the scheduler's first."""
        self.recorder.run_stopped("duration", self.ticks)
        return self.recorder.stop()


def record_small(root: Path, *, flushes: int, ticks: int, **options: Any) -> list[Path]:
    """Make a closed recording with ``ticks`` ticks in each of ``flushes`` frames. Returns its files."""
    run = SmallRun(root, **options)
    for _ in range(flushes):
        run.play(ticks)
        run.flush()
    return run.close()


def play_tick(observer: Observer, tick: int) -> None:
    """Tell the observer everything about one tick."""
    now_ns = tick * PERIOD_NS
    sent = [Sent(node, f"{node}.out", tick, now_ns, dumps(message_of(node, tick)), tick, tick) for node in NODES]
    taken = [Received("sensor.out", "sensor", tick)]
    if tick % 7 == 0:
        observer.received_external(External(tick, "cmd", "pilot", tick, now_ns, dumps(message_of("pilot", tick))))
    for node, one in zip(NODES, sent, strict=True):
        inputs = taken if node == "controller" else []
        observer.sent(one)
        observer.executed(Execution("tick", node, tick, now_ns, PERIOD_NS, 0, inputs, None))
    observer.tick_ended(TickEnd(tick, now_ns, list(NODES)))


def message_of(node: str, tick: int) -> dict[str, object]:
    """The message that a node sends in a tick."""
    return {"from": node, "value": tick * 0.37, "tick": tick, "text": f"{tick:b}" * (tick % 5)}


def check_record(node: str, record: SessionLine) -> None:
    """Raise if a record does not belong to a small run.

    Raises:
        AssertionError: It does not.
    """
    if isinstance(record, ExecutionRecord):
        (sent,) = record.outputs
        assert (sent.topic, sent.seq, sent.data) == (f"{node}.out", record.tick, message_of(node, record.tick)), record
        assert record.now_ns == record.tick * PERIOD_NS, record
    elif isinstance(record, SchedulerTick):
        assert (record.order, record.now_ns) == (NODES, record.tick * PERIOD_NS), record
