"""``horus-async run APP --record NAME``: whatever the program makes, what runs first is recorded, or it is said."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from horus_async import Node, Scheduler, Topic
from horus_async.recorder import open_session
from horus_async.recorder.naming import default_session_names
from horus_async.topics.ring.memory import root
from tests.engine.programs import environment, run_script

FAILING_NODE = """
from horus_async import Node, Scheduler
def work(node):
    helper()
def helper():
    raise OSError('motor')
def build():
    return Scheduler(deterministic=True).add(Node('arm', tick=work))
"""
RUN = "import sys; from horus_async.cli import main; main(sys.argv[1:], prog_name='horus-async')"
TWO = """
from horus_async import Node, Scheduler

def make(name):
    return Scheduler(name=name, deterministic=True).add(Node(name, tick=lambda node: node.send("t", name)))

spare, other = make("spare"), make("other")
scheduler = make("main")

def build(args):
    make("thrown away")
    return scheduler
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return run_script(RUN, "run", "--no-blackbox", *arguments)


@pytest.mark.parametrize("form", ["script", "file:function", "file:object", "module:function", "module:object"])
def test_the_scheduler_that_runs_is_recorded(
    form: str, tmp_path: Path, recordings_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are made before it, in every form of APP, a script without a run of its own included."""
    (tmp_path / "robots.py").write_text(TWO)
    monkeypatch.chdir(tmp_path)
    app = {
        "script": "robots.py",
        "file:function": "robots.py:build",
        "file:object": "robots.py:scheduler",
        "module:function": "robots:build",
        "module:object": "robots:scheduler",
    }[form]
    done = run("--record", "s", "--duration", "0.1", app)
    assert done.returncode == 0, done.stderr
    session = open_session("s")
    assert list(session.nodes) == ["main"]
    assert session.last_tick == 9


def test_the_second_run_of_a_script_is_its_own(tmp_path: Path, recordings_dir: Path) -> None:
    """Options are for the scheduler that runs first; that others run without them is said."""
    script = tmp_path / "robots.py"
    script.write_text(f"{TWO}\nother.run_sync(0.2)\nscheduler.run_sync(0.03)\nother.run_sync(0.2)\n")
    done = run("--record", "s", "--duration", "0.1", str(script))
    assert done.returncode == 0, done.stderr
    assert list(open_session("s").nodes) == ["other"]
    assert "scheduler 'main' is not the first one that runs" in done.stderr
    assert "not in the recording 's'" in done.stderr
    assert "main: to tick 2" in done.stderr


def test_a_script_that_runs_nothing_is_said(tmp_path: Path, recordings_dir: Path) -> None:
    """With --record that is a failure; without, a note."""
    script = tmp_path / "nothing.py"
    script.write_text("print('hello')\n")
    done = run("--record", "s", str(script))
    assert (done.returncode, done.stdout) == (2, "hello\n")
    assert "nothing was recorded as 's'" in done.stderr
    done = run(str(script))
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "ran no scheduler" in done.stderr


def test_a_script_is_main_also_while_its_build_runs(tmp_path: Path, recordings_dir: Path) -> None:
    """Its classes are found, it gets its arguments, and its block for ``__main__`` has run before."""
    script = tmp_path / "robot.py"
    script.write_text(
        "import sys\nfrom attrs import frozen\nfrom horus_async import Node, Scheduler\n"
        "@frozen\nclass Pose:\n    x: float\n"
        "def work(node):\n    node.send('pose', Pose(1.0)); got = node.recv('pose'); print(type(got) is Pose)\n"
        "def build(args):\n    print(args, sys.modules['__main__'].Pose is Pose, sys.argv[1:])\n"
        "    return Scheduler(deterministic=True).add(Node('arm', tick=work, subs=['pose']))\n"
        "if __name__ == '__main__':\n    print('main')\n"
    )
    done = run("--duration", "0.02", "--record", "s", str(script), "--", "a", "b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["main", "['a', 'b'] True ['a', 'b']"]
    assert "True" in done.stdout.splitlines()[2:]


FORKING = """
import multiprocessing
from horus_async import Node, Scheduler

def robot(name):
    Scheduler(name=name, deterministic=True).add(Node(name, tick=lambda node: node.send("t", 1))).run_sync(0.1)

if __name__ == "__main__":
    children = [multiprocessing.get_context("fork").Process(target=robot, args=(f"child{n}",)) for n in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    robot("parent")
    print([child.exitcode for child in children])
"""


def test_a_program_that_forks(tmp_path: Path, recordings_dir: Path) -> None:
    """Its own process is recorded; schedulers of its children run as they were made, and a line says so."""
    script = tmp_path / "robots.py"
    script.write_text(FORKING)
    done = run("--record", "s", str(script))
    assert (done.returncode, done.stdout) == (0, "[0, 0]\n"), done.stderr
    assert list(open_session("s").nodes) == ["parent"]
    assert "runs in a forked process" in done.stderr
    assert Scheduler.list_recordings() == ["s"]


def test_recordings_without_a_name_find_a_free_one(recordings_dir: Path) -> None:
    """Schedulers that start at the same moment have sessions of their own."""
    names = default_session_names(1_000_000_000)
    taken = [next(names) for _ in range(3)]
    assert len(set(taken)) == 3
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def one(number: int) -> None:
        scheduler = Scheduler(deterministic=True, recording=True, name=f"s{number}")
        scheduler.add(Node(f"n{number}", tick=lambda node: node.send("t", number)))
        barrier.wait(60)
        try:
            scheduler.run_sync(0.02)
        except BaseException as error:  # noqa: BLE001 - it is what the test is about
            failures.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(Scheduler.list_recordings()) == 40


@pytest.mark.parametrize(
    ("text", "app", "last"),
    [
        ("def broken():\n    return 1 / 0\nbroken()\n", "", "ZeroDivisionError"),
        ("def build(args):\n    return args['speed']\n", "", "TypeError"),
        ("def build(args):\n    return args['speed']\n", ":build", "TypeError"),
        (
            FAILING_NODE,
            ":build",
            "OSError: motor",
        ),
    ],
    ids=["script", "build of a script", "build", "node"],
)
def test_a_failure_shows_its_own_traceback(text: str, app: str, last: str, tmp_path: Path) -> None:
    """From the program's first frame on, and then one line."""
    script = tmp_path / "robot.py"
    script.write_text(text)
    done = run(f"{script}{app}")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line]
    begin = lines.index("Traceback (most recent call last):")
    assert lines[begin + 1].startswith(f'  File "{script}", line ')
    assert sum(line.startswith("  File ") for line in lines) <= 2
    assert any(line.startswith(last) for line in lines)
    assert lines[-1].startswith("horus-async: ")


LISTENER = """
import sys
from horus_async import Topic
with Topic("motor.wheels") as wheels, Topic("guard.stop") as stop, Topic("done") as done:
    print("ready", flush=True)
    while not done.recv_all():
        pass
    print(len(wheels.recv_all()) + len(stop.recv_all()), flush=True)
"""
DRIVER = """
from horus_async import Node, Scheduler, Topic
beside = Topic("motor.wheels")
async def plan(node):
    node.send("motor.wheels", 9.9)
    beside.send(1)
def build(args):
    return Scheduler(tick_rate=100, namespace=args[0] if args else None).add(Node("planner", tick=plan, rate=50))
"""


def own_namespaces() -> set[str]:
    """The namespaces of commands that have ended; others may run meanwhile."""
    names = {path.name for path in root().glob("*-*") if path.name.startswith(("check-", "verif", "demo-"))}
    return {name for name in names if not Path("/proc", str(int(name.split("-")[1], 16))).exists()}


def test_nothing_reaches_a_running_robot(tmp_path: Path, recordings_dir: Path, namespace: str) -> None:
    """A motor driver in another process hears nothing of ``check``, ``--verify`` and ``demo``; of ``run`` it does."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    assert run("--record", "s", "--deterministic", "--duration", "0.2", f"{script}:build").returncode == 0
    before = own_namespaces()
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER], env=environment(), stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdout is not None
        try:
            assert listener.stdout.readline() == "ready\n"
            for command in (
                ("check", f"{script}:build", "--duration", "0.2", "--runs", "2"),
                ("check", f"{script}:build", "--duration", "0.2", "--runs", "2", "--", namespace),
                ("replay", "s", "--speed", "max", "--verify", f"{script}:build"),
                ("replay", "s", "--speed", "max", "--verify", f"{script}:build", "--", namespace),
                ("demo", "--json"),
            ):
                done = run_script(RUN, *command)
                assert "Traceback" not in done.stderr
                if command[0] == "demo":
                    assert json.loads(done.stdout)["holds"]
            with Topic("done") as topic:
                while listener.poll() is None:
                    topic.send(True)
                    threading.Event().wait(0.01)
            assert listener.stdout.read() == "0\n"
            assert not own_namespaces() - before
        finally:
            listener.kill()
