"""One run: who does what when. The engine behind `Scheduler`.

How it works. A plan, a plain generator, says what comes next: call a node's callback, or wait for something. A worker
task carries it out. Most ticks never suspend, and then a tick costs no task and no switch. When one does suspend, the
worker stays with it as its carrier (see `carrier`) and a new worker goes on with the plan. So at any time one worker
follows the plan and each suspended tick has a task of its own, and nothing else is needed for nodes that wait side by
side. Real and virtual time differ only in the `pace`.

This module stays in one piece, as its parts share one state: which tick it is, who is busy, whether the run ends.
"""

from __future__ import annotations

import functools
import itertools
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from attrs import evolve

from horus_async.clock.system import NANOSECONDS, perf_ns
from horus_async.nodes.context import current
from horus_async.observe import (
    Execution,
    External,
    Observer,
    RunInfo,
    Sent,
    TickEnd,
)
from horus_async.topics.codec import as_bytes

from .coroutines import carry, may_suspend
from .external_sources import Outsiders
from .failure import State
from .node_run import INIT, SHUTDOWN, TICK, NodeRun
from .order import causal_order, topic_edges
from .pace.virtual import VirtualPace
from .ports import new_tuple
from .reporting import describe
from .safety import Safety
from .schedule import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from horus_async.determinism.guard import RunGuard
    from horus_async.topics import Bus
    from horus_async.topics.ring.reader import RingReader
    from horus_async.topics.ring.region import Taken

    from .pace.real import Pace
    from .safety import Job, Plan
    from .schedule import Timeline

_ENDED = object()
"""Stands for what a coroutine that has ended does not yield any more."""


class Runtime(Safety):
    """The engine of one run."""

    def __init__(self, info: RunInfo, bus: Bus, timeline: Timeline, observers: Iterable[Observer]) -> None:
        super().__init__(observers)
        self.info = info
        self.bus = bus
        self.timeline = timeline
        self.guard: RunGuard | None = None
        """Watches the nodes' callbacks for calls that break determinism."""
        self.ticks = 0
        self.sent: list[Sent] = []
        self.runs = {}
        self._pace: Pace | None = None
        self._order: list[NodeRun] = []
        self._order_known = False
        self._topics: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
        self._step = Step(0, 0, info.start_ns, info.start_ns / NANOSECONDS, 0.0, info.start_ns)
        self._step_open = False
        self._began: list[str] = []
        self._outsiders = Outsiders(self.runs)
        self._stirred = False
        self._virtual = False
        self._origin_ns = 0
        self._stamp_base_ns = info.start_ns
        self.at_step: list[Callable[[Step], None]] = []
        """Called as a scheduler tick begins, before any node."""
        self.at_end: list[Callable[[int], None]] = []
        """Called with the last scheduler tick when the timeline has come to its end, before any ``shutdown``."""

    # Setting up

    def add(self, run: NodeRun, *, pubs: Sequence[str], subs: Sequence[str]) -> None:
        """A node takes part, with the topics it declared."""
        self.runs[run.name] = run
        self._tell_of_errors(run)
        self._topics[run.name] = (dict.fromkeys(pubs), dict.fromkeys(subs))
        for subscriber in run.on:
            subscriber.on_message(self._stir)

    def topic_used(self, node: str, topic: str, *, writes: bool) -> None:
        """A node used a topic for the first time: the causal order may have to change."""
        known = self._topics.get(node)
        if known is not None and topic not in known[0 if writes else 1]:
            known[0 if writes else 1][topic] = None
            self._order_known = False

    def _find_order(self) -> None:
        runs = sorted(self.runs.values(), key=lambda run: run.node.order)
        edges = topic_edges({n: t[0] for n, t in self._topics.items()}, {n: t[1] for n, t in self._topics.items()})
        names = self.order_nodes([run.name for run in runs], edges, self._step.order)
        self._order = [self.runs[name] for name in names]
        for rank, run in enumerate(self._order):
            run.rank = rank
        self._order_known = True

    def order_nodes(self, names: list[str], edges: dict[str, set[str]], recorded: Sequence[str] | None) -> list[str]:  # noqa: ARG002 - a replay overrides this
        """The order in which nodes tick."""
        return causal_order(names, edges)

    def stop(self, reason: str = "stop") -> None:
        """End the run after the current tick. From any thread or signal handler; the first reason stays."""
        self.reason = self.reason or reason
        if self._pace is not None:
            self._pace.wake()

    def _stir(self) -> None:
        """A message came for a node that ticks on messages."""
        self._stirred = True
        if self._pace is not None:
            self._pace.wake()

    def stamp_ns(self) -> int:
        """The time for a message that is sent now."""
        pace = self._pace
        if isinstance(pace, VirtualPace):
            return self._stamp_base_ns + pace.offset_ns
        assert pace is not None
        return pace.stamp_ns(self._stamp_base_ns)

    def elapsed_ns(self) -> int:
        """The run's time, nanoseconds."""
        return 0 if self._pace is None else self._pace.elapsed_ns()

    # Running

    async def run(self, pace: Pace) -> None:
        """Run to the end and shut down.

        Raises:
            NodeFailure: A node failed for good.
        """
        self.start(pace)
        try:
            await self._drive(self._whole_plan())
        except BaseException as error:
            self.reason = self.reason or self._what_ended_it(error)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self.shut_down()
        self.raise_failures()

    def _what_ended_it(self, error: BaseException) -> str:
        """The reason for an exception that came from outside the nodes."""
        if self._is_cancellation(error):
            return "cancelled"
        return (
            "signal SIGINT" if isinstance(error, KeyboardInterrupt) else f"fatal: {self.info.name}: {describe(error)}"
        )

    def start(self, pace: Pace) -> None:
        """Begin: tell the observers, make ready."""
        self.attach(pace)
        known = {node.name for node in self.info.nodes}
        players = (run.node.info() for run in self.runs.values() if run.name not in known)
        self.info = evolve(self.info, nodes=(*self.info.nodes, *players))
        for number, observer in enumerate(self.observers):
            try:
                observer.run_started(self.info)
            except BaseException as error:
                for started in self.observers[:number]:
                    started.run_stopped(self._what_ended_it(error), 0)
                raise
        self._find_tick_listeners()

    def attach(self, pace: Pace) -> None:
        """Take time from ``pace`` from here on."""
        self._pace = pace
        self._virtual = pace.virtual
        for run in self.runs.values():
            run.now = pace.elapsed_ns
            run.real_time = not pace.virtual

    async def finish_tick(self, plan: Plan, begun: Job | None = None) -> None:
        """Carry out the plan of one tick, or what `begin_tick` left of it.

        Raises:
            NodeFailure: A node failed for good.
        """
        await self._drive(plan, begun)
        self.raise_failures()

    def begin_tick(self, plan: Plan) -> Job | None:
        """Carry out the plan of one tick as far as nothing has to wait; that is most often all of it.

        Returns:
            The job that may have to wait, for `finish_tick`, or None when the tick is over.

        Raises:
            NodeFailure: A node failed for good.
        """
        # in a context of its own: nothing of a tick is to be seen where tick_once was called
        return copy_context().run(self._begin_tick, plan)

    def _begin_tick(self, plan: Plan) -> Job | None:
        for job in plan:
            if not isinstance(job, NodeRun):
                return job
            coroutine = self._call(job)
            if coroutine is None:
                continue
            if may_suspend(coroutine):
                job.coroutine = coroutine
                return job
            try:
                next(coroutine.__await__(), _ENDED)
            except BaseException as error:  # noqa: BLE001 - it is the node's, and judged there
                self._finish(job, error)
            else:
                self._finish(job, None)
        self.raise_failures()
        return None

    async def shut_down(self) -> None:
        """Call every ``shutdown`` and tell the observers; whatever fails on the way is kept with the failures."""
        assert self._pace is not None
        self._aborted = False
        if self.reason == self.timeline.end_reason:
            for complete in self.at_end:
                complete(self.tick)
        if self.emergency is not None:
            await self._drive(self._all_safe_plan())
        await self._drive(self._shutdown_plan())
        self._end_tick()
        self._tell("run_stopped", self.reason or "stop", self.ticks)
        self._pace.close()

    async def _drive(self, plan: Plan, begun: Job | None = None) -> None:
        """Carry out a plan, the job ``begun`` first; ticks that are still suspended at its end are cancelled."""
        done = anyio.Event()
        if isinstance(self._pace, VirtualPace):
            self._pace.taking_turns = True
        async with anyio.create_task_group() as group:
            self._group, self._plan, self._plan_done = group, plan, done
            group.start_soon(self._work, None, begun)
            if not self._virtual and any(run.on for run in self.runs.values()):
                group.start_soon(self.bus.attend)
            try:
                await done.wait()
            finally:  # also when it is cancelled: whoever waits for a turn then would wait for ever
                assert self._pace is not None
                self._pace.let_go()
            group.cancel_scope.cancel()

    async def _work(self, after: NodeRun | None, begun: Job | None = None) -> None:
        """Follow the plan until a tick suspends, then stay with that tick."""
        pace = self._pace
        assert pace is not None
        if after is not None:
            await pace.settle(after)
        for job in self._plan if begun is None else itertools.chain((begun,), self._plan):
            if not isinstance(job, NodeRun):
                await job
                continue
            if job.coroutine is None:
                coroutine = self._call(job)
                if coroutine is None:
                    continue
            else:
                coroutine = job.coroutine  # begin_tick has called it, in another context
                current.set(job.context)
            try:
                # next() with a default spares an exception for the end of each tick
                trap = next(coroutine.__await__(), _ENDED)
            except BaseException as error:  # noqa: BLE001 - it is the node's, and judged there
                self._finish(job, error)
                continue
            if trap is _ENDED:
                self._finish(job, None)
                continue
            job.coroutine = coroutine
            await self._stay_with(job, coroutine, trap)
            return
        self._plan_done.set()

    async def _stay_with(self, run: NodeRun, coroutine: Coroutine[Any, Any, Any], trap: Any) -> None:
        pace = self._pace
        turn: Callable[[], Any]
        if isinstance(pace, VirtualPace):
            pace.suspended += 1
            turn = functools.partial(pace.turn, run.rank)
        else:
            turn = functools.partial(_count_resumption, run)
        self._group.start_soon(self._work, run)
        error: BaseException | None = None
        try:
            await carry(coroutine, trap, turn)
        except BaseException as raised:
            error = raised
            if isinstance(raised, anyio.get_cancelled_exc_class()):
                raise
        finally:
            if isinstance(pace, VirtualPace):
                pace.suspended -= 1
            self._finish(run, error)
            assert pace is not None
            pace.wake()

    # The plan

    def _whole_plan(self) -> Plan:
        assert self._pace is not None
        yield from self._init_plan()
        self._pace.start()
        while not self.reason:
            step = self.timeline.next_step(self._pace.late_at_ns())
            at_ns = self.timeline.end_ns if step is None else step.at_ns
            while not self._pace.reached(at_ns):
                yield self._pace.reach(at_ns)
                if self.reason:
                    return
                if self._stirred or self._interludes:
                    yield from self._message_pass()
            if step is None:
                self.stop(self.timeline.end_reason)
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

    def one_tick_plan(self) -> Plan:
        """One tick, and every ``init`` before the first."""
        assert self._pace is not None
        if not all(run.initialised for run in self.runs.values()):
            yield from self._init_plan()
        step = self.timeline.next_step(None) if not self.reason else None
        if step is None:
            return
        if self._pace.virtual and not self._pace.reached(step.at_ns):
            yield self._pace.reach(step.at_ns)
        yield from self._tick_pass(step)
        yield from self._until_all_idle()
        if self._stirred or self._interludes:
            yield from self._message_pass()
            yield from self._until_all_idle()

    def _until_all_idle(self) -> Plan:
        assert self._pace is not None
        for run in self._order:
            while run.busy and not self._aborted:
                yield self._pace.until_idle(run)

    def _shutdown_plan(self) -> Plan:
        for run in self._order:
            if run.initialised and run.callbacks[SHUTDOWN] is not None:
                yield from self._alone(run, SHUTDOWN)

    def _alone(self, run: NodeRun, kind: str) -> Plan:
        """Call ``init`` or ``shutdown`` and wait until it has ended."""
        assert self._pace is not None
        run.kind = kind
        yield run
        while run.busy and not (kind is INIT and self.reason):
            yield self._pace.until_idle(run)

    def _tick_pass(self, step: Step) -> Plan:  # noqa: C901, PLR0912 - the hottest loop of a run, written out
        """One scheduler tick: each node that is due, in order."""
        self._begin_step(step)
        tick, pace = step.tick, self._pace
        virtual = pace if isinstance(pace, VirtualPace) else None
        for run in self._order:
            schedule = run.schedule
            if schedule is None:
                yield from self._ticks_for_messages(run)
            else:
                while schedule.next_tick <= tick and not self._aborted:
                    passed = schedule.advance(tick)
                    if passed > 1 or run.busy or run.ended_ns > step.at_ns:
                        self._judge_dues(run, passed, step.at_ns)
                    if not run.busy:
                        if run.skips_next or run.needs_init or run.failure.state is not State.RUNNING:
                            yield from self._tick(run)
                        else:  # the same, for all but a few ticks
                            yield run
                            if self._interludes:
                                yield from self._make_safe()
            if virtual is not None and virtual.suspended:
                yield virtual.settle()
        if not self._order_known and self._stirred:
            before = self._order
            self._find_order()
            if self._order != before:  # a message came to a node that nobody knew to be its consumer
                yield from self._message_pass()
        if self._virtual:
            self._stirred = False  # what a loop sends back arrives in the next tick

    def _message_pass(self) -> Plan:
        """Something came between two ticks: the nodes that tick on it do so now."""
        self._stirred = False
        yield from self._make_safe()
        for run in self._order:
            if run.on:
                yield from self._ticks_for_messages(run)
        if self._virtual:
            self._stirred = False

    def _ticks_for_messages(self, run: NodeRun) -> Plan:
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
            yield from self._make_safe()

    def _begin_step(self, step: Step) -> None:
        self._end_tick()
        if not self._order_known or step.order is not self._step.order:
            self._step = step
            self._find_order()
        assert self._pace is not None
        if not self._pace.virtual:
            now_ns = self.stamp_ns()
            if self.ticks == 0:
                self._origin_ns = now_ns
            step = step._replace(now_ns=now_ns, origin_ns=self._origin_ns)
        self._step = step
        self._stamp_base_ns = step.now_ns - step.at_ns
        self.tick = step.tick
        self.ticks += 1
        self._step_open = True
        for prepare in self.at_step:
            prepare(step)

    def _end_tick(self) -> None:
        if self._step_open and self.observed:
            end = new_tuple(TickEnd, (self.tick, self._step.now_ns, self._began, self.sent))
            for observer in self.observers:  # `_tell`, written out for what happens in every tick
                try:
                    observer.tick_ended(end)
                except Exception:  # noqa: BLE001 - as there
                    self._leave_out(observer)
        self.sent = []
        self._began = []
        self._step_open = False

    # One callback

    def _call(self, run: NodeRun) -> Coroutine[Any, Any, Any] | None:
        """Begin a node's callback; None when it has ended already."""
        callback = run.callbacks[run.kind]
        assert callback is not None
        if self.observed:
            run.ports.begin()
            if run.kind is TICK:
                self._began.append(run.name)
        run.begin(self._step, None if self._virtual else self.stamp_ns())
        current.set(run.context)
        run.started_ns = perf_ns()
        run.busy = True  # only now, as the watchdog goes by both
        try:
            result = callback()
        except BaseException as error:  # noqa: BLE001 - it is the node's, and judged there
            self._finish(run, error)
            return None
        if type(result) is CoroutineType:
            return result
        if result is None:
            self._finish(run, None)
            return None
        if hasattr(result, "__await__") or hasattr(result, "send"):
            return _awaited(result)
        self._finish(run, None)
        return None

    def _finish(self, run: NodeRun, error: BaseException | None) -> None:
        """A callback has ended."""
        kind, took_ns = run.kind, perf_ns() - run.started_ns
        # In virtual time nothing passes in a callback that never waits.
        waited = run.coroutine is not None or not self._virtual
        run.busy = False
        run.coroutine = None
        run.kind = TICK
        failure = None if error is None or self._is_cancellation(error) else error
        if failure is not None and failure is not run.reported:
            self._report(run, kind, failure)
        run.reported = None
        if kind is TICK:
            run.durations.add(took_ns)
            for observer, listener in run.tick_listeners:
                try:
                    listener(run.context.tick, took_ns, error is None)  # type: ignore[arg-type] # in a tick there is one
                except Exception:  # noqa: BLE001 - an observer must not take the robot down
                    self._leave_out(observer)
        if self.observed:
            duration_ns = run.now() - run.began_ns if waited else 0
            self._tell_executed(run, kind, error, duration_ns, took_ns)
        if kind is TICK:
            if run.real_time:
                run.ended_ns = run.now()
            if run.deadline_ns is not None or run.budget_ns is not None or run.misses_in_a_row:
                self._judge(run, error)
        if failure is not None or run.failure.failures:
            self._failed_or_recovered(run, kind, error, failure)

    def _tell_executed(
        self, run: NodeRun, kind: str, error: BaseException | None, duration_ns: int, took_ns: int
    ) -> None:
        context, ports = run.context, run.ports
        text = None if error is None else describe(error)
        tick = self.tick if context.tick is None else context.tick
        execution = new_tuple(
            Execution,
            (kind, run.name, tick, context.now_ns, run.dt_ns, duration_ns, ports.inputs, ports.outputs, text, took_ns),
        )
        for observer in self.observers:  # as in `_end_tick`
            try:
                observer.executed(execution)
            except Exception:  # noqa: BLE001 - as there
                self._leave_out(observer)

    def took_external(self, topic: str, taken: Taken, reader: RingReader) -> int:
        """A node took a message that came from outside: tell of it, once; gives the number of its source."""
        payload, publisher, seq, stamp_ns = taken
        source = self.outside_source(topic, publisher, reader)
        if self._outsiders.is_new(reader.source, reader.index):
            message = External(self.tick, topic, publisher, seq, stamp_ns, as_bytes(payload), source)
            self._tell("received_external", message)
        return source

    def outside_source(self, topic: str, publisher: str, reader: RingReader) -> int:
        """The ``source`` of the message from outside that ``reader`` gave last."""
        return self._outsiders.number(topic, publisher, reader.source)


async def _count_resumption(run: NodeRun) -> None:
    run.resumed += 1


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
