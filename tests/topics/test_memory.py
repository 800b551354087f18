"""Files in shared memory: who may use them, and what is left of them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

import pytest

from horus_async.errors import TopicError, TopicPermissionError
from horus_async.topics import Topic
from horus_async.topics.ring import memory
from horus_async.topics.ring.memory import SharedFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of this test's own."""
    folder = tmp_path / "horus"
    monkeypatch.setattr(memory, "root", lambda: folder)
    return folder


def test_folders_and_files_are_private(root: Path) -> None:
    """Folders are 0700 and files 0600, whatever the umask, and all of ours."""
    before = os.umask(0)
    try:
        file = SharedFile("n", "ring", 4096)
    finally:
        os.umask(before)

    for path, mode in ((root, 0o700), (root / "n", 0o700), (file.path, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert path.stat().st_uid == os.geteuid()
    file.unlink()


def test_a_strict_umask_does_not_lock_us_out(root: Path) -> None:
    """With a umask that takes everything away the files still work."""
    before = os.umask(0o777)
    try:
        file = SharedFile("n", "ring", 4096)
    finally:
        os.umask(before)

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.unlink()


def test_nothing_is_left(root: Path) -> None:
    """The last file takes the folders with it, and an earlier one does not."""
    one, other = SharedFile("n", "one", 4096), SharedFile("n", "other", 4096)
    one.unlink()
    assert other.path.exists()

    other.unlink()

    assert not root.exists()


@pytest.mark.parametrize("level", ["root", "namespace"])
def test_a_symbolic_link_is_refused(level: str, root: Path, tmp_path: Path) -> None:
    """A symbolic link in the place of one of our folders is an error, and nothing is made behind it."""
    target = tmp_path / "target"
    target.mkdir()
    link = root
    if level == "namespace":
        root.mkdir(mode=0o700)
        link = root / "n"
    link.symlink_to(target)

    with pytest.raises(TopicPermissionError, match=f"{link} is a symbolic link"):
        SharedFile("n", "ring", 4096)
    assert list(target.iterdir()) == []


def test_a_symbolic_link_in_place_of_the_file_is_not_followed(root: Path, tmp_path: Path) -> None:
    """A name that is taken, be it by a link, is never opened."""
    target = tmp_path / "victim"
    target.write_bytes(b"precious")
    SharedFile("n", "x", 4096).unlink()
    (root / "n").mkdir(parents=True, mode=0o700)
    (root / "n" / "ring").symlink_to(target)

    with pytest.raises(FileExistsError):
        SharedFile("n", "ring", 4096)
    assert target.read_bytes() == b"precious"


def test_a_foreign_owner_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that belongs to somebody else is an error that names it and both users."""
    root.mkdir(mode=0o700)
    owner = root.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(TopicPermissionError, match=f"{root} belongs to user"):
        SharedFile("n", "ring", 4096)


def test_full_shared_memory_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room the error says how much was wanted and where; no file is left."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)

    with Topic("t") as topic, pytest.raises(TopicError, match=r"no room for \d+ bytes of shared memory in .*capacity="):
        topic.send(1)
    assert list(root.rglob("ring*")) == []
    assert list(root.rglob("t@*")) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system has no posix_fallocate")
def test_memory_is_allocated_at_once() -> None:
    """No page of a ring is left to be found missing later."""
    file = SharedFile("n", "ring", 1 << 20)

    assert file.path.stat().st_blocks * 512 >= 1 << 20
    file.unlink()


def test_the_lock_lasts_as_long_as_the_mapping(root: Path) -> None:
    """Somebody else cannot lock the file while it is mapped, and can afterwards."""
    file = SharedFile("n", "ring", 4096)
    other = os.open(file.path, os.O_RDWR)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.map.close()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)
    file.unlink()


def test_a_folder_that_vanishes_in_between(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that removes the empty folder at the wrong moment does no harm."""
    open_file = os.open
    removed: list[str] = []

    def unlucky(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "ring" and not removed:
            removed.append(path)
            (root / "n").rmdir()
        return open_file(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", unlucky)
    file = SharedFile("n", "ring", 4096)

    assert removed
    assert file.path.exists()
    file.unlink()


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o710, 0o000])
@pytest.mark.parametrize("outer", [True, False])
def test_a_folder_that_was_too_open_is_closed_to_others(root: Path, mode: int, outer: bool) -> None:
    """Whoever made it so: before anything is put into it."""
    (root / "n").mkdir(parents=True, mode=0o700)
    (root if outer else root / "n").chmod(mode)
    if os.geteuid() != 0 and not mode & 0o500:
        pytest.skip("only root can open it at all")
    SharedFile("n", "ring", 4096).unlink()
    os.close(memory.open_namespace("n", make=True))
    (root if outer else root / "n").chmod(mode)
    os.close(memory.open_namespace("n", make=False))
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IMODE((root / "n").stat().st_mode) == 0o700
