"""The box of a running process: one file of a fixed size, mapped into memory, and the thread that looks after it.

``record`` formats an event and stores it in the mapped file; from then on it is the kernel's, whatever becomes of the
process. A worker thread compresses what is full and brings it to the disk, once every ``sync_interval`` seconds.
``os.fdatasync`` does that rather than ``mmap.flush``, which holds the GIL and with it the event loop.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import lz4.block
import orjson
from platformdirs import user_state_path

from horus_async.blackbox import layout
from horus_async.blackbox.events import Custom, node_tick_format
from horus_async.blackbox.fatal import FatalSignals
from horus_async.blackbox.place import find_box, place_box
from horus_async.blackbox.reader import BlackBoxReader
from horus_async.blackbox.ring import Ring
from horus_async.blackbox.shorten import shortened_json
from horus_async.clock.system import NANOSECONDS, iso_utc, monotonic_ns, wall_ns
from horus_async.errors import BlackBoxError, ConfigurationError

if TYPE_CHECKING:
    from horus_async.blackbox.events import Event, Record
    from horus_async.blackbox.reader import Kinds, Ticks
    from horus_async.blackbox.ring import Spent

_log = logging.getLogger(__name__)
_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def default_blackbox_dir() -> Path:
    """Where boxes go by default: ``HORUS_BLACKBOX_DIR``, else ``horus/blackbox`` in the user's state folder."""
    if chosen := os.environ.get("HORUS_BLACKBOX_DIR"):
        return Path(chosen).expanduser()
    return user_state_path("horus", appauthor=False) / "blackbox"


class BlackBox:
    """A box that this process writes. Made by ``BlackBox.create``; any thread may record.

    Attributes:
        path: the file.
        run: the id of this run.
        sync_error: why the last attempt to bring the box to the disk failed, or None. Events are still kept then, and
            survive the process, but not a power cut.
    """

    def __init__(self, fd: int, path: Path, header: layout.FileHeader, sync_interval: float | None) -> None:
        self.path = path
        self.run = header.run
        self.sync_error: str | None = None
        self._fd = fd
        self._interval_ns = None if sync_interval is None else int(sync_interval * NANOSECONDS)
        self._map = mmap.mmap(fd, header.size)
        self._words = memoryview(self._map).cast("Q")
        ring = Ring(
            self._map,
            self._words,
            segments=header.segments,
            segment_size=header.segment_size,
            salt=header.salt,
            run=orjson.dumps(header.run),
        )
        self._ring: Ring | None = ring
        self._longest = ring.longest
        self._lost = 0
        self._tick = 0
        self._templates: dict[tuple[str, bool], bytes] = {}
        self._why_closed = "it is closed"
        self._fatal_signals: FatalSignals | None = None
        self._lock = threading.Lock()
        self._close_lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._header = header
        self._worker = threading.Thread(target=self._look_after, name=f"blackbox {header.name}", daemon=True)
        self._worker.start()
        _open_boxes.add(self)

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str] | None = None,
        *,
        name: str = "scheduler",
        size_mb: int = 16,
        run: str | None = None,
        keep: int = 3,
        sync_interval: float | None = 1.0,
    ) -> Self:
        """Open a new box ``<name>.hbb``; the one that is there becomes ``<name>~1.hbb``, that one ``<name>~2.hbb``, ...

        Args:
            folder: where, ``default_blackbox_dir()`` by default. Made with mode 0700 where it is missing.
            name: the scheduler's name.
            size_mb: the size of the file in units of 2**20 bytes, all of it allocated now.
            run: the id of the run; made up from the time by default.
            keep: how many boxes of earlier runs are kept.
            sync_interval: what a power cut may cost, in seconds; None leaves it to the operating system.

        Raises:
            ConfigurationError: an option cannot work.
            BlackBoxError: the disk is full, another process uses this box, or the file cannot be made.
        """
        if sys.byteorder == "big":
            raise BlackBoxError("the black box needs a little-endian machine; use blackbox_mb=0 here")
        if type(size_mb) is not int or size_mb < 1:
            raise ConfigurationError(f"size_mb is {size_mb!r}; a black box has a whole number of MiB, at least 1")
        if keep < 1:
            raise ConfigurationError(f"keep is {keep!r}; at least the last run's box is kept")
        if sync_interval is not None and not 0 < sync_interval < float("inf"):
            raise ConfigurationError(f"sync_interval is {sync_interval!r}; use seconds above 0, or None")
        now = wall_ns()
        size = size_mb * 2**20
        header = layout.FileHeader(
            name=name,
            run=run or f"{iso_utc(now)[:19].replace(':', '').replace('-', '')}-{secrets.token_hex(3)}",
            pid=os.getpid(),
            started_at=iso_utc(now),
            started_ns=now,
            size=size,
            segment_size=layout.segment_size_for(size),
            salt=secrets.randbits(32),
        )
        fd, path = place_box(Path(folder).expanduser() if folder is not None else default_blackbox_dir(), header, keep)
        try:
            return cls(fd, path, header, sync_interval)
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, event: Event, tick: int, time_ns: int) -> None:
        """Put an event into the box. When this returns, ``kill -9`` cannot take it away.

        Args:
            event: what happened. One too large for the box is shortened and says so.
            tick: the scheduler's tick.
            time_ns: time of day, nanoseconds since 1970. It may step backwards; the order is that of the calls.

        Raises:
            BlackBoxError: the box is closed, or belongs to the process this one was forked from.
        """
        own = event.own_json()
        if len(own) > self._longest:
            own = shortened_json(event, self._longest)
        with self._lock:
            if self._ring is None:
                raise BlackBoxError(f"the black box {self.path} takes no events: {self._why_closed}")
            self._tick = tick
            if self._ring.append(tick, time_ns, own):
                self._wake.set()

    def record_tick(self, node: str, tick: int, took_ns: int, *, success: bool) -> None:
        """Record that a node's tick ended, now: a `NodeTick`, of which there are more than of all the others.

        Args:
            node: its name.
            tick: the scheduler's tick.
            took_ns: how long it took, in nanoseconds.
            success: it did not raise.

        Raises:
            BlackBoxError: as `record`.
        """
        template = self._templates.get((node, success))
        with self._lock:
            ring = self._ring
            if ring is None:
                raise BlackBoxError(f"the black box {self.path} takes no events: {self._why_closed}")
            if template is None:
                template = self._templates[node, success] = ring.template(node_tick_format(node, success=success))
            self._tick = tick
            if ring.append_body(template % (ring.next_seq, tick, wall_ns(), took_ns // 1000)):
                self._wake.set()

    @property
    def tick(self) -> int:
        """The scheduler's tick of the last event."""
        return self._tick

    def catch_fatal_signals(self) -> None:
        """From here until it is closed, a fatal signal (a segmentation fault, an abort) leaves its stack in the box."""
        with self._lock:
            if self._ring is not None and self._fatal_signals is None:
                self._fatal_signals = FatalSignals(self.path, self._header)

    def custom(self, category: str, message: str, /, **data: Any) -> None:
        """Record an event of your own, with the time of day and the tick of the event before it.

        ``data`` may hold anything JSON has, NaN and integers of any size; the rest is kept as its ``repr``.
        """
        self.record(Custom(category, message, data), self._tick, wall_ns())

    @property
    def lost(self) -> int:
        """How many events have been overwritten by later ones."""
        ring = self._ring
        return self._lost if ring is None else ring.lost

    def events(
        self, kind: Kinds = None, node: str | None = None, ticks: Ticks = None, last: int | None = None
    ) -> list[Record]:
        """What the box holds, oldest first, also after it was closed. The arguments are those of the reader.

        Raises:
            BlackBoxError: there is no such kind of event, or the file of a closed box is gone.
        """
        with self._reader() as reader:
            return reader.events(kind, node, ticks, last)

    def anomalies(self) -> list[Record]:
        """The events that say something went wrong, oldest first."""
        with self._reader() as reader:
            return reader.anomalies()

    def close(self) -> None:
        """Bring everything to the disk and give the file free for the next run. Twice is fine."""
        with self._close_lock:
            if self._closing:
                return
            self._closing = True
        self._wake.set()
        self._worker.join()
        with self._lock:
            self._shut("it is closed")
        _open_boxes.discard(self)

    def _reader(self) -> BlackBoxReader:
        with self._lock:
            if self._ring is not None:
                return BlackBoxReader(os.dup(self._fd), self.path)
        return find_box(self.path, self._header)

    def _shut(self, why: str) -> None:
        if self._ring is not None:
            self._lost = self._ring.lost
            self._why_closed = why
            self._ring = None
            if self._fatal_signals is not None:
                self._fatal_signals.close()
            self._words.release()
            self._map.close()
            os.close(self._fd)

    def let_go(self) -> None:
        """In a forked child: forget the file, without a word to the parent's lock and thread."""
        self._lock = threading.Lock()
        self._closing = True
        self._shut(f"it belongs to process {os.getppid()}")

    def _look_after(self) -> None:
        """The worker thread: seal what is full, sync what is due."""
        due = monotonic_ns() + (self._interval_ns or 0)
        synced = -1
        while True:
            wait = None if self._interval_ns is None else max(0, due - monotonic_ns()) / NANOSECONDS
            self._wake.wait(wait)
            self._wake.clear()
            closing = self._closing
            self._seal_full()
            assert self._ring is not None
            with self._lock:
                recorded, spent, short = self._ring.next_seq, self._ring.spent(), self._ring.is_short
            if self._interval_ns is None:
                self._release(spent)
            elif closing or (short and spent) or monotonic_ns() >= due:
                if recorded != synced or spent:
                    self._sync()
                self._release(spent)
                synced = recorded
                due = monotonic_ns() + self._interval_ns
            if closing:
                return

    def _seal_full(self) -> None:
        assert self._ring is not None
        while True:
            with self._lock:
                full = self._ring.take_full()
            if full is None:
                return
            packed = lz4.block.compress(full.lines, store_size=False)
            with self._lock:
                if not self._ring.seal(full, packed):
                    return

    def _release(self, spent: tuple[Spent, ...]) -> None:
        assert self._ring is not None
        with self._lock:
            self._ring.release(spent)
            if spent and self._ring.has_full:
                self._wake.set()  # what found no room may find it now

    def _sync(self) -> None:
        try:
            _fdatasync(self._fd)
        except OSError as error:
            if self.sync_error is None:
                _log.error("the black box %s cannot be brought to the disk: %s", self.path, error.strerror)
            self.sync_error = str(error.strerror)


_open_boxes: weakref.WeakSet[BlackBox] = weakref.WeakSet()


def _let_go_after_fork() -> None:
    for box in list(_open_boxes):
        box.let_go()
    _open_boxes.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
