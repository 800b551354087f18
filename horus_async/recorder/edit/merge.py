"""Several sessions as one: those of robots or processes that ran at the same time, by their clocks."""

from __future__ import annotations

import heapq
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.errors import RecordingError

from .axis import Axis
from .cut import Edited, note_damage, told
from .files import header_fields, manifest_of, new_session
from .join import join_parts, of_one_run
from .origins import keep_origins
from .outside import Outside
from .raw import RawLines
from .renaming import LineChange

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from horus_async.recorder.read.reader import RecordedFile
    from horus_async.recorder.read.session import Session

    from .files import EditedFile, EditedSession, Fields

_STEP = 4096
_OF_ONE_SESSION = {"origin_ns", "cut", "merged", "files", "part"}


def merge_sessions(
    sessions: Sequence[Session],
    name: str,
    *,
    prefix: bool = False,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Edited:
    """Make one session of several, which stay as they are.

    Parts of one run (cuts) are put together again. Others are laid side by side by the time of day that they recorded.

    Args:
        sessions: At least two.
        name: The new one's.
        prefix: Put its session's name before each node's: ``left/driver``.
        root: The folder for sessions; None for the usual one.
        progress: Told the tick that was reached, now and then.

    Raises:
        RecordingError: Several have a node of the same name, or the same ticks, or no time in common, or the new one
            cannot be written.
        SessionExistsError: There is a session of that name.
        SessionNameError: The name cannot be a session's.
    """
    if len({session.path.resolve() for session in sessions}) < max(2, len(sessions)):
        raise RecordingError("give at least two sessions to merge, each once")
    if not prefix and of_one_run(sessions):
        return join_parts(sessions, name, root, progress)
    names = _node_names(sessions, prefix=prefix)
    return merge_named(sessions, names, name, root=root, progress=progress)


def merge_named(
    sessions: Sequence[Session],
    names: list[dict[str, str]],
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
    manifest: Fields | None = None,
) -> Edited:
    """Lay sessions, at least one, side by side under new names of their nodes.

    Args:
        sessions: What is merged.
        names: The new name of each node, by session; no two are the same.
        name: The new session's.
        root: The folder for sessions; None for the usual one.
        progress: Told the tick that was reached, now and then.
        manifest: What the new manifest says besides.

    Raises:
        RecordingError: They have no time in common, or the new one cannot be written.
        SessionExistsError: There is a session of that name.
    """
    return _Merge(list(sessions), names, Axis.of(sessions), progress, manifest or {}).write(name, root)


def _node_names(sessions: Sequence[Session], *, prefix: bool) -> list[dict[str, str]]:
    """The new name of each node, by session."""
    if prefix:
        folders = Counter(session.path.name for session in sessions)
        doubled = [name for name, times in folders.items() if times > 1]
        if doubled:
            raise RecordingError(f"several of these sessions are called {doubled[0]!r}: copy one under another name")
        return [{node: f"{session.path.name}/{node}" for node in session.nodes} for session in sessions]
    there = Counter(node for session in sessions for node in session.nodes)
    doubled = sorted(node for node, times in there.items() if times > 1)
    if doubled:
        raise RecordingError(
            f"several sessions have a node {', '.join(map(repr, doubled))}: --prefix (prefix=True) puts the session's "
            "name before each node's"
        )
    return [{node: node for node in session.nodes} for session in sessions]


@define
class _Merge:
    sessions: list[Session]
    names: list[dict[str, str]]
    axis: Axis
    progress: Callable[[int], None] | None
    manifest: Fields
    """What the new one's says besides."""
    notes: list[str] = field(factory=list)

    def write(self, name: str, root: str | os.PathLike[str] | None) -> Edited:
        """Write it all."""
        outside = Outside(self.sessions, lambda number, node: self.names[number].get(node, node))
        change = LineChange(self.names, self.axis.maps, outside)
        with new_session(name, root, secrets.token_hex(4)) as edited:
            self._write_scheduler(edited, change)
            for number, session in enumerate(self.sessions):
                for node, file in session.files.items():
                    header = {**header_fields(file), "node": self.names[number][node]}
                    self._write(edited, header, [(number, file)], change.callback)
                for node in session.missing_nodes:
                    edited.miss(self.names[number].get(node, node))
            external = [(n, one.external_file) for n, one in enumerate(self.sessions) if one.external_file is not None]
            logs = [(n, one.log_file) for n, one in enumerate(self.sessions) if one.log_file is not None]
            for files, changed in ((external, change.external), (logs, change.logged)):
                if files:
                    self._write(edited, header_fields(files[0][1]), files, changed)
            self.notes += keep_origins(edited.folder, self.sessions, self.names)
            damaged = bool(self.notes)
            self._finish(edited)
        if outside.doubled:
            self.notes.append(f"{outside.doubled} messages from outside are here once: another session has them too")
        lost = damaged or any(session.unreadable for session in self.sessions)
        first = min(tick_of(one.first_tick or 0) for one, tick_of in zip(self.sessions, self.axis.maps, strict=True))
        return told(edited, first, edited.files[0].last_tick, self.notes, whole=not lost)

    def _finish(self, edited: EditedSession) -> None:
        first = min(self.sessions, key=lambda session: session.started_at)
        ends = [session.ended_at for session in self.sessions if session.ended_at]
        fields = {key: value for key, value in manifest_of(first).items() if key not in _OF_ONE_SESSION}
        merged = [session.name for session in self.sessions]
        of_merge = {"ended_at": max(ends, default=None), "reason": "merge", "merged": merged}
        edited.finish({**fields, **self._run(), **of_merge, **self.manifest})

    def _run(self) -> Fields:
        """What all headers and the manifest say of the run."""
        first = min(self.sessions, key=lambda session: session.started_at)
        seeds = {session.seed for session in self.sessions}
        return {
            "tick_rate": self.axis.tick_rate,
            "deterministic": self.axis.regular,
            "start_ns": self.axis.start_ns,
            "started_at": first.started_at,
            "seed": seeds.pop() if len(seeds) == 1 else 0,
            "namespace": first.namespace,
        }

    def _add(self, edited: EditedSession, header: Fields) -> EditedFile:
        kept = {key: value for key, value in header.items() if key not in _OF_ONE_SESSION}
        return edited.add({**kept, **self._run()})

    def _write(
        self,
        edited: EditedSession,
        header: Fields,
        files: Sequence[tuple[int, RecordedFile]],
        change: Callable[[Fields, int], Fields | None],
    ) -> None:
        made = self._add(edited, header)
        raws = [(number, RawLines(file)) for number, file in files]
        for count, (_, _, fields) in enumerate(_in_order(raws, change)):
            made.put(fields)
            if self.progress is not None and not count % _STEP:
                self.progress(made.last_tick)
        for _, raw in raws:
            self.notes += note_damage(raw, made)

    def _write_scheduler(self, edited: EditedSession, change: LineChange) -> None:
        files = [(n, session.scheduler) for n, session in enumerate(self.sessions) if session.scheduler is not None]
        made = self._add(edited, header_fields(files[0][1]))
        raws = [(number, RawLines(file)) for number, file in files]
        waiting: list[tuple[int, Fields]] = []
        for tick, number, fields in _in_order(raws, change.scheduler):
            if waiting and waiting[0][1]["tick"] != tick:
                made.put(self._together(waiting))
                waiting = []
            if fields["kind"] == "tick":
                waiting.append((number, fields))
            else:
                made.put(fields)
        if waiting:
            made.put(self._together(waiting))
        for _, raw in raws:
            self.notes += note_damage(raw, made)

    def _together(self, lines: Sequence[tuple[int, Fields]]) -> Fields:
        """The line of a tick that one or several sessions have."""
        order = [self.names[number].get(node, node) for number, fields in lines for node in fields["order"]]
        fields = {key: value for key, value in lines[0][1].items() if key != "elapsed_ns"}
        if len(lines) > 1 or order != list(fields["order"]):
            fields["digest"] = ""  # it is of names and the order of sending, which nobody knows between sessions
        if self.axis.moments is not None:
            fields["elapsed_ns"] = self.axis.moments[fields["tick"]] - self.axis.moments[0]
        return {**fields, "order": order}


def _in_order(
    raws: Sequence[tuple[int, RawLines]], change: Callable[[Fields, int], Fields | None]
) -> Iterator[tuple[int, int, Fields]]:
    """The changed lines of several files by their new ticks, and the number of the session each is from."""

    def of_file(number: int, raw: RawLines) -> Iterator[tuple[int, int, Fields]]:
        tick = 0
        for fields, _ in raw.lines():
            changed = None if fields["kind"] in {"header", "footer"} else change(fields, number)
            if changed is not None:
                new = changed.get("at_tick", changed.get("tick"))
                tick = tick if new is None else max(tick, new)
                yield tick, number, changed

    return heapq.merge(*(of_file(number, raw) for number, raw in raws), key=lambda line: line[:2])
