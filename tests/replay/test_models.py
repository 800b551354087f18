"""pydantic models in recorded runs: verified, exported, and found however the program is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from mcap.reader import make_reader

from tests.parquet import read_parquet

pydantic = pytest.importorskip("pydantic")

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass
from horus_async import Node, Scheduler

class Point(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: float = 0.0
    y: float = Field(default=0.0, alias="Y")

class Pose(BaseModel):
    at: Point
    name: str = "base"
    trail: list[Point] = []

@dataclass
class Command:
    speed: float
    brake: bool = False

class Driver(Node):
    name = "driver"
    pubs = ["pose"]
    def tick(self):
        self.count = getattr(self, "count", 0) + 1
        self.send("pose", Pose(at=Point(x=float(self.count), Y=0.5), trail=[Point(), Point(x=1.0)]))

def steer(node):
    pose = node.recv("pose")
    node.send("command", Command(GAIN * pose.at.x))
    node.send("echo", pose)

GAIN = 1.0

def build(args):
    scheduler = Scheduler(deterministic=True)
    return scheduler.add(Driver()).add(Node("steer", tick=steer, subs=["pose"], pubs=["command", "echo"]))

if __name__ == "__main__":
    Scheduler(deterministic=True, recording="script").add(build([]).nodes[0]).add(build([]).nodes[1]).run_sync(0.1)
"""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with pydantic from where it is now."""
    paths = [str(ROOT), str(Path(pydantic.__file__).parent.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment["PYTHONDONTWRITEBYTECODE"] = (
        "1"  # a program changed within the second, in as many bytes, is the old one
    )
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def horus(folder: Path, *arguments: object, code: int = 0) -> str:
    """What a command prints, which ends with this exit code."""
    done = python(folder, "-m", "horus_async", *map(str, arguments))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """A folder with a program that was recorded as a script and as a module."""
    (tmp_path / "robot.py").write_text(PROGRAM)
    done = python(tmp_path, "robot.py")
    assert done.returncode == 0, done.stderr
    horus(tmp_path, "run", "--record", "module", "--duration", "0.1", "robot:build")
    return tmp_path


@pytest.mark.parametrize(("session", "app"), [("script", "robot:build"), ("module", "robot.py")])
def test_unchanged_code_is_verified(robot: Path, session: str, app: str) -> None:
    """Recorded as a script or a module, verified as a script or a module: the classes are found, nothing differs."""
    output = horus(robot, "replay", session, "--speed", "max", "--verify", app)
    assert "compared 30 messages, 0 differ" in output


def test_a_difference_names_the_field(robot: Path) -> None:
    """In a model, in one inside it, in a dataclass of pydantic, and which fields were set."""
    for old, new, where in [
        ("GAIN = 1.0", "GAIN = 2.0", "topic command, field speed: recorded 1.0, live 2.0"),
        ("Y=0.5", "Y=0.25", "topic pose, field at.y: recorded 0.5, live 0.25"),
        (
            "[Point(), Point",
            "[Point(x=0.0), Point",
            "field trail[0].model_fields_set[0]: recorded '(missing)', live 'x'",
        ),
        ("at=Point", "name='base', at=Point", "topic pose, field model_fields_set[1]: recorded 'trail', live 'name'"),
    ]:
        (robot / "robot.py").write_text(PROGRAM.replace(old, new))
        output = horus(robot, "replay", "module", "--speed", "max", "--verify", "robot:build", code=1)
        assert where in output


def test_older_recordings_and_newer_classes(robot: Path) -> None:
    """A field that was added has its default, one that is gone is dropped, and what is no longer valid says so."""
    newer = PROGRAM.replace("    trail: list[Point] = []", "    trail: list[Point] = []\n    battery: float = 1.0")
    (robot / "robot.py").write_text(newer.replace('node.send("echo", pose)', "assert pose.battery == 1.0"))
    output = horus(robot, "replay", "module", "--speed", "max", "--verify", "robot:build", "--nodes", "steer", code=1)
    assert "topic echo: recorded Pose(" in output
    assert "live '(nothing)'" in output

    limited = PROGRAM.replace("    x: float = 0.0", "    x: float = Field(default=0.0, le=3.0)")
    (robot / "robot.py").write_text(limited)
    done = python(robot, "-m", "horus_async", "replay", "module", "--speed", "max", "--verify", "robot:build")
    assert done.returncode in {1, 2}
    assert "x = 4.0: Input should be less than or equal to 3" in done.stdout + done.stderr


def test_tables_have_the_fields(robot: Path) -> None:
    """One column a field, with dots, and nothing of tags."""
    for form in ("csv", "jsonl", "parquet", "mcap"):
        target = robot / f"t.{form}"
        topic = [] if form == "mcap" else ["--topic", "pose"]
        horus(robot, "record", "export", "script", "--format", form, "--output", target, *topic)
    head, first, *_ = (robot / "t.csv").read_text().splitlines()
    assert head == "tick,stamp_ns,seq,publisher,at.x,at.y,name,trail"
    assert first.startswith("0,0,0,driver,1.0,0.5,base,")
    row = orjson.loads((robot / "t.jsonl").read_bytes().splitlines()[0])
    assert row["at.x"] == 1.0
    assert row["trail"] == [{"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 0.0}]
    table = read_parquet(robot / "t.parquet")
    assert table.column("at.x").to_pylist()[:2] == [1.0, 2.0]
    with (robot / "t.mcap").open("rb") as stream:
        messages = {channel.topic: orjson.loads(one.data) for _, channel, one in make_reader(stream).iter_messages()}
    assert messages["/pose"]["value"]["at"]["value"] == {"x": 10.0, "y": 0.5}
    assert messages["/command"] == {"$type": "__main__.Command", "value": {"speed": 10.0, "brake": False}}


def test_recordings_are_compared_with_what_was_set(robot: Path) -> None:
    """``record diff`` needs no class, and tells fields that were given from those that have their defaults."""
    assert "0 differ" in horus(robot, "record", "diff", "module", "module")
    (robot / "robot.py").write_text(PROGRAM.replace("at=Point", "name='base', at=Point"))
    horus(robot, "run", "--record", "other", "--duration", "0.1", "robot:build")
    assert "unset" in horus(robot, "record", "diff", "module", "other", code=1)
