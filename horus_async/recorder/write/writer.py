"""The thread that writes a session: lines, frames and files, off the event loop.

Longer than most modules: what each of the two threads may touch should be seen at a glance.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from attrs import frozen

from horus_async.clock.system import NANOSECONDS, iso_utc, monotonic_ns, sleep_until_monotonic, wall_ns
from horus_async.observe import NodeInfo
from horus_async.recorder.locking import FolderLock
from horus_async.recorder.manifest import sync_folder, write_manifest
from horus_async.recorder.naming import EXTERNAL_STEM, SCHEDULER_STEM, file_name, plain_file_name
from horus_async.recorder.options import Fsync
from horus_async.recorder.records import SCHEMA_VERSION
from horus_async.recording_state import RecordingState

from .frame_file import FrameFile, Rotation
from .intake import EagerIntake, Intake
from .line_maker import LineMaker
from .lines import (
    footer_line,
    header_line,
    run_fields,
    versions,
)
from .room import Room
from .screening import screen_fields

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.observe import RunInfo
    from horus_async.recorder.options import RecordingOptions

    from .feed import Feed
    from .screening import Screen

_log = logging.getLogger("horus_async.recorder")

RETRY_SECONDS = 1.0
"""How long a recording that failed waits before it tries again."""

_PAUSE_NS = 50_000


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

    def __init__(
        self,
        folder: Path,
        run: RunInfo,
        options: RecordingOptions,
        identity: str,
        *,
        block: bool,
        screen: Screen | None = None,
    ) -> None:
        self.folder = folder
        self.state = RecordingState.ON
        self._run_info = run
        self._identity = identity
        self._sync = options.fsync is Fsync.INTERVAL
        self._interval = options.interval
        self._ending = False
        self._end_reason = ""
        self._failure = ""
        self._retry_at = 0
        self._screen = screen
        self._problems: set[FrameFile] = set()
        """Files of which a line could not be made, which was said."""
        self._choices = screen_fields(options)
        self._rotation = _rotation(options, run.tick_rate)
        self._scheduler = self._new_file(plain_file_name(SCHEDULER_STEM, identity), "scheduler")
        self._nodes: dict[str, FrameFile] = {}
        self._external: FrameFile | None = None
        self.intake = self._make_intake(int(options.memory_mb * (1 << 20)), block=block)
        self._lock = FolderLock(folder)
        try:
            self._lock.take()
            self._scheduler.open()
            for node in run.nodes:
                if screen is None or screen.takes_node(node.name):
                    self.add_node(node).open()
            write_manifest(folder, self._manifest(None, None), sync=self._sync)
            if self._sync:
                sync_folder(folder.parent)
        except OSError:
            for file in self._files():
                file.close()
            self._lock.release()
            raise
        self._thread = threading.Thread(target=self._work, name=f"recorder {folder.name}", daemon=True)
        self._thread.start()
        _at_work.add(self)

    def _make_intake(self, limit: int, *, block: bool) -> Intake | EagerIntake:
        room = Room(limit, block=block)
        scheduler, node_feed = self._scheduler.feed, self._node_feed
        if block:
            return EagerIntake(LineMaker(scheduler, node_feed, self._external_feed, room), room)
        return Intake(LineMaker(scheduler, node_feed, self._external_feed), room, scheduler, node_feed)

    def stats(self) -> RecordingStats:
        """How it fares; from any thread."""
        files = self._files()
        return RecordingStats(
            self.state,
            sum(file.counts.outputs for file in files),
            sum(file.earlier_bytes + file.written for file in files),
            sum(file.counts.dropped for file in files),
        )

    def paths(self) -> list[Path]:
        """The files: the scheduler's, the nodes', and the one for external messages if there were any."""
        return [path for file in self._files() for path in file.paths]

    def finish(self, reason: str) -> None:
        """Write what waits, the footers, the indexes and the manifest; returns when that is done."""
        self._end_reason = reason
        self.intake.end()
        self._ending = True
        self.intake.room.wake.set()
        self._thread.join()

    # -- the event loop's thread ---------------------------------------------------------------------------------------

    def add_node(self, node: NodeInfo) -> FrameFile:
        """The file of a node; made, in memory, if it has none."""
        file = self._nodes.get(node.name)
        if file is None:
            file = self._new_file(file_name(node.name, self._identity), "node", node)
            self._nodes[node.name] = file
        return file

    def _node_feed(self, name: str) -> Feed:
        """That of a node by its name, also of one that nobody announced."""
        return (self._nodes.get(name) or self.add_node(NodeInfo(name, None))).feed

    def _external_feed(self) -> Feed:
        if self._external is None:
            self._external = self._new_file(plain_file_name(EXTERNAL_STEM, self._identity), "external")
        return self._external.feed

    def let_go(self) -> None:
        """In a forked child: the recording is the parent's. Without the folder's lock held here, it ends with it."""
        self.state = RecordingState.OFF
        self.intake.room.let_go()
        for file in self._files():
            file.let_go()
        self._lock.release()

    # -- the writer's thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._write_until_end()
            self._finish()
        except Exception:  # noqa: BLE001 - a recording must not take the run down
            _log.exception("recording %s: the writer failed for good", self.folder.name)
            self.state = RecordingState.FAILED
        finally:
            _at_work.discard(self)
            self.intake.room.refusing = True
            for file in self._files():
                file.close()
            self._lock.release()

    def _write_until_end(self) -> None:
        """Flush an interval after the last flush began, or at once if that took longer, or when somebody asks.

        So with flushes that take up to ``d`` a line is written within max(interval, d) + d of its coming.
        """
        ending = False
        wake = self.intake.room.wake
        began_ns = monotonic_ns()
        while not ending:
            wake.wait(max(0.0, self._interval - (monotonic_ns() - began_ns) / NANOSECONDS))
            wake.clear()
            ending = self._ending
            began_ns = monotonic_ns()
            self.flush()

    def flush(self) -> None:
        """Write what waits, or count it as lost while nothing can be written."""
        written = 0
        if self.state is RecordingState.FAILED and monotonic_ns() >= self._retry_at:
            self._resume()
        self.intake.make_lines(_let_others_run)
        for file in self._files():
            text = file.feed.take()
            self._write(file, text)
            written += len(text)
            if file.feed.problem is not None and file not in self._problems:
                self._problems.add(file)
                _log.error("recording %s: a line of %s: %s", self.folder.name, file.path.name, file.feed.problem)
        self.intake.written(written)

    def _write(self, file: FrameFile, text: bytes) -> None:
        """Write to a file; a failure ends the recording for now."""
        if self.state is RecordingState.FAILED:
            file.lose(text, self._failure)
            return
        try:
            if file.write(text) and self._sync:
                file.sync()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self.state is not RecordingState.FAILED:
            _log.error("recording %s stopped, the run goes on: %s", self.folder.name, error)
        self._failure = f"cannot write: {error.strerror or error}"
        self.state = RecordingState.FAILED
        self.intake.room.refusing = True
        self._retry_at = monotonic_ns() + int(RETRY_SECONDS * NANOSECONDS)

    def _resume(self) -> None:
        """Try to write again: behind the last whole frame, beginning with what is missing."""
        for file in self._files():
            try:
                file.cut_back()
                file.write(b"")
            except OSError as error:
                self._fail(error)
                return
        self.state = RecordingState.ON
        self.intake.room.refusing = False
        _log.warning("recording %s goes on; its gap lines say what is missing", self.folder.name)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self.state is RecordingState.FAILED:
            self._resume()
        if self.state is RecordingState.FAILED:
            _log.error("recording %s ends without its last lines: %s", self.folder.name, self._failure)
            return
        ended_ns = wall_ns()
        try:
            for file in self._files():
                file.finish(self._footer(file, ended_ns))
                if self._sync:
                    file.sync()
            write_manifest(self.folder, self._manifest(ended_ns, self._end_reason), sync=self._sync)
        except OSError as error:
            self._fail(error)
        else:
            self.state = RecordingState.OFF

    def _footer(self, file: FrameFile, ended_ns: int) -> bytes:
        counts = file.part_counts
        nodes = self._nodes.values()
        if file is self._scheduler:
            counts.inputs = sum(node.counts.inputs for node in nodes)
            counts.outputs = sum(node.counts.outputs for node in nodes)
        return footer_line(ended_ns, counts, file.tallies, excluded=self._excluded(file))

    def _excluded(self, file: FrameFile) -> int | None:
        if self._screen is None:
            return None
        left_out = self._screen.excluded
        if file is self._scheduler:
            return sum(left_out.values())
        if file is self._external:
            return left_out.get("", 0)
        return next(left_out.get(name, 0) for name, known in self._nodes.items() if known is file)

    def _manifest(self, ended_ns: int | None, reason: str | None) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "session": self.folder.name,
            "name": self._run_info.name,
            **run_fields(self._run_info),
            "ended_at": None if ended_ns is None else iso_utc(ended_ns),
            "reason": reason,
            "scheduler": self._scheduler.paths[0].name,
            "nodes": {name: file.paths[0].name for name, file in self._nodes.items()},
            "external": None if self._external is None else self._external.paths[0].name,
            **self._choices,
            **({} if self._rotation is None or ended_ns is None else {"files": [path.name for path in self.paths()]}),
            **versions(),
        }

    # -- files ---------------------------------------------------------------------------------------------------------

    def _new_file(self, name: str, role: str, node: NodeInfo | None = None) -> FrameFile:
        header = header_line(self._run_info, self.folder.name, role, node, self._choices)
        return FrameFile(
            self.folder / name,
            header,
            self._rotation,
            has_messages=role != SCHEDULER_STEM,
        )

    def _files(self) -> list[FrameFile]:
        extra = [] if self._external is None else [self._external]
        return [self._scheduler, *self._nodes.values(), *extra]


def _let_others_run() -> None:
    """Stop for a moment: whoever waits for the interpreter gets it, which merely giving it away does not ensure."""
    sleep_until_monotonic(monotonic_ns() + _PAUSE_NS)


_at_work: WeakSet[SessionWriter] = WeakSet()


def _let_all_go() -> None:
    for writer in list(_at_work):
        writer.let_go()
    _at_work.clear()


os.register_at_fork(after_in_child=_let_all_go)


def _rotation(options: RecordingOptions, tick_rate: float) -> Rotation | None:
    size, seconds = options.rotate_mb, options.rotate_seconds
    if size is None and seconds is None:
        return None
    return Rotation(
        None if size is None else size * (1 << 20),
        None if seconds is None else seconds * tick_rate,
        options.fsync is Fsync.INTERVAL,
    )
