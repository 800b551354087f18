"""A live node that is verified: called as the recorded one was, at the time that it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.core.state import TICK
from horus_async.engine.node_run import INIT, REQUEST, SAFE_STATE, SHUTDOWN, NodeRun
from horus_async.engine.rules.schedule import RateSchedule

if TYPE_CHECKING:
    from horus_async.engine.rules.schedule import Step
    from horus_async.nodes.node import Node
    from horus_async.recorder import Session
    from horus_async.recorder.records import ExecutionRecord

    from .callbacks import Callbacks
    from .shadow import ShadowPorts

KINDS = {kind: kind for kind in (TICK, INIT, SHUTDOWN, SAFE_STATE, REQUEST)}
"""The kinds of callbacks by the kinds of lines. The engine tells kinds apart by identity."""


class VerifiedRun(NodeRun):
    """A live node while it is verified. Whether it is late, and what follows, was judged when it was recorded."""

    ports: ShadowPorts

    def __init__(self, node: Node, ports: ShadowPorts, session: Session, callbacks: Callbacks) -> None:
        super().__init__(node, ports, tick_rate=session.tick_rate, seed=session.seed)
        self._session = session
        recorded = session.nodes[node.name]
        self.recorded = callbacks
        self.line: ExecutionRecord | None = None
        """That of the callback that runs or was last; None where there is none."""
        self.own_schedule: RateSchedule | None = None
        """Of a node whose rate is not the recorded one's any more."""
        self.own_topics: tuple[str, ...] = ()
        """Of a node that ticks on other messages than the recorded one."""
        self.ticked_for = 0
        """How many of those it has ticked for."""
        self.stuck = False
        """Its running callback waits for what does not come."""
        if tuple(node.on or ()) != recorded.on:
            self.own_topics = tuple(node.on or ())
        if not node.on and (recorded.on or node.rate != recorded.rate):
            self.own_schedule = RateSchedule(node.rate or session.tick_rate, session.tick_rate)
        self.schedule = None
        self.on, self.requests = [], []
        self.deadline_ns = self.budget_ns = None

    @property
    def was_cut(self) -> bool:
        """Whether the recorded one of its callback that runs, or was last, was cut by the end of the run."""
        return self.line is not None and self.line.was_cut

    @property
    def follows(self) -> bool:
        """Whether it ticks when the recorded one did."""
        return self.own_schedule is None and not self.own_topics

    def begin(self, step: Step, base_ns: int | None) -> None:
        """Set the clock of the coming callback: the recorded one."""
        super().begin(step, base_ns)
        line, context, session = self.line, self.context, self._session
        if line is None:
            return
        if self.kind is TICK:
            context.tick = context.seed_tick = line.tick
        if not session.deterministic:
            context.now_ns, context.now = line.now_ns, line.now_ns / NANOSECONDS
            # before the first scheduler tick, the engine counts from when the run was put together
            origin_ns = step.origin_ns if line.tick == step.tick else session.clock.origin_ns(line.tick)
            if line.now_ns < origin_ns:
                origin_ns = session.start_ns
            context.elapsed = (line.now_ns - origin_ns) / NANOSECONDS
        elif self.kind is TICK:
            context.now_ns, context.elapsed = line.now_ns, line.tick / session.tick_rate
            context.now = session.start_ns / NANOSECONDS + context.elapsed
        if self.kind is TICK and (not session.deterministic or self.node.on):
            self.dt_ns, context.dt = line.dt_ns, line.dt_ns / NANOSECONDS
