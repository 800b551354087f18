"""Recordings and black boxes are their owner's alone, and what is left half done is taken for nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async import Node, Scheduler
from horus_async.errors import ConfigurationError, SessionNameError
from horus_async.folders import make_private, open_to_everyone
from horus_async.recorder import delete_session, list_sessions, open_session, removal
from horus_async.recorder.edit import cut
from horus_async.recorder.exports.output import beside, writing
from horus_async.recorder.naming import check_session_name
from horus_async.recorder.origin import write_attachment
from horus_async.validators import is_node_name, is_shown
from tests.record_commands.sessions import call, robot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=[0o000, 0o077, 0o277, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A umask that leaves everything open, and some that close too much."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(root: Path) -> set[tuple[bool, int]]:
    """Whether it is a folder, and its mode, of all below a folder."""
    found = [path.lstat() for path in [root, *root.rglob("*")]]
    return {(stat.S_ISDIR(status.st_mode), stat.S_IMODE(status.st_mode)) for status in found}


@pytest.mark.usefixtures("umask")
def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """Sessions, boxes, attachments and the folders above them: 0700 and 0600."""
    root = tmp_path / "a" / "b" / "recordings"
    box = tmp_path / "c" / "d"
    node = Node("n", tick=lambda node: node.send("t", 1), pubs=["t"])
    scheduler = Scheduler(deterministic=True, recording="s", recordings_dir=root, blackbox_mb=1, blackbox_dir=box)
    scheduler.add(node).run_sync(duration=0.1)
    write_attachment(root / "s", [], "x", b"x")
    cut.cut_session(open_session("s", root), "part", root=root)
    for folder in (tmp_path / "a", tmp_path / "c"):
        assert modes(folder) == {(True, 0o700), (False, 0o600)}


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Only what is missing is made."""
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    there.chmod(0o755)
    make_private(there / "new")
    make_private(there / "new")
    assert stat.S_IMODE(there.stat().st_mode) == 0o755
    assert stat.S_IMODE((there / "new").stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        make_private(there / "new", anew=True)
    (there / "file").touch()
    with pytest.raises(FileExistsError):
        make_private(there / "file")


def test_a_folder_that_everyone_can_write_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start of a recording and of a box, in the list, by a check and with what is read."""
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(0o777)
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(root))
    node = Node("n", tick=lambda node: node.send("t", 1), pubs=["t"])
    Scheduler(deterministic=True, recording="s", blackbox_mb=1, blackbox_dir=root).add(node).run_sync(duration=0.1)
    told = f"{root} has mode 0777: every user can change what is in it"
    assert sum(told in record.message for record in caplog.records) == 2
    for command in (["list"], ["check", "s"], ["info", "s"]):
        result = call(*command)
        assert result.exit_code == 0
        assert told in result.stderr
    root.chmod(0o1777)  # as /tmp: nobody can exchange what is another's
    assert open_to_everyone(root) is None
    (root / "s").chmod(0o707)
    assert f"{root / 's'} has mode 0707" in call("info", "s").stderr


@pytest.mark.parametrize(
    "character",
    ["\u202e", "\u200b", "\u2066", "\ufeff", "\u00ad", "\x1b", "\u3164", "\u034f", "\u115f", "\u2028", "\ud800"],
)
def test_a_name_is_what_it_looks_like(character: str) -> None:
    """Characters that control, turn round or show nothing are in the name of no node, scheduler or session."""
    name = f"a{character}b"
    assert not is_shown(name)
    assert not is_node_name(name)
    with pytest.raises(ConfigurationError):
        Node(name, tick=lambda node: None)
    with pytest.raises(ConfigurationError, match="name="):
        Scheduler(name=name)
    with pytest.raises(SessionNameError):
        check_session_name(name)


@pytest.mark.parametrize("name", ["left arm", "Fuß", "关节", "é"])
def test_names_of_all_languages_remain(name: str) -> None:
    """What is seen may be in a name."""
    assert is_shown(name)
    assert is_node_name(name)


def test_a_kill_while_a_session_is_deleted_leaves_none(tmp_path: Path) -> None:
    """Wherever it comes, the session is there as a whole, or it is not there; the rest goes with the next deletion."""
    whole = robot(tmp_path / "copy", "s")
    count = len(list(whole.path.iterdir()))
    code = (
        "import os, sys; from horus_async.recorder import delete_session\n"
        "left = int(sys.argv[2])\n"
        "def hook(event, args):\n"
        "    global left\n"
        "    if event in ('os.remove', 'os.rmdir', 'os.rename'):\n"
        "        left -= 1\n"
        "        if left < 0: os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(hook); delete_session('s', sys.argv[1])"
    )
    for calls in range(count + 3):
        root = tmp_path / str(calls)
        robot(root, "s")
        killed = subprocess.run([sys.executable, "-c", code, root, str(calls)], check=False).returncode
        there = [summary.name for summary in list_sessions(root)]
        assert there == (["s"] if calls == 0 else [])
        if there:
            assert len(open_session("s", root).all_files()) == 3
        if not killed:
            break
        robot(root, "other")
        delete_session("other", root)
        assert [path.name for path in root.iterdir() if path.name != "s"] == []
    else:
        pytest.fail("it was never done")


def test_a_session_that_fails_goes_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that cannot be written is renamed before it is removed: a kill amid that leaves no session."""
    session = robot(tmp_path, "s")
    removed: list[str] = []
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: removed.append(path.name))
    monkeypatch.setattr(cut, "keep_origins", None)
    with pytest.raises(TypeError):
        cut.cut_session(session, "part", root=tmp_path)
    assert [name.startswith(removal.CONDEMNED) for name in removed] == [True]
    assert [summary.name for summary in list_sessions(tmp_path)] == ["s"]


def test_what_killed_exports_left_goes_with_the_next(tmp_path: Path) -> None:
    """Their unfinished files are removed; those of exports that are at work, and other files, stay."""
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    left = tmp_path / f".out.csv.{gone.pid}.0.part"
    others = [tmp_path / f".out.csv.{os.getppid()}.0.part", tmp_path / ".out.csv.x.part", tmp_path / ".out.part"]
    for path in (left, *others):
        path.touch()
    with writing(tmp_path / "out.csv") as stream:
        stream.write(b"x")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "out.csv"])


def test_a_planted_part_is_not_followed(tmp_path: Path) -> None:
    """A link with the name of an unfinished file is replaced by a file, and what it leads to stays as it was."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".out.csv.{os.getpid()}.0.part").symlink_to(victim)
    with beside(tmp_path / "out.csv") as part:
        assert not part.is_symlink()
        part.write_text("new")
    assert victim.read_text() == "precious"
    assert not part.exists()
