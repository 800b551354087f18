"""Reading one file of a session, be it whole, cut off or damaged, a frame at a time."""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_left
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from attrs import evolve

from horus_async.errors import DamagedRecordingError, RecordingError, SessionNotFoundError, UnsupportedVersionError
from horus_async.limits.open_files import too_many_files, why, with_room
from horus_async.recorder.frames import SEAL_SIZE, Damage, Frame, IndexEntry, Seal, read_index, scan, seal_in
from horus_async.recorder.log_lines import LogLine
from horus_async.recorder.records import (
    Footer,
    GapRecord,
    Header,
    ResumedRecord,
    SendsRecord,
    SessionLine,
    parse_line,
)
from horus_async.recorder.tables.sent import Sent, sent_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from horus_async.recorder.frames import Read


class RecordedFile:
    """One ``*.jsonl.lz4`` file. No descriptor stays open between calls.

    A file that was closed properly has an index, so reading can begin anywhere at once. Without one (its writer was
    killed, or is still writing) all frames are scanned first, once. A torn end is normal and reported as ``cut``.
    Damage in the middle costs the frame it is in and is reported in ``damage``.

    Raises:
        SessionNotFoundError: there is no such file.
        DamagedRecordingError: it is not a recording, or nothing of it can be read.
        UnsupportedVersionError: another format version wrote it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self._damage: dict[int, Damage] = {}
        self._table: tuple[int, list[IndexEntry]] | None = None
        self._last_index: tuple[int, tuple[int, list[IndexEntry]] | None] = -1, None
        """The size that the file had, and the index that it had then."""
        self._footer: Footer | None = None
        """That of a closed file, once it was read."""
        self._cut: Damage | None = None
        self._rewound = False
        self._key: int | None = None
        """That of its seals; None in a file from before there were seals."""
        self._has_index = False
        self.indexed = False
        """Whether the file has a valid index, so that it was closed properly."""
        self.header = self._read_header()
        """The first line; None if it is damaged."""

    @property
    def cut(self) -> Damage | None:
        """What is cut off at the end of the file; None if nothing is."""
        self._entries()
        return self._cut

    @property
    def damage(self) -> list[Damage]:
        """The damage found so far; ``survey`` looks for all of it."""
        return [self._damage[offset] for offset in sorted(self._damage)]

    @property
    def footer(self) -> Footer | None:
        """The last line of a file that was closed; None if it was not."""
        entries = self._entries()
        if not entries or self._footer is not None:
            return self._footer
        last = None
        with self._open() as (read, size):
            for frame in self._frames(read, size, entries[-1].offset):
                last = frame
        if last is None:
            return None
        record = self._parse(last.text[last.text.rstrip().rfind(b"\n") + 1 :].rstrip(), last)
        footer = record if isinstance(record, Footer) else None
        if self.indexed:
            self._footer = footer
        return footer

    @property
    def following(self) -> str | None:
        """The name of the file that continues a closed one; None if there is none, or finding out takes reading it."""
        name = None if not self._has_index or self.footer is None else self.footer.next
        return name if name is None or "/" not in name else None

    @property
    def sealed(self) -> bool:
        """Whether its frames have seals."""
        return self._key is not None

    @property
    def first_tick(self) -> int | None:
        """The tick of the first line; None if there are no lines with one."""
        entries = self._entries()
        return entries[0].first_tick if entries else None

    @property
    def last_tick(self) -> int | None:
        """The highest tick; None if there are no lines with one."""
        entries = self._entries()
        return entries[-1].last_tick if entries else None

    @property
    def rewound(self) -> bool:
        """Whether ticks go back somewhere, as they do where a repeated replay was recorded."""
        self._entries()
        return self._rewound

    @property
    def paths(self) -> list[Path]:
        """Its file; several for a rotated recording."""
        return [self.path]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        with self._open() as (_, size):
            return size

    def records(self, start: int | None = None, stop: int | None = None) -> Iterator[SessionLine]:
        """The records in order, without the header, of the ticks from ``start`` to ``stop``, both included.

        Finding the first one takes a search in the index and reading about one frame. Only one frame is in memory at a
        time. Lines that cannot be read are skipped and noted in ``damage``.

        Where ticks go back, as in the recording of a repeated replay, the whole file is read, and each round yields its
        part of the range.
        """
        if start is None and stop is None:
            yield from self._lines_from(None)
            return
        if self.rewound:
            yield from in_range(self._lines_from(None), start, stop)
            return
        yield from until(self._lines_from(start), start, stop)

    def _lines_from(self, start: int | None) -> Iterator[SessionLine]:
        """The records without the header, from the frame that holds the first line of a tick."""
        offset = 0
        if start is not None:
            entries = self._entries()
            position = bisect_left(entries, start, key=_last_tick)
            if position == len(entries):
                return
            offset = entries[position].offset
        for record in self._records(offset):
            if not isinstance(record, Header):
                yield record

    def sends(self, start: int | None = None) -> Iterator[SendsRecord]:
        """What was sent while a callback was still going on, or outside of any; perhaps from before ``start`` too.

        Quick: no other line is parsed, and nothing is read where the file says that it has none.
        """
        footer = self.footer
        if footer is not None and footer.sends == 0:
            return
        offset = 0
        entries = self._entries() if start is not None else []
        if start is not None and entries:
            position = bisect_left(entries, start, key=_last_tick)
            if position:  # a callback that began long before may still be sending
                position = bisect_left(entries, entries[position - 1].last_tick, key=_last_tick)
            offset = entries[position].offset
        for record in self._records(offset, holding=b'"sends"'):
            if isinstance(record, SendsRecord):
                yield record

    def messages(self, topic: str, start: int | None = None, stop: int | None = None) -> Iterator[Sent]:
        """What was sent on a topic, frame by frame, in the order of the lines; no other line is parsed.

        Args:
            topic: its name.
            start: the first tick in which something was sent, as ``stop`` is the last one. Where ticks never go back,
                nothing is read that lies far from them.
            stop: see there.
        """
        offset = self._offset_before(start)
        with self._open() as (read, size):
            for frame in self._frames(read, size, offset):
                damaged = partial(Damage, frame.offset, frame.size)
                found = sent_in(frame.text, topic, lines_of, lambda why, damaged=damaged: self._note(damaged(why)))  # type: ignore[misc]
                if found is None:
                    continue
                if stop is not None and found.ticks[0] > stop and not self.rewound:
                    return
                within = found if start is None and stop is None else found.within(start, stop)
                if within.ticks:
                    yield within

    def _offset_before(self, start: int | None) -> int:
        """Where to begin so that no line of a tick or a later one is left out; older lines may come before it."""
        if start is None or not (entries := self._entries()) or self._rewound:
            return 0
        position = bisect_left(entries, start, key=_last_tick)
        if position:  # a callback that began long before may still be sending
            position = bisect_left(entries, entries[position - 1].last_tick, key=_last_tick)
        return entries[min(position, len(entries) - 1)].offset

    def resumed(self, start: int | None = None) -> Iterator[ResumedRecord]:
        """When tasks went on, in real time; perhaps from before ``start`` too. No other line is parsed."""
        entries = self._entries() if start is not None else []
        position = 0 if start is None else bisect_left(entries, start, key=_last_tick)
        if entries and position == len(entries):
            return
        for record in self._records(entries[position].offset if entries else 0, holding=b'"resumed"'):
            if isinstance(record, ResumedRecord):
                yield record

    def lines(self, start: int | None = None) -> Iterator[bytes]:
        """Every whole line as it is, without its newline, header and footer too; what cannot be read is in ``damage``.

        Args:
            start: nothing of this tick or a later one is left out; older lines may come before it.
        """
        offset = self._offset_before(start)
        with self._open() as (read, size):
            for frame in self._frames(read, size, offset):
                yield from frame.text.splitlines()

    def gaps(self) -> Iterator[GapRecord]:
        """Where something is missing, as its writer said. Quick: a closed file says whether there are any."""
        footer = self.footer
        if footer is None or footer.dropped:
            for record in self._records(0, holding=b'"gap"'):
                if isinstance(record, GapRecord):
                    yield record

    def holds(self, text: bytes) -> bool:
        """Whether any line has this in it. Nothing is parsed."""
        with self._open() as (read, size):
            return any(text in frame.text for frame in self._frames(read, size))

    def frames(self) -> list[tuple[int, int, int]]:
        """Offset, size and number of lines of each whole frame before the index; none of them is parsed."""
        with self._open() as (read, size):
            return [(frame.offset, frame.size, frame.text.count(b"\n")) for frame in self._frames(read, size)]

    def index(self) -> tuple[int, list[IndexEntry]] | None:
        """Where its index begins, and the entries; None if it has none that is valid."""
        with self._open() as (read, size):
            return self._index_in(read, size)

    def survey(self) -> list[Damage]:
        """Read everything; returns all damage, and the cut if there is one."""
        for _ in self._records(0):
            pass
        cut = self.cut
        return [*self.damage, *([] if cut is None else [cut])]

    # -- frames --------------------------------------------------------------------------------------------------------

    def _read_header(self) -> Header | None:
        with self._open() as (read, size):
            found = self._index_in(read, size)
            self._has_index = found is not None
            self._key = _key_of(read, size if found is None else found[0])
            for frame in self._frames(read, size):
                first = self._parse(frame.text.split(b"\n", 1)[0], frame)
                if first is not None:
                    return first if isinstance(first, Header) else None
        what = "is empty" if not size else "holds nothing that can be read: not a recording, or destroyed"
        raise DamagedRecordingError(f"{self.path} {what}")

    def _entries(self) -> list[IndexEntry]:
        """The index: the file's own, else one made by scanning every frame."""
        if self._table is None:
            with self._open() as (read, size):
                self._table = self._index_in(read, size)
                self.indexed = self._table is not None
                if self._table is not None:
                    self._rewound = _goes_back(self._table[1])
                if self._table is None:
                    self._table = size, list(self._make_index(read, size))
        return self._table[1]

    def _index_in(self, read: Read, size: int) -> tuple[int, list[IndexEntry]] | None:
        """The file's own index; read once for each size that the file has had."""
        if self._last_index[0] != size:
            self._last_index = size, read_index(read, size)
        return self._last_index[1]

    def _make_index(self, read: Read, size: int) -> Iterator[IndexEntry]:
        highest: int | None = None
        for piece in self._frames(read, size):
            ticks = [int(tick) for tick in _LAST_FIELD.findall(piece.text)]
            if ticks and (ticks != sorted(ticks) or (highest is not None and ticks[0] < highest)):
                self._rewound = True
            lines = list(lines_of(piece.text))
            first, last = _first_tick(lines), _first_tick(reversed(lines))
            if first is not None and last is not None:
                highest = last if highest is None else max(highest, last)
                yield IndexEntry(piece.offset, piece.size, first, highest, len(lines))

    def _frames(self, read: Read, size: int, offset: int = 0) -> Iterator[Frame]:
        """The frames from an offset on; damage is noted."""
        found = self._index_in(read, size)
        if found is not None and any(entry.offset + entry.size > found[0] for entry in found[1][-1:]):
            self._note(Damage(found[0], 0, "the index says that more frames were written before it"))
        for piece in scan(read, offset, size if found is None else found[0], self._key):
            if isinstance(piece, Frame):
                yield piece
            else:  # before an index nothing can be cut off: the file was closed
                self._note(piece if found is None else evolve(piece, torn=False))

    def _records(self, offset: int, holding: bytes = b"") -> Iterator[SessionLine]:
        with self._open() as (read, size):
            for piece in self._frames(read, size, offset):
                if holding not in piece.text:
                    continue
                for line in piece.text.splitlines() if holding else lines_of(piece.text):
                    if holding and holding not in line:
                        continue
                    record = self._parse(line, piece)
                    if record is not None:
                        yield record

    def _parse(self, line: bytes | memoryview, frame: Frame) -> SessionLine | None:
        try:
            return parse_line(line)
        except UnsupportedVersionError as error:
            raise UnsupportedVersionError(f"{self.path}: {error}") from None
        except DamagedRecordingError as error:
            self._note(Damage(frame.offset, frame.size, str(error)))
            return None

    def _note(self, damage: Damage) -> None:
        if damage.torn:
            self._cut = damage
        else:
            self._damage.setdefault(damage.offset, damage)

    @contextmanager
    def _open(self) -> Iterator[tuple[Read, int]]:
        try:
            descriptor = with_room(partial(os.open, self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except FileNotFoundError:
            raise SessionNotFoundError(f"there is no file {self.path}") from None
        except OSError as error:
            kind = RecordingError if too_many_files(error) else DamagedRecordingError
            raise kind(f"{self.path} cannot be opened: {why(error)}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DamagedRecordingError(f"{self.path} is not a file")
            yield self._reader(descriptor), status.st_size
        finally:
            os.close(descriptor)

    def _reader(self, descriptor: int) -> Read:
        def read(offset: int, size: int) -> bytes:
            try:
                return os.pread(descriptor, size, offset)
            except OSError as error:
                raise DamagedRecordingError(f"{self.path} cannot be read: {why(error)}") from error

        return read


def _key_of(read: Read, end: int) -> int | None:
    """The key of a file's seals; None where frames have none, or nobody can tell.

    It is in the first seal, and can be made of the header's frame. Where these differ, the next frame tells which of
    the two is damaged.
    """
    pieces = (piece for piece in scan(read, 0, end) if isinstance(piece, Frame))
    first = next(pieces, None)
    if first is None:
        return None
    at = first.offset + (0 if first.offset else first.size)
    seal = seal_in(read(at - SEAL_SIZE, SEAL_SIZE)) if at >= SEAL_SIZE else None
    stored = seal.checksum if seal is not None and not seal.number else None
    if first.offset or not _is_sealed(first.text):
        return stored
    size = first.size if seal_in(read(first.size - SEAL_SIZE, SEAL_SIZE)) is None else first.size - SEAL_SIZE
    made = Seal.of(read(0, size), 0, 0).checksum
    if stored is None or stored == made:
        return made
    following = next(pieces, None)
    return stored if following is not None and _fits(read, following, stored) else made


def _is_sealed(text: bytes) -> bool:
    try:
        return orjson.loads(text.split(b"\n", 1)[0])["sealed"] is True
    except (ValueError, TypeError, LookupError):
        return False


def _fits(read: Read, frame: Frame, key: int) -> bool:
    size = frame.size - SEAL_SIZE
    seal = seal_in(read(frame.offset + size, SEAL_SIZE))
    return seal is not None and Seal.of(read(frame.offset, size), seal.number, key) == seal


_LONG = 1 << 16


def lines_of(text: bytes) -> Iterable[bytes | memoryview]:
    """The lines of a frame; without copying them where they are long, as those with images are."""
    return text.splitlines() if text.find(b"\n") < _LONG else _views(text)


def _views(text: bytes) -> Iterator[memoryview]:
    whole, begin = memoryview(text), 0
    while (end := text.find(b"\n", begin)) >= 0:
        yield whole[begin:end]
        begin = end + 1


def until(records: Iterator[SessionLine], start: int | None, stop: int | None) -> Iterator[SessionLine]:
    """The records in a range, if ticks never go back; without a ``stop`` also those that have no tick."""
    for record in records:
        if isinstance(record, SendsRecord):
            if _overlaps(record, start, stop):
                yield record
            continue
        if isinstance(record, ResumedRecord):  # it stands before the line of a callback that goes on, too
            if (start is None or record.tick >= start) and (stop is None or record.tick <= stop):
                yield record
            continue
        tick = _tick_of(record)
        if tick is None:
            if stop is None:
                yield record
        elif start is None or tick >= start:
            if stop is not None and tick > stop:
                return
            start = None
            yield record


def in_range(records: Iterator[SessionLine], start: int | None, stop: int | None) -> Iterator[SessionLine]:
    """The records in a range, in any order of ticks; without a ``stop`` also those that have no tick."""
    for record in records:
        tick = _tick_of(record)
        if isinstance(record, SendsRecord):
            if _overlaps(record, start, stop):
                yield record
        elif tick is None:
            if stop is None:
                yield record
        elif (start is None or tick >= start) and (stop is None or tick <= stop):
            yield record


def _tick_of(record: SessionLine) -> int | None:
    return record.at_tick if isinstance(record, LogLine) else getattr(record, "tick", None)


def _overlaps(record: SendsRecord, start: int | None, stop: int | None) -> bool:
    return (start is None or record.last_tick >= start) and (stop is None or record.first_tick <= stop)


# The last brace of a line closes the line's own object, so this cannot be a field of a message or text in one.
_LAST_FIELD = re.compile(rb'"(?:at_)?tick":(\d{1,18})}\n')


def _goes_back(entries: list[IndexEntry]) -> bool:
    """Whether an entry begins before the previous one ends."""
    return any(later.first_tick < earlier.last_tick for earlier, later in pairwise(entries))


def _last_tick(entry: IndexEntry) -> int:
    return entry.last_tick


def _first_tick(lines: Any) -> int | None:
    """The tick of the first of these lines that has one."""
    for line in lines:
        try:
            fields = orjson.loads(line)
            tick = fields.get("at_tick", fields["tick"])  # of the log: the one that was going on
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if type(tick) is int:
            return tick
    return None
