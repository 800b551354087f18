"""``horus-async record``: find, look at, check and delete recorded sessions.

The commands that compare and convert are in `record_data`, those that play in `replay` and `inject`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.shell_completion import CompletionItem

from horus_async.clock.system import NANOSECONDS, parse_iso_utc, wall_ns
from horus_async.errors import DamagedRecordingError, RecordingError
from horus_async.folders import open_to_everyone
from horus_async.recorder import delete_session, list_sessions, open_session, recordings_root
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.origin import ATTACHMENTS, ORIGIN
from horus_async.recorder.read.listing import DENIED
from horus_async.recorder.read.set_file import is_set
from horus_async.recorder.removal import remove_condemned

from .support.errors import FOUND, clear_errors, prints_no_data
from .support.render import print_json, progress
from .terminal import completion
from .terminal.commands import Group
from .terminal.table import fold, print_table
from .terminal.text import ask, tell, tell_lines

if TYPE_CHECKING:
    from horus_async.recorder import Session, SessionSummary
    from horus_async.recorder.origin import Origin
    from horus_async.recorder.read.check import SessionCheck
    from horus_async.recorder.read.info import SessionInfo

DAY_SECONDS = 86_400
_TRIGGERS_SHOWN = 5
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FORCE = click.option("--force", is_flag=True, help="Do not ask.")


_ELSEWHERE = {
    "start": ("recording.start", "start", "Record what the programs of a namespace publish, from outside."),
    "find": ("finding.find", "find", "Find sessions and boxes by time, node, event or message."),
    "sql": ("finding.sql", "sql", "Ask sessions as tables, in SQL."),
    "replay": ("replay", "replay", "Replay a recorded session, as the command replay does."),
    "inject": ("inject", "inject", "Let recorded nodes play among live ones."),
    "diff": ("record_data", "diff", "Compare every message of two sessions."),
    "export": ("record_data", "export", "Write CSV, JSON lines, Parquet or MCAP."),
    "cut": ("record_edit", "cut", "Make a session of a part of one."),
    "merge": ("record_edit", "merge", "Make one session of several, by their clocks."),
    "import": ("record_data", "import_", "Make a session of an MCAP file, a ROS bag or a PX4 log."),
}
"""Commands whose modules are imported only when called, so that the others start quickly: module, name, help."""
_ORDER = (
    "start",
    "list",
    "find",
    "info",
    "sql",
    "replay",
    "inject",
    "diff",
    "export",
    "import",
    "cut",
    "merge",
    "check",
    "clean",
    "delete",
)


class _Group(Group):
    """Imports commands when they are called; reports errors in one line, also without the group above it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_ORDER)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name, _ = _ELSEWHERE[cmd_name]
        command = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        return [
            (name, _ELSEWHERE[name][2] if name in _ELSEWHERE else self.commands[name].get_short_help_str(60))
            for name in _ORDER
        ]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=text) for name, text in self._rows() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        with clear_errors():
            return super().invoke(ctx)


@click.group(cls=_Group)
def record() -> None:
    """Work with recorded sessions. SESSION is a name, a folder, or a file of a session.

    Example: horus-async record list
    """


@record.command("list")
@click.option("--long", "as_long", is_flag=True, help="Also rate, mode, seed and messages.")
@_JSON
def list_(*, as_long: bool, as_json: bool) -> None:
    """Show all sessions, oldest first.

    Example: horus-async record list --long
    """
    found = (_listed(summary, with_more=as_long) for summary in list_sessions())
    rows = [row for row in found if row is not None]
    if problem := open_to_everyone(recordings_root()):
        tell(f"note: {problem}", err=True)
    if as_json:
        print_json({"recordings_dir": str(recordings_root()), "sessions": rows})
        return
    if not rows:
        tell(f"no sessions in {recordings_root()}", err=True)
        return
    columns = ["name", "started", "duration s", "nodes", "size"]
    columns += ["rate Hz", "mode", "seed", "messages"] if as_long else []
    print_table(columns, [_list_row(row, as_long=as_long) for row in rows])
    for row in rows:
        if row["problem"]:
            tell(f"{row['name']}: {row['problem']}", err=True)


def _listed(summary: SessionSummary, *, with_more: bool) -> dict[str, Any] | None:
    """A session's row; None if somebody deletes it meanwhile."""
    from horus_async.recorder.read.info import session_bytes, session_duration, session_info

    row: dict[str, Any] = {
        "name": summary.name,
        "started_at": summary.started_at or None,
        "ended_at": summary.ended_at,
        "duration": None,
        "nodes": list(summary.nodes),
        "bytes": summary.bytes,
        "path": str(summary.path),
        "problem": summary.problem,
    }
    if summary.path.is_dir() and is_set(summary.path):
        return _listed_set(summary, row, with_more=with_more)
    try:
        session = open_session(summary.path)
        row["duration"], row["bytes"] = session_duration(session), session_bytes(session)
        if with_more:
            row |= {
                "tick_rate": session.tick_rate,
                "mode": "deterministic" if session.deterministic else "real time",
                "seed": session.seed,
                "messages": session_info(session).messages,
            }
    except (RecordingError, OSError) as error:
        if not summary.path.exists():
            return None
        row["problem"] = row["problem"] or str(error)
    return row


def _listed_set(summary: SessionSummary, row: dict[str, Any], *, with_more: bool) -> dict[str, Any] | None:
    """The row of several programs' sessions under one name."""
    from horus_async.recorder.read.set_file import read_set
    from horus_async.recorder.sets.info import set_info

    try:
        found = set_info(read_set(summary.path))
    except (RecordingError, OSError) as error:
        return {**row, "problem": row["problem"] or str(error)} if summary.path.exists() else None
    row |= {"duration": found.duration, "bytes": found.bytes, "programs": list(summary.programs)}
    if with_more:
        modes = sorted({part.info.mode for part in found.parts if part.info is not None})
        row |= {"tick_rate": None, "mode": ", ".join(modes), "seed": None, "messages": found.messages}
    return row


def _list_row(row: dict[str, Any], *, as_long: bool) -> list[Any]:
    duration = None if row["duration"] is None else f"{row['duration']:.2f}"
    names = row.get("programs") or row["nodes"]
    cells = [row["name"], row["started_at"], duration, ", ".join(names), size_text(row["bytes"])]
    return [*cells, row.get("tick_rate"), row.get("mode"), row.get("seed"), row.get("messages")] if as_long else cells


def size_text(size: int) -> str:
    """A number of bytes for people: ``512 B``, ``1.4 MB`` (of 10**6)."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


@record.command()
@click.argument("session", shell_complete=completion.session)
@_JSON
def info(session: str, *, as_json: bool) -> None:
    """Show the nodes and topics of SESSION, and what is missing from it.

    A recording that was closed is not read for this: its own counts are shown, at once. Use "check" to have every line
    read. Of what "launch --record" recorded it shows each program, on one time axis; SESSION/PROGRAM is one of them.

    Example: horus-async record info demo
    """
    from horus_async.recorder.read.info import session_info
    from horus_async.recorder.sets.opening import find_set

    together = find_set(session)
    if together is not None:
        from .launch.recorded import show_info

        show_info(together, as_json=as_json)
        return
    found = session_info(open_session(session))
    if as_json:
        print_json({**attrs.asdict(found), "messages": found.messages})
    else:
        _show_info(found)


def _show_trigger(trigger: dict[str, Any]) -> None:
    """What a session was made around; a file of others may hold anything there."""
    rows = trigger.get("triggers")
    told = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    for row in told[:_TRIGGERS_SHOWN]:
        why = ": ".join(str(row[key]) for key in ("what", "text") if row.get(key)) or row.get("kind")
        tell_lines(fold(f"around    tick {row.get('tick')}, {row.get('kind')}: {why}", indent=10))
    count = trigger.get("count")
    if isinstance(count, int) and count > _TRIGGERS_SHOWN:
        tell(f"          and {count - _TRIGGERS_SHOWN} more")


def _show_info(found: SessionInfo) -> None:
    tell(f"session   {found.name}: {found.path}")
    started = f"started   {found.started_at}, {found.mode}, {found.tick_rate:g} Hz, seed {found.seed}"
    tell_lines(fold(started, indent=10))
    tell(f"length    {found.duration:g} s, ticks {found.first_tick} to {found.last_tick}")
    logged = f" and {found.log_lines} log lines" if found.log_lines else ""
    tell(f"holds     {found.messages} messages{logged} in {size_text(found.bytes)}")
    if found.window:
        tell("window    the last seconds of a run, with no older files")
    if found.trigger is not None:
        _show_trigger(found.trigger)
    if found.origin is not None:
        _show_origin(found.origin)
    tell()
    print_table(
        ("node", "ticks", "rate Hz", "messages", "dropped", "bytes"),
        [(node.node, node.ticks, node.rate, node.messages, node.dropped, node.bytes) for node in found.nodes],
    )
    tell()
    print_table(
        ("topic", "publisher", "messages", "rate Hz", "bytes", "first", "last", "type"),
        [
            (
                topic.topic,
                topic.publisher,
                topic.count,
                topic.rate,
                topic.bytes,
                topic.first_tick,
                topic.last_tick,
                topic.type,
            )
            for topic in found.topics
        ],
    )
    for note in found.notes:
        tell(f"note: {note}", err=True)


def _show_origin(origin: Origin) -> None:
    tell(f"imported  from {origin.file}")
    for attachment in origin.attachments:
        where = f"{ATTACHMENTS}/{attachment.file}"
        tell(f"attached  {attachment.name} ({size_text(attachment.bytes)}): {where}")
    for record in origin.metadata:
        tell(f"metadata  {record.name}: {len(record.values)} values, in {ORIGIN}")


@record.command()
@click.argument("session", shell_complete=completion.session)
@_JSON
def check(session: str, *, as_json: bool) -> None:
    """Read every line of SESSION and say what is damaged, where, and what is still readable.

    Exit code 0 when it is whole or only cut off at its end, as after a kill; 1 when it is damaged, or when lines are
    missing that could not be written; 2 when it is not a recording. The trace of a policy server is checked as
    "horus-async trace check" does.

    Example: horus-async record check demo
    """
    from horus_async.recorder.read.check import Verdict, check_session

    from .replay import is_trace_file

    if is_trace_file(session):
        from .support.traces import check_files

        check_files([Path(session)], as_json=as_json)
        return
    from horus_async.recorder.sets.opening import find_set

    together = find_set(session)
    if together is not None:
        from .launch.recorded import check as check_set

        check_set(together, as_json=as_json)
        return
    opened = _open_to_check(session, as_json=as_json)
    files = len(opened.all_files())
    with progress("checking", files) as bar:
        found = check_session(opened, lambda done: bar.update(bar.task_ids[0], completed=done))
    for problem in filter(None, map(open_to_everyone, (opened.path.parent, opened.path))):
        tell(f"note: {problem}", err=True)
    if as_json:
        print_json({**attrs.asdict(found), "verdict": found.condition, "dropped": found.dropped})
    else:
        _show_check(found)
    if found.verdict is Verdict.DAMAGED or found.dropped:
        raise SystemExit(FOUND)


def _open_to_check(session: str, *, as_json: bool) -> Session:
    """Open a session; one with nothing left but the manifest is damaged, not unknown."""
    try:
        return open_session(session)
    except DamagedRecordingError as error:
        folder = recordings_root() / session
        try:
            known = DENIED not in str(error) and folder.is_dir() and read_manifest(folder) is not None
        except (RecordingError, OSError):
            known = False
        if not known:
            raise
        if as_json:
            print_json({"session": session, "path": str(folder), "verdict": "damaged", "problems": [str(error)]})
        else:
            tell(f"{session} is damaged: {error}")
        raise SystemExit(FOUND) from None


def _show_check(found: SessionCheck) -> None:
    print_table(
        ("file", "", "lines", "ticks", "messages", "dropped", "first", "last"),
        [
            (
                file.file,
                file.condition,
                file.lines,
                file.ticks,
                file.messages,
                file.dropped,
                file.first_tick,
                file.last_tick,
            )
            for file in found.files
        ],
    )
    for file in found.files:
        for problem in file.problems:
            tell(f"{file.file}: {problem}")
    for problem in found.problems:
        tell(problem)
    lines = sum(file.lines for file in found.files)
    means = {
        "whole": "is whole",
        "cut": "is cut off at its end, and whole up to there",
        "incomplete": f"is intact, but {found.dropped} messages or lines are missing, which could not be written",
        "damaged": "is damaged",
    }
    tell(f"{found.session} {means[found.condition]}: {lines} lines can be read")


@record.command()
@click.option("--max-age-days", type=click.FloatRange(min=0), required=True, metavar="N", help="Keep younger ones.")
@click.option("--dry-run", is_flag=True, help="Only show which.")
@_FORCE
@_JSON
def clean(*, max_age_days: float, dry_run: bool, force: bool, as_json: bool) -> None:
    """Delete the sessions that were started more than N days ago. On a terminal it asks first.

    A session that is still being recorded is kept, and so is one whose start time is lost.

    Example: horus-async record clean --max-age-days 30 --dry-run
    """
    prints_no_data(unless=as_json or dry_run)
    if not dry_run:
        remove_condemned(recordings_root())
    limit_ns = wall_ns() - int(max_age_days * DAY_SECONDS * NANOSECONDS)
    old = [summary for summary in list_sessions() if _is_older(summary, limit_ns)]
    if not as_json:
        for summary in old:
            tell(f"{summary.name}  {summary.started_at}  {size_text(summary.bytes)}")
    what = f"{len(old)} session{'' if len(old) == 1 else 's'}"
    deleted = bool(old) and not dry_run and _agreed(f"Delete {what}?", force=force)
    kept = _delete(old) if deleted else []
    if as_json:
        names = [summary.name for summary in old]
        print_json({"sessions": names, "deleted": deleted, **({"kept": kept} if kept else {})})
    elif old:
        less = f", {len(kept)} not" if kept else ""
        tell(f"deleted {what}{less}" if deleted else f"{what} would be deleted" if dry_run else "nothing was deleted")
    else:
        tell(f"no session is older than {max_age_days:g} days")


def _delete(old: list[SessionSummary]) -> list[str]:
    """Delete them, and give the names of those that are still there. What another process has deleted is gone too."""
    kept = []
    for summary in old:
        try:
            delete_session(summary.name, only=summary)
        except RecordingError as error:
            kept.append(summary.name)
            tell(f"not deleted: {error}", err=True)
    return kept


def _is_older(summary: SessionSummary, limit_ns: int) -> bool:
    try:
        started_ns = parse_iso_utc(summary.started_at)
    except ValueError:
        return False
    return started_ns < limit_ns and not summary.is_open


@record.command()
@click.argument("session", shell_complete=completion.session)
@_FORCE
def delete(session: str, *, force: bool) -> None:
    """Delete SESSION, by its name. On a terminal it asks first.

    Example: horus-async record delete demo
    """
    prints_no_data()
    name, slash, part = session.partition("/")
    if slash and is_set(recordings_root() / name):
        raise RecordingError(f"{part} is a part of {name!r}, which is deleted as a whole: record delete {name}")
    if session not in {summary.name for summary in list_sessions()}:
        open_session(session)  # raises if there is none, naming those there are
        raise RecordingError(f"give the name of a session in {recordings_root()}; delete a folder elsewhere by hand")
    if not _agreed(f"Delete session {session}?", force=force):
        tell("nothing was deleted")
        return
    there = delete_session(session)
    tell(f"deleted {session}" if there else f"{session} was deleted meanwhile")


def _agreed(question: str, *, force: bool) -> bool:
    """Whether to go on; asks only at a terminal."""
    return force or not _at_a_terminal() or ask(question)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()
