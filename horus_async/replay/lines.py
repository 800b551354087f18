"""The recorded callbacks of one node, read in order."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from attrs import evolve

from horus_async.engine.rules.schedule import ScheduleCore
from horus_async.recorder.records import ExecutionRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .options import ReplayOptions


class Lines(ScheduleCore):
    """One recorded node's callbacks, in order; also a `Schedule` of its ticks."""

    def __init__(
        self, options: ReplayOptions, node: str, scale: float = 1.0, kinds: tuple[str, ...] = ("tick",)
    ) -> None:
        super().__init__()
        self.patient = True
        self._options = options
        self.node = node
        self._kinds = kinds
        self._scale = scale
        """Live ticks per recorded tick."""
        self.current: ExecutionRecord | None = None
        self.next_tick = math.inf
        self.rewind()

    def rewind(self, tick: int = 0) -> None:
        """Start over."""
        del tick
        options = self._options
        lines = options.session.executions(self.node, options.start, options.stop)
        self._source: Iterator[ExecutionRecord] = (line for line in lines if isinstance(line, ExecutionRecord))
        if "init" in self._kinds and options.start in (None, options.session.first_tick):
            self._source = _without_first_init(self._source)
        self._source = (_from_its_begin(line, options.start or 0) for line in self._source)
        self._next: ExecutionRecord | None = None
        self._step()

    def _step(self) -> None:
        self._next = next((line for line in self._source if line.kind in self._kinds), None)
        self.next_tick = math.inf if self._next is None else self.live_tick(self._next.tick)

    def live_tick(self, tick: int) -> int:
        """The tick of this run in which a recorded one is played."""
        return tick if self._scale == 1.0 else math.ceil(tick * self._scale)

    def advance(self, tick: int) -> int:
        """One tick at a time: none is ever left out."""
        del tick
        self.current = self._next
        self._step()
        return 1

    def take(self, tick: int) -> ExecutionRecord | None:
        """The line of a tick that a live node begins in ``tick``, if the recorded node ticked there."""
        while self.next_tick < tick and self._next is not None:
            self._step()
        if self.next_tick != tick:
            return None
        self.advance(tick)
        return self.current

    def special(self, kind: str) -> list[ExecutionRecord]:
        """The ``init`` with which the run began, or the ``shutdown`` lines."""
        session = self._options.session
        edge = session.first_tick if kind == "init" else session.last_tick
        lines = (line for line in session.executions(self.node, edge, edge) if isinstance(line, ExecutionRecord))
        if kind == "init":  # those that follow are of restarts
            return [line for line in itertools.islice(lines, 1) if line.kind == kind]
        return [line for line in lines if line.kind == kind]


def _without_first_init(lines: Iterator[ExecutionRecord]) -> Iterator[ExecutionRecord]:
    """Leave out the ``init`` before the first tick: it is played before the run's."""
    first = next(lines, None)
    if first is not None:
        if first.kind != "init":
            yield first
        yield from lines


def _from_its_begin(line: ExecutionRecord, start: int) -> ExecutionRecord:
    """With the tick in which it began, and what was sent from ``start`` on: all but ticks have that of their end."""
    if line.kind == "tick" or not line.outputs or line.outputs[0].tick == line.tick:
        return line
    outputs = tuple(sent for sent in line.outputs if sent.tick >= start)
    return evolve(line, tick=outputs[0].tick if outputs else line.tick, outputs=outputs)
