"""The log of a session as it is written: what has come since one last looked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from horus_async.errors import DamagedRecordingError
from horus_async.recorder.frames import Damage, scan
from horus_async.recorder.locking import is_being_recorded
from horus_async.recorder.log_lines import LogLine
from horus_async.recorder.records import Footer, GapRecord, parse_line

from .listing import open_session
from .reader import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LogTail:
    """The log of one session, from its beginning on. Call `new` over and over.

    Args:
        folder: The session's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._offset = 0
        self.ended = False
        """Whether no more comes: it was closed, or nobody records it any more."""
        self.damaged = 0
        """Stretches of the file that could not be read."""
        self.dropped = 0
        """Lines that the recorder had to drop."""

    def new(self) -> Iterator[LogLine]:
        """What has been written since the last call."""
        going_on = is_being_recorded(self._folder)  # before the look: what is written after it is for the next one
        if self._path is None:
            file = open_session(self._folder).log_file
            self._path = None if file is None else file.paths[0]
        while self._path is not None:
            path = self._path
            yield from self._read(path)
            if self._path == path:
                break
        self.ended = self.ended or not going_on

    def _read(self, path: Path) -> Iterator[LogLine]:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size

            def read(offset: int, count: int) -> bytes:
                return os.pread(file.fileno(), count, offset)

            for piece in scan(read, self._offset, size):
                if isinstance(piece, Damage):
                    if piece.torn:
                        return  # a frame that is being written
                    self.damaged += 1
                else:
                    yield from self._lines(piece.text)
                if self._path != path:
                    return  # it goes on in another file
                self._offset = piece.offset + piece.size

    def _lines(self, text: bytes) -> Iterator[LogLine]:
        for line in lines_of(text):
            try:
                record = parse_line(line)
            except DamagedRecordingError:
                self.damaged += 1
                continue
            if isinstance(record, LogLine):
                yield record
            elif isinstance(record, GapRecord):
                self.dropped += record.dropped
            elif isinstance(record, Footer):
                self._follow(record.next)

    def _follow(self, name: str | None) -> None:
        if name is None or "/" in name:
            self.ended = True
        else:
            self._path, self._offset = self._folder / name, 0
