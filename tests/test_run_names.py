"""``horus-async run`` names what its program did not name, so that two programs do not get into each other's way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from horus_async import Scheduler
from horus_async.blackbox import open_blackbox
from tests.engine.programs import run_script

if TYPE_CHECKING:
    from pathlib import Path

RUN = "import sys; from horus_async.cli import main; main(sys.argv[1:], prog_name='horus-async')"
APP = """
from horus_async import Node, Scheduler
def build():
    return Scheduler(deterministic=True, {options}).add(Node("{node}", tick=lambda node: None))
"""


def run(*arguments: str) -> None:
    """The command, which succeeds."""
    done = run_script(RUN, "run", "--duration", "0.02", *arguments)
    assert done.returncode == 0, done.stderr


def test_one_program_does_not_push_anothers_box_aside(tmp_path: Path, blackbox_dir: Path) -> None:
    """However often it is started."""
    for name in ("arm", "leg"):
        (tmp_path / f"{name}.py").write_text(APP.format(options="", node=name))
    run(str(tmp_path / "arm.py"))
    for _ in range(5):
        run(str(tmp_path / "leg.py"))
    assert len(open_blackbox(blackbox_dir / "arm.hbb").events("SchedulerStart")) == 1
    assert not list(blackbox_dir.glob("scheduler*"))


@pytest.mark.parametrize(
    ("file", "app", "name"),
    [
        ("arm.py", "arm.py", "arm"),
        ("arm.py", "arm.py:build", "arm"),
        ("arm.py", "arm:build", "arm"),
        ("robots/arm.py", "robots.arm:build", "arm"),
        ("robots/__main__.py", "robots/__main__.py", "robots"),
        ("my arm 2.0.py", "my arm 2.0.py", "my_arm_2_0"),
        ("~1.py", "./~1.py", "_1"),
    ],
)
def test_every_form_of_app_has_a_name(
    file: str, app: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so have its recordings, where it records without saying as what."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(APP.format(options="recording=True", node="a"))
    monkeypatch.chdir(tmp_path)
    run("--no-blackbox", app)
    (session,) = Scheduler.list_recordings()
    assert re.fullmatch(rf"{name}_\d{{8}}T\d{{6}}\.\d{{3}}_p\d+", session)


def test_a_name_of_its_own_stays(tmp_path: Path, blackbox_dir: Path) -> None:
    """The program's word counts."""
    (tmp_path / "arm.py").write_text(APP.format(options="name='left', recording=True", node="a"))
    run(str(tmp_path / "arm.py"))
    assert [path.name for path in blackbox_dir.iterdir()] == ["left.hbb"]
    assert Scheduler.list_recordings()[0].startswith("left_")


def test_an_option_is_not_taken_for_the_name_of_a_recording(tmp_path: Path, recordings_dir: Path) -> None:
    """``--record --deterministic`` would run in real time, and record that under a name that no command takes."""
    (tmp_path / "arm.py").write_text(APP.format(options="", node="a"))
    done = run_script(RUN, "run", "--record", "--deterministic", "--duration", "0.02", str(tmp_path / "arm.py"))
    assert done.returncode == 2
    assert "--record needs a name, and '--deterministic' looks like an option" in done.stderr
    assert not recordings_dir.exists()
