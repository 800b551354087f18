"""``horus-async view``."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.engine.programs import environment
from tests.terminal import at_a_terminal
from tests.view.runs import crash, recorded
from tests.view.test_others import _counter

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 300
PROGRAM = """
from horus_async import Node, Scheduler, tick

def build(args):
    changed = int(args[0]) if args else 1000
    def count(node):
        node.send("n", {"n": tick() + (tick() >= changed)})
    return Scheduler(tick_rate=100, deterministic=True).add(Node("counter", tick=count, rate=100))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with sessions, a box and a program."""
    crash(tmp_path)
    recorded(tmp_path, "a", _counter(1000))
    recorded(tmp_path, "b", _counter(40))
    (tmp_path / "robot.py").write_text(PROGRAM)
    return tmp_path


def view(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    environ = environment(HORUS_RECORDINGS_DIR=str(place), HORUS_BLACKBOX_DIR=str(place / "boxes"))
    command = [sys.executable, "-m", "horus_async", "view", *arguments]
    return subprocess.run(
        command, env=environ, cwd=place, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def data_of(place: Path, *arguments: str) -> tuple[int, Any]:
    """Exit code and data."""
    done = view(place, *arguments, "--json")
    return done.returncode, orjson.loads(done.stdout)


def test_a_page_is_written(place: Path) -> None:
    """With the black box of the run, which is found by itself."""
    done = view(place, "night", "-o", "night.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wrote night.html: ")
    text = (place / "night.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "3 deadline misses of collision_checker" in text
    assert len(text) < 6_000_000


def test_a_page_goes_into_a_pipe(place: Path) -> None:
    """What is said goes to standard error."""
    done = view(place, "night", "-o", "-")
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.endswith("</html>\n")
    assert "wrote the page" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "kinds"),
    [
        (("night",), 0, ["session"]),
        (("boxes/arm.hbb",), 0, ["blackbox"]),
        (("boxes",), 0, ["blackbox"]),
        (("a", "boxes/arm.hbb"), 0, ["session", "blackbox"]),
        (("a", "b"), 1, ["session", "session"]),
        (("a", "a"), 0, ["session", "session"]),
        (("a", "night"), 2, ["session", "session"]),
        (("a", "b", "night"), 0, ["session", "session", "session"]),
        (("a", "--app", "robot.py"), 0, ["session", "live"]),
        (("a", "--app", "robot.py", "--", "90"), 1, ["session", "live"]),
        (("night", "--app", "robot.py"), 2, ["session", "live"]),
    ],
)
def test_what_can_be_shown(place: Path, arguments: tuple[str, ...], code: int, kinds: list[str]) -> None:
    """And the exit code of a comparison."""
    done = view(place, "--json", *arguments)
    assert done.returncode == code, done.stderr
    assert [source["kind"] for source in orjson.loads(done.stdout)["sources"]] == kinds


def test_a_part_of_a_session(place: Path) -> None:
    """By ticks or by time, the same."""
    by_ticks, by_time = (data_of(place, "a", *part)[1] for part in (("--ticks", "10-19"), ("--time", "0.1-0.2")))
    assert by_ticks["sources"][0] == by_time["sources"][0]
    assert by_ticks["sources"][0]["channels"][0]["count"] == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothere",), "no session 'nothere'"),
        (("a", "b", "--app", "robot.py"), "--app takes one session"),
        (("a", "--", "x"), "belong to --app"),
        (("a", "-o", "x.html", "--json"), "not both"),
        (("a", "--ticks", "1-2", "--time", "1-2"), "not both"),
        (("a", "--ticks", "x"), "give N-M"),
        (("a", "--app", "none.py"), "none.py"),
        ((), "Missing argument"),
        (("a", "-o", "no/such/folder/x.html"), "no/such"),
    ],
)
def test_wrong_usage(place: Path, arguments: tuple[str, ...], said: str) -> None:
    """One line, and exit code 2."""
    done = view(place, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_served_to_this_user_alone(place: Path) -> None:
    """On loopback, under a secret path, by no other name, until Ctrl-C."""
    environ = environment(HORUS_RECORDINGS_DIR=str(place))
    command = [sys.executable, "-m", "horus_async", "view", "a", "--no-open"]
    with subprocess.Popen(command, env=environ, cwd=place, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            match = re.search(r"(http://127\.0\.0\.1:\d+)(/\S+/)", line)
            assert match is not None, line
            with urllib.request.urlopen(match[1] + match[2], timeout=PATIENCE) as answer:
                assert answer.read().startswith(b"<!doctype html>")
                assert answer.headers["Cache-Control"] == "no-store"
            for path, host in (("/", None), ("/favicon.ico", None), (match[2], "evil.example:80")):
                asked = urllib.request.Request(match[1] + path, headers={"Host": host} if host else {})
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(asked, timeout=PATIENCE)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_at_a_terminal_it_fits(place: Path) -> None:
    """Nothing is wider than 80 columns but paths."""
    code, lines = at_a_terminal(
        "view",
        "night",
        "-o",
        "x.html",
        cwd=place,
        HORUS_RECORDINGS_DIR=str(place),
        HORUS_BLACKBOX_DIR=str(place / "boxes"),
    )
    assert code == 0
    assert all(len(line.split("\r")[-1]) <= 80 for line in lines), lines
    assert (place / "x.html").exists()
