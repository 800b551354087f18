"""Making sessions off the event loop: in a thread, and from a robot in real time in a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from horus_async.errors import RecordingError
from horus_async.limits import disk
from horus_async.limits.disk import Beside
from horus_async.limits.open_files import why

from .order import Made, Order, make

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("horus_async.recorder")

PATIENCE = 10.0
"""Seconds that the end of a run in real time waits for a session which does not get on."""
_PROGRAM = "import sys; sys.path.append({root!r}); from horus_async.recorder.around.child import main; main()"


class Job:
    """One session that is being made, from the moment at which this is. For the event loop's thread.

    Args:
        order: What is to be made.
        flushed: Waits until all lines of it are written.
        apart: Whether it is made in a process of its own.

    Raises:
        LimitError: The system allows no thread.
    """

    def __init__(self, order: Order, flushed: Callable[[], object], *, apart: bool) -> None:
        self.order = order
        self._flushed = flushed
        self._apart = apart
        self._steps = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._given_up = False
        self._work = Beside(self._make, f"session {order.name}")

    def is_done(self) -> bool:
        """Whether it is over, well or not."""
        return self._work.is_done_within(0)

    def result(self) -> Made:
        """What was made, once it is done.

        Raises:
            RecordingError: Nothing was.
        """
        try:
            return self._work.result()
        except (OSError, MemoryError, ValueError) as error:
            said = why(error) if isinstance(error, OSError) else str(error) or type(error).__name__
            raise RecordingError(said) from error

    def wait(self, *, patient: bool) -> bool:
        """Wait for it; whether it is done.

        Args:
            patient: However long it takes, if no second signal comes; else no longer than it gets on.
        """
        if patient:
            done = disk.wait_to_the_end(self._work.is_done_within, f"session {self.order.name} is being made")
        else:
            before, done = -1, False
            while not done and self._steps != before and not disk.is_hurried():
                before = self._steps
                done = disk.wait(self._work.is_done_within, PATIENCE)
        if not done:
            self._given_up = True
            if (process := self._process) is not None:
                process.kill()
                self._work.is_done_within(1.0)
        return done

    def _make(self) -> Made:
        self._flushed()
        if self._apart:
            try:
                return self._made_apart()
            except OSError as error:
                _log.warning("session %s is made beside the run: no process for it: %s", self.order.name, why(error))
        return make(self.order, self._step)

    def _step(self, _: int = 0) -> None:
        self._steps += 1
        if self._given_up:
            raise RecordingError("it was not done in time")

    def _made_apart(self) -> Made:
        root = str(Path(__file__).resolve().parents[3])  # where this very package is
        command = [sys.executable, "-P", "-c", _PROGRAM.format(root=root)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - ours
            self._process = process
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(attrs.asdict(self.order)).encode())
                process.stdin.close()
            except BrokenPipeError:
                pass  # what it says, or its end, tells why
            answer = b""
            for line in process.stdout:
                self._step()
                answer = line
        try:
            told = json.loads(answer)
            if "error" in told:
                raise RecordingError(str(told["error"]))
            return Made(str(told["session"]), [str(note) for note in told["notes"]])
        except (ValueError, TypeError, KeyError):
            raise RecordingError(f"the process that made it ended with {process.returncode}") from None
