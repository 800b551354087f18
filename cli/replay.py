"""``horus-async replay``."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import attrs
import click
import orjson
import trio

from horus_async import Scheduler
from horus_async.errors import ReplayError
from horus_async.recorder import open_session
from horus_async.recorder.view.moments import parse_moment
from horus_async.replay.options import session_topics, tick_at
from horus_async.spelling import did_you_mean
from horus_async.topics.codec import decode

from .support.errors import FOUND, USAGE, prints_no_data
from .support.load import load_scheduler, not_ended_by
from .support.own_namespace import own_namespace
from .support.render import print_json, show_notes
from .terminal import completion
from .terminal.states import say, tell_states
from .terminal.table import print_table
from .terminal.text import tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from horus_async.recorder import Session
    from horus_async.replay.verify.comparison import VerifyReport


class _SessionOrTrace(click.Command):
    """The same word for both: what is given a trace, or a model, is ``trace replay``, with all of its options."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if _is_for_a_trace(args):
            from .trace_replay import replay as replay_trace

            return replay_trace.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def _is_for_a_trace(args: list[str]) -> bool:
    ours = args[: args.index("--")] if "--" in args else args
    if any(arg == "--model" or arg.startswith("--model=") for arg in ours):
        return True
    return any(map(is_trace_file, ours))


def is_trace_file(name: str) -> bool:
    """Whether a word of a command line is the trace of a policy server."""
    if not os.path.isfile(name):  # noqa: PTH113 - a Path raises where a word is too long for a name
        return False
    from horus_async.policy import is_trace

    return is_trace(name)


@click.command(cls=_SessionOrTrace)
@click.argument("session", shell_complete=completion.session)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--speed", default="1.0", metavar="X|max", help="Speed, 0.01 to 100, or max for as fast as possible.")
@click.option("--start-tick", type=int, metavar="N", help="First tick, inclusive.")
@click.option("--stop-tick", type=int, metavar="N", help="Last tick, inclusive.")
@click.option("--start-time", metavar="T", help="Start at T: seconds since the start, or a time of day (ISO 8601).")
@click.option("--loop", is_flag=True, help="Repeat until Ctrl-C.")
@click.option("--nodes", metavar="A,B", shell_complete=completion.nodes, help="Replay only these nodes.")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="T",
    shell_complete=completion.recorded_topic,
    help="Only topics like T (*, ?, […]); may be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="T",
    shell_complete=completion.recorded_topic,
    help="Not topics like T; may be repeated.",
)
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="A=B",
    shell_complete=completion.rename,
    help="Publish topic A as B; may be repeated.",
)
@click.option("--skip-gaps", is_flag=True, help="Wait no longer than 1 s (recorded) where nothing is published.")
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="NODE.TOPIC=JSON",
    shell_complete=completion.override,
    help="Replace what a node sent.",
)
@click.option(
    "--verify",
    "app",
    metavar="APP",
    shell_complete=completion.app,
    help="Compare the nodes of APP with what was recorded.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="X",
    help="With --verify: numbers this far apart are equal.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def replay(
    session: str,
    args: tuple[str, ...],
    *,
    speed: str,
    start_tick: int | None,
    stop_tick: int | None,
    start_time: str | None,
    loop: bool,
    nodes: str | None,
    topics: tuple[str, ...],
    exclude: tuple[str, ...],
    renames: tuple[str, ...],
    skip_gaps: bool,
    overrides: tuple[str, ...],
    app: str | None,
    tolerance: float,
    as_json: bool,
) -> None:
    """Publish the messages of SESSION again, at their recorded ticks, for anyone who listens.

    With --verify, the nodes of APP get the recorded inputs and clock, and what they send is compared with the
    recording, bit by bit: exit 0 when nothing differs, 1 when something does, 2 when nothing could be compared. A
    recorded node that APP lacks is a difference, unless --nodes leaves it out. APP is a script with a function
    build(args) or a Scheduler named scheduler, or FILE.py:NAME or MODULE:NAME; it is not run. Everything after -- is
    passed as args.

    What "launch --record" recorded under one name is replayed on one time axis; SESSION/PROGRAM is one program of it.

    From --start-tick or --start-time on; first comes the last message of each topic that was sent once before that,
    such as a map.

    Example: horus-async replay mines --speed max --verify examples/lidar_mapping.py -- drive.dat

    Example: horus-async replay drive --topic 'camera/*' --topic odom --rename odom=odom/recorded --start-time 12.5

    The trace of a policy server is replayed through a policy, with the options of "horus-async trace replay".

    Example: horus-async replay traces/FILE.jsonl.gz --model ./export/B --fail-on actions
    """
    prints_no_data(unless=as_json)
    if app is not None:
        _refuse_set(session, app)
    opened = open_session(session)
    names = None if nodes is None else [name.strip() for name in nodes.split(",")]
    start_tick = _start(opened, start_tick, start_time)
    if app is not None:
        _refuse({"--override": overrides, "--topic": topics, "--exclude": exclude, "--rename": renames})
        _verify(opened, app, args, names=names, start=start_tick, stop=stop_tick, tolerance=tolerance, as_json=as_json)
        return
    if tolerance:
        raise click.UsageError("--tolerance belongs to --verify APP")
    if args:
        raise click.UsageError("arguments after -- belong to --verify APP")
    scheduler = Scheduler.replay_from(opened)
    scheduler.set_replay_speed(_speed(speed))
    _choose_range(scheduler, start_tick, stop_tick)
    if loop:
        scheduler.loop()
    if names is not None:
        scheduler.only(*names)
    _choose_topics(scheduler, topics, exclude, renames)
    if skip_gaps:
        scheduler.skip_gaps()
    for override in overrides:
        node, topic, value = parse_override(opened, override)
        scheduler.set_replay_override(node, topic, value)
    first = opened.first_tick if start_tick is None else start_tick
    last = opened.last_tick if stop_tick is None else min(stop_tick, opened.last_tick or 0)
    what = f"replay of {opened.name}, ticks {first} to {last} at speed {speed}"
    tell_states(scheduler, what, last_tick=None if loop else last)
    scheduler.run_sync()
    show_notes(opened)
    _show_replayed(opened, scheduler, as_json=as_json)


def _refuse_set(session: str, app: str) -> None:
    """A verification is of one program."""
    from horus_async.recorder.sets.opening import find_set

    found = find_set(session)
    if found is not None:
        each = ", ".join(f"{found.name}/{part.session}" for part in found.parts if part.is_there) or "nothing"
        raise click.UsageError(f"{found.name} is of several programs, and {app} is one: give one of {each}")


def _show_replayed(opened: Session, scheduler: Scheduler, *, as_json: bool) -> None:
    stats = scheduler.stats()
    ticks = {name: node.ticks for name, node in stats.nodes.items()}
    left_out, kept = scheduler.left_out, scheduler.sent_before_start
    changed = scheduler.stamps_changed
    if changed:
        tell(
            f"note: {sum(changed.values())} messages of {_topics_text(changed)} have stamps that no topic can carry: "
            "they were published with the nearest one, 2**63 - 1 ns or -2**63 ns",
            err=True,
        )
    if as_json:
        fields = {"session": opened.name, "tick": stats.tick, "node_ticks": ticks}
        fields |= {"from_outside": scheduler.from_outside}
        print_json({**fields, "left_out": left_out, "sent_before_start": kept})
        return
    outside = f", {scheduler.from_outside} messages of other programs" if scheduler.from_outside else ""
    nodes = f"{len(ticks)} nodes, {sum(ticks.values())} node ticks"
    tell(f"replayed {opened.name} to tick {stats.tick}: {nodes}{outside}")
    if kept:
        tell(f"before the start it published the last message of what was sent once: {', '.join(sorted(kept))}")
    if left_out:
        tell(f"left out {sum(left_out.values())} messages of {_topics_text(left_out)}")


def _topics_text(topics: Iterable[str]) -> str:
    names = sorted(topics)
    return ", ".join(names) if len(names) <= 10 else f"{len(names)} topics: {', '.join(names[:10])}, …"


def _start(session: Session, tick: int | None, moment: str | None) -> int | None:
    if moment is None:
        return tick
    if tick is not None:
        raise click.UsageError("give --start-tick or --start-time, not both")
    return tick_at(session, parse_moment(moment))


def _choose_range(scheduler: Scheduler, start: int | None, stop: int | None) -> None:
    if start is not None:
        scheduler.start_at_tick(start)
    if stop is not None:
        scheduler.stop_at_tick(stop)


def _choose_topics(scheduler: Scheduler, topics: Sequence[str], exclude: Sequence[str], renames: Sequence[str]) -> None:
    if topics:
        scheduler.only_topics(*topics)
    if exclude:
        scheduler.exclude_topics(*exclude)
    for rename in renames:
        topic, sign, name = rename.partition("=")
        if not sign or not topic or not name:
            raise click.UsageError(f"--rename {rename!r}: give OLD=NEW")
        scheduler.rename_topic(topic, name)


def _refuse(given: Mapping[str, Sequence[str]]) -> None:
    """What would change the inputs does not go with a verification."""
    for option, values in given.items():
        if values:
            raise click.UsageError(f"{option} does not go with --verify APP, which gives the nodes what was recorded")


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}: give a number from 0.01 to 100, or max", param_hint="--speed") from None


def parse_override(session: Session, text: str) -> tuple[str, str, Any]:
    """Parse ``NODE.TOPIC=JSON`` by the session's nodes and topics, whose names may contain dots.

    Raises:
        ReplayError: There is no such pair, or more than one, or the value is not JSON.
    """
    pairs = [(node, topic) for node in session.nodes for topic in sorted(session_topics(session, node))]
    found = [(node, topic) for node, topic in pairs if text.startswith(f"{node}.{topic}=")]
    if len(found) != 1:
        known = ", ".join(f"{node}.{topic}" for node, topic in pairs) or "nothing"
        problem = "is not NODE.TOPIC=JSON of a node and a topic that it sent on"
        if found:
            problem = f"means {' or '.join(f'topic {topic} of node {node}' for node, topic in found)}"
        meant = "" if found else did_you_mean(text.partition("=")[0], [f"{node}.{topic}" for node, topic in pairs])
        raise ReplayError(f"--override {text!r} {problem}; the session has {known}{meant}")
    value = text.removeprefix(f"{found[0][0]}.{found[0][1]}=")
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ReplayError(f"--override {text!r:.80}: the value is not JSON ({error})") from None
    return (*found[0], decode(value.encode()))


def _verify(
    session: Session,
    app: str,
    args: tuple[str, ...],
    *,
    names: list[str] | None,
    start: int | None,
    stop: int | None,
    tolerance: float,
    as_json: bool,
) -> None:
    from horus_async.replay.verify.run import verify

    chosen = None if names is None else tuple(names)
    say(f"started: the nodes of {app} on what {session.name} holds, to its tick {session.last_tick}; Ctrl-C ends it")
    with own_namespace("verify"), not_ended_by(app):
        scheduler = load_scheduler(app, args)
        report = trio.run(lambda: verify(session, scheduler.nodes, chosen, start, stop, tolerance=tolerance))
    show_notes(session)
    for note in report.notes:
        tell(f"note: {note}", err=True)
    if as_json:
        print_json(attrs.asdict(report))
    else:
        _show_report(report, app, [node.name for node in scheduler.nodes if node.name not in session.nodes])
    if report.compared == 0:
        tell(f"nothing was compared: {app} has no node of session {session.name!r} that sent anything", err=True)
        raise SystemExit(USAGE)
    if report.differences:
        raise SystemExit(FOUND)


def _show_report(report: VerifyReport, app: str, others: Sequence[str]) -> None:
    """A row a topic, what is lacking, the summary and the first difference.

    Where nothing differs, the rows go to standard error: the one line that says so is all of the result.
    """
    if report.topics:
        print_table(
            ("topic", "compared", "differing", "largest difference"),
            [
                (row.topic, row.compared, row.differing, None if row.largest is None else f"{row.largest:.6g}")
                for row in report.topics
            ],
            err=not report.differences,
        )
    if report.missing_nodes:
        others_here = f", which has {', '.join(others)} that were not recorded" if others else ""
        tell(
            f"recorded nodes that {app} lacks: {', '.join(report.missing_nodes)} (--nodes leaves them out){others_here}"
        )
    tell(f"compared {report.compared} messages, {report.differences} differ")
    if report.first_difference is not None:
        tell(f"first difference: {report.first_difference}")
