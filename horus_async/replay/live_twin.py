"""A live node in the place of a recorded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.node_run import NodeRun

if TYPE_CHECKING:
    from horus_async.engine.ports import Ports
    from horus_async.engine.rules.schedule import Step
    from horus_async.nodes.node import Node
    from horus_async.recorder.records import ExecutionRecord

    from .lines import Lines


class LiveTwin(NodeRun):
    """A live node in the place of a recorded one: it ticks when that did, at the time that it was."""

    def __init__(
        self,
        node: Node,
        ports: Ports,
        lines: Lines,
        *,
        real_time: bool,
        by_lines: bool,
        tick_rate: float,
        seed: int,
    ) -> None:
        super().__init__(node, ports, tick_rate=tick_rate, seed=seed)
        self.lines = lines
        self.line: ExecutionRecord | None = None
        """The recorded line of the tick that is running or was last, if there is one."""
        self._real_time = real_time
        if by_lines:
            self.schedule = lines
            self.on = []

    def begin(self, step: Step, base_ns: int | None) -> None:
        """Set the clock of the coming callback: the recorded one, where time was real."""
        super().begin(step, base_ns)
        if self.kind != "tick":
            return
        self.line = self.lines.current if self.schedule is self.lines else self.lines.take(step.tick)
        if self._real_time and self.line is not None:
            context = self.context
            context.now_ns, context.now = self.line.now_ns, self.line.now_ns / NANOSECONDS
            context.elapsed = (self.line.now_ns - step.origin_ns) / NANOSECONDS
            self.dt_ns, context.dt = self.line.dt_ns, self.line.dt_ns / NANOSECONDS
