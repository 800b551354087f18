"""Opens what a name stands for: a session, or all sessions of a set as one, on one time axis.

What they are together is written once, into the set's folder, and is made anew when one of its sessions has grown. It
can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from horus_async.errors import RecordingError, SessionNotFoundError
from horus_async.folders import NoHomeError, expanded
from horus_async.recorder.locking import is_being_recorded
from horus_async.recorder.naming import is_session_name, recordings_root
from horus_async.recorder.read import listing
from horus_async.recorder.read.session import Session
from horus_async.recorder.read.set_file import SET, is_set, read_set
from horus_async.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from horus_async.recorder.read.set_file import Part, RecordedSet

TOGETHER = ".together-"
"""What the name of the folder begins with that holds all sessions of a set as one."""

_UNFINISHED = ".unfinished-"


def open_session(
    ref: str | os.PathLike[str] | Session,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Session:
    """Open a session by its name, its folder, or the path of one of its files. ``~`` is expanded.

    ``NAME`` of a set are all of its sessions as one, ``NAME/PROGRAM`` is one of them. An open session is returned as it
    is, so that its users share what they find damaged.

    Args:
        ref: The session.
        root: The folder for sessions; None for the usual one.
        progress: Told the tick that was reached, where a set is put together.

    Raises:
        SessionNotFoundError: There is none; the message lists what there is.
        DamagedRecordingError: Nothing of it can be read.
        RecordingError: The sessions of a set have no time in common, or no place to be put together in.
        UnsupportedVersionError: Another format version wrote it.
    """
    if isinstance(ref, Session):
        return ref
    one = _of_a_set(os.fspath(ref), root)
    if one is not None:
        return one
    found = find_set(ref, root)
    return listing.open_session(ref, root) if found is None else _together(found, progress)


def find_set(ref: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> RecordedSet | None:
    """The set of this name, or in this folder; None if that is no set."""
    text = os.fspath(ref)
    home = recordings_root(root)
    if is_session_name(text) and (home / text).is_dir():
        return read_set(home / text) if is_set(home / text) else None
    try:
        path = expanded(text)
        path = path.parent if path.name == SET else path
        return read_set(path.absolute()) if text and is_set(path) else None
    except (OSError, ValueError, NoHomeError):
        return None


def _of_a_set(text: str, root: str | os.PathLike[str] | None) -> Session | None:
    """``NAME/PROGRAM``, where NAME is a set."""
    name, slash, part = text.partition("/")
    folder = recordings_root(root) / name
    if not slash or not is_session_name(name) or not is_session_name(part) or not is_set(folder):
        return None
    there = [one.session for one in read_set(folder).parts if one.is_there]
    if part not in there:
        raise SessionNotFoundError(
            f"set {name!r} has no session {part!r}; it has: {', '.join(there) or 'none'}{did_you_mean(part, there)}"
        )
    return Session(folder / part)


def usable(found: RecordedSet) -> tuple[list[tuple[Part, Session]], list[str]]:
    """The sessions of a set that have ticks; a note for each that has none, or none any more."""
    opened, notes = [], [found.problem] if found.problem else []
    for part in found.parts:
        how = f" ({part.why})" if part.why else ""
        if not part.is_there:
            notes.append(f"{part.session} recorded nothing{how}")
            continue
        try:
            session = Session(part.path)
            if next(session.scheduler_ticks(), None) is None:
                notes.append(f"{part.session} has no tick{how}: it is left out")
                continue
        except (RecordingError, OSError) as error:
            notes.append(f"{part.session} cannot be read: {error}")
            continue
        opened.append((part, session))
    return opened, notes


def node_names(parts: Sequence[tuple[Part, Session]]) -> list[dict[str, str]]:
    """What the nodes of each session are called together.

    As they are, but for two cases: nodes that several programs have are ``PROGRAM/NODE``, those of a program that was
    started again are ``PROGRAM.2/NODE``.
    """
    programs: dict[str, set[str]] = {}
    for part, session in parts:
        programs.setdefault(part.program, set()).update(session.nodes)
    times = Counter(node for nodes in programs.values() for node in nodes)
    found = []
    for part, session in parts:
        clear = {node: node if times[node] == 1 else f"{part.program}/{node}" for node in session.nodes}
        found.append(clear if part.number == 1 else {node: f"{part.session}/{node}" for node in session.nodes})
    return found


def _together(found: RecordedSet, progress: Callable[[int], None] | None) -> Session:
    parts, notes = usable(found)
    if not parts:
        raise RecordingError(f"set {found.name!r} has no session with ticks: {'; '.join(notes) or 'nothing ran'}")
    namespaces = sorted({session.namespace for _, session in parts})
    if len(namespaces) > 1:
        each = ", ".join(f"{found.name}/{part.session}" for part, _ in parts)
        raise RecordingError(
            f"the programs of set {found.name!r} are in the namespaces {', '.join(namespaces)}, where topics of one "
            f"name are different ones; take one of {each}"
        )
    folder = found.path / f"{TOGETHER}{_mark(parts, notes)}"
    if not (folder / found.name).is_dir():
        _remove_old(found.path)
        _put_together(found, parts, notes, folder, progress)
    return Session(folder / found.name)


def _put_together(
    found: RecordedSet,
    parts: Sequence[tuple[Part, Session]],
    notes: Sequence[str],
    folder: Path,
    progress: Callable[[int], None] | None,
) -> None:
    from horus_async.recorder.edit.merge import merge_named  # late: it brings the writer

    unfinished = found.path / f"{_UNFINISHED}{secrets.token_hex(4)}"
    sessions = [session for _, session in parts]
    try:
        merge_named(
            sessions, node_names(parts), found.name, root=unfinished, progress=progress, manifest={"notes": [*notes]}
        )
        unfinished.rename(folder)
    except OSError as error:
        if not (folder / found.name).is_dir():  # else another process was quicker
            raise RecordingError(f"cannot put set {found.name!r} together in {found.path}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _mark(parts: Sequence[tuple[Part, Session]], notes: Sequence[str]) -> str:
    """Changes whenever a file of one of the sessions does."""
    mark = hashlib.sha256(repr(notes).encode())
    for part, _ in parts:
        for path in sorted(part.path.iterdir()):
            with suppress(OSError):
                status = path.stat()
                mark.update(f"{part.session}/{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return mark.hexdigest()[:16]


def _remove_old(folder: Path) -> None:
    """Remove what was put together of a set that was smaller, or by a process that was killed at it."""
    for old in [*folder.glob(f"{TOGETHER}*"), *folder.glob(f"{_UNFINISHED}*")]:
        if not is_being_recorded(old / folder.name):
            shutil.rmtree(old, ignore_errors=True)
