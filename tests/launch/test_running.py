"""Programs that start, wait, fail, are started again and end: each launch is a process, and so is each program."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.examples.programs import EXAMPLES, horus

from .robots import Launched, is_there, reader, robot, sender

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    """It is said, and the exit code is 1 when the others have ended well."""
    file = robot(
        tmp_path, "[programs.bad]\n[programs.good]", bad="raise RuntimeError('no motor')", good="print('done')"
    )
    with Launched(file) as launched:
        assert launched.end() == 1
        assert launched.states("bad") == ["starting", "failed"]
        assert launched.states("good") == ["starting", "ended"]
        assert launched.why("bad") == "exit code 1"
        assert "RuntimeError: no motor" in "\n".join(launched.lines("bad"))
        assert "done" in launched.lines("good")
        assert "horus-async: bad failed: exit code 1" in launched.errors


ASKS_WHERE = """
import sniffio
from horus_async import Node, Scheduler
async def step(node):
    print("under", sniffio.current_async_library(), flush=True)
    node.request_stop()
def build(args):
    return Scheduler(tick_rate=50).add(Node("one", tick=step))
"""


def test_a_program_that_runs_under_asyncio(tmp_path: Path) -> None:
    """Beside one that does not; the key may be among the defaults."""
    toml = "[defaults]\nasyncio = true\n[programs.http]\n[programs.arm]\nasyncio = false\n"
    with Launched(robot(tmp_path, toml, http=ASKS_WHERE, arm=ASKS_WHERE)) as launched:
        assert launched.end() == 0
        assert "under asyncio" in launched.lines("http")
        assert "under trio" in launched.lines("arm")


def test_all_that_end_well_make_exit_code_0(tmp_path: Path) -> None:
    """Also where one waits for another that has ended: it has done what it is there for."""
    file = robot(tmp_path, '[programs.first]\n[programs.then]\nafter = ["first"]', first="print(1)", then="print(2)")
    with Launched(file) as launched:
        assert launched.end() == 0
        states = [(event["program"], event["state"]) for event in launched.events if event["event"] == "state"]
        assert states.index(("first", "ended")) < states.index(("then", "starting"))


def test_a_restart_storm_is_given_up(tmp_path: Path) -> None:
    """After so many restarts within so many seconds; each of them counts, and the waiting grows."""
    toml = '[programs.bad]\nrestart = "on-failure"\nbackoff = 0.01\nmax_restarts = 3\n'
    file = robot(tmp_path, toml, bad=f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(3)")
    with Launched(file) as launched:
        assert launched.end() == 1
        assert (tmp_path / "starts").read_text() == "xxxx"
        assert launched.states("bad") == ["starting", "restarting"] * 3 + ["starting", "given up"]
        waits = [event["why"] for event in launched.events if event.get("state") == "restarting"]
        assert waits == [f"exit code 3; again in {wait} s" for wait in ("0.01", "0.02", "0.04")]
        assert launched.why("bad") == "exit code 3, after 3 restarts within 60 s"


def test_on_failure_is_no_restart_after_a_good_end(tmp_path: Path) -> None:
    """The second time it ends well, and stays so."""
    program = f"""
import pathlib
marker = pathlib.Path({str(tmp_path / "marker")!r})
if not marker.exists():
    marker.touch()
    raise SystemExit(1)
"""
    file = robot(tmp_path, '[programs.once]\nrestart = "on-failure"\nbackoff = 0.01', once=program)
    with Launched(file) as launched:
        assert launched.end() == 0
        assert launched.states("once") == ["starting", "restarting", "starting", "ended"]


@pytest.mark.parametrize(("how", "code"), [("pass", 0), ("raise SystemExit(4)", 1)])
def test_the_end_of_a_required_program_ends_all(tmp_path: Path, how: str, code: int) -> None:
    """One that is restarted always, one that waits, one that runs."""
    toml = """
[programs.main]
required = true
after = ["runs"]
[programs.runs]
[programs.again]
restart = "always"
backoff = 0.01
max_restarts = 1000000
[programs.waits]
after_topics = ["never"]
"""
    file = robot(tmp_path, toml, main=how, runs=sender(), again="pass", waits="pass")
    with Launched(file) as launched:
        assert launched.end() == code
        assert launched.states("runs")[-2:] == ["stopping", "stopped"]
        assert launched.states("waits") == ["waiting", "stopped"]
        assert launched.states("again")[-1] == "stopped"
        assert "main is required and has ended: ending all programs" in launched.notes()


def test_programs_start_in_the_order_of_what_they_wait_for(tmp_path: Path) -> None:
    """After a program is up, its first tick having begun, and after a message on a topic; stopped in reverse."""
    toml = """
[programs.last]
after = ["middle"]
[programs.middle]
after_topics = ["odom"]
[programs.first]
"""
    file = robot(tmp_path, toml, first=sender(), middle=reader(), last=sender("other", "last"))
    with Launched(file) as launched:
        launched.until_state("last", "up")
        launched.signal()
        assert launched.end() == 130
        order = [(event["program"], event["state"]) for event in launched.events if event["event"] == "state"]
        places = {place: number for number, place in enumerate(order)}
        assert (
            places["first", "up"] < places["middle", "starting"] < places["middle", "up"] < places["last", "starting"]
        )
        assert places["last", "stopped"] < places["middle", "stopping"]
        assert places["middle", "stopped"] < places["first", "stopping"]  # as it sent what was waited for
        assert order.count(("middle", "waiting")) == 1


def test_a_topic_that_never_comes_is_named(tmp_path: Path) -> None:
    """After the time-out the program has failed; who waits for it is told so at once."""
    toml = """
[programs.waits]
after_topics = ["scan"]
wait_timeout = 0.1
[programs.behind]
after = ["waits"]
"""
    file = robot(tmp_path, toml, waits="pass", behind="pass")
    with Launched(file) as launched:
        assert launched.end() == 1
        assert launched.why("waits") == "waited 0.1 s for topic scan (wait_timeout)"
        assert launched.why("behind") == "waited for waits, which ended before it was up"
        assert launched.states("behind") == ["waiting", "failed"]


def test_a_message_that_was_sent_before_launch_began_counts(tmp_path: Path) -> None:
    """A program that runs already has sent it, and may not send another."""
    from horus_async import Topic

    file = robot(tmp_path, '[programs.waits]\nafter_topics = ["map"]', waits="print('here')")
    with Topic("map") as topic:
        topic.send({"cells": 3})
        with Launched(file) as launched:
            assert launched.end() == 0
            assert "here" in launched.lines("waits")


def test_a_program_that_is_killed_is_said_to_be(tmp_path: Path) -> None:
    """By the name of the signal; then it is started again."""
    file = robot(tmp_path, '[programs.arm]\nrestart = "on-failure"\nbackoff = 0.01', arm=sender())
    with Launched(file) as launched:
        launched.until_state("arm", "up")
        pid = next(event["pid"] for event in launched.events if event.get("pid"))
        os.kill(pid, signal.SIGKILL)
        assert launched.until_state("arm", "restarting")["why"] == "killed by SIGKILL; again in 0.01 s"
        launched.until_state("arm", "up")
        launched.signal()
        assert launched.end() == 130


def test_all_lines_of_a_burst_come_in_order(tmp_path: Path) -> None:
    """Of two programs at once; the last one has no newline."""
    many = 100_000
    program = (
        f"import sys\nsys.stdout.write('\\n'.join(map(str, range({many}))))\nsys.stdout.flush()\nimport os\nos._exit(0)"
    )
    file = robot(tmp_path, "[programs.one]\n[programs.two]", one=program, two=program)
    with Launched(file) as launched:
        assert launched.end() == 0
        for name in ("one", "two"):
            assert launched.lines(name) == [*map(str, range(many))]


def test_what_is_no_text_is_shown_and_controls_nothing(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, escape sequences, very long lines, a carriage return before the newline."""
    program = """
import os
os.write(1, b"caf\\xc3\\xa9 \\xff\\xfe\\n")
os.write(2, b"\\x1b[2Jgone\\r\\n")
os.write(1, b"x" * 40_000 + b"\\n" + "é".encode() * 20_000)
os._exit(0)
"""
    file = robot(tmp_path, "[programs.loud]", loud=program)
    with Launched(file) as launched:
        assert launched.end() == 0
        lines = launched.lines("loud")
        assert lines[:2] == ["café \\xff\\xfe", "\x1b[2Jgone"]
        assert "".join(lines[2:]).replace("…", "") == "x" * 40_000 + "é" * 20_000
        assert not any("\\x" in line for line in lines[2:])


def test_what_a_program_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    """A child of its own; one that left its group too keeps nobody waiting."""
    program = f"""
import pathlib, subprocess, sys
inside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(inside.pid))
"""
    outside = f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
pathlib.Path({str(tmp_path / "outside")!r}).write_text(str(child.pid))
"""
    file = robot(tmp_path, "[programs.messy]\n[programs.far]", messy=program, far=outside)
    with Launched(file) as launched:
        try:
            assert launched.end() == 0
            assert "it left processes behind, which are ended with it" in launched.notes()
            assert any("holds its output" in note for note in launched.notes())
            assert not is_there(int((tmp_path / "pid").read_text()))
        finally:
            os.kill(int((tmp_path / "outside").read_text()), signal.SIGKILL)


def test_a_program_that_cannot_be_started_has_failed(tmp_path: Path) -> None:
    """As where its folder may not be entered by then; nothing hangs."""
    file = robot(tmp_path, '[programs.big]\nargs = ["TOO LONG"]', big="pass")
    file.write_text(file.read_text().replace("TOO LONG", "x" * 300_000))
    with Launched(file) as launched:
        assert launched.end() == 1
        assert "cannot be started" in launched.why("big")


def test_twenty_programs_start_at_once(tmp_path: Path) -> None:
    """Each of them ends only when it has seen that all others are there: none waits for another's start."""
    program = f"""
import pathlib, sys, time
here = pathlib.Path({str(tmp_path)!r})
(here / f"{{sys.argv[1]}}.there").touch()
while len(list(here.glob("*.there"))) < 20:
    time.sleep(0.02)
"""
    toml = "".join(f'[programs.p{n}]\napp = "p.py"\nargs = ["{n}"]\n' for n in range(20))
    (tmp_path / "p.py").write_text(program)
    file = robot(tmp_path, toml)
    with Launched(file) as launched:
        assert launched.end() == 0
        assert all(launched.states(f"p{n}") == ["starting", "ended"] for n in range(20))


def test_a_program_gets_its_arguments_environment_and_namespace(tmp_path: Path) -> None:
    """Those of its own before those of all."""
    program = """
import json, os, sys
from horus_async.topics import default_namespace
shown = {key: os.environ.get(key) for key in ("A", "B", "PYTHONUNBUFFERED", "HORUS_LAUNCHED_BY")}
print(json.dumps({"args": sys.argv[1:], "env": shown, "namespace": default_namespace(), "cwd": os.getcwd()}))
"""
    toml = """
[defaults]
env = { A = "all", B = "all" }
namespace = "left"
[programs.one]
args = ["--gain", "a b", "$HOME", "%d"]
env = { B = "own" }
[programs.two]
namespace = "right"
"""
    file = robot(tmp_path, toml, one=program, two=program)
    with Launched(file) as launched:
        assert launched.end() == 0
        one, two = (json.loads(launched.lines(name)[0]) for name in ("one", "two"))
        assert one["args"] == ["--gain", "a b", "$HOME", "%d"]
        assert one["env"] == {"A": "all", "B": "own", "PYTHONUNBUFFERED": "1", "HORUS_LAUNCHED_BY": None}
        assert (one["namespace"], two["namespace"]) == ("left", "right")
        assert two["env"]["B"] == "all"
        assert one["cwd"] == str(tmp_path)


def test_files_of_the_robot_take_no_modules_place(tmp_path: Path) -> None:
    """A program may be called as a module of Python or of ours is."""
    file = robot(tmp_path, "[programs.select]\n[programs.trio]", select="print('here')", trio="print('there')")
    with Launched(file) as launched:
        assert launched.end() == 0
        assert launched.lines("select")[0] == "here"
        assert launched.lines("trio")[0] == "there"


def test_parameters_reach_the_nodes(tmp_path: Path) -> None:
    """Before the first tick."""
    program = """
from horus_async import Node, Param, Scheduler
class Arm(Node):
    name = "arm"
    gain = Param(1.0)
    label = Param("none")
    async def tick(self):
        print(self.gain, self.label, flush=True)
        self.request_stop()
def build(args):
    return Scheduler().add(Arm())
"""
    toml = """
[programs.one]
params = { arm.gain = 0.5, "arm.label" = "left arm" }
[programs.two]
params = { arm.gian = 1 }
"""
    file = robot(tmp_path, toml, one=program, two=program)
    with Launched(file) as launched:
        assert launched.end() == 1
        assert launched.lines("one")[0] == "0.5 left arm"
        assert launched.why("two") == "exit code 2"


def test_the_example_runs(tmp_path: Path) -> None:
    """The robot drives, and somebody watches it; all of it is recorded, and the planner does it again."""
    with Launched(EXAMPLES / "fleet" / "robot.toml", "--record", "fleet") as launched:
        launched.until(lambda event: event.get("program") == "watch" and event.get("text", "").startswith("at "))
        horus("topic", "echo", "cmd_vel", "-n", "1", cwd=tmp_path)
        launched.signal()
        assert launched.end() == 130
        assert all(launched.states(name)[-1] == "stopped" for name in ("base", "lidar", "planner", "watch"))
    planner = EXAMPLES / "fleet" / "planner.py"
    done = horus("replay", "fleet/planner", "--speed", "max", "--verify", planner, "--", "1.2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_many_programs_of_one_app_have_boxes_of_their_own(tmp_path: Path, blackbox_dir: Path) -> None:
    """By their names: none is in another one's way."""
    names = [f"p{number}" for number in range(11)]
    toml = "".join(f'[programs.{name}]\napp = "p.py"\nargs = ["{name}"]\n' for name in names)
    (tmp_path / "p.py").write_text(
        sender().replace('"odom"', "TOPIC").replace("(args):", "(args):\n    global TOPIC\n    TOPIC = args[0]")
    )
    with Launched(robot(tmp_path, toml)) as launched:
        launched.until(lambda _: all("up" in launched.states(name) for name in names))
        assert sorted(path.name for path in blackbox_dir.iterdir()) == sorted(f"{name}.hbb" for name in names)
        launched.signal()
        assert launched.end() == 130
