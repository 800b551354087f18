"""Lines of state while a command works, for somebody who sits at a terminal; nothing of it into a file or a pipe."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from horus_async.errors import LimitError
from horus_async.limits.threads import start_thread
from horus_async.observe import Observer
from horus_async.topics.inspection import rings

from .table import fold
from .text import styled, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async import Scheduler
    from horus_async.observe import RunInfo

FIRST_SECONDS, NEXT_SECONDS, LATER_SECONDS = 1.0, 9.0, 60.0
"""When the state is said: soon, then less often."""


def say(text: str) -> None:
    """Print a line of state on standard error, if that is a terminal."""
    if sys.stderr.isatty():
        for line in fold(text, indent=2, err=True):
            tell(styled(line, dim=True), err=True)


def has_room_for_a_bar(*, lines: bool) -> bool:
    """Whether a progress bar is seen and disturbs nobody: there is a terminal, and no pager that writes on it too.

    Args:
        lines: Whether the command prints lines meanwhile, which go through a pipe to ``less`` or ``tee``.
    """
    if not sys.stderr.isatty():
        return False
    try:
        return not lines or not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):  # there is none, or it is no file
        return True


def tell_states(scheduler: Scheduler, what: str = "", *, last_tick: int | None = None) -> None:
    """Say how the scheduler's runs fare, where somebody sees it.

    Args:
        scheduler: Before it runs.
        what: What it does; by default its name.
        last_tick: Where it ends, if that is known.
    """
    if sys.stderr.isatty():
        scheduler.observe(_States(scheduler, what, last_tick))


class _States(Observer):
    hears_messages = False

    def __init__(self, scheduler: Scheduler, what: str, last_tick: int | None) -> None:
        self._scheduler = scheduler
        self._what = what
        self._last_tick = last_tick
        self._over = threading.Event()
        self._run: RunInfo | None = None
        self._waited: set[str] = set()

    def run_started(self, run: RunInfo) -> None:
        self._run = run
        what, nodes = self._what or run.name, _counted(len(run.nodes), "node")
        mode = f"in virtual time, seed {run.seed}" if run.deterministic else "in real time"
        say(f"started: {what}, {nodes} at {run.tick_rate:g} Hz {mode}, namespace {run.namespace}; Ctrl-C ends it")
        self._over = threading.Event()
        with suppress(LimitError):  # the robot does without being told of
            start_thread(threading.Thread(target=self._tell, args=(self._over,), name="states", daemon=True))

    def initialised(self) -> None:
        recorder, box = self._scheduler._recorder, self._scheduler.blackbox  # noqa: SLF001 - where it is, for people
        if recorder is not None and recorder.path is not None:
            say(f"recording as {recorder.path.name}: {recorder.path}")
        if box is not None and box.path is not None:
            say(f"black box: {box.path}")

    def run_stopped(self, reason: str, ticks: int) -> None:
        self._over.set()
        say(f"ended: {reason}, after {_counted(ticks, 'tick')}")

    def _tell(self, over: threading.Event) -> None:
        seconds, passed = FIRST_SECONDS, 0.0
        while not over.wait(seconds):
            passed += seconds
            for line in self._lines(passed):
                say(line)
            seconds = NEXT_SECONDS if seconds == FIRST_SECONDS else LATER_SECONDS

    def _lines(self, seconds: float) -> Iterator[str]:
        stats = self._scheduler.stats()
        if stats.tick < 0:
            yield f"after {seconds:g} s: waiting for init to end"
            return
        end = "" if self._last_tick is None else f" of {self._last_tick}"
        parts = [f"after {seconds:g} s: tick {stats.tick}{end}"]
        if stats.recording is not None:
            parts.append(f"{_counted(stats.recording.messages, 'message')} recorded, {stats.recording.dropped} dropped")
        misses = sum(node.deadline_misses for node in stats.nodes.values())
        errors = sum(node.errors for node in stats.nodes.values())
        parts += [f"{misses} deadlines missed"] if misses else []
        parts += [_counted(errors, "error")] if errors else []
        yield ", ".join(parts)
        yield from self._waiting()

    def _waiting(self) -> Iterator[str]:
        """The topics that are read and that nobody sends, each once."""
        if self._run is None or self._run.deterministic:  # there it is a warning
            return
        unsent = {topic: use for topic, use in self._scheduler.topics().items() if not use.writers}
        there = {ring.topic for ring in rings(self._run.namespace) if ring.live} if unsent.keys() - self._waited else ()
        for topic, use in unsent.items():
            if topic not in self._waited and topic not in there:
                self._waited.add(topic)
                yield f"waiting for {topic}, which {', '.join(use.readers)} reads: nobody sends it yet"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
