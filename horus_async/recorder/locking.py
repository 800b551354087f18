"""Which sessions are being recorded: a lock on their folders, which the system releases when a process dies.

Where the file system has no locks (some network mounts), a file in the folder says that it is in use, until the
recording ends. A killed process leaves it there, and then nobody can tell: such a session is not deleted.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from horus_async.errors import RecordingError

from .manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_TRIES, _PAUSE = 20, 0.01
"""How often, and how many seconds apart, a folder's lock is tried: who lists sessions has it for a moment."""
_pause = threading.Event()
UNLOCKED = ".recording-without-lock"
"""The file that says so."""


class FolderLock:
    """Marks a session's folder as in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._marked_by = 0

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
            (self._folder / UNLOCKED).touch(0o600)
            self._marked_by = os.getpid()

    def release(self) -> None:
        """Unlock it. Idempotent."""
        if self._marked_by == os.getpid():  # a fork has the object, and not the recording
            self._marked_by = 0
            with suppress(OSError):
                (self._folder / UNLOCKED).unlink(missing_ok=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_being_recorded(folder: Path) -> bool:
    """Whether a live process is recording into this folder, or may be: where nobody can tell."""
    try:
        with _held(folder, fcntl.LOCK_SH):
            return is_marked(folder)
    except BlockingIOError:
        return True
    except OSError:
        return folder.is_dir() and _may_be_recorded(folder)


def is_marked(folder: Path) -> bool:
    """Whether it was recorded without a lock and was not closed: its process may live or not."""
    return (folder / UNLOCKED).exists()


def _may_be_recorded(folder: Path) -> bool:
    """Where there are no locks: whether nothing says that the recording has ended."""
    if is_marked(folder):
        return True
    try:
        manifest = read_manifest(folder)
    except RecordingError:
        return False  # nothing of it can be told
    return manifest is not None and manifest.get("ended_at") is None


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
            except OSError:  # no locks on this file system: the caller's next step says so if it is anything else
                if _may_be_recorded(folder):
                    raise RecordingError(_unknown(folder)) from None
                break
        else:
            raise RecordingError(
                f"session {folder.name!r} is still being recorded: stop that run, or its recording, first"
            )
        if is_marked(folder):
            raise RecordingError(_unknown(folder))
        yield folder.exists()


def _unknown(folder: Path) -> str:
    return (
        f"session {folder.name!r} was not closed and may still be recorded, which cannot be told where the file system "
        f"has no locks: if no process records it, delete {folder} by hand"
    )


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
