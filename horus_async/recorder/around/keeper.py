"""The recorder that keeps the last seconds of a run, and makes sessions of what is around certain moments."""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from math import ceil, inf
from typing import TYPE_CHECKING

from attrs import evolve

from horus_async.errors import HorusError, RecordingError
from horus_async.recorder.naming import default_session_names
from horus_async.recorder.options import Fsync
from horus_async.recorder.read.listing import delete_session
from horus_async.recorder.read.session import Session
from horus_async.recorder.triggers.anomaly import described, kind_of
from horus_async.recorder.write.recorder import Recorder

from .carried import Carried
from .making import Job
from .order import Order
from .ranges import Range, Ranges, Trigger
from .watching import WatchingScreen
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from horus_async.observe import Incident, RunInfo, TickEnd
    from horus_async.recorder.options import RecordingOptions
    from horus_async.recorder.write.writer import RecordingStats

_log = logging.getLogger("horus_async.recorder")

WINDOW = "window"
"""Behind the name of a recording: the session of its last seconds."""
SETTLED = 0.1
"""Seconds of the run's time after which all that was sent in a tick is in lines, in virtual time."""
SLACK = 1.0
"""Seconds of the run's time that are kept besides: what was sent then may be read later."""
_LONGEST_TEXT = 200
_FLUSH_PATIENCE = 5.0


class AroundRecorder(Recorder):
    """Records one run into a window, and sessions out of it. Options and arguments are those of `Recorder`."""

    def __init__(self, options: RecordingOptions, root: str | os.PathLike[str] | None = None, *, block: bool) -> None:
        super().__init__(options, root, block=block)
        assert options.around is not None
        self._around = options.around
        self._name = options.name or ""
        self._watching: WatchingScreen | None = None
        if self._around.predicates:
            self._screen = self._watching = WatchingScreen(options, self._heard_message)
        self._asked: deque[tuple[str, str, str]] = deque()
        """Kind, what and text of what has happened since the newest tick ended; from any thread."""
        self._window = Window(0, 1.0, Carried())
        self._ranges = Ranges(0, 0)
        self._settled = self._slack = 0
        self._now_ns = self._process = 0
        self._job: Job | None = None
        self._job_range: Range | None = None
        self._made: list[str] = []
        self._problems: list[str] = []
        self._keeps_window = False
        """Whether the window stays, as a session could not be made of it."""
        self._stop_listening: Callable[[], object] = lambda: None
        self._record_end: Callable[[TickEnd], None] = super().tick_ended

    # -- what it is asked ----------------------------------------------------------------------------------------------

    @property
    def problems(self) -> list[str]:
        """Sessions that could not be made, or lack something, and predicates that failed."""
        failed = {} if self._watching is None else self._watching.failed
        return [*self._problems, *(f"around: {name} failed {count} times" for name, count in failed.items())]

    def stats(self) -> RecordingStats:
        """How it fares; the messages are those of the whole run, the bytes those of the window."""
        return evolve(super().stats(), sessions=tuple(self._made))

    def trigger(self, reason: str) -> None:
        """Now is a moment to make a session around. From any thread and signal handler."""
        self._asked.append(("call", "", f"{reason}"))

    def stop(self) -> list[Path]:
        """End the recording, and give the files of the sessions that were made; twice gives the same."""
        self._finish("recording stopped")
        if self._writer is None:
            return []
        root = self._writer.folder.parent
        return [path for name in self._made for path in _files_of(root / name)]

    # -- Observer ------------------------------------------------------------------------------------------------------

    def run_started(self, run: RunInfo) -> None:
        """Make the window's folder and files; see `Recorder.run_started`."""
        before, after = (ceil(seconds * run.tick_rate) for seconds in (self._around.before, self._around.after))
        self._slack = ceil(SLACK * run.tick_rate)
        self._window = Window(before + self._slack, run.tick_rate, Carried())
        self._ranges = Ranges(before, after)
        self._settled = ceil(SETTLED * run.tick_rate) + 1
        self._now_ns = run.start_ns
        self._process = os.getpid()
        self._after_flush = self._window.turn
        super().run_started(run)
        self._record_end = self.tick_ended
        self.tick_ended = self._tick_ended  # type: ignore[method-assign]
        self._stop_listening = self._around.listen(self.trigger)

    def incident(self, tick: int, incident: Incident) -> None:  # noqa: ARG002 - it is that which goes on
        """An anomaly, perhaps, of those that count."""
        kind = kind_of(incident)
        if kind & self._around.anomalies:
            self._asked.append(("anomaly", str(kind.name).lower(), described(incident)))

    def _heard_message(self, topic: str, name: str) -> None:
        self._asked.append(("message", topic, name))

    def _names(self, run: RunInfo) -> Iterable[str]:
        """Of the window: one that a killed process has left is not touched, nor that of another program."""
        if self._options.name is None:
            for name in default_session_names(run.started_at_ns, run.name):
                self._name = name
                yield f"{name}-{WINDOW}"
        self._name = str(self._options.name)
        yield f"{self._name}-{WINDOW}"
        for number in itertools.count(2):
            yield f"{self._name}-{WINDOW}-{number}"

    def _tick_ended(self, end: TickEnd) -> None:
        self._record_end(end)
        self._now_ns = end.now_ns
        if self._asked:
            self._take_asked(end.tick)
        if self._job is not None or self._ranges.waiting is not None:
            self._go_on(end.tick - self._settled)
        window = self._window
        window.kept_from = self._ranges.kept_from(end.tick) - self._slack
        window.tick = end.tick

    # -- making sessions -----------------------------------------------------------------------------------------------

    def _take_asked(self, tick: int) -> None:
        before = self._ranges.waiting
        while self._asked:
            kind, what, text = self._asked.popleft()
            self._ranges.trigger(Trigger(tick, self._now_ns, kind, what, text[:_LONGEST_TEXT]))
        if self._ranges.waiting is not before and self._writer is not None:
            self._announce()

    def _announce(self) -> None:
        """Have the window say what it is kept for, should the process be killed before the session is made."""
        assert self._writer is not None
        waiting = self._ranges.waiting
        self._writer.files.also = {} if waiting is None else {"trigger": self._told(waiting)}

    def _told(self, asked: Range) -> dict[str, object]:
        return {"before": self._around.before, "after": self._around.after, **asked.told()}

    def _go_on(self, tick: int) -> None:
        """Make what ends by this tick: in real time one session after another, else at once."""
        while True:
            if self._job is not None:
                if self._block:
                    self._job.wait(patient=True)
                elif not self._job.is_done():
                    return
                self._collect()
            due = self._ranges.due(tick)
            if due is None:
                return
            self._begin_job(due)

    def _begin_job(self, due: Range) -> None:
        writer = self._writer
        assert writer is not None
        options = self._options
        order = Order(
            str(writer.folder),
            self._name,
            due.first,
            due.last,
            due.first - self._slack,
            self._told(due),
            due.session,
            options.fsync is Fsync.INTERVAL,
            None if options.keep_mb is None else int(options.keep_mb * (1 << 20)),
            options.keep_sessions,
        )
        self._window.still += 1
        self._job_range = due
        try:
            self._job = Job(order, lambda: writer.await_flushes(_FLUSH_PATIENCE), apart=not self._block)
        except HorusError as error:
            self._window.still -= 1
            self._fail(due, str(error))

    def _collect(self) -> None:
        """Take note of what a job has made, or has not."""
        job, made_of = self._job, self._job_range
        assert job is not None
        assert made_of is not None
        self._job = self._job_range = None
        self._window.still -= 1
        try:
            made = job.result()
        except RecordingError as error:
            self._fail(made_of, str(error))
            return
        if made_of.session in self._made:
            self._made.remove(made_of.session)
        self._made.append(made.session)
        self._problems += [f"session {made.session}: {note}" for note in made.notes]
        first = made_of.triggers[0]
        why = ": ".join(filter(None, (first.what, first.text)))
        taken = "" if made_of.session is None else f", in the place of {made_of.session}"
        _log.info("session %s made, for %s in tick %d%s", made.session, why or first.kind, first.tick, taken)
        made_of.session = made.session
        self._announce()

    def _fail(self, due: Range, error: str) -> None:
        said = f"no session of ticks {due.first} to {due.last} could be made: {error}"
        _log.error("recording %s: %s", self._name, said)
        self._problems.append(said)
        self._keeps_window = True

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, reason: str) -> None:
        if self._writer is None or self._stopped:
            return
        self._stop_listening()
        super()._finish(reason)
        if os.getpid() != self._process:
            return  # a forked child: the sessions are its parent's
        self.__dict__.pop("tick_ended", None)
        if self._asked:
            self._take_asked(max(0, self._window.tick))
        self._make_the_rest()
        self._remove_window()
        if not self._made and not self._problems:
            _log.info("recording %s: nothing has happened to make a session of", self._name)

    def _make_the_rest(self) -> None:
        """Make what was asked for, of what there is: the run is over."""
        while True:
            if self._job is not None and self._job_range is not None:
                if self._job.wait(patient=self._block):
                    self._collect()
                else:
                    self._fail(self._job_range, "it was not done in time")
                    self._job = None
            due = self._ranges.due(inf)
            if due is None:
                return
            self._begin_job(due)

    def _remove_window(self) -> None:
        assert self._writer is not None
        folder = self._writer.folder
        if self._keeps_window:
            self._problems.append(f"what there is of it is left in {folder.name}")
            return
        try:
            delete_session(folder.name, folder.parent)
        except RecordingError as error:
            self._problems.append(str(error))


def _files_of(folder: Path) -> list[Path]:
    """The files of a session that was made; none if somebody has deleted it."""
    try:
        return [file.path for file in Session(folder).all_files()]
    except RecordingError:
        return []
