"""Rings of other processes: finding their files, and mapping them."""

from __future__ import annotations

import os
import re
import struct
from contextlib import suppress
from typing import NamedTuple

from horus_async.errors import TopicError, TopicNameError
from horus_async.topics.packed.marks import sources
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import NAME_LENGTH, SLOTS_AT, TEXT_AT
from horus_async.topics.ring.names import NAME_LIMIT, check_topic_name, path_component
from horus_async.topics.ring.region import CLOSED, LATEST, SLEEPERS, Cursor, Region, adopt_region

from .notices import say_damaged, say_left_out

_FILE = r"([A-Za-z0-9_.,+\-]+)@([0-9a-f]{1,16}-[0-9a-f]{1,16}-[0-9a-f]{1,16})\.(0|[1-9][0-9]{0,8})"
WORD = struct.Struct("<Q")


class RingFile(NamedTuple):
    """The parts of a ring file's name, ``<topic>@<process>-<token>-<number>.<generation>``."""

    name: str
    component: str
    """The topic, as ``names.path_component`` writes it."""
    ring: str
    """Process, token and number: identifies the ring, also among processes with the same number."""
    generation: int

    @property
    def token(self) -> str:
        """The token of the process."""
        return self.ring.split("-")[1]


def ring_file(name: str) -> RingFile | None:
    """The parts of a file's name; None if it is not a ring's."""
    match = re.fullmatch(_FILE, name)  # compiled only where there are files
    return match and RingFile(name, match[1], match[2], int(match[3]))


class ExternalRing:
    """A ring that another process writes, mapped here. Shared by all its readers in this process."""

    __slots__ = ("__weakref__", "_seen", "_told", "file", "generations", "gone", "namespace")

    def __init__(self, namespace: str, file: RingFile, first: Region) -> None:
        self.namespace = namespace
        self.file = file
        self.generations = [first]
        self._seen = (0, 0, 0)
        self._told: set[str] = set()
        self.gone = False
        """Whether its file is gone, as after its end: so nobody else finds it, and few of those are kept."""

    def follow(self, generation: int) -> Region | None:
        """A later generation; None if its file is gone.

        Raises:
            TopicError, OSError: it cannot be read now; said once, and tried again with the next call.
        """
        while generation >= len(self.generations):
            name = f"{self.file.component}@{self.file.ring}.{len(self.generations)}"
            try:
                region = open_region(self.namespace, name)
            except (TopicError, OSError) as error:
                if name not in self._told:
                    self._told.add(name)
                    say_left_out(name, str(error))
                raise
            if region is None:
                return None
            self.generations.append(region)
        return self.generations[generation]

    def newest(self) -> Region:
        """The last generation."""
        region = self.generations[-1]
        if not region.following():  # most often
            return region
        with suppress(TopicError, OSError):
            while (following := region.following()) and (found := self.follow(following)) is not None:
                region = found
        return region

    def say_damaged(self, reason: str) -> None:
        """Tell the user, once, that it makes no sense."""
        name = self.file.name
        if say_damaged(name, reason, self._told):
            self._told.add(name)

    def start(self) -> Cursor:
        """Where the first message of all was, or will be."""
        region = self.generations[0]
        return Cursor(region, region.capacity, region.first_index)

    def end(self) -> Cursor:
        """Where the next message will be."""
        region = self.newest()
        return region.end()

    def begin(self) -> Cursor:
        """Where a late reader begins: with what is kept, or else where the next message will be."""
        newest = self.newest()
        return next(filter(None, (region.kept() for region in self.generations)), None) or newest.end()

    def arm(self, slot: int) -> None:
        """Have the doorbell ``slot`` rung with the next message."""
        region = self.newest()
        if not region.map[SLOTS_AT + slot]:
            region.map[SLOTS_AT + slot] = 1
            region.words[SLEEPERS] = 1

    def stirred(self) -> bool:
        """Whether something has happened since the last call."""
        words = self.newest().words
        seen = words[LATEST], len(self.generations), words[CLOSED]
        if seen == self._seen:
            return False
        self._seen = seen
        return True


def open_region(namespace: str, name: str) -> Region | None:
    """Map a generation of another process's ring; None if it is gone or not finished yet.

    Raises:
        TopicError: it is one of another version, or damaged.
        OSError: it cannot be opened now.
    """
    try:
        folder = memory.open_namespace(namespace, make=False)
    except FileNotFoundError:
        return None
    try:
        shared = memory.map_existing(folder, name)
    finally:
        os.close(folder)
    region = None if shared is None or len(shared) % WORD.size else adopt_region(shared)
    if region is not None:
        if not name.endswith(f".{region.generation}"):
            raise TopicError(f"a ring is damaged: its header says generation {region.generation}")
        topic = topic_of(region)
        if path_component(topic) != name.rpartition("@")[0]:
            raise TopicError(f"a ring is damaged: its header says topic {topic!r}")
        sources.add(region)
    return region


def topic_of(region: Region) -> str:
    """The name of a ring's topic.

    Raises:
        TopicError: the header has none.
    """
    (length,) = NAME_LENGTH.unpack_from(region.map, TEXT_AT)
    begin = TEXT_AT + NAME_LENGTH.size
    try:
        return check_topic_name(bytes(region.map[begin : begin + min(length, NAME_LIMIT + 1)]).decode("ascii"))
    except (UnicodeDecodeError, TopicNameError) as error:
        raise TopicError("a ring's header is damaged: it has no topic name") from error


def list_folder(namespace: str) -> tuple[tuple[int, int], list[str]] | None:
    """A namespace's folder: its stamp, which changes with its contents, and the names in it. None if there is none."""
    with suppress(FileNotFoundError):
        folder = memory.open_namespace(namespace, make=False)
        try:
            status = os.fstat(folder)
            return (status.st_ino, status.st_mtime_ns), os.listdir(folder)  # noqa: PTH208 - a descriptor, not a path
        finally:
            os.close(folder)
    return None


def folder_stamp(namespace: str) -> tuple[int, int] | None:
    """The stamp alone, which costs less."""
    try:
        status = (memory.root() / path_component(namespace)).lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
