"""Shared memory as files: the folders and files, their owner, and mapping them.

On Linux they are under ``/dev/shm/horus-<uid>/<namespace>/``, elsewhere under the user's temporary folder. Folders
have mode 0700 and files 0600. Nothing that belongs to another user is used, and no symbolic link is followed.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import mmap
import os
import stat
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from horus_async.errors import TopicError, TopicPermissionError
from horus_async.limits.memory import out_of_memory
from horus_async.limits.open_files import check_files_left, open_file, too_many_files, with_room

from .guard import guard
from .layout import DATA_AT_LIMIT, RING_LIMIT
from .names import path_component

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
EXISTING_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""For files that another process made."""
_NOT_A_PLAIN_FOLDER = (errno.ELOOP, errno.ENOTDIR)
_LARGEST = DATA_AT_LIMIT + RING_LIMIT
"""Bytes of the largest file of a ring."""

_LOCK_TRIES, _LOCK_PAUSE_NS = 200, 1_000_000
"""How often a new file is tried to be locked, and the pause in between."""

STEP, SMALL = 4, 1 << 16
"""The factor by which the part of a file that has memory grows, once that part has ``SMALL`` bytes."""


def root() -> Path:
    """The folder of all of this user's rings. It need not exist yet."""
    shm = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
    if sys.platform == "linux" and shm.is_dir():
        return shm / f"horus-{os.geteuid()}"
    import tempfile

    return Path(tempfile.gettempdir()) / f"horus-{os.geteuid()}"


class SharedFile:
    """A file that this process made, mapped for reading and writing, and locked as long as it is mapped."""

    __slots__ = ("_file", "backed", "guarded", "map", "path", "size")

    def __init__(self, namespace: str, name: str, size: int, *, at_first: int | None = None) -> None:
        """Make ``name`` of ``size`` bytes, all zero, in the folder of ``namespace``.

        Args:
            namespace: of the topic.
            name: of the file.
            size: bytes to map.
            at_first: how many bytes get memory now, the others when ``back`` asks for them; default all.

        Raises:
            TopicPermissionError: the folder is not ours, or is a symbolic link.
            TopicError: there is no room for it.
        """
        base = root()
        self.path = base / path_component(namespace) / name
        self.size = size
        self.backed = size if at_first is None else min(at_first, size)
        _left.add(self.path)  # before the file is there, so that not even Ctrl-C leaves one behind
        descriptor = _create_locked(base, namespace, name)
        try:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, size)
            _allocate(descriptor, 0, self.backed, self.path)
            # The mapping keeps a duplicate of the descriptor, and with it the lock, until it is closed.
            self.map = _map(descriptor, size)
            self.guarded = guard(self.map, name, own=True)
            self._file = _identity(os.fstat(descriptor))
        except OSError as error:
            self.unlink()
            raise no_room(size, self.path, error) from error
        except BaseException:
            self.unlink()
            raise
        finally:
            os.close(descriptor)

    def back(self, size: int) -> int:
        """Give the first ``size`` bytes, or some more, their memory; returns how many have it now.

        Raises:
            FileRemovedError: somebody removed the file, or put another one in its place.
            TopicError: there is no room. Bytes that have memory keep it.
        """
        if size > self.backed:
            try:
                descriptor = open_file(self.path, EXISTING_FLAGS)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EISDIR, *_NOT_A_PLAIN_FOLDER):
                    raise FileRemovedError(self.path) from None
                raise no_room(size, self.path, error) from error
            try:
                if _identity(os.fstat(descriptor)) != self._file:
                    raise FileRemovedError(self.path)
                _allocate(descriptor, self.backed, size - self.backed, self.path)
                self.backed = size
                with suppress(TopicError):  # some more, so that this is needed rarely; it may fail
                    more = min(STEP * size if size >= SMALL else size, self.size)
                    _allocate(descriptor, size, more - size, self.path)
                    self.backed = more
            finally:
                os.close(descriptor)
        return self.backed

    def leave(self) -> None:
        """Leave the file to listeners that may not have seen it yet; they remove it."""
        _left.discard(self.path)

    def unlink(self) -> None:
        """Remove the name, and folders that become empty. The memory lives as long as it is mapped anywhere."""
        _remove(self.path)


class FileRemovedError(TopicError):
    """Somebody removed a file of ours."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"somebody removed {path}; close the topic and open it again")
        self.path = path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


_left: set[Path] = set()
"""Files that this process made and has not removed."""


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):  # not ours any more
        path.unlink()
    _left.discard(path)
    remove_empty_folders(path.parent)


def remove_empty_folders(folder: Path) -> None:
    """Remove the folder of a namespace if it is empty, and then likewise the folder of all namespaces."""
    with suppress(OSError):  # not empty: other rings are in it
        folder.rmdir()
        folder.parent.rmdir()


def _remove_all() -> None:
    for path in list(_left):
        _remove(path)


atexit.register(_remove_all)
os.register_at_fork(after_in_child=_left.clear)


def _create_locked(base: Path, namespace: str, name: str) -> int:
    """Make a file and lock it. In between, another process may take it for a dead process's file and remove it."""
    while True:
        descriptor = _create(base, namespace, name)
        try:
            _lock(descriptor, base / path_component(namespace) / name)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    """Lock a new file. A process that tests whether it is free holds the lock only briefly; others we do not await."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sleep_until_monotonic(monotonic_ns() + _LOCK_PAUSE_NS)
        else:
            return
    with suppress(OSError):
        path.unlink()
    raise TopicError(f"another process keeps {path} locked, which this one has just made; is it one of ours?")


def _create(base: Path, namespace: str, name: str) -> int:
    for _ in range(100):
        with suppress(FileNotFoundError):  # another process removed the folder, empty, just now
            inner = open_namespace(namespace, make=True)
            try:
                return open_file(name, _CREATE_FLAGS, folder=inner)
            except OSError as error:
                if isinstance(error, (FileExistsError, FileNotFoundError)):
                    raise
                raise no_room(0, base / path_component(namespace) / name, error) from error
            finally:
                os.close(inner)
    raise TopicError(f"cannot make {base / path_component(namespace) / name}: its folder keeps being removed")


def open_namespace(namespace: str, *, make: bool) -> int:
    """A descriptor of the folder of a namespace, checked to be private and ours.

    Raises:
        FileNotFoundError: there is none, or it was removed just now.
        TopicPermissionError: it is not ours, or is a symbolic link.
    """
    base = root()
    outer = _open_folder(base, make=make)
    try:
        return _open_folder(base / path_component(namespace), outer, make=make)
    finally:
        os.close(outer)


def is_locked(descriptor: int) -> bool:
    """Whether the process that made a file lives; closes the file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def map_existing(folder: int, name: str) -> mmap.mmap | None:
    """Map another process's file; None if it is gone, not ours, not a plain file, or not finished yet."""
    try:
        descriptor = open_file(name, EXISTING_FLAGS, folder=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, *_NOT_A_PLAIN_FOLDER):
            return None
        if too_many_files(error):
            raise no_room(0, Path(name), error) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or not status.st_size:
            return None
        if status.st_size > _LARGEST:
            raise TopicError(f"a ring is damaged: no ring has {status.st_size} bytes")
        memory = _map(descriptor, status.st_size)
        guard(memory, name)
        return memory
    finally:
        os.close(descriptor)


def check_room(count: int = 32) -> None:
    """See that this process may open so many more files, as a replay does.

    Raises:
        TopicError: it may not.
    """
    try:
        check_files_left(count)
    except OSError as error:
        raise no_room(0, Path(os.devnull), error) from error


def _map(descriptor: int, size: int) -> mmap.mmap:
    return with_room(partial(mmap.mmap, descriptor, size))


def _make_folder(path: Path, parent: int | None) -> None:
    try:
        os.mkdir(path if parent is None else path.name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    except OSError as error:
        if parent is not None and error.errno == errno.ENOENT:  # the outer one was removed just now
            raise
        raise no_room(0, path, error) from error


def _open_folder(path: Path, parent: int | None = None, *, make: bool) -> int:
    name = path if parent is None else path.name
    if make:
        _make_folder(path, parent)
    try:
        descriptor = open_file(name, _FOLDER_FLAGS, folder=parent)
    except OSError as error:
        if error.errno in _NOT_A_PLAIN_FOLDER:
            raise TopicPermissionError(f"{path} is a symbolic link or a file, not a folder; remove it") from error
        if (make and error.errno != errno.ENOENT) or too_many_files(error):
            raise no_room(0, path, error) from error
        raise
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


def _allocate(descriptor: int, offset: int, size: int, path: Path) -> None:
    """Give a part of the file its memory now: on a full disk, a sparse file would kill the process later by SIGBUS."""
    if size <= 0:
        return
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, offset, size)
        else:
            block = bytes(1 << 20)
            for at in range(offset, offset + size, len(block)):
                os.pwrite(descriptor, block[: offset + size - at], at)
    except OSError as error:
        raise no_room(size, path, error) from error


def no_room(size: int, path: Path, error: OSError) -> TopicError:
    """The error to raise for ``error``, which occurred when ``path`` was to get ``size`` bytes."""
    if too_many := too_many_files(error):
        return TopicError(f"{too_many}, or use fewer topics, of which each takes one (replay: --topic, --exclude)")
    if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.ENOMEM):
        from horus_async.hints.installed import command  # late: no run needs it

        return TopicError(
            f"cannot make {path} for topics: {error.strerror}; they need a folder in shared memory that this user may "
            f"write ({command('doctor')} says more)"
        )
    if error.errno == errno.ENOMEM:
        return TopicError(f"cannot map {size} bytes for topics: {out_of_memory()}, or give them a smaller capacity=")
    return TopicError(
        f"no room for {size} bytes of shared memory in {path.parent}: {error.strerror}; "
        "close topics, give them a smaller capacity=, or enlarge the file system"
    )
