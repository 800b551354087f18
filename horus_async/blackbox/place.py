"""Where a box is: creating its file, keeping those of earlier runs beside it, and keeping other processes out."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
from contextlib import ExitStack, suppress
from glob import escape
from typing import TYPE_CHECKING

from horus_async.errors import BlackBoxError, ConfigurationError
from horus_async.folders import NoHomeError, expanded, make_private, open_to_everyone, user_folder
from horus_async.limits.open_files import why

from . import layout
from .reader import open_blackbox

if TYPE_CHECKING:
    from pathlib import Path

    from .reader import BlackBoxReader

CAN_BE_IN_MEMORY = hasattr(os, "memfd_create")
WAY_OUT = "set HORUS_BLACKBOX_DIR or blackbox_dir= to a folder of yours, or use --no-blackbox or blackbox_mb=0"
"""What can be done where the usual folder does not do."""

_log = logging.getLogger("horus_async.blackbox")
_UNUSABLE = re.compile(r"[/\x00-\x1f\x7f]|^\.|~\d+$")
_LONGEST_NAME = 200
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def default_blackbox_dir() -> Path:
    """Where boxes go by default: ``HORUS_BLACKBOX_DIR``, else ``horus/blackbox`` in the user's state folder.

    Raises:
        BlackBoxError: there is no home folder.
    """
    return blackbox_dir(os.environ.get("HORUS_BLACKBOX_DIR") or None)


def blackbox_dir(chosen: str | os.PathLike[str] | None) -> Path:
    """The folder that somebody chose, with ``~`` expanded, else the default one.

    Raises:
        BlackBoxError: as `default_blackbox_dir`.
    """
    try:
        if chosen is not None:
            return expanded(chosen)
        return default_blackbox_dir() if os.environ.get("HORUS_BLACKBOX_DIR") else user_folder("state") / "blackbox"
    except NoHomeError as error:
        raise no_place(f"there is no place for black boxes: {error}") from None


def place_box(folder: Path, header: layout.FileHeader, keep: int) -> tuple[int, Path]:
    """Create the file of a new box, locked and allocated, and move the earlier ones aside.

    The new file gets its name last, so that a full disk or a crash on the way leaves everything as it was.

    Returns:
        The descriptor, which holds the lock, and the path.

    Raises:
        ConfigurationError: no file can have this name.
        BlackBoxError: it cannot be created, or another process is using the box.
    """
    name = header.name
    encoded = header.to_bytes()
    if not name or _UNUSABLE.search(name) or len(os.fsencode(name)) > _LONGEST_NAME:
        raise ConfigurationError(
            f"{name!r} cannot name a black box: 1 to {_LONGEST_NAME} bytes, no '/' or control character, "
            "no leading '.', no '~' and digits at the end"
        )
    if len(encoded) > layout.HEADER_ROOM:
        raise ConfigurationError(f"the run id {header.run[:40]!r}... is too long for the header of a black box")
    path = folder / f"{name}.hbb"
    fresh = folder / f".{name}.hbb.new"
    try:
        make_private(folder)
        if problem := open_to_everyone(folder):
            _log.warning("black boxes: %s", problem)
        with ExitStack() as stack:
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, directory)
            fcntl.flock(directory, fcntl.LOCK_EX)
            _refuse_if_used(path, stack)
            fd = _make(fresh, encoded, header.size)
            try:
                _move_aside(folder, name, keep)
                fresh.rename(path)
                os.fsync(directory)
            except BaseException:
                os.close(fd)
                raise
    except OSError as error:
        if error.errno in _FULL:
            need = f"{why(error)} (it needs {header.size // 2**20} MiB)"
            full = BlackBoxError(
                f"the black box {path} cannot be made: {need}; make room, or use a smaller blackbox_mb"
            )
            full.no_place = True
            raise full from None
        raise no_place(f"the black box {path} cannot be made: {why(error)}") from None
    return fd, path


def box_in_memory(header: layout.FileHeader) -> int:
    """A descriptor of a file in memory that holds an empty box.

    Raises:
        OSError: there is no memory for it.
    """
    fd = os.memfd_create(header.name[:200], os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(fd, 0, header.size)
        for offset in layout.HEADER_COPIES:
            os.pwrite(fd, header.to_bytes(), offset)
    except BaseException:
        os.close(fd)
        raise
    return fd


def previous_box(folder: Path, name: str, number: int) -> Path:
    """The path of the box of an earlier run; 1 is the previous one."""
    return folder / f"{name}~{number}.hbb"


def find_box(path: Path, header: layout.FileHeader) -> BlackBoxReader:
    """Open the box with this header, which has another name once later runs have moved it aside.

    Raises:
        BlackBoxError: it is gone.
    """
    for candidate in (path, *sorted(path.parent.glob(f"{escape(header.name)}~*.hbb"))):
        with suppress(BlackBoxError):
            reader = open_blackbox(candidate)
            if reader.header == header:
                return reader
            reader.close()
    raise BlackBoxError(f"the black box of run {header.run} is no longer in {path.parent}")


def _refuse_if_used(path: Path, stack: ExitStack) -> None:
    """Raise if a live process holds the box; otherwise hold it until the new one has taken its place."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BlackBoxError(f"{path} is a symbolic link; a black box must be a file of its own") from None
        raise
    stack.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = ""
        with suppress(ValueError):
            owner = f" (process {layout.read_file_header(os.pread(fd, layout.PAGE, 0))[0].pid})"
        taken = BlackBoxError(
            f"the black box {path} is in use by another run{owner}; give this scheduler another name or "
            "blackbox_dir, or run it without a box"
        )
        taken.in_use = True
        raise taken from None


def _make(fresh: Path, encoded: bytes, size: int) -> int:
    with suppress(FileNotFoundError):
        fresh.unlink()  # left by a crash between creating and naming
    fd = os.open(fresh, _NEW, 0o600)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _allocate(fd, size)
        for offset in layout.HEADER_COPIES:
            os.pwrite(fd, encoded, offset)
        os.fsync(fd)
    except BaseException:
        os.close(fd)
        fresh.unlink()
        raise
    return fd


def _allocate(fd: int, size: int) -> None:
    """Give the file its size and all its blocks now: a store into a hole on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    chunk = bytes(2**20)
    for offset in range(0, size, len(chunk)):
        os.pwrite(fd, chunk, offset)


def _move_aside(folder: Path, name: str, keep: int) -> None:
    """``name.hbb`` becomes ``name~1.hbb``, that ``name~2.hbb``, ...; the oldest beyond ``keep`` is overwritten."""
    boxes = [folder / f"{name}.hbb", *(previous_box(folder, name, number) for number in range(1, keep + 1))]
    # A crash in here leaves a gap in the numbers; boxes older than the gap need not move.
    gap = next((number for number, box in enumerate(boxes) if not os.path.lexists(box)), keep)
    for number in range(gap, 0, -1):
        boxes[number - 1].rename(boxes[number])


def no_place(what: str) -> BlackBoxError:
    """The error for a box that cannot be made, with the ways out."""
    error = BlackBoxError(f"{what}; {WAY_OUT}")
    error.no_place = True
    return error
