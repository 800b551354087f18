"""A look at the rings of a namespace without taking part, for people and tools."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import field, frozen

from horus_async.errors import TopicError

from .external.notices import say_left_out
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
    schemas: tuple[Schema, ...]
    """Schemas of the classes of its messages, in the order in which they were first sent."""
    file: str = field(repr=False)


def rings(namespace: str) -> list[RingInfo]:
    """All rings of a namespace, by topic, live and dead. One that cannot be read is left out, with a warning.

    Raises:
        TopicPermissionError: the namespace's folder is not ours.
    """
    listed = list_folder(namespace)
    files = [] if listed is None else [file for name in listed[1] if (file := ring_file(name))]
    found = []
    for first in (file for file in files if file.generation == 0):
        try:
            region = open_region(namespace, first.name)
            if region is not None:
                generations = [file for file in files if (file.component, file.ring) == (first.component, first.ring)]
                found.append(_info(namespace, first, generations, region))
        except (TopicError, OSError) as error:
            say_left_out(first.name, str(error))
    return sorted(found, key=lambda info: (info.topic, info.started_ns, info.file))


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
        publishers=tuple(newest.names),
        messages=end.index,
        capacity=newest.capacity,
        memory=sum(_bytes(folder / file.name) for file in files),
        started_ns=region.words[Word.STARTED_NS],
        newest_ns=None if record is None else record[0][3],
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
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
