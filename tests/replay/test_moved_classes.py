"""A class of the program is found again, whatever its module was called when the session was recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
from enum import Enum
from attrs import define
from horus_async import Node, Scheduler

@define
class Pose:
    x: float = 1.0
    class Kind(Enum):
        FAST = 1
    kind: Kind = Kind.FAST

async def drive(node):
    node.send("pose", [Pose(2.0)])

async def steer(node):
    pose = node.recv("pose")[0]
    node.send("steer", (pose.x * GAIN, pose.kind, pose))

GAIN = 1.0

def build(args):
    scheduler = Scheduler(deterministic=True)
    scheduler.add(Node("drive", tick=drive, pubs=["pose"]))
    return scheduler.add(Node("steer", tick=steer, subs=["pose"], pubs=["steer"]))

if __name__ == "__main__":
    Scheduler(deterministic=True, recording="script").add(build([]).nodes[0]).add(build([]).nodes[1]).run_sync(0.1)
"""
CLASSES = PROGRAM[: PROGRAM.index("async def drive")]
REST = PROGRAM[PROGRAM.index("async def drive") :]


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """A folder with a program that was recorded as a script and as a module."""
    (tmp_path / "robot.py").write_text(PROGRAM)
    assert python(tmp_path, "robot.py").returncode == 0
    recorded = python(tmp_path, "-m", "horus_async", "run", "--record", "module", "--duration", "0.1", "robot:build")
    assert recorded.returncode == 0, recorded.stderr
    return tmp_path


def verify(folder: Path, session: str, app: str) -> tuple[int, str]:
    """Exit code and output of a verification."""
    done = python(folder, "-m", "horus_async", "replay", session, "--speed", "max", "--verify", app)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("session", ["script", "module"])
@pytest.mark.parametrize("app", ["robot.py", "robot:build"])
def test_it_does_not_matter_how_the_program_is_loaded(robot: Path, session: str, app: str) -> None:
    """Recorded as a script or a module, verified as a script or a module."""
    code, output = verify(robot, session, app)
    assert code == 0, output
    assert "compared 20 messages, 0 differ" in output


@pytest.mark.parametrize("session", ["script", "module"])
def test_from_a_test(robot: Path, session: str) -> None:
    """With ``build(args)``, as the documentation shows, and with a function without parameters."""
    (robot / "test_robot.py").write_text(
        f"import pytest, robot\n"
        f"@pytest.mark.horus_replay({session!r}, app=robot.build)\ndef test_build(): pass\n"
        f"@pytest.mark.horus_replay({session!r}, app=lambda: robot.build([]))\ndef test_make(): pass\n"
        f"@pytest.mark.horus_replay({session!r}, app=robot.build([]))\ndef test_made(): pass\n"
        f"@pytest.fixture\ndef faster(monkeypatch): monkeypatch.setattr(robot, 'GAIN', 1.5)\n"
        f"@pytest.mark.horus_replay({session!r}, app=robot.build, tolerance=1.0)\ndef test_near(faster): pass\n"
        f"@pytest.mark.horus_replay({session!r}, app=robot.build)\ndef test_far(faster): pass\n".replace("\\\n", "\n"),
    )
    plugins = ["-p", "horus_async.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = python(robot, "-m", "pytest", "-q", *plugins, "test_robot.py")
    assert "1 failed, 4 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("session", ["script", "module"])
def test_a_class_that_moved_and_kept_its_name_in_the_program(robot: Path, session: str) -> None:
    """It is the program's class of that name."""
    (robot / "poses.py").write_text(CLASSES)
    (robot / "robot.py").write_text("from poses import Pose\nfrom horus_async import Node, Scheduler\n" + REST)
    code, output = verify(robot, session, "robot.py")
    assert code == 0, output


def test_a_class_that_is_gone_is_named(robot: Path) -> None:
    """The error says which one it is and what to do, instead of what a dict lacks."""
    (robot / "robot.py").write_text(PROGRAM.replace("Pose", "Place"))
    for session, name in (("script", "__main__.Pose"), ("module", "robot.Pose")):
        code, output = verify(robot, session, "robot:build")
        assert code == 2
        assert name in output
        assert "import" in output
        assert len(output.splitlines()) == 1, output
