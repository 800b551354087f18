"""Hints name commands that work where they are read, however the package was installed and started."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define

from horus_async.hints import installed

if TYPE_CHECKING:
    from pathlib import Path

REQUIRES = """\
Requires-Dist: trio>=0.30
Requires-Dist: mcap>=1.2; extra == "bags"
Requires-Dist: rosbags; extra == "bags"
"""


@define
class Place:
    """A made-up installation."""

    root: Path
    monkeypatch: pytest.MonkeyPatch

    def make(self, source: dict[str, Any] | None, venv: str = "work/.venv") -> Path:
        """An environment with the package, and a checkout ``work``, which is the current folder."""
        (self.root / "work" / "horus_async").mkdir(parents=True, exist_ok=True)
        (self.root / "work" / "pyproject.toml").touch()
        prefix = self.root / venv
        site = prefix / "lib"
        info = site / "horus_async-0.1.0.dist-info"
        for folder in (prefix / "bin", site / "horus_async", info):
            folder.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: horus-async\nVersion: 0.1.0\n{REQUIRES}")
        if source is not None:
            (info / "direct_url.json").write_text(json.dumps(source))
        for name in ("python", "pip", "horus-async"):
            (prefix / "bin" / name).touch(mode=0o755)
        self.monkeypatch.setattr(installed, "_PACKAGE", site / "horus_async")
        self.monkeypatch.setattr(sys, "executable", str(prefix / "bin" / "python"))
        self.monkeypatch.setattr(sys, "prefix", str(prefix))
        self.monkeypatch.setattr(sys, "argv", [str(self.root / "robot.py")])
        self.monkeypatch.setenv("PATH", "/nowhere")
        self.monkeypatch.delenv("UV", raising=False)
        self.monkeypatch.chdir(self.root / "work")
        return prefix

    def activate(self, prefix: Path) -> None:
        """Put its commands on the path."""
        self.monkeypatch.setenv("PATH", str(prefix / "bin"))

    @property
    def checkout(self) -> dict[str, Any]:
        """What pip notes of the checkout."""
        return {"dir_info": {}, "url": (self.root / "work").as_uri()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A made-up installation."""
    return Place(tmp_path, monkeypatch)


def test_an_environment_that_is_active(place: Place) -> None:
    """``horus-async`` and ``pip`` are found."""
    place.activate(place.make(place.checkout))
    assert installed.command("record list") == "horus-async record list"
    assert installed.install("bags") == "pip install '.[bags]'"


def test_an_environment_that_is_not(place: Place) -> None:
    """As after the first command of the README: the line says where the command is, from here."""
    prefix = place.make(place.checkout)
    assert installed.command("record list") == ".venv/bin/horus-async record list"
    assert installed.install("bags") == ".venv/bin/python -m pip install '.[bags]'"
    place.monkeypatch.chdir(place.root)
    assert installed.command("demo") == "work/.venv/bin/horus-async demo"
    assert installed.install("bags") == "work/.venv/bin/python -m pip install './work[bags]'"
    place.monkeypatch.chdir("/")
    assert installed.command("demo") == f"{str(prefix)[1:]}/bin/horus-async demo"


def test_another_command_of_that_name_on_the_path(place: Place) -> None:
    """It belongs to another environment, and is not named."""
    prefix = place.make(place.checkout)
    other = place.root / "other"
    other.mkdir()
    for name in ("horus-async", "pip", "python"):
        (other / name).touch(mode=0o755)
    place.monkeypatch.setenv("PATH", f"{other}:{prefix / 'bin'}")
    assert installed.command("demo") == ".venv/bin/horus-async demo"
    assert installed.install("bags") == ".venv/bin/python -m pip install '.[bags]'"


def test_a_command_that_lies_elsewhere(place: Place) -> None:
    """As of ``pip install --user`` or pipx: on the path, or as it was typed."""
    prefix = place.make(place.checkout)
    command = place.root / "local" / "horus-async"
    command.parent.mkdir()
    command.symlink_to(prefix / "bin" / "horus-async")
    place.monkeypatch.setattr(sys, "argv", [str(command)])
    assert installed.command("demo") == f"{command} demo"
    place.monkeypatch.setenv("PATH", str(command.parent))
    assert installed.command("demo") == "horus-async demo"


def test_in_a_checkout(place: Place) -> None:
    """``python -m horus_async`` where nothing is installed, and an installation in place."""
    prefix = place.make(None)
    (prefix / "bin" / "horus-async").unlink()
    place.monkeypatch.setattr(installed, "_PACKAGE", place.root / "work" / "horus_async")
    assert installed.command("demo") == ".venv/bin/python -m horus_async demo"
    assert installed.install("bags") == ".venv/bin/python -m pip install -e '.[bags]'"
    place.activate(prefix)
    assert installed.command("demo") == "python -m horus_async demo"
    assert installed.install("bags") == "pip install -e '.[bags]'"
    assert installed.install("") == "pip install -e ."


def test_uvx(place: Place) -> None:
    """Its environment is in a cache: what was typed is what helps."""
    prefix = place.make(place.checkout, venv=".cache/uv/archive-v0/x1")
    place.activate(prefix)  # for the process alone
    place.monkeypatch.setenv("UV", "/usr/bin/uv")
    assert installed.command("record list") == "uvx --from . horus-async record list"
    assert installed.install("bags") == "uvx --from '.[bags]' horus-async"


def test_an_environment_without_pip(place: Place) -> None:
    """As ``uv venv`` makes them."""
    place.make(place.checkout)
    place.monkeypatch.setattr(installed, "find_spec", lambda _: None)
    assert installed.install("bags") == "uv pip install --python .venv/bin/python '.[bags]'"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ({"dir_info": {}, "url": "file:///a/clone/that%20is/gone"}, "pip install 'mcap>=1.2' rosbags"),
        (
            {"archive_info": {}, "url": "file:///w/horus_async-0.1.0-py3-none-any.whl"},
            "pip install 'horus-async[bags] @ file:///w/horus_async-0.1.0-py3-none-any.whl'",
        ),
        (
            {"vcs_info": {"vcs": "git", "commit_id": "abc"}, "url": "https://x.org/h"},
            "pip install 'horus-async[bags] @ git+https://x.org/h@abc'",
        ),
        (None, "pip install 'horus-async[bags]'"),
        ([], "pip install 'horus-async[bags]'"),
    ],
)
def test_where_it_came_from(place: Place, source: Any, line: str) -> None:
    """The checkout is gone, a wheel, a repository, an index, nonsense."""
    place.activate(place.make(source))
    assert installed.install("bags") == line


def test_this_installation_is_understood() -> None:
    """Whatever it is."""
    assert installed.command("demo").endswith(" demo")
    assert "[mcap]" in installed.install("mcap")
