"""Our side, through the public API alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

import horus_async
from horus_async import Guard, Node, Scheduler, Topic
from horus_async.clock.system import monotonic_ns, perf_ns
from horus_async.messages import CmdVel, Imu, LaserScan

from .sampling import BYTES, LARGE, RATE, SMALL, lateness_us, microseconds_a_call

if TYPE_CHECKING:
    from collections.abc import Callable


def dict_send_recv(scale: float) -> list[float]:
    """A small dict through one handle, as the peer's own benchmark does it."""
    return [_send_recv(SMALL, scale)]


def large_dict_send_recv(scale: float) -> list[float]:
    """360 floats in a dict, through one handle."""
    return [_send_recv(LARGE, scale / 4)]


def typed_send_recv(scale: float) -> list[float]:
    """Two floats in a message class, through one typed handle."""
    return [_send_recv(CmdVel(1.5, 0.25), scale, kind=CmdVel)]


def imu_send_recv(scale: float) -> list[float]:
    """Three nested classes and three matrices."""
    return [_send_recv(Imu(), scale / 4, kind=Imu)]


def imu_as_dicts_send_recv(scale: float) -> list[float]:
    """The same numbers in dicts and lists."""
    return [_send_recv(attrs.asdict(Imu()), scale / 4)]


def scan_send_recv(scale: float) -> list[float]:
    """A laser scan with 360 ranges."""
    return [_send_recv(LaserScan(ranges=LARGE["ranges"]), scale / 4, kind=LaserScan)]


def bytes_send_recv(scale: float) -> list[float]:
    """64 bytes through one handle."""
    return [_send_recv(BYTES, scale)]


def array_send_recv(scale: float) -> list[float]:
    """An array of 1 MiB, through one handle of a topic with default options."""
    import numpy as np

    return [_send_recv(np.arange(1 << 17, dtype=np.float64), scale, batch=50, capacity=None)]


def array_send_borrow(scale: float) -> list[float]:
    """The same array, looked at in place: its first and last element."""
    import numpy as np

    array = np.arange(1 << 17, dtype=np.float64)
    with Topic("bench.value") as topic:

        def call() -> None:
            topic.send(array)
            with topic.borrow() as message:
                if message is None or message.value[0] != 0 or message.value[-1] != array.size - 1:
                    raise AssertionError("the message did not arrive")

        return [microseconds_a_call(call, scale=scale, batch=50)]


def _send_recv(
    value: Any, scale: float, batch: int = 500, *, kind: type | None = None, capacity: int | None = 1 << 24
) -> float:
    with Topic("bench.value", kind, capacity=capacity) as topic:

        def call() -> None:
            topic.send(value)
            if topic.recv() is None:
                raise AssertionError("the message did not arrive")

        return microseconds_a_call(call, scale=scale, batch=batch)


def _two_nodes(ticks: int, *, recording: bool | str) -> float:
    """Run a sensor and a controller for that many ticks. Microseconds per tick, start and stop included."""
    scheduler, arrived = _sensor_and_controller(recording=recording, recordings_dir=Path("recordings"))
    start = perf_ns()
    scheduler.run_sync(duration=ticks / RATE)
    took = perf_ns() - start
    _check_arrived(arrived(), ticks)
    return took / ticks / 1000


def _sensor_and_controller(**options: Any) -> tuple[Scheduler, Callable[[], int]]:
    """Two nodes, the first of which sends a dict per tick; and what tells how many the second has taken."""
    received = 0

    async def sense(node: Node) -> None:
        tick = horus_async.tick()
        node.send("sensor.reading", {"value": math.sin(tick * 0.01), "tick": tick})

    async def control(node: Node) -> None:
        nonlocal received
        if node.recv("sensor.reading") is not None:
            received += 1

    scheduler = Scheduler(tick_rate=RATE, deterministic=True, **options)
    scheduler.add(Node(name="sensor", tick=sense, pubs=["sensor.reading"]))
    scheduler.add(Node(name="controller", tick=control, subs=["sensor.reading"]))
    return scheduler, lambda: received


def _check_arrived(received: int, sent: int) -> None:
    if received != sent:
        raise AssertionError(f"{received} of {sent} messages arrived")


def time_a_node(nodes: int, scale: float, **options: Any) -> list[float]:
    """Microseconds per node tick in a deterministic run of pairs: one sends a dict per tick, the other takes it.

    Measured from the third tick to the end, which leaves out setting up, as on the peer's side.
    """
    ticks = max(100, round(60_000 * scale / nodes))
    start_ns = 0
    received = 0

    def pair(index: int) -> tuple[Node, Node]:
        topic = f"sensor.{index}"

        async def sense(node: Node) -> None:
            nonlocal start_ns
            tick = horus_async.tick()
            if tick == 2 and not index:
                start_ns = perf_ns()
            node.send(topic, {"value": math.sin(tick * 0.01), "tick": tick})

        async def control(node: Node) -> None:
            nonlocal received
            if node.recv(topic) is not None:
                received += 1

        return Node(f"sensor{index}", tick=sense, pubs=[topic]), Node(f"controller{index}", tick=control, subs=[topic])

    scheduler = Scheduler(tick_rate=RATE, deterministic=True, **options)
    for index in range(nodes // 2):
        for node in pair(index):
            scheduler.add(node)
    scheduler.run_sync(duration=ticks / RATE)
    took = perf_ns() - start_ns
    if received != ticks * (nodes // 2):
        raise AssertionError(f"{received} of {ticks * (nodes // 2)} messages arrived")
    return [took / (ticks - 2) / nodes / 1000]


def whole_run(scale: float) -> list[float]:
    """Milliseconds of a deterministic run of two nodes from nothing to its end; what it imports late counts, too."""
    ticks = round(20_000 * scale)
    start_ns = perf_ns()
    scheduler, arrived = _sensor_and_controller()
    trio.run(scheduler.run, ticks / RATE)
    took = perf_ns() - start_ns
    _check_arrived(arrived(), ticks)
    return [took / 1e6]


def deterministic_unguarded(scale: float) -> list[float]:
    """Two nodes without the determinism guard."""
    return time_a_node(2, scale, guard=Guard.OFF)


def recording_extra(scale: float) -> list[float]:
    """What recording adds to a run, finishing the files included."""
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
