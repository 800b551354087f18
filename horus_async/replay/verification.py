"""Running a verification: live nodes are called as the recorded ones were, and get what those got."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import NANOSECONDS, wall_ns
from horus_async.clock.trio_testing import wait_all_tasks_blocked
from horus_async.engine.node_run import INIT, SHUTDOWN, TICK
from horus_async.engine.pace.choice import in_virtual_time
from horus_async.engine.pace.nested import run_in_thread
from horus_async.engine.pace.virtual import VirtualPace
from horus_async.engine.reporting import describe
from horus_async.engine.runtime import Runtime
from horus_async.errors import NodeFailure, ReplayError
from horus_async.nodes.failure_policies import Fatal
from horus_async.observe import RunInfo
from horus_async.recorder import open_session
from horus_async.recorder.records import GapRecord
from horus_async.topics import Bus

from .callbacks import Callback, Callbacks
from .comparison import Comparison
from .messages import Messages, Moment
from .options import ReplayOptions, check_missing
from .program import learn_classes
from .shadow import ShadowPorts
from .timeline import RecordedTimeline
from .verified import KINDS, VerifiedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.pace.pace import Pace
    from horus_async.engine.rules.schedule import Step
    from horus_async.engine.safety import Plan
    from horus_async.nodes.node import Node
    from horus_async.recorder import Session
    from horus_async.recorder.records import ExecutionRecord

    from .comparison import VerifyReport

_PATIENCE_NS = 10_000_000_000
"""Of the run's own time, how much longer than the recorded callback a live one may take before it counts as stuck."""

_MOST_ROUNDS, _ROUNDS_TO_END = 5000, 500
"""Milliseconds of the machine's time that live threads get to send what recorded ones did; and to end, or send more,
where the recorded node sent nothing for long before the end."""


async def verify(
    session: str | Path | Session,
    live: Sequence[Node],
    nodes: tuple[str, ...] | None,
    start: int | None = None,
    stop: int | None = None,
    *,
    tolerance: float = 0.0,
) -> VerifyReport:
    """Give live nodes the recorded inputs and clock, and compare what they send with what was recorded.

    Args:
        session: A session's name, folder or scheduler file, or one that is open.
        live: The nodes of the program.
        nodes: Only these; None for all that were recorded.
        start: First tick, inclusive.
        stop: Last tick, inclusive.
        tolerance: Numbers this far apart, absolute, count as equal; 0 for bit by bit.

    Raises:
        ReplayError: A name in ``nodes`` is not both live and recorded, the ticks are not in the session, or the file
            of a recorded node cannot be read.
        NodeFailure: A live node failed, and the recorded one did not.
    """
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
    comparison = Comparison(opened, tolerance)
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

    async def work(pace: Pace) -> None:
        runtime = Verification.of(replay, live, comparison)
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
            f"node {failure.node} failed ({type(cause).__name__}: {cause}); {_unknown(name, topic)}"
        ) from failure
    return running[0].notes()


def _unknown(name: str, topic: str) -> str:
    return (
        f"messages on {topic} are of a class {name!r} that the program does not have and so came as dicts: "
        f"import the module it was in, or where it was moved, keep its name there ({name.rpartition('.')[2]} = ...)"
    )


def _chosen(session: Session, live: Sequence[Node], nodes: tuple[str, ...] | None) -> list[Node]:
    here = {node.name: node for node in live}
    for name in nodes or ():
        if name in session.missing_nodes:
            raise ReplayError(f"node {name!r} cannot be verified: {session.missing_nodes[name]}")
        if name not in here or name not in session.nodes:
            both = ", ".join(sorted(here.keys() & session.nodes.keys())) or "none"
            raise ReplayError(f"node {name!r} is not both live and in session {session.name!r}; those that are: {both}")
    return [node for name, node in here.items() if name in session.nodes and (nodes is None or name in nodes)]


class Verification(Runtime):
    """A run of live nodes that follows the lines of recorded ones, each in the scheduler tick and place it had."""

    _order: list[VerifiedRun]  # type: ignore[assignment]

    def __init__(self, replay: ReplayOptions, comparison: Comparison, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._replay = replay
        self._comparison = comparison
        self._verified: dict[str, VerifiedRun] = {}
        self._begun: set[str] = set()
        self._failed_here: list[str] = []
        """Failures after which the live nodes' policies go on, in words."""

    @classmethod
    def of(cls, replay: ReplayOptions, live: list[Node], comparison: Comparison) -> Verification:
        """A verification, ready to start."""
        session = replay.session
        info = RunInfo(
            name="verification",
            tick_rate=session.tick_rate,
            deterministic=session.deterministic,
            seed=session.seed,
            started_at_ns=wall_ns(),
            start_ns=session.start_ns,
            namespace=f"verification-{os.getpid():x}-{secrets.token_hex(4)}",  # nothing reaches a running robot
            nodes=tuple(node.info() for node in live),
        )
        timeline = RecordedTimeline(replay, duration=None, on_rewind=lambda: None)
        runtime = cls(replay, comparison, info, Bus(info.namespace, isolated=True), timeline, [comparison])
        infos = [session.nodes[node.name] for node in live]
        messages = Messages(session, replay.start, (topic for info in infos for topic in (*info.subs, *info.on)))
        with runtime.closed_on_failure():
            for node in live:
                runtime._verify(node, messages)
        return runtime

    def _verify(self, node: Node, messages: Messages) -> None:
        replay, session = self._replay, self._replay.session
        callbacks = Callbacks(session, node.name, replay.start, replay.stop)
        ports = ShadowPorts(
            node.name,
            self.bus,
            self,
            session=session,
            messages=messages,
            moment=lambda: self._moment(run),
            wait_ns=lambda sent_ns: sent_ns - self._elapsed_ns(),
            start=replay.start,
        )
        run = VerifiedRun(node, ports, session, callbacks)
        self.add(node, lambda _node, _ports: run, ports)
        if run.own_schedule is not None:
            run.own_schedule.rewind(replay.start or 0)
        self._verified[node.name] = run
        self._comparison.listen(node.name, replay.start, replay.stop)
        self._comparison.ends[node.name].threads = ports.thread_topics

    def verified(self) -> list[VerifiedRun]:
        """The nodes."""
        return list(self._verified.values())

    def notes(self) -> tuple[str, ...]:
        """What the nodes could not be given."""
        unknown = {n: topic for run in self._order for n, topic in run.ports.unknown_classes.items()}
        notes = [_unknown(name, topic) for name, topic in unknown.items()]
        notes += self._failed_here
        for name, run in self._verified.items():
            notes += (
                f"node {name} read {count} messages on {topic} that are not in the recording"
                for topic, count in sorted(run.ports.unknown.items())
            )
            notes += self._not_compared(name, run)
        return tuple(notes)

    def _not_compared(self, name: str, run: VerifiedRun) -> Iterator[str]:
        end = self._comparison.ends[name]
        if end.uncompared and end.whole:
            yield f"not compared: {end.uncompared} messages of node {name} after the recorded end"
        elif end.uncompared:
            yield f"not compared: {end.uncompared} messages of node {name}, whose recording leaves some out"
        if run.ports.own_threads:
            topics = ", ".join(sorted(run.ports.own_threads))
            yield (
                f"node {name} sends on {topics} from a thread of its own, which nothing waits for: what is compared is "
                "left to chance; start it with in_thread()"
            )
        lasting = sum(1 for _ in self._left_out_before(name))
        if lasting:
            yield (f"not compared: {lasting} messages of node {name} in callbacks that began before tick {self._begin}")

    @property
    def _begin(self) -> int:
        """The first tick; above 0 also in a session that was cut."""
        start = self._replay.start
        return (self._replay.session.first_tick or 0) if start is None else start

    def _left_out_before(self, name: str) -> Iterator[object]:
        """What was sent in the verified ticks by a callback that began before them."""
        start, stop = self._begin, self._replay.stop
        session = self._replay.session
        if not start or not session.has_sends(name):
            return
        for line in session.executions(name):
            if not isinstance(line, GapRecord) and line.tick is not None and line.tick < start:
                yield from (o for o in line.outputs if o.tick >= start and (stop is None or o.tick <= stop))

    def close(self) -> None:
        """Take the topics back from the nodes, and let go of the files."""
        super().close()
        for run in self._verified.values():
            run.recorded.close()
            run.ports.close()

    # The plan

    def order_nodes(self, names: list[str], edges: dict[str, set[str]], recorded: Sequence[str] | None) -> list[str]:
        """As they were added; whose turn it is, the recording says."""
        del edges, recorded
        return names

    def whole_plan(self) -> Plan:
        """Every ``init``, then what was recorded, scheduler tick by scheduler tick, and at last what that left over."""
        pace = self.pace
        yield from self._init_plan()
        pace.start()
        if self._comparison.has_background:
            pace.suspended += 1  # tasks of nodes are at work between the ticks: time is not to jump over them
        while not self.reason and (step := self.timeline.next_step(None)) is not None:
            while not pace.reached(step.at_ns):
                yield pace.reach(step.at_ns)
                if self.reason:
                    return
            yield from self._tick_pass(step)
        for run in self._order:
            while run.recorded.next is not None and run.recorded.next.kind != SHUTDOWN and not self.reason:
                yield from self._perform(run)
        if not self.reason:
            yield self._let_threads_go_on()
        if self._comparison.has_background and not self.reason:
            yield self._let_tasks_go_on()
        for run in self._order:
            yield from self._last_one(run)
        self.stop(self.timeline.end_reason)

    def _last_one(self, run: VerifiedRun) -> Plan:
        """What still runs goes on: to its end, or as long as the recorded one that was cut, until it sent as much."""

        def behind() -> bool:
            return run.busy and self._comparison.is_behind(run.name)

        if run.busy and not run.stuck and not self.reason:
            cut = run.line is None or run.line.was_cut
            yield self._let_go_on(run, lambda: not run.busy, 0 if cut else _PATIENCE_NS)
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
        if self._waiting_tasks():
            self._begun.update(self._replay.session.nodes)  # what tasks of the others sent as the tick began
            yield from self._tell_tasks()
        for run in self._order:
            if not run.follows:
                yield from self._own_turns(run, step.tick)
            yield from self._catch_up(run, step.tick + 1)

    def _waiting_tasks(self) -> bool:
        """Whether tasks of nodes wait for messages."""
        return any(run.ports.tasks_waiting for run in self._order)

    def _tell_tasks(self) -> Plan:
        """A node had its turn, and may have sent what a task waits for."""
        if self._waiting_tasks():
            for run in self._order:
                run.ports.stir()
            yield self.pace.settle()

    def _turn(self, run: VerifiedRun, tick: int) -> Plan:
        """The recorded node ticked now."""
        yield from self._catch_up(run, tick)
        while (line := run.recorded.next) is not None and line.kind not in {TICK, SHUTDOWN} and line.tick == tick:
            yield from self._perform(run)
        line = run.recorded.next
        if line is not None and line.kind == TICK and line.tick == tick:
            began_ns = self._step.at_ns + self._after_ns(line)
            while not (self.pace.reached(began_ns) or self.reason):
                yield self.pace.reach(began_ns)
            yield from self._perform(run)
        elif not run.busy:
            callback = run.recorded.take_open()
            if run.recorded.gap or callback.has_lines:
                self._prepare(run, TICK, callback)
                yield run

    def _after_ns(self, line: ExecutionRecord) -> int:
        """How long after its scheduler tick began a recorded tick did."""
        if self._replay.session.deterministic:
            return line.after_ns
        return min(max(0, line.now_ns - self._step.now_ns), round(NANOSECONDS / self._replay.session.tick_rate))

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
        if run.busy or run.callbacks[kind] is None:
            self._comparison.left_out(run.name, callback)
            return
        run.stuck = False
        if kind is INIT:  # again: its tasks ended before
            for work in self.end_work(run.name):
                yield self.pace.settle(work)
        self._prepare(run, kind, callback)
        yield run

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
        until_ns = pace.elapsed_ns() + round(NANOSECONDS * max(1.0, 2 / self._replay.session.tick_rate))
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

    # Where it is

    def _moment(self, run: VerifiedRun) -> Moment:
        if self._replay.session.deterministic or run.line is None:
            return Moment(self.tick, self.stamp_ns(), self._begun, self._step.now_ns)
        clock = self._replay.session.clock
        elapsed_ns = clock.sent_ns(run.line.now_ns, run.line.tick) + run.now() - run.began_ns
        return Moment(self.tick, elapsed_ns + clock.origin_ns(self.tick), self._begun)

    def _elapsed_ns(self) -> int:
        """How long it is since the first scheduler tick, in the session's own time."""
        return self.stamp_ns() - self._replay.session.clock.origin_ns(self.tick)

    # Failing

    def _failed(self, run: NodeRun, kind: str, error: BaseException) -> None:
        """A task or thread of a node has raised: did the recorded one?"""
        if isinstance(error, Exception) and self._was_logged(run.name, kind, describe(error)):
            return
        self._goes_wrong(run, kind, error)

    def _was_logged(self, node: str, kind: str, what: str) -> bool:
        said = f"node {node!r} failed in {kind}: {what.partition(':')[0]}"
        return any(line.message.startswith(said) for line in self._replay.session.log.select(node=node))

    def _goes_wrong(self, run: NodeRun, kind: str, error: BaseException) -> None:
        if isinstance(error, Exception) and not isinstance(run.failure.policy, Fatal):
            text = f"node {run.name} failed in {kind}, as the recorded one did not: {describe(error)}"
            self._failed_here.append(text)
            return
        self.failures.append((run, error))
        self.abort(f"fatal: {run.name}: {describe(error)}")

    def _failed_or_recovered(
        self, run: NodeRun, kind: str, error: BaseException | None, failure: BaseException | None
    ) -> None:
        """What follows a failure is in the recording, where the recorded node failed too."""
        del error
        if failure is None:
            return
        assert isinstance(run, VerifiedRun)
        recorded = "" if run.line is None else run.line.error or ""
        if isinstance(failure, Exception) and recorded.partition(":")[0] == describe(failure).partition(":")[0]:
            return
        self._goes_wrong(run, kind, failure)
