"""Verifies a program against a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.engine.pace.choice import in_virtual_time
from horus_async.engine.pace.nested import run_in_thread
from horus_async.errors import ConfigurationError, NodeFailure, ReplayError
from horus_async.nodes.interface.settings import recorded_for, set_for_run
from horus_async.recorder import open_session
from horus_async.replay.options import ReplayOptions, check_missing
from horus_async.replay.program import learn_classes
from horus_async.spelling import did_you_mean
from horus_async.validators import is_not_negative

from .comparison import Comparison
from .verification import Verification, unknown_class

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from horus_async.engine.pace.pace import Pace
    from horus_async.nodes.node import Node
    from horus_async.recorder import Session

    from .comparison import VerifyReport, Watch


async def verify(
    session: str | Path | Session,
    live: Sequence[Node],
    nodes: tuple[str, ...] | None,
    start: int | None = None,
    stop: int | None = None,
    *,
    tolerance: float = 0.0,
    watch: Watch | None = None,
) -> VerifyReport:
    """Give live nodes the recorded inputs and clock, and compare what they send with what was recorded.

    Args:
        session: A session's name, folder or scheduler file, or one that is open.
        live: The nodes of the program.
        nodes: Only these; None for all that were recorded.
        start: First tick, inclusive.
        stop: Last tick, inclusive.
        tolerance: Numbers this far apart, absolute, count as equal; 0 for bit by bit.
        watch: Told of every message that was compared.

    Raises:
        ConfigurationError: ``tolerance`` is no number, or below 0.
        ReplayError: A name in ``nodes`` is not both live and recorded, the ticks are not in the session, or the file
            of a recorded node cannot be read.
        NodeFailure: A live node failed, and the recorded one did not.
    """
    if not is_not_negative(tolerance):
        raise ConfigurationError(f"tolerance={tolerance!r}: give a number, 0 or more")
    opened = open_session(session)
    options = ReplayOptions(session=opened)
    if nodes is not None:
        options.nodes = nodes
    if start is not None:
        options.set_start(start)
    if stop is not None:
        options.set_stop(stop)
    options.check()
    check_missing(opened, lambda name: nodes is not None and name not in nodes)
    chosen = _chosen(opened, live, nodes)
    learn_classes(live)
    comparison = Comparison(opened, tolerance, watch)
    lacking = () if nodes is not None else tuple(n for n in opened.nodes if n not in {node.name for node in chosen})
    try:
        notes = await _verify_nodes(options, chosen, comparison)
        for name in lacking:
            comparison.lacks(name, options.start, options.stop)
        return comparison.report(lacking, notes)
    finally:
        comparison.close()


async def _verify_nodes(replay: ReplayOptions, live: list[Node], comparison: Comparison) -> tuple[str, ...]:
    running: list[Verification] = []

    values, notes = recorded_for(live, replay.session.nodes)

    async def work(pace: Pace) -> None:
        put_back = set_for_run(live, values)
        try:
            runtime = Verification.of(replay, live, comparison)
            running.append(runtime)
            try:
                await runtime.run(pace)
            finally:
                runtime.close()
        finally:
            put_back()

    def cancel() -> None:
        for runtime in running:
            runtime.stop("cancelled")

    async def in_its_own_time() -> None:
        await in_virtual_time(work, on_cancel=cancel)

    if not live:
        return ()
    try:
        await run_in_thread(in_its_own_time, on_cancel=cancel)
    except NodeFailure as failure:
        unknown = {n: topic for run in running[0].verified() for n, topic in run.ports.unknown_classes.items()}
        if not unknown:
            raise
        cause = failure.exceptions[0]
        name, topic = next(iter(unknown.items()))
        raise ReplayError(
            f"node {failure.node} failed ({type(cause).__name__}: {cause}); {unknown_class(name, topic)}"
        ) from failure
    return *notes, *running[0].notes()


def _chosen(session: Session, live: Sequence[Node], nodes: tuple[str, ...] | None) -> list[Node]:
    here = {node.name: node for node in live}
    for name in nodes or ():
        if name in session.missing_nodes:
            raise ReplayError(f"node {name!r} cannot be verified: {session.missing_nodes[name]}")
        if name not in here or name not in session.nodes:
            known = here.keys() & session.nodes.keys()
            both = f"{', '.join(sorted(known)) or 'none'}{did_you_mean(name, known)}"
            raise ReplayError(f"node {name!r} is not both live and in session {session.name!r}; those that are: {both}")
    return [node for name, node in here.items() if name in session.nodes and (nodes is None or name in nodes)]
