"""Reading a box of a live or dead process.

The file is copied segment by segment, and again where it changed meanwhile, so that what is shown is a single moment.
Nothing is ever written, locked or mapped: a reader cannot disturb the run it looks at, nor suffer from its end.
"""

from __future__ import annotations

import os
import stat
import weakref
from collections import deque
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import frozen

from horus_async.errors import BlackBoxError
from horus_async.limits.open_files import why
from horus_async.spelling import did_you_mean

from . import layout
from .events import ANOMALIES, KINDS, LOG, Custom, Event, Record
from .fatal import BEGINNING, fatal_records
from .scan import SegmentImage, find_sources, missing_ends, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Kinds = type[Event] | str | Iterable[type[Event] | str] | None
    Ticks = int | tuple[int, int] | range | None

_MOST_COPIES = 100


@frozen
class Filter:
    """Which events are wanted; None means all."""

    kinds: frozenset[str] | None = None
    node: str | None = None
    ticks: tuple[int, int] | None = None
    """First and last tick, inclusive."""

    @classmethod
    def of(cls, kind: Kinds = None, node: str | None = None, ticks: Ticks = None) -> Filter:
        """A filter from the arguments that users give.

        Raises:
            BlackBoxError: there is no such kind of event.
        """
        return cls(None if kind is None else frozenset(_kind_names(kind)), node, _tick_range(ticks))

    def may_match(self, body: bytes) -> bool:
        """False for JSON that cannot be of a wanted kind; cheaper than parsing it."""
        return self.kinds is None or any(b'"event":"%b"' % kind.encode() in body for kind in self.kinds)

    def matches(self, record: Record) -> bool:
        """True for a record that is wanted."""
        return (
            (self.kinds is None or record.kind in self.kinds)
            and (self.node is None or node_of(record.event) == self.node)
            and (self.ticks is None or self.ticks[0] <= record.tick <= self.ticks[1])
        )


def node_of(event: Event) -> str | None:
    """The node that an event is about."""
    if type(event) is Custom and event.category == LOG and isinstance(event.data, dict):
        return event.data.get("node")
    return getattr(event, "name", None)


def kind_name(text: str) -> str:
    """The right spelling of a kind of event, given in any case.

    Raises:
        BlackBoxError: there is no such kind.
    """
    for kind in KINDS:
        if kind.casefold() == text.casefold():
            return kind
    raise BlackBoxError(f"there is no event kind {text!r}; the kinds are {', '.join(KINDS)}{did_you_mean(text, KINDS)}")


def _kind_names(kind: type[Event] | str | Iterable[type[Event] | str]) -> Iterator[str]:
    for one in [kind] if isinstance(kind, type | str) else kind:
        yield one.__name__ if isinstance(one, type) else kind_name(one)


def _tick_range(ticks: Ticks) -> tuple[int, int] | None:
    if isinstance(ticks, range):
        return ticks.start, ticks.stop - 1
    return (ticks, ticks) if isinstance(ticks, int) else ticks


class BlackBoxReader:
    """The events of one box as they were when it was opened, or last refreshed. Made by ``open_blackbox``."""

    def __init__(self, fd: int, path: Path) -> None:
        self.path = path
        self._fd = fd
        self._close = weakref.finalize(self, os.close, fd)
        try:
            page = os.pread(fd, layout.PAGE, 0)
            self.header, self._header_damage = layout.read_file_header(page)
            self._size = os.fstat(fd).st_size
        except (OSError, ValueError) as error:
            self.close()
            raise BlackBoxError(f"{path} is not a readable black box: {error}") from None
        self._images: dict[int, SegmentImage] = {}
        self._oldest = self._newest = 0
        self._fatal = b""
        self._damage: list[str] | None = None
        self._copy_notes: list[str] = []
        self.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BlackBoxReader({str(self.path)!r}, run={self.run!r})"

    @property
    def run(self) -> str:
        """The id of the run that wrote the box."""
        return self.header.run

    @property
    def lost(self) -> int:
        """How many events have been overwritten by later ones."""
        sources = find_sources(list(self._images.values()), self.header.salt, [])
        return min([self._oldest, *(source.first_seq for source in sources if source.finished)])

    @property
    def newest_seq(self) -> int:
        """``seq`` of the newest event, -1 in an empty box."""
        sources = find_sources(list(self._images.values()), self.header.salt, [])
        newest = max((source.first_seq for source in sources), default=0) - 1
        for seq, _ in self._lines(newest, []):
            newest = seq
        return newest + len(self._fatal_records())

    @property
    def damage(self) -> list[str]:
        """What is wrong with the file, one line per finding. Damaged events are never shown."""
        if self._damage is None:
            self._damage = self._known_damage()
            for _ in self._lines(-1, self._damage):
                pass
        return list(self._damage)

    def events(
        self, kind: Kinds = None, node: str | None = None, ticks: Ticks = None, last: int | None = None
    ) -> list[Record]:
        """The events that match all of these, oldest first.

        Args:
            kind: a class, its name, or several of them.
            node: the name of a node; only events about it.
            ticks: one tick, ``(first, last)`` inclusive, or a ``range``.
            last: at most this many, the newest.

        Raises:
            BlackBoxError: there is no such kind, or the file holds something that this version cannot read.
        """
        records = self.iterate(Filter.of(kind, node, ticks))
        return list(records) if last is None else list(deque(records, maxlen=max(last, 0)))

    def anomalies(self) -> list[Record]:
        """The events that say something went wrong, oldest first."""
        return self.events(kind=ANOMALIES)

    def iterate(self, wanted: Filter, after: int = -1) -> Iterator[Record]:
        """The wanted events with a ``seq`` above ``after``, oldest first, without holding them all in memory."""
        for seq, body in self._lines(after, []):
            if wanted.may_match(body):
                try:
                    record = Record.from_json(body)
                except (ValueError, TypeError, RecursionError) as error:
                    raise BlackBoxError(f"{self.path}: event {seq} cannot be read: {error}") from None
                if wanted.matches(record):
                    yield record
        for record in self._fatal_records():
            if record.seq > after and wanted.matches(record):
                yield record

    def refresh(self) -> bool:
        """Look at the file again, unless it is closed. Returns whether it changed.

        Raises:
            BlackBoxError: the file cannot be read.
        """
        if not self._close.alive:
            return False
        try:
            changed = self._copy()
        except OSError as error:
            raise BlackBoxError(f"{self.path} cannot be read: {why(error)}") from None
        except MemoryError:  # a file may say that its segments have any size, and be as long without taking any room
            raise BlackBoxError(f"{self.path} cannot be read: no memory for {self.header.segment_size} bytes") from None
        if changed:
            self._damage = None
        return changed

    def close(self) -> None:
        """Close the file. What has been read stays available."""
        self._close()

    def _copy(self) -> bool:
        """Copy what changed, until no segment was taken meanwhile: then the copies are of a single moment."""
        changed = self._copy_fatal()
        for _ in range(_MOST_COPIES):
            changes = self._word(layout.CHANGES_WORD)
            self._oldest, self._newest = self._word(layout.OLDEST_WORD), self._word(layout.NEWEST_WORD)
            for index in range(min(self.header.segments, max(0, self._size - layout.PAGE) // self.header.segment_size)):
                changed |= self._copy_segment(index)
            if self._word(layout.CHANGES_WORD) == changes:
                self._copy_notes = []
                return changed
        self._copy_notes = ["the box changed faster than it could be read"]
        return changed

    def _word(self, offset: int) -> int:
        return int.from_bytes(os.pread(self._fd, 8, offset), "little")

    def _copy_fatal(self) -> bool:
        """Copy what a fatal signal left after the segments."""
        offset, before = self.header.rest, self._fatal
        if os.pread(self._fd, len(BEGINNING), offset) == BEGINNING:
            self._fatal = os.pread(self._fd, max(0, self._size - offset), offset)
        return self._fatal != before

    def _fatal_records(self) -> list[Record]:
        if not self._fatal:
            return []
        sources = find_sources(list(self._images.values()), self.header.salt, [])
        newest = max((source.first_seq for source in sources), default=0) - 1
        lines = list(self._lines(newest, []))
        return fatal_records(self._fatal, self.header, Record.from_json(lines[-1][1]) if lines else None)

    def _copy_segment(self, number: int) -> bool:
        offset = layout.PAGE + number * self.header.segment_size
        header = self._segment_header(offset)
        unchanged = number in self._images and self._images[number].header == header
        if unchanged or len(header) < layout.SEGMENT_HEADER:  # the latter in a file that was cut meanwhile
            return False
        content, reach = b"", 0
        if header[layout.GENERATION : layout.REST] != bytes(8):
            size = self.header.segment_size - layout.SEGMENT_HEADER
            content = os.pread(self._fd, size, offset + layout.SEGMENT_HEADER)
            after = self._segment_header(offset)
            if after[layout.GENERATION :] != header[layout.GENERATION :]:
                return self._copy_segment(number)  # taken meanwhile; filling it again takes far longer than a copy
            reach = int.from_bytes(after[: layout.GENERATION], "little")
        self._images[number] = SegmentImage(number, header, content, reach)
        return True

    def _segment_header(self, offset: int) -> bytes:
        """A header of a single moment: copying is not atomic, so it counts once two copies agree."""
        header = os.pread(self._fd, layout.SEGMENT_HEADER, offset)
        while (again := os.pread(self._fd, layout.SEGMENT_HEADER, offset)) != header:
            header = again
        return header

    def _known_damage(self) -> list[str]:
        cut = [f"the file has {self._size} bytes of {self.header.size}"] if self._size < self.header.size else []
        sources = find_sources(list(self._images.values()), self.header.salt, [])
        return self._header_damage + cut + self._copy_notes + missing_ends(sources, self._oldest, self._newest)

    def _lines(self, after: int, damage: list[str]) -> Iterator[tuple[int, bytes]]:
        sources = find_sources(list(self._images.values()), self.header.salt, damage)
        return read_lines(sources, self.header.salt, self.header.segment_size, damage, after)


def open_blackbox(path: str | os.PathLike[str]) -> BlackBoxReader:
    """Read the box of a live or dead process. A context manager; garbage collection closes the file, too.

    The reader shows the box as it is now; ``refresh()`` looks again.

    Raises:
        BlackBoxError: there is no such file, or it is not a black box.
    """
    path = Path(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BlackBoxError(f"{path} cannot be opened: {why(error)}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BlackBoxError(f"{path} is not a black box but a {'folder' if path.is_dir() else 'special file'}")
    return BlackBoxReader(fd, path)


def newest_box(folder: str | os.PathLike[str]) -> Path:
    """The box in a folder whose run began last. Boxes moved aside by later runs count only if there is nothing else.

    Raises:
        BlackBoxError: there is none.
    """
    folder = Path(folder)
    found: list[tuple[bool, int, str, Path]] = []
    for path in folder.glob("*.hbb"):
        with suppress(BlackBoxError), open_blackbox(path) as box:
            found.append(("~" not in path.stem, box.header.started_ns, path.name, path))
    if not found:
        raise BlackBoxError(f"there is no black box in {folder}; a run writes one with blackbox_mb above 0")
    return max(found)[-1]


def box_mark(path: str | os.PathLike[str]) -> bytes:
    """Changes whenever something is added to a box, whatever its times say. Reads little, and disturbs nobody.

    Raises:
        BlackBoxError: there is no such file, or it is not a black box.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BlackBoxError(f"{path} cannot be opened: {why(error)}") from None
    try:
        status = os.fstat(fd)
        page = os.pread(fd, layout.PAGE, 0)
        header, _ = layout.read_file_header(page)
        mark = blake2b(page, digest_size=16)
        mark.update(b"%d %d %d %d" % (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        segments = min(header.segments, max(0, status.st_size - layout.PAGE) // header.segment_size)
        for number in range(segments):
            mark.update(os.pread(fd, layout.SEGMENT_HEADER, layout.PAGE + number * header.segment_size))
        mark.update(os.pread(fd, layout.PAGE, header.rest))
        return mark.digest()
    except (OSError, ValueError) as error:
        raise BlackBoxError(f"{path} is not a readable black box: {error}") from None
    finally:
        os.close(fd)
