"""A failing node or program shows its own traceback from its first frame on: in ``run``, in pytest, in the box."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from horus_async import Node, Scheduler
from horus_async.cli.support.errors import place_of
from horus_async.errors import ConfigurationError
from horus_async.nodes.user_frames import begin_with_the_users, is_about_ours, last_place
from tests.engine.programs import ROOT, environment

HEAD = "import time, trio\nfrom horus_async import Node, Scheduler, run\n\ndef broken():\n    return {}['gone']\n\n"
NODE = f"{HEAD}class Arm(Node):\n    name, rate = 'arm', 50\n"
GO = "\nrun(Arm(), duration=0.2)\n"
QUIET = "    async def tick(self): pass\n"

FAILURES = {
    "tick": f"{NODE}    async def tick(self): broken()\n{GO}",
    "init": f"{NODE}    async def init(self): broken()\n{QUIET}{GO}",
    "shutdown": f"{NODE}    async def shutdown(self): broken()\n{QUIET}{GO}",
    "on_error": f"{NODE}    async def on_error(self, error): broken()\n    async def tick(self): broken()\n{GO}",
    "background": f"{NODE}    async def init(self): self.background(self.work)\n"
    f"    async def work(self):\n        await trio.sleep(0.01)\n        broken()\n{QUIET}{GO}",
    "thread": f"{NODE}    async def init(self): self.in_thread(self.work)\n"
    f"    def work(self):\n        time.sleep(0.01)\n        broken()\n{QUIET}{GO}",
    "compute": f"{NODE}    compute = True\n    def tick(self): broken()\n{GO}",
    "after a wait": f"{NODE}    async def tick(self):\n        await trio.sleep(0.001)\n        broken()\n{GO}",
    "finally": f"{NODE}    async def tick(self):\n        try:\n            int('x')\n"
    f"        finally:\n            broken()\n{GO}",
    "cause": f"{NODE}    async def tick(self):\n        try:\n            broken()\n"
    f"        except KeyError as error:\n            raise OSError('gone') from error\n{GO}",
    "message": f"{NODE}    async def tick(self): self.send('a', lambda: broken())\n{GO}",
    "group": f"{NODE}    async def part(self): broken()\n    async def tick(self):\n"
    f"        async with trio.open_nursery() as nursery:\n            nursery.start_soon(self.part)\n{GO}",
    "build": f"{NODE}    async def tick(self): broken()\ndef build(args):\n    return Scheduler().add(Arm())\n",
    "in build": f"{HEAD}def build(args):\n    return broken()\n",
    "import": "import json\nimport not_there_at_all\n",
    "several schedulers": f"{NODE}    async def tick(self): broken()\nasync def main():\n"
    "    async with trio.open_nursery() as nursery:\n        nursery.start_soon(Scheduler().add(Arm()).run, 0.2)\n"
    "trio.run(main)\n",
    "syntax": "import json\ndef build(:\n",
    "syntax elsewhere": "import other\n",
}


def horus(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command, where the program lies."""
    command = [sys.executable, "-m", "horus_async", *arguments]
    return subprocess.run(command, env=environment(), cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def frames(text: str) -> list[str]:
    """The files of a traceback's frames."""
    return re.findall(r'File "([^"]+)", line \d+', text)


def is_the_users(file: str) -> bool:
    """Not of this package, and not of the event loop."""
    return "/horus_async/" not in file and "/cli/" not in file and "/trio/" not in file


@pytest.mark.parametrize("kind", FAILURES)
def test_run_shows_the_users_frames(kind: str, tmp_path: Path) -> None:
    """Of whatever fails: frames of the program's only, then one line."""
    (tmp_path / "robot.py").write_text(FAILURES[kind])
    (tmp_path / "other.py").write_text("x = (1,\ndef y(): pass\n")
    done = horus("run", "--no-blackbox", "robot.py", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    found = frames(done.stderr)
    assert found, done.stderr
    assert all(map(is_the_users, found)), done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match(r"horus-async: (node 'arm' failed in tick \d+: |robot.py(:\d+)?: )\w+Error|.*ExceptionGroup", last)
    assert not done.stdout


def test_the_line_names_what_is_in_a_group(tmp_path: Path) -> None:
    """Not only that there were some."""
    (tmp_path / "robot.py").write_text(FAILURES["group"])
    assert "KeyError: 'gone'" in horus("run", "--no-blackbox", "robot.py", cwd=tmp_path).stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "line",
    [
        "Node('arm', tick=lambda node: None, rate=-1)",
        "Scheduler(tickrate=3)",
        "Node('arm', tick=lambda: None)",
    ],
)
def test_a_wrong_option_is_said_with_its_place(line: str, tmp_path: Path) -> None:
    """One line, which names the program's."""
    (tmp_path / "robot.py").write_text(f"from horus_async import Node, Scheduler\n\n{line}\n")
    done = horus("run", "robot.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("horus-async: robot.py:3: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_method_without_self_is_refused_before_the_run() -> None:
    """It has no frame to show, as it cannot even be called."""

    class Arm(Node):
        name = "arm"

        async def init() -> None:  # type: ignore[misc]
            pass

        async def tick(self) -> None:
            pass

    with pytest.raises(ConfigurationError, match=r"its init cannot be called .*write 'def init\(self\)'"):
        Arm()


def test_a_module_that_cannot_be_imported_shows_where(tmp_path: Path) -> None:
    """That there is no such module is said only of the one that was named."""
    package = tmp_path / "robots"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "arm.py").write_text("import robots.gripper\n")
    done = horus("run", "robots.arm:build", cwd=tmp_path)
    assert done.returncode == 1
    assert frames(done.stderr) == [str(package / "arm.py")]
    assert done.stderr.splitlines()[-1].startswith("horus-async: robots.arm: ModuleNotFoundError: ")
    done = horus("run", "robots.leg:build", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no module 'robots.leg'" in done.stderr


CHECKED = "import argparse\nfrom horus_async import Node, Scheduler\ndef build(args):\n"


@pytest.mark.parametrize("app", ["robot.py", "robot.py:build", "robot:build"])
@pytest.mark.parametrize("command", ["check", "replay"])
def test_the_program_is_blamed_for_its_own_options(app: str, command: str, tmp_path: Path) -> None:
    """It sees its own name, and what it says of its usage is shown."""
    (tmp_path / "robot.py").write_text(
        f"{CHECKED}    argparse.ArgumentParser().parse_args(args)\n    return Scheduler(deterministic=True)\n"
    )
    Scheduler(deterministic=True, recording="day").add(Node("arm", tick=lambda node: None)).run_sync(0.1)
    program = [app] if command == "check" else ["day", "--verify", app]
    done = horus(command, *program, "--", "--bogus", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r"^usage: robot", done.stderr, re.MULTILINE), done.stderr
    assert "error: unrecognized arguments: --bogus" in done.stderr
    assert "check_worker" not in done.stderr


@pytest.mark.parametrize(("code", "exits"), [("'no arm'", 1), ("3", 1), ("0", 2), ("2", 2)])
def test_a_program_that_ends_itself_is_said_to(code: str, exits: int, tmp_path: Path) -> None:
    """Then nothing was compared, and it is not a run of the check's that died."""
    (tmp_path / "robot.py").write_text(f"raise SystemExit({code})\n")
    done = horus("check", "robot.py", cwd=tmp_path)
    assert done.returncode == exits
    assert "robot.py: a run of the check ended with exit code" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("code", "exits"), [("", 2), ("0", 2), ("2", 2), ("3", 1), ("'no arm'", 1)])
@pytest.mark.parametrize("where", ["module", "build", "tick"])
def test_a_verification_is_not_passed_by_a_program_that_ends_itself(
    where: str, code: str, exits: int, tmp_path: Path
) -> None:
    """``sys.exit(0)`` says nothing of what was compared, nor that anything was."""
    ends = {name: f"sys.exit({code})" if name == where else "pass" for name in ("module", "build", "tick")}
    (tmp_path / "robot.py").write_text(
        "import sys\nfrom horus_async import Node, Scheduler\n"
        f"def tick(node):\n    node.send('cmd', 2)\n    {ends['tick']}\n"
        f"def build(args):\n    {ends['build']}\n    return Scheduler().add(Node('arm', tick=tick))\n"
        f"{ends['module']}\n"
    )
    recorded = Node("arm", tick=lambda node: node.send("cmd", 1), pubs=["cmd"])
    Scheduler(deterministic=True, recording="day").add(recorded).run_sync(0.1)
    done = horus("replay", "day", "--speed", "max", "--verify", "robot.py", cwd=tmp_path)
    assert done.returncode == exits, done.stderr
    assert f"robot.py ended itself with sys.exit({code})" in done.stderr.splitlines()[-1]
    if where != "tick":
        done = horus("record", "inject", "day", "--nodes", "arm", "--into", "robot.py", cwd=tmp_path)
        assert done.returncode == exits, done.stderr


def test_check_says_where_a_node_fails(tmp_path: Path) -> None:
    """In one line; ``run`` shows the whole traceback."""
    (tmp_path / "robot.py").write_text(FAILURES["build"])
    done = horus("check", "robot.py", "--duration", "0.1", cwd=tmp_path)
    assert done.returncode == 1
    said = "horus-async: robot.py failed in every run: node 'arm' failed in tick 0: KeyError: 'gone' (robot.py:5)\n"
    assert done.stderr == said


def test_the_box_shows_the_users_frames(tmp_path: Path) -> None:
    """Of a node that comes back after its failures, too."""
    (tmp_path / "robot.py").write_text(
        f"from horus_async import Ignore\n{NODE}    failure_policy = Ignore()\n"
        "    async def on_error(self, error): pass\n"
        f"    async def tick(self):\n        await trio.sleep(0.001)\n        broken()\n{GO}"
    )
    assert horus("run", "robot.py", cwd=tmp_path).returncode == 0
    done = horus("blackbox", "--event", "NodeError", "--last", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    traceback = json.loads(done.stdout)["traceback"]
    assert traceback.startswith('Traceback (most recent call last):\n  File "robot.py", line ')
    assert all(map(is_the_users, frames(traceback)))


TESTS = f"""{HEAD}import pytest
from horus_async.testing import run_nodes, run_nodes_async

async def fails(node):
    broken()

async def tick(node):
    try:
        int("x")
    finally:
        await trio.sleep(0.01)
        broken()

@pytest.fixture
def arm():
    return Node("arm", tick=tick)

@pytest.fixture
def ran(arm):
    run_nodes(arm, ticks=3)

def test_kit(arm):
    run_nodes(arm, ticks=3)

async def test_in_a_loop(arm):
    await run_nodes_async(arm, ticks=3)

def test_by_the_fixture(horus, arm):
    horus.run_nodes(arm, ticks=3)

def test_real_time(horus, arm):
    Scheduler().add(arm).run_sync(0.1)

def test_run(horus, arm):
    run(arm, duration=0.1)

def test_set_up(ran):
    pass

def test_wrong_option():
    Node("arm", tick=tick, rate=-1)
"""


@pytest.mark.parametrize("style", ["auto", "short", "native"])
def test_pytest_shows_the_users_frames(style: str, tmp_path: Path) -> None:
    """The test's and the node's, and nothing of ours in between; ``--full-trace`` keeps it all."""
    (tmp_path / "test_arm.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    plugin = ("-p", "horus_async.pytest_plugin", "-p", "no:cacheprovider", "-q", f"--tb={style}")
    command = [sys.executable, "-m", "pytest", *plugin]
    options = {"env": environment(), "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run(command, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 1
    assert done.stdout.count("NodeFailure: node 'arm' failed in tick") == 6, done.stdout
    assert done.stdout.count("KeyError: 'gone'") >= 6
    assert f"{ROOT}/horus_async" not in done.stdout
    assert "running.py" not in done.stdout
    if style == "auto":
        whole = subprocess.run([*command, "--full-trace"], check=False, **options)  # type: ignore[call-overload]
        assert "running.py" in whole.stdout


def test_plain_python_shows_little_of_ours(tmp_path: Path) -> None:
    """Python prints it; between the call and the node there is nothing but the call's own frames."""
    (tmp_path / "robot.py").write_text(FAILURES["tick"])
    done = subprocess.run(
        [sys.executable, "robot.py"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "in tick of node 'arm', tick 0" in done.stderr
    assert sum(not is_the_users(file) for file in frames(done.stderr)) <= 2, done.stderr


def test_a_replay_marker_shows_them_too(tmp_path: Path) -> None:
    """Where a node fails on what was recorded."""
    (tmp_path / "test_day.py").write_text(
        f"{HEAD}import pytest\nGOOD = True\n"
        "def build():\n    scheduler = Scheduler(deterministic=True, recordings_dir='.', recording='day')\n"
        "    return scheduler.add(Node('arm', tick=lambda node: node.send('a', 1) if GOOD else broken()))\n"
        "build().run_sync(0.1)\nGOOD = False\n"
        "@pytest.mark.horus_replay('day', app=build)\ndef test_day(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "horus_async.pytest_plugin", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        command, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert "session day: node 'arm' failed in tick 0" in done.stdout
    failures, _ = done.stdout.split("short test summary info")  # which repeats the whole message where CI is set
    assert frames(failures) == [str(tmp_path / "test_day.py")] * 2, done.stdout


def test_errors_that_are_none_of_ours_keep_their_frames() -> None:
    """One that comes up in our own code may be our fault, and then every frame counts."""
    with pytest.raises(KeyError) as caught:
        Scheduler.list_recordings(recordings_dir=_Odd())  # type: ignore[arg-type]
    assert not is_about_ours(caught.value)
    begin_with_the_users(caught.value)
    assert str(caught.traceback[-1].path) == __file__
    assert any("recorder" in str(entry.path) for entry in caught.traceback)
    assert last_place(caught.value) == (__file__, caught.traceback[-1].lineno + 1)


class _Odd:
    def __fspath__(self) -> str:
        raise KeyError("odd")


def test_an_instruction_of_no_line_is_no_obstacle() -> None:
    """As where a signal's handler raises between two lines of the user's: Python knows no line of that place."""

    def broken() -> None:
        raise OSError("gone")

    instructions = len(broken.__code__.co_code) // 2
    broken.__code__ = broken.__code__.replace(co_linetable=b"\xf8" * instructions)  # "no line, for one of them"
    with pytest.raises(OSError, match="gone") as raised:
        broken()
    begin_with_the_users(raised.value)
    assert last_place(raised.value) == (__file__, None)
    assert "broken" in "".join(traceback.format_exception(raised.value))
    assert place_of(raised.value) == str(Path(__file__).relative_to(Path.cwd()))
