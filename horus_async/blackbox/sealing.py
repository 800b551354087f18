"""The thread behind a box: it compresses full segments and syncs the box to disk.

The event loop, with which it shares the interpreter, must not feel it. Compressing and syncing release the interpreter
lock (``os.fdatasync`` rather than ``mmap.flush``, which holds it). Turning compact records into lines needs the lock,
so it is done a few at a time with pauses in between. While the loop keeps the processor busy, records stay as they were
written; they take little more room than their lines would take compressed.
"""

from __future__ import annotations

import logging
import os
import threading
from itertools import islice
from typing import TYPE_CHECKING

import lz4.block

from horus_async.clock.system import NANOSECONDS, monotonic_ns

from . import layout
from .compact import MARK
from .scan import event_lines

if TYPE_CHECKING:
    from pathlib import Path

    from .ring import FullSegment, Ring, Spent

_log = logging.getLogger(__name__)
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

_AT_ONCE = 16
"""How many events become lines between two pauses: some 30 µs that the event loop may have to wait."""
_PAUSES = (0.0005, 0.1)
"""Shortest and longest, in seconds. Having to wait for the interpreter lengthens them: the loop needs it more."""

_WAITED = 0.002
"""Seconds in excess of a pause that show a busy loop: threads switch only every 5 ms, unless one of them waits."""


class SealingWorker:
    """Looks after one ring from `start` to `stop`.

    Args:
        ring: the ring whose full segments are sealed.
        lock: held for each call of the ring.
        fd: the box, to sync.
        header: the box's.
        path: the box, for messages.
        sync_interval: seconds between syncs; None leaves them to the operating system.

    Attributes:
        sync_error: why the last attempt to sync the box to disk failed, or None.
    """

    def __init__(
        self,
        ring: Ring,
        lock: threading.Lock,
        *,
        fd: int,
        header: layout.FileHeader,
        path: Path,
        sync_interval: float | None,
    ) -> None:
        self.sync_error: str | None = None
        self._ring = ring
        self._lock = lock
        self._fd = fd
        self._header = header
        self._path = path
        self._interval_ns = None if sync_interval is None else int(sync_interval * NANOSECONDS)
        self._due_ns = monotonic_ns() + (self._interval_ns or 0)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name=f"blackbox {header.name}", daemon=True)
        self.wake = self._wake.set
        """Say that there is something to seal. From any thread; cheap."""
        self.start = self._thread.start

    def stop(self) -> None:
        """Sync everything to disk and end. What is not sealed by now stays raw."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _look_after(self) -> None:
        synced = -1
        stopping = False
        while not stopping:
            wait = None if self._interval_ns is None else max(0, self._due_ns - monotonic_ns()) / NANOSECONDS
            self._wake.wait(wait)
            self._wake.clear()
            stopping = self._stopping.is_set()
            self._seal_full()
            with self._lock:
                recorded, spent, short = self._ring.next_seq, self._ring.spent(), self._ring.is_short
            if self._interval_ns is None:
                self._release(spent)
            elif stopping or (short and spent) or monotonic_ns() >= self._due_ns:
                if recorded != synced or spent:
                    self._sync()
                self._release(spent)
                synced = recorded
                self._due_ns = monotonic_ns() + self._interval_ns

    def _seal_full(self) -> None:
        while True:
            with self._lock:
                full = self._ring.take_full() if self._ring.is_pressed else None
            if full is None:
                return
            lines = self._as_lines(full)
            if lines is None:
                continue
            packed = lz4.block.compress(lines, store_size=False)
            with self._lock:
                if not self._ring.seal(full, packed, len(lines)):
                    return

    def _as_lines(self, full: FullSegment) -> bytes | None:
        """The events of a full segment as lines; None when it has to stay raw: it is damaged, or there is no time."""
        content = full.lines
        if MARK not in content:
            return content
        lines: list[bytes] = []
        events = event_lines(content, layout.line_salt(self._header.salt, full.generation))
        pause, longest = _PAUSES
        try:
            while some := list(islice(events, _AT_ONCE)):
                lines += some
                before_ns = monotonic_ns()
                if self._stopping.wait(pause):
                    return None
                waited = (monotonic_ns() - before_ns) / NANOSECONDS - pause
                pause = min(2 * pause, longest) if waited > _WAITED else _PAUSES[0]
                if self._interval_ns is not None and monotonic_ns() >= self._due_ns:
                    self._sync()  # sealing may take many seconds, and a power cut must not cost them
                    self._due_ns = monotonic_ns() + self._interval_ns
        except ValueError:
            return None  # readers report it
        return b"".join(lines)

    def _release(self, spent: tuple[Spent, ...]) -> None:
        with self._lock:
            self._ring.release(spent)
            if spent and self._ring.is_pressed:
                self._wake.set()  # what found no room may find some now

    def _sync(self) -> None:
        try:
            _fdatasync(self._fd)
        except OSError as error:
            if self.sync_error is None:
                _log.error("the black box %s cannot be brought to the disk: %s", self._path, error.strerror)
            self.sync_error = str(error.strerror)
