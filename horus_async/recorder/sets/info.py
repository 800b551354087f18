"""A set in figures: each of its sessions, and where it lies on the time axis of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.clock.system import NANOSECONDS, parse_iso_utc
from horus_async.errors import RecordingError
from horus_async.recorder.locking import is_being_recorded
from horus_async.recorder.read.info import session_info
from horus_async.recorder.read.session import Session

from .opening import node_names

if TYPE_CHECKING:
    from horus_async.recorder.read.info import SessionInfo
    from horus_async.recorder.read.set_file import Part, RecordedSet


@define
class PartInfo:
    """One process of one program."""

    program: str
    number: int
    """From 1: the first is the first start, any other a restart."""
    session: str
    """Its name within the set."""
    begins: float | None
    """Seconds from the set's first tick to its first; None if nothing of it can be read."""
    ended: str
    """How its process ended; empty if nobody was there to see."""
    info: SessionInfo | None
    """The session's own figures; None if it recorded nothing that can be read."""
    nodes: dict[str, str] = field(factory=dict)
    """What its nodes are called where all are together."""


@define
class SetInfo:
    """A set in figures."""

    name: str
    path: str
    file: str
    started_at: str
    ended_at: str | None
    duration: float
    """Seconds from the first tick of any session to the last of any."""
    parts: list[PartInfo]
    notes: list[str]
    """What is missing, cut off or damaged, or was not closed."""

    @property
    def messages(self) -> int:
        """In all sessions; what one sent and another read is in both."""
        return sum(part.info.messages for part in self.parts if part.info is not None)

    @property
    def bytes(self) -> int:
        """Of all sessions."""
        return sum(part.info.bytes for part in self.parts if part.info is not None)


def set_info(found: RecordedSet) -> SetInfo:
    """The figures of a set. Nothing is put together for this."""
    notes = [found.problem] if found.problem else []
    opened: list[tuple[Part, Session]] = []
    for part in found.parts:
        try:
            if part.is_there:
                opened.append((part, Session(part.path)))
            else:
                notes.append(f"{part.session} recorded nothing{f': {part.why}' if part.why else ''}")
        except (RecordingError, OSError) as error:
            notes.append(f"{part.session} cannot be read: {error}")
    sessions = {part.session: session for part, session in opened}
    names = {part.session: names for (part, _), names in zip(opened, node_names(opened), strict=True)}
    starts = {name: start for name, session in sessions.items() if (start := _first_ns(session)) is not None}
    first = min(starts.values(), default=0)
    rows, end = [], 0.0
    for part in found.parts:
        session = sessions.get(part.session)
        info = None if session is None else session_info(session)
        begins = (starts[part.session] - first) / NANOSECONDS if part.session in starts else None
        if info is not None:
            notes += [f"{part.session}: {note}" for note in info.notes]
            end = max(end, (begins or 0.0) + info.duration)
        nodes = names.get(part.session, {})
        rows.append(PartInfo(part.program, part.number, part.session, begins, part.why, info, nodes))
    if is_being_recorded(found.path):
        notes.append("it is still being recorded")
    elif found.ended_at is None and not found.problem:
        notes.append("launch was killed, or has lost its disk: how the last processes ended is not known")
    return SetInfo(
        name=found.name,
        path=str(found.path),
        file=found.file,
        started_at=found.started_at,
        ended_at=found.ended_at,
        duration=end,
        parts=rows,
        notes=notes,
    )


def _first_ns(session: Session) -> int | None:
    """The time of day of its first tick; None if it has none."""
    line = next(session.scheduler_ticks(), None)
    if line is not None:
        return line.now_ns
    try:
        return parse_iso_utc(session.started_at)
    except ValueError:
        return None
