"""A look at the rings of a namespace without taking part, for people and tools."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import field, frozen

from horus_async.errors import TopicError

from .external.notices import MOST_SAID, UNFINISHED, ring_title, say_left_out, say_more_left_out
from .external.rings import ExternalRing, RingFile, list_folder, open_region, ring_file, topic_of
from .ring import memory
from .ring.layout import Word
from .ring.names import path_component
from .ring.region import CLOSED, Region

if TYPE_CHECKING:
    from pathlib import Path

    from .packed.schema import Schema


@frozen
class RingInfo:
    """One ring of a topic."""

    topic: str
    pid: int
    live: bool
    """Whether its process is alive and has not closed it."""
    keep: int
    """How many of its messages are kept for late readers; 0: none."""
    publishers: tuple[str, ...]
    messages: int
    """Written since the ring was opened."""
    capacity: int
    """Bytes of data of the newest generation."""
    memory: int
    """Bytes of shared memory of all generations."""
    started_ns: int
    """Wall clock when it was opened, nanoseconds since 1970."""
    newest_ns: int | None
    """Time stamp of the newest message."""
    newest_bytes: int | None
    """Its size, as it lies in the ring."""
    schemas: tuple[Schema, ...]
    """Schemas of the classes of its messages, in the order in which they were first sent."""
    file: str = field(repr=False)


@frozen
class LeftOut:
    """A file with a ring's name that is not read."""

    file: RingFile
    reason: str

    @property
    def title(self) -> str:
        """The file, and the process whose number it bears."""
        return ring_title(self.file.name)


def rings(namespace: str) -> list[RingInfo]:
    """All rings of a namespace, by topic, live and dead. One that cannot be read is left out, with a warning.

    Raises:
        TopicPermissionError: the namespace's folder is not ours.
    """
    found, left_out = survey(namespace)
    for left in left_out[:MOST_SAID]:
        say_left_out(left.file.name, left.reason)
    if len(left_out) > MOST_SAID:
        say_more_left_out(namespace)
    return found


def survey(namespace: str) -> tuple[list[RingInfo], list[LeftOut]]:
    """All rings of a namespace, by topic, live and dead, and those that cannot be read.

    Raises:
        TopicPermissionError: the namespace's folder is not ours.
    """
    listed = list_folder(namespace)
    files: dict[tuple[str, str], list[RingFile]] = {}
    for name in [] if listed is None else listed[1]:
        file = ring_file(name)
        if file is not None:
            files.setdefault((file.component, file.ring), []).append(file)
    found, left_out = [], []
    for generations in files.values():
        for first in (file for file in generations if file.generation == 0):
            try:
                region = open_region(namespace, first.name)
                if region is not None:
                    found.append(_info(namespace, first, generations, region))
                elif _exists(namespace, first):
                    left_out.append(LeftOut(first, UNFINISHED))
            except (TopicError, OSError) as error:
                left_out.append(LeftOut(first, str(error)))
    return sorted(found, key=lambda info: (info.topic, info.started_ns, info.file)), left_out


def _exists(namespace: str, file: RingFile) -> bool:
    return os.path.lexists(memory.root() / path_component(namespace) / file.name)


def _info(namespace: str, first: RingFile, files: list[RingFile], region: Region) -> RingInfo:
    ring = ExternalRing(namespace, first, region)
    newest = ring.newest()
    end = newest.end()
    with suppress(LookupError):
        newest.publisher(newest.words[Word.PUBLISHERS] - 1)  # reads the table
    at = newest.newest()
    record = None if at is None else newest.copy(at.position)
    folder = memory.root() / path_component(namespace)
    return RingInfo(
        topic=topic_of(region),
        pid=region.words[Word.PID],
        live=not newest.words[CLOSED] and _locked(folder / first.name),
        keep=region.words[Word.KEEP],
        publishers=tuple(newest.names),
        messages=end.index,
        capacity=newest.capacity,
        memory=sum(_bytes(folder / file.name) for file in files),
        started_ns=region.words[Word.STARTED_NS],
        newest_ns=None if record is None else record[0][3],
        newest_bytes=None if record is None else len(record[0][0]),
        schemas=tuple(newest.schemas()),
        file=first.name,
    )


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    return memory.is_locked(descriptor)
