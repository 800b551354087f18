"""The thread that writes a session: lines, frames and files, off the event loop."""

from __future__ import annotations

import enum
import logging
import threading
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from horus_async.clock.system import iso_utc, monotonic_ns, sleep_until_monotonic, wall_ns
from horus_async.errors import HorusError
from horus_async.observe import Execution, External, NodeInfo, RunInfo, TickEnd

from .backlog import Backlog, Lost
from .framefile import FrameFile
from .manifest import write_manifest
from .naming import EXTERNAL_STEM, SCHEDULER_STEM, file_name, plain_file_name
from .options import Fsync, RecordingOptions
from .records import (
    SCHEMA_VERSION,
    execution_line,
    footer_line,
    header_line,
    message_line,
    run_fields,
    tick_line,
    versions,
)

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger("horus_async.recorder")

RETRY_SECONDS = 1.0
"""How long a recording that failed waits before it tries again."""

_BACKLOG_FULL = "more came than could be written in time"

# In real time the interpreter's lock is let go after so many lines, for at least so long, so that the event loop is
# not held up by the formatting: 32 lines take some 50 µs.
_POLITE_LINES = 32
_POLITE_PAUSE_NS = 20_000
_BATCH_LINES = 512


class RecordingState(enum.Enum):
    """How a recording fares."""

    ON = "on"
    FAILED = "failed"
    """Nothing can be written at the moment; it is tried again every second."""
    OFF = "off"


@frozen
class RecordingStats:
    """A recording in numbers."""

    state: RecordingState
    messages: int
    """Messages written: those the nodes sent."""
    bytes: int
    """Bytes of all files of lines."""
    dropped: int
    """Lines that could not be kept, over all files; the ``gap`` lines tell where."""


class SessionWriter:
    """Owns the files of one session and the thread that fills them.

    Raises:
        OSError: the first files cannot be made.
    """

    def __init__(self, folder: Path, run: RunInfo, options: RecordingOptions, identity: str, *, block: bool) -> None:
        self.folder = folder
        self.backlog = Backlog(int(options.memory_mb * (1 << 20)), block=block)
        self.state = RecordingState.ON
        self._run_info = run
        self._identity = identity
        self._sync = options.fsync is Fsync.INTERVAL
        self._interval_ns = int(options.interval * 1e9)
        self._polite = not block
        self._ending = False
        self._end_reason = ""
        self._failure = ""
        self._retry_at = 0
        path = folder / plain_file_name(SCHEDULER_STEM, identity)
        self._scheduler = FrameFile(path, header_line(run, folder.name, "scheduler"))
        self._nodes: dict[str, FrameFile] = {}
        self._external: FrameFile | None = None
        try:
            self._scheduler.open()
            for node in run.nodes:
                self._add_node(node).open()
            write_manifest(folder, self._manifest(None, None), sync=self._sync)
        except OSError:
            self._close_files()
            raise
        self._thread = threading.Thread(target=self._work, name=f"recorder {folder.name}", daemon=True)
        self._thread.start()

    def stats(self) -> RecordingStats:
        """How it fares; from any thread."""
        files = self._files()
        return RecordingStats(
            self.state,
            sum(file.counts.outputs for file in list(self._nodes.values())),
            sum(file.written for file in files),
            sum(file.counts.dropped for file in files),
        )

    def paths(self) -> list[Path]:
        """The files: the scheduler's, the nodes', and the one for messages from outside if there were any."""
        return [file.path for file in self._files()]

    def finish(self, reason: str) -> None:
        """Write what waits, the footers, the indexes and the manifest; returns when that is done."""
        self._end_reason = reason
        self.backlog.end()
        self._ending = True
        self.backlog.wake.set()
        self._thread.join()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._write_until_end()
            self._finish()
        except Exception:  # noqa: BLE001 - a recording must not take the run down
            _log.exception("recording %s: the writer failed for good", self.folder.name)
            self.state = RecordingState.FAILED
        finally:
            self.backlog.refusing = True
            self._close_files()

    def _write_until_end(self) -> None:
        ending = False
        due = monotonic_ns() + self._interval_ns
        while not ending:
            self.backlog.wake.wait(max(0, due - monotonic_ns()) / 1e9)
            self.backlog.rearm()
            ending = self._ending
            self._drain(None if ending else due)
            if monotonic_ns() >= due or ending:
                due = monotonic_ns() + self._interval_ns
                self._flush()

    def _drain(self, until: int | None) -> None:
        """Turn what waits into lines, until it is time to flush."""
        batch = _POLITE_LINES if self._polite else _BATCH_LINES
        while items := self.backlog.take(batch):
            for item in items:
                self._take(item)
            self.backlog.taken_care_of(len(items))
            now = monotonic_ns()
            if until is not None and now >= until:
                break
            if self._polite:
                sleep_until_monotonic(now + _POLITE_PAUSE_NS)

    def _take(self, item: Any) -> None:
        kind = type(item)
        if kind is Execution:
            file = self._nodes.get(item.node) or self._add_node(NodeInfo(item.node, None))
            for sent in item.outputs:
                file.topics.add(sent[1])
            self._write(file, execution_line, item, item.kind == "tick", len(item.inputs), len(item.outputs))
        elif kind is TickEnd:
            self._write(self._scheduler, tick_line, item, ticks=1)
        elif kind is External:
            self._write(self._external_file(), message_line, item, inputs=1)
        elif kind is Lost:
            for (role, node), (tick, count) in item.counts.items():
                self._file_of(role, node).lose(tick, count, _BACKLOG_FULL)
        else:
            self._add_node(item)

    def _write(  # noqa: PLR0917 - called for each line
        self, file: FrameFile, build: Any, item: Any, ticks: int = 0, inputs: int = 0, outputs: int = 0
    ) -> None:
        if self.state is RecordingState.FAILED:
            file.lose(item.tick, 1, self._failure)
            return
        try:
            line = build(item)
        except (HorusError, ValueError, TypeError, MemoryError) as error:
            if not file.counts.dropped:
                _log.error("recording %s: a line of %s cannot be written: %s", self.folder.name, file.path.name, error)
            file.lose(item.tick, 1, f"cannot be written: {error}")
            return
        if file.add(item.tick, line, ticks=ticks, inputs=inputs, outputs=outputs):
            self._attempt(file.flush)

    def _flush(self) -> None:
        if self.state is RecordingState.FAILED:
            if monotonic_ns() >= self._retry_at:
                self._resume()
            return
        for file in self._files():
            if not self._attempt(file.announce_gap, file.flush, *((file.sync,) if self._sync else ())):
                return

    def _attempt(self, *steps: Any) -> bool:
        """Do these steps with a file; a failure ends the recording for now."""
        try:
            for step in steps:
                step()
        except OSError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: OSError) -> None:
        if self.state is not RecordingState.FAILED:
            _log.error("recording %s stopped, the run goes on: %s", self.folder.name, error)
        self._failure = f"cannot write: {error.strerror or error}"
        self.state = RecordingState.FAILED
        self.backlog.refusing = True
        self._retry_at = monotonic_ns() + int(RETRY_SECONDS * 1e9)
        for file in self._files():
            file.give_up(self._failure)

    def _resume(self) -> None:
        """Try to write again: behind the last whole frame, beginning with what is missing."""
        for file in self._files():
            if not self._attempt(file.cut_back, file.announce_gap, file.flush):
                return
        self.state = RecordingState.ON
        self.backlog.refusing = False
        _log.warning("recording %s goes on; its gap lines say what is missing", self.folder.name)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self.state is RecordingState.FAILED:
            self._resume()
        if self.state is RecordingState.FAILED:
            _log.error("recording %s ends without its last lines: %s", self.folder.name, self._failure)
            return
        ended_ns = wall_ns()
        for file in self._files():
            # In two steps, as the footer counts what the first has written.
            if not self._attempt(file.announce_gap, file.flush):
                return
        for file in self._files():
            self._add_footer(file, ended_ns)
            if not self._attempt(file.flush, file.seal, *((file.sync,) if self._sync else ())):
                return
        try:
            write_manifest(self.folder, self._manifest(ended_ns, self._end_reason), sync=self._sync)
        except OSError as error:
            self._fail(error)
            return
        self.state = RecordingState.OFF

    def _add_footer(self, file: FrameFile, ended_ns: int) -> None:
        counts = asdict(file.counts)
        if file is self._scheduler:
            counts["inputs"] = sum(node.counts.inputs for node in self._nodes.values())
            counts["outputs"] = sum(node.counts.outputs for node in self._nodes.values())
        topics = sorted(file.topics) if file in self._nodes.values() else None
        file.add(file.last_tick, footer_line(ended_ns, counts, topics))

    def _manifest(self, ended_ns: int | None, reason: str | None) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "session": self.folder.name,
            "name": self._run_info.name,
            **run_fields(self._run_info),
            "ended_at": None if ended_ns is None else iso_utc(ended_ns),
            "reason": reason,
            "scheduler": self._scheduler.path.name,
            "nodes": {name: file.path.name for name, file in self._nodes.items()},
            "external": None if self._external is None else self._external.path.name,
            **versions(),
        }

    # -- files ---------------------------------------------------------------------------------------------------------

    def _files(self) -> list[FrameFile]:
        extra = [] if self._external is None else [self._external]
        return [self._scheduler, *self._nodes.values(), *extra]

    def _add_node(self, node: NodeInfo) -> FrameFile:
        file = self._nodes.get(node.name)
        if file is None:
            path = self.folder / file_name(node.name, self._identity)
            file = FrameFile(path, header_line(self._run_info, self.folder.name, "node", node))
            self._nodes[node.name] = file
        return file

    def _external_file(self) -> FrameFile:
        if self._external is None:
            path = self.folder / plain_file_name(EXTERNAL_STEM, self._identity)
            self._external = FrameFile(path, header_line(self._run_info, self.folder.name, "external"))
        return self._external

    def _file_of(self, role: str, node: str) -> FrameFile:
        if role == "node":
            return self._nodes.get(node) or self._add_node(NodeInfo(node, None))
        return self._scheduler if role == "scheduler" else self._external_file()

    def _close_files(self) -> None:
        for file in self._files():
            file.close()
