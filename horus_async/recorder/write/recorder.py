"""The observer that records a run."""

from __future__ import annotations

import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING

from horus_async.errors import LimitError, RecordingError, SessionExistsError
from horus_async.folders import make_private, open_to_everyone
from horus_async.limits.memory import out_of_memory
from horus_async.limits.open_files import why
from horus_async.observe import Observer
from horus_async.recorder.naming import (
    MANIFEST,
    SUFFIX,
    WAY_OUT,
    check_session_name,
    default_session_names,
    recordings_root,
)
from horus_async.recorder.read.listing import keep_within
from horus_async.recording_state import RecordingState

from .intake import EagerIntake
from .log_line import log_line
from .screening import Screen
from .writer import RecordingStats, SessionWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from horus_async.observe import Execution, External, Incident, Logged, NodeInfo, Resumed, RunInfo, Sent, TickEnd
    from horus_async.recorder.options import RecordingOptions

    from .files import SessionFiles

_log = logging.getLogger("horus_async.recorder")

__all__ = ["Recorder", "RecordingState", "RecordingStats"]


class Recorder(Observer):
    """Records one run into a session of its own.

    Another thread makes the lines, packs and writes them. With ``block`` (deterministic runs) the run makes the lines
    itself and waits when too much is left to write, else lines are dropped and counted.

    ``root`` is the folder for sessions; None for the usual one (``recordings_root``). Without ``resume`` a recording
    that cannot be written is over and says nothing of it: whoever records asks for its ``failure``. Without
    ``thorough`` the files take less time and more room (`frames.pack`). Without ``gives_way`` the other thread works
    through, as suits a process that does nothing but record.
    """

    def __init__(
        self,
        options: RecordingOptions,
        root: str | os.PathLike[str] | None = None,
        *,
        block: bool,
        resume: bool = True,
        thorough: bool = True,
        gives_way: bool = True,
    ) -> None:
        self._options = options
        self._root = root
        self._block = block
        self._resume = resume
        self._thorough = thorough
        self._gives_way = gives_way
        self._writer: SessionWriter | None = None
        self._screen = Screen(options) if Screen.needed(options) else None
        self._held: list[Sent] = []
        self._stopped = False
        self._after_flush: Callable[[SessionFiles, bool], None] | None = None
        if options.log:
            self.logs_from = options.log_level or 0
            self.logs_kept_back = options.log_level is not None

    @property
    def session(self) -> str | None:
        """The session's name; None before the run began."""
        return None if self._writer is None else self._writer.folder.name

    @property
    def path(self) -> Path | None:
        """The session's folder; None before the run began."""
        return None if self._writer is None else self._writer.folder

    @property
    def failure(self) -> str:
        """Why it could not write for a while, or cannot any longer; empty if it always could."""
        return "" if self._writer is None else self._writer.failure

    @property
    def problems(self) -> list[str]:
        """What is wrong with it besides what `stats` and `failure` say, one line each."""
        return []

    def trigger(self, reason: str) -> None:
        """Something has happened. To a recording that has the whole run that is no news."""

    def stats(self) -> RecordingStats:
        """How the recording fares."""
        if self._writer is None:
            return RecordingStats(RecordingState.OFF, 0, 0, 0)
        return self._writer.stats()

    def stop(self) -> list[Path]:
        """End the recording, whether or not the run has ended, and give its files; twice gives the same.

        The scheduler's file comes first, then the nodes', then those for external messages and for the log if there are
        any. A recorder that never began has none.
        """
        self._finish("recording stopped")
        return [] if self._writer is None else self._writer.files.paths()

    # -- Observer ------------------------------------------------------------------------------------------------------

    def run_started(self, run: RunInfo) -> None:
        """Make the session's folder and files.

        Raises:
            SessionExistsError: a session of that name is there already.
            SessionNameError: the name cannot be a folder's.
            RecordingError: the folder or its files cannot be made.
        """
        self._writer = self._begin(run)
        if self._screen is None:
            # What is called many times a tick goes straight through.
            intake = self._writer.intake
            self.sent, self.executed, self.tick_ended = intake.sent, intake.executed, intake.tick_ended  # type: ignore[method-assign]
            self.received_external = intake.external  # type: ignore[method-assign]
            if isinstance(intake, EagerIntake):
                self.lone = intake.lone  # type: ignore[method-assign]

    def _begin(self, run: RunInfo) -> SessionWriter:
        root = recordings_root(self._root)
        for name in self._names(run):
            folder = root / check_session_name(name)
            try:
                return SessionWriter(
                    folder,
                    run,
                    self._options,
                    secrets.token_hex(4),
                    make_folder=partial(_make_folder, root, folder),
                    tidy=partial(self._keep_within, folder),
                    block=self._block,
                    screen=self._screen,
                    resume=self._resume,
                    thorough=self._thorough,
                    gives_way=self._gives_way,
                    after_flush=self._after_flush,
                )
            except FileExistsError:
                continue
            except (OSError, MemoryError, LimitError) as error:
                left = "" if _remove_beginnings(folder) else "; what it has begun there cannot be removed either"
                raise RecordingError(f"cannot record into {folder}: {_said(error)}{left}") from error
        raise SessionExistsError(
            f"there is a session {self._options.name!r} in {root} already: choose another name, or delete it first"
        )

    def _names(self, run: RunInfo) -> Iterable[str]:
        """Names for the session, of which the first that is free is taken."""
        asked = self._options.name
        return default_session_names(run.started_at_ns, run.name) if asked is None else (asked,)

    def incident(self, tick: int, incident: Incident) -> None:
        """Count it. Incidents are the black box's; the lines hold each tick's error."""
        if self._writer is not None and not self._stopped:
            node = getattr(incident, "node", None)
            if node is None or self._screen is None or self._screen.takes_node(node):
                self._writer.files.happenings.incident(tick, incident)

    def node_added(self, node: NodeInfo) -> None:
        """Make a file for a node that joined."""
        recorded = self._screen is None or self._screen.takes_node(node.name)
        if self._writer is not None and not self._stopped and recorded:
            self._writer.files.add_node(node)

    def logged(self, line: Logged) -> None:
        """Record what was logged. The text is made here, in the thread that logs: what it shows may change at once."""
        writer = self._writer
        if writer is None or self._stopped:
            return
        if line.node is None or self._screen is None or self._screen.takes_node(line.node):
            writer.log.put(log_line(line), line.at_tick)
            writer.files.happenings.logged(line)

    def received_external(self, message: External) -> None:
        """Record an external message."""
        if self._writer is None or self._stopped:
            return
        kept = message if self._screen is None else self._screen.external(message)
        if kept is not None:
            self._writer.intake.external(kept)

    def missed_external(self, tick: int, count: int, reason: str) -> None:
        """Note that so many external messages were lost before anybody took them."""
        if self._writer is not None and not self._stopped:
            self._writer.intake.miss_external(tick, count, reason)

    def initialised(self) -> None:
        """The first tick begins."""
        if self._writer is not None and not self._stopped:
            self._screen_held()
            self._writer.intake.initialised()

    def sent(self, message: Sent) -> None:
        """Hold a message until a callback ends. Without options to apply the intake itself stands here.

        A redaction is a user's function: it must not run inside a node's ``send``, where it would share the node's
        random numbers, its budget and its exceptions.
        """
        if self._writer is not None and not self._stopped:
            self._held.append(message)

    def _screen_held(self) -> None:
        """Record what the options say of the messages that were held."""
        held, self._held = self._held, []
        if self._writer is None or self._screen is None:
            return
        for message in held:
            kept = self._screen.sent(message)
            if kept is not None:
                self._writer.intake.sent(kept)

    def missed(self, node: str, count: int) -> None:
        """Count what nobody could be told of."""
        if self._writer is not None and not self._stopped and (self._screen is None or self._screen.takes_node(node)):
            self._writer.intake.missed(node, count)

    def resumed(self, resumed: Resumed) -> None:
        """Record when a task of a node went on."""
        if self._writer is None or self._stopped:
            return
        if self._screen is None or self._screen.takes_node(resumed.node):
            self._writer.intake.resumed(resumed)

    def executed(self, execution: Execution) -> None:
        """Record a callback of a node that is recorded. As with `sent`, the intake itself stands here where it can."""
        if self._writer is None or self._stopped or self._screen is None:
            return
        self._screen_held()
        if self._screen.takes_node(execution.node):
            self._writer.intake.executed(execution)

    def tick_ended(self, end: TickEnd) -> None:
        """Record the end of a tick. As with `sent`, the intake itself stands here where it can."""
        if self._writer is not None and not self._stopped and self._screen is not None:
            self._screen_held()
            self._writer.intake.tick_ended(end)

    def lone(  # noqa: PLR0917 - as the intake's, which stands here where it can
        self, node: str, topic: str, seq: int, stamp_ns: int, payload: bytes, tick: int, now_ns: int, dt_ns: int
    ) -> bool:
        """Record a tick in which one node ran and sent one message, for whoever records many of them.

        Returns:
            Whether it did. If not, `sent`, `executed` and `tick_ended` have to tell of it.
        """
        del node, topic, seq, stamp_ns, payload, tick, now_ns, dt_ns
        return False

    def given_up(self) -> None:
        """What comes from here on is not told to it: the session is not to pass for whole."""
        if self._writer is not None:
            self._writer.break_off("it failed in the middle, and was told of nothing any more")

    def run_stopped(self, reason: str, ticks: int) -> None:  # noqa: ARG002 - the files count their ticks themselves
        """Write all that waits, and close the files."""
        self._finish(reason)

    def _finish(self, reason: str) -> None:
        if self._writer is None or self._stopped:
            return
        self._screen_held()
        self._stopped = True
        if self._screen is None:
            del self.sent, self.executed, self.tick_ended, self.received_external
            self.__dict__.pop("lone", None)
        self._writer.finish(reason)

    def _keep_within(self, folder: Path) -> None:
        keep_mb, keep_sessions = self._options.keep_mb, self._options.keep_sessions
        if keep_mb is not None or keep_sessions is not None:
            keep_within(folder, None if keep_mb is None else int(keep_mb * (1 << 20)), keep_sessions)


def _make_folder(root: Path, folder: Path) -> None:
    """Make the folder of a session.

    Raises:
        FileExistsError: there is such a session.
        RecordingError: it cannot be made.
    """
    try:
        make_private(root)
        make_private(folder, anew=True)
    except FileExistsError:
        if not folder.is_dir() and not root.is_dir():
            raise RecordingError(f"cannot record into {root}: it is not a folder; {WAY_OUT}") from None
        raise
    except OSError as error:
        raise RecordingError(f"cannot record into {root}: {why(error)}; {WAY_OUT}") from error
    if problem := open_to_everyone(root):
        _log.warning("recordings: %s", problem)


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return why(error)
    return out_of_memory() if isinstance(error, MemoryError) else str(error)


def _remove_beginnings(folder: Path) -> bool:
    """Take away what a recording that could not begin has left, and nothing else; whether that was possible."""
    try:
        for path in folder.iterdir():
            if path.name.endswith((SUFFIX, f"{SUFFIX}.part")) or path.name == MANIFEST:
                path.unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:  # it had not come to that
        return True
    except OSError:
        return False
    return True
