"""Writes a set while its programs run: who they are, which process recorded what, and what they print."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import iso_utc, wall_ns
from horus_async.errors import RecordingError, SessionExistsError
from horus_async.folders import make_private
from horus_async.limits.open_files import why
from horus_async.recorder.locking import FolderLock
from horus_async.recorder.naming import check_session_name, recordings_root
from horus_async.recorder.read.set_file import LOG_SUFFIX, SET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self


class SetWriter:
    """A new set, as a context.

    Once it is begun nothing of it ever ends a robot: what cannot be written is told of, and counted.

    Args:
        name: The set's.
        programs: Each program's APP, arguments and namespace.
        file: The launch file.
        root: The folder for sessions; None for the usual one.
        problem: Told, in a line, what cannot be written.

    Raises:
        SessionNameError: The name cannot be a session's.
        SessionExistsError: There is a session or a set of that name.
        RecordingError: It cannot be written.
    """

    def __init__(
        self,
        name: str,
        programs: Mapping[str, Mapping[str, Any]],
        *,
        file: str = "",
        root: str | os.PathLike[str] | None = None,
        problem: Callable[[str], None],
    ) -> None:
        self.path: Path = recordings_root(root).absolute() / check_session_name(name)
        self._problem = problem
        self._logs: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        """Bytes of each program's log that could not be written."""
        self._programs: dict[str, dict[str, Any]] = {name: {**one, "parts": []} for name, one in programs.items()}
        self._fields: dict[str, Any] = {
            "schema_version": 1,
            "set": name,
            "started_at": iso_utc(wall_ns()),
            "ended_at": None,
            "file": file,
            "programs": self._programs,
        }
        try:
            make_private(self.path, anew=True)
            self._lock = FolderLock(self.path)
            self._lock.take()
            self._write()
        except FileExistsError:
            raise SessionExistsError(
                f"there is a session {name!r} in {self.path.parent} already: choose another name, or delete it first"
            ) from None
        except OSError as error:
            raise RecordingError(f"cannot make {self.path}: {why(error)}") from error

    def begin(self, program: str) -> tuple[Path, str]:
        """The folder and the name of the session for the next process of a program."""
        parts = self._programs[program]["parts"]
        session = program if not parts else f"{program}.{len(parts) + 1}"
        parts.append({"session": session, "started_at": iso_utc(wall_ns()), "ended_at": None, "exit_code": None})
        self._try_to_write()
        return self.path, session

    def ended(self, program: str, code: int | None, why: str) -> None:
        """The last process of a program has ended: with this exit code, if it could be started."""
        self._programs[program]["parts"][-1] |= {"ended_at": iso_utc(wall_ns()), "exit_code": code, "why": why}
        self._try_to_write()

    def log(self, program: str, data: bytes) -> None:
        """A program has printed this."""
        try:
            if program not in self._logs:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
                self._logs[program] = os.open(self.path / f"{program}{LOG_SUFFIX}", flags, 0o600)
            while data:
                data = data[os.write(self._logs[program], data) :]
        except OSError as error:
            if program not in self._lost:
                self._problem(f"what {program} prints cannot be written into {self.path}: {why(error)}")
            self._lost[program] = self._lost.get(program, 0) + len(data)

    def close(self) -> None:
        """All have ended."""
        for descriptor in self._logs.values():
            os.close(descriptor)
        self._logs = {}
        for program, lost in self._lost.items():
            self._problem(f"{lost} bytes that {program} printed are not in {self.path / program}{LOG_SUFFIX}")
        self._fields["ended_at"] = iso_utc(wall_ns())
        self._try_to_write()
        self._lock.release()

    @property
    def unwritten(self) -> int:
        """Bytes that programs printed and that are in no log."""
        return sum(self._lost.values())

    def sessions(self) -> Sequence[str]:
        """The names of those that were begun."""
        return [part["session"] for one in self._programs.values() for part in one["parts"]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OSError as error:  # the sessions are found by their folders, too
            self._problem(f"{self.path / SET} cannot be written: {why(error)}")

    def _write(self) -> None:
        """Write ``set.json`` anew; a reader sees the old one or the new one, whole."""
        partial = self.path / f".{SET}.part"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            text = json.dumps(self._fields, indent=2).encode() + b"\n"
            while text:
                text = text[os.write(descriptor, text) :]
            partial.replace(self.path / SET)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise
        finally:
            os.close(descriptor)
