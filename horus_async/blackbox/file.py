"""The box of a running process: one file of a fixed size, mapped into memory, and the thread that looks after it.

``record`` formats an event and stores it in the mapped file; from then on it is the kernel's, whatever becomes of the
process. The rest is done behind the event loop's back, see ``sealing``.

Longer than most modules: opening, recording, closing and forking all concern one mapping, which none may use after
another has closed it.
"""

from __future__ import annotations

import mmap
import os
import secrets
import sys
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
from platformdirs import user_state_path

from horus_async.clock.system import iso_utc, wall_ns
from horus_async.errors import BlackBoxError, ConfigurationError

from . import layout
from .events import Custom, DeadlineMiss, NodeTick
from .fatal import FatalSignals
from .place import find_box, place_box
from .reader import BlackBoxReader
from .ring import Ring
from .sealing import SealingWorker
from .shorten import shortened_json

if TYPE_CHECKING:
    from horus_async.observe import TickListener

    from .events import BudgetViolation, Event, Record
    from .reader import Kinds, Ticks
    from .ring import Writer

    Late = type[DeadlineMiss | BudgetViolation]


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
    """

    def __init__(self, fd: int, path: Path, header: layout.FileHeader, sync_interval: float | None) -> None:
        self.path = path
        self.run = header.run
        self._fd = fd
        self._header = header
        self._map = mmap.mmap(fd, header.size)
        self._words = memoryview(self._map).cast("Q")
        self._ring = Ring(
            self._map,
            self._words,
            segments=header.segments,
            segment_size=header.segment_size,
            salt=header.salt,
            run=orjson.dumps(header.run),
        )
        self._longest = self._ring.longest
        self._head = len(orjson.dumps({"seq": 0, "run": header.run, "tick": 0, "time_ns": 0, "event": 0}))
        self._late_writers: dict[tuple[type[Event], str], Writer | None] = {}
        self._fatal_signals: FatalSignals | None = None
        self._open = True
        self._closing = False
        self._close_lock = threading.Lock()
        self._lock = threading.Lock()
        """Held for each call of the ring."""
        self._worker = SealingWorker(
            self._ring, self._lock, fd=fd, header=header, path=path, sync_interval=sync_interval
        )
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
        kind = type(event).__name__
        fields = {"seq": 0, "run": self.run, "tick": tick, "time_ns": time_ns, "event": kind, **event.to_dict()}
        if not self._put(fields):
            self._put_with_care(event, tick, time_ns)

    def _put(self, fields: dict[str, Any]) -> bool:
        """Record the event with this JSON, if that takes no more than orjson; without a tick, at that of the last."""
        ring = self._ring
        self._lock.acquire()
        try:
            fields["seq"] = ring.next_seq
            tick = fields["tick"]
            if tick is None:
                tick = fields["tick"] = ring.tick
            body = orjson.dumps(fields)
            # orjson writes NaN as null without a word, so a null is worth a second, slower look.
            if body.find(b"null", self._head) >= 0 or len(body) > self._longest:
                return False
            if ring.append_body(tick, body):
                self._worker.wake()
        except (TypeError, ValueError, RecursionError):
            return False
        finally:
            self._lock.release()
        return True

    def _put_with_care(self, event: Event, tick: int, time_ns: int) -> None:
        """The same for any event. Strange values may run code of their own, which must not happen under the lock."""
        own = event.own_json()
        if len(own) > self._longest:
            own = shortened_json(event, self._longest)
        with self._lock:
            if self._ring.append(tick, time_ns, own):
                self._worker.wake()

    def tick_listener(self, node: str) -> TickListener:
        """What records each tick of a node, now: a `NodeTick`, of which there are more than of all the others.

        What it returns raises a `BlackBoxError` as `record` does.
        """
        write = self._writer(
            *({"event": "NodeTick", "name": node, "duration_us": None, "success": n} for n in (False, True))
        )
        if write is not None:
            return write

        def record_long(tick: int, took_ns: int, success: bool) -> None:  # noqa: FBT001 - as the engine calls it
            self.record(NodeTick(node, took_ns // 1000, success), tick, wall_ns())

        return record_long

    def record_late(self, event: Late, node: str, tick: int, limit_ns: int, actual_ns: int) -> None:
        """Record that a node was late or slow, now. There may be as many of these as ticks.

        Args:
            event: what happened.
            node: its name.
            tick: the scheduler's tick.
            limit_ns: what it was allowed, nanoseconds.
            actual_ns: what it took.

        Raises:
            BlackBoxError: as `record`.
        """
        try:
            write = self._late_writers[event, node]
        except KeyError:
            limit = "deadline_us" if event is DeadlineMiss else "budget_us"
            write = self._writer({"event": event.__name__, "name": node, limit: None, "actual_us": None})
            self._late_writers[event, node] = write
        if write is not None:
            write(tick, limit_ns, 0, actual_ns)
        else:
            self.record(event(node, limit_ns // 1000, actual_ns // 1000), tick, wall_ns())

    def _writer(self, *forms: dict[str, Any]) -> Writer | None:
        """What writes events of these forms; None when a node's name is too long for that."""
        with self._lock:
            made = [form for fields in forms if (form := self._ring.form(fields)) is not None]
        if len(made) < len(forms):
            return None
        return self._ring.writer(tuple(made), lock=self._lock, clock=wall_ns, on_full=self._worker.wake)

    @property
    def tick(self) -> int:
        """The scheduler's tick of the last event."""
        return self._ring.tick

    def catch_fatal_signals(self) -> None:
        """From here until it is closed, a fatal signal (a segmentation fault, an abort) leaves its stack in the box."""
        with self._lock:
            if self._open and self._fatal_signals is None:
                self._fatal_signals = FatalSignals(self.path, self._header)

    def custom(self, category: str, message: str, /, **data: Any) -> None:
        """Record an event of your own, with the time of day and the tick of the event before it.

        ``data`` may hold anything JSON has, NaN and integers of any size; the rest is kept as its ``repr``.
        """
        fields = {
            "seq": 0,
            "run": self.run,
            "tick": None,
            "time_ns": wall_ns(),
            "event": "Custom",
            "category": category,
            "message": message,
            "data": data,
        }
        if not self._put(fields):
            self._put_with_care(Custom(category, message, data), self._ring.tick, wall_ns())

    @property
    def lost(self) -> int:
        """How many events have been overwritten by later ones."""
        return self._ring.lost

    @property
    def sync_error(self) -> str | None:
        """Why the last attempt to bring the box to the disk failed, or None.

        Events are still kept then, and survive the process, but not a power cut.
        """
        return self._worker.sync_error

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
        self._worker.stop()
        with self._lock:
            self._shut("it is closed")
        _open_boxes.discard(self)

    def _reader(self) -> BlackBoxReader:
        with self._lock:
            if self._open:
                return BlackBoxReader(os.dup(self._fd), self.path)
        return find_box(self.path, self._header)

    def _shut(self, why: str) -> None:
        if self._open:
            self._open = False
            self._ring.close(f"the black box {self.path} takes no events: {why}")
            if self._fatal_signals is not None:
                self._fatal_signals.close()
            self._words.release()
            self._map.close()
            os.close(self._fd)

    def hold(self) -> None:
        """Before a fork: no event is half written when it happens. `let_go` or `go_on` follows."""
        self._lock.acquire()

    def go_on(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def let_go(self) -> None:
        """After a fork, in the child: forget the file, without a word to the parent's thread."""
        self._closing = True
        self._shut(f"it belongs to process {os.getppid()}")
        self._lock.release()


_open_boxes: weakref.WeakSet[BlackBox] = weakref.WeakSet()
_held: list[BlackBox] = []


def _before_fork() -> None:
    _held[:] = _open_boxes
    for box in _held:
        box.hold()


def _after_fork(*, child: bool) -> None:
    for box in _held:
        if child:
            box.let_go()
            _open_boxes.discard(box)
        else:
            box.go_on()
    _held.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=partial(_after_fork, child=False),
    after_in_child=partial(_after_fork, child=True),
)
