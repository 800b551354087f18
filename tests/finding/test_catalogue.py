"""The catalogue is a cache: whatever becomes of sessions and of itself, it says what reading all of them says."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.finding.runs import all_runs
from horus_async.recorder.catalogue import folders
from horus_async.recorder.catalogue.catalogue import keep_up, open_store
from horus_async.recorder.catalogue.store import Store
from horus_async.recorder.edit.cut import cut_session
from horus_async.recorder.naming import CATALOGUE
from horus_async.recorder.read.listing import delete_session
from horus_async.recorder.read.session import Session
from tests.finding.folders import kill, record, templates

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("quiet")
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, quiet: None) -> dict[str, Callable[[Path], object]]:
    """Sessions to copy."""
    return templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as long past: tests change files within a moment, and see to it that their times differ."""
    monkeypatch.setattr(folders, "_JUST_NOW_NS", -1)


def told(root: Path, **options: Any) -> list[tuple[Any, ...]]:
    """What is known of all runs."""
    found = all_runs(root, root.parent / "boxes", **options)
    return [(run.name, run.state, run.facts, run.path) for run in found.runs]


def damage(folder: Path, at: int) -> None:
    """Turn a byte over."""
    files = sorted(folder.glob("*.lz4"))
    if not files:
        return
    path = files[at % len(files)]
    data = bytearray(path.read_bytes())
    if data:
        data[at % len(data)] ^= 0xFF
        path.unlink()
        path.write_bytes(data)


class World:
    """A folder of recordings, and what may be done to it."""

    def __init__(self, root: Path, made: dict[str, Callable[[Path], object]]) -> None:
        self.root, self.made = root, made

    def do(self, what: str, name: str, other: str, number: int) -> None:  # noqa: C901, PLR0912
        """One of these, if it is possible."""
        folder, target = self.root / name, self.root / other
        kinds = list(self.made)
        if what == "record" and not folder.exists():
            self.made[kinds[number % len(kinds)]](folder)
            keep_up(folder)
        elif what == "copy in" and not folder.exists():
            self.made[kinds[number % len(kinds)]](folder)
        elif what == "in a set" and not folder.exists():
            folder.mkdir()
            (folder / "set.json").write_text('{"schema_version":1,"started_at":"2026-01-01T00:00:00Z","programs":{}}')
            self.made[kinds[number % len(kinds)]](folder / "left")
            keep_up(folder / "left")
        elif not (folder / "session.json").exists():
            self.do_to_catalogue(what, number)
        elif what == "kill":
            kill(folder)
        elif what == "delete":
            delete_session(name, self.root)
        elif what == "rename" and not target.exists():
            folder.rename(target)
        elif what == "copy" and not target.exists():
            shutil.copytree(folder, target, copy_function=shutil.copy2)
        elif what == "damage":
            damage(folder, number)
        elif what == "prune":
            for path in sorted(folder.iterdir())[: number % 3]:
                path.unlink()
        elif what == "cut" and not target.exists():
            try:
                cut_session(Session(folder), other, start=2, stop=5, root=self.root)
            except Exception:  # noqa: BLE001 - of what is damaged
                shutil.rmtree(target, ignore_errors=True)
        else:
            self.do_to_catalogue(what, number)

    def do_to_catalogue(self, what: str, number: int) -> None:
        """Delete it, damage it, cut it, or make another of it."""
        path = self.root / CATALOGUE
        if not path.exists():
            return
        data = bytearray(path.read_bytes())
        if what == "no catalogue":
            path.unlink()
        elif what == "damage the catalogue" and data:
            for at in range(number % 4096, len(data), 997):
                data[at] ^= number & 0xFF
            path.write_bytes(data)
        elif what == "cut the catalogue":
            path.write_bytes(data[: len(data) * (number % 7) // 7])
        elif what == "another version":
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA user_version = 99")
            connection.close()


WHAT = ["record", "record", "copy in", "in a set", "kill", "delete", "rename", "copy", "damage", "prune", "cut",
        "no catalogue", "damage the catalogue", "cut the catalogue", "another version"]  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(WHAT), st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 1 << 16)),
    max_size=12,
)


@settings(max_examples=60)
@given(steps=STEPS)
def test_it_says_what_the_sessions_say(
    steps: list[tuple[str, str, str, int]],
    made: dict[str, Callable[[Path], object]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """After each step of any history, with the catalogue as without."""
    root = tmp_path_factory.mktemp("world") / "recordings"
    root.mkdir()
    world = World(root, made)
    for step in steps:
        world.do(*step)
        assert told(root) == told(root, catalogue=False), step
    assert told(root) == told(root, catalogue=False)
    shutil.rmtree(root.parent)


def test_what_is_known_is_not_read_again(tmp_path: Path) -> None:
    """Only what has changed is."""
    for name in NAMES:
        record(tmp_path / "r", name)
    read: list[tuple[int, int]] = []
    told(tmp_path / "r", progress=lambda *done: read.append(done))
    assert len(read) == 3
    told(tmp_path / "r", progress=lambda *done: read.append(done))
    assert len(read) == 3
    record(tmp_path / "r", "d")  # which the recorder enters itself
    kill(tmp_path / "r" / "a")
    told(tmp_path / "r", progress=lambda *done: read.append(done))
    assert read[3:] == [(0, 1)]
    assert stat.S_IMODE((tmp_path / "r" / CATALOGUE).stat().st_mode) == 0o600


def test_what_changed_just_now_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change again within the same step of the clock."""
    monkeypatch.setattr(folders, "_JUST_NOW_NS", 1 << 62)
    record(tmp_path, "a")
    told(tmp_path)
    with open_store(tmp_path) as store:
        assert not store.read()


@pytest.mark.parametrize("what", ["late", "fails", "logs"])
def test_a_manifest_tells_what_the_lines_tell(what: str, tmp_path: Path) -> None:
    """As far as lines can: of errors and of the log."""
    folder = record(tmp_path, "a", what)
    ((_, _, closed, _),) = told(tmp_path)
    kill(folder)
    ((_, state, killed, _),) = told(tmp_path)
    assert state == "killed"
    of_lines = ("NodeError", "Log.")
    assert [row for row in closed.happenings if row.event.startswith(of_lines)] == [
        row for row in killed.happenings if row.event.startswith(of_lines)
    ]
    assert {row.event for row in closed.happenings} == {
        "late": {"DeadlineMiss"},
        "fails": {"NodeError", "FailurePolicy", "Fatal"},
        "logs": {"Log.WARNING"},
    }[what]
    assert all(row.first_tick == 3 for row in closed.happenings if row.event != "Fatal")


def test_a_part_does_not_say_what_happened_in_the_whole(tmp_path: Path) -> None:
    """Its lines are what it has."""
    record(tmp_path, "whole", "fails")
    cut_session(Session(tmp_path / "whole"), "part", start=0, stop=2, root=tmp_path)
    facts = {name: facts for name, _, facts, _ in told(tmp_path)}
    assert not [row for row in facts["part"].happenings if row.event == "NodeError"]


def test_a_catalogue_in_use_holds_up_nobody(tmp_path: Path) -> None:
    """A recording ends, and a search answers; it is said that it takes longer."""
    record(tmp_path, "a")
    told(tmp_path)
    other = sqlite3.connect(tmp_path / CATALOGUE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        record(tmp_path, "b")
        found = all_runs(tmp_path, tmp_path / "boxes")
    finally:
        other.close()
    assert [run.name for run in found.runs] == ["a", "b"]
    assert "locked" in found.notes[0]
    assert "takes longer" in found.notes[0]
    assert told(tmp_path) == told(tmp_path, catalogue=False)


@pytest.mark.parametrize("what", ["folder", "link", "open to others", "text", "fifo"])
def test_what_is_no_catalogue_of_ours(what: str, tmp_path: Path) -> None:
    """It is replaced where it is only damaged, and else left alone."""
    record(tmp_path, "a")
    path = tmp_path / CATALOGUE
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "text":
        path.write_text("not a database")
        path.chmod(0o600)
    elif what == "fifo":
        os.mkfifo(path)
    else:
        told(tmp_path)
        path.chmod(0o666)
    found = all_runs(tmp_path, tmp_path / "boxes")
    assert [run.name for run in found.runs] == ["a"]
    assert bool(found.notes) is (what != "text")
    assert not (tmp_path / "elsewhere").exists()
    record(tmp_path, "b")
    assert told(tmp_path) == told(tmp_path, catalogue=False)


def test_a_full_disk_costs_the_catalogue_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that cannot be written for any other reason."""
    record(tmp_path, "a")

    def full(self: Store, *_: object) -> None:
        self._give_up(sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(Store, "write", full)
    found = all_runs(tmp_path, tmp_path / "boxes")
    assert [run.name for run in found.runs] == ["a"]
    assert "disk is full" in found.notes[0]
    record(tmp_path, "b")


def test_several_at_once(tmp_path: Path) -> None:
    """Processes that search and record in one folder agree in the end, and none fails."""
    record(tmp_path, "a")
    told(tmp_path)
    program = (
        "import sys; from pathlib import Path; from tests.finding.folders import record; "
        "from horus_async.finding.runs import all_runs; root = Path(sys.argv[1])\n"
        "for n in range(5):\n"
        "    record(root, f'{sys.argv[2]}{n}'); found = all_runs(root, root / 'boxes'); assert not found.problems\n"
    )
    repository = Path(__file__).parents[2]
    running = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path, name], cwd=repository, stderr=subprocess.PIPE)
        for name in ("x", "y", "z")
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    assert len(told(tmp_path)) == 16
    assert told(tmp_path) == told(tmp_path, catalogue=False)
