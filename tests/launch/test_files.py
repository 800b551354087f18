"""What launch files may say: every error is named, with its place and the way out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.errors import LaunchError
from horus_async.launch.files.commands import command_of, environment_of
from horus_async.launch.files.order import in_order
from horus_async.launch.files.reading import read_launch_file
from horus_async.launch.files.schema import Program, Restart
from horus_async.launch.lines import LONGEST, MORE, Lines
from horus_async.launch.restarts import Restarts
from tests.examples.pages import blocks_of
from tests.examples.programs import EXAMPLES, horus

from .robots import robot

if TYPE_CHECKING:
    from pathlib import Path

APP = 'app = "arm.py"'
ARM = f"[programs.arm]\n{APP}\n"


def problems(folder: Path, toml: str) -> list[str]:
    """What is said of a file, without its name."""
    (folder / "arm.py").touch()
    path = folder / "robot.toml"
    path.write_bytes(toml.encode(errors="surrogateescape"))
    with pytest.raises(LaunchError) as caught:
        read_launch_file(path)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("", 'there are no programs: write a table [programs.NAME] with app = "FILE.py" for each'),
        ("programs = 3", 'there are no programs: write a table [programs.NAME] with app = "FILE.py" for each'),
        ("[programs.arm]", 'programs.arm.app: is missing: give the program, app = "FILE.py"'),
        ('[programs.arm]\napp = "am.py"', "did you mean 'arm.py'?"),
        ('[programs.arm]\napp = "no module:x"', "programs.arm: app = 'no module:x': give FILE.py, FILE.py:NAME or"),
        ('[programs.arm]\napp = "--help"', "programs.arm: app = '--help': give FILE.py"),
        (
            '[programs."../arm"]\napp = "arm.py"',
            "program name '../arm' cannot be used: it takes 1 to 64 of A-Z a-z 0-9",
        ),
        ('[programs."arm.2"]\napp = "arm.py"', "program name 'arm.2' cannot be used"),
        (f"{ARM}restrat = 3", "programs.arm: there is no key 'restrat'; did you mean 'restart'?"),
        (f'{ARM}restart = "on-failur"', "'on-failur' is none of never, on-failure, always; did you mean 'on-failure'?"),
        (f"{ARM}restart = true", "True is none of never, on-failure, always"),
        (f"{ARM}args = 'x'", "'x' is not a list of texts"),
        (f"{ARM}args = ['a', 3]", "['a', 3] is not a list of texts"),
        (f"{ARM}backoff = 0", "backoff = 0: give seconds, above 0"),
        (f"{ARM}grace = -1", "grace = -1: give seconds, 0 or more"),
        (f"{ARM}grace = nan", "grace = nan: give seconds, 0 or more"),
        (f"{ARM}grace = '3'", "programs.arm.grace: '3' is not a number"),
        (f"{ARM}max_restarts = -2", "max_restarts = -2: give a number, 0 or more"),
        (f"{ARM}max_restarts = 2.5", "2.5 is not a whole number"),
        (f"{ARM}required = 1", "1 is not true or false"),
        (f'{ARM}asyncio = "yes"', "'yes' is not true or false"),
        (f"{ARM}env = {{ A = 1 }}", "A = 1 is not a text: write it in quotes"),
        (f'{ARM}env = {{ "A=" = "1" }}', "env: 'A=' cannot be an environment variable"),
        (
            f'{ARM}after = ["lidra"]\n[programs.lidar]\n{APP}',
            "after: there is no program 'lidra'; did you mean 'lidar'?",
        ),
        (f'{ARM}after = ["arm"]', "programs.arm: after: it waits for itself"),
        (f'{ARM}after_topics = ["/scan"]', "programs.arm: topic name '/scan' must not begin with '/'"),
        (f'{ARM}namespace = "../x"', "programs.arm: namespace '../x' contains '/'"),
        (f'{ARM}options = ["--record", "x"]', "options: '--record' is for launch to give"),
        (f'{ARM}options = ["other.py"]', "options: 'other.py' is no option of run"),
        (f"{ARM}params = {{ t = 2026-01-01 }}", "programs.arm.params: 't' is date: give a number"),
        (f"{ARM}params = {{ x = inf }}", "programs.arm.params: 'x' is float: give a number"),
        (f'{ARM}args = ["a\\u0000"]', "has a NUL in it"),
        (f"[deflauts]\n{ARM}", "there is no key 'deflauts'; did you mean 'defaults'?"),
        (f"[defaults]\napp = 'x'\n{ARM}", "defaults: 'app' belongs to one program"),
        (f"[defaults]\ngrce = 3\n{ARM}", "defaults: 'grce' is no key; did you mean 'grace'?"),
        ("[programs.arm\n", "is not TOML: Expected ']' at the end of a table declaration (at line 1, column 14)"),
        (f"{ARM}app = 'again.py'", "is not TOML: Cannot overwrite a value"),
        (f"{ARM}# \udcff", "is not UTF-8: byte 0xff in line 3"),
        ("a = " + "[" * 5000, "is not TOML"),
    ],
)
def test_an_error_is_named(tmp_path: Path, toml: str, said: str) -> None:
    """In one line, with the bad value and the way out."""
    (found,) = problems(tmp_path, toml)
    assert said in found


def test_all_errors_are_named_at_once(tmp_path: Path) -> None:
    """Of all programs; and by the command, a line each."""
    toml = f"""
[programs.a]
app = "x.py"
after = ["c"]
[programs.b]
{APP}
grace = "1"
foo = 2
[programs.c]
{APP}
after = ["a"]
"""
    found = problems(tmp_path, toml)
    assert len(found) == 4
    done = horus("launch", "robot.toml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.startswith("horus-async: robot.toml: ") for line in done.stderr.splitlines()] == [True] * 4


def test_a_circle_is_named(tmp_path: Path) -> None:
    """Each once."""
    waits = {"a": "b", "b": "c", "c": "a", "d": "e", "e": "d"}
    toml = "".join(f"[programs.{one}]\n{APP}\nafter = ['{other}']\n" for one, other in waits.items())
    found = problems(tmp_path, toml)
    assert len(found) == 2
    assert all(problem.startswith("programs wait for each other: ") for problem in found)
    assert {frozenset(problem.rpartition(": ")[2].split(" -> ")) for problem in found} == {
        frozenset("abc"),
        frozenset("de"),
    }


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is one line, and exit code 2."""
    done = horus("launch", "robot.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "horus-async: robot.toml: cannot be read: No such file or directory\n")


def test_parameters_are_passed_to_run(tmp_path: Path) -> None:
    """As JSON; tables are joined with dots, quoted names stay."""
    toml = '[programs.arm]\n[programs.arm.params]\n"arm.gain" = 0.5\narm.pid.kp = [1, 2]\nname = "a b"\non = true'
    file = read_launch_file(robot(tmp_path, toml, arm=""))
    program = file.programs["arm"]
    assert command_of("arm", program, python="python") == [
        *("python", "-P", "-m", "horus_async", "run", "--name", "arm"),
        *("--param", "arm.gain=0.5", "--param", "arm.pid.kp=[1,2]", "--param", 'name="a b"', "--param", "on=true"),
        "arm.py",
    ]
    recorded = command_of("arm", program, record=(tmp_path, "arm.2"), python="python")
    assert recorded[5:9] == ["--recordings-dir", str(tmp_path), "--record", "arm.2"]


def test_arguments_stay_the_programs(tmp_path: Path) -> None:
    """Also those that look like options of run."""
    program = Program(app="arm.py", args=("--record", "x"), options=("--seed", "3"), namespace="left", env={"A": "1"})
    assert command_of("arm", program, python="python")[5:] == [
        "--name",
        "arm",
        "--seed",
        "3",
        "arm.py",
        "--",
        "--record",
        "x",
    ]
    env = environment_of(program, notify=str(tmp_path))
    assert (env["A"], env["HORUS_NAMESPACE"]) == ("1", "left")


def test_the_dry_run_shows_what_would_be_started(tmp_path: Path) -> None:
    """In order, and starts nothing."""
    toml = '[programs.b]\nafter = ["a"]\nafter_topics = ["scan"]\n[programs.a]\nargs = ["1"]'
    file = robot(tmp_path, toml, a="raise SystemExit(9)", b="raise SystemExit(9)")
    assert in_order(read_launch_file(file)) == ["a", "b"]
    done = horus("launch", file, "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0
    rows = json.loads(done.stdout)["programs"]
    assert [row["program"] for row in rows] == ["a", "b"]
    assert rows[0]["command"] == ["python", "-P", "-m", "horus_async", "run", "--name", "a", "a.py", "--", "1"]
    assert rows[1]["after"] == ["a", "topic scan"]


@pytest.mark.parametrize("options", [["--output", "x"], ["--systemd", "--dry-run"], ["--systemd", "--record", "x"]])
def test_options_that_contradict_each_other(tmp_path: Path, options: list[str]) -> None:
    """They are wrong usage."""
    assert horus("launch", "robot.toml", *options, cwd=tmp_path).returncode == 2


def test_the_backing_off_doubles_up_to_its_limit_and_begins_anew() -> None:
    """After a program ran for as long as the window."""
    program = Program(app="x.py", restart=Restart.ALWAYS, backoff=1, backoff_limit=5, max_restarts=100)
    restarts = Restarts(program)
    assert [restarts.after(failed=True, now=0, ran=1) for _ in range(5)] == [1, 2, 4, 5, 5]
    assert [restarts.after(failed=True, now=0, ran=ran) for ran in (60, 1)] == [1, 2]


def test_old_restarts_do_not_count() -> None:
    """Only those within the window make a storm."""
    program = Program(app="x.py", restart=Restart.ON_FAILURE, backoff=1, max_restarts=2, restart_window=10)
    restarts = Restarts(program)
    assert restarts.after(failed=False, now=0, ran=1) is None
    assert restarts.after(failed=True, now=0, ran=1) == 1
    assert restarts.after(failed=True, now=12, ran=1) is not None
    assert restarts.after(failed=True, now=13, ran=1) is not None
    assert not restarts.given_up
    assert restarts.after(failed=True, now=14, ran=1) is None
    assert restarts.given_up


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"x" * LONGEST, "é".encode() * LONGEST])))
def test_lines_lose_nothing_however_they_are_cut(pieces: list[bytes]) -> None:
    """All pieces together are the text; none is longer than a line may be."""
    lines = Lines()
    found = [line for piece in pieces for line in lines.take(piece)] + lines.end()
    whole = Lines()
    assert "".join(found).replace(MORE, "") == "".join(whole.take(b"".join(pieces)) + whole.end()).replace(MORE, "")
    assert all(len(line.encode()) <= 4 * LONGEST + len(MORE.encode()) for line in found)
    text = b"".join(pieces)
    if b"\r" not in text and max(map(len, text.split(b"\n"))) <= LONGEST:
        expected = text.split(b"\n")
        assert found == [
            line.decode(errors="backslashreplace") for line in (expected if expected[-1] else expected[:-1])
        ]


def test_the_file_for_those_who_know_ros_2_is_one(tmp_path: Path) -> None:
    """And says what its remarks promise."""
    (text,) = [block.text for block in blocks_of("docs/from_ros2.md") if block.language == "toml"]
    (tmp_path / "robot.toml").write_text(text)
    for name in ("driver", "planner"):
        (tmp_path / f"{name}.py").touch()
    file = read_launch_file(tmp_path / "robot.toml")
    driver, planner = file.programs["driver"], file.programs["planner"]
    assert (driver.restart, driver.namespace, driver.backoff) == (Restart.ALWAYS, "left", 2.0)
    assert (planner.params, planner.required) == ({"planner.speed": 0.5}, True)


def test_the_example_is_a_robot_of_four_programs() -> None:
    """Each is there."""
    file = read_launch_file(EXAMPLES / "fleet" / "robot.toml")
    assert in_order(file) == ["base", "lidar", "watch", "planner"]
