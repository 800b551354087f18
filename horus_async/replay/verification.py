"""Running a verification: every recorded node plays, live ones shadow theirs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from horus_async.engine.pace.nested import run_in_virtual_time
from horus_async.engine.pace.virtual import VirtualPace
from horus_async.errors import ReplayError
from horus_async.recorder import open_session
from horus_async.scheduler.assembly import add_node, add_player, run_info
from horus_async.scheduler.options import SchedulerOptions
from horus_async.topics import Bus

from .comparison import SHADOW, Ahead, Comparison, ShadowPorts
from .options import ReplayOptions
from .players import ExternalPlayer, Lines, LiveTwin, Player, RecordedTimeline, ReplayRuntime, replay_info

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.clock.virtual import VirtualClock
    from horus_async.nodes.node import Node
    from horus_async.recorder import Session
    from horus_async.scheduler.scheduler import Scheduler

    from .comparison import VerifyReport


async def verify(
    session: str | Path | Session,
    scheduler: Scheduler,
    nodes: tuple[str, ...] | None,
    start: int | None = None,
    stop: int | None = None,
) -> VerifyReport:
    """See `Scheduler.verify`; ``start`` and ``stop`` are ticks, inclusive."""
    opened = open_session(session)
    options = ReplayOptions(session=opened)
    if start is not None:
        options.set_start(start)
    if stop is not None:
        options.set_stop(stop)
    return await verify_nodes(options, _chosen(opened, scheduler, nodes))


async def verify_nodes(replay: ReplayOptions, live: list[Node]) -> VerifyReport:
    """Compare ``live`` nodes with what ``replay`` holds of them, over its range of ticks."""
    replay.check()
    session = replay.session
    comparison = Comparison(deterministic=session.deterministic)
    info = replay_info(run_info(SchedulerOptions(tick_rate=session.tick_rate), live), session)

    running: list[ReplayRuntime] = []

    async def work(clock: VirtualClock) -> None:
        with Bus(info.namespace, isolated=True) as bus:
            timeline = RecordedTimeline(replay, duration=None, on_rewind=lambda: None)
            runtime = ReplayRuntime(info, bus, timeline, [comparison])
            for name in session.nodes:
                add_player(runtime, Player(replay, name))
            for node in live:
                _add_shadow(runtime, replay, node, comparison)
            runtime.at_step.append(ExternalPlayer(replay, runtime))
            running.append(runtime)
            try:
                await runtime.run(VirtualPace(clock, alone=True, speed=math.inf))
            finally:
                for run in runtime.runs.values():
                    run.node._ports = None  # noqa: SLF001 - the run lent it
                    run.ports.close()

    def cancel() -> None:
        for runtime in running:
            runtime.stop("cancelled")

    await run_in_virtual_time(work, on_cancel=cancel)
    return comparison.finish()


def _chosen(session: Session, scheduler: Scheduler, nodes: tuple[str, ...] | None) -> list[Node]:
    here = {node.name: node for node in scheduler.nodes}
    for name in nodes or ():
        if name not in here or name not in session.nodes:
            both = ", ".join(sorted(here.keys() & session.nodes.keys())) or "none"
            raise ReplayError(f"node {name!r} is not both live and in session {session.name!r}; those that are: {both}")
    return [node for name, node in here.items() if name in session.nodes and (nodes is None or name in nodes)]


def _add_shadow(runtime: ReplayRuntime, replay: ReplayOptions, node: Node, comparison: Comparison) -> None:
    session = replay.session
    recorded = session.nodes[node.name]
    real_time = not session.deterministic
    topics = set(recorded.subs) | set(recorded.on)
    ahead = Ahead(replay) if real_time else None
    ports = ShadowPorts(node.name, runtime.bus, runtime, topics, ahead)
    twin = LiveTwin(
        node,
        ports,
        Lines(replay, node.name),
        real_time=real_time,
        by_lines=real_time,
        tick_rate=session.tick_rate,
        seed=session.seed,
    )
    twin.name = node.name + SHADOW
    runtime.stands_for[twin.name] = node.name
    add_node(runtime, node, lambda _node, _ports: twin, ports)
    if replay.start is not None and twin.schedule is not None and not real_time:
        twin.schedule.rewind(replay.start)
    comparison.twins[twin.name] = twin
