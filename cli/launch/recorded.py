"""What ``record info``, ``record check`` and ``record diff`` show of a set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from horus_async.cli.support.errors import FOUND, USAGE, fail
from horus_async.cli.support.render import print_json, progress
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.errors import RecordingError
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.read.session import Session
from horus_async.recorder.sets.diff import SetDiff, diff_sets
from horus_async.recorder.sets.info import SetInfo, set_info

if TYPE_CHECKING:
    from horus_async.recorder.read.set_file import RecordedSet


def show_info(found: RecordedSet, *, as_json: bool) -> None:
    """Its sessions, on one time axis, and the nodes and topics of all."""
    info = set_info(found)
    if as_json:
        print_json({**attrs.asdict(info), "messages": info.messages, "bytes": info.bytes})
        return
    tell(f"set       {info.name}: {info.path}")
    tell(f"started   {info.started_at}, by launch of {info.file}" if info.file else f"started   {info.started_at}")
    tell(f"length    {info.duration:.3f} s")
    tell(f"holds     {info.messages} messages of {len(info.parts)} sessions in {info.bytes} bytes")
    tell()
    columns = ("program", "session", "from s", "to s", "ticks", "messages", "mode", "its process")
    print_table(columns, [_part_row(info, number) for number in range(len(info.parts))])
    tell()
    topics = [
        (topic.topic, part.nodes.get(topic.publisher, topic.publisher), topic.count, topic.bytes, topic.type)
        for part in info.parts
        if part.info is not None
        for topic in part.info.topics
        if topic.publisher in part.nodes
    ]
    print_table(("topic", "publisher", "messages", "bytes", "type"), sorted(topics))
    for note in info.notes:
        tell(f"note: {note}", err=True)


def _part_row(info: SetInfo, number: int) -> tuple[Any, ...]:
    part = info.parts[number]
    figures = part.info
    again = "" if part.number == 1 else f", start {part.number}"
    if figures is None:
        return (f"{part.program}{again}", f"{info.name}/{part.session}", None, None, None, None, None, part.ended)
    begins = part.begins or 0.0
    ticks = None if figures.last_tick is None else figures.last_tick - (figures.first_tick or 0) + 1
    span = (f"{begins:.3f}", f"{begins + figures.duration:.3f}")
    row = (f"{part.program}{again}", f"{info.name}/{part.session}", *span, ticks, figures.messages, figures.mode)
    return (*row, part.ended)


def check(found: RecordedSet, *, as_json: bool) -> None:
    """Check every session of it; exit code 1 when one is damaged, or has lost lines, or is named and not there."""
    rows, bad = [], bool(found.problem)
    with progress("checking", len(found.parts)) as bar:
        for part in found.parts:
            row: dict[str, Any] = {"session": f"{found.name}/{part.session}"}
            if not part.is_there:
                row |= {"verdict": "nothing recorded", "problems": [part.why] if part.why else []}
            else:
                row |= _checked(part.path)
            bad = bad or bool(row.pop("bad", False))
            rows.append(row)
            bar.advance(bar.task_ids[0])
    problems = [found.problem] if found.problem else []
    if as_json:
        print_json(
            {"set": found.name, "path": str(found.path), "sessions": rows, "problems": problems, "whole": not bad}
        )
    else:
        print_table(
            ("session", "", "lines", "dropped"),
            [(row["session"], row["verdict"], row.get("lines"), row.get("dropped")) for row in rows],
        )
        for row in rows:
            for problem in row["problems"]:
                tell(f"{row['session']}: {problem}")
        for problem in problems:
            tell(problem)
        tell(f"{found.name} {'is damaged or incomplete' if bad else 'can be read whole, as far as it goes'}")
    if bad:
        raise SystemExit(FOUND)


def _checked(path: Any) -> dict[str, Any]:
    try:
        checked = check_session(Session(path), lambda _: None)
    except RecordingError as error:
        return {"verdict": "damaged", "problems": [str(error)], "bad": True}
    problems = [f"{file.file}: {problem}" for file in checked.files for problem in file.problems]
    return {
        "verdict": checked.condition,
        "lines": sum(file.lines for file in checked.files),
        "dropped": checked.dropped,
        "problems": [*problems, *checked.problems],
        "bad": checked.verdict is Verdict.DAMAGED or bool(checked.dropped),
    }


def diff(a: RecordedSet, b: RecordedSet, *, tolerance: float, limit: int, as_json: bool) -> None:
    """Compare two sets; the exit codes are those of two sessions."""
    names = {part.session for part in a.parts}
    with progress("comparing", len(names)) as bar:
        found = diff_sets(a, b, tolerance=tolerance, limit=limit, progress=lambda _: bar.advance(bar.task_ids[0]))
    if as_json:
        print_json(_fields(a, b, found))
    else:
        _show_diff(a, b, found)
    for note in found.notes:
        tell(f"note: {note}", err=True)
    if not found.pairs:
        fail(f"nothing could be compared: {a.name} and {b.name} have no program, tick, node and topic in common", USAGE)
    if not found.same:
        raise SystemExit(FOUND)


def _fields(a: RecordedSet, b: RecordedSet, found: SetDiff) -> dict[str, Any]:
    sessions = {
        name: {
            "same": one.same,
            "compared": one.pairs,
            "differences": one.differences,
            "topics": one.compared,
            "only_a": sorted(one.only_a),
            "only_b": sorted(one.only_b),
        }
        for name, one in found.sessions.items()
    }
    shown = [{"seconds": at, "session": name, **attrs.asdict(one, recurse=False)} for at, name, one in found.shown]
    return {
        "a": a.name,
        "b": b.name,
        "same": found.same,
        "compared": found.pairs,
        "differences": found.differences,
        "sessions": sessions,
        "only_a": found.only_a,
        "only_b": found.only_b,
        "shown": shown,
    }


def _show_diff(a: RecordedSet, b: RecordedSet, found: SetDiff) -> None:
    for seconds, name, difference in found.shown:
        tell(f"{seconds:.3f} s, {name}, {difference}")
    messages = sum(one.differences for one in found.sessions.values())
    if messages > len(found.shown):
        tell(f"... and {messages - len(found.shown)} more (--limit shows more)")
    for sessions, side in ((found.only_a, a), (found.only_b, b)):
        if sessions:
            tell(f"only {side.name} has {', '.join(sessions)}")
    for name, one in found.sessions.items():
        for topics, which in ((one.only_a, a), (one.only_b, b)):
            if topics:
                tell(f"only {which.name}/{name} has messages of {', '.join(sorted(topics))}")
        for topic in sorted(topic for topic, count in one.compared.items() if not count):
            tell(f"{name}: no message of {topic} could be compared")
    tell(f"compared {found.pairs} messages of {len(found.sessions)} sessions, {found.differences} differ")
