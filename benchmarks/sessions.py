"""Recordings: what making one costs, and how fast they are inspected and replayed."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orjson import dumps

from horus_async import Node, RecordingOptions, Scheduler, tick
from horus_async.clock.system import NANOSECONDS, perf_ns
from horus_async.engine.ports import new_tuple
from horus_async.observe import Execution, NodeInfo, Received, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, open_session
from horus_async.topics.codec import as_bytes, encode

from .sampling import SMALL, CannotMeasureError, microseconds_a_call, rest

if TYPE_CHECKING:
    from collections.abc import Callable

_PAYLOAD = as_bytes(encode(SMALL))
RATE = 100
"""Hz of the recorded nodes."""


def recording_call(scale: float) -> list[float]:
    """The recorder's share of a tick with one message in a real-time run: three calls with the engine's records."""
    sent, execution, end = _records_of_a_tick()

    def call(recorder: Recorder) -> None:
        recorder.sent(sent)
        recorder.executed(execution)
        recorder.tick_ended(end)

    return [_call_of_recorder(call, scale)]


def recording_and_noting(scale: float) -> list[float]:
    """The same, and what the engine does for it: making the records, which it does only for recordings."""

    def call(recorder: Recorder) -> None:
        sent, execution, end = _records_of_a_tick()
        recorder.sent(sent)
        recorder.executed(execution)
        recorder.tick_ended(end)

    return [_call_of_recorder(call, scale)]


def _records_of_a_tick() -> tuple[Sent, Execution, TickEnd]:
    sent = new_tuple(Sent, ("sensor", "sensor.reading", 1, 1000, _PAYLOAD, 1, 1))
    taken = new_tuple(Received, ("other", "node", 1, 0))
    execution = new_tuple(Execution, ("tick", "sensor", 1, 1000, 1000, 0, [taken], None, 0))
    return sent, execution, new_tuple(TickEnd, (1, 1000, ["sensor"], None))


def _call_of_recorder(call: Callable[[Recorder], None], scale: float) -> float:
    """Microseconds. Between batches the recorder's thread has the time that a robot leaves it between ticks."""
    node = NodeInfo("sensor", None, pubs=("sensor.reading",))
    run = RunInfo("bench", 1000.0, False, 0, 0, 0, "bench", (node,))
    recorder = Recorder(RecordingOptions(name="call"), Path("recordings"), block=False)
    recorder.run_started(run)
    took = microseconds_a_call(lambda: call(recorder), scale=scale / 4, batch=100, between=rest)
    recorder.stop()
    if recorder.stats().dropped:
        raise CannotMeasureError("messages were dropped")
    return took


def info(scale: float) -> list[float]:
    """Seconds that ``horus-async record info`` takes, including the start of Python."""
    return _info(scale, topics=1)


def info_three_topics(scale: float) -> list[float]:
    """The same if each node sends on three topics every tick."""
    return _info(scale, topics=3)


def _info(scale: float, *, topics: int) -> list[float]:
    path = hour(round(3600 * scale), topics=topics)
    start = perf_ns()
    command = [sys.executable, "-m", "horus_async", "record", "info", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = perf_ns() - start
    if done.returncode:
        raise CannotMeasureError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return [took / 1e9]


def find_among_many(scale: float) -> list[float]:
    """Seconds that ``record find`` takes among many sessions that are in the catalogue, with the start of Python."""
    root = Path(os.environ["HORUS_BENCH_SHARED"]) / f"many{round(10_000 * scale)}"
    environ = {**os.environ, "HORUS_RECORDINGS_DIR": str(root), "HORUS_BLACKBOX_DIR": str(root / "boxes")}
    command = [sys.executable, "-m", "horus_async", "record", "find", "--event", "Fatal"]
    if not root.is_dir():
        node = Node("n", tick=lambda node: node.send("reading", SMALL), rate=RATE)
        scheduler = Scheduler(tick_rate=RATE, deterministic=True, recording="s0", recordings_dir=root)
        scheduler.add(node).run_sync(0.1)
        for number in range(1, round(10_000 * scale)):
            shutil.copytree(root / "s0", root / f"s{number}")
        subprocess.run(command, env=environ, capture_output=True, check=False)  # makes the catalogue
        subprocess.run(command, env=environ, capture_output=True, check=False)
    start = perf_ns()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    took = perf_ns() - start
    if done.returncode != 1:  # nothing is found
        raise CannotMeasureError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return [took / 1e9]


def seek(scale: float) -> list[float]:
    """Seconds to open a session and read one tick of each node, at several places."""
    path = hour(round(3600 * scale), topics=1)
    samples = []
    for part in range(1, 10):
        start = perf_ns()
        session = open_session(path)
        last = session.last_tick
        assert last is not None
        wanted = last * part // 9
        for name in session.nodes:
            line = next(iter(session.executions(name, wanted, wanted)))
            if line.tick != wanted:
                raise AssertionError(f"asked for tick {wanted}, got {line.tick}")
        samples.append((perf_ns() - start) / 1e9)
    return samples


def replay(scale: float) -> list[float]:
    """Seconds per recorded second."""
    seconds = round(60 * scale)
    path = _session("five", nodes=5, seconds=seconds)
    start = perf_ns()
    scheduler = Scheduler.replay_from(path).set_replay_speed(math.inf)
    scheduler.run_sync()
    took = perf_ns() - start
    if scheduler.stats().tick != seconds * RATE - 1:
        raise AssertionError("not all of it was replayed")
    return [took / 1e9 / seconds]


def hour(seconds: int, *, topics: int) -> Path:
    """Two nodes at 100 Hz, in frames of five ticks, as short as a robot's. Made once for all rounds."""
    folder = Path(os.environ["HORUS_BENCH_SHARED"])
    path = folder / f"hour_{topics}_{seconds}"
    if path.exists():
        return path
    infos = tuple(NodeInfo(name, float(RATE)) for name in ("sensor", "controller"))
    # The writer's thread sleeps: this loop decides when a frame ends.
    recorder = Recorder(RecordingOptions(name=path.name, interval=60), folder, block=True)
    recorder.run_started(RunInfo("scheduler", float(RATE), True, 0, 1_795_230_000_000_000_000, 0, "bench", infos))
    assert recorder._writer is not None
    for number in range(seconds * RATE):
        now_ns = number * NANOSECONDS // RATE
        for info in infos:
            payload = dumps({"value": math.sin(number * 0.01), "tick": number})
            sent = [
                Sent(info.name, f"{info.name}.{topic}", number, now_ns, payload, number, number)
                for topic in range(topics)
            ]
            for message in sent:
                recorder.sent(message)
            recorder.executed(Execution("tick", info.name, number, now_ns, NANOSECONDS // RATE, 0, [], None))
        recorder.tick_ended(TickEnd(number, now_ns, [info.name for info in infos]))
        if number % 5 == 4:
            recorder._writer.flush()
    recorder.run_stopped("duration", seconds * RATE)
    return path


def _session(name: str, *, nodes: int, seconds: int) -> Path:
    """A session of a chain: each node passes on what it takes from the one before. Made once for all rounds."""
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
