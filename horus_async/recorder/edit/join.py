"""Parts of one run, cut or copied, put together again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from horus_async.errors import RecordingError
from horus_async.recorder.naming import EXTERNAL_STEM

from .cut import CUT_HERE, Edited, note_damage, told
from .files import files_of, header_fields, identity_of, manifest_of, new_session, text_of
from .origins import keep_origins
from .raw import RawLines

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from horus_async.recorder.read.reader import RecordedFile
    from horus_async.recorder.read.session import Session

    from .files import EditedFile, Fields

    Line = tuple[Fields, bytes]

_CALLBACKS = ("tick", "init", "shutdown", "safe_state", "request")
_STEP = 4096
_MOST_HELD = 1000
"""Lines after that of a callback; behind more of them nothing is looked for."""


def of_one_run(sessions: Sequence[Session]) -> bool:
    """Whether these are parts of one run: their files have its mark."""
    marks = {(identity_of(one), one.started_at, one.seed, one.tick_rate, one.start_ns) for one in sessions}
    return len(marks) == 1


def join_parts(
    sessions: Sequence[Session],
    name: str,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Edited:
    """The session that these are parts of, as far as they go.

    Raises:
        RecordingError: Two of them have the same ticks, or one has none, or it cannot be written.
        SessionExistsError: There is a session of that name.
    """
    parts = _in_order(sessions)
    notes: list[str] = []
    with new_session(name, root, identity_of(parts[0])) as edited:
        headers: dict[tuple[str, str], Fields] = {}
        rows: dict[tuple[str, str], list[RecordedFile]] = {}
        for part in parts:
            for file in files_of(part):
                header = header_fields(file)
                key = str(header.get("role", "node")), str(header["node"])
                headers.setdefault(key, header)
                rows.setdefault(key, []).append(file)
        for key, header in headers.items():
            made = edited.add(header)
            for line in _earlier(rows[key], parts):
                made.put(*line)
            notes += _copy([RawLines(file) for file in rows[key]], made, progress)
        notes += keep_origins(edited.folder, parts)
        manifest = {key: value for key, value in manifest_of(parts[0]).items() if key != "cut"}
        ended_at = manifest_of(parts[-1]).get("ended_at")
        merged = [part.name for part in parts]
        edited.finish({**manifest, "ended_at": ended_at, "reason": "merge", "merged": merged})
    whole = not notes and not any(part.unreadable for part in parts)
    notes += _between(parts)
    return told(edited, parts[0].first_tick, parts[-1].last_tick, notes, whole=whole)


def _in_order(sessions: Sequence[Session]) -> list[Session]:
    for session in sessions:
        if session.first_tick is None:
            raise RecordingError(f"session {session.name!r} has no ticks: there is nothing to merge")
    parts = sorted(sessions, key=lambda session: session.first_tick or 0)
    for one, other in itertools.pairwise(parts):
        assert one.last_tick is not None
        assert other.first_tick is not None
        if other.first_tick <= one.last_tick:
            raise RecordingError(
                f"sessions {one.name!r} and {other.name!r} are of one run and both hold ticks {other.first_tick} to "
                f"{min(one.last_tick, other.last_tick or 0)}: cut one of them first"
            )
    return parts


def _between(parts: Sequence[Session]) -> Iterator[str]:
    """A note for each row of ticks that lies between two parts: nothing is damaged, yet it may have been forgotten."""
    for one, other in itertools.pairwise(parts):
        first, last = (one.last_tick or 0) + 1, (other.first_tick or 0) - 1
        if first <= last:
            ticks = f"tick {first} is" if first == last else f"ticks {first} to {last} are"
            yield f"{ticks} in none of the parts: {one.name!r} ends before, {other.name!r} begins after"


def _copy(raws: Sequence[RawLines], made: EditedFile, progress: Callable[[int], None] | None) -> list[str]:
    notes: list[str] = []
    held: list[Line] = []
    for raw in raws:
        lines = _content(raw)
        line = next(lines, None)
        while line is not None and held and _belongs_to(held[0], line):
            held[0] = _continued(held[0], line[0]["outputs"])  # sent by the callback whose line waits, after the cut
            line = next(lines, None)
        if line is not None:
            _put_all(made, held)
            held = _copy_part(itertools.chain([line], lines), made, progress)
        notes += note_damage(raw, made)
    _put_all(made, held)
    return notes


def _continued(line: Line, outputs: list[Fields]) -> Line:
    """A callback's line with what it sent later, without the mark that it was cut here."""
    fields = line[0]
    before = {"cut": fields[CUT_HERE]} if fields.get(CUT_HERE) is not None else {}
    whole = {key: value for key, value in fields.items() if CUT_HERE not in fields or key not in {CUT_HERE, "cut"}}
    whole |= {"outputs": [*fields["outputs"], *outputs], **before}
    return whole, text_of(whole)[:-1]


def _copy_part(lines: Iterable[Line], made: EditedFile, progress: Callable[[int], None] | None) -> list[Line]:
    """Write lines, but for the last one of a callback and what follows it, which are held back."""
    held: list[Line] = []
    for number, line in enumerate(lines):
        if progress is not None and not number % _STEP:
            progress(made.last_tick)
        is_callback = line[0]["kind"] in _CALLBACKS
        if is_callback or len(held) > _MOST_HELD:
            _put_all(made, held)
            held = []
        if held or is_callback:
            held.append(line)
        else:
            made.put(*line)
    return held


def _put_all(made: EditedFile, lines: Iterable[Line]) -> None:
    for line in lines:
        made.put(*line)


def _content(raw: RawLines) -> Iterator[Line]:
    return (line for line in raw.lines() if line[0]["kind"] not in {"header", "footer", "earlier"})


def _earlier(files: Sequence[RecordedFile], parts: Sequence[Session]) -> list[Line]:
    """What parts have from before them, and none of them has among its messages."""
    found: dict[tuple[object, ...], Line] = {}
    if files[0].header is None or files[0].header.role != EXTERNAL_STEM:
        return []
    ranges = [(part.first_tick or 0, part.last_tick or 0) for part in parts]
    for line in (line for file in files for line in RawLines(file).lines()):
        fields = line[0]
        if fields["kind"] == "earlier" and not any(first <= fields["tick"] <= last for first, last in ranges):
            found[fields["topic"], fields["publisher"], fields.get("source", 0), fields["seq"]] = line
    return sorted(found.values(), key=lambda line: (line[0]["tick"], line[0]["stamp_ns"]))


def _belongs_to(held: Line, line: Line) -> bool:
    """Whether a line holds what was sent by the callback whose line is held back."""
    fields = line[0]
    return fields["kind"] == "sends" and fields["tick"] is not None and fields["tick"] == held[0]["tick"]
