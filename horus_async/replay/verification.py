"""Running a verification: every recorded node plays, live ones shadow theirs."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from horus_async.clock.system import wall_ns
from horus_async.engine.pace.choice import in_virtual_time
from horus_async.engine.pace.nested import run_in_thread
from horus_async.errors import ReplayError
from horus_async.observe import RunInfo
from horus_async.recorder import open_session
from horus_async.topics import Bus

from .comparison import Comparison
from .lines import Lines
from .live_twin import LiveTwin
from .options import ReplayOptions
from .players import ExternalPlayer, Player
from .runtime import ReplayRuntime, add_player
from .shadow import SHADOW, Ahead, ShadowPorts
from .timeline import RecordedTimeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from horus_async.engine.pace.pace import Pace
    from horus_async.nodes.node import Node
    from horus_async.recorder import Session

    from .comparison import VerifyReport


async def verify(
    session: str | Path | Session,
    live: Sequence[Node],
    nodes: tuple[str, ...] | None,
    start: int | None = None,
    stop: int | None = None,
) -> VerifyReport:
    """Give live nodes the recorded inputs and clock, and compare what they send with what was recorded.

    Args:
        session: A session's name, folder or scheduler file, or one that is open.
        live: The nodes of the program.
        nodes: Only these; None for all that the session has too.
        start: First tick, inclusive.
        stop: Last tick, inclusive.

    Raises:
        ReplayError: A name in ``nodes`` is not both live and recorded, or the ticks are not in the session.
        NodeFailure: A live node failed.
    """
    opened = open_session(session)
    options = ReplayOptions(session=opened)
    if start is not None:
        options.set_start(start)
    if stop is not None:
        options.set_stop(stop)
    options.check()
    return await _verify_nodes(options, _chosen(opened, live, nodes))


async def _verify_nodes(replay: ReplayOptions, live: list[Node]) -> VerifyReport:
    comparison = Comparison(deterministic=replay.session.deterministic)
    running: list[ReplayRuntime] = []

    async def work(pace: Pace) -> None:
        runtime = _make_runtime(replay, live, comparison)
        running.append(runtime)
        try:
            await runtime.run(pace)
        finally:
            runtime.close()

    def cancel() -> None:
        for runtime in running:
            runtime.stop("cancelled")

    async def in_its_own_time() -> None:
        await in_virtual_time(work, on_cancel=cancel)

    await run_in_thread(in_its_own_time, on_cancel=cancel)
    return comparison.finish()


def _make_runtime(replay: ReplayOptions, live: list[Node], comparison: Comparison) -> ReplayRuntime:
    info = _run_info(replay.session, live)
    bus = Bus(info.namespace, isolated=True)
    timeline = RecordedTimeline(replay, duration=None, on_rewind=lambda: None)
    runtime = ReplayRuntime(info, bus, timeline, [comparison])
    with runtime.closed_on_failure():
        for name in replay.session.nodes:
            add_player(runtime, Player(replay, name))
        for node in live:
            _add_shadow(runtime, replay, node, comparison)
        runtime.at_step.append(ExternalPlayer(replay, bus, runtime.played))
    return runtime


def _run_info(session: Session, live: list[Node]) -> RunInfo:
    return RunInfo(
        name="verification",
        tick_rate=session.tick_rate,
        deterministic=session.deterministic,
        seed=session.seed,
        started_at_ns=wall_ns(),
        start_ns=session.start_ns,
        namespace=f"verification-{os.getpid():x}-{secrets.token_hex(4)}",  # nothing reaches a running robot
        nodes=tuple(node.info() for node in live),
    )


def _chosen(session: Session, live: Sequence[Node], nodes: tuple[str, ...] | None) -> list[Node]:
    here = {node.name: node for node in live}
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
    name = node.name + SHADOW
    ports = ShadowPorts(name, runtime.bus, runtime, topics, ahead)
    twin = LiveTwin(
        node,
        ports,
        Lines(replay, node.name),
        real_time=real_time,
        by_lines=real_time,
        tick_rate=session.tick_rate,
        seed=session.seed,
        on_line=ports.expect,
    )
    twin.name = name
    runtime.stands_for[name] = node.name
    runtime.add(node, lambda _node, _ports: twin, ports)
    if replay.start is not None and twin.schedule is not None and not real_time:
        twin.schedule.rewind(replay.start)
    comparison.twins[name] = twin
