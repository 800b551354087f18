"""Removing what dead processes left behind in shared memory."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.limits.open_files import open_file
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import Word
from horus_async.topics.ring.names import path_component
from horus_async.topics.wake.doorbell import is_bell

from .rings import WORD, ring_file

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE_NS = NANOSECONDS
"""How long a closed ring stays where every listener has surely seen it, or is about to."""
UNSEEN_GRACE_NS = 5 * NANOSECONDS
"""The same where a listener may look only now and then."""

_CLOSED_AT = WORD.size * Word.CLOSED
_CLOSED_NS_AT = WORD.size * Word.CLOSED_NS


def reclaim(
    namespace: str, *, dry_run: bool = False, grace_ns: int = GRACE_NS, mine: str = "", spare: bool = False
) -> list[str]:
    """Remove what dead processes left in a namespace, and rings that were closed a while ago.

    Nothing that belongs to a live process is removed.

    Args:
        namespace: where to look.
        dry_run: only look.
        grace_ns: how long a ring must have been closed, in nanoseconds.
        mine: token of the process whose rings are left alone without a look at them.
        spare: only close the rings of dead processes for now: a listener may not have seen them yet.

    Returns:
        The names of the files that were removed, or would be.
    """
    try:
        folder = memory.open_namespace(namespace, make=False)
    except FileNotFoundError:
        return []
    try:
        removed = [
            name
            for name in os.listdir(folder)  # noqa: PTH208 - a descriptor, not a path
            if _reclaim_one(folder, name, grace_ns, mine, dry_run=dry_run, spare=spare)
        ]
    finally:
        os.close(folder)
    if removed and not dry_run:
        memory.remove_empty_folders(memory.root() / path_component(namespace))
    return removed


def _check_kind(descriptor: int, is_kind: Callable[[int], bool]) -> None:
    status = os.fstat(descriptor)
    if not is_kind(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "not a ring or a doorbell of ours, whatever it is called")


def _reclaim_one(folder: int, name: str, grace_ns: int, mine: str, *, dry_run: bool, spare: bool) -> bool:
    """Remove one ring or doorbell if nobody needs it; returns whether it was removed, or would be."""
    ring = ring_file(name)
    if (ring is None and not is_bell(name)) or (ring is not None and ring.token == mine):
        return False
    try:
        descriptor = open_file(name, memory.EXISTING_FLAGS, folder=folder)
    except OSError:  # gone meanwhile, or not ours to touch
        return False
    try:
        _check_kind(descriptor, stat.S_ISFIFO if ring is None else stat.S_ISREG)
        closed = b"" if ring is None else os.pread(descriptor, WORD.size, _CLOSED_AT)
        if any(closed):
            closed_ns = WORD.unpack(os.pread(descriptor, WORD.size, _CLOSED_NS_AT).ljust(WORD.size, b"\0"))[0]
            if 0 <= monotonic_ns() - closed_ns < grace_ns:
                return False
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free: its process is dead
            if not dry_run and len(closed) == WORD.size:
                os.pwrite(descriptor, WORD.pack(monotonic_ns()), _CLOSED_NS_AT)
                os.pwrite(descriptor, WORD.pack(1), _CLOSED_AT)
                if spare:
                    return False
        if not dry_run:
            os.unlink(name, dir_fd=folder)
    except OSError:  # locked; or it is something else, or gone, or cannot be removed
        return False
    finally:
        os.close(descriptor)
    return True
