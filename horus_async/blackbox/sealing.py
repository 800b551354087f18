"""The thread behind a box: it compresses full segments and syncs the box to disk.

The event loop, with which it shares the interpreter, must not feel it. Compressing and syncing release the interpreter
lock (``os.fdatasync`` rather than ``mmap.flush``, which holds it). Content is compressed as it stands: making lines of
compact records would take a hundred times as long, and the result would be larger.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import lz4.block

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.errors import BlackBoxError
from horus_async.limits import disk
from horus_async.limits.open_files import why
from horus_async.limits.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.limits.disk import Beside

    from . import layout
    from .entry import Entry
    from .ring import Ring, Spent

_log = logging.getLogger(__name__)
_PART = 1 << 16
"""Bytes of a box in memory that are compared, and copied, at a time."""
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class SealingWorker:
    """Looks after one ring from `start` to `stop`.

    Args:
        ring: the ring whose full segments are sealed.
        entry: gone through for each call of the ring.
        fd: the box, to sync.
        header: the box's.
        path: the box, for messages.
        sync_interval: seconds between syncs; None leaves them to the operating system.
        mirror: copies the box to the disk, if it is in memory.

    Attributes:
        sync_error: why the last attempt to sync the box to disk failed, or None.
    """

    def __init__(
        self,
        ring: Ring,
        entry: Entry,
        *,
        fd: int,
        header: layout.FileHeader,
        path: Path,
        sync_interval: float | None,
        mirror: Mirror | None = None,
    ) -> None:
        self.sync_error: str | None = None
        self._ring = ring
        self._entry = entry
        self._fd = fd
        self._path = path
        self._mirror = mirror
        self._given_up = False
        self._then: Callable[[], None] | None = None
        self._interval_ns = None if sync_interval is None else int(sync_interval * NANOSECONDS)
        self._due_ns = monotonic_ns() + (self._interval_ns or 0)
        self._woken: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"blackbox {header.name}", daemon=True)
        self.wake = partial(self._woken.put, None)
        """Say that there is something to seal. From any thread and any signal handler; cheap."""
        self.start = partial(start_thread, self._thread)

    def stop(self) -> bool:
        """Sync everything to disk and end. What is not sealed by now stays raw.

        Returns:
            Whether the disk was quick enough; else the thread goes on waiting for it, and touches the ring no more.
        """
        self._stopping = True
        self.wake()
        if threading.current_thread() is not self._thread:  # a box that is dropped may be taken apart by any thread
            self._given_up = not disk.wait_at_end(self._is_over_within)
        return not self._given_up

    def when_over(self, then: Callable[[], None]) -> None:
        """Call something that may be called twice once the thread has ended, which was not waited for."""
        self._then = then
        if not self._thread.is_alive():
            then()

    def _is_over_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._look_after()
        finally:
            if self._then is not None:
                self._then()

    def _look_after(self) -> None:
        synced = -1
        stopping = False
        while not stopping:
            wait = None if self._interval_ns is None else max(0, self._due_ns - monotonic_ns()) / NANOSECONDS
            self._sleep(wait)
            stopping = self._stopping
            with suppress(MemoryError):  # tried again with the next event; till then whoever records seals
                self._seal_full()
            with self._entry:
                recorded, spent, short = self._ring.next_seq, self._ring.spent(), self._ring.is_short
            if self._interval_ns is None:
                self._release(spent)
            elif stopping or (short and spent) or monotonic_ns() >= self._due_ns:
                with self._entry:
                    recorded, spent = self._ring.next_seq, self._ring.begin_sync()
                if recorded != synced or spent:
                    self._sync()
                if self._given_up:
                    return
                self._release(spent)
                synced = recorded
                self._due_ns = monotonic_ns() + self._interval_ns

    def _seal_full(self) -> None:
        while True:
            with self._entry:
                full = self._ring.take_full() if self._ring.is_pressed else None
            if full is None:
                return
            packed = lz4.block.compress(full.lines, store_size=False)
            with self._entry:
                if not self._ring.seal(full, packed, len(full.lines)):
                    return

    def _sleep(self, longest: float | None) -> None:
        """Until there is something to do, or so many seconds are over."""
        with suppress(Empty):
            self._woken.get(timeout=longest)
            while True:
                self._woken.get_nowait()  # once is enough

    def _release(self, spent: tuple[Spent, ...]) -> None:
        with self._entry:
            self._ring.release(spent)
            found_room = bool(spent) and self._ring.is_pressed
        if found_room:
            self.wake()  # what found no room may find some now

    def _sync(self) -> None:
        try:
            if self._mirror is None:
                _fdatasync(self._fd)
            else:
                self._mirror.copy(_fdatasync)
        except (OSError, BlackBoxError) as error:
            said = why(error) if isinstance(error, OSError) else str(error)
            if self.sync_error is None:
                _log.error("the black box %s cannot be brought to the disk: %s", self._path, said)
            self.sync_error = said


class Mirror:
    """Copies a box from memory to its file, which is being made: its disk was too slow to wait for.

    Args:
        memory: the descriptor of the one in memory.
        size: its bytes.
        placing: makes the file; see `place.place_box`.
    """

    def __init__(self, memory: int, size: int, placing: Beside[tuple[int, Path]]) -> None:
        self._memory = memory
        self._size = size
        self._placing = placing
        self._fd = -1
        self._copied: dict[int, bytes] = {}
        """A digest of each part as it is in the file."""

    def copy(self, sync: Callable[[int], None]) -> None:
        """Copy what has changed, once there is a file.

        Raises:
            OSError, BlackBoxError: there is none, or the disk refused.
        """
        if self._fd < 0:
            self._fd = self._placing.result()[0]
        for offset in range(0, self._size, _PART):
            part = os.pread(self._memory, _PART, offset)
            digest = hashlib.blake2b(part, digest_size=16).digest()
            if self._copied.get(offset) != digest:
                os.pwrite(self._fd, part, offset)
                self._copied[offset] = digest
        sync(self._fd)

    def close(self) -> None:
        """Close the file, and with it give up its lock."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
