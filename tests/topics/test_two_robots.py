"""Two schedulers in two processes: a sensor and a controller, each recorded."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from horus_async import Node, Scheduler
from horus_async.recorder import open_session
from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from pathlib import Path


def run(program: str) -> subprocess.Popen[str]:
    """Start a program."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


SENSOR_PROCESS = """
from horus_async import Node, Scheduler

class Sensor(Node):
    count = 0
    def tick(self):
        self.send("range", self.count)
        self.count += 1

scheduler = Scheduler(name="sensor", tick_rate=100, recording="sensor")
scheduler.add(Sensor("sensor", rate=100))
scheduler.run_sync(duration=30)
"""

CONTROLLER_PROCESS = """
from horus_async import Node, Scheduler

class Controller(Node):
    def tick(self):
        while (value := self.recv("range")) is not None:
            self.send("speed", value * 2)
            self.heard += 1
            if self.heard == 10:
                self.request_stop()
    heard = 0

scheduler = Scheduler(name="controller", tick_rate=100, recording="controller")
scheduler.add(Controller("controller", on=["range"]))
scheduler.run_sync(duration=30)
"""


def test_messages_from_another_process_are_recorded_and_replayed(recordings_dir: Path) -> None:
    """An event node is woken by another process's sensor; what it took lies in ``external`` and replays from there."""
    with run(CONTROLLER_PROCESS) as controller, run(SENSOR_PROCESS) as sensor:
        assert controller.wait(300) == 0
        sensor.terminate()
        sensor.wait(300)
    taken = [decode(message.payload) for message in open_session("controller", recordings_dir).external()]
    assert len(taken) >= 10
    assert taken == list(range(taken[0], taken[0] + len(taken)))

    listener = Listener("listener", rate=100)
    replay = Scheduler.replay_from("controller")
    replay.add(listener)
    replay.run_sync()
    assert listener.ranges == taken
    assert listener.speeds == [2 * value for value in taken[: len(listener.speeds)]]
    assert listener.speeds


class Listener(Node):
    """Takes down what a replay sends."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, subs=["range", "speed"], **options)
        self.ranges: list[int] = []
        self.speeds: list[int] = []

    def tick(self) -> None:
        """Take all."""
        self.ranges += self.recv_all("range")
        self.speeds += self.recv_all("speed")
