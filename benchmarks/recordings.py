"""Recordings once they are made: how soon one knows what is in an hour, gets into it, and has it replayed."""

from __future__ import annotations

import math
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from horus_async import Scheduler
from horus_async.clock.system import NANOSECONDS, perf_ns
from horus_async.observe import Execution, NodeInfo, Received, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions, open_session
from horus_async.recorder.info import session_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HZ = 100
HOUR_TICKS = 3600 * HZ
REPLAYED_SECONDS = 60
_PERIOD_NS = NANOSECONDS // HZ


def record_info_hour(scale: float) -> list[float]:
    """Seconds to look at an hour of two nodes at 100 Hz, as ``record info`` does, without the interpreter's start."""
    with _session(2, HOUR_TICKS) as folder:
        return [_timed(lambda: session_info(open_session(folder))) for _ in range(max(1, round(5 * scale)))]


def seek_hour(scale: float) -> list[float]:
    """Seconds from opening an hour of two nodes at 100 Hz to the first line of a tick somewhere in it."""
    samples = []
    with _session(2, HOUR_TICKS) as folder:
        for part in range(max(1, round(9 * scale))):
            tick = HOUR_TICKS * (2 * part + 1) // 20

            def seek(tick: int = tick) -> None:
                session = open_session(folder)
                for node in session.nodes:
                    if next(iter(session.executions(node, tick))).tick != tick:
                        raise AssertionError(f"tick {tick} was not found")

            samples.append(_timed(seek))
    return samples


def replay_five_nodes(scale: float) -> list[float]:
    """How many times faster than real time five nodes at 100 Hz are replayed at full speed; more is better."""
    ticks = max(HZ, round(REPLAYED_SECONDS * HZ * scale))
    with _session(5, ticks) as folder:
        scheduler = Scheduler.replay_from(folder).set_replay_speed(math.inf)
        seconds = _timed(scheduler.run_sync)
        if scheduler.stats().tick != ticks - 1:
            raise AssertionError("the replay did not get to its end")
        return [ticks / HZ / seconds]


def _timed(call: Callable[[], object]) -> float:
    began_ns = perf_ns()
    call()
    return (perf_ns() - began_ns) / NANOSECONDS


@contextmanager
def _session(nodes: int, ticks: int) -> Iterator[Path]:
    """A session of some nodes that pass a small message on; an hour's takes a few seconds to make."""
    with tempfile.TemporaryDirectory() as folder:
        _record(Path(folder), "session", nodes, ticks)
        yield Path(folder) / "session"


def _record(root: Path, name: str, nodes: int, ticks: int) -> None:
    names = [f"node{number}" for number in range(nodes)]
    infos = tuple(NodeInfo(node, float(HZ), pubs=(f"{node}.out",)) for node in names)
    # An interval as short as in real time, so that the frames are as many and as small as those of a robot.
    recorder = Recorder(RecordingOptions(name=name, interval=0.001), root, block=True)
    recorder.run_started(RunInfo("scheduler", float(HZ), True, 0, 1_795_230_000_000_000_000, 0, "default", infos))
    for tick in range(ticks):
        now_ns = tick * _PERIOD_NS
        sent_in_tick = []
        for number, node in enumerate(names):
            payload = orjson.dumps({"value": math.sin(tick * 0.01 + number), "tick": tick})
            sent = Sent(node, f"{node}.out", tick, now_ns, payload, tick)
            taken = [Received(f"{names[number - 1]}.out", names[number - 1], tick)] if number else []
            recorder.executed(Execution("tick", node, tick, now_ns, _PERIOD_NS, 0, taken, [sent], None))
            sent_in_tick.append(sent)
        recorder.tick_ended(TickEnd(tick, now_ns, names, sent_in_tick))
    recorder.run_stopped("duration", ticks)
