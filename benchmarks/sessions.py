"""Recordings: what making one costs, and how fast they are looked into and replayed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

from horus_async import Node, RecordingOptions, Scheduler, tick
from horus_async.clock.system import perf_ns
from horus_async.observe import Execution, NodeInfo, Received, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, open_session

from .sampling import SMALL, CannotMeasureError, microseconds_a_call

RATE = 100
"""Hz of the recorded nodes."""


def recording_call(scale: float) -> list[float]:
    """The two calls with which the engine tells the recorder of a tick with one message."""
    from horus_async.topics.codec import encode

    node = NodeInfo("sensor", None, pubs=("sensor.reading",))
    run = RunInfo("bench", 1000.0, True, 0, 0, 0, "bench", (node,))
    recorder = Recorder(RecordingOptions(name="call", memory_mb=1024), Path("recordings"), block=True)
    recorder.run_started(run)
    payload = encode(SMALL)
    assert isinstance(payload, bytes)
    sent = Sent("sensor", "sensor.reading", 1, 1000, payload, 1)
    taken = [Received("other", "node", 1)]

    def call() -> None:
        recorder.executed(Execution("tick", "sensor", 1, 1000, 1000, 0, taken, [sent], None))
        recorder.tick_ended(TickEnd(1, 1000, ["sensor"], [sent]))

    took = microseconds_a_call(call, scale=scale / 4)
    recorder.stop()
    return [took]


def info(scale: float) -> list[float]:
    """Seconds that ``horus-async record info`` takes, the start of Python included."""
    path = _session("hour", nodes=2, seconds=round(3600 * scale))
    start = perf_ns()
    command = [sys.executable, "-m", "horus_async", "record", "info", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = perf_ns() - start
    if done.returncode:
        raise CannotMeasureError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return [took / 1e9]


def seek(scale: float) -> list[float]:
    """Seconds to open a session and read one tick of each node near its end."""
    path = _session("hour", nodes=2, seconds=round(3600 * scale))
    start = perf_ns()
    session = open_session(path)
    last = session.last_tick
    assert last is not None
    wanted = last - RATE
    for name in session.nodes:
        line = next(iter(session.executions(name, wanted, wanted)))
        if line.tick != wanted:
            raise AssertionError(f"asked for tick {wanted}, got {line.tick}")
    return [(perf_ns() - start) / 1e9]


def replay(scale: float) -> list[float]:
    """Seconds of ours a recorded second."""
    seconds = round(60 * scale)
    path = _session("five", nodes=5, seconds=seconds)
    start = perf_ns()
    scheduler = Scheduler.replay_from(path).set_replay_speed(math.inf)
    scheduler.run_sync()
    took = perf_ns() - start
    if scheduler.stats().tick != seconds * RATE - 1:
        raise AssertionError("not all of it was replayed")
    return [took / 1e9 / seconds]


def _session(name: str, *, nodes: int, seconds: int) -> Path:
    """A session, made once for all rounds. A chain: each node sends on what it takes from the one before."""
    folder = Path(os.environ["HORUS_BENCH_SHARED"])
    path = folder / f"{name}_{seconds}"
    if path.exists():
        return path
    scheduler = Scheduler(
        tick_rate=RATE, deterministic=True, recording=RecordingOptions(name=path.name), recordings_dir=folder
    )
    for index in range(nodes):
        scheduler.add(_link(index))
    scheduler.run_sync(seconds)
    return path


def _link(index: int) -> Node:
    source, target = f"chain.{index - 1}", f"chain.{index}"

    async def step(node: Node) -> None:
        if index == 0:
            node.send(target, {"value": math.sin(tick() * 0.01), "tick": tick()})
        else:
            node.send(target, node.recv(source))

    return Node(name=f"link{index}", tick=step, pubs=[target], subs=[source] if index else [])
