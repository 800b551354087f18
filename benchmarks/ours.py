"""Our side, through the public API only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import horus_async
from horus_async import Node, Scheduler, Topic
from horus_async.clock.system import monotonic_ns, perf_ns

from .sampling import LARGE, RATE, SMALL, lateness_us, microseconds_a_call


def dict_send_recv(scale: float) -> list[float]:
    """A small dict through one handle, as the peer's own benchmark does it."""
    return [_send_recv(SMALL, scale)]


def large_dict_send_recv(scale: float) -> list[float]:
    """360 floats in a dict, through one handle."""
    return [_send_recv(LARGE, scale / 4)]


def _send_recv(value: dict[str, Any], scale: float) -> float:
    with Topic("bench.dict") as topic:

        def call() -> None:
            topic.send(value)
            if topic.recv() is None:
                raise AssertionError("the message did not arrive")

        return microseconds_a_call(call, scale=scale)


def _two_nodes(ticks: int, *, recording: bool | str) -> float:
    """Run a sensor and a controller for that many ticks; microseconds a tick, start and stop included."""
    received = 0

    async def sense(node: Node) -> None:
        tick = horus_async.tick()
        node.send("sensor.reading", {"value": math.sin(tick * 0.01), "tick": tick})

    async def control(node: Node) -> None:
        nonlocal received
        if node.recv("sensor.reading") is not None:
            received += 1

    scheduler = Scheduler(tick_rate=RATE, deterministic=True, recording=recording, recordings_dir=Path("recordings"))
    scheduler.add(Node(name="sensor", tick=sense, pubs=["sensor.reading"]))
    scheduler.add(Node(name="controller", tick=control, subs=["sensor.reading"]))
    start = perf_ns()
    scheduler.run_sync(duration=ticks / RATE)
    took = perf_ns() - start
    if received != ticks:
        raise AssertionError(f"{received} of {ticks} messages arrived")
    return took / ticks / 1000


def deterministic_tick(scale: float) -> list[float]:
    """Virtual time, as fast as it goes."""
    _two_nodes(1000, recording=False)
    return [_two_nodes(round(30_000 * scale), recording=False)]


def recording_extra(scale: float) -> list[float]:
    """The difference between a run that is recorded and one that is not, sealing the files included."""
    ticks = round(30_000 * scale)
    _two_nodes(1000, recording="warm-up")
    plain = _two_nodes(ticks, recording=False)
    return [_two_nodes(ticks, recording="measured") - plain]


def recorded_bytes(scale: float) -> list[float]:
    """The size of all files of a session."""
    ticks = round(10_000 * scale)
    _two_nodes(ticks, recording="size")
    files = [path for path in Path("recordings/size").rglob("*") if path.is_file()]
    return [sum(path.stat().st_size for path in files) / ticks]


def lateness(scale: float) -> list[float]:
    """One 1 kHz node of a real-time run."""
    starts: list[tuple[int, int]] = []

    async def tick(node: Node) -> None:  # noqa: ARG001 - the signature of a tick
        starts.append((horus_async.tick(), monotonic_ns()))

    Scheduler(tick_rate=RATE).add(Node(name="fast", tick=tick, rate=RATE)).run_sync(duration=2 * scale)
    return lateness_us(starts)
