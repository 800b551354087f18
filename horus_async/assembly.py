"""Putting a run together: engine, topics, recorder, replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .clock.random import system_seed
from .clock.system import wall_ns
from .errors import ContextError
from .noderun import NodeRun
from .observe import RunInfo
from .ports import Ports
from .recorder import Recorder, RecordingOptions
from .runtime import Runtime
from .schedule import RateTimeline
from .topics import Bus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .node import Node
    from .options import SchedulerOptions


def assemble(
    options: SchedulerOptions, nodes: Sequence[Node], duration: float | None
) -> tuple[Runtime, Recorder | None]:
    """A runtime ready to start, and the recorder that watches it."""
    started_ns = wall_ns()
    info = RunInfo(
        name=options.name,
        tick_rate=options.tick_rate,
        deterministic=options.deterministic,
        seed=options.seed if options.deterministic else system_seed(),
        started_at_ns=started_ns,
        start_ns=0 if options.deterministic else started_ns,
        namespace=options.namespace,
        nodes=tuple(node.info() for node in nodes),
    )
    recorder = make_recorder(options)
    bus = Bus(options.namespace, isolated=options.deterministic)
    timeline = RateTimeline(options.tick_rate, start_ns=info.start_ns, duration=duration)
    runtime = Runtime(info, bus, timeline, [] if recorder is None else [recorder])
    add_nodes(runtime, nodes)
    return runtime, recorder


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


def add_nodes(runtime: Runtime, nodes: Iterable[Node]) -> None:
    """Let nodes take part in a run, lending each its ports.

    Raises:
        ContextError: One takes part in another run already.
    """
    for node in nodes:
        if node._ports is not None:  # noqa: SLF001 - the run lends a node its ports
            raise ContextError(f"node {node.name!r} is running already, in another scheduler")
        ports = Ports(node.name, runtime.bus, runtime)
        run = NodeRun(node, ports, tick_rate=runtime.info.tick_rate, seed=runtime.info.seed)
        node._ports = ports  # noqa: SLF001
        for topic in node.subs:
            ports.subscriber(topic)
        for topic in node.pubs:
            ports.publisher(topic)
        runtime.add(run, pubs=tuple(node.pubs), subs=(*node.subs, *(node.on or ())))
