"""``examples/hardware/can_motor.py``, with python-can on its virtual bus."""

from __future__ import annotations

import struct
import threading
import uuid
from typing import TYPE_CHECKING

import pytest

from horus_async import Node

from .robots import Robot, did, sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

can = pytest.importorskip("can")

STATE, COMMAND = 0x181, 0x201


class Drive:
    """A motor that says its speed 1000 times a second, and takes one."""

    def __init__(self, channel: str) -> None:
        self.bus = can.Bus(channel, interface="virtual")
        self.number = 0
        self.over = threading.Event()
        self.thread: threading.Thread | None = None

    def say(self, speed: float, *, identifier: int = STATE) -> None:
        """Send a frame."""
        data = struct.pack("<Hf", self.number % 65536, speed)
        self.bus.send(can.Message(arbitration_id=identifier, data=data, is_extended_id=False))
        self.number += 1

    def say_at_1000_hz(self, count: int) -> None:
        """Send so many frames, in a thread."""

        def send() -> None:
            for _ in range(count):
                self.say(1.0)
                self.over.wait(0.001)

        self.thread = threading.Thread(target=send)
        self.thread.start()

    def heard(self) -> list[float]:
        """The commands that came."""
        commands: list[float] = []
        while (frame := self.bus.recv(timeout=0)) is not None:
            if frame.arbitration_id == COMMAND:
                commands += struct.unpack("<f", frame.data)
        return commands

    def close(self) -> None:
        """Go off the bus."""
        self.over.set()
        if self.thread is not None:
            self.thread.join()
        self.bus.shutdown()


@pytest.fixture
def channel() -> str:
    """A bus that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def drive(channel: str) -> Iterator[Drive]:
    """A motor on it."""
    drive = Drive(channel)
    yield drive
    drive.close()


@pytest.fixture
def robot(channel: str) -> Robot:
    """The example on it."""
    return Robot("can_motor.py", ["virtual", channel], "motor")


def test_1000_hz_are_recorded_and_verified_without_the_bus(
    robot: Robot, drive: Drive, tmp_path: Path, recordings_dir: Path
) -> None:
    """No frame of 2000 is missing: not on the bus, in the ring, or in the recording."""
    robot.run(robot.counted(opened=1), did(drive.say_at_1000_hz, 2000), robot.counted(received=2000), name="fast")
    recorded = sent("fast", "motor", "motor.state", recordings_dir)
    assert [state["n"] for state in recorded] == [*range(2000)]
    assert robot.driver.count == {"opened": 1, "received": 2000, "missing": 0, "others": 0, "not_sent": 0}
    stats = robot.scheduler.stats()
    assert sum(node.lost for node in stats.nodes.values()) == 0
    assert stats.recording is not None
    assert stats.recording.dropped == 0
    robot.verify("fast", "cruise", tmp_path)


def test_what_the_bus_lost_and_what_others_say_is_counted(robot: Robot, drive: Drive) -> None:
    """By the counter of the frames, also where it begins anew."""

    def say() -> None:
        drive.number = 65530
        for lost in (0, 0, 3, 0, 4):
            drive.number += lost
            drive.say(0.0)
        drive.say(0.0, identifier=0x7FF)
        drive.bus.send(can.Message(arbitration_id=STATE, data=b"odd", is_extended_id=False))

    robot.run(robot.counted(opened=1), did(say), robot.counted(received=5, others=2))
    assert robot.driver.count == {"opened": 1, "received": 5, "missing": 7, "others": 2, "not_sent": 0}


def test_it_stops_at_the_end(robot: Robot, drive: Drive) -> None:
    """The last command that the motor gets is none, and before that there were others."""
    moved: list[float] = []

    def moving() -> bool:
        moved.extend(drive.heard())
        return any(moved)

    robot.run(robot.counted(opened=1), did(drive.say, 1.0), moving)
    assert drive.heard()[-1:] == [0.0]


def test_it_stops_when_nobody_commands(robot: Robot, drive: Drive) -> None:
    """A command is good for 0.2 s, and no longer."""
    heard: list[float] = []

    def stopped() -> bool:
        heard.extend(drive.heard())
        return any(heard) and heard[-1] == 0.0

    robot.run(robot.counted(opened=1), did(drive.say, 1.0), stopped)
    assert {round(speed, 3) for speed in heard} == {0.0, 1.9}


def test_the_bus_goes_down_and_comes_back(robot: Robot, drive: Drive) -> None:
    """The driver opens it anew; frames of meanwhile are known to be missing by nobody but the bus."""
    robot.run(
        robot.counted(opened=1),
        did(drive.say, 1.0),
        robot.counted(received=1),
        lambda: robot.driver.bus.shutdown() is None,
        robot.counted(opened=2),
        did(drive.say, 1.0),
        robot.counted(received=2),
    )
    assert robot.scheduler.stats().nodes["motor"].restarts >= 1


def test_a_slow_reader_loses_none_in_silence(robot: Robot, drive: Drive) -> None:
    """What the ring has overwritten before somebody read it is counted: sent = read + lost."""
    sends = 20_000
    read: list[int] = []

    def look(node: Node) -> None:
        while robot.driver.count["received"] == sends and (state := node.recv("motor.state")) is not None:
            read.append(state["n"])

    robot.scheduler.add(Node("slow", tick=look, rate=10, subs=["motor.state"]))

    def flood() -> None:
        for _ in range(sends):
            drive.say(0.0)

    robot.run(robot.counted(opened=1), did(flood), robot.counted(received=sends), lambda: sends - 1 in read)
    lost = robot.scheduler.stats().nodes["slow"].lost
    assert lost > 0
    assert read == [*range(lost, sends)]
