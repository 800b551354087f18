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
from horus_async.errors import ActionError, TopicError
from horus_async.remote.client import Client
from horus_async.remote.typed import as_announced
from horus_async.testing import unique_namespace
from tests.engine.programs import environment
from tests.interface.programs import count, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROBOT = """
import sys
from attrs import define
from horus_async import Node, Param, Scheduler, ServiceError, action, service, sleep
from horus_async.messages import Pose

@define
class Own:
    x: int = 0

class Arm(Node):
    name, rate = "arm", 50
    gain = Param(0.8, min=0.0, max=2.0, unit="1/s", doc="How hard it pulls.")
    label = Param("7")

    @service("arm.home")
    async def home(self, request):
        if request == "fail":
            raise ServiceError("no power")
        return {"asked": request, "gain": self.gain}

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

class Typed(Node):
    name, rate = "typed", 50

    @service("arm.to", request=Pose, reply=float)
    async def to(self, request):
        return request.position.x

    @service("arm.scale", request=float)
    async def scale(self, request):
        return request

    @service("arm.own", request=Own)
    async def own(self, request):
        return request.x

    @action("arm.reach", goal=Pose)
    async def reach(self, goal, handle):
        return goal.position.y

    def tick(self):
        pass

scheduler = Scheduler().add(Arm()).add(Typed()).add(Node("other", tick=lambda _: None, rate=1))
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
    offered = json.loads(call(robot, "service", "list", "--json"))
    assert offered[0] == {"service": "arm.home", "node": "arm", "request": None, "reply": None}
    assert "arm.home   arm    any" in call(robot, "service", "list")
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


def test_objects_of_announced_classes(robot: tuple[str, Path]) -> None:
    """Made of the common messages by what nodes announce; wrong fields and other classes are named."""

    def ask(name: str, *words: str, code: int = 0, what: tuple[str, str] = ("service", "call")) -> str:
        return call(robot, *what, name, *words, "--timeout", "60", code=code)

    assert ask("arm.to", '{"position": {"x": 2.5}}') == "2.5\n"
    assert ask("arm.to") == "0.0\n"
    assert ask("arm.scale", "3") == "3.0\n"
    assert "'arm.to'" not in ask("arm.to", "{}", "--type", "horus_async.messages.Pose")
    assert "expected a number, not 'far'" in ask("arm.to", '{"position": {"x": "far"}}', code=2)
    assert "positoin" in ask("arm.to", '{"positoin": {}}', code=2)
    assert "not a Pose: its fields must be a JSON object, not 5" in ask("arm.to", "5", code=2)
    assert "'arm.own' takes objects of '__main__.Own'" in ask("arm.own", '{"x": 1}', code=2)
    assert "--type" in ask("arm.own", code=2)
    said = ask("arm.reach", '{"position": {"y": -1}}', what=("action", "send"))
    assert said.splitlines()[-1] == "succeeded: -1.0"
    assert "expected a number" in ask("arm.reach", '{"position": {"y": null}}', what=("action", "send"), code=2)


def test_nothing_is_imported_on_a_messages_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever somebody announces: a module of the user's, a function of ours, escapes, no text at all."""
    (tmp_path / "trap.py").write_text("raise SystemExit(99)")
    monkeypatch.syspath_prepend(tmp_path)
    for kind in (
        "trap.Trap",
        "horus_async.messages.Nope",
        "horus_async.messages.__doc__",
        "os.system",
        "a\x1b[2Jb",
        "",
    ):
        with pytest.raises(TopicError, match="none of the common messages") as caught:
            as_announced("s", [kind], {})
        assert "\x1b" not in str(caught.value)
    assert "trap" not in sys.modules
    takes_all: list[list[Any]] = [[None], [5], [{}], [], ["builtins.dict"], ["builtins.float", "builtins.int"]]
    for kinds in takes_all:
        assert as_announced("s", kinds, {"a": 1}) == {"a": 1}
    assert repr(as_announced("s", ["builtins.float"] * 2, 3)) == "3.0"
    assert as_announced("s", ["builtins.float"], True) is True


def test_nodes(robot: tuple[str, Path]) -> None:
    """List, pause, resume."""
    assert call(robot, "node", "pause", "other", "--timeout", "60") == "other: paused\n"
    assert call(robot, "node", "pause", "other", "--timeout", "60") == "other: paused, as it was\n"
    states = {row["node"]: row["state"] for row in json.loads(call(robot, "node", "list", "--json"))}
    assert states == {"arm": "running", "other": "paused", "typed": "running"}
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
