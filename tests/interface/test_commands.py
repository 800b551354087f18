"""The commands ``param``, ``service``, ``action`` and ``node`` with a robot that runs in another process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import Node, Scheduler, ServiceTimeoutError
from horus_async.errors import ActionError
from horus_async.remote.client import Client
from horus_async.testing import unique_namespace
from tests.engine.programs import environment
from tests.interface.programs import count, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROBOT = """
import sys
from enum import Enum
from attrs import frozen
from horus_async import Node, Param, Scheduler, ServiceError, action, service, sleep

class Side(Enum):
    LEFT = 1
    RIGHT = 2

@frozen
class Tool:
    name: str
    weight: float = 0.5

@frozen
class Pick:
    at: tuple[float, float]
    tool: Tool
    side: Side = Side.RIGHT
    path: list[float] = []

class Arm(Node):
    name, rate = "arm", 50
    gain = Param(0.8, min=0.0, max=2.0, unit="1/s", doc="How hard it pulls.")
    label = Param("7")

    @service("arm.home")
    async def home(self, request):
        if request == "fail":
            raise ServiceError("no power")
        return {"asked": request, "gain": self.gain}

    @service("arm.pick", request=Pick, reply=str)
    def pick(self, request):
        return repr(request)

    @action("arm.turn", goal=float, result=float)
    async def turn(self, goal, handle):
        return goal

    @action("arm.move")
    async def move(self, goal, handle):
        for number in range(goal):
            await sleep(0.01)
            handle.feedback(number)
        if goal == 3:
            raise ValueError("unlucky")
        return goal

    def tick(self):
        self.send("gain", self.gain)

scheduler = Scheduler().add(Arm()).add(Node("other", tick=lambda _: None, rate=1))
if __name__ == "__main__":
    print("up", flush=True)
    scheduler.run_sync()
"""


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Its namespace and its program, while it runs and is recorded."""
    folder = tmp_path_factory.mktemp("robot")
    namespace = unique_namespace()
    (folder / "robot.py").write_text(ROBOT)
    command = [sys.executable, "-m", "horus_async", "run", "--no-blackbox", "--record", "run", "robot.py"]
    variables = {**environment(), "HORUS_NAMESPACE": namespace, "HORUS_RECORDINGS_DIR": str(folder / "recordings")}
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            client = Client(namespace)
            for _ in range(600):
                if client.nodes(timeout=1.0):
                    break
            yield namespace, folder
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
            done = subprocess.run(  # with all that was asked of it from outside
                [sys.executable, "-m", "horus_async", "replay", "run", "--speed", "max", "--verify", "robot.py"],
                cwd=folder, env=variables, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr


def call(robot: tuple[str, Path], *words: str, code: int = 0) -> str:
    """Run a command; what it prints, on standard error if it fails."""
    variables = {**environment(), "HORUS_NAMESPACE": robot[0]}
    done = subprocess.run(
        [sys.executable, "-m", "horus_async", *words], capture_output=True, text=True, env=variables, check=False,
        cwd=robot[1],
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def test_parameters(robot: tuple[str, Path]) -> None:
    """List, get, set, save; and what cannot be."""
    assert "arm.gain   0.8" in call(robot, "param", "list")
    assert json.loads(call(robot, "param", "list", "arm", "--json"))["arm"]["gain"]["max"] == 2.0
    assert call(robot, "param", "get", "arm.gain") == "0.8\n"
    assert call(robot, "param", "set", "arm.gain", "1.5", "--timeout", "60") == "arm.gain: 0.8 -> 1.5\n"
    said = json.loads(call(robot, "param", "set", "arm.label", "8", "--json", "--timeout", "60"))
    assert said == {"node": "arm", "name": "label", "from": "7", "to": "8"}  # a text stays one
    call(robot, "param", "save", "-o", "tuned.toml")
    assert tomllib.loads((robot[1] / "tuned.toml").read_text()) == {"arm": {"gain": 1.5, "label": "8"}}
    assert "has to be float from 0.0 to 2.0 1/s, not 9" in call(robot, "param", "set", "arm.gain", "9", code=2)
    assert "did you mean 'arm.gain'?" in call(robot, "param", "get", "arm.gian", code=2)
    assert "did you mean 'arm'?" in call(robot, "param", "list", "amr", code=2)
    assert call(robot, "param", "get", "arm.gain") == "1.5\n"
    call(robot, "param", "set", "arm.gain", "0.8", "--timeout", "60")


def test_services(robot: tuple[str, Path]) -> None:
    """List, call; one that fails, and one that nobody provides."""
    assert json.loads(call(robot, "service", "list", "--json")) == [
        {"service": "arm.home", "node": "arm", "request": None, "reply": None},
        {"service": "arm.pick", "node": "arm", "request": "__main__.Pick", "reply": "builtins.str"},
    ]
    assert "arm.home  arm" in call(robot, "service", "list")
    reply = json.loads(call(robot, "service", "call", "arm.home", '{"x": [1, null]}', "--timeout", "60"))
    assert reply == {"asked": {"x": [1, None]}, "gain": 0.8}
    assert json.loads(call(robot, "service", "call", "arm.home", "--timeout", "60", "--json"))["asked"] is None
    assert "arm.home: no power" in call(robot, "service", "call", "arm.home", '"fail"', "--timeout", "60", code=1)
    said = call(robot, "service", "call", "arm.hom", "1", "--timeout", "0.2", code=2)
    assert "nobody provides a service 'arm.hom'" in said
    assert "did you mean 'arm.home'?" in said
    assert "is not JSON" in call(robot, "service", "call", "arm.home", "{x}", code=2)


def test_actions(robot: tuple[str, Path]) -> None:
    """List, send; one that fails, one that is given up with Ctrl-C, and one that nobody carries out."""
    assert json.loads(call(robot, "action", "list", "--json"))[0]["policy"] == "reject"
    assert call(robot, "action", "send", "arm.move", "2", "--timeout", "60").splitlines() == [
        "accepted", "feedback: 0", "feedback: 1", "succeeded: 2"
    ]  # fmt: skip
    assert "ValueError: unlucky" in call(robot, "action", "send", "arm.move", "3", "--timeout", "60", code=1)
    said = call(robot, "action", "send", "arm.mvoe", "3", "--timeout", "0.2", code=2)
    assert "did you mean 'arm.move'?" in said
    command = [
        sys.executable,
        "-m",
        "horus_async",
        "action",
        "send",
        "arm.move",
        "1000000",
        "--json",
        "--timeout",
        "60",
    ]
    variables = {**environment(), "HORUS_NAMESPACE": robot[0]}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"state": "accepted"}
        assert json.loads(process.stdout.readline()) == {"state": "feedback", "value": 0}
        assert "another goal is being carried out" in call(
            robot, "action", "send", "arm.move", "1", "--timeout", "60", code=1
        )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert process.returncode == 130
    assert "succeeded: 1" in call(robot, "action", "send", "arm.move", "1", "--timeout", "60")  # it was given up


def test_nodes(robot: tuple[str, Path]) -> None:
    """List, pause, resume."""
    assert call(robot, "node", "pause", "other", "--timeout", "60") == "other: paused\n"
    assert call(robot, "node", "pause", "other", "--timeout", "60") == "other: paused, as it was\n"
    states = {row["node"]: row["state"] for row in json.loads(call(robot, "node", "list", "--json"))}
    assert states == {"arm": "running", "other": "paused"}
    assert call(robot, "node", "resume", "other", "--timeout", "60") == "other: running\n"
    assert "did you mean 'other'?" in call(robot, "node", "pause", "othr", "--timeout", "0.2", code=2)


def test_a_goal_outlives_a_caller_that_is_killed(robot: tuple[str, Path]) -> None:
    """Nobody is there to give it up; a caller that can still speak does."""
    command = [sys.executable, "-m", "horus_async", "action", "send", "arm.move", "50", "--json", "--timeout", "60"]
    variables = {**environment(), "HORUS_NAMESPACE": robot[0]}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    for _ in range(600):
        try:
            said = list(Client(robot[0]).goal("arm.move", 1, timeout=60.0))
        except ActionError:
            continue
        if said[-1]["state"] == "succeeded":
            return
        assert said[-1]["state"] == "rejected"
    raise AssertionError("the goal of the killed caller has not ended")


def test_two_programs_call_each_other_and_are_recorded(robot: tuple[str, Path], tmp_path: Path) -> None:
    """A node calls a service and gives a goal to another process; its own session verifies without that."""
    got: list[Any] = []

    def make() -> list[Node]:
        async def ask(node: Node) -> None:
            number = count(node)
            if number == 3:
                node.send("got", await node.call("arm.home", number, timeout=60.0))
                async with node.goal("arm.move", 4, timeout=60.0) as move:
                    node.send("got", [value async for value in move])
                    node.send("got", await move.result())
                if not got:
                    node.request_stop()
            got.extend(node.recv_all("got"))

        return [Node("caller", tick=ask, rate=20, pubs="got")]

    scheduler_of(make(), namespace=robot[0], recording="caller", recordings_dir=tmp_path).run_sync(60)

    async def verify() -> None:
        report = await Scheduler.verify(tmp_path / "caller", scheduler_of(make()))
        assert (report.differences, report.compared >= 5) == (0, True), report

    trio.run(verify)


def test_nobody_is_there() -> None:
    """An empty namespace has no nodes, and says so."""
    client = Client(unique_namespace())
    assert client.interfaces() == {}
    assert client.nodes(timeout=0.1) == []
    with pytest.raises(ServiceTimeoutError, match="nobody provides a service 'x'"):
        client.call("x", timeout=0.05)
    with pytest.raises(ServiceTimeoutError, match="no program runs there in real time"):
        client.pause("x", timeout=0.05)


def test_requests_have_the_class_that_was_announced(robot: tuple[str, Path]) -> None:
    """Its fields are known by the announcement: the class lies in the robot's program alone."""
    given = '{"at": [1, 2.5], "tool": {"name": "gripper"}, "side": "LEFT", "path": [1, 2]}'
    said = call(robot, "service", "call", "arm.pick", given, "--json")
    assert json.loads(said) == (
        "Pick(at=(1.0, 2.5), tool=Tool(name='gripper', weight=0.5), side=<Side.LEFT: 1>, path=[1, 2])"
    )
    assert call(robot, "action", "send", "arm.turn", "3").splitlines() == ["accepted", "succeeded: 3.0"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ('{"at": [1, 2], "tol": {"name": "x"}}', "has no field 'tol'; did you mean 'tool'?"),
        ('{"at": [1], "tool": {"name": "x"}}', "request.at has to be a list of 2: tuple[float, float], not [1]"),
        ('{"at": [1, "x"], "tool": {"name": "x"}}', "request.at[1] has to be float, not 'x'"),
        ('{"at": [1, 2], "tool": {"name": 3}}', "request.tool.name has to be str, not 3"),
        ('{"at": [1, 2], "tool": 3}', "request.tool is a __main__.Tool: give its fields as a JSON object, not 3"),
        ('{"at": [1, 2], "tool": {"name": "x"}, "side": "UP"}', "request.side has to be one of LEFT, RIGHT, not 'UP'"),
        ('{"at": [1, 2], "tool": {"name": "x"}, "path": ["a"]}', "request.path has to be a list of numbers, not ['a']"),
        ("3", "request is a __main__.Pick: give its fields as a JSON object, not 3"),
    ],
)
def test_a_field_that_does_not_fit_is_named(robot: tuple[str, Path], given: str, named: str) -> None:
    """Before anything is sent."""
    assert named in call(robot, "service", "call", "arm.pick", given, code=2)


def test_a_plain_goal_that_does_not_fit(robot: tuple[str, Path]) -> None:
    """It is said by whom it is needed."""
    assert "goal has to be float, not 'x'" in call(robot, "action", "send", "arm.turn", '"x"', code=2)
