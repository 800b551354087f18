"""Putting a run together: engine, topics, recorder, replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.blackbox.watch import BlackBoxObserver
from horus_async.clock.random import system_seed
from horus_async.clock.system import wall_ns
from horus_async.determinism.guard import Guard, GuardedPorts, RunGuard
from horus_async.engine.node_run import NodeRun
from horus_async.engine.ports import Ports
from horus_async.engine.runtime import Runtime
from horus_async.engine.schedule import RateTimeline, exact
from horus_async.errors import ContextError
from horus_async.observe import Observer, RunInfo
from horus_async.recorder import Recorder, RecordingOptions
from horus_async.replay.options import ReplayOptions
from horus_async.replay.players import (
    ExternalPlayer,
    Lines,
    LiveTwin,
    Player,
    PlayersEnd,
    RecordedTimeline,
    ReplayRuntime,
    replaced_by,
    replay_info,
)
from horus_async.topics import Bus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from horus_async.blackbox import BlackBox
    from horus_async.nodes.node import Node
    from horus_async.replay.options import PlayedFile

    from .options import SchedulerOptions


def assemble(
    options: SchedulerOptions,
    nodes: Sequence[Node],
    duration: float | None,
    *,
    replay: ReplayOptions | None,
    played: Sequence[PlayedFile],
    blackbox: BlackBox | None,
) -> tuple[Runtime, Recorder | None]:
    """A runtime ready to start, and the recorder that watches it.

    Raises:
        ReplayError: The replay options cannot be met.
        ContextError: A node takes part in another run.
    """
    taken = {file.node for file in played if file.wins}
    nodes = [node for node in nodes if node.name not in taken]
    check_free(nodes)
    recorder = make_recorder(options)
    info = run_info(options, nodes)
    observers: list[Observer] = [] if blackbox is None else [BlackBoxObserver(blackbox)]
    if recorder is not None:
        observers.append(recorder)  # after the box, which so can say why a recording cannot begin
    bus = Bus(options.namespace, isolated=options.deterministic or replay is not None)
    try:
        guard = RunGuard(options.guard) if options.deterministic and options.guard is not Guard.OFF else None
        if replay is not None:
            runtime: Runtime = replay_runtime(
                info, bus, nodes, duration=duration, replay=replay, observers=observers, guard=guard
            )
            return runtime, recorder
        timeline = RateTimeline(options.tick_rate, start_ns=info.start_ns, duration=duration)
        runtime = Runtime(info, bus, timeline, observers)
        runtime.guard = guard
        runtime.max_deadline_misses = options.max_deadline_misses
        add_played(runtime, played, nodes, ends_run=duration is None)
        for node in nodes:
            add_node(runtime, node)
    except BaseException:
        bus.close()
        for node in nodes:
            node._ports = None  # noqa: SLF001 - the run lent it
        raise
    return runtime, recorder


def check_free(nodes: Sequence[Node]) -> None:
    """Raise for a node that takes part in another run.

    Raises:
        ContextError: It does.
    """
    for node in nodes:
        if node._ports is not None:  # noqa: SLF001 - the run lends a node its ports
            raise ContextError(f"node {node.name!r} is running already, in another scheduler")


def run_info(options: SchedulerOptions, nodes: Sequence[Node]) -> RunInfo:
    """What the run is."""
    started_ns = wall_ns()
    return RunInfo(
        name=options.name,
        tick_rate=options.tick_rate,
        deterministic=options.deterministic,
        seed=options.seed if options.deterministic else system_seed(),
        started_at_ns=started_ns,
        start_ns=0 if options.deterministic else started_ns,
        namespace=options.namespace,
        nodes=tuple(node.info() for node in nodes),
    )


def make_recorder(options: SchedulerOptions) -> Recorder | None:
    """The recorder that was asked for."""
    asked = options.recording
    if asked is False:
        return None
    if asked is True:
        asked = RecordingOptions()
    elif isinstance(asked, str):
        asked = RecordingOptions(name=asked)
    return Recorder(asked, options.recordings_dir, block=options.deterministic)


def add_node(
    runtime: Runtime, node: Node, make_run: Callable[[Node, Ports], NodeRun] | None = None, ports: Ports | None = None
) -> NodeRun:
    """Let a node, which takes part in no other run, take part in this one, lending it its ports."""
    if ports is None:
        guard = runtime.guard
        made = (node.name, runtime.bus, runtime)
        ports = Ports(*made) if guard is None else GuardedPorts(*made, guard)
        for topic in node.pubs:
            ports.publisher(topic)
    for topic in node.subs:
        ports.subscriber(topic)
    node._ports = ports  # noqa: SLF001
    if make_run is None:
        run = NodeRun(node, ports, tick_rate=runtime.info.tick_rate, seed=runtime.info.seed)
    else:
        run = make_run(node, ports)
    run.context.guard = runtime.guard
    runtime.add(run, pubs=tuple(node.pubs), subs=(*node.subs, *(node.on or ())))
    return run


def add_played(runtime: Runtime, played: Sequence[PlayedFile], nodes: Sequence[Node], *, ends_run: bool) -> None:
    """Let recorded nodes play among live ones, and with ``ends_run`` the last of those that win end the run.

    Raises:
        ReplayError: Those that win never ticked, so there is no last tick.
    """
    winners = []
    for file in played:
        if not file.wins and file.node in replaced_by(nodes, file.session):
            continue  # a live node has its name, or sends what it sent
        scale = float(exact(runtime.info.tick_rate) / exact(file.session.tick_rate))
        player = Player(ReplayOptions(session=file.session), file.node, scale, order=file.priority)
        add_player(runtime, player)
        if file.wins:
            winners.append(player)
    if winners and ends_run:
        runtime.observers.append(PlayersEnd(runtime, winners))
        runtime.observed = True


def add_player(runtime: Runtime, player: Player) -> None:
    """Let a recorded node take part in a run."""
    player.run = add_node(runtime, player.node)
    player.run.schedule = player.lines
    runtime.at_end.append(player.complete)


def replay_runtime(
    info: RunInfo,
    bus: Bus,
    nodes: Sequence[Node],
    *,
    duration: float | None,
    replay: ReplayOptions,
    observers: list[Observer],
    guard: RunGuard | None = None,
) -> ReplayRuntime:
    """A run of recorded nodes, with live ones in the place of some."""
    replay.check()
    session = replay.session
    rewinds: list[Callable[[], None]] = []
    timeline = RecordedTimeline(replay, duration=duration, on_rewind=lambda: _call_all(rewinds))
    runtime = ReplayRuntime(replay_info(info, session), bus, timeline, observers)
    runtime.guard = guard
    replaced = replaced_by(nodes, session)
    for name in session.nodes:
        if name not in replaced and (replay.nodes is None or name in replay.nodes):
            player = Player(replay, name)
            add_player(runtime, player)
            rewinds.append(player.lines.rewind)
    runtime.stands_for = {live: recorded for recorded, live in replaced.items()}
    for node in nodes:
        run = add_node(runtime, node, _twin_maker(runtime, replay) if node.name in session.nodes else None)
        rewinds.append(_rewind_of(run, replay))
    external = ExternalPlayer(replay, runtime)
    runtime.at_step.append(external)
    rewinds.append(external.rewind)
    return runtime


def _call_all(functions: Iterable[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _twin_maker(runtime: Runtime, replay: ReplayOptions) -> Callable[[Node, Ports], NodeRun]:
    def make(node: Node, ports: Ports) -> NodeRun:
        recorded = replay.session.nodes[node.name]
        same_schedule = node.rate == recorded.rate and tuple(node.on or ()) == recorded.on
        if replay.session.deterministic or not same_schedule:
            run = NodeRun(node, ports, tick_rate=runtime.info.tick_rate, seed=runtime.info.seed)
        else:
            run = LiveTwin(
                node,
                ports,
                Lines(replay, node.name),
                real_time=True,
                by_lines=not node.on,
                tick_rate=runtime.info.tick_rate,
                seed=runtime.info.seed,
            )
        return run

    return make


def _rewind_of(run: NodeRun, replay: ReplayOptions) -> Callable[[], None]:
    def rewind() -> None:
        if isinstance(run, LiveTwin):
            run.lines.rewind()
        elif run.schedule is not None:
            run.schedule.rewind(replay.start or 0)

    rewind()
    return rewind
