"""``horus-async record inject``: recorded nodes among live ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from horus_async import Scheduler
from horus_async.recorder import open_session
from horus_async.scheduler.in_force import overriding
from horus_async.scheduler.overrides import Overrides
from horus_async.topics import check_namespace, default_namespace
from horus_async.topics.discovery import others_listen
from horus_async.topics.inspection import rings

from .support.errors import prints_no_data
from .support.listeners import Listeners
from .support.load import load_scheduler, name_of, not_ended_by
from .support.render import print_json, show_notes, show_summary
from .terminal import completion
from .terminal.states import tell_states
from .terminal.text import tell

if TYPE_CHECKING:
    from horus_async.recorder import Session


@click.command()
@click.argument("session", shell_complete=completion.session)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--nodes", required=True, metavar="A,B", shell_complete=completion.nodes, help="The recorded nodes that play."
)
@click.option(
    "--into",
    "app",
    metavar="APP",
    shell_complete=completion.app,
    help="The live program. Default: the programs that are running.",
)
@click.option(
    "--namespace",
    metavar="N",
    shell_complete=completion.namespace,
    help="Without --into: of the topics. Default: HORUS_NAMESPACE, else default.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Seconds to run. Default: to the end of the recording.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inject(
    session: str,
    args: tuple[str, ...],
    *,
    nodes: str,
    app: str | None,
    namespace: str | None,
    duration: float | None,
    as_json: bool,
) -> None:
    """Let recorded nodes of SESSION play among live nodes.

    With --into APP they play in the place of APP's nodes of the same names. APP is a script with a function build(args)
    or a Scheduler named scheduler, or FILE.py:NAME or MODULE:NAME; what comes after -- are its arguments. Without, they
    play in real time into the topics of the programs that are running. Topics that nobody reads are named.

    It runs until the last tick of those recorded nodes, or for --duration. Exit code 1 when a live node fails.

    Example: horus-async record inject drive --nodes lidar,imu --into robot.py --duration 10
    """
    prints_no_data(unless=as_json)
    opened = open_session(session)
    names = list(dict.fromkeys(name.strip() for name in nodes.split(",") if name.strip()))
    if not names:
        known = ", ".join(opened.nodes) or "none"
        raise click.UsageError(f"--nodes {nodes!r} names no node; session {opened.name!r} has {known}")
    if app is not None:
        if namespace is not None:
            raise click.UsageError("--namespace is for topics of running programs; with --into APP set HORUS_NAMESPACE")
        scheduler, unheard = _into_app(opened, names, app, args, duration)
    else:
        if args:
            raise click.UsageError("arguments after -- belong to --into APP")
        scheduler, unheard = _into_the_running(opened, names, namespace, duration)
    show_notes(opened)
    stats = scheduler.stats()
    if as_json:
        ticks = {name: node.ticks for name, node in stats.nodes.items()}
        fields = {"session": opened.name, "injected": names, "tick": stats.tick, "node_ticks": ticks}
        print_json({**fields, "unheard": unheard})
        return
    show_summary([scheduler])
    tell(f"injected {', '.join(names)} of {opened.name} to tick {stats.tick}")


def _into_app(
    session: Session, names: list[str], app: str, args: tuple[str, ...], duration: float | None
) -> tuple[Scheduler, list[str]]:
    """Play them in the place of nodes of a program; the scheduler that did, and the topics that nobody read."""
    with overriding(Overrides(name=name_of(app))):
        with not_ended_by(app):
            scheduler = load_scheduler(app, args)
        scheduler.inject(session, *names)
        tell_states(scheduler, f"{app} with {', '.join(names)} of {session.name}")
        listeners = Listeners(None, _topics(session, names))
        with listeners.watching():
            scheduler.observe(listeners).run_sync(duration)
    heard = {topic for topic, use in scheduler.topics().items() if set(use.readers) - set(names)}
    unheard = sorted(listeners.unheard - heard)
    if unheard:
        tell(f"note: nobody read {', '.join(unheard)}: no node of {app}, and no other program", err=True)
    return scheduler, unheard


def _topics(session: Session, names: list[str]) -> set[str]:
    return set().union(*(session.output_topics(name) for name in names))


def _into_the_running(
    session: Session, names: list[str], namespace: str | None, duration: float | None
) -> tuple[Scheduler, list[str]]:
    """Play them alone, in the programs' namespace; the scheduler that did, and the topics that nobody read."""
    namespace = check_namespace(default_namespace() if namespace is None else namespace)
    scheduler = Scheduler(tick_rate=session.tick_rate, namespace=namespace, name=f"inject {session.name}")
    scheduler.inject(session, *names)
    topics = _topics(session, names)
    for ring in rings(namespace):
        if ring.live and ring.topic in topics:
            whose = f"{', '.join(ring.publishers)} of process {ring.pid}"
            tell(f"note: {whose} publishes {ring.topic} too; its readers hear both", err=True)
    if not others_listen(namespace):
        tell(f"note: no program listens in namespace {namespace!r} yet", err=True)
    tell_states(scheduler, f"{', '.join(names)} of {session.name}", last_tick=session.last_tick)
    listeners = Listeners(namespace, topics)
    with listeners.watching():
        scheduler.observe(listeners).run_sync(duration)
    unheard = sorted(listeners.unheard)
    if unheard:
        tell(f"note: nobody read {', '.join(unheard)} in namespace {namespace!r}", err=True)
    return scheduler, unheard
