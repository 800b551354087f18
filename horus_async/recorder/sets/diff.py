"""Where two sets differ: program by program, each by its own ticks; the differences stand in order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.recorder.read.diff import MessageDifference, SessionDiff, diff_sessions

from .opening import usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.recorder.read.session import Session
    from horus_async.recorder.read.set_file import RecordedSet


@define
class SetDiff:
    """What a comparison of two sets found."""

    sessions: dict[str, SessionDiff] = field(factory=dict)
    """Of each session that both have: a program's first process with its first, a restart with a restart."""
    only_a: list[str] = field(factory=list)
    """Sessions that only the first set has; each is a difference."""
    only_b: list[str] = field(factory=list)
    shown: list[tuple[float, str, MessageDifference]] = field(factory=list)
    """Seconds since the first tick of set A, session, difference; in order of time."""
    notes: list[str] = field(factory=list)

    @property
    def pairs(self) -> int:
        """Pairs of messages compared."""
        return sum(one.pairs for one in self.sessions.values())

    @property
    def differences(self) -> int:
        """Messages that differ, are missing or too many, and whole sessions that are."""
        return sum(one.differences for one in self.sessions.values()) + len(self.only_a) + len(self.only_b)

    @property
    def same(self) -> bool:
        """Something was compared of each session that sent anything, and nothing differs."""
        compared = [one for one in self.sessions.values() if one.compared or one.only_a or one.only_b]
        return bool(compared) and all(one.same for one in compared) and not self.only_a and not self.only_b


def diff_sets(
    a: RecordedSet,
    b: RecordedSet,
    *,
    tolerance: float = 0.0,
    limit: int = 20,
    progress: Callable[[str], None] | None = None,
) -> SetDiff:
    """Compare every message of two sets.

    Args:
        a: One set.
        b: The other.
        tolerance: Numbers this far apart, absolute, count as equal.
        limit: The number of differences kept; all are counted.
        progress: Told the session that is compared.

    Raises:
        RecordingError: ``tolerance`` is no number, or below 0.
    """
    (parts_a, notes_a), (parts_b, notes_b) = usable(a), usable(b)
    found = SetDiff(notes=[f"{one.name}: {note}" for one, notes in ((a, notes_a), (b, notes_b)) for note in notes])
    sessions_a = {part.session: session for part, session in parts_a}
    sessions_b = {part.session: session for part, session in parts_b}
    found.only_a = [name for name in sessions_a if name not in sessions_b]
    found.only_b = [name for name in sessions_b if name not in sessions_a]
    first_ns = min((_now_ns(session, None) for session in sessions_a.values()), default=0)
    for name in (name for name in sessions_a if name in sessions_b):
        if progress is not None:
            progress(name)
        one = diff_sessions(sessions_a[name], sessions_b[name], tolerance=tolerance, limit=limit)
        found.sessions[name] = one
        for difference in one.shown:
            seconds = (_now_ns(sessions_a[name], difference.tick) - first_ns) / 1e9
            found.shown.append((seconds, name, difference))
    found.shown = sorted(found.shown, key=lambda row: row[:2])[:limit]
    return found


def _now_ns(session: Session, tick: int | None) -> int:
    """The time of day of a tick, or of the first one; of a tick that it has not, of the one before."""
    lines = session.scheduler_ticks(tick, tick)
    line = next(lines, None) or next(session.scheduler_ticks(), None)
    return 0 if line is None else line.now_ns
