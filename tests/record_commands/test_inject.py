"""``record inject`` and ``record replay``: recorded nodes for live programs: J.1-26."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest

from horus_async import ConfigurationError, Node, ReplayError, Scheduler
from horus_async.observe import TickEnd
from tests.recorder.runs import recorder, run_info

from .sessions import call, damage, robot

if TYPE_CHECKING:
    from pathlib import Path

APP = """
import json
from pathlib import Path
from horus_async import Node, Scheduler

class Sensor(Node):
    name = "sensor"; rate = {rate}; pubs = ["sensor.reading"]
    async def tick(self):
        self.send("sensor.reading", {{"value": -1}})

class Controller(Node):
    name = "live.controller"; rate = {rate}; subs = ["sensor.reading"]
    async def init(self):
        self.heard = []
    async def tick(self):
        while (message := self.recv_message("sensor.reading")) is not None:
            self.heard.append([message.seq, message.publisher, message.value["value"]])
    async def shutdown(self):
        Path({output!r}).write_text(json.dumps(self.heard))

def build(args):
    return Scheduler(tick_rate={rate}, deterministic={deterministic}).add(Controller()).add(Sensor())
"""


def app(tmp_path: Path, *, rate: int = 100, deterministic: bool = True) -> tuple[Path, Path]:
    """A program with a sensor of its own and a node that writes down what it hears; and where it does."""
    path, output = tmp_path / "app.py", tmp_path / "heard.json"
    path.write_text(APP.format(rate=rate, output=str(output), deterministic=deterministic))
    return path, output


@pytest.mark.parametrize("rate", [100, 200])
def test_live_nodes_hear_the_recorded_node_instead_of_their_own(
    recordings_dir: Path, tmp_path: Path, rate: int
) -> None:
    """J.1-26: every recorded message reaches the live node, once, to the recording's end, and none of APP's node."""
    robot(recordings_dir, "s")
    path, output = app(tmp_path, rate=rate)
    result = call("inject", "s", "--nodes", "sensor", "--into", path)
    assert result.exit_code == 0, result.output
    assert orjson.loads(output.read_bytes()) == [[tick, "sensor", tick * 0.1] for tick in range(50)]


def test_in_real_time_in_a_process_of_its_own(recordings_dir: Path, tmp_path: Path) -> None:
    """J.1-26: the same in real time, through the installed command."""
    robot(recordings_dir, "s", ticks=20)
    path, output = app(tmp_path, deterministic=False)
    command = [sys.executable, "-m", "horus_async", "record", "inject", "s", "--nodes", "sensor", "--into", str(path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert orjson.loads(output.read_bytes()) == [[tick, "sensor", tick * 0.1] for tick in range(20)]


def test_duration_ends_it_earlier_or_later(recordings_dir: Path, tmp_path: Path) -> None:
    """With ``--duration`` the program runs that long, whatever the recording's length."""
    robot(recordings_dir, "s")
    path, output = app(tmp_path)
    for seconds, tick, messages in (("0.1", 9, 10), ("2", 199, 50)):
        result = call("inject", "s", "--nodes", "sensor", "--into", path, "--duration", seconds, "--json")
        assert orjson.loads(result.stdout)["tick"] == tick
        assert len(orjson.loads(output.read_bytes())) == messages


def test_injecting_in_a_program(recordings_dir: Path) -> None:
    """J.1-26: ``Scheduler.inject`` does the same, runs again, and refuses what cannot work."""
    robot(recordings_dir, "s", ticks=20)
    heard: list[object] = []

    def listen(node: Node) -> None:
        heard.extend(node.recv_all("sensor.reading"))

    live = Node("sensor", tick=_fail, pubs=["sensor.reading"])
    scheduler = Scheduler(deterministic=True).add(live).add(Node("ear", tick=listen, subs=["sensor.reading"]))
    scheduler.inject("s", "sensor")
    for _ in range(2):
        heard.clear()
        scheduler.run_sync()
        assert heard == [{"value": tick * 0.1} for tick in range(20)]
    with pytest.raises(ConfigurationError, match="added already"):
        scheduler.inject("s", "sensor")
    with pytest.raises(ReplayError, match="no node 'lidar' in session 's'; it has sensor, controller"):
        Scheduler().inject("s", "lidar")
    with pytest.raises(ReplayError, match="no node is named"):
        Scheduler().inject("s")
    with pytest.raises(ReplayError, match="replays a whole session"):
        Scheduler.replay_from("s").inject("s", "sensor")


def _fail(_: Node) -> None:
    raise AssertionError("the recorded node should play in its place")


def test_a_live_node_of_another_name_goes_on_sending(recordings_dir: Path) -> None:
    """What is injected plays even where a live node of another name sends on the same topic; the run still ends."""
    robot(recordings_dir, "s", ticks=20)
    heard: list[tuple[str, object]] = []

    def listen(node: Node) -> None:
        while (message := node.recv_message("sensor.reading")) is not None:
            heard.append((message.publisher, message.value))

    scheduler = Scheduler(deterministic=True).add(Node("ear", tick=listen, subs=["sensor.reading"]))
    scheduler.add(Node("mine", tick=lambda node: node.send("sensor.reading", -1), pubs=["sensor.reading"]))
    scheduler.inject("s", "sensor").run_sync()
    assert [value for publisher, value in heard if publisher == "sensor"] == [{"value": t * 0.1} for t in range(20)]
    assert [value for publisher, value in heard if publisher == "mine"] == [-1] * 20


def test_nothing_to_inject(recordings_dir: Path) -> None:
    """A recorded node that never ticked has no last tick to end the run: an error, not a run without end."""
    observer = recorder(recordings_dir, "s")
    observer.run_started(run_info())
    observer.tick_ended(TickEnd(0, 0, []))
    observer.run_stopped("duration", 1)
    with pytest.raises(ReplayError, match="sensor never ticked"):
        Scheduler(deterministic=True).inject("s", "sensor").run_sync()


def test_misuse_says_what_there_is(recordings_dir: Path, tmp_path: Path) -> None:
    """An unknown session, node or program is one line and exit code 2; ``--nodes`` has to name one."""
    robot(recordings_dir, "s")
    path, _ = app(tmp_path)
    for arguments, words in (
        (("gone", "--nodes", "sensor", "--into", path), "there are: s"),
        (("s", "--nodes", "sensor,lidar", "--into", path), "it has sensor, controller"),
        (("s", "--nodes", " , ", "--into", path), "names no node"),
        (("s", "--nodes", "sensor", "--into", tmp_path / "none.py"), "there is no file"),
        (("s", "--into", path), "--nodes"),
    ):
        result = call("inject", *arguments)
        assert result.exit_code == 2, result.output
        assert words in result.output


def test_failure_of_the_program_is_one_line(recordings_dir: Path, tmp_path: Path) -> None:
    """A live node that fails gives exit code 1 and one line with its name."""
    robot(recordings_dir, "s")
    path, _ = app(tmp_path)
    path.write_text(path.read_text().replace("self.heard.append", "self.heard.nothing"))
    result = call("inject", "s", "--nodes", "sensor", "--into", path)
    assert result.exit_code == 1
    assert "live.controller" in result.stderr


def test_record_replay_is_the_command_replay(recordings_dir: Path) -> None:
    """``record replay`` takes the same options as ``replay`` and does the same."""
    robot(recordings_dir, "s")
    result = call("replay", "s", "--speed", "max", "--start-tick", "10", "--stop-tick", "19", "--json")
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)
    assert (found["session"], found["tick"]) == ("s", 19)
    assert found["node_ticks"] == {"sensor": 10, "controller": 10}


def test_whole_command_line(recordings_dir: Path) -> None:
    """``python -m horus_async record`` finds its commands, and turns errors into one line and exit code 2."""
    robot(recordings_dir, "s")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "horus_async", "record", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    listed = run("list", "--json")
    assert listed.returncode == 0
    assert [session["name"] for session in orjson.loads(listed.stdout)["sessions"]] == ["s"]
    missing = run("info", "gone")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.count("\n") == 1
    same = run("diff", "s", "s")
    assert same.returncode == 0


@pytest.mark.parametrize("command", ["replay", "verify", "inject", "export"])
def test_what_is_missing_is_said(recordings_dir: Path, tmp_path: Path, command: str) -> None:
    """A command that reads a damaged session does what it can with the rest, and says on stderr what is missing."""
    session = robot(recordings_dir, "s", ticks=20)
    damage(session.files["controller"].path)
    path, _ = app(tmp_path)
    arguments: dict[str, tuple[object, ...]] = {
        "replay": ("replay", "s", "--speed", "max"),
        "verify": ("replay", "s", "--verify", path),
        "inject": ("inject", "s", "--nodes", "sensor,controller", "--into", path),
        "export": ("export", "s", "--format", "csv", "--output", tmp_path / "s.csv"),
    }
    result = call(*arguments[command])
    assert "note: s: controller@" in result.stderr
    assert "damaged at byte" in result.stderr
