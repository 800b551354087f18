"""Shared memory as files: folders, files, who owns them, and mapping them.

On Linux they lie under ``/dev/shm/horus-<uid>/<namespace>/``, elsewhere under the user's temporary folder. Folders are
0700 and files 0600. Nothing that belongs to somebody else is used, and no symbolic link is followed.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import mmap
import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from horus_async.errors import TopicError, TopicPermissionError
from horus_async.topics.names import path_component

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_A_PLAIN_FOLDER = (errno.ELOOP, errno.ENOTDIR)


def root() -> Path:
    """The folder of all of this user's rings. It need not exist yet."""
    shm = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
    parent = shm if sys.platform == "linux" and shm.is_dir() else Path(tempfile.gettempdir())
    return parent / f"horus-{os.geteuid()}"


class SharedFile:
    """A file that this process made, mapped for reading and writing, and locked as long as it lives."""

    __slots__ = ("map", "path")

    def __init__(self, namespace: str, name: str, size: int) -> None:
        """Make ``name`` of ``size`` bytes, all zero, in the folder of ``namespace``.

        Raises:
            TopicPermissionError: the folder is not ours, or is a symbolic link.
            TopicError: there is no room for it.
        """
        base = root()
        self.path = base / path_component(namespace) / name
        _left.add(self.path)  # before the file is there, so that not even Ctrl-C leaves one behind
        descriptor = _create(base, namespace, name)
        try:
            os.fchmod(descriptor, 0o600)
            _allocate(descriptor, size, self.path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The mapping keeps a duplicate of the descriptor, and with it the lock, until it is closed.
            self.map = mmap.mmap(descriptor, size)
        except BaseException:
            self.unlink()
            raise
        finally:
            os.close(descriptor)

    def unlink(self) -> None:
        """Remove the name and any folder that is empty then. The memory lives on as long as somebody has it mapped."""
        _remove(self.path)


_left: set[Path] = set()
"""Files that this process made and has not removed."""


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _left.discard(path)
    with suppress(OSError):  # not empty: other rings are in it
        path.parent.rmdir()
        path.parent.parent.rmdir()


def _remove_all() -> None:
    for path in list(_left):
        _remove(path)


atexit.register(_remove_all)
os.register_at_fork(after_in_child=_left.clear)


def _create(base: Path, namespace: str, name: str) -> int:
    for _ in range(100):
        with suppress(FileNotFoundError):  # another process removed the folder, empty, just now
            outer = _open_folder(base)
            try:
                inner = _open_folder(base / path_component(namespace), outer)
            finally:
                os.close(outer)
            try:
                return os.open(name, _CREATE_FLAGS, 0o600, dir_fd=inner)
            finally:
                os.close(inner)
    raise TopicError(f"cannot make {base / path_component(namespace) / name}: its folder is removed again and again")


def _open_folder(path: Path, parent: int | None = None) -> int:
    name = path if parent is None else path.name
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    try:
        descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except OSError as error:
        if error.errno not in _NOT_A_PLAIN_FOLDER:
            raise
        raise TopicPermissionError(f"{path} is a symbolic link or a file, not a folder; remove it") from error
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise TopicPermissionError(f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()}; remove it")
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(descriptor, 0o700)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _allocate(descriptor: int, size: int, path: Path) -> None:
    """Give the file its memory now: on a full disk a sparse file would end the process later, by SIGBUS."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            block = bytes(1 << 20)
            for offset in range(0, size, len(block)):
                os.pwrite(descriptor, block[: size - offset], offset)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        raise TopicError(
            f"no room for {size} bytes of shared memory in {path.parent}: {error.strerror}; "
            "close topics, give them a smaller capacity=, or enlarge the file system"
        ) from error
