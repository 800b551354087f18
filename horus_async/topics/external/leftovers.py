"""Removing what dead processes left behind in shared memory."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import field, frozen

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.limits.open_files import open_file
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import Word
from horus_async.topics.ring.names import path_component
from horus_async.topics.wake.doorbell import is_bell

from .rings import WORD, open_region, ring_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from horus_async.topics.ring.region import Region

GRACE_NS = NANOSECONDS
"""How long a closed ring stays where every listener has surely seen it, or is about to."""
UNSEEN_GRACE_NS = 5 * NANOSECONDS
"""The same where a listener may look only now and then."""

_CLOSED_AT = WORD.size * Word.CLOSED
_CLOSED_NS_AT = WORD.size * Word.CLOSED_NS
_KEEP_AT = WORD.size * Word.KEEP


def reclaim(
    namespace: str,
    *,
    dry_run: bool = False,
    grace_ns: int = GRACE_NS,
    mine: str = "",
    spare: bool = False,
    kept: bool = False,
) -> list[str]:
    """Remove what dead processes left in a namespace, and rings that were closed a while ago.

    Nothing that belongs to a live process is removed, nor what is kept for late readers.

    Args:
        namespace: where to look.
        dry_run: only look.
        grace_ns: how long a ring must have been closed, in nanoseconds.
        mine: token of the process whose rings are left alone without a look at them.
        spare: only close the rings of dead processes for now: a listener may not have seen them yet.
        kept: remove also what processes that have ended kept for late readers.

    Returns:
        The names of the files that were removed, or would be.
    """
    try:
        folder = memory.open_namespace(namespace, make=False)
    except FileNotFoundError:
        return []
    try:
        reclaiming = _Reclaiming(folder, grace_ns, dry_run=dry_run, spare=spare, kept=kept)
        removed = [name for name in _names(folder) if not _is_of(name, mine) and reclaiming.remove(name)]
    finally:
        os.close(folder)
    if removed and not dry_run:
        memory.remove_empty_folders(memory.root() / path_component(namespace))
    return removed


def _names(folder: int) -> list[str]:
    """What is in a folder that is a ring's or a doorbell's by its name."""
    return [name for name in os.listdir(folder) if is_bell(name) or ring_file(name) is not None]


def _is_of(name: str, token: str) -> bool:
    ring = ring_file(name)
    return ring is not None and ring.token == token


def _check_kind(descriptor: int, is_kind: Callable[[int], bool]) -> None:
    status = os.fstat(descriptor)
    if not is_kind(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "not a ring or a doorbell of ours, whatever it is called")


@frozen
class _Reclaiming:
    """Removes rings and doorbells from a folder that nobody needs; see ``reclaim``."""

    folder: int
    grace_ns: int
    dry_run: bool = field(kw_only=True)
    spare: bool = field(kw_only=True)
    kept: bool = field(kw_only=True)

    def remove(self, name: str) -> bool:
        """Remove one ring or doorbell if nobody needs it; returns whether it was removed, or would be."""
        try:
            descriptor = open_file(name, memory.EXISTING_FLAGS, folder=self.folder)
        except OSError:  # gone meanwhile, or not ours to touch
            return False
        try:
            if not self._may_go(descriptor, is_ring=not is_bell(name)):
                return False
            if not self.dry_run:
                os.unlink(name, dir_fd=self.folder)
        except OSError:  # locked; or it is something else, or gone, or cannot be removed
            return False
        finally:
            os.close(descriptor)
        return True

    def _may_go(self, descriptor: int, *, is_ring: bool) -> bool:
        """Whether a file may be removed; closes the ring of a dead process.

        Raises:
            OSError: it is locked, or something else.
        """
        _check_kind(descriptor, stat.S_ISREG if is_ring else stat.S_ISFIFO)
        closed = os.pread(descriptor, WORD.size, _CLOSED_AT) if is_ring else b""
        keeps = is_ring and any(os.pread(descriptor, WORD.size, _KEEP_AT))
        if any(closed) and not keeps:
            closed_ns = WORD.unpack(os.pread(descriptor, WORD.size, _CLOSED_NS_AT).ljust(WORD.size, b"\0"))[0]
            return not 0 <= monotonic_ns() - closed_ns < self.grace_ns
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free: its process is dead
        if any(closed):
            return self.kept
        if not self.dry_run and len(closed) == WORD.size:
            os.pwrite(descriptor, WORD.pack(monotonic_ns()), _CLOSED_NS_AT)
            os.pwrite(descriptor, WORD.pack(1), _CLOSED_AT)
            if self.spare:
                return False
        return self.kept or not keeps


def end_life(namespace: str, *, mine: Collection[str] = ()) -> bool:
    """See whether no process takes part in a namespace any more, and then remove what was kept in it for late readers.

    A process takes part while it listens, publishes, or keeps something there: then it has locked a file.

    Args:
        namespace: where to look.
        mine: files that do not count, and stay.

    Returns:
        Whether nobody takes part.
    """
    try:
        folder = memory.open_namespace(namespace, make=False)
    except FileNotFoundError:
        return True
    try:
        names = [name for name in _names(folder) if name not in mine]
        if any(_is_locked(folder, name) for name in names):
            return False
        reclaiming = _Reclaiming(folder, 0, dry_run=False, spare=False, kept=True)
        for name in names:
            if not is_bell(name) and _keeps(folder, name):
                reclaiming.remove(name)
    finally:
        os.close(folder)
    return True


def keep_no_longer(namespace: str, topic: str, is_meant: Callable[[str], bool]) -> None:
    """Let late readers not begin with what publishers that have ended kept of a topic; who reads it already goes on.

    Args:
        namespace: where to look.
        topic: its name.
        is_meant: of a publisher's name, whether it is such a one.
    """
    try:
        folder = memory.open_namespace(namespace, make=False)
    except FileNotFoundError:
        return
    try:
        component = path_component(topic)
        of_topic = [file for file in map(ring_file, _names(folder)) if file is not None and file.component == component]
        for first in (file for file in of_topic if file.generation == 0):
            region = open_region(namespace, first.name)
            if region is None or not region.words[Word.KEEP]:
                continue
            if not region.words[Word.CLOSED] and _is_locked(folder, first.name):
                continue
            with suppress(LookupError):
                if is_meant(region.publisher(0)):
                    for file in of_topic:
                        if file.ring == first.ring and (generation := open_region(namespace, file.name)) is not None:
                            _close(generation)
    finally:
        os.close(folder)


def _close(region: Region) -> None:
    """Have a generation be like any of a ring that has ended just now."""
    words = region.words
    words[Word.CLOSED_NS] = monotonic_ns()
    words[Word.CLOSED] = words[Word.CLOSED] or 1
    words[Word.KEEP] = 0


def _keeps(folder: int, name: str) -> bool:
    """Whether a ring keeps messages for late readers."""
    try:
        descriptor = open_file(name, memory.EXISTING_FLAGS, folder=folder)
    except OSError:
        return False
    try:
        return any(os.pread(descriptor, WORD.size, _KEEP_AT))
    except OSError:  # it is something else
        return False
    finally:
        os.close(descriptor)


def _is_locked(folder: int, name: str) -> bool:
    """Whether the process that made a file lives."""
    try:
        descriptor = open_file(name, memory.EXISTING_FLAGS, folder=folder)
    except OSError:
        return False
    return memory.is_locked(descriptor)
