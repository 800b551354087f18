"""One file of a session while it is written: lines come from its feed and go out as whole frames."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
from attrs import define, field, frozen

from horus_async.append_file import AppendFile
from horus_async.clock.system import wall_ns
from horus_async.limits.memory import memory_error
from horus_async.limits.open_files import why
from horus_async.recorder.frames import Packer, Seal, pack
from horus_async.recorder.manifest import sync_folder
from horus_async.recorder.naming import part_path
from horus_async.recorder.tallies import Tallies

from .feed import Feed
from .index import IndexBuilder
from .lines import Counts, Gap, count_fields, count_line, footer_line, gap_line, line_messages, line_tick

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from horus_async.recorder.tallies import TopicTally

_SENDS = b'{"kind":"sends"'
_LOOSE = b'],"tick":null}\n'
FRAME_TEXT = 1 << 20
"""Bytes of text after which a frame ends, so that a reader never needs much memory."""


@frozen
class Rotation:
    """When a file is closed and the next one begun; None: not by this measure."""

    bytes: float | None
    ticks: float | None
    sync: bool
    """Whether a file is synced to disk before it is closed."""


@frozen
class EndedPart:
    """A file of a row that is closed, and gone on in the next one."""

    path: Path
    bytes: int
    tallies: Tallies
    """What it holds of each topic."""


@define
class _Part:
    """The current one of a row of files."""

    file: AppendFile | None = None
    frames: int = 0
    """Whole ones that are in it."""
    key: int = 0
    """The checksum of its first seal."""
    name_synced: bool = False
    index: IndexBuilder = field(factory=IndexBuilder)
    counts: Counts = field(factory=Counts)
    """Kept only with rotation, as are the ticks."""
    ticks: int = 0
    tallies: Tallies = field(factory=Tallies)
    sends: int = 0
    """Lines that hold messages apart from those of callbacks."""
    loose: int = 0
    """Those of them that belong to no callback."""
    ended: bool = False
    """Whether its footer is written, which names the next one; so nothing else may be."""


class FrameFile:
    """Appends frames to a file and keeps what its index needs. For the writer's thread, all but ``feed``.

    A write that fails is cut off again, so the file ends with a whole frame as far as the disk obeys. ``header`` is
    written with the first flush, in a frame of its own. With ``rotation`` it is a row of files, of which the current
    one is written to; each is complete in itself, with header, footer and index.
    """

    def __init__(
        self,
        path: Path,
        header: bytes,
        rotation: Rotation | None = None,
        *,
        has_messages: bool = True,
        thorough: bool = True,
        feed: Feed | None = None,
        keep: Mapping[str, int] | None = None,
    ) -> None:
        self.keep = keep or {}
        """How many messages its node keeps for late readers, by topic."""
        self.path = path
        """The current file."""
        self.paths = [path]
        """All of them that are there; ``path`` is the last."""
        self.first_name = path.name
        """The name of the first of the row, whether it is still there or not."""
        self._first, self._number = path, 0
        self.feed = feed or Feed()
        """Where its lines come from."""
        self.earlier_bytes = 0
        """Bytes of the files before the current one."""
        self.unwritten = Counts()
        """Of what the feed gave, that which did not reach the file."""
        self.lost = 0
        """As `Counts.dropped`: of the same."""
        self._header = header if json.loads(header).get("sealed") is True else header[:-2] + b',"sealed":true}\n'
        self._has_messages = has_messages
        self._packer = Packer(thorough=thorough)
        self._rotation = rotation
        self._part = _Part()
        self._next: _Part | None = None
        """That which is begun already, while the current one has no footer yet."""
        self._earlier = Counts()
        self._last_tick: int | None = None
        self._went_back = False
        """Whether ticks went back in the lines; the recorded run may have said so before."""
        self._gap: Gap | None = None
        self._in_hand, self._done = b"", 0
        """What is being written, and how many bytes of it are in the file."""
        self._given_up = False

    @property
    def written(self) -> int:
        """Bytes of whole frames in the current file; 0 until it has its name."""
        file = self._part.file
        return 0 if file is None or file.path != self.path else file.size

    @property
    def begun(self) -> bool:
        """Whether there is a file, under its name."""
        return self.written > 0 or self._number > 0

    @property
    def counts(self) -> Counts:
        """What the file holds, once all is written, and what was dropped."""
        fed, lost = self.feed.counts, self.unwritten
        return Counts(
            fed.ticks - lost.ticks,
            fed.inputs - lost.inputs,
            fed.outputs - lost.outputs,
            fed.dropped + self.lost,
            fed.lines - lost.lines,
        )

    @property
    def part_counts(self) -> Counts:
        """As ``counts``, of the current file alone."""
        whole, earlier = self.counts, self._earlier
        return Counts(
            whole.ticks - earlier.ticks,
            whole.inputs - earlier.inputs,
            whole.outputs - earlier.outputs,
            whole.dropped - earlier.dropped,
            whole.lines - earlier.lines,
        )

    @property
    def tallies(self) -> list[TopicTally] | None:
        """What the current file holds of each topic, once all is written; None where that cannot be told."""
        if not self._has_messages:
            return None
        if self._rotation is not None:
            return self._part.tallies.rows()  # made of the lines themselves
        if self.lost or self.feed.rewound or self._went_back:
            return None
        return self.feed.tallies().rows()

    @property
    def sends(self) -> int | None:
        """How many lines of messages apart from callbacks the current file has; None for the scheduler's."""
        return self._part.sends if self._has_messages else None

    @property
    def loose(self) -> int | None:
        """How many of them hold what was sent outside of callbacks."""
        return self._part.loose if self._has_messages else None

    def lose(self, text: bytes, reason: str) -> None:
        """Count lines that will not be written, and announce them in a gap line when something is written again."""
        begin = 0
        while (end := text.find(b"\n", begin) + 1) > 0:
            try:
                self._lose_line(text[begin:end], reason)
            except MemoryError:  # even for that; it is counted all the same
                self.lost += 1
                self._widen_gap(self._last_tick or 0, 1, reason)
            begin = end

    def _lose_line(self, line: bytes, reason: str) -> None:
        kind, tick, counts = count_line(line)
        if kind == "gap":
            self._widen_gap(tick, counts.dropped, reason)
        elif kind != "footer":
            self.unwritten.add(counts)
            lost = max(1, counts.outputs)
            self.lost += lost
            self._widen_gap(tick, lost, reason)

    def _widen_gap(self, tick: int, lost: int, reason: str) -> None:
        if self._gap is None:
            self._gap = Gap(tick, lost, reason)
        else:
            self._gap.dropped += lost

    # -- the file ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the file. It gets its name when its header is in it, so there is never one without.

        Raises:
            OSError: it cannot be made or written.
        """
        self._begin(self._part, self.path, self._header)

    @staticmethod
    def _begin(part: _Part, path: Path, header: bytes) -> None:
        if part.file is None:
            left = path.with_name(f".{path.name}.part")
            left.unlink(missing_ok=True)  # nobody else writes in this folder: what is there was planted
            part.file = AppendFile(left)
        if not part.frames:
            frame = pack(header, 1)
            seal = Seal.of(frame, 0, 0)
            part.file.append(frame + seal.pack())
            part.frames, part.key = 1, seal.checksum
        if part.file.path != path:
            part.file.rename(path)

    def write(self, text: bytes) -> bool:
        """Write these lines as frames, one unless they are many; returns whether there was anything to write.

        Raises:
            OSError: the disk refused. What was not written is counted as lost.
        """
        lines, gap = text, self._gap
        self._in_hand, self._done = lines, 0
        try:
            if gap is not None:
                self._in_hand = text = gap_line(gap.tick, gap.dropped, gap.reason) + lines
                self._gap = None
            if not self.written:
                self.open()
            while self._done < len(text):
                if self._rotation is not None and self._is_full(self._rotation):
                    self._rotate(self._rotation)
                end = _frame_end(text, self._done)
                self._write_frame(text[self._done : end])
                self._done = end
        except (OSError, MemoryError) as error:
            refused = error if isinstance(error, OSError) else memory_error()
            if not self._given_up:
                if not self._done:  # what the gap line tells is still to be told
                    self._gap = gap
                self.lose(text[self._done :] if self._done else lines, f"cannot write: {why(refused)}")
            raise refused from error
        finally:
            if not self._given_up:
                self._in_hand = b""
        return bool(text)

    def give_up(self, reason: str) -> None:
        """Write nothing any more, and count what is not in the file. From another thread than the writer's."""
        self._given_up = True
        self.lose(self._in_hand[self._done :] + self.feed.take(), reason)
        left = len(self.feed.pending) + len(self.feed.loose)
        self.lost += left

    def cut_back(self) -> None:
        """Cut off whatever a failed write left behind the last whole frame.

        Raises:
            OSError: the disk refuses that, too.
        """
        if self._part.file is not None:
            self._part.file.cut_back()

    def sync(self) -> None:
        """Have the disk itself store what was written.

        Raises:
            OSError: it cannot.
        """
        if self._part.file is None:
            return
        self._part.file.sync()
        if not self._part.name_synced:
            sync_folder(self.path.parent)
            self._part.name_synced = True

    def finish(self, footer: bytes) -> None:
        """Write the last line and the index.

        Raises:
            OSError: the disk refused; the file is readable without them.
        """
        self._rotation = None
        self._drop_next()
        self.write(footer)
        self._append(self._index())

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._drop_next()
        file = self._part.file
        if file is not None and file.is_open:
            file.close()
            if file.path != self.path:
                with suppress(OSError):
                    file.path.unlink()

    def _drop_next(self) -> None:
        """Take back a file that was begun and gets nothing; one that a footer names stays."""
        if self._next is not None and self._part.ended:
            self._go_on_in_next()
        begun, self._next = self._next, None
        if begun is not None and begun.file is not None:
            begun.file.close()
            with suppress(OSError):
                begun.file.path.unlink()

    def let_go(self) -> None:
        """Forget the file in a forked child: it is its parent's, which goes on writing."""
        for part in (self._part, self._next):
            if part is not None and part.file is not None:
                part.file.close()
        self._next = None

    def _append(self, data: bytes) -> None:
        if self._given_up:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        assert self._part.file is not None
        self._part.file.append(data)

    def _append_frame(self, frame: bytes, behind: bytes = b"") -> int:
        """Append a frame with its seal, and what is to stand behind it; the bytes of frame and seal."""
        part = self._part
        sealed = frame + Seal.of(frame, part.frames, part.key).pack()
        self._append(sealed + behind)
        part.frames += 1
        return len(sealed)

    def _write_frame(self, text: bytes) -> None:
        lines = text.count(b"\n")
        offset = self.written
        size = self._append_frame(self._packer.pack(text, lines))
        first = line_tick(text[: text.index(b"\n") + 1])
        last = line_tick(text[text.rfind(b"\n", 0, -1) + 1 :])
        if self._rotation is not None:
            self._count(text, last)
        sends = text.startswith(_SENDS) + text.count(b"\n" + _SENDS)
        if sends:
            self._part.sends += sends
            self._part.loose += text.count(_LOOSE)
        index = self._part.index
        index.add(offset, size, text=len(text), lines=lines, first=first, last=last, loose=self.feed.last_loose_tick)
        self._went_back = self._went_back or index.went_back

    def _index(self) -> bytes:
        """The frame with the index; nothing where ticks went back, as it could not be searched."""
        return b"" if self.feed.rewound or self._went_back else self._part.index.build()

    def end_part(self) -> EndedPart | None:
        """Go on in a new file, if there is anything in the current one, and tell of that; of files that rotate.

        Raises:
            OSError: the disk refused; it can be tried again.
        """
        if self._rotation is None or self._given_up or self._part.frames < 2:
            return None
        ended, path, size = self._part, self.path, self.written
        self._rotate(self._rotation)
        return EndedPart(path, size, ended.tallies)

    def forget(self, part: EndedPart) -> None:
        """A file that was closed is taken away."""
        self.paths.remove(part.path)
        self.earlier_bytes -= part.bytes

    # -- rotation ------------------------------------------------------------------------------------------------------

    def _count(self, text: bytes, last: int | None) -> None:
        part = self._part
        for line in _split(text):
            fields = orjson.loads(line)
            part.counts.add(count_fields(fields))
            for seen in line_messages(fields):
                part.tallies.see(*seen)
        if last is not None:
            part.ticks += max(0, last - (last if self._last_tick is None else self._last_tick))
            self._last_tick = last

    def _is_full(self, rotation: Rotation) -> bool:
        by_size = rotation.bytes is not None and self.written >= rotation.bytes
        by_time = rotation.ticks is not None and self._part.ticks >= rotation.ticks
        return len(self._part.index) > 0 and (by_size or by_time)

    def _rotate(self, rotation: Rotation) -> None:
        """Close the current file and go on in the next one, which is there before a footer names it."""
        path = part_path(self._first, self._number + 1)
        if self._next is None:
            header = self._header[:-2] + b',"part":%d}\n' % (self._number + 1)
            self._next = _Part(index=IndexBuilder(self._part.index.highest, self.feed.last_loose_tick))
            try:
                self._begin(self._next, path, header)
            except OSError:
                self._drop_next()
                raise
        if not self._part.ended:
            counts, tallies = self._part.counts, self.tallies
            footer = footer_line(wall_ns(), counts, tallies, path.name, sends=self.sends, loose=self.loose)
            self._append_frame(pack(footer, 1), self._index())
            self._part.ended = True
        if rotation.sync:
            self.sync()
        self._go_on_in_next()

    def _go_on_in_next(self) -> None:
        following, self._next = self._next, None
        assert following is not None
        self.close()
        self.earlier_bytes += self.written
        self._earlier.add(self._part.counts)
        self._part = following
        self._number += 1
        self.path = part_path(self._first, self._number)
        self.paths.append(self.path)


def _split(text: bytes) -> list[bytes]:
    """The lines of a text, each with its newline."""
    return [line + b"\n" for line in text.split(b"\n")[:-1]]


def _frame_end(text: bytes, begin: int) -> int:
    """Where the frame ends that begins here: as many whole lines as fit, at least one."""
    if len(text) - begin <= FRAME_TEXT:
        return len(text)
    return (text.rfind(b"\n", begin, begin + FRAME_TEXT) + 1) or (text.index(b"\n", begin) + 1)
