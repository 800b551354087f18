"""A robot in two processes, each with its own scheduler and recording; then each is replayed without the other.

    python examples/two_processes.py [FOLDER]

One process drives towards a wall and measures the distance, the other says how fast to go. Nothing connects them but
the names of two topics. Either can be started first, or restarted while the other runs. The recordings go into FOLDER,
by default a temporary folder. The same two programs by hand, in two terminals:

    horus-async run examples/two_processes.py --record robot -- robot
    horus-async run examples/two_processes.py --record controller -- controller
    horus-async replay controller --speed max --verify examples/two_processes.py -- controller
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from horus_async import Node, Scheduler, dt
from horus_async.recorder import open_session
from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

STOP_AT = 0.5
"""Metres from the wall."""


class Robot(Node):
    """Drives as fast as it was last told to, and measures the distance to the wall."""

    name = "robot"
    rate = 100
    subs = ("robot.speed",)
    pubs = ("robot.range",)

    async def init(self) -> None:
        """Start two metres away, at rest."""
        self.distance = 2.0
        self.speed = 0.0

    async def tick(self) -> None:
        """Move, then measure."""
        for command in self.recv_all("robot.speed"):
            self.speed = command["metres_per_second"]
        self.distance -= self.speed * dt()
        self.send("robot.range", {"metres": self.distance})


class Controller(Node):
    """Answers each measurement with a speed; ends the run when the robot is where it should be."""

    name = "controller"
    on = "robot.range"
    pubs = ("robot.speed",)
    gain = 4.0

    async def tick(self) -> None:
        """Answer one measurement with one command."""
        error = self.recv("robot.range")["metres"] - STOP_AT
        there = abs(error) < 0.01
        self.send("robot.speed", {"metres_per_second": 0.0 if there else min(1.5, self.gain * error)})
        if there:
            self.request_stop()


def build(args: Sequence[str]) -> Scheduler:
    """The scheduler of one of the two processes: ``robot`` or ``controller``."""
    (which,) = args
    node = {"robot": Robot, "controller": Controller}[which]()
    return Scheduler(tick_rate=100, name=which).add(node)


def drive() -> None:
    """Run both processes until the robot stands still."""
    command = [sys.executable, "-m", "horus_async", "run", __file__, "--no-blackbox", "--record"]
    with subprocess.Popen([*command, "controller", "--", "controller"]) as controller:
        robot = subprocess.Popen([*command, "robot", "--duration", "30", "--", "robot"])
        try:
            if controller.wait() != 0:
                raise SystemExit("the controller failed")
        finally:
            robot.terminate()
            robot.wait()


def heard(session: str) -> dict[int, object]:
    """What a process read from the other one, by sequence number."""
    return {message.seq: decode(message.payload) for message in open_session(session).external()}


def said(session: str) -> dict[int, object]:
    """What it sent, by sequence number."""
    lines = open_session(session).executions(session)
    return {sent.seq: decode(sent.payload) for line in lines for sent in getattr(line, "outputs", ())}


def check(listener: str, speaker: str) -> None:
    """Check that the external messages of one recording are those that the other recorded as sent."""
    took, sent = heard(listener), said(speaker)
    assert took
    assert all(sent[number] == value for number, value in took.items())
    print(f"{listener}: {len(took)} external messages, each as in {speaker}'s own recording")


def verify(which: str, gain: float = Controller.gain) -> None:
    """Replay one process alone: its code gets the recorded messages and clock, and must do the same."""
    scheduler = build([which])
    for node in scheduler.nodes:
        if isinstance(node, Controller):
            node.gain = gain
    report = trio.run(Scheduler.verify, which, scheduler)
    assert report.passed is (gain == Controller.gain), report.first_difference
    if report.passed:
        print(f"{which}: replayed alone, {report.compared} messages compared, none differs")
    else:
        print(f"{which} with gain {gain}: {report.first_difference}")


def main(folder: Path) -> None:
    """Drive, then look at the recordings."""
    os.environ["HORUS_RECORDINGS_DIR"] = str(folder)
    drive()
    check("controller", "robot")
    check("robot", "controller")
    verify("robot")
    verify("controller")
    verify("controller", gain=5.0)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] not in ("robot", "controller"):
        main(Path(sys.argv[1]))
    elif len(sys.argv) == 2:
        build(sys.argv[1:]).run_sync()
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
