"""Synchronisation between processes: sensors elsewhere that are killed, and come back with a clock that starts anew."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import Node, Scheduler, Sync
from horus_async.topics.external.leftovers import reclaim

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 300
"""Only there so that a hang ends, on a machine however busy."""

SENSOR = """
import sys, time
from horus_async import Topic
with Topic(sys.argv[1]) as topic:
    for number in range(int(sys.argv[3]), 1_000_000):
        topic.send({"stamp_ns": number * 5_000_000 + int(sys.argv[2]), "number": number})
        time.sleep(0.005)
"""


@pytest.fixture(autouse=True)
def clean(namespace: str) -> Iterator[None]:
    """Remove what the processes that a test killed have left."""
    yield
    reclaim(namespace, grace_ns=0)


class Sensors:
    """Two processes that each send on a topic."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, first: int) -> None:
        """Start both; that is the first number that they send."""
        for topic, offset in (("left", 0), ("right", 1_000_000)):
            process = subprocess.Popen([sys.executable, "-c", SENSOR, topic, str(offset), str(first)])
            self._stack.callback(process.wait)
            self._stack.callback(process.kill)
            self.processes.append(process)

    def kill(self) -> None:
        """Kill both, without a chance to clean up."""
        for process in self.processes:
            process.kill()
            process.wait()


class Fusion(Node):
    """Ends the run, or has the sensors killed, when it has enough."""

    name, rate, pubs, subs = "fusion", 100, "pair", ("left", "right")

    def __init__(self, sensors: Sensors | None = None, *, way: str) -> None:
        super().__init__()
        self.sensors = sensors
        self.way = way
        self.pairs: Sync
        self.numbers: list[int] = []

    async def init(self) -> None:
        """Begin with none."""
        self.numbers = []
        self.pairs = self.sync("left", "right", slop=0.002, queue=100_000)

    async def tick(self) -> None:
        """Send on what belongs together."""
        if self.way == "receive":
            self._tell(*await self.pairs.receive())
        for left, right in self.pairs:
            self._tell(left, right)
        if self.sensors is not None and len(self.numbers) > 20:
            self.sensors.kill()
            self.sensors.start(0)
            self.sensors = None
        if self.numbers and 20 < self.numbers[-1] < 100_000:
            self.request_stop()

    def _tell(self, left: Any, right: Any) -> None:
        self.numbers.append(left["number"])
        self.send("pair", (left["number"], right["number"]))


@pytest.mark.parametrize("way", ["for", "receive"])
def test_sensors_in_other_processes(way: str) -> None:
    """All pairs are right, also after the sensors were killed and began again at 0; the recording is verified alone."""
    with ExitStack() as stack:
        sensors = Sensors(stack)
        fusion = Fusion(sensors, way=way)
        sensors.start(100_000)
        scheduler = Scheduler(recording="s").add(fusion)
        scheduler.run_sync(duration=SECONDS)
    numbers = fusion.numbers
    assert len(numbers) > 40
    again = next(place for place, number in enumerate(numbers) if number < 100_000)
    for life in (numbers[:again], numbers[again:]):
        assert life == sorted(set(life))

    live = Fusion(way=way)

    async def verify() -> Any:
        return await Scheduler.verify("s", Scheduler().add(live))

    report = trio.run(verify)
    assert report.first_difference is None, str(report.first_difference)
    assert (report.differences, report.compared) == (0, len(numbers))
    assert live.numbers == numbers
