"""The trace recorder: takes exchanges on the event loop, writes them on a thread of its own.

Recording is never load-bearing. ``record`` only puts an exchange into a bounded queue; encoding, hashing, compressing
and writing happen on the writer thread, in batches of 50 ms, so that a kill loses less than 100 ms. A full disk turns
the state to ``failed``: requests from then on are dropped and counted, those already accepted are kept, and every
second the writer tries again, in the same file, cut back to its last whole line.
"""

from __future__ import annotations

import errno
import logging
import re
import threading
import traceback
import uuid
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import evolve, field, frozen, validators

from horus_async.clock.system import iso_utc, wall_ns
from horus_async.errors import ConfigurationError
from horus_async.limits import disk
from horus_async.limits.threads import start_thread
from horus_async.policy.model.wire import WireFormat
from horus_async.recording_state import RecordingState

from .file import TraceFile
from .format import Exchange, Failure, footer_line, header_line, request_line
from .lines import check_line
from .redaction import ImageMode

if TYPE_CHECKING:
    from horus_async.policy.model.loaded import LoadedPolicy

logger = logging.getLogger("horus_async.policy")

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BATCH_BYTES = 1 << 20
_TRACE_NAME = re.compile(r"\d{8}-\d{6}-[\w.]+-[0-9a-f-]{36}(\.part\d+)?\.jsonl(\.gz)?")


def _expanded(path: Path | str) -> Path:
    return Path(path).expanduser()


@frozen(kw_only=True)
class TraceOptions:
    """Where and how to record.

    ``flush_interval`` (s) bounds what a kill loses; ``max_pending_mb`` bounds the memory of a writer that lags behind;
    ``retry_interval`` (s) is how often a full disk is tried again. ``rotate_mb`` starts a further file of the session
    once one has reached that size, and ``keep_files`` deletes the oldest traces of the directory beyond that number
    whenever a file is started (None: one file per session, nothing deleted). MB = 2²⁰ bytes.
    """

    directory: Path = field(converter=_expanded)
    images: ImageMode = ImageMode.HASH_ONLY
    compress: bool = True
    flush_interval: float = field(default=0.05, validator=[validators.gt(0), validators.le(0.1)])
    retry_interval: float = field(default=1.0, validator=validators.gt(0))
    max_pending_mb: float = field(default=64.0, validator=validators.gt(0))
    rotate_mb: float | None = field(default=None, validator=validators.optional(validators.gt(0)))
    keep_files: int | None = field(default=None, validator=validators.optional(validators.ge(1)))

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.images, ImageMode):
            raise ConfigurationError(f"images must be one of {[str(mode) for mode in ImageMode]}, not {self.images!r}")


@frozen
class RecorderStats:
    """How recording is doing: its state, records and bytes written, requests dropped, and the file."""

    state: RecordingState
    records: int
    bytes: int
    dropped: int
    file: str | None


class TraceRecorder:
    """Records the exchanges of one server session. Use as a context manager, or ``close`` it."""

    def __init__(self, policy: LoadedPolicy, options: TraceOptions) -> None:
        self.session_id = str(uuid.uuid4())
        self.started_ns = wall_ns()
        self._policy = policy
        self._options = options
        self._lock = threading.Lock()
        self._queue: deque[tuple[int, Exchange, int]] = deque()
        self._pending_bytes = 0
        self._next_seq = 0
        self._dropped = 0
        self._dropped_told = 0
        self._dropped_written = 0
        self._written = 0
        self._written_in_file = 0
        self._finished_bytes = 0
        self._state = RecordingState.ON
        self._part = 0
        self._file: TraceFile | None = None
        self._header_written = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="horus-trace-writer", daemon=True)
        start_thread(self._thread)

    def record(self, exchange: Exchange) -> int | None:
        """Take one exchange. Returns its ``seq``, or None if it was dropped. Never blocks, never raises."""
        with self._lock:
            full = self._pending_bytes > self._options.max_pending_mb * (1 << 20)
            if full or self._state is not RecordingState.ON or self._closing.is_set():
                self._dropped += 1
                return None
            seq = self._next_seq
            self._next_seq += 1
            self._queue.append((seq, exchange, self._dropped - self._dropped_told))
            self._dropped_told = self._dropped
            self._pending_bytes += exchange.size
        if not self._wake.is_set():
            self._wake.set()
        return seq

    def stats(self) -> RecorderStats:
        """How recording is doing, at any time and from any thread."""
        file = self._file
        written = self._finished_bytes + (file.size if file else 0)
        return RecorderStats(self._state, self._written, written, self._dropped, str(file.path) if file else None)

    def close(self) -> None:
        """Write what is left and the footer, and end the thread. Idempotent."""
        self._closing.set()
        self._wake.set()
        if not disk.wait_at_end(self._is_over_within):
            self._give_up(f"within {disk.END_PATIENCE:g} s of it")
        self._state = RecordingState.OFF

    def _is_over_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- on the writer thread ---

    def _run(self) -> None:
        try:
            self._write_until_closed()
        except Exception:
            self._state = RecordingState.FAILED
            logger.exception("record-writer-failed: recording is off until the server is started again")

    def _write_until_closed(self) -> None:
        while True:
            self._wake.wait()
            # Waiting a little gathers a batch: one flush and one write for all of it.
            self._closing.wait(self._options.flush_interval)
            self._wake.clear()
            last = self._closing.is_set()
            while not self._write_pending():
                if last:
                    self._give_up()
                    break
                last = self._closing.wait(self._options.retry_interval)
            if last:
                self._end_session()
                return

    def _write_pending(self) -> bool:
        """Write everything queued; False if the disk would not take it."""
        while batch := self._next_batch():
            lines = b"".join(self._line(*entry) for entry in batch)
            try:
                file = self._open_file()
                file.append(lines)
            except OSError as error:
                self._failed(error)
                return False
            if not self._took(batch):
                return False
            if self._state is RecordingState.FAILED:
                logger.warning("record-resumed: recording to %s again, %d requests dropped", file.path, self._dropped)
                self._state = RecordingState.ON
            if self._options.rotate_mb is not None and file.size >= self._options.rotate_mb * (1 << 20):
                # What was dropped since the last line is told of by the next one, in the next file.
                self._end_file(self._dropped_written)
                self._part += 1
        return True

    def _next_batch(self) -> list[tuple[int, Exchange, int]]:
        """The oldest entries, about a megabyte at most; they stay queued until they are written."""
        batch, size = [], 0
        with self._lock:
            for entry in self._queue:
                batch.append(entry)
                size += entry[1].size
                if size >= _BATCH_BYTES:
                    break
        return batch

    def _line(self, seq: int, exchange: Exchange, dropped_before: int) -> bytes:
        try:
            line = request_line(exchange, seq, self._options.images, dropped_before)
            check_line(line)
            return line
        # One exchange that cannot be written must cost neither the others nor the numbering.
        except Exception as error:  # noqa: BLE001 - it is logged
            # What an exception says may hold a part of the request, and that an image.
            reason = type(error).__name__
            frames = "".join(traceback.format_tb(error.__traceback__))
            message = "record-line-failed: request %s keeps its place without its content: %s\n%s"
            logger.error(message, exchange.request_id, reason, frames)  # noqa: TRY400 - exception() shows what it says
            failure = Failure("record-line-failed", f"the line could not be made: {reason}")
            bare = evolve(exchange, body=b"{}", form=WireFormat.JSON, answer=None, failure=failure)
            return request_line(bare, seq, self._options.images, dropped_before)

    def _took(self, batch: list[tuple[int, Exchange, int]]) -> bool:
        """These are written; False if somebody has given them up meanwhile."""
        with self._lock:
            if not self._queue:
                return False
            for _, _, dropped_before in batch:
                self._pending_bytes -= self._queue.popleft()[1].size
                self._dropped_written += dropped_before
        self._written += len(batch)
        self._written_in_file += len(batch)
        return True

    def _open_file(self) -> TraceFile:
        """The session's file, with its header in it."""
        if self._file is None:
            self._options.directory.mkdir(parents=True, exist_ok=True)
            self._delete_old_traces()
            self._file = TraceFile(self._options.directory / self._file_name(), compress=self._options.compress)
            self._header_written, self._written_in_file = False, 0
        if not self._header_written:
            header = header_line(
                self._policy,
                session_id=self.session_id,
                started_ns=self.started_ns,
                images=self._options.images,
                part=self._part,
                dropped=self._dropped_written,
            )
            self._file.append(header)
            self._header_written = True
        return self._file

    def _file_name(self) -> str:
        day, _, time_of_day = iso_utc(self.started_ns)[:19].replace("-", "").replace(":", "").partition("T")
        part = f".part{self._part}" if self._part else ""
        model = re.sub(r"[^\w.]", "_", self._policy.model_hash) or "unknownhash"
        return f"{day}-{time_of_day}-{model}-{self.session_id}{part}.jsonl{'.gz' if self._options.compress else ''}"

    def _delete_old_traces(self) -> None:
        if self._options.keep_files is None:
            return
        names = (path for path in self._options.directory.iterdir() if _TRACE_NAME.fullmatch(path.name))
        traces = sorted((path for path in names if self.session_id not in path.name), key=lambda path: path.name)
        for path in traces[: max(0, len(traces) + self._part + 1 - self._options.keep_files)]:
            logger.info("trace-deleted: %s, to keep %d files", path, self._options.keep_files)
            path.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> None:
        if self._state is RecordingState.FAILED:
            return
        self._state = RecordingState.FAILED
        slug = "record-disk-full" if error.errno in _DISK_FULL else "record-write-failed"
        every = self._options.retry_interval
        logger.error("%s: %s; serving goes on, recording is tried again every %g s", slug, error, every)

    def _give_up(self, when: str = "before the end") -> None:
        """The server ends while the disk is still full, or slow: what is queued counts as dropped."""
        with self._lock:
            lost = len(self._queue)
            self._dropped += lost
            self._queue.clear()
            self._pending_bytes = 0
        logger.error("record-incomplete: %d requests could not be written %s", lost, when)

    def _end_session(self) -> None:
        """Write the last footer; where no file is open to tell of what was dropped, one that only does that."""
        if self._file is None and self._dropped > self._dropped_written:
            try:
                self._open_file()
            except OSError as error:
                logger.error("record-no-footer: %d dropped requests are told of in no file: %s", self._dropped, error)  # noqa: TRY400
        self._end_file(self._dropped)

    def _end_file(self, dropped: int) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if not self._header_written:
                file.path.unlink()
                return
            footer = footer_line(ended_ns=wall_ns(), total_requests=self._written_in_file, dropped=dropped)
            file.append(footer)
            file.finish()
        except OSError as error:
            logger.error("record-no-footer: %s: %s", file.path, error)  # noqa: TRY400 - a full disk needs no traceback
        finally:
            self._finished_bytes += file.size
            file.close()
