"""Is a session whole? Reads every line of every file, and compares with what was promised.

Promises are in the seals of the frames, which the reader looks at, in the index and the footer of a file, in the
headers of the files of one session, in its manifest, and in the digests of the scheduler's ticks.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from horus_async.errors import DamagedRecordingError
from horus_async.limits.open_files import why
from horus_async.recorder.locking import is_being_recorded
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.naming import MANIFEST, SCHEDULER_STEM
from horus_async.recorder.origin import attachment_path, read_origin

from .check_file import CheckedFile, check_file
from .check_found import FileCheck, SessionCheck, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .session import Session

__all__ = ["FileCheck", "SessionCheck", "Verdict", "check_session"]


def check_session(session: Session, progress: Callable[[int], None] | None = None) -> SessionCheck:
    """Read all of a session.

    Args:
        session: The session.
        progress: Told the number of files done.
    """
    found = SessionCheck(session.name, str(session.path))
    live = is_being_recorded(session.path)
    files = []
    for number, file in enumerate(session.all_files(), 1):
        files.append(check_file(file))
        found.files.append(files[-1].found)
        if progress is not None:
            progress(number)
    _note_going_on(session, files)
    for name, reason in session.unreadable.items():
        found.files.append(FileCheck(name, Verdict.DAMAGED, problems=[reason]))
    found.problems = [] if _just_began(session, found.files) else _check_manifest(session)
    found.problems += _check_origin(session)
    if not live:
        found.problems += _check_rows(session, files)
    found.problems += _check_together(session, files)
    return found


def _note_going_on(session: Session, files: Sequence[CheckedFile]) -> None:
    """A file that is continued in one that came after the session was opened is not all there is."""
    names = {file.found.file for file in files}
    for file in files:
        following = None if file.footer is None else file.footer.next
        if following is None or following in names or following in session.unreadable:
            continue
        if (session.path / following).exists() and file.found.verdict is Verdict.WHOLE:
            file.found.verdict = Verdict.CUT
            file.found.problems.append(f"it still runs, and has gone on in {following}")


def _check_rows(session: Session, files: Sequence[CheckedFile]) -> list[str]:
    """Whether the files of rotated recordings follow each other without a break."""
    problems = []
    for before, after in itertools.pairwise(files):
        if before.row != after.row:
            continue
        name, following = before.found.file, after.found.file
        if before.footer is None:
            later = [file for file in files if file.row == after.row and file.part >= after.part]
            if any(file.found.lines for file in later):
                problems.append(f"{name} has lost its end: it is continued in {following}, and has no footer")
        elif before.footer.next != following:
            problems.append(f"{name} goes on in {before.footer.next}, by its footer, and here {following} follows")
    for file in files:
        named = None if file.footer is None else file.footer.next
        if named is not None and named not in session.unreadable and not (session.path / named).exists():
            problems.append(f"{named} is missing: {file.found.file} goes on there")
    return problems


def _check_together(session: Session, files: Sequence[CheckedFile]) -> list[str]:
    """What the files say of each other."""
    problems = []
    scheduler = [file for file in files if file.role == SCHEDULER_STEM]
    nodes = [file for file in files if file.role == "node"]
    whole = not session.unreadable and all(file.footer is not None and file.intact for file in files)
    if whole and not session.window and scheduler and scheduler[-1].footer is not None:
        promised = scheduler[-1].footer.inputs, scheduler[-1].footer.outputs
        held = sum(file.inputs for file in nodes), sum(file.found.messages for file in nodes)
        if promised != held:
            problems.append(
                f"the scheduler's footer counts {promised[0]} inputs and {promised[1]} outputs of all nodes, "
                f"and they hold {held[0]} and {held[1]}: lines are missing"
            )
    problems += _check_ticks(session, scheduler, nodes)
    if session.external_file is None and not session.unreadable and (named := _from_outside(session, nodes)):
        problems.append(f"messages from outside were read, such as {named}, and the file that holds them is missing")
    return problems


def _check_ticks(session: Session, scheduler: Sequence[CheckedFile], nodes: Sequence[CheckedFile]) -> Iterator[str]:
    """Whether ticks go back, as in a repeated replay, in some files and not in others. Seals say more than that."""
    if not scheduler or session.unreadable or any(file.sealed for file in scheduler):
        return
    rounds = 1 + sum(file.back for file in scheduler)
    for file in nodes:
        if file.back and rounds == 1:
            yield f"{file.found.file}: its ticks go back, and the scheduler's do not: frames were exchanged"
    back = any(file.back for file in nodes)
    if rounds > 1 and not back and any(file.found.ticks > rounds for file in nodes):
        yield f"{scheduler[0].found.file}: its ticks go back, and those of no node do: frames were exchanged"


def _from_outside(session: Session, nodes: Sequence[CheckedFile]) -> str | None:
    """A message that was read and must be in the file of external messages; None if there is none."""
    if session.filtered:
        return None
    for file in nodes:
        for topic, publisher, source in sorted(file.read_from):
            if source or publisher not in session.nodes:
                return f"{topic} of {publisher}"
    return None


def _just_began(session: Session, files: list[FileCheck]) -> bool:
    """Whether the recording was killed before its manifest, which comes after the first files, was there."""
    began = all(file.verdict is Verdict.CUT and not file.lines for file in files)
    return began and MANIFEST not in session.unreadable and read_manifest(session.path) is None


def _check_manifest(session: Session) -> list[str]:
    if MANIFEST in session.unreadable:
        return []
    fields = read_manifest(session.path)
    if fields is None:
        return [f"{MANIFEST} is missing; the files' headers say the same"]
    nodes = fields.get("nodes")
    names = [
        fields.get("scheduler"),
        fields.get("external"),
        fields.get("log"),
        *(nodes.values() if isinstance(nodes, dict) else ()),
    ]
    named = [name for name in names if isinstance(name, str) and name not in session.unreadable]
    gone = () if session.window else named  # of a window, the first files of each row were taken away
    problems = [f"{name} is missing" for name in gone if not (session.path / name).is_file()]
    if session.scheduler is None and not any(str(name).startswith("scheduler") for name in session.unreadable):
        problems.append("the scheduler's file is missing: the session cannot be replayed")
    return list(dict.fromkeys(problems))


def _check_origin(session: Session) -> list[str]:
    """Whether what an imported session keeps of its file is there."""
    try:
        origin = read_origin(session.path)
    except DamagedRecordingError as error:
        return [str(error)]
    problems = []
    for attachment in origin.attachments if origin is not None else ():
        path = attachment_path(session.path, attachment)
        try:
            size = path.stat().st_size
        except OSError as error:
            problems.append(f"attachment {attachment.name}: {why(error)}: {path}")
        else:
            if size != attachment.bytes:
                problems.append(f"attachment {attachment.name} has {size} of {attachment.bytes} bytes: {path}")
    return problems
