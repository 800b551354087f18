"""Is a session whole? Reads every line of every file, and compares with what the footers and the manifest promise."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.errors import DamagedRecordingError
from horus_async.recorder.log_lines import LogLine
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.naming import MANIFEST
from horus_async.recorder.origin import attachment_path, read_origin
from horus_async.recorder.records import (
    ExecutionRecord,
    ExternalMessage,
    Footer,
    GapRecord,
    Header,
    SchedulerTick,
    SendsRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .reader import RecordedFile
    from .session import Session


class Verdict(enum.Enum):
    """The condition of a session or a file."""

    WHOLE = "whole"
    CUT = "cut"
    """It ends in the middle or was never closed, as after ``kill -9``; what is there is intact."""
    DAMAGED = "damaged"


def _condition(verdict: Verdict, dropped: int) -> str:
    return "incomplete" if dropped and verdict is not Verdict.DAMAGED else verdict.value


@define
class FileCheck:
    """What the check of one file found."""

    file: str
    verdict: Verdict = Verdict.WHOLE
    lines: int = 0
    """Lines that can be read."""
    ticks: int = 0
    messages: int = 0
    dropped: int = 0
    """Lines that were never written, according to its gap lines."""
    first_tick: int | None = None
    last_tick: int | None = None
    problems: list[str] = field(factory=list)
    """What is wrong and where, one line each."""

    @property
    def condition(self) -> str:
        """In a word; ``incomplete`` where what there is is intact, and its writer left something out."""
        return _condition(self.verdict, self.dropped)


@define
class SessionCheck:
    """What the check of a session found."""

    session: str
    path: str
    files: list[FileCheck] = field(factory=list)
    problems: list[str] = field(factory=list)
    """What is wrong with the session as a whole."""

    @property
    def verdict(self) -> Verdict:
        """The worst of its files'."""
        found = {file.verdict for file in self.files}
        if self.problems or Verdict.DAMAGED in found:
            return Verdict.DAMAGED
        return Verdict.CUT if Verdict.CUT in found else Verdict.WHOLE

    @property
    def dropped(self) -> int:
        """Lines that were never written, in all files."""
        return sum(file.dropped for file in self.files)

    @property
    def condition(self) -> str:
        """In a word: ``whole``, ``cut``, ``incomplete`` or ``damaged``."""
        return _condition(self.verdict, self.dropped)


def check_session(session: Session, progress: Callable[[int], None] | None = None) -> SessionCheck:
    """Read all of a session.

    Args:
        session: The session.
        progress: Told the number of files done.
    """
    found = SessionCheck(session.name, str(session.path))
    for number, file in enumerate(session.all_files(), 1):
        found.files.append(_check_file(file))
        if progress is not None:
            progress(number)
    for name, why in session.unreadable.items():
        found.files.append(FileCheck(name, Verdict.DAMAGED, problems=[why]))
    found.problems = [] if _just_began(session, found.files) else _check_manifest(session)
    found.problems += _check_origin(session)
    return found


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
    problems = [f"{name} is missing" for name in named if not (session.path / name).is_file()]
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
            problems.append(f"attachment {attachment.name}: {error.strerror or error}: {path}")
        else:
            if size != attachment.bytes:
                problems.append(f"attachment {attachment.name} has {size} of {attachment.bytes} bytes: {path}")
    return problems


def _check_file(file: RecordedFile) -> FileCheck:
    found = FileCheck(file.path.name)
    footer: Footer | None = None
    inputs = logged = 0
    for record in file.records():
        found.lines += 1
        if isinstance(record, Footer):
            footer = record
            continue
        if isinstance(record, Header):
            continue
        if isinstance(record, SendsRecord):
            first, last = record.first_tick, record.last_tick
        elif isinstance(record, LogLine):
            first = last = record.at_tick
            logged += 1
        else:
            first = last = record.tick
        found.first_tick = first if found.first_tick is None else min(found.first_tick, first)
        found.last_tick = last if found.last_tick is None else max(found.last_tick, last)
        found.ticks += record.kind == "tick"
        if isinstance(record, GapRecord):
            found.dropped += record.dropped
        elif isinstance(record, ExternalMessage):
            inputs += 1
        elif isinstance(record, ExecutionRecord):
            inputs += len(record.inputs)
            found.messages += len(record.outputs)
        elif isinstance(record, SendsRecord):
            found.messages += len(record.outputs)
        else:
            assert isinstance(record, SchedulerTick | LogLine)
    _judge(file, found, footer, inputs, logged)
    return found


def _judge(file: RecordedFile, found: FileCheck, footer: Footer | None, inputs: int, logged: int) -> None:
    damage, cut = file.damage, file.cut
    found.problems += [str(piece) for piece in damage]
    if cut is not None:
        found.problems.append(str(cut))
    if file.header is None:
        found.problems.append("its first line, which says whose it is, is lost")
    if footer is None and cut is None:
        found.problems.append("not closed: its process was killed, or it still runs")
    if footer is not None and not damage:
        held = (found.ticks, inputs) if file.header is None or file.header.role != "scheduler" else (found.ticks, None)
        promised = (footer.ticks, footer.inputs if held[1] is not None else None)
        if held != promised:
            found.problems.append(
                f"its footer counts {footer.ticks} ticks and {footer.inputs} inputs, "
                f"and it holds {found.ticks} and {inputs}: lines are missing"
            )
            found.verdict = Verdict.DAMAGED
        if footer.lines != logged:
            found.problems.append(f"its footer counts {footer.lines} lines of the log, and it holds {logged}")
            found.verdict = Verdict.DAMAGED
    if damage or file.header is None:
        found.verdict = Verdict.DAMAGED
    elif found.verdict is Verdict.WHOLE and (footer is None or cut is not None):
        found.verdict = Verdict.CUT
    dropped = max(found.dropped, 0 if footer is None else footer.dropped)
    if dropped:
        found.dropped = dropped
        found.problems.append(f"{dropped} messages or lines are missing: they could not be written in time or at all")
