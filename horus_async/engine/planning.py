"""What comes next in a run: the plans, as plain generators of what is to be done. Nothing here waits or does I/O."""

from __future__ import annotations

from abc import abstractmethod
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import NANOSECONDS
from horus_async.native import core
from horus_async.observe import Execution, TickEnd

from .core.state import TICK
from .coroutines import may_suspend
from .node_run import INIT, SHUTDOWN
from .pace.time_of_day import TimeOfDay
from .pace.virtual import StillPace
from .ports import new_tuple
from .reporting import note_undeclared
from .rules.failure import State
from .rules.order import causal_order, topic_edges
from .rules.schedule import Step
from .safety import Safety

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from horus_async.observe import Observer
    from horus_async.realtime.collector import Collector

    from .node_run import NodeRun
    from .pace.pace import Waited
    from .rules.schedule import Timeline
    from .safety import Plan


def _row(planning: Planning, step: Step) -> Iterator[NodeRun]:  # noqa: ARG001 - the native core calls nodes itself
    """The nodes whose turn comes in a scheduler tick, one after the other."""
    return iter(planning._order)  # noqa: SLF001 - a part of it


Row: Callable[[Planning, Step], Iterator[NodeRun]] = _row if core is None else core.Row
"""The native core's carries out what most ticks are, and gives the plan the nodes of which there is more to say.

It also goes on to the next scheduler tick where nothing has to be done in between.
"""


MOST_ROUNDS = 1000
"""So often nodes may ask and answer each other within one tick; they go on in the next one."""


class StepEnd:
    """Where a run that goes step by step has come to the end of one."""

    def __await__(self) -> Generator[Any, Any, None]:
        """It is for whoever carries out the plan.

        Raises:
            AssertionError: Always.
        """
        raise AssertionError(f"{self} is awaited")


STEP_END = StepEnd()


class Planning(Safety):
    """The part of `Runtime` that says what comes next: whose turn it is in a tick, and when the next one is due."""

    collector: Collector | None

    def __init__(self, timeline: Timeline, observers: Iterable[Observer], start_ns: int) -> None:
        super().__init__(observers)
        self.timeline = timeline
        self.runs: dict[str, NodeRun] = {}
        self.when_ready: list[Callable[[], None]] = []
        """Called once every ``init`` has ended, before the first scheduler tick."""
        self._topics: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
        self.unordered: set[str] = set()
        """Topics of requests and what comes back: they say nothing of who ticks before whom."""
        self._step = Step(0, 0, start_ns, start_ns / NANOSECONDS, 0.0, start_ns)
        self.time_of_day = TimeOfDay(start_ns)

    def declare(self, node: str, pubs: Iterable[str], subs: Iterable[str]) -> None:
        """The topics that a node says it uses."""
        self._topics[node] = (dict.fromkeys(pubs), dict.fromkeys(subs))

    @property
    @abstractmethod
    def breaks_off(self) -> bool:
        """Whether it has become urgent and the safe states are not entered yet."""

    @abstractmethod
    def stamp_ns(self) -> int:
        """The time for a message that is sent now."""

    def topic_used(self, node: str, topic: str, *, writes: bool) -> None:
        """A node used a topic for the first time: the causal order may have to change."""
        known = self._topics.get(node)
        if known is not None and topic not in known[0 if writes else 1]:
            known[0 if writes else 1][topic] = None
            if topic in self.unordered:
                return
            if writes:
                note_undeclared(node, topic, tuple(self.runs[node].node.pubs))
            self._order_known = False

    @property
    def topics(self) -> Mapping[str, tuple[Iterable[str], Iterable[str]]]:
        """By node: the topics that it sends on and those that it reads, declared or used so far."""
        return self._topics

    def _find_order(self) -> None:
        runs = sorted(self.runs.values(), key=lambda run: run.node.order)
        pubs, subs = ({name: self._ordering(topics[i]) for name, topics in self._topics.items()} for i in (0, 1))
        edges = topic_edges(pubs, subs)
        names = self.order_nodes([run.name for run in runs], edges, self._step.order)
        self._order = [self.runs[name] for name in names]
        for rank, run in enumerate(self._order):
            run.rank = rank
        self._order_known = True

    def _ordering(self, topics: dict[str, None]) -> Iterable[str]:
        return [topic for topic in topics if topic not in self.unordered] if self.unordered else topics

    def order_nodes(self, names: list[str], edges: dict[str, set[str]], recorded: Sequence[str] | None) -> list[str]:  # noqa: ARG002 - a replay overrides this
        """The order in which nodes tick."""
        return causal_order(names, edges)

    def whole_plan(self) -> Plan:
        """Every ``init``, then tick after tick to the end."""
        assert self._pace is not None
        yield from self._init_plan()
        self._make_ready()
        self.time_of_day.start(self._pace)
        while not self.reason:
            step = self.timeline.next_step(self._pace.late_at_ns())
            at_ns = self.timeline.end_ns if step is None else step.at_ns
            if self.collector is not None:
                self._collect(self.collector, at_ns)
            while not self._pace.reached(at_ns):
                yield self._pace.reach(at_ns)
                if self.reason:
                    return
                self.audience.collect()
                if self._stirred or self._interludes:
                    yield from self._message_pass()
                    if self.collector is not None:
                        self._collect(self.collector, at_ns)
            if step is None:
                self.stop(self.timeline.end_reason)
                return
            if self._in_steps and self.ticks:
                yield STEP_END
                if self.reason:
                    return
            yield from self._tick_pass(step)

    def _init_plan(self) -> Plan:
        self._find_order()
        for run in self._order:
            run.initialised = True
            if run.callbacks[INIT] is not None:
                yield from self._alone(run, INIT)
            if self.reason:
                return

    def _make_ready(self) -> None:
        while self.when_ready and not self.reason:
            self.when_ready.pop(0)()

    def _collect(self, collector: Collector, at_ns: int) -> None:
        """Collect garbage, if that is due and there is time before ``at_ns``; a busy node may go on at any moment."""
        if not collector.is_due():
            return
        pace = self._pace
        assert pace is not None
        if pace.virtual:
            collector.between(None)
        else:
            collector.between(0 if any(run.busy for run in self._order) else at_ns - pace.elapsed_ns())

    def one_tick_plan(self) -> Plan:
        """One tick in real time, until all that it began has ended, and every ``init`` before the first."""
        assert self._pace is not None
        if not all(run.initialised for run in self.runs.values()):
            yield from self._init_plan()
        self._make_ready()
        step = self.timeline.next_step(None) if not self.reason else None
        if step is None:
            return
        yield from self._tick_pass(step)
        yield from self._until_all_idle()
        if self._stirred or self._interludes:
            yield from self._message_pass()
            yield from self._until_all_idle()
        if self.collector is not None and self.collector.is_due():
            self.collector.between(None)  # when the next tick comes, nobody knows

    def _until_all_idle(self) -> Plan:
        assert self._pace is not None
        for run in self._order:
            while run.busy and not self._aborted:
                yield self._pace.until_idle(run)

    def idle_plan(self) -> Plan:
        """Wait until no callback is going on, or until the pace gives up."""
        for run in self._order:
            yield from self._until_idle(run)

    def shutdown_plan(self) -> Plan:
        """Every ``shutdown`` that has not been called, in the order of the nodes, but for nodes that are busy.

        One that the pace gives up on goes on beside the others.
        """
        for run in self._order:
            if self.breaks_off:
                return  # safe states come first now
            if run.initialised and not run.shut_down and not run.busy and run.callbacks[SHUTDOWN] is not None:
                run.shut_down = True
                run.kind = SHUTDOWN
                yield run
                yield from self._until_idle(run)

    def _until_idle(self, busy: Waited) -> Plan:
        pace = self._pace
        assert pace is not None
        while busy.busy:
            yield pace.until_idle(busy)
            if pace.gives_up():
                return

    def _alone(self, run: NodeRun, kind: str) -> Plan:
        """Call ``init`` and wait until it has ended."""
        assert self._pace is not None
        run.kind = kind
        yield run
        while run.busy and not self.reason:
            yield from self._answers_at_once()  # it may wait for one
            if run.busy:
                yield self._pace.until_idle(run)

    def _tick_pass(self, step: Step) -> Plan:  # noqa: C901, PLR0912 - the hottest loop of a run, written out
        """One scheduler tick: each node that is due, in order."""
        self._begin_step(step)
        pace = self._pace
        assert pace is not None
        row = Row(self, step)
        for run in row:
            step = self._step  # the native core may have gone on to a later one
            if run.called:  # by the native core: the rest is to be waited for
                run.called = False
                if run.coroutine is not None:
                    yield run
                if self._interludes:
                    yield from self._interlude()
            schedule = run.schedule
            if schedule is None:
                yield from self._ticks_for_messages(run)
            else:
                while schedule.next_tick <= step.tick and not self._aborted:
                    passed = schedule.advance(step.tick)
                    if run.paused:
                        continue
                    if passed > 1 or run.busy or run.ended_ns > step.at_ns:
                        self._judge_dues(run, passed, step.at_ns)
                    if not run.busy:
                        if run.skips_next or run.needs_init or run.failure.state is not State.RUNNING:
                            yield from self._tick(run)
                        else:  # the same, for all but a few ticks
                            yield run
                            if self._interludes:
                                yield from self._interlude()
            pace = self._pace or pace  # a step may have gone on in another one
            if pace.suspended:
                yield pace.settle()
        if self._interludes:
            yield from self._answers_at_once()
        if not self._order_known and self._stirred:
            before = self._order
            self._find_order()
            if self._order != before:  # a message came to a node that nobody knew to be its consumer
                yield from self._message_pass()
        if pace.virtual:
            self._stirred = False  # what a loop sends back arrives in the next tick

    def _answers_at_once(self) -> Plan:
        """What nodes ask of each other in a tick is answered in it, where they are free; answers may bring requests."""
        for _ in range(MOST_ROUNDS):
            if self._aborted or all(self._is_held_up(run, kind) for run, kind in self._interludes):
                return
            yield from self._interlude()
            pace = self._pace
            if pace is not None and pace.suspended:
                yield pace.settle()

    def _message_pass(self) -> Plan:
        """Something came between two ticks: the nodes that tick on it do so now."""
        self._stirred = False
        yield from self._interlude()
        for run in self._order:
            if run.on:
                yield from self._ticks_for_messages(run)
        if self._pace is not None and self._pace.virtual:
            self._stirred = False

    def _ticks_for_messages(self, run: NodeRun) -> Plan:
        if run.paused:
            return
        for _ in range(run.messages_waiting()):
            if run.busy or self._aborted or run.messages_waiting() <= 0:
                return
            if run.failure.state is not State.RUNNING or run.needs_init:
                yield from self._recover(run)
                if self._cannot_tick(run):
                    return
            run.ticks_for_message()
            yield from self._tick(run)

    def _tick(self, run: NodeRun) -> Plan:
        """A node is due: let it tick, unless its policy or a missed deadline keeps it from it."""
        if run.skips_next:
            run.skips_next = False
            return
        if run.failure.state is not State.RUNNING or run.needs_init:
            yield from self._recover(run)
            if self._cannot_tick(run):
                return
        yield run
        if self._interludes:
            yield from self._interlude()

    def _begin_step(self, step: Step) -> None:
        for finish in self.before_step:
            finish(step)
        self._end_tick()
        if not self._order_known or step.order is not self._step.order:
            self._step = step
            self._find_order()
        pace = self._pace
        assert pace is not None
        if pace.virtual:
            self.time_of_day.base_ns = step.now_ns - step.at_ns
            if step.origin_ns:
                self.time_of_day.note_recorded(step, first=self.ticks == 0)
        else:
            step = self.time_of_day.real_step(step, pace, first=self.ticks == 0)
        if self.ticks == 0:
            self.audience.collect()
            self.audience.tell("initialised")
        self._step = step
        self.tick = step.tick
        self.ticks += 1
        self._step_open = True
        for prepare in self.at_step:
            prepare(step)

    def _end_tick(self) -> None:
        if self._step_open and self.audience.hears_messages:
            end = self.tick, self._step.now_ns, self._began, self.time_of_day.elapsed_ns
            self.audience.tick_ended(new_tuple(TickEnd, end))
        self._began = []
        self._step_open = False


if core is not None:
    core.connect_ticks(TICK, State.RUNNING, CoroutineType, StillPace, Execution, may_suspend, Step)
