"""Rings of other processes: finding their files, mapping them, and removing what dead processes left."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import NANOSECONDS, wall_ns
from horus_async.errors import TopicError
from horus_async.topics.packed import schema
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import MAGIC, SLOTS_AT, Word
from horus_async.topics.ring.names import path_component
from horus_async.topics.ring.region import CLOSED, LATEST, NEXT, SLEEPERS, Cursor, Region
from horus_async.topics.wake import doorbell

if TYPE_CHECKING:
    import mmap

GRACE_NS = NANOSECONDS
"""How long a closed ring stays where all who listen have surely seen it, or are about to."""
UNSEEN_GRACE_NS = 5 * NANOSECONDS
"""The same for those who listen but look seldom."""

_FILE = re.compile(r"(.+)@([0-9a-f]+-[0-9a-f]+-[0-9a-f]+)\.(\d+)")
_WORD = struct.Struct("<Q")


@frozen
class RingFile:
    """What the name of a file says: ``<topic>@<process>-<token>-<number>.<generation>``."""

    name: str
    component: str
    """The topic, as ``names.path_component`` gives it."""
    ring: str
    """Tells rings apart, also those of processes with the same number."""
    generation: int

    @property
    def token(self) -> str:
        """Of the process."""
        return self.ring.split("-")[1]


def ring_file(name: str) -> RingFile | None:
    """The parts of a file's name; None if it is not that of a ring."""
    match = _FILE.fullmatch(name)
    return match and RingFile(name, match[1], match[2], int(match[3]))


class ForeignRing:
    """A ring that another process writes, mapped here. Shared by all who read it in this process."""

    __slots__ = ("__weakref__", "_component", "_name", "_seen", "generations", "namespace")

    def __init__(self, namespace: str, file: RingFile, first: Region) -> None:
        self.namespace = namespace
        self._component = file.component
        self._name = file.ring
        self.generations = [first]
        self._seen = (0, 0, 0)

    def follow(self, generation: int) -> Region | None:
        """A later generation; None if its file is gone."""
        while generation >= len(self.generations):
            region = open_region(self.namespace, f"{self._component}@{self._name}.{len(self.generations)}")
            if region is None:
                return None
            self.generations.append(region)
        return self.generations[generation]

    def newest(self) -> Region:
        """The last generation."""
        region = self.generations[-1]
        while (following := region.words[NEXT]) and (found := self.follow(following)) is not None:
            region = found
        return region

    def start(self) -> Cursor:
        """Where the first message of all was, or will be."""
        region = self.generations[0]
        return Cursor(region, region.capacity, region.first_index)

    def end(self) -> Cursor:
        """Where the next message will be."""
        region = self.newest()
        return region.end()

    def arm(self, slot: int) -> None:
        """Have the doorbell ``slot`` rung with the next message."""
        region = self.newest()
        if not region.map[SLOTS_AT + slot]:
            region.map[SLOTS_AT + slot] = 1
            region.words[SLEEPERS] = 1

    def stirred(self) -> bool:
        """Whether something happened since this was asked last."""
        words = self.newest().words
        seen = words[LATEST], len(self.generations), words[CLOSED]
        if seen == self._seen:
            return False
        self._seen = seen
        return True


def open_region(namespace: str, name: str) -> Region | None:
    """Map a generation of another process's ring; None if it is gone or not made to the end yet.

    Raises:
        TopicError: it is no ring, or one of another version.
    """
    try:
        folder = memory.open_namespace(namespace, make=False)
    except FileNotFoundError:
        return None
    try:
        shared = memory.map_existing(folder, name)
    finally:
        os.close(folder)
    if shared is None or _word(shared, Word.MAGIC) != MAGIC:
        return None
    region = Region(shared)
    if region.capacity & (region.capacity - 1) or region.data_at + region.capacity != len(shared):
        raise TopicError(f"the ring {name} in namespace {namespace!r} is damaged: its header contradicts its size")
    schema.watch(region)
    return region


def _word(shared: mmap.mmap, word: Word) -> int:
    return int(_WORD.unpack_from(shared, 8 * word)[0]) if len(shared) >= 8 * (word + 1) else 0


def reclaim(
    namespace: str, *, dry_run: bool = False, grace_ns: int = GRACE_NS, mine: str = "", spare: bool = False
) -> list[str]:
    """Remove what dead processes left in a namespace, and rings that were closed a while ago; gives the names.

    Nothing of a live process is removed.

    Args:
        namespace: where.
        dry_run: only look.
        grace_ns: how long a ring must have been closed.
        mine: token of a process that is left alone unlooked.
        spare: only close the rings of dead processes for now: somebody who listens may not have seen them yet.
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


def _reclaim_one(  # noqa: PLR0911 - one a reason
    folder: int, name: str, grace_ns: int, mine: str, *, dry_run: bool, spare: bool
) -> bool:
    if doorbell.is_bell(name):
        return doorbell.reclaim(folder, name, dry_run=dry_run)
    file = ring_file(name)
    if file is None or file.token == mine:
        return False
    try:
        descriptor = memory.open_with_room(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, folder)
    except OSError:  # gone meanwhile, or not ours to touch
        return False
    try:
        status = os.fstat(descriptor)
        header = os.pread(descriptor, 8 * (Word.CLOSED + 1), 0)
        closed = len(header) >= 8 * (Word.CLOSED + 1) and _WORD.unpack_from(header, 8 * Word.CLOSED)[0]
        if closed and wall_ns() - status.st_mtime_ns < grace_ns:
            return False
        if not closed:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free: its process is dead
        if not dry_run:
            if not closed and len(header) == 8 * (Word.CLOSED + 1):
                os.pwrite(descriptor, _WORD.pack(1), 8 * Word.CLOSED)
                if spare:
                    os.utime(descriptor)
                    return False
            os.unlink(name, dir_fd=folder)
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(descriptor)
    return True


def list_folder(namespace: str) -> tuple[tuple[int, int], list[str]] | None:
    """What tells whether the folder of a namespace has changed, and the names in it; None if it does not exist."""
    with suppress(FileNotFoundError):
        folder = memory.open_namespace(namespace, make=False)
        try:
            status = os.fstat(folder)
            return (status.st_ino, status.st_mtime_ns), os.listdir(folder)  # noqa: PTH208 - as above
        finally:
            os.close(folder)
    return None


def folder_stamp(namespace: str) -> tuple[int, int] | None:
    """The first part of what ``list_folder`` gives, cheaply."""
    try:
        status = (memory.root() / path_component(namespace)).lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
