"""The plan of a verification: in each scheduler tick the live nodes are called as the recorded ones were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.clock.system import NANOSECONDS
from horus_async.clock.trio_testing import wait_all_tasks_blocked
from horus_async.engine.core.state import TICK
from horus_async.engine.node_run import INIT, REQUEST, SHUTDOWN
from horus_async.engine.pace.virtual import VirtualPace
from horus_async.engine.rules.order import causal_order
from horus_async.engine.runtime import Runtime

from .callbacks import Callback, Callbacks
from .verified import KINDS, VerifiedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from horus_async.engine.rules.schedule import Step
    from horus_async.engine.safety import Plan
    from horus_async.recorder.records import ExecutionRecord
    from horus_async.replay.options import ReplayOptions

    from .comparison import Comparison

_PATIENCE_NS = 10_000_000_000
"""Of the run's own time, how much longer than the recorded callback a live one may take before it counts as stuck."""

_MOST_ROUNDS, _ROUNDS_TO_END = 5000, 500
"""Milliseconds of the machine's time that live threads get to send what recorded ones did; and to end, or send more,
where the recorded node sent nothing for long before the end."""


class Following(Runtime):
    """A run of live nodes that follows the lines of recorded ones, each in the scheduler tick and place it had."""

    _order: list[VerifiedRun]  # type: ignore[assignment]

    def __init__(self, replay: ReplayOptions, comparison: Comparison, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._replay = replay
        self._comparison = comparison
        self._verified: dict[str, VerifiedRun] = {}
        self._begun: set[str] = set()
        """The recorded nodes whose turn has come in this scheduler tick."""
        self._places_in_order: dict[str, int] = {}
        self._ended: frozenset[str] = frozenset()
        """Once all had their turns in the last scheduler tick, the names of the nodes."""
        self._lasts_ns = 0
        """How long this scheduler tick is, up to the next one."""
        self._asked_to_end = False
        """Whether a live node has asked for the end of the run."""

    def end_after_tick(self) -> None:
        """A live node asks for the end: what its tasks do in the meantime is compared, too."""
        self._asked_to_end = True

    def order_nodes(self, names: list[str], edges: dict[str, set[str]], recorded: Sequence[str] | None) -> list[str]:
        """As they were added; whose turn it is, the recording says. It does not say whose task's."""
        del recorded
        if self._replay.session.deterministic:
            self._places_in_order = {name: place for place, name in enumerate(causal_order(names, edges))}
        return names

    def _find_order(self) -> None:
        super()._find_order()
        for name, place in self._places_in_order.items():
            self.runs[name].rank = place  # in the run too, the order that was known went by the topics used so far

    def whole_plan(self) -> Plan:
        """Every ``init``, then what was recorded, scheduler tick by scheduler tick, and at last what that left over."""
        pace = self.pace
        yield from self._init_plan()
        pace.start()
        if self._comparison.has_background:
            pace.suspended += 1  # tasks of nodes are at work between the ticks: time is not to jump over them
        ahead = self.timeline.next_step(None)
        while not self._is_to_end and (step := ahead) is not None:
            ahead = self.timeline.next_step(None)
            self._lasts_ns = _PATIENCE_NS if ahead is None else ahead.at_ns - step.at_ns
            while not pace.reached(step.at_ns):
                yield pace.reach(step.at_ns)
                if self.reason:
                    return
            yield from self._tick_pass(step)
        for run in self._order:
            while run.recorded.next is not None and run.recorded.next.kind != SHUTDOWN and not self._is_to_end:
                yield from self._perform(run)
        if not self.reason:
            yield self._let_threads_go_on()
        yield from self._to_the_cut()
        if self._comparison.has_background and not self.reason:
            yield self._let_tasks_go_on()
        for run in self._order:
            yield from self._last_one(run)
        self.stop(self.timeline.end_reason)

    def _to_the_cut(self) -> Plan:
        """Callbacks that the end of the recorded run cut go on until then, and are cut, too.

        In virtual time all that goes on is cut in the same way as it was, by the end of this run, a moment later.
        """
        cut = [run for run in self._order if run.busy and not run.stuck and run.was_cut]
        for run in cut:
            if not self.reason:
                yield self._let_go_on(run, lambda run=run: not run.busy, 0)  # type: ignore[misc]
        if self._replay.session.deterministic or self.reason:
            return
        for run in cut:
            if run.scope is not None:
                run.scope.cancel()
        yield self.pace.settle()

    @property
    def _is_to_end(self) -> bool:
        return self._asked_to_end or bool(self.reason)

    def _last_one(self, run: VerifiedRun) -> Plan:
        """What still runs goes on: to its end, or as long as the recorded one that was cut, until it sent as much."""

        def behind() -> bool:
            return run.busy and self._comparison.is_behind(run.name)

        if run.busy and not run.stuck and not run.was_cut and not self.reason:
            yield self._let_go_on(run, lambda: not run.busy, 0 if run.line is None else _PATIENCE_NS)
            if behind():
                yield self._let_go_on(run, lambda: not behind())

    def _init_plan(self) -> Plan:
        self._find_order()
        for run in self._order:
            run.initialised = True
            if run.callbacks[INIT] is None:
                continue
            ahead = run.recorded.next
            if ahead is not None and ahead.kind == INIT:
                callback: Callback | None = run.recorded.take()
            else:
                line = self._line_of(run, INIT)
                callback = None if line is None else Callback(line, iter(line.outputs))
            self._prepare(run, INIT, callback)
            yield from self._alone(run, INIT)
            if self.reason:
                return

    def shutdown_plan(self) -> Plan:
        """Every ``shutdown``; compared where the verification goes to the end of the recording."""
        replay = self._replay
        to_the_end = replay.stop is None or replay.stop == replay.session.last_tick
        for run in self._order:
            if not run.initialised or run.callbacks[SHUTDOWN] is None:
                continue
            if run.shut_down or run.busy:
                continue
            run.shut_down = True
            ahead = run.recorded.next
            compared = to_the_end and ahead is not None and ahead.kind == SHUTDOWN and not self.failures
            self._prepare(run, SHUTDOWN, run.recorded.take() if compared else None)
            yield run
            yield from self._until_idle(run)

    def _line_of(self, run: VerifiedRun, kind: str) -> ExecutionRecord | None:
        """The first line of a kind at the very beginning of the recording, where the verification begins later."""
        session = self._replay.session
        if self._replay.start in (None, session.first_tick):
            return None
        first = Callbacks(session, run.name, None, session.first_tick).next
        return first if first is not None and first.kind == kind else None

    def _tick_pass(self, step: Step) -> Plan:
        self._begin_step(step)
        self._begun = set()
        for run in self._order:
            run.ports.stir()
        for name in step.order or ():
            run_here = self._verified.get(name)
            if run_here is not None and run_here.follows:
                yield from self._turn(run_here, step.tick)
                if self.pace.suspended:
                    yield self.pace.settle()
            if self._aborted:
                return
            self._begun.add(name)
            yield from self._tell_tasks()
        yield from self._turns_over(step)
        for run in self._order:
            if not run.follows:
                yield from self._own_turns(run, step.tick)
        yield from self._requests(step.tick)
        for run in self._order:
            yield from self._catch_up(run, step.tick + 1)

    def _turns_over(self, step: Step) -> Plan:
        """All recorded nodes had their turns in this scheduler tick."""
        if self._waiting_tasks():
            self._begun.update(self._replay.session.nodes)  # what tasks of the others sent as the tick began
            yield from self._tell_tasks()
        if step.tick == self._replay.session.last_tick:
            self._ended = frozenset(self._verified)

    def _waiting_tasks(self) -> bool:
        """Whether tasks of nodes wait for messages."""
        return any(run.ports.tasks_waiting for run in self._order)

    def _tell_tasks(self) -> Plan:
        """A node had its turn, and may have sent what a task waits for."""
        if self._waiting_tasks():
            self._stir_tasks()
            yield self.pace.settle()

    def _stir_tasks(self) -> None:
        for run in self._order:
            if run.ports.tasks_waiting:
                run.ports.stir()

    def _turn(self, run: VerifiedRun, tick: int) -> Plan:
        """The recorded node ticked now."""
        yield from self._catch_up(run, tick)
        while (line := run.recorded.next) is not None and line.kind not in {TICK, SHUTDOWN} and line.tick == tick:
            yield from self._perform(run)
        line = run.recorded.next
        if line is not None and line.kind == TICK and line.tick == tick:
            if not self._replay.session.deterministic:
                yield from self._requests(tick, self._after_ns(line))
            yield from self._come_to(self._step.at_ns + self._after_ns(line))
            yield from self._perform(run)
        elif not run.busy:
            callback = run.recorded.take_open()
            if run.recorded.gap or callback.has_lines:
                self._prepare(run, TICK, callback)
                yield run

    def _requests(self, tick: int, until_ns: int | None = None) -> Plan:
        """What the recorded nodes were asked for in a tick, up to a moment, in the order in which they were."""
        while not self._aborted:
            asked = [
                (self._after_ns(line), place, run)
                for place, run in enumerate(self._order)
                if (line := run.recorded.next) is not None and line.kind == REQUEST and line.tick == tick
            ]
            if not asked:
                return
            after_ns, _, run = min(asked)
            if until_ns is not None and after_ns > until_ns:
                return
            yield from self._perform(run)

    def _come_to(self, at_ns: int) -> Plan:
        """Let what goes on go on until that moment."""
        while not (self.pace.reached(at_ns) or self.reason):
            yield self.pace.reach(at_ns)

    def _after_ns(self, line: ExecutionRecord) -> int:
        """How long after its scheduler tick began a recorded tick did."""
        if self._replay.session.deterministic:
            return line.after_ns
        return min(max(0, line.now_ns - self._step.now_ns), self._lasts_ns)

    def _catch_up(self, run: VerifiedRun, tick: int) -> Plan:
        """What was recorded before ``tick``, and what is no tick: safe states and a second ``init``."""
        while (line := run.recorded.next) is not None and line.kind != SHUTDOWN and not self._aborted:
            if line.tick >= tick or (line.kind == TICK and not run.follows):
                return
            yield from self._perform(run)

    def _own_turns(self, run: VerifiedRun, tick: int) -> Plan:
        """A node that does not tick any more when the recorded one did."""
        due = self._is_due(run, tick)
        while (line := run.recorded.next) is not None and line.kind != SHUTDOWN and line.tick <= tick:
            if line.kind != TICK:
                yield from self._perform(run)
            elif due and line.tick == tick:
                due -= 1
                yield from self._perform(run)
            else:
                self._comparison.left_out(run.name, run.recorded.take())
        for _ in range(due):
            if not run.busy:
                self._prepare(run, TICK, Callback(None, iter(())))
                yield run

    def _is_due(self, run: VerifiedRun, tick: int) -> int:
        """How often it is to tick in this scheduler tick."""
        if run.own_schedule is not None:
            if run.own_schedule.next_tick > tick:
                return 0
            run.own_schedule.advance(tick)
            return 1
        sent = sum(run.ports.sent_so_far(topic) for topic in run.own_topics)
        due, run.ticked_for = sent - run.ticked_for, sent
        return due

    def _perform(self, run: VerifiedRun) -> Plan:
        """The next recorded callback of a node, once the one before has ended."""
        line = run.recorded.next
        assert line is not None
        if run.busy and not run.stuck:
            yield self._let_go_on(run, lambda: not run.busy)
            run.stuck = run.busy
        callback = run.recorded.take()
        kind = KINDS[line.kind]
        if kind is REQUEST:
            yield from self._come_to(self._step.at_ns + self._after_ns(line))
        if run.busy or run.callbacks[kind] is None:
            self._comparison.left_out(run.name, callback)
            return
        run.stuck = False
        if kind is INIT:  # again: its tasks ended before
            for work in self.end_work(run.name):
                yield self.pace.settle(work)
        self._prepare(run, kind, callback)
        yield run
        if kind is REQUEST and self.pace.suspended:
            yield self.pace.settle()

    def _prepare(self, run: VerifiedRun, kind: str, callback: Callback | None) -> None:
        """The next thing that the plan does is to call this callback of a node."""
        run.kind = kind
        run.line = None if callback is None else callback.line
        run.ports.expect(run.line)
        self._comparison.begin(run.name, self.tick if run.line is None else run.line.tick, callback)

    async def _let_go_on(self, run: VerifiedRun, done: Callable[[], bool], patience_ns: int = _PATIENCE_NS) -> None:
        """Let the running callback of a node go on until ``done``, or until it is stuck."""
        pace = self.pace
        assert isinstance(pace, VirtualPace)
        lasted_ns = 0 if run.line is None else run.line.duration_ns
        until_ns = max(pace.elapsed_ns(), run.began_ns + lasted_ns) + patience_ns
        await pace.until_stuck(lambda: done() or bool(self.reason), lambda: run.ports.waiting > 0, until_ns)

    async def _let_tasks_go_on(self) -> None:
        """After the last scheduler tick, let tasks of nodes go on until they have sent what recorded ones did."""
        pace = self.pace
        assert isinstance(pace, VirtualPace)
        session = self._replay.session
        if session.deterministic:  # what the end itself made them send comes with the end
            until_ns = pace.elapsed_ns() + max(0, self._comparison.last_background_ns - self.stamp_ns())
        else:
            until_ns = pace.elapsed_ns() + round(NANOSECONDS * max(1.0, 2 / session.tick_rate))
        await pace.until_stuck(lambda: bool(self.reason) or not self._comparison.has_background, lambda: True, until_ns)

    async def _let_threads_go_on(self) -> None:
        """Let threads of nodes, which take none of the run's time, send what recorded ones did, or show that they end.

        A node that was silent for long before the recording ended may be one whose threads send more now.
        """
        for waited in range(_MOST_ROUNDS):
            self.audience.collect()
            if self.reason or not any(self._is_awaited(run, waited) for run in self._order):
                return
            await wait_all_tasks_blocked(0.001)

    def _is_awaited(self, run: VerifiedRun, waited: int) -> bool:
        own = bool(run.ports.own_threads)
        works = [work for work in self._works if work.run is run]
        if not own and not works:  # perhaps a thread that the runtime does not know
            return waited < _ROUNDS_TO_END and self._comparison.has_background_of(run.name)
        if not own and not any(work.thread is not None for work in works):
            return False
        if self._comparison.is_behind_in_threads(run.name):
            return True
        return not own and waited < _ROUNDS_TO_END and self._comparison.ends[run.name].fell_silent
