"""One trace file on disk: whole batches of lines or nothing, and readable after a kill up to the last batch."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from horus_async.append_file import AppendFile

if TYPE_CHECKING:
    from pathlib import Path

_GZIP_WINDOW = 31
_LEVEL = 4


class TraceFile(AppendFile):
    """A trace file; its pieces are batches of whole lines.

    Compressed, a file is one gzip stream with a sync flush after each batch: ``zcat`` and the readers here show
    everything up to the last batch even if the writer was killed. Each batch is compressed with a copy of the
    compressor's state, so one that does not fit on the disk leaves no mark and can be written again later.

    Raises (constructor): OSError: the file cannot be created; FileExistsError if it is there already.
    """

    def __init__(self, path: Path, *, compress: bool) -> None:
        super().__init__(path)
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW) if compress else None

    def append(self, data: bytes) -> None:
        """Write whole lines.

        Raises:
            OSError: they do not fit or the disk failed; the file is as before.
        """
        if self._compressor is None:
            super().append(data)
            return
        compressor = self._compressor.copy()
        super().append(compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))
        self._compressor = compressor

    def finish(self) -> None:
        """End the gzip stream.

        Raises:
            OSError: its last bytes do not fit; the file stays readable all the same.
        """
        if self._compressor is not None:
            super().append(self._compressor.copy().flush(zlib.Z_FINISH))
