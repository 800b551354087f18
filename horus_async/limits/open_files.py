"""How many files this process may have open: the limit is raised before it is reached, and named where it is.

``resource`` is imported here and at once: once no descriptor is left, Python cannot open the file of a module either.
For the same reason topics stop a few descriptors before the end, and a run holds some in reserve: if a node takes all
that are left, the recording can still be closed, and what is said of it imported.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from .memory import no_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Opened = TypeVar("_Opened")

SPARE = 256
"""Files that the rest of the program may need: with fewer left, the limit is raised."""
KEPT_BACK = 8
"""So many descriptors topics leave to others, however few there are."""
RESERVE = 3
"""So many descriptors are enough to import something, or to replace a file."""
_reserve: list[int] = []
_runs = itertools.count()
_holders: set[int] = set()
"""The runs that want it held."""


def open_file(path: str | Path, flags: int, *, folder: int | None = None) -> int:
    """``os.open`` with mode 0600 that raises the limit of open files before it is reached.

    Args:
        path: of the file.
        flags: as for ``os.open``.
        folder: a descriptor that the path is relative to.

    Raises:
        OSError: as ``os.open``; ``EMFILE`` already where the last few descriptors would be taken.
    """
    descriptor = with_room(partial(os.open, path, flags, 0o600, dir_fd=folder))
    if descriptor >= _soft_limit() - SPARE:
        _raise_limit()
    if descriptor >= _soft_limit() - KEPT_BACK:
        os.close(descriptor)
        if flags & os.O_EXCL:  # it was made just now
            os.unlink(path, dir_fd=folder)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
    return descriptor


def with_room(opening: Callable[[], _Opened], *, urgent: bool = False) -> _Opened:
    """Open something; if there are too many open files, raise the limit and try once more.

    Args:
        opening: opens it.
        urgent: whether it may have a descriptor of the reserve, which is given up then.
    """
    try:
        return opening()
    except OSError as error:
        if too_many_files(error) is None:
            raise
        if not (error.errno == errno.EMFILE and _raise_limit()) and not (urgent and give_up_reserve()):
            raise
        return opening()


def hold_reserve() -> Callable[[], None]:
    """Hold some descriptors in reserve, as far as there are any, until what this returns was called, or they are used.

    Runs that take place at the same time share them.
    """
    run = next(_runs)
    _holders.add(run)
    with suppress(OSError):
        while len(_reserve) < RESERVE:
            _reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def let_go() -> None:
        _holders.discard(run)
        if not _holders:
            give_up_reserve()

    return let_go


def give_up_reserve() -> bool:
    """Make the reserve free for whoever opens something next; returns whether there was one."""
    there_was = bool(_reserve)
    with suppress(IndexError):
        while True:
            os.close(_reserve.pop())
    return there_was


def expect_files(count: int = 0) -> int:
    """So many files are about to be opened, and ``SPARE`` by others: see that the limit allows it, if that can be.

    Returns:
        How many of them it does not allow.
    """
    try:
        descriptor = with_room(partial(os.open, os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return count
    os.close(descriptor)
    if descriptor + count >= _soft_limit() - SPARE:
        _raise_limit()
    return max(0, descriptor + count - _soft_limit())


def files_allowed(wanted: int) -> int:
    """How many files this process may have open; its limit is raised first if it is less than so many."""
    if _soft_limit() < wanted:
        _raise_limit()
    return _soft_limit()


def check_files_left(count: int) -> None:
    """See that this process may open so many more files; its limit is raised if it is too low.

    Raises:
        OSError: it may not.
    """
    descriptors: list[int] = []
    try:
        for _ in range(count):
            opening = partial(os.open, os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            descriptors.append(with_room(opening))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def too_many_files(error: OSError) -> str | None:
    """What to say of ``error``, with the limit and the way out; None if it is not for want of descriptors."""
    if error.errno == errno.EMFILE:
        return f"too many open files: {limit_and_way_out()}"
    if error.errno == errno.ENFILE:
        return (
            "too many open files: all processes of this machine together have as many as it allows (fs.file-max); "
            "end some, or raise that"
        )
    return None


def limit_and_way_out() -> str:
    """How many files this process may have open, and what to do where that is not enough."""
    return f"this process may have {_soft_limit()}; raise the limit (ulimit -n)"


def why(error: OSError) -> str:
    """What an error of the system says, with the way out where there are too many open files, or is no memory."""
    return too_many_files(error) or no_memory(error) or error.strerror or str(error)


def _raise_limit() -> bool:
    """Raise this process's limit of open files as far as allowed; returns whether that changed anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS has a limit below the hard one
        return False
    return True


def _soft_limit() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
