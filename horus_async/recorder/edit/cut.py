"""A part of a session as a session: its ticks, numbers, stamps and clock stay as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import RecordingError
from horus_async.recorder.naming import EXTERNAL_STEM

from .earlier import Earlier
from .files import files_of, header_fields, identity_of, manifest_of, new_session
from .origins import keep_origins
from .raw import RawLines

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from horus_async.recorder.read.session import Session

    from .files import EditedFile, EditedSession, Fields

CUT_HERE = "cut_here"
"""In the line of a callback that went on after the part: what its field ``cut`` was."""
_STEP = 4096
_OF_WINDOWS = ("window",)
"""What a manifest says of a recording of which only the last seconds are kept, and a part of it is not."""
_CALLBACKS = ("tick", "init", "shutdown", "safe_state", "request")


@frozen
class Edited:
    """What was made."""

    session: str
    path: Path
    first_tick: int | None
    last_tick: int | None
    ticks: int
    """Of the scheduler."""
    messages: int
    nodes: list[str]
    notes: list[str] = field(factory=list)
    """What is missing from it, or not as it was, one line each."""
    whole: bool = True
    """Whether all was there that belongs to it."""


def cut_session(
    session: Session,
    name: str,
    *,
    start: int | None = None,
    stop: int | None = None,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
    also: Mapping[str, Any] | None = None,
    complete_from: int | None = None,
) -> Edited:
    """Make a session of some of a session's ticks.

    What a node sent in these ticks is in it, also where its tick began before or ended after them.

    Args:
        session: The one that is cut. It stays as it is.
        name: The new one's.
        start: Its first tick; None for the first there is.
        stop: Its last tick, inclusive; None for the last.
        root: The folder for sessions; None for the usual one.
        progress: Told the tick that was reached, now and then.
        also: What its manifest is to say besides.
        complete_from: Of a window: the tick from which on it has everything for certain (`Earlier`).

    Raises:
        RecordingError: It has no such ticks, or ticks go back in it, or the new one cannot be written.
        SessionExistsError: There is a session of that name.
        SessionNameError: The name cannot be a session's.
    """
    first, last = _checked_range(session, start, stop)
    headers = [(file, header_fields(file)) for file in files_of(session)]
    if session.scheduler is not None and not session.deterministic and first > (session.first_tick or 0):
        origin_ns = session.clock.origin_ns(session.first_tick or 0)
        headers = [(file, {"origin_ns": origin_ns, **header}) for file, header in headers]
    notes: list[str] = []
    with new_session(name, root, identity_of(session)) as edited:
        earlier = Earlier(complete_from)
        earlier.see_outside(session, first, last)
        for file, header in headers:
            if file is not session.external_file:
                notes += _copy(RawLines(file), edited.add(header), (first, last), earlier, progress)
        notes += _copy_outside(session, edited, earlier.lines(session, first), (first, last))
        for node in session.missing_nodes:
            edited.miss(node)
        notes += keep_origins(edited.folder, [session])
        manifest = {key: value for key, value in manifest_of(session).items() if key not in _OF_WINDOWS}
        cut = {"session": session.name, "ticks": [first, last]}
        if complete_from is not None and earlier.missing and not session.filtered:
            said = f"{earlier.missing} messages that were read in it had been sent before, and are not in it"
            manifest["notes"] = [*session.notes, said]
        edited.finish({**manifest, "reason": "cut", "cut": cut, **(also or {})})
    return told(edited, first, last, notes, whole=not notes and not session.unreadable)


def part_of(fields: Fields, first: int, last: int) -> Fields | None:
    """What of a line belongs to a range of ticks, as the fields of a line; None for nothing; itself if all does."""
    kind = fields["kind"]
    if kind in {"header", "footer"}:
        return None
    if kind != "sends" and kind not in _CALLBACKS:
        tick = fields.get("at_tick", fields.get("tick"))
        return fields if isinstance(tick, int) and first <= tick <= last else None
    tick = fields["tick"]
    outputs = fields.get("outputs", [])
    inside = [sent for sent in outputs if first <= sent.get("tick", tick) <= last]
    if kind == "sends":
        return None if not inside else fields if len(inside) == len(outputs) else {**fields, "outputs": inside}
    if first <= tick <= last:
        return fields if len(inside) == len(outputs) else _shortened(fields, inside, last)
    if not inside:
        return None
    inside = [sent if "tick" in sent else {**sent, "tick": tick} for sent in inside]
    return {"kind": "sends", "outputs": inside, "tick": min(tick, inside[0]["tick"])}


def _shortened(fields: Fields, inside: list[Fields], last: int) -> Fields:
    """A callback's line without some of its outputs; one that went on sending after the end did not end."""
    shortened = {**fields, "outputs": inside}
    if any(sent.get("tick", 0) > last for sent in fields["outputs"]):
        shortened |= {"cut": True, CUT_HERE: fields.get("cut")}
    return shortened


def _copy(
    raw: RawLines,
    made: EditedFile,
    ticks: tuple[int, int],
    earlier: Earlier | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    went_on: int | None = None
    for number, (fields, line) in enumerate(raw.lines(ticks[0])):
        if progress is not None and not number % _STEP:
            progress(made.last_tick)
        part = part_of(fields, *ticks)
        if fields["kind"] == "sends" and any(sent.get("tick", 0) > ticks[1] for sent in fields["outputs"]):
            went_on = fields["tick"]
        elif part is not None and part["kind"] in _CALLBACKS and part["tick"] == went_on and CUT_HERE not in part:
            part = {**part, "cut": True, CUT_HERE: part.get("cut")}
        if part is not None:
            made.put(part, line if part is fields else None)
            if earlier is not None and made.role == "node":
                earlier.see(part, made.node)
    return note_damage(raw, made)


def _copy_outside(session: Session, edited: EditedSession, before: list[Fields], ticks: tuple[int, int]) -> list[str]:
    """The file of external messages, with those from before the part that are named in it."""
    file = session.external_file
    if file is None and not before:
        return []
    if file is not None:
        header = header_fields(file)
    else:
        header = {**header_fields(files_of(session)[0]), "role": EXTERNAL_STEM, "node": session.scheduler_name}
    made = edited.add(header)
    for line in before:
        made.put(line)
    return [] if file is None else _copy(RawLines(file), made, ticks)


def note_damage(raw: RawLines, made: EditedFile) -> list[str]:
    """Say of damage, in the new file too: what was there is unknown, so each place counts as one line."""
    if raw.damage:
        made.put_gap(len(raw.damage), f"damaged in the session that this was made of: {raw.file.path.name}")
    return raw.damage


def _checked_range(session: Session, start: int | None, stop: int | None) -> tuple[int, int]:
    first, last = session.first_tick, session.last_tick
    if first is None or last is None:
        raise RecordingError(f"session {session.name!r} has no ticks: there is nothing to cut")
    if any(file.rewound for file in files_of(session)):
        raise RecordingError(
            f"session {session.name!r} is of a repeated replay: its ticks go back, so it cannot be cut"
        )
    start, stop = first if start is None else start, last if stop is None else min(stop, last)
    if start > stop or start > last or stop < first:
        raise RecordingError(f"there are no ticks {start} to {stop}: session {session.name!r} has {first} to {last}")
    if session.scheduler is not None and next(session.scheduler_ticks(start, stop), None) is None:
        raise RecordingError(f"session {session.name!r} has no tick from {start} to {stop}")
    return start, stop


def told(edited: EditedSession, first: int | None, last: int | None, notes: list[str], *, whole: bool) -> Edited:
    """What was made, for whoever asked for it."""
    scheduler = [file for file in edited.files if file.role == "scheduler"]
    return Edited(
        edited.folder.name,
        edited.folder,
        first,
        last,
        sum(file.ticks for file in scheduler),
        edited.messages,
        [file.node for file in edited.files if file.role == "node"],
        notes,
        whole,
    )
