"""The thread that writes a session: it has lines made, and writes them, off the event loop."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic, wall_ns
from horus_async.errors import LimitError, RecordingError
from horus_async.limits import disk
from horus_async.limits.disk import Beside
from horus_async.limits.memory import memory_error
from horus_async.limits.open_files import too_many_files, why
from horus_async.limits.threads import start_thread
from horus_async.live_objects import LiveObjects
from horus_async.recorder.locking import FolderLock
from horus_async.recorder.naming import has_catalogue
from horus_async.recording_state import RecordingState

from .feed import LogFeed
from .files import SessionFiles
from .intake import EagerIntake, Intake
from .line_maker import LineMaker
from .room import Flushes, Room

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.observe import RunInfo
    from horus_async.recorder.options import RecordingOptions

    from .frame_file import FrameFile
    from .screening import Screen

_log = logging.getLogger("horus_async.recorder")

RETRY_SECONDS = 1.0
"""How long a recording that failed waits before it tries again."""

LOG_SHARE = 8
"""Lines of the log may take this part of the memory for messages, besides: they do not push each other out."""

_LEAST_PROGRESS = 4 << 20
"""Bytes that a disk has to take in each `disk.END_PATIENCE`, for the end of a run to wait for more."""
_CATALOGUE = 0.25
"""Seconds that the end of a run waits for its session to be entered into the catalogue."""
_PAUSE_NS = 50_000
_AHEAD = 0.4
"""Of an interval: so far may a deterministic run be ahead of the writer, in time that the writing takes."""


@frozen
class RecordingStats:
    """A recording in numbers."""

    state: RecordingState
    messages: int
    """Messages written: those the nodes sent."""
    bytes: int
    """Bytes of all files of lines."""
    dropped: int
    """What could not be kept, over all files: messages, and lines without any. The ``gap`` lines tell where."""
    sessions: tuple[str, ...] | None = None
    """With ``around``: the sessions that were made so far. ``messages`` are then those of the run."""


class SessionWriter:
    """Owns the files of one session and the thread that fills them.

    Raises:
        OSError: the first files cannot be made.
        LimitError: the system allows no thread for them.
    """

    def __init__(
        self,
        folder: Path,
        run: RunInfo,
        options: RecordingOptions,
        identity: str,
        *,
        make_folder: Callable[[], None],
        tidy: Callable[[], None],
        block: bool,
        screen: Screen | None = None,
        resume: bool = True,
        thorough: bool = True,
        gives_way: bool = True,
        after_flush: Callable[[SessionFiles, bool], None] | None = None,
    ) -> None:
        self.folder = folder
        self.state = RecordingState.ON
        self.failure = ""
        """Why it stopped writing, if it did."""
        self._resumes = resume
        self._pause = _let_others_run if gives_way else _go_on
        self._interval = options.interval
        self._limit = limit = int(options.memory_mb * (1 << 20))
        self._room = Room(limit, block=block, ahead_ns=int(self._interval * _AHEAD * NANOSECONDS))
        self.log = LogFeed(limit // LOG_SHARE, self._room, block=block)
        """Takes the lines of the log."""
        self.files = SessionFiles(folder, run, options, identity, screen=screen, log=self.log, thorough=thorough)
        self.intake = self._make_intake(block=block)
        self._ending = False
        self._end_reason = ""
        self._broken_off = ""
        """Why the recording is not whole, whatever is written of it."""
        self._retry_at = 0
        self._problems: set[FrameFile] = set()
        """Files of which a line, or which themselves, could not be made, which was said."""
        self._lock = FolderLock(folder)
        self._tidy = tidy
        self._after_flush = after_flush
        """Called behind each flush, with whether the files can be written to."""
        self._flushes = Flushes()
        self._block = block
        self._given_up = False
        self._has_catalogue = False
        self._unmade = 0
        """What was given up before there was a line of it."""
        self._opening = Beside(partial(self._open, make_folder), f"recorder {folder.name}: opening")
        self._await_disk()
        self._thread = threading.Thread(target=self._work, name=f"recorder {folder.name}", daemon=True)
        try:
            start_thread(self._thread)
        except LimitError:
            self._close()
            raise
        _at_work.add(self)

    def _open(self, make_folder: Callable[[], None]) -> None:
        make_folder()
        try:
            self._lock.take()
            self.files.open()
        except (OSError, MemoryError):
            self._close()
            raise
        self._tidy()

    def _await_disk(self) -> None:
        """Wait until the files are there; where lines may be dropped, not for long."""
        opened = self._opening.is_done_within
        name = self.folder.name
        if disk.wait_at_start(opened) or (
            self._block and disk.wait_to_the_end(opened, f"the recording {name} is being begun")
        ):
            self._opening.result()
        elif self._block:
            raise KeyboardInterrupt  # a second signal, which is what ends the run
        else:
            _log.warning(
                "the disk is slow: the run begins before its recording %s, of which up to %d MiB wait in memory",
                name,
                self._limit >> 20,
            )

    def _close(self) -> None:
        self.files.close()
        self._lock.release()

    def _make_intake(self, *, block: bool) -> Intake | EagerIntake:
        room, files = self._room, self.files
        scheduler = files.scheduler.feed
        maker = LineMaker(scheduler, files.node_feed, files.external_feed, room if block else None)
        return EagerIntake(maker, room) if block else Intake(maker, room, scheduler, files.node_feed)

    def stats(self) -> RecordingStats:
        """How it fares; from any thread."""
        files = list(self.files)
        return RecordingStats(
            self.state,
            sum(file.counts.outputs for file in files),
            sum(file.earlier_bytes + file.written for file in files),
            sum(file.counts.dropped for file in files) + self._unmade,
        )

    def finish(self, reason: str) -> None:
        """Write what waits, the footers, the indexes and the manifest; returns when that is done.

        A disk that does not get on is not waited for, unless nothing may be dropped. What it has not taken is lost.
        """
        self._end_reason = reason
        self.intake.end()
        self._ending = True
        self.intake.room.wake.set()
        if not self._ends_in_time():
            self._give_up()
        elif self.state is RecordingState.OFF and self._has_catalogue:
            self._enter_into_catalogue()

    def _enter_into_catalogue(self) -> None:
        """Beside the run, which waits for it only so long: whoever looks for sessions finds this one anyway."""
        from horus_async.recorder.catalogue.catalogue import keep_up  # late: it brings the reader, and SQLite

        with suppress(LimitError):
            Beside(partial(keep_up, self.folder), f"recorder {self.folder.name}: catalogue").is_done_within(_CATALOGUE)

    def _ends_in_time(self) -> bool:
        if self._block:
            return disk.wait_to_the_end(self._is_over_within, f"the recording {self.folder.name} is being written")
        before = -_LEAST_PROGRESS
        while (so_far := self.stats().bytes) - before >= _LEAST_PROGRESS and not disk.is_hurried():
            before = so_far
            if disk.wait_at_end(self._is_over_within):
                return True
        return self._is_over_within(0)

    def _is_over_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _give_up(self) -> None:
        """Leave the writer's thread to the disk, and count what that has not taken. The session has no end then."""
        self._given_up = True
        self.failure = "the disk did not take all of it in time"
        self.state = RecordingState.FAILED
        self.intake.room.refusing = True
        self._unmade = self.intake.give_up()
        for file in self.files:
            file.give_up(self.failure)
        _log.error(
            "recording %s ends without its last lines: %s: %d messages or lines are lost",
            self.folder.name,
            self.failure,
            self.stats().dropped,
        )

    def await_flushes(self, seconds: float) -> bool:
        """Wait until all that has come by now is written, or lost; whether it is. For other threads than the writer's.

        What a callback has sent that goes on comes with the second flush.
        """
        return self._flushes.wait_for(2, seconds, self.intake.room.wake)

    def break_off(self, why: str) -> None:
        """What is to come is not recorded: write what waits, but no end, as of a run that was killed."""
        self._broken_off = why

    # -- the event loop's thread ---------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """In a forked child: the recording is the parent's. Without the folder's lock held here, it ends with it."""
        self.state = RecordingState.OFF
        self._flushes = Flushes()
        self.intake.room.let_go()
        self.files.let_go()
        self._lock.release()

    # -- the writer's thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._await_opening()
            self._write_until_end()
            self._finish()
        except Exception as error:  # noqa: BLE001 - a recording must not take the run down
            _log.exception("recording %s: the writer failed for good", self.folder.name)
            self.failure = f"{type(error).__name__}: {error}"
            self.state = RecordingState.FAILED
        finally:
            self.intake.room.refusing = True  # first: where there is no memory, nothing else may come to be done
            _at_work.discard(self)
            self._close()
            self._flushes.close()
        if not self._given_up:
            self._tidy()

    def _await_opening(self) -> None:
        """Where the run did not wait for it: from now on lines are written, or lost."""
        self._opening.is_done_within(None)
        try:
            self._opening.result()
        except (OSError, RecordingError, MemoryError) as error:
            said = too_many_files(error) or str(error) if isinstance(error, OSError) else str(error)
            _log.error("recording %s cannot begin, the run goes on without: %s", self.folder.name, said)
            self.failure = f"cannot begin: {said}"
            self._resumes = False
            self.state = RecordingState.FAILED

    def _write_until_end(self) -> None:
        """Flush an interval after the last flush began, or at once if that took longer, or when somebody asks.

        So with flushes that take up to ``d`` a line is written within max(interval, d) + d of its coming. What a
        callback has sent waits for its end, but only until the second flush, which comes after half an interval.
        """
        ending = False
        wake = self.intake.room.wake
        began_ns = monotonic_ns()
        while not ending:
            interval = self._interval / 2 if self.intake.has_unfinished else self._interval
            wake.wait(max(0.0, interval - (monotonic_ns() - began_ns) / NANOSECONDS))
            wake.clear()
            ending = self._ending
            began_ns = monotonic_ns()
            self._flushes.begin()
            self.flush()
            self._flushes.end()

    def flush(self) -> None:
        """Write what waits, or count it as lost while nothing can be written."""
        if self._given_up:
            return
        if self.state is RecordingState.FAILED and self._resumes and monotonic_ns() >= self._retry_at:
            self._resume()
        more = True
        while more:
            began_ns = monotonic_ns()
            try:
                more = self.intake.make_lines(self._pause)
                written = self._write_lines()
            except MemoryError:  # what waits goes on waiting, until there is no room for more
                self._fail(memory_error())
                return
            self.intake.room.pace(written, monotonic_ns() - began_ns)
            self.intake.written(written)
        if self.state is RecordingState.ON:
            self.files.announce()
        if self._after_flush is not None and not self._given_up:
            try:
                self._after_flush(self.files, self.state is RecordingState.ON and not self._ending)
            except OSError as error:
                self._fail(error)

    def _write_lines(self) -> int:
        """Write all lines that are made; how many bytes that was."""
        written = 0
        for file in self.files:
            if self._given_up:
                break
            text = file.feed.take()
            self._write(file, text)
            if file.feed is not self.log:  # that has room of its own
                written += len(text)
            if file.feed.problem is not None and file not in self._problems:
                self._problems.add(file)
                _log.error("recording %s: a line of %s: %s", self.folder.name, file.path.name, file.feed.problem)
        return written

    def _write(self, file: FrameFile, text: bytes) -> None:
        """Write to a file; a failure ends the recording for now."""
        if self._given_up:
            return
        if self.state is RecordingState.FAILED:
            file.lose(text, self.failure)
            return
        try:
            if file.write(text) and self.files.synced:
                file.sync()
        except OSError as error:
            if not self._waits_for_descriptor(file, error):
                self._fail(error)

    def _waits_for_descriptor(self, file: FrameFile, error: OSError) -> bool:
        """Whether it is only a file that came to be late, and that there is no descriptor for: the others go on."""
        many = too_many_files(error)
        if many is None or file.begun:
            return False
        if file not in self._problems:
            self._problems.add(file)
            _log.error("recording %s: %s cannot be made: %s", self.folder.name, file.path.name, many)
        return True

    def _fail(self, error: OSError) -> None:
        if self._given_up:
            return
        if self.state is not RecordingState.FAILED and self._resumes:
            _log.error(
                "recording %s stopped, the run goes on: %s", self.folder.name, too_many_files(error) or str(error)
            )
        self.failure = f"cannot write: {why(error)}"
        self.state = RecordingState.FAILED
        self.intake.room.refusing = True
        self._retry_at = monotonic_ns() + int(RETRY_SECONDS * NANOSECONDS)

    def _resume(self) -> None:
        """Try to write again: behind the last whole frame, beginning with what is missing."""
        for file in self.files:
            try:
                file.cut_back()
                file.write(b"")
            except OSError as error:
                if self._waits_for_descriptor(file, error):
                    continue
                self._fail(error)
                return
        self.state = RecordingState.ON
        self.intake.room.refusing = False
        _log.warning("recording %s goes on; its gap lines say what is missing", self.folder.name)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self._given_up:
            return
        if self.state is RecordingState.FAILED and not self._resumes:
            return
        if self.state is RecordingState.FAILED:
            self._resume()
        if self.state is RecordingState.FAILED:
            _log.error("recording %s ends without its last lines: %s", self.folder.name, self.failure)
            return
        if self._broken_off:
            self.failure, self.state = self._broken_off, RecordingState.FAILED
            return
        try:
            self.files.finish(wall_ns(), self._end_reason)
        except OSError as error:
            self._fail(error)
        else:
            if not self._given_up:
                self.state = RecordingState.OFF
                self._has_catalogue = has_catalogue(self.folder)


def _let_others_run() -> None:
    """Stop for a moment: whoever waits for the interpreter gets it, which merely giving it away does not ensure."""
    sleep_until_monotonic(monotonic_ns() + _PAUSE_NS)


def _go_on() -> None:
    """Without a pause."""


_at_work: LiveObjects[SessionWriter] = LiveObjects()


def _let_all_go() -> None:
    for writer in _at_work:
        writer.let_go()
    _at_work.clear()


os.register_at_fork(after_in_child=_let_all_go)
