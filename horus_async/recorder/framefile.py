"""One file of a session while it is written: lines gather in memory and go out as whole frames."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import define

from .frames import IndexEntry, build_index, pack
from .records import gap_line

if TYPE_CHECKING:
    from pathlib import Path

FRAME_TEXT = 1 << 20
"""Bytes of text after which a frame is packed without waiting for the flush."""

ENTRY_TEXT = 1 << 18
"""Bytes of text that one entry of the index covers at least. Frames of a slow recording are small; together they are
few enough to search through, and the index stays short."""


@define
class Counts:
    """How much a file holds, as its footer says it."""

    ticks: int = 0
    inputs: int = 0
    outputs: int = 0
    dropped: int = 0


@define
class _Gap:
    """Lines that are missing: the tick of the first, how many, and why."""

    tick: int
    dropped: int
    reason: str


class FrameFile:
    """Appends frames to a file and keeps what its index needs.

    A write that fails is cut off again, so the file ends with a whole frame as far as the disk obeys. ``header`` is
    written with the first flush, in a frame of its own.
    """

    def __init__(self, path: Path, header: bytes) -> None:
        self.path = path
        self.written = 0
        """Bytes of whole frames in the file."""
        self.counts = Counts()
        """What whole frames hold, and all that was ever dropped."""
        self.topics: set[str] = set()
        """The topics of the outputs."""
        self._header = header
        self._gap: _Gap | None = None
        self._lines: list[bytes] = []
        self._text_size = 0
        self._first_tick = self._last_tick = 0
        self._ticks = self._inputs = self._outputs = 0
        self._announced: list[_Gap] = []
        self._entries: list[IndexEntry] = []
        self._entry_text = 0
        self._highest_tick: int | None = None
        self._fd = -1

    # -- lines ---------------------------------------------------------------------------------------------------------

    def add(self, tick: int, line: bytes, *, ticks: int = 0, inputs: int = 0, outputs: int = 0) -> bool:
        """Keep a line for the next frame; True when that has grown large enough to be written.

        If lines were lost since the one before, a gap line says so first.
        """
        if self._gap is not None:
            self.announce_gap()
        self._add(tick, line)
        self._ticks += ticks
        self._inputs += inputs
        self._outputs += outputs
        return self._text_size >= FRAME_TEXT

    def lose(self, tick: int, lines: int, reason: str) -> None:
        """Count lines that will not be written."""
        self.counts.dropped += lines
        self._widen_gap(tick, lines, reason)

    def announce_gap(self) -> None:
        """Add the gap line of what was lost last, if anything was."""
        gap, self._gap = self._gap, None
        if gap is not None:
            self._add(gap.tick, gap_line(gap.tick, gap.dropped, gap.reason))
            self._announced.append(gap)

    def give_up(self, reason: str) -> None:
        """Lose the lines that wait for a frame."""
        later, self._gap = self._gap, None
        new = len(self._lines) - len(self._announced)
        if self._lines:
            self.counts.dropped += new
            self._widen_gap(self._first_tick, new + sum(gap.dropped for gap in self._announced), reason)
        if later is not None:
            self._widen_gap(later.tick, later.dropped, reason)
        self._clear()

    def _add(self, tick: int, line: bytes) -> None:
        if not self._lines:
            self._first_tick = self._last_tick = tick
        elif tick > self._last_tick:
            self._last_tick = tick
        self._lines.append(line)
        self._text_size += len(line)

    def _widen_gap(self, tick: int, lines: int, reason: str) -> None:
        if self._gap is None:
            self._gap = _Gap(tick, lines, reason)
        else:
            self._gap.dropped += lines

    def _clear(self) -> None:
        self._lines = []
        self._announced = []
        self._text_size = self._ticks = self._inputs = self._outputs = 0

    @property
    def last_tick(self) -> int:
        """The highest tick that a whole frame holds a line of; 0 if none does."""
        return self._highest_tick or 0

    # -- the file ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the file, which must not be there yet, and write its header.

        Raises:
            OSError: it cannot be made or written.
        """
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, 0o600)
        if not self.written:
            self._append(pack(self._header, 1))

    def flush(self) -> bool:
        """Write what has gathered as one frame, in one call; whether there was any.

        Raises:
            OSError: the disk refused. The lines still wait; ``give_up`` loses them.
        """
        if not self._lines:
            return False
        if not self.written:
            self.open()
        frame = pack(b"".join(self._lines), len(self._lines))
        self._append(frame)
        self._index(len(frame))
        self.counts.ticks += self._ticks
        self.counts.inputs += self._inputs
        self.counts.outputs += self._outputs
        self._clear()
        return True

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

    def seal(self) -> None:
        """Write the index.

        Raises:
            OSError: the disk refused; the file is readable without it.
        """
        self._append(build_index(self._entries))

    def close(self) -> None:
        """Close the file. Twice is once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> None:
        try:
            done = os.pwrite(self._fd, data, self.written)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self.written + done)
        except OSError:
            self.cut_back()
            raise
        self.written += len(data)

    def _index(self, size: int) -> None:
        high = self._last_tick if self._highest_tick is None else max(self._highest_tick, self._last_tick)
        self._highest_tick = high
        if self._entries and self._entry_text < ENTRY_TEXT:
            last = self._entries[-1]
            lines = last.lines + len(self._lines)
            self._entries[-1] = IndexEntry(last.offset, last.size + size, last.first_tick, high, lines)
        else:
            self._entries.append(IndexEntry(self.written - size, size, self._first_tick, high, len(self._lines)))
            self._entry_text = 0
        self._entry_text += self._text_size
