"""The box of a running process: one file of fixed size, mapped into memory, and the thread that looks after it.

``record`` formats an event and stores it in the mapped file; from then on the kernel has it, whatever becomes of the
process. Compressing and syncing are left to a thread, see ``sealing``. Recording, closing and forking share the
mapping: nothing may touch it once it is closed, which is what the lock is for. ``entry`` lets signal handlers in.
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import orjson

from horus_async.clock.system import iso_utc, wall_ns
from horus_async.errors import BlackBoxError, ConfigurationError, LimitError
from horus_async.limits import disk
from horus_async.limits.disk import Beside
from horus_async.limits.memory import out_of_memory
from horus_async.limits.open_files import why
from horus_async.native import core

from . import layout
from .entry import Entry, forget, prepare
from .events import DeadlineMiss, NodeTick, Record
from .fatal import FatalSignals
from .place import CAN_BE_IN_MEMORY, blackbox_dir, box_in_memory, find_box, no_place, place_box
from .reader import BlackBoxReader
from .ring import Ring
from .sealing import Mirror, SealingWorker
from .values import shortened_json, to_json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.observe import TickListener

    from .events import BudgetViolation, Event
    from .reader import Kinds, Ticks
    from .ring import Writer

    Late = type[DeadlineMiss | BudgetViolation]


_log = logging.getLogger("horus_async.blackbox")


class BlackBox:
    """A box that this process writes. Made by ``BlackBox.create``.

    Any thread may record into it, and so may signal handlers and ``__del__``. One that is dropped closes itself.

    Attributes:
        path: the file.
        run: the id of this run.
        tick_now: gives the scheduler's tick for events that come without one; by default that of the event before.
    """

    def __init__(
        self,
        fd: int,
        path: Path,
        header: layout.FileHeader,
        sync_interval: float | None,
        mirror: Mirror | None = None,
    ) -> None:
        self.path = path
        self.run = header.run
        self._fd = fd
        self._header = header
        self._mirror = mirror
        self._map = mmap.mmap(fd, header.size)
        self._words = memoryview(self._map).cast("Q")
        self._held: list[Callable[[], object]] = [partial(os.close, fd), self._map.close, self._words.release]
        """What gives back memory and descriptors, the last one first."""
        if mirror is not None:
            self._held.append(mirror.close)
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
        self._open = False
        self._closing = False
        self._entry = Entry()
        """Gone through for each call of the ring."""
        self._lock = self._entry.lock
        ring = self._ring
        self.tick_now: Callable[[], int] = lambda: ring.tick
        self._worker = SealingWorker(
            self._ring, self._entry, fd=fd, header=header, path=path, sync_interval=sync_interval, mirror=mirror
        )
        self._worker.start()
        self._open = True
        prepare(self)

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
            folder: where; ``default_blackbox_dir()`` by default. Created with mode 0700 if missing.
            name: the scheduler's name.
            size_mb: the size of the file in MiB, all of it allocated now.
            run: the id of the run; by default made from the time and a few random digits.
            keep: how many boxes of earlier runs are kept.
            sync_interval: seconds of events that a power cut may cost; None leaves it to the operating system.

        Raises:
            ConfigurationError: an option has an impossible value.
            BlackBoxError: the disk is full, another process is using this box, or the file cannot be made.
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
        where = blackbox_dir(folder)
        placing = Beside(partial(place_box, where, header, keep), f"blackbox {name}: opening")
        mirror = None
        if disk.wait_at_start(placing.is_done_within) or not CAN_BE_IN_MEMORY:
            fd, path = placing.result()
        else:
            path = where / f"{name}.hbb"
            fd = box_in_memory(header)
            mirror, sync_interval = Mirror(fd, header.size, placing), sync_interval or 1.0
            _log.warning(
                "the disk is slow: the run begins before its black box %s, which is kept in memory and copied there "
                "once a second: until then its events do not survive the process",
                path,
            )
        try:
            return cls(fd, path, header, sync_interval, mirror)
        except (LimitError, MemoryError, OSError) as error:
            os.close(fd)
            said = why(error) if isinstance(error, OSError) else str(error) or out_of_memory()
            raise no_place(f"the black box {path} cannot be used: {said}") from error
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, event: Event, tick: int, time_ns: int) -> None:
        """Put an event into the box. Once this returns, ``kill -9`` cannot take it away.

        Args:
            event: what happened. One that is too large for the box is shortened and says so.
            tick: the scheduler's tick.
            time_ns: wall-clock nanoseconds since 1970. They may step backwards; events keep the order of the calls.

        Raises:
            BlackBoxError: the box is closed, or belongs to the process this one was forked from.
        """
        kind = type(event).__name__
        fields = {"seq": 0, "run": self.run, "tick": tick, "time_ns": time_ns, "event": kind, **event.to_dict()}
        self._record(fields)

    def _record(self, fields: dict[str, Any]) -> None:
        if core is not None and self._ring.put(self._entry, fields, self._head):
            return
        if not self._put(fields):
            self._put_with_care(fields)

    def _put(self, fields: dict[str, Any]) -> bool:
        """Record an event, given its whole JSON object, if orjson alone can write it; False if not."""
        entry, ring = self._entry, self._ring
        if entry.inside and entry.is_mine():
            entry.later.append(partial(self._record, fields))
            return True
        pressed = False
        try:
            entry.lock.acquire()
            entry.inside = True
            fields["seq"] = ring.next_seq
            body = orjson.dumps(fields)
            # orjson writes NaN as null without complaint, so a null is worth a second, slower look.
            if body.find(b"null", self._head) >= 0 or len(body) > self._longest:
                return False
            pressed = ring.append_body(fields["tick"], body)
        except (TypeError, ValueError, RecursionError):
            return False
        finally:
            entry.inside = False
            try:  # it may not be ours
                entry.lock.release()
            except RuntimeError:  # Ctrl-C came before it was acquired: see `Entry`
                entry.inside = True
            if entry.later:
                entry.catch_up()
        if pressed:
            self._worker.wake()
        return True

    def _put_with_care(self, fields: dict[str, Any]) -> None:
        """Record any event. Strange values may run code of their own, which must not happen under the lock."""
        own = {name: value for name, value in fields.items() if name not in Record.PLACE}
        head = b'"event":%b,' % orjson.dumps(fields["event"])
        encoded = head + to_json_bytes(own)[1:]
        if len(encoded) > self._longest:
            encoded = shortened_json(head, own, self._longest)
        self._put_encoded(fields["tick"], fields["time_ns"], encoded)

    def _put_encoded(self, tick: int, time_ns: int, own: bytes) -> None:
        if self._entry.inside and self._entry.is_mine():
            self._entry.later.append(partial(self._put_encoded, tick, time_ns, own))
            return
        with self._entry:
            pressed = self._ring.append(tick, time_ns, own)
        if pressed:
            self._worker.wake()

    def tick_listener(self, node: str) -> TickListener:
        """A function that records a tick of this node, stamped now, as a `NodeTick`: by far the most frequent event.

        The function raises `BlackBoxError` as `record` does.
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
        """Record, stamped now, that a node was late or slow. There may be as many of these as ticks.

        Args:
            event: what happened.
            node: the node's name.
            tick: the scheduler's tick.
            limit_ns: nanoseconds it was allowed.
            actual_ns: nanoseconds it took.

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
        """A writer of events of these forms; None when the node's name is too long for a form."""
        with self._lock:
            made = [form for fields in forms if (form := self._ring.form(fields)) is not None]
        if len(made) < len(forms):
            return None
        return self._ring.writer(tuple(made), entry=self._entry, clock=wall_ns, on_full=self._worker.wake)

    def catch_fatal_signals(self) -> None:
        """From now until it is closed, a fatal signal (segmentation fault, abort) leaves its stack in the box."""
        with self._lock:
            if self._open and self._fatal_signals is None and self._mirror is None:  # that would die with its memory
                self._fatal_signals = FatalSignals(self.path, self._header)

    def custom(self, category: str, message: str, /, **data: Any) -> None:
        """Record an event of your own, stamped now, with the scheduler's tick.

        ``data`` may hold anything that JSON has, NaN, and integers of any size; anything else is kept as its ``repr``.
        """
        self._record(
            {
                "seq": 0,
                "run": self.run,
                "tick": self.tick_now(),
                "time_ns": wall_ns(),
                "event": "Custom",
                "category": category,
                "message": message,
                "data": data,
            }
        )

    @property
    def lost(self) -> int:
        """How many events have been overwritten by later ones."""
        return self._ring.lost

    @property
    def sync_error(self) -> str | None:
        """Why the last attempt to sync the box to disk failed, or None.

        Events are still kept then, and survive the process but not a power cut.
        """
        return self._worker.sync_error

    def events(
        self, kind: Kinds = None, node: str | None = None, ticks: Ticks = None, last: int | None = None
    ) -> list[Record]:
        """What the box holds, oldest first, even once it is closed. Arguments as for `BlackBoxReader.events`.

        Raises:
            BlackBoxError: there is no such kind of event, or the box is closed and its file is gone.
        """
        with self._reader() as reader:
            return reader.events(kind, node, ticks, last)

    def anomalies(self) -> list[Record]:
        """The events that say something went wrong, oldest first."""
        with self._reader() as reader:
            return reader.anomalies()

    def close(self) -> None:
        """Sync everything to disk and release the file for the next run. Idempotent."""
        if self._entry.inside and self._entry.is_mine():  # a signal handler closes the box in the middle of an event
            self._entry.later.append(self.close)
            return
        with self._lock:
            if self._closing:
                return
            self._closing = True
        in_time = self._worker.stop()
        if not in_time:
            _log.error(
                "the black box %s: the disk did not take its last events in time, %s may cost them",
                self.path,
                "and the end of the process" if self._mirror is not None else "and a power cut",
            )
        with self._lock:
            self._shut("it is closed", keep=not in_time)
        forget(self)

    def __del__(self) -> None:
        if getattr(self, "_open", False) and not sys.is_finalizing():  # by then the thread cannot end any more
            self.close()

    def _reader(self) -> BlackBoxReader:
        with self._lock:
            if self._open:
                return BlackBoxReader(os.dup(self._fd), self.path)
        return find_box(self.path, self._header)

    def _shut(self, why: str, *, keep: bool = False) -> None:
        """Take no event any more; ``keep``: the worker still waits for the disk with the memory and the descriptors."""
        if self._open:
            self._open = False
            self._ring.close(f"the black box {self.path} takes no events: {why}")
            if self._fatal_signals is not None:
                self._fatal_signals.close()
            if keep:
                self._worker.when_over(self._release)
            else:
                self._release()

    def _release(self) -> None:
        """Give back memory and descriptors. Idempotent."""
        while self._held:
            self._held.pop()()

    def hold(self) -> None:
        """Before a fork, so that no event is half written when it happens. `go_on` or `let_go` follows."""
        self._lock.acquire()

    def go_on(self) -> None:
        """Record again after a fork, in the parent."""
        self._lock.release()

    def let_go(self) -> None:
        """After a fork, in the child: close the file, without disturbing the parent's thread."""
        self._closing = True
        self._entry.inside = False
        self._shut(f"it belongs to process {os.getppid()}")
        self._lock.release()
