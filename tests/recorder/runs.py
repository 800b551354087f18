"""Small recorded runs for the tests, made without an engine."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.observe import Execution, NodeInfo, Received, RunInfo, Sent, TickEnd
from horus_async.recorder import ExecutionRecord, GapRecord, Recorder, RecordingOptions, SchedulerTick, SendsRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from horus_async.observe import Observer
    from horus_async.recorder import Session

PERIOD_NS = 10_000_000
NODES = (
    NodeInfo("sensor", 100.0, pubs=("sensor.reading",)),
    NodeInfo("controller", 100.0, subs=("sensor.reading",), pubs=("ctrl.cmd",)),
)


def run_info(nodes: tuple[NodeInfo, ...] = NODES, *, deterministic: bool = True, seed: int = 7) -> RunInfo:
    """A run that begins at virtual time 0."""
    return RunInfo(
        name="scheduler",
        tick_rate=100.0,
        deterministic=deterministic,
        seed=seed,
        started_at_ns=1_795_230_000_123_000_000,
        start_ns=0,
        namespace="default",
        nodes=nodes,
    )


def execution(node: str, tick: int, taken: Sequence[Received] = ()) -> Execution:
    """A tick of a node in virtual time."""
    return Execution("tick", node, tick, tick * PERIOD_NS, PERIOD_NS, 0, list(taken), None)


def tell(observer: Observer, executed: Execution, sent: Iterable[Sent] = ()) -> None:
    """A callback sends, and ends."""
    for one in sent:
        observer.sent(one._replace(began=executed.tick))
    observer.executed(executed)


def message(node: str, topic: str, tick: int, value: object, seq: int | None = None) -> Sent:
    """A message sent in a tick."""
    return Sent(node, topic, tick if seq is None else seq, tick * PERIOD_NS, orjson.dumps(value), tick)


def play(observer: Observer, ticks: range, noise: random.Random) -> None:
    """A sensor that sends noise, and a controller that follows it."""
    integral = 0.0
    for tick in ticks:
        value = noise.random()
        integral += value * 0.01
        reading = message("sensor", "sensor.reading", tick, {"value": value, "tick": tick})
        command = message(
            "controller", "ctrl.cmd", tick, {"output": 0.5 * value + 0.1 * integral, "integral": integral}
        )
        tell(observer, execution("sensor", tick), (reading,))
        tell(observer, execution("controller", tick, (Received("sensor.reading", "sensor", tick),)), (command,))
        observer.tick_ended(TickEnd(tick, tick * PERIOD_NS, ["sensor", "controller"]))


def recorder(root: Path, name: str | None = "session", *, block: bool = True, **options: Any) -> Recorder:
    """A recorder that has not begun."""
    return Recorder(RecordingOptions(name=name, **options), root, block=block)


def record(root: Path, ticks: int = 100, name: str = "session") -> list[Path]:
    """Record a whole run; its files, the scheduler's first."""
    observer = recorder(root, name)
    observer.run_started(run_info())
    play(observer, range(ticks), random.Random(1))
    observer.run_stopped("duration", ticks)
    return observer.stop()


def settled(observer: Recorder) -> None:
    """Return when the writer has emptied the inboxes."""
    assert observer._writer is not None
    while observer._writer.intake.room.waiting():
        observer._writer.intake.room.wake.set()
        threading.Event().wait(0.001)


def accounted(session: Session, ticks: int, why: str = "in time") -> int:
    """Check that what is there and what is counted as missing account for all that `play` told; what is missing."""
    assert session.cuts == {}
    assert session.damage == {}
    dropped = 0
    for file in (session.scheduler, *session.files.values()):
        assert file is not None
        ended: list[int] = []
        sent: list[int] = []
        missing = 0
        for record in file.records():
            if isinstance(record, GapRecord):
                missing += record.dropped
                assert why in record.reason or "in time" in record.reason
                assert not ended or record.tick >= ended[-1]
            elif isinstance(record, ExecutionRecord | SchedulerTick):
                ended.append(record.tick)
            if isinstance(record, ExecutionRecord | SendsRecord):
                sent += [one.tick for one in record.outputs]
        footer = file.footer
        assert ended == sorted(set(ended))
        assert sent == sorted(set(sent))
        assert footer is not None
        if file is session.scheduler:
            assert missing == ticks - len(ended)
        else:
            hurt = set(range(ticks)) - set(ended).intersection(sent)
            assert len(hurt) <= missing <= 2 * ticks - len(ended) - len(sent)
            assert footer.outputs == len(sent)
        assert (footer.ticks, footer.dropped) == (len(ended), missing)
        dropped += missing
    return dropped
