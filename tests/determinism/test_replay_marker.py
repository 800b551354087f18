"""``@pytest.mark.horus_replay``: a session as a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

APP = """
from horus_async import Node, Scheduler, tick

GAIN = 2

def build():
    async def sense(node):
        node.send("reading", {"x": tick()})

    async def control(node):
        node.send("command", {"y": node.recv("reading")["x"] * GAIN})

    scheduler = Scheduler(tick_rate=10, deterministic=True, recordings_dir=".", recording="day")
    scheduler.add(Node("sensor", tick=sense, pubs=["reading"]))
    return scheduler.add(Node("controller", tick=control, subs=["reading"], pubs=["command"]))

def build_other():
    return Scheduler(deterministic=True).add(Node("stranger", tick=lambda node: None))
"""

TESTS = """
import pytest
import app

BODIES = []

@pytest.fixture
def horus_app():
    return app.build

@pytest.fixture
def changed(monkeypatch):
    monkeypatch.setattr(app, "GAIN", 3)

@pytest.mark.horus_replay("day", app=app.build)
def test_same_by_argument():
    BODIES.append(1)

@pytest.mark.horus_replay("day")
async def test_same_by_fixture():
    assert BODIES == [1]

@pytest.mark.horus_replay("day")
def test_changed(changed):
    BODIES.append(2)

@pytest.mark.horus_replay("day", nodes=["sensor"])
def test_the_changed_node_is_left_out(changed):
    assert BODIES == [1]

@pytest.mark.horus_replay("day", app=app.build_other)
def test_nothing_in_common():
    pass

@pytest.mark.horus_replay("night")
def test_no_session():
    pass

@pytest.mark.horus_replay(sesion="day")
def test_misspelt():
    pass

@pytest.mark.horus_replay("day", app=3)
def test_no_program():
    pass
"""

NO_FIXTURE = """
import pytest

@pytest.mark.horus_replay("day")
def test_no_app():
    pass
"""


def test_a_session_is_replayed_against_live_nodes(tmp_path: Path) -> None:
    """Same code passes; changed code fails with the first difference; nothing compared and no session fail too."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_user.py").write_text(TESTS)
    (tmp_path / "test_without.py").write_text(NO_FIXTURE)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\npythonpath = .\n")
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import app; app.build().run_sync(0.5)"],
        cwd=tmp_path,
        check=True,
    )
    plugins = ["-p", "horus_async.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", *plugins, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "6 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "tick 1, node controller, topic command, field y: recorded 2, live 3" in done.stdout
    assert "session day: nothing was compared" in done.stdout
    assert "session night: no session 'night'" in done.stdout
    assert "tolerance=0.0): missing a required argument: 'session'" in done.stdout
    assert "session day: app=3: give a Scheduler, or a function that makes one" in done.stdout
    assert "session day: which program? give app=build, or write a fixture horus_app" in done.stdout


BY_NAME = """
import pytest
import app

@pytest.mark.horus_replay("day", app=app.build)
def test_with_the_fixture(horus):
    pass

@pytest.mark.horus_replay("night", app=app.build)
def test_no_session(horus):
    pass
"""


def test_the_users_recordings_are_found_beside_the_fixture(tmp_path: Path) -> None:
    """``horus`` gives the test a folder of its own, in which there is nothing to compare with."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "app.py").write_text(APP.replace('recordings_dir="."', "recordings_dir=None"))
    (tests / "test_user.py").write_text(BY_NAME)
    (tests / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    environment = {**os.environ, "HORUS_RECORDINGS_DIR": str(tmp_path / "recordings"), "PYTHONPATH": str(ROOT)}
    make = [sys.executable, "-c", "import app; app.build().run_sync(0.5)"]
    subprocess.run(make, cwd=tests, env=environment, check=True)
    plugins = ["-p", "horus_async.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, str(tests)],
        cwd=tests,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "session night: no session 'night'" in done.stdout


def test_a_failing_replay_writes_a_page_beside_the_report(tmp_path: Path) -> None:
    """It is named in the failure, and shows both sides; where the cache is, if there is no report."""
    pytest.importorskip("plotly")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_user.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\npythonpath = .\n")
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import app; app.build().run_sync(0.5)"],
        cwd=tmp_path,
        check=True,
    )
    for report, folder in (
        (["--junit-xml", str(tmp_path / "report" / "tests.xml")], "report"),
        ([], ".pytest_cache/d/horus"),
    ):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "horus_async.pytest_plugin",
                *report,
                "-k",
                "test_changed",
                ".",
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        page = tmp_path / folder / "test_user_py_test_changed.html"
        assert f"both sides, on a page: {page}" in done.stdout, done.stdout + done.stderr
        assert "tick 1, node controller" in done.stdout
        text = page.read_text()
        assert '"kind":"verification"' in text
        assert '"differences":4' in text
