"""Finding, listing and deleting sessions."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import field, frozen

from horus_async.errors import DamagedRecordingError, RecordingError, SessionNotFoundError, UnsupportedVersionError
from horus_async.folders import NoHomeError, expanded
from horus_async.limits.open_files import why
from horus_async.recorder.locking import is_being_recorded, not_being_recorded
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.naming import MANIFEST, SUFFIX, check_session_name, is_session_name, recordings_root
from horus_async.recorder.removal import CONDEMNED, condemn, remove_condemned
from horus_async.spelling import did_you_mean

from .session import Session
from .set_file import is_set, read_set

DENIED = "permission denied"

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_log = logging.getLogger("horus_async.recorder")


def open_session(ref: str | os.PathLike[str] | Session, root: str | os.PathLike[str] | None = None) -> Session:
    """Open a session by its name, its folder, or the path of one of its files. ``~`` is expanded.

    An open session is returned as it is, so that its users share what they find damaged.

    Raises:
        SessionNotFoundError: there is none; the message lists what there is.
        DamagedRecordingError: nothing of it can be read.
        UnsupportedVersionError: another format version wrote it.
    """
    if isinstance(ref, Session):
        return ref
    home = recordings_root(root)
    text = os.fspath(ref)
    # A bare name is first taken for a session's, then for a path.
    if os.sep not in text and text not in {"", ".", ".."}:
        if is_session_name(text):
            _check_permission(home / text)
        if _is_session(home / text):
            return Session(home / text)
    try:
        path = expanded(text)
        if path.is_file() and (path.name == MANIFEST or path.name.endswith(SUFFIX)):
            return Session(path.parent)
        _check_permission(path)
        if _is_session(path):
            return Session(path)
    except (OSError, ValueError, NoHomeError) as error:
        raise SessionNotFoundError(f"no session {text!r}: {error}") from error
    sessions = list_sessions(home)
    there = ", ".join(map(_name_in_list, sessions)) or "none"
    meant = did_you_mean(text, [summary.name for summary in sessions])
    raise SessionNotFoundError(f"no session {text!r}; in {home} there are: {there}{meant}")


@frozen
class SessionSummary:
    """A session in a list."""

    name: str
    path: Path
    started_at: str
    """ISO 8601, UTC; empty if it is lost."""
    ended_at: str | None
    """None if the recording was not closed, or is still running."""
    tick_rate: float
    deterministic: bool
    nodes: tuple[str, ...] = field(factory=tuple)
    bytes: int = 0
    problem: str | None = None
    """Why it cannot be read."""
    is_open: bool = False
    """Whether a live process is recording it."""
    programs: tuple[str, ...] = ()
    """Of a set: its sessions, each ``NAME/PROGRAM``."""


def list_sessions(root: str | os.PathLike[str] | None = None) -> list[SessionSummary]:
    """Every session and set under the root, oldest first, including those that cannot be read."""
    home = recordings_root(root)
    try:
        folders = [folder for folder in home.iterdir() if not _is_condemned(folder) and _is_listed(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RecordingError(f"cannot look into {home}: {why(error)}") from error
    found = (_summary_if_there(folder) for folder in folders)
    return sorted(filter(None, found), key=lambda summary: (summary.started_at, summary.name))


def delete_session(
    name: str, root: str | os.PathLike[str] | None = None, *, only: SessionSummary | None = None
) -> bool:
    """Delete a session, or a set with all of its sessions; False if there is none of that name.

    It goes at once and as a whole, whoever else lists, reads or deletes sessions: its folder gets another name first.

    Args:
        name: The session's.
        root: Where it is; by default as for recordings.
        only: Not if another session has got that name since this summary was made.

    Raises:
        SessionNameError: the name cannot be a session's, so it cannot lead out of the root either.
        RecordingError: what has that name is not a session, is being recorded, or cannot be deleted.
    """
    folder = recordings_root(root) / check_session_name(name)
    if folder.is_symlink():
        raise RecordingError(f"{folder} is a symbolic link, not a session: delete it by hand")
    if not folder.exists():
        return False
    if problem := _denied(folder):
        raise RecordingError(f"session {name!r} cannot be deleted: {problem}")
    if not _is_session(folder) and not is_set(folder):
        if not folder.exists():
            return False
        raise RecordingError(f"{folder} is not a session: delete it by hand")
    with _not_recorded(folder) as still_there:
        if not still_there or (only is not None and not _is_still(only)):
            return False
        try:
            condemned = condemn(folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise RecordingError(f"cannot delete {folder}: {why(error)}") from error
    remove_condemned(folder.parent)
    if condemned.exists():
        raise RecordingError(f"session {name!r} is gone, but its files in {condemned} cannot be removed")
    return True


@contextmanager
def _not_recorded(folder: Path) -> Iterator[bool]:
    """Lock out recordings into a session, or into a set and each of its sessions; gives whether it is there."""
    with ExitStack() as locked:
        still_there = locked.enter_context(not_being_recorded(folder))
        for part in filter(_is_session, folder.iterdir()) if is_set(folder) else ():
            locked.enter_context(not_being_recorded(part))
        yield still_there


def _is_still(summary: SessionSummary) -> bool:
    now = _summary_if_there(summary.path)
    return now is not None and now.started_at == summary.started_at


def keep_within(newest: Path, limit: int | None, count: int | None) -> None:
    """Delete the oldest sessions until all together are within a quota.

    Never deleted: the newest, any that is being recorded, any that cannot be read. Deletions and failures are logged.

    Args:
        newest: The folder of the session whose recording asks for this.
        limit: Bytes of all sessions; None for no limit.
        count: The number of sessions; None for no limit.
    """
    if is_set(newest.parent):
        newest = newest.parent  # it counts as one, and no program takes away what another one records beside it
    try:
        there = list_sessions(newest.parent)
    except RecordingError as error:
        _log.warning("the sessions to keep cannot be counted: %s", error)
        return
    number, size = len(there), sum(summary.bytes for summary in there)
    for summary in there:
        if (limit is None or size <= limit) and (count is None or number <= count):
            return
        if summary.path == newest or summary.problem is not None or summary.is_open:
            continue
        try:
            if delete_session(summary.name, newest.parent, only=summary):
                _log.warning("session %s deleted, to keep within the quota of %s", summary.name, newest.name)
        except RecordingError as error:
            _log.warning("session %s not deleted: %s", summary.name, error)
            continue
        number, size = number - 1, size - summary.bytes


def _is_condemned(folder: Path) -> bool:
    return folder.name.startswith(CONDEMNED)


def _is_session(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file() or next(folder.glob(f"*{SUFFIX}"), None) is not None
    except (OSError, ValueError):
        return False


def _is_listed(folder: Path) -> bool:
    return _is_session(folder) or is_set(folder) or (is_session_name(folder.name) and _denied(folder) is not None)


def _name_in_list(summary: SessionSummary) -> str:
    denied = summary.problem is not None and DENIED in summary.problem
    return f"{summary.name} ({DENIED})" if denied else summary.name


def _check_permission(folder: Path) -> None:
    if problem := _denied(folder):
        raise DamagedRecordingError(f"session {folder.name!r} cannot be read: {problem}")


def _denied(folder: Path) -> str | None:
    """Why this user may not look into a folder; None if that is possible, or it is no folder."""
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return None
        for name in os.listdir(folder):  # noqa: PTH208 - the names alone
            (folder / name).lstat()  # needs another permission than listing
            break
    except PermissionError:
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.geteuid():
                return f"{DENIED}: {folder} belongs to user {status.st_uid}, this is user {os.geteuid()}"
            return f"{DENIED}: {folder} has mode {stat.S_IMODE(status.st_mode):04o}"
        return f"{DENIED}: {folder}"
    except (OSError, ValueError):
        pass
    return None


def _summary_if_there(folder: Path) -> SessionSummary | None:
    """None for a session that somebody deletes meanwhile."""
    if problem := _denied(folder):
        problem = f"cannot be read: {problem}"
        return SessionSummary(folder.name, folder, "", None, 0.0, deterministic=False, problem=problem)
    try:
        summary = _summary_of_set(folder) if is_set(folder) else _summary(folder)
    except OSError as error:
        if not folder.exists():
            return None
        problem = f"cannot be read: {why(error)}"
        return SessionSummary(folder.name, folder, "", None, 0.0, deterministic=False, problem=problem)
    return summary if summary.problem is None or folder.exists() else None


def _summary_of_set(folder: Path) -> SessionSummary:
    try:
        found = read_set(folder)
    except UnsupportedVersionError as error:
        return SessionSummary(folder.name, folder, "", None, 0.0, deterministic=False, problem=str(error))
    parts = [_summary(part.path) for part in found.parts if part.is_there]
    started = [part.started_at for part in parts if part.started_at]
    return SessionSummary(
        found.name,
        folder,
        found.started_at or min(started, default=""),
        found.ended_at,
        0.0,
        deterministic=bool(parts) and all(part.deterministic for part in parts),
        nodes=tuple(dict.fromkeys(node for part in parts for node in part.nodes)),
        bytes=sum(part.bytes for part in parts),
        problem=found.problem or None,
        is_open=is_being_recorded(folder) or any(part.is_open for part in parts),
        programs=tuple(f"{found.name}/{part.session}" for part in found.parts if part.is_there),
    )


def _summary(folder: Path) -> SessionSummary:
    size = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}"))
    try:
        manifest = read_manifest(folder)
        if manifest is not None:
            ended = manifest.get("ended_at")
            return SessionSummary(
                folder.name,
                folder,
                str(manifest["started_at"]),
                ended if isinstance(ended, str) else None,
                float(manifest["tick_rate"]),
                bool(manifest["deterministic"]),
                tuple(str(node) for node in manifest["nodes"]),
                size,
                is_open=is_being_recorded(folder),
            )
    except UnsupportedVersionError as error:
        return SessionSummary(folder.name, folder, "", None, 0.0, deterministic=False, bytes=size, problem=str(error))
    except (RecordingError, KeyError, TypeError, ValueError):
        pass  # the headers say the same
    try:
        found = Session(folder)
    except RecordingError as error:
        return SessionSummary(folder.name, folder, "", None, 0.0, deterministic=False, bytes=size, problem=str(error))
    nodes = tuple(found.nodes)
    return SessionSummary(
        folder.name,
        folder,
        found.started_at,
        None,
        found.tick_rate,
        found.deterministic,
        nodes,
        size,
        is_open=is_being_recorded(folder),
    )
