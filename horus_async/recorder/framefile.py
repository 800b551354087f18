"""One file of a session while it is written: lines gather in memory and go out as whole frames."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .frames import IndexEntry, build_index, pack

if TYPE_CHECKING:
    from pathlib import Path

FRAME_TEXT = 1 << 20
"""Bytes of text after which a frame is packed without waiting for the flush."""

ENTRY_TEXT = 1 << 18
"""Bytes of text that one entry of the index covers at least. Frames of a slow recording are small; together they are
few enough to search through, and the index stays short."""


class FrameFile:
    """Appends frames to a file and keeps what its index needs.

    A write that fails is cut off again: the file always ends with a whole frame, as far as the disk obeys.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        """Bytes of whole frames in the file."""
        self.ticks = self.inputs = self.outputs = self.dropped = 0
        self.gap: tuple[int, int, str] | None = None
        """What could not be kept since the last line: first tick, lines, reason."""
        self._lines: list[bytes] = []
        self._text_size = 0
        self._first_tick = self._last_tick = 0
        self._entries: list[IndexEntry] = []
        self._entry_text = 0
        self._highest_tick: int | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(path, flags, 0o600)

    def add(self, tick: int, line: bytes) -> bool:
        """Keep a line for the next frame; True when the frame has grown large enough to be written."""
        if not self._lines:
            self._first_tick = self._last_tick = tick
        elif tick > self._last_tick:
            self._last_tick = tick
        self._lines.append(line)
        self._text_size += len(line)
        return self._text_size >= FRAME_TEXT

    def lose(self, tick: int, lines: int, reason: str) -> None:
        """Count lines that will not be written."""
        first, before, why = self.gap or (tick, 0, reason)
        self.gap = (first, before + lines, why)
        self.dropped += lines

    @property
    def waiting(self) -> int:
        """Lines that no frame holds yet."""
        return len(self._lines)

    def flush(self) -> int:
        """Write what has gathered as one frame, in one call; the bytes written.

        Raises:
            OSError: the disk refused. The lines are kept; ``forget`` gives them up.
        """
        if not self._lines:
            return 0
        frame = pack(b"".join(self._lines), len(self._lines))
        self._append(frame)
        self._index(len(frame))
        self.forget()
        return len(frame)

    def forget(self) -> tuple[int, int]:
        """Give up the lines that wait; the first tick among them and how many there were."""
        lost = self._first_tick, len(self._lines)
        self._lines = []
        self._text_size = 0
        return lost

    def cut_back(self) -> None:
        """Cut whatever a failed write left behind the last whole frame.

        Raises:
            OSError: the disk refused that, too.
        """
        os.ftruncate(self._fd, self.written)

    def sync(self) -> None:
        """Ask the disk to have what was written.

        Raises:
            OSError: it cannot.
        """
        os.fsync(self._fd)

    def seal(self) -> int:
        """Write the index; the bytes written.

        Raises:
            OSError: the disk refused; the file is readable without it.
        """
        index = build_index(self._entries)
        self._append(index)
        return len(index)

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
        offset = self.written - size
        if self._entries and self._entry_text < ENTRY_TEXT:
            last = self._entries[-1]
            self._entries[-1] = IndexEntry(
                last.offset, last.size + size, last.first_tick, high, last.lines + len(self._lines)
            )
        else:
            self._entries.append(IndexEntry(offset, size, self._first_tick, high, len(self._lines)))
            self._entry_text = 0
        self._entry_text += self._text_size
