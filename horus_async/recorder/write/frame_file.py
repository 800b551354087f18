"""One file of a session while it is written: lines come from its feed and go out as whole frames."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
from attrs import frozen

from horus_async.clock.system import wall_ns
from horus_async.recorder.frames import IndexEntry, build_index, pack
from horus_async.recorder.manifest import sync_folder
from horus_async.recorder.naming import part_path
from horus_async.recorder.tallies import Tallies

from .feed import Feed, Gap
from .lines import Counts, count_fields, count_line, footer_line, gap_line, line_messages, line_tick

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder.tallies import TopicTally

FRAME_TEXT = 1 << 20
"""Bytes of text after which a frame ends, so that a reader never needs much memory."""

ENTRY_TEXT = 1 << 18
"""Bytes of text that one entry of the index covers at least. Frames of a slow recording are small; together they are
few enough to search through, and the index stays short."""


@frozen
class Rotation:
    """When a file is closed and the next one begun; None for never by that measure."""

    bytes: float | None
    ticks: float | None
    sync: bool
    """Whether the disk is asked to have a file before it is closed."""


class FrameFile:
    """Appends frames to a file and keeps what its index needs. For the writer's thread, all but ``feed``.

    A write that fails is cut off again, so the file ends with a whole frame as far as the disk obeys. ``header`` is
    written with the first flush, in a frame of its own. With ``rotation`` it is a row of files, of which the current
    one is written to; each is complete in itself, with header, footer and index.
    """

    def __init__(
        self, path: Path, header: bytes, rotation: Rotation | None = None, *, has_messages: bool = True
    ) -> None:
        self.path = path
        """The current file."""
        self.paths = [path]
        """All of them; ``path`` is the last."""
        self.feed = Feed()
        """Where its lines come from."""
        self.written = 0
        """Bytes of whole frames in the current file."""
        self.earlier_bytes = 0
        """Bytes of the files before it."""
        self.unwritten = Counts()
        """Of what the feed gave, that which did not reach the file."""
        self.lines_lost = 0
        self._header = header
        self._has_messages = has_messages
        self._named = False
        """Whether the disk is known to have the current file's name."""
        self._rotation = rotation
        self._tallies = Tallies()
        self._part = Counts()
        self._part_ticks = 0
        self._last_tick: int | None = None
        self._earlier = Counts()
        self._gap: Gap | None = None
        self._entries: list[IndexEntry] = []
        self._entry_text = 0
        self._highest_tick: int | None = None
        self._fd = -1

    @property
    def counts(self) -> Counts:
        """What the file holds, once all is written, and what was dropped."""
        fed, lost = self.feed.counts, self.unwritten
        return Counts(
            fed.ticks - lost.ticks,
            fed.inputs - lost.inputs,
            fed.outputs - lost.outputs,
            fed.dropped + self.lines_lost,
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
        )

    @property
    def tallies(self) -> list[TopicTally] | None:
        """What the current file holds of each topic, once all is written; None where that cannot be told."""
        if not self._has_messages:
            return None
        if self._rotation is not None:
            return self._tallies.rows()  # made of the lines themselves
        if self.lines_lost or self.feed.rewound:
            return None
        return self.feed.tallies().rows()

    def lose(self, text: bytes, reason: str) -> None:
        """Count lines that will not be written, and announce them in a gap line when something is written again."""
        for line in _split(text):
            kind, tick, counts = count_line(line)
            if kind == "gap":
                self._widen_gap(tick, counts.dropped, reason)
            elif kind != "footer":
                self.unwritten.add(counts)
                self.lines_lost += 1
                self._widen_gap(tick, 1, reason)

    def _widen_gap(self, tick: int, lines: int, reason: str) -> None:
        if self._gap is None:
            self._gap = Gap(tick, lines, reason)
        else:
            self._gap.dropped += lines

    def _gap_line(self) -> bytes:
        gap, self._gap = self._gap, None
        assert gap is not None
        return gap_line(gap.tick, gap.dropped, gap.reason)

    # -- the file ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the file, with its header: whoever is killed meanwhile leaves none without one.

        Raises:
            OSError: it cannot be made or written.
        """
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._beginning, flags, 0o600)
        if not self.written:
            self._append(pack(self._header, 1))
            try:
                os.rename(self._beginning, self.path)  # noqa: PTH104 - with the other calls that a test makes fail
            except OSError:
                self.written = 0
                self.cut_back()
                raise

    @property
    def _beginning(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    def write(self, text: bytes) -> bool:
        """Write these lines as frames, one unless they are many; whether there was anything to write.

        Raises:
            OSError: the disk refused. What was not written is counted as lost.
        """
        if self._gap is not None:
            text = self._gap_line() + text
        done = 0
        try:
            if not self.written:
                self.open()
            while done < len(text):
                if self._rotation is not None and self._is_full(self._rotation):
                    self._rotate(self._rotation)
                end = _frame_end(text, done)
                self._write_frame(text[done:end])
                done = end
        except OSError as error:
            self.lose(text[done:], f"cannot write: {error.strerror or error}")
            raise
        return bool(text)

    def cut_back(self) -> None:
        """Cut off whatever a failed write left behind the last whole frame.

        Raises:
            OSError: the disk refuses that, too.
        """
        if self._fd >= 0:
            os.ftruncate(self._fd, self.written)

    def sync(self) -> None:
        """Ask the disk to have what was written.

        Raises:
            OSError: it cannot.
        """
        if self._fd >= 0:
            os.fsync(self._fd)
            if not self._named:
                sync_folder(self.path.parent)
                self._named = True

    def finish(self, footer: bytes) -> None:
        """Write the last line and the index.

        Raises:
            OSError: the disk refused; the file is readable without them.
        """
        self._rotation = None
        self.write(footer)
        if not self.feed.rewound:
            self._append(build_index(self._entries))

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self.written:
                with suppress(OSError):
                    self._beginning.unlink()

    def let_go(self) -> None:
        """Forget the file in a forked child: it is its parent's, which goes on writing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_frame(self, text: bytes) -> None:
        lines = text.count(b"\n")
        frame = pack(text, lines)
        self._append(frame)
        first = line_tick(text[: text.index(b"\n") + 1])
        last = line_tick(text[text.rfind(b"\n", 0, -1) + 1 :])
        if self._rotation is not None:
            self._count(text, last)
        self._index(len(frame), len(text), lines, first, last)

    # -- rotation ------------------------------------------------------------------------------------------------------

    def _count(self, text: bytes, last: int | None) -> None:
        for line in _split(text):
            fields = orjson.loads(line)
            self._part.add(count_fields(fields))
            for seen in line_messages(fields):
                self._tallies.see(*seen)
        if last is not None:
            self._part_ticks += max(0, last - (last if self._last_tick is None else self._last_tick))
            self._last_tick = last

    def _is_full(self, rotation: Rotation) -> bool:
        by_size = rotation.bytes is not None and self.written >= rotation.bytes
        by_time = rotation.ticks is not None and self._part_ticks >= rotation.ticks
        return bool(self._entries) and (by_size or by_time)

    def _rotate(self, rotation: Rotation) -> None:
        """Close the current file and begin the next one."""
        path = part_path(self.paths[0], len(self.paths))
        footer = footer_line(wall_ns(), self._part, self.tallies, path.name)
        self._append(pack(footer, 1) + (b"" if self.feed.rewound else build_index(self._entries)))
        if rotation.sync:
            self.sync()
        self.close()
        self.earlier_bytes += self.written
        self._earlier.add(self._part)
        self._part, self._part_ticks, self.written, self._tallies = Counts(), 0, 0, Tallies()
        self._entries, self._entry_text, self._highest_tick = [], 0, None
        if len(self.paths) > 1:
            self._header = self._header[: self._header.rindex(b',"part":')] + b"}\n"
        self._header = self._header[:-2] + b',"part":%d}\n' % len(self.paths)
        self.path = path
        self._named = False
        self.paths.append(path)
        self.open()

    def _append(self, data: bytes) -> None:
        try:
            done = os.pwrite(self._fd, data, self.written)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self.written + done)
        except OSError:
            self.cut_back()
            raise
        self.written += len(data)

    def _index(self, size: int, text: int, lines: int, first: int | None, last: int | None) -> None:
        high = self._highest_tick
        if high is not None and ((first is not None and first < high) or (last is not None and last < high)):
            self.feed.rewound = True
        if last is not None and (high is None or last > high):
            high = self._highest_tick = last
        high = 0 if high is None else high
        if self._entries and self._entry_text < ENTRY_TEXT:
            entry = self._entries[-1]
            self._entries[-1] = IndexEntry(entry.offset, entry.size + size, entry.first_tick, high, entry.lines + lines)
        else:
            self._entries.append(IndexEntry(self.written - size, size, high if first is None else first, high, lines))
            self._entry_text = 0
        self._entry_text += text


def _split(text: bytes) -> list[bytes]:
    """The lines of a text, each with its newline."""
    return [line + b"\n" for line in text.split(b"\n")[:-1]]


def _frame_end(text: bytes, begin: int) -> int:
    """Where the frame ends that begins here: as many whole lines as fit, at least one."""
    if len(text) - begin <= FRAME_TEXT:
        return len(text)
    return (text.rfind(b"\n", begin, begin + FRAME_TEXT) + 1) or (text.index(b"\n", begin) + 1)
