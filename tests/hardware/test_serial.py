"""``examples/hardware/serial_imu.py``, with pyserial at a pseudo-terminal."""

from __future__ import annotations

import math
import os
import pty
import tty
from typing import TYPE_CHECKING

import pytest

from horus_async import Scheduler

from .robots import Robot, did, sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

serial = pytest.importorskip("serial")


class Plug:
    """The other end of a serial line, at a path that stays the same when it is pulled and put in again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends: list[int] = []
        self.put_in()

    def put_in(self) -> None:
        """Be there."""
        mine, other = pty.openpty()
        tty.setraw(other)
        self.path.symlink_to(os.ttyname(other))
        self.ends = [mine, other]

    def pull(self) -> None:
        """Be gone."""
        self.path.unlink(missing_ok=True)
        while self.ends:
            os.close(self.ends.pop())

    def say(self, *lines: str | bytes) -> None:
        """Send lines, or bytes as they are."""
        text = b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
        assert os.write(self.ends[0], text) == len(text)


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    """A device that is there."""
    plug = Plug(tmp_path / "ttyIMU")
    yield plug
    plug.pull()


@pytest.fixture
def robot(plug: Plug) -> Robot:
    """The example at it."""
    return Robot("serial_imu.py", [str(plug.path)], "imu_driver")


def test_it_is_recorded_and_verified_without_the_device(
    robot: Robot, plug: Plug, tmp_path: Path, recordings_dir: Path
) -> None:
    """Every whole line is in the recording, with a stamp of when it was read; what reads them does the same again."""
    lines = [f"{n}.5,{-n}" for n in range(300)]
    robot.run(robot.counted(opened=1), did(plug.say, "9,9", *lines), robot.counted(good=300), name="wired")
    assert robot.driver.count == {"opened": 1, "good": 300, "cut": 1, "garbage": 0}
    recorded = sent("wired", "imu_driver", "imu", recordings_dir)
    assert [(imu["roll"], imu["pitch"]) for imu in recorded] == [(n + 0.5, float(-n)) for n in range(300)]
    stamps = [imu["stamp_ns"] for imu in recorded]
    assert stamps == sorted(stamps)
    plug.pull()
    robot.verify("wired", "level", tmp_path)
    again = Scheduler.replay_from("wired").set_replay_speed(math.inf)
    level = next(node for node in robot.scheduler.nodes if node.name == "level")
    again.add(level).run_sync()  # live, at the recorded driver
    assert level.heard > 0  # type: ignore[attr-defined]


def test_unplugged_and_back(robot: Robot, plug: Plug, recordings_dir: Path) -> None:
    """The driver opens it anew, and what comes first after that, the end of a line, is not taken for a line."""
    robot.run(
        robot.counted(opened=1),
        did(plug.say, "0,0", "1,1", "2,2", b"3,"),
        robot.counted(good=2),
        did(plug.pull),
        lambda: robot.scheduler.stats().nodes["imu_driver"].restarts > 0,
        did(plug.put_in),
        robot.counted(opened=2),
        did(plug.say, "5.1,5", "6,6"),
        robot.counted(good=3),
        name="pulled",
    )
    assert [imu["roll"] for imu in sent("pulled", "imu_driver", "imu", recordings_dir)] == [1.0, 2.0, 6.0]
    assert robot.driver.count == {"opened": 2, "good": 3, "cut": 2, "garbage": 0}


def test_garbage_is_counted(robot: Robot, plug: Plug, recordings_dir: Path) -> None:
    """Bytes that are no text, numbers that are none, a line without an end: each once, and then it goes on."""
    robot.run(
        robot.counted(opened=1),
        did(plug.say, "0,0", b"\xff\x00\xfe\n", "1;1", "1,2,3", "", b"\x80" * 500),
        robot.counted(garbage=5),
        did(plug.say, "7,7", "8,8"),
        robot.counted(good=1),
        name="noise",
    )
    assert [imu["roll"] for imu in sent("noise", "imu_driver", "imu", recordings_dir)] == [8.0]
    health = robot.driver.count
    assert health["cut"] + health["garbage"] >= 1 + 5


def test_a_line_that_comes_in_pieces_is_one(robot: Robot, plug: Plug, recordings_dir: Path) -> None:
    """However long the device pauses in the middle of it."""
    waits = [0]

    def waited() -> bool:
        waits[0] += 1
        return waits[0] % 5 == 0

    pieces = [did(plug.say, piece) for piece in (b"0,0\n1.2", b"5,-", b"3", b".5\n")]
    steps = [step for piece in pieces for step in (piece, waited)]
    robot.run(robot.counted(opened=1), *steps, robot.counted(good=1), name="pieces")
    (imu,) = sent("pieces", "imu_driver", "imu", recordings_dir)
    assert (imu["roll"], imu["pitch"]) == (1.25, -3.5)


def test_nobody_opens_it_twice(robot: Robot, plug: Plug, caplog: pytest.LogCaptureFixture) -> None:
    """The one that comes second fails, says so, and gets it when the first has gone."""
    with serial.Serial(str(plug.path), exclusive=True) as other:
        robot.run(
            lambda: robot.scheduler.stats().nodes["imu_driver"].errors > 1,
            did(other.close),
            robot.counted(opened=1),
            did(plug.say, "0,0", "1,1"),
            robot.counted(good=1),
        )
    assert "Could not exclusively lock port" in caplog.text


def test_the_servo_lets_go_when_the_device_is_silent(robot: Robot, plug: Plug, recordings_dir: Path) -> None:
    """Its safe state: the reader notices, as the driver is busy opening the device."""
    robot.run(
        robot.counted(opened=1),
        did(plug.say, "0,0", "4,0"),
        robot.counted(good=1),
        did(plug.pull),
        lambda: robot.scheduler.stats().nodes["imu_driver"].errors > 2,
        name="silent",
    )
    assert sent("silent", "level", "servo", recordings_dir)[-1] in {-2.0, 0.0}
