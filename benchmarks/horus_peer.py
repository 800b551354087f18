"""HORUS's side: the package ``horus-robotics`` from PyPI, through its public API."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import horus

from horus_async.clock.system import monotonic_ns, perf_ns

from .links import Link
from .sampling import LARGE, RATE, SMALL, microseconds_a_call

if TYPE_CHECKING:
    from collections.abc import Iterator


def dict_send_recv(scale: float) -> list[float]:
    """A small dict through one handle."""
    return [_send_recv(SMALL, scale)]


def large_dict_send_recv(scale: float) -> list[float]:
    """360 floats in a dict, through one handle."""
    return [_send_recv(LARGE, scale / 4)]


def typed_send_recv(scale: float) -> list[float]:
    """Its message of two floats, through one typed handle."""
    return [_send_recv(horus.CmdVel(1.5, 0.25), scale, horus.CmdVel)]


def scan_send_recv(scale: float) -> list[float]:
    """Its laser scan, which has 360 ranges."""
    return [_send_recv(horus.LaserScan(ranges=LARGE["ranges"]), scale / 4, horus.LaserScan)]


def _send_recv(value: Any, scale: float, what: Any = "bench.dict") -> float:
    any_topic: Any = horus.Topic  # Its type information knows message classes only.
    topic = any_topic(what)

    def call() -> None:
        topic.send(value)
        if topic.recv() is None:
            raise AssertionError("the message did not arrive")

    return microseconds_a_call(call, scale=scale)


def lateness(realtime: int, seconds: float) -> list[float]:
    """One 1 kHz node of a run in real time; microseconds. It gives nodes SCHED_FIFO where that is permitted.

    It does not number the ticks that it leaves out, so its grid moves with each of them: the most punctual of a hundred
    ticks is the zero for these.
    """
    starts: list[int] = []

    def tick(node: Any) -> None:  # noqa: ARG001 - the signature of a tick
        starts.append(monotonic_ns())

    scheduler = horus.Scheduler(tick_rate=RATE, rt=bool(realtime))
    scheduler.add(horus.Node(name="fast", tick=tick, rate=RATE))
    scheduler.run(duration=seconds)
    period_ns = 1_000_000_000 // RATE
    against_grid = [start - tick * period_ns for tick, start in enumerate(starts)][len(starts) // 10 :]
    blocks = [against_grid[first : first + 100] for first in range(0, len(against_grid), 100)]
    return [(late - min(block)) / 1000 for block in blocks for late in block]


@contextmanager
def link(end: int, size: int) -> Iterator[Link]:
    """One end of a link. Its generic topics take JSON values: text of that length, at most 4 KB."""
    any_topic: Any = horus.Topic
    names = ("bench.there", "bench.back")
    out, into = any_topic(names[end]), any_topic(names[1 - end])
    text = "x" * size
    yield Link(lambda _: out.send(text), into.recv)


def _two_nodes(ticks: int, *, recording: bool) -> tuple[float, int]:
    """Microseconds per tick, unpaced, and the bytes recorded."""
    received = 0
    count = 0

    def sense(node: Any) -> None:
        nonlocal count
        node.send("sensor.reading", {"value": math.sin(count * 0.01), "tick": count})
        count += 1

    def control(node: Any) -> None:
        nonlocal received
        if node.recv("sensor.reading") is not None:
            received += 1

    scheduler = horus.Scheduler(tick_rate=RATE, deterministic=True, recording=recording)
    scheduler.add(horus.Node(name="sensor", tick=sense, rate=RATE, order=0, pubs=["sensor.reading"]))
    scheduler.add(horus.Node(name="controller", tick=control, rate=RATE, order=1, subs=["sensor.reading"]))
    scheduler.tick_once()
    start = perf_ns()
    for _ in range(ticks):
        scheduler.tick_once()
    files = scheduler.stop_recording() if recording else []
    took = perf_ns() - start
    if received < ticks - 1:
        raise AssertionError(f"{received} of {ticks} messages arrived")
    return took / ticks / 1000, sum(Path(file).stat().st_size for file in files)


def time_a_node(nodes: int, scale: float) -> list[float]:
    """Microseconds per node tick, with ``tick_once`` in a loop, as ``run`` is paced by the wall clock."""
    ticks = max(100, round(60_000 * scale / nodes))
    received = 0

    def pair(index: int) -> list[Any]:
        topic = f"sensor.{index}"
        count = 0

        def sense(node: Any) -> None:
            nonlocal count
            node.send(topic, {"value": math.sin(count * 0.01), "tick": count})
            count += 1

        def control(node: Any) -> None:
            nonlocal received
            if node.recv(topic) is not None:
                received += 1

        return [
            horus.Node(name=f"sensor{index}", tick=sense, rate=RATE, order=2 * index, pubs=[topic]),
            horus.Node(name=f"controller{index}", tick=control, rate=RATE, order=2 * index + 1, subs=[topic]),
        ]

    scheduler = horus.Scheduler(tick_rate=RATE, deterministic=True)
    for index in range(nodes // 2):
        for node in pair(index):
            scheduler.add(node)
    scheduler.tick_once()
    scheduler.tick_once()
    start = perf_ns()
    for _ in range(ticks - 2):
        scheduler.tick_once()
    took = perf_ns() - start
    if received < (ticks - 1) * (nodes // 2):
        raise AssertionError(f"{received} of {ticks * (nodes // 2)} messages arrived")
    return [took / (ticks - 2) / nodes / 1000]


def whole_run(scale: float) -> list[float]:
    """Milliseconds of all that a run of two nodes takes, by ``tick_once`` as above, from its scheduler to its end."""
    ticks = round(20_000 * scale)
    start_ns = perf_ns()
    _two_nodes(ticks - 1, recording=False)  # and one tick that it does not measure
    return [(perf_ns() - start_ns) / 1e6]


def recording_extra(scale: float) -> list[float]:
    """What recording adds; short, as a session ends at 100 MB."""
    ticks = round(3_000 * scale)
    plain = _two_nodes(ticks, recording=False)[0]
    return [_two_nodes(ticks, recording=True)[0] - plain]


def recorded_bytes(scale: float) -> list[float]:
    """The size of all files of a session."""
    ticks = round(3_000 * scale)
    return [_two_nodes(ticks, recording=True)[1] / ticks]
