"""One trace file on disk: whole batches of lines or nothing, and readable after a kill up to the last batch."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_GZIP_WINDOW = 31
_LEVEL = 4


class TraceFile:
    """An open trace file. ``append`` either writes all its lines, flushed, or leaves the file as it was.

    Compressed, a file is one gzip stream with a sync flush after each batch: ``zcat`` and the readers here show
    everything up to the last batch even where the writer was killed. The compressor's state is copied before each
    batch, so that a batch which did not fit on the disk can be taken back and written again later.

    Raises (constructor): OSError: the file cannot be created; FileExistsError where it is there already.
    """

    def __init__(self, path: Path, *, compress: bool) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW) if compress else None
        self.size = 0
        self._torn = False

    def append(self, lines: bytes) -> None:
        """Write whole lines.

        Raises:
            OSError: they do not fit or the disk failed; the file is as before.
        """
        if self._compressor is None:
            self._write(lines)
            return
        compressor = self._compressor.copy()
        self._write(compressor.compress(lines) + compressor.flush(zlib.Z_SYNC_FLUSH))
        self._compressor = compressor

    def finish(self) -> None:
        """End the gzip stream.

        Raises:
            OSError: its last bytes do not fit; the file stays readable all the same.
        """
        if self._compressor is not None:
            self._write(self._compressor.copy().flush(zlib.Z_FINISH))

    def close(self) -> None:
        """Close the file descriptor."""
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        self._cut_back()
        self._torn = True
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._cut_back()
            raise
        self._torn = False
        self.size += len(data)

    def _cut_back(self) -> None:
        """Back to the last whole batch, where a write ended in the middle."""
        if self._torn:
            os.ftruncate(self._fd, self.size)
            os.lseek(self._fd, self.size, os.SEEK_SET)
            self._torn = False
