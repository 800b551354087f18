"""The commands of ``horus-async record`` that compare and convert: diff, export, import."""

from __future__ import annotations

from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from horus_async.recorder import open_session

from .support.errors import FOUND, USAGE, fail, prints_no_data
from .support.in_order import ended_in_order
from .support.render import print_json, progress, seldom, show_notes
from .terminal import completion
from .terminal.states import say
from .terminal.text import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from horus_async.recorder import Session
    from horus_async.recorder.imports.importing import Imported
    from horus_async.recorder.read.diff import SessionDiff

FORMATS = ("csv", "jsonl", "parquet", "mcap")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@contextmanager
def _messages_bar(
    label: str, session: Session, topics: Collection[str] = (), *, hidden: bool = False
) -> Iterator[Callable[[int], None]]:
    """A progress bar over the messages that are read, unless it would get among what is printed."""
    from horus_async.recorder.messages import count_messages

    if hidden:
        yield lambda _: None
        return
    with progress(label, count_messages(session, topics)) as bar:
        yield seldom(lambda done: bar.update(bar.task_ids[0], completed=done))


@click.command()
@click.argument("session_a", metavar="A", shell_complete=completion.session)
@click.argument("session_b", metavar="B", shell_complete=completion.session)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, metavar="X", help="Numbers this far apart are equal."
)
@click.option("--limit", type=click.IntRange(min=0), default=20, metavar="N", help="Show this many differences (20).")
@_JSON
def diff(session_a: str, session_b: str, *, tolerance: float, limit: int, as_json: bool) -> None:
    """Compare every message of sessions A and B, by tick, node and topic.

    A message that only one has is a difference; 1 equals 1.0; stamps are not compared. Exit code 0 when at least one
    message of each topic that both have was compared and all are equal, 1 when they differ, 2 when a session is
    missing or nothing could be compared. Of what "launch --record" recorded, program is compared with program.

    Example: horus-async record diff monday tuesday --tolerance 1e-9
    """
    from horus_async.recorder.read.diff import diff_sessions
    from horus_async.recorder.sets.opening import find_set

    set_a, set_b = find_set(session_a), find_set(session_b)
    if set_a is not None and set_b is not None:
        from .launch.recorded import diff as diff_sets

        diff_sets(set_a, set_b, tolerance=tolerance, limit=limit, as_json=as_json)
        return
    a, b = open_session(session_a), open_session(session_b)
    with _messages_bar("comparing", a) as report:
        found = diff_sessions(a, b, tolerance=tolerance, limit=limit, progress=report)
    if as_json:
        print_json(_diff_fields(a, b, found))
    else:
        _show_diff(a, b, found)
    show_notes(a)
    if b.path != a.path:
        show_notes(b)
    if not found.pairs:
        fail(f"nothing could be compared: {a.name} and {b.name} have no tick, node and topic in common", USAGE)
    if not found.same:
        raise SystemExit(FOUND)


def _diff_fields(a: Session, b: Session, found: SessionDiff) -> dict[str, Any]:
    return {
        "a": {"session": a.name, "first_tick": a.first_tick, "last_tick": a.last_tick},
        "b": {"session": b.name, "first_tick": b.first_tick, "last_tick": b.last_tick},
        "same": found.same,
        "compared": found.pairs,
        "topics": found.compared,
        "only_a": sorted(found.only_a),
        "only_b": sorted(found.only_b),
        "differences": found.differences,
        "shown": [attrs.asdict(difference, recurse=False) for difference in found.shown],
    }


def _show_diff(a: Session, b: Session, found: SessionDiff) -> None:
    for session in (a, b):
        tell(f"{session.name}: ticks {session.first_tick} to {session.last_tick}")
    for difference in found.shown:
        tell(str(difference))
    if found.differences > len(found.shown):
        tell(f"... and {found.differences - len(found.shown)} more (--limit shows more)")
    for topics, session in ((found.only_a, a), (found.only_b, b)):
        if topics:
            tell(f"only {session.name} has messages of {', '.join(sorted(topics))}")
    for topic in sorted(topic for topic, count in found.compared.items() if not count):
        tell(f"no message of {topic} could be compared")
    tell(f"compared {found.pairs} messages of {len(found.compared)} topics, {found.differences} differ")


@click.command()
@click.argument("session", shell_complete=completion.session)
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="F",
    help="The file; - for standard output.",
)
@click.option("--format", "form", required=True, type=click.Choice(FORMATS), help="What to write.")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="T",
    shell_complete=completion.recorded_topic,
    help="Only this topic, or those that a pattern fits; may be repeated.",
)
@_JSON
def export(session: str, *, output: str, form: str, topics: tuple[str, ...], as_json: bool) -> None:
    """Write the messages of SESSION, decoded, for other tools.

    csv, jsonl and parquet are flat tables, one per topic, with the columns tick, stamp_ns, seq, publisher and then the
    message's fields with dots: F itself for one topic, else F's name with the topic before its ending. mcap is one
    file with all topics, for Foxglove, Rerun, PlotJuggler and ROS. A pipe, a device or what a link leads to is written
    into, never replaced. parquet needs the extra parquet, mcap the extra mcap.

    Example: horus-async record export demo --format csv --output demo.csv --topic scan

    Example: horus-async record export demo --format parquet --output demo.parquet --topic 'arm/*'

    Example: horus-async record export demo --format jsonl --output - --topic scan | jq .ranges
    """
    from horus_async.recorder.exports.export import ExportFormat, export_session
    from horus_async.recorder.exports.output import STDOUT, goes_to_stdout
    from horus_async.recorder.read.info import count_log_lines

    opened = open_session(session)
    path = STDOUT if output == "-" else Path(output).expanduser()
    # A file of that name is "./-", which a Path shortens.
    if path == STDOUT and output != "-":
        path = path.absolute()
    topics = _chosen(opened, topics)
    err = goes_to_stdout(path)
    prints_no_data(unless=err or as_json)
    if path != STDOUT and path.is_fifo():
        say(f"writes into {path} as soon as somebody reads it")
    with ended_in_order(), _messages_bar("exporting", opened, topics, hidden=err) as report:
        done = export_session(opened, path, ExportFormat(form), topics=topics, progress=report)
    show_notes(opened)
    for note in done.notes:
        tell(f"note: {note}", err=True)
    logged = count_log_lines(opened)
    if logged and not topics:
        lines = "1 line of its log is" if logged == 1 else f"{logged} lines of its log are"
        tell(f"note: the {lines} not exported; read {opened.path}/log@*.jsonl.lz4", err=True)
    if as_json:
        print_json({"session": opened.name, "files": {str(name): count for name, count in done.files.items()}}, err=err)
        return
    for name, count in done.files.items():
        tell(f"{'standard output' if name == STDOUT else name}: {count} messages", err=err)


def _chosen(session: Session, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The topics that fit; a pattern that fits none as it is, so that the export says that there is none."""
    if not any(letter in pattern for pattern in patterns for letter in "*?["):
        return tuple(dict.fromkeys(patterns))
    from horus_async.replay.choosing.topics import known_topics

    known = sorted(known_topics(session, (session.output_topics(node) for node in session.nodes)))
    fitting = (name for pattern in patterns for name in [t for t in known if fnmatchcase(t, pattern)] or [pattern])
    return tuple(dict.fromkeys(fitting))


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, metavar="S", help="The session's name.")
@click.option(
    "--tick-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HZ",
    help="Default: that of an exported run in virtual time; else one tick per message.",
)
@click.option("--topic", "topics", multiple=True, metavar="GLOB", help="Only topics that fit; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these topics; may be repeated.")
@_JSON
def import_(
    file: Path, *, name: str, tick_rate: float | None, topics: tuple[str, ...], exclude: tuple[str, ...], as_json: bool
) -> None:
    """Make a session of FILE: an MCAP file, a ROS 1 bag, a ROS 2 bag (its folder, or a .db3 file), or a PX4 log (.ulg).

    Messages become dicts and arrays; one that cannot be read becomes its bytes, with a note. With --tick-rate each
    belongs to the first tick at or after its stamp. Each publisher that the file names becomes a node, the others the
    node "bag". Attachments and metadata are kept with the session. Needs the extra mcap for MCAP, bags for ROS,
    protobuf for protobuf messages and ulog for PX4 logs. Exit code 1 when the file holds fewer messages than it says.

    Example: horus-async record import drive.mcap --name drive --tick-rate 100 --exclude '/camera/*'
    """
    from horus_async.recorder.imports.importing import import_file

    prints_no_data(unless=as_json)
    with ended_in_order(), progress("importing", 0) as bar:
        bar.update(bar.task_ids[0], total=None)
        found = import_file(
            file.expanduser(),
            name,
            tick_rate=tick_rate,
            topics=topics,
            exclude=exclude,
            progress=lambda done, total: bar.update(bar.task_ids[0], completed=done, total=total),
        )
    for note in found.notes:
        tell(f"note: {note}", err=True)
    if as_json:
        print_json(attrs.asdict(found))
    else:
        _show_imported(found)
    if found.missing:
        raise SystemExit(FOUND)


def _show_imported(found: Imported) -> None:
    for original, topic in found.renamed.items():
        tell(f"topic {original} is {topic} here")
    if found.left_out:
        topics = ", ".join(found.left_out)
        tell(f"left out {sum(found.left_out.values())} messages of {len(found.left_out)} topics: {topics}")
    for kind, names in (("attachments", found.attachments), ("metadata records", found.metadata)):
        if names:
            tell(f"kept {len(names)} {kind}: {', '.join(names)}")
    held = f"{found.messages} messages of {len(found.topics)} topics in {found.ticks} ticks"
    tell(f"imported {held} as {found.session}")
