"""Which sessions are being recorded: a lock on their folders, which the system releases when a process dies."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from horus_async.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_TRIES, _PAUSE = 20, 0.01
"""How often, and how many seconds apart, a folder's lock is tried: who lists sessions has it for a moment."""
_pause = threading.Event()


class FolderLock:
    """Marks a session's folder as in use. On a file system without locks it does nothing, and nothing fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1

    def take(self) -> None:
        """Lock the folder, which belongs to this recording alone.

        Raises:
            OSError: the folder cannot be opened.
        """
        self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError:
            self.release()

    def release(self) -> None:
        """Unlock it. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_being_recorded(folder: Path) -> bool:
    """Whether a live process is recording into this folder."""
    try:
        with _held(folder, fcntl.LOCK_SH):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


@contextmanager
def not_being_recorded(folder: Path) -> Iterator[bool]:
    """Lock out recordings and other deletions of a folder; gives whether it is still there.

    Raises:
        RecordingError: it is being recorded into.
    """
    with ExitStack() as held:
        for _ in range(_TRIES):
            try:
                held.enter_context(_held(folder, fcntl.LOCK_EX))
                break
            except BlockingIOError:  # a recording has it, or for a moment somebody who looks, or deletes
                _pause.wait(_PAUSE)
            except FileNotFoundError:
                yield False
                return
            except OSError:
                break  # no locks on this file system: the caller's next step says so if it is anything else
        else:
            raise RecordingError(
                f"session {folder.name!r} is still being recorded: stop that run, or its recording, first"
            )
        yield folder.exists()


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
