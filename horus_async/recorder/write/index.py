"""The index of a file, gathered while its frames are written."""

from __future__ import annotations

from horus_async.recorder.frames import IndexEntry, build_index

ENTRY_TEXT = 1 << 18
"""Bytes of text that one entry covers at least. Frames of a slow recording are small; several of them together are few
enough to search through, and the index stays short."""


class IndexBuilder:
    """Entries of the frames written so far.

    Args:
        highest: The highest tick of the file that this one continues; of what has no tick it is the one.
        loose: The newest tick in which something was sent outside a callback in that file. Lines of callbacks that
            lasted longer may come after it.
    """

    def __init__(self, highest: int | None = None, loose: int | None = None) -> None:
        self._before = highest or 0
        self._loose_before = loose
        self._entries: list[IndexEntry] = []
        self._entry_text = 0
        self._highest_tick: int | None = None
        self.went_back = False
        """Whether ticks went back somewhere, so that the entries cannot be searched."""

    @property
    def highest(self) -> int | None:
        """The highest tick so far; None without frames."""
        return self._entries[-1].last_tick if self._entries else None

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, offset: int, size: int, *, text: int, lines: int, first: int | None, last: int | None, loose: int | None
    ) -> None:
        """Take in a frame.

        Args:
            offset: where it lies.
            size: its bytes.
            text: the bytes of its text.
            lines: how many there are.
            first: the tick of its first line, None if that has none.
            last: the tick of its last one.
            loose: the newest tick in which something was sent outside a callback. Ticks go back after that, where a
                callback lasted longer; a search has to begin early enough for both.
        """
        high = self._highest_tick
        if high is not None and ((first is not None and first < high) or (last is not None and last < high)):
            self.went_back = True
        if last is not None and (high is None or last > high):
            high = self._highest_tick = last
        high = max((tick for tick in (high, loose) if tick is not None), default=self._before)
        if self._entries and self._entry_text < ENTRY_TEXT:
            entry = self._entries[-1]
            self._entries[-1] = IndexEntry(entry.offset, entry.size + size, entry.first_tick, high, entry.lines + lines)
        else:
            # One that begins within the previous one, after something was sent outside a callback, is put behind it:
            # a reader takes an index whose entries overlap for one of a recording in which ticks go back.
            begins = high if first is None else first
            if self._entries:
                begins = max(begins, self._entries[-1].last_tick)
            elif self._loose_before is not None:
                begins, high = max(begins, self._loose_before), max(high, self._loose_before)
            self._entries.append(IndexEntry(offset, size, begins, high, lines))
            self._entry_text = 0
        self._entry_text += text

    def build(self) -> bytes:
        """The frame that holds the index."""
        return build_index(self._entries)
