"""A file that grows by whole pieces, whatever the disk does: the base of recordings and request traces."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from .limits.open_files import with_room

if TYPE_CHECKING:
    from pathlib import Path


class AppendFile:
    """A new file, readable by its owner only. Each `append` is in it completely or not at all.

    What a failed write left behind the last whole piece is cut off at once or, where the disk refuses even that, before
    the next piece. So the same piece can be tried again. Only a killed process leaves a torn piece, the last one.

    Raises:
        OSError: it cannot be made; ``FileExistsError`` if it is there already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes of whole pieces."""
        self._torn = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = with_room(partial(os.open, path, flags, 0o600), urgent=True)
        os.fchmod(self._fd, 0o600)  # whatever the umask

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called."""
        return self._fd >= 0

    def append(self, data: bytes) -> None:
        """Write a piece.

        Raises:
            OSError: the disk refused it; ``size`` is as before.
        """
        self.cut_back()
        self._torn = True
        try:
            done = os.pwrite(self._fd, data, self.size)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self.size + done)
        except (OSError, MemoryError):
            self.cut_back()
            raise
        self._torn = False
        self.size += len(data)

    def cut_back(self) -> None:
        """Cut off what a failed write left behind, if anything.

        Raises:
            OSError: the disk refuses that, too.
        """
        if self._torn:
            os.ftruncate(self._fd, self.size)
            self._torn = False

    def rename(self, path: Path) -> None:
        """Give the file another name in the same folder.

        Raises:
            OSError: it cannot be renamed.
        """
        os.rename(self.path, path)  # noqa: PTH104 - tests make this module's calls to ``os`` fail
        self.path = path

    def sync(self) -> None:
        """Have the disk itself store what was written, though not the file's name.

        Raises:
            OSError: it cannot.
        """
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file descriptor. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
