"""One run: who does what when. The engine behind `Scheduler`.

How it works. A plan, a plain generator, says what comes next: call a node's callback, or wait for something. A worker
task carries it out. Most ticks never suspend, and then a tick costs no task and no switch. When one does suspend, the
worker stays with it as its carrier (see `coroutines`) and a new worker goes on with the plan. So at any time one worker
follows the plan and each suspended tick has a task of its own, and nothing else is needed for nodes that wait side by
side. Real and virtual time differ only in the `pace`.

Six layers share the state of a run: `Safety` judges, `Planning` says what comes next, `Calling` calls one callback,
`Working` runs what nodes start beside those, `Ending` ends all of it, and `Runtime` carries the plan out.
"""

from __future__ import annotations

import functools
import itertools
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING

from attrs import evolve

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import monotonic_ns, perf_ns
from horus_async.errors import HorusError
from horus_async.nodes.interface.marks import ANNOUNCED
from horus_async.nodes.node import declared, keeps
from horus_async.undo import undo

from .coroutines import ENDED, Carrier, carry, may_suspend
from .ending import UNSAFE_PATIENCE_NS, Ending, ends_in_children, to_the_end
from .node_run import NodeRun
from .pace.virtual import StillPace
from .planning import STEP_END
from .ports import Ports
from .reporting import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.clock.event_loop import Scope
    from horus_async.nodes.node import Node
    from horus_async.observe import Observer, RunInfo
    from horus_async.topics import Bus

    from .pace.pace import Pace
    from .ports import Guarding
    from .rules.schedule import Timeline
    from .safety import Job, Plan


_UNTIL_BEGUN = 5
"""Rounds of the event loop in which a task that was started begins."""


class Runtime(Ending):
    """The engine of one run."""

    def __init__(
        self,
        info: RunInfo,
        bus: Bus,
        timeline: Timeline,
        observers: Iterable[Observer],
        guard: Guarding | None = None,
    ) -> None:
        super().__init__(timeline, observers, info.start_ns)
        self.info = info
        self.bus = bus
        self._guard = guard
        self._seed = info.seed
        self._steps: Plan | None = None
        """The plan of a run that goes step by step in virtual time."""
        self._rest: Job | None = None
        """What `step` left to `run_in_steps`."""
        self._stand_still: Callable[[], bool] | None = None
        """Waits for the next step; whether the run is to end instead. None where that is not waited for any more."""
        self._following: Scope | None = None
        """Of the worker that follows the plan now."""
        self._broken: BaseException | None = None
        """What following a plan raised, and was no node's."""
        self._plan_over = False
        """Whether the plan was followed to its end."""

    # Setting up

    def observe(self, observer: Observer) -> None:
        """Tell one more observer of the run. Before it starts."""
        self.audience.add(observer)

    def add(
        self, node: Node, make_run: Callable[[Node, Ports], NodeRun] | None = None, ports: Ports | None = None
    ) -> NodeRun:
        """Let a node take part.

        Args:
            node: It is lent its topics until `close`.
            make_run: Makes what drives it; by default a `NodeRun`.
            ports: Its topics, when they are not those of the bus.

        Raises:
            ContextError: It takes part in another run.
        """
        if ports is None:
            make_ports = Ports if self._guard is None else self._guard.ports
            ports = make_ports(node.name, self.bus, self)
            self.keep(node)
            for topic in node.pubs:
                ports.publisher(topic).open()
        for topic in node.subs:
            ports.subscriber(topic)
        run = self._node_run(node, ports) if make_run is None else make_run(node, ports)
        if run.requests and run.answering is not None:
            for topic in run.answering.publishes:
                ports.publisher(topic).open()
        ports.attach(node)
        run.context.guard = self._guard
        self.runs[run.name] = run
        self.audience.add_node(run)
        self._tell_of_errors(run)
        asked, answered = ((), ()) if run.answering is None else (run.answering.topics, run.answering.publishes)
        self.unordered.update(asked, answered)
        self.declare(run.name, (*node.pubs, *answered), (*node.subs, *(node.on or ()), *asked))
        for subscriber in run.on:
            subscriber.on_message(self._stir)
        for subscriber in run.requests:
            subscriber.on_message(functools.partial(self._asks, run))
        return run

    def keep(self, node: Node) -> None:
        """Have topics keep what the node says. Before any node reads them: what it kept in its last run goes."""
        for topic, count in keeps(node).items():
            self.bus.keep(topic, node.name, count, stays=topic != ANNOUNCED)
            self.bus.publisher(topic, node.name).open()

    def _node_run(self, node: Node, ports: Ports) -> NodeRun:
        return NodeRun(node, ports, tick_rate=self.info.tick_rate, seed=self.info.seed)

    @contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """Close the run if what is done meanwhile fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take the topics back from the nodes, and let go of them."""
        undo((*(run.ports.detach for run in self.runs.values()), self.bus.close))

    def stop(self, reason: str = "stop") -> None:
        """End the run after the current tick. From any thread or signal handler; the first reason stays."""
        self.reason = self.reason or reason
        pace = self._pace
        if pace is not None:
            if pace.virtual and pace.give_up_ns is None:  # time stands still while a thread is at work, and it may hang
                unsafe = self.emergency is not None
                pace.give_up_ns = monotonic_ns() + (UNSAFE_PATIENCE_NS if unsafe else self.patience_ns)
            pace.wake()

    def _stir(self) -> None:
        """A message came for a node that ticks on messages."""
        self._stirred = True
        if self._pace is not None:
            self._pace.wake()

    def stamp_ns(self) -> int:
        """The time for a message that is sent now."""
        pace = self._pace
        if isinstance(pace, StillPace):
            return self.time_of_day.base_ns + pace.offset_ns
        shift_ns = self.time_of_day.dial[1]
        if shift_ns is not None:
            return monotonic_ns() + shift_ns
        assert pace is not None
        return self.time_of_day.base_ns + pace.elapsed_ns()

    @property
    def in_tick(self) -> bool:
        """Whether a scheduler tick is going on."""
        return self._step_open

    def elapsed_ns(self) -> int:
        """The run's time, nanoseconds."""
        return 0 if self._pace is None else self._pace.elapsed_ns()

    @property
    def pace(self) -> Pace:
        """How it moves through time, while it runs."""
        assert self._pace is not None
        return self._pace

    # Running

    async def run(self, pace: Pace) -> None:
        """Run to the end and shut down.

        Raises:
            NodeFailure: A node failed for good.
        """
        self.start(pace)
        await self._carry_out(self.whole_plan())
        self.raise_failures()

    async def _carry_out(self, plan: Plan, begun: Job | None = None) -> None:
        """Follow a plan to its end, and shut down. What ended it comes as itself where it is an error of ours."""
        try:
            await self._follow_in_group(plan, begun)
            return
        except BaseExceptionGroup as group:
            alone = HorusError, MemoryError
            if not isinstance(self._broken, alone) or group.split(alone)[1] is not None:
                raise
        raise self._broken  # not in a group of one, which no caller expects

    async def _follow_in_group(self, plan: Plan, begun: Job | None) -> None:
        self._takes_work = self._group_of_run = True
        async with event_loop().group() as group:
            self._group = group
            self.start_waiting()
            try:
                await self._drive(plan, begun)
                while self._stand_still is not None:
                    self._between_steps()  # nothing is left to do in the steps to come
            except BaseException as error:
                self._broken = self._broken or error
                raise
            finally:
                if self._broken is not None:
                    self.reason = self.reason or self._what_ended_it(self._broken)
                await to_the_end(self.shut_down)
                group.cancel_scope.cancel()

    def _what_ended_it(self, error: BaseException) -> str:
        """The reason for an exception that came from outside the nodes."""
        if self._is_cancellation(error):
            return "cancelled"
        if isinstance(error, KeyboardInterrupt):
            return "signal SIGINT"
        return f"fatal: {self.info.name}: {describe(error)}"

    def start(self, pace: Pace) -> None:
        """Begin: tell the observers, make ready."""
        self.attach(pace)
        known = {node.name for node in self.info.nodes}
        players = (declared(run.node) for run in self.runs.values() if run.name not in known)
        self.info = evolve(self.info, nodes=(*self.info.nodes, *players))
        started: list[Observer] = []
        for observer in self.audience:
            try:
                observer.run_started(self.info)
            except BaseException as error:
                for other in started:
                    other.run_stopped(self._what_ended_it(error), 0)
                raise
            started.append(observer)
        self.audience.begin()

    def attach(self, pace: Pace) -> None:
        """Take time from ``pace`` from here on."""
        self._pace = pace
        self._virtual = pace.virtual
        self.time_of_day.attach(pace)
        self.audience.thread = get_ident()
        ends_in_children(self)
        self.audience.wake = pace.wake if not pace.virtual else _nothing
        for run in self.runs.values():
            run.now = pace.elapsed_ns
            run.real_time = not pace.virtual
            run.threads = pace.thread_limiter() if run.node.compute else None

    def step(self) -> bool:
        """Carry out the next tick in virtual time, as far as nothing has to wait; that is most often all of it.

        Returns:
            Whether the tick is over; the rest of it, and all that come, are for `run_in_steps`.

        Raises:
            NodeFailure: A node failed for good.
        """
        if self._steps is None:
            self._in_steps = self._takes_work = True
            self._steps = self.whole_plan()
        job = self._go_on(self._steps, in_task=False)
        if job is None or job is STEP_END:
            self.raise_failures()
            return True
        if isinstance(job, NodeRun):
            self._rest = job
        else:  # something was started: whatever was to be waited for is waited for by the pace that comes
            job.close()  # type: ignore[attr-defined]
            self._rest = None
        return False

    async def run_in_steps(self, pace: Pace, stand_still: Callable[[], bool]) -> None:
        """Carry out what `step` left and the ticks after it, and shut down.

        Args:
            pace: How it moves through time from now on.
            stand_still: Called after each tick; blocks until the next step, and says whether the run is to end instead.
        """
        self.attach(pace)
        self._stand_still = stand_still
        assert self._steps is not None
        begun = pace.settle() if self._rest is None else self._rest
        self._rest = None
        await self._carry_out(self._steps, begun)

    async def one_tick(self, pace: Pace) -> None:
        """Carry out the next tick in real time, to the end of all that it began.

        Raises:
            NodeFailure: A node failed for good.
        """
        self.attach(pace)
        async with event_loop().group() as group:
            self._group = group
            await self._drive(self.one_tick_plan())
            group.cancel_scope.cancel()
        self.raise_failures()

    def _between_steps(self) -> None:
        """Stand still until the next step: nothing of the run goes on meanwhile."""
        assert self._stand_still is not None
        self._stands_still = True
        stopped_ns = perf_ns()
        try:
            if self._stand_still():
                self._stand_still = None
                self.stop()
        finally:
            stood_ns = perf_ns() - stopped_ns
            for run in self.runs.values():
                run.started_ns += stood_ns
            self._stands_still = False

    # Carrying out a plan

    async def _drive(self, plan: Plan, begun: Job | None = None) -> None:
        """Carry out a plan, the job ``begun`` first; ticks that are suspended at its end stay so."""
        assert self._pace is not None
        done = event_loop().event()
        self._pace.take_turns()
        self._plan_done, self._plan_over = done, False
        self._in_group = True
        self._jobs: Iterator[Job] = iter(plan) if begun is None else itertools.chain((begun,), plan)
        self._group.start_soon(self._work, None)
        attending = event_loop().scope()
        if not self._virtual and any(run.on or run.requests for run in self.runs.values()):
            self._group.start_soon(self._attend, attending)
        try:
            await done.wait()
        except BaseException:  # asyncio cancels the task that calls run(), and not those of its group
            self._jobs = iter(())
            if self._following is not None:
                self._following.cancel()
            raise
        finally:  # also when it is cancelled: whoever waits for a turn then would wait for ever
            self._in_group = False
            self._pace.let_go()
            attending.cancel()
            with event_loop().scope(shield=True):  # nobody follows the old plan when a new one begins
                if await self._has_follower():
                    await done.wait()

    async def _has_follower(self) -> bool:
        """Whether a worker follows the plan, or has followed it to its end.

        One that has no memory for its first step, or for starting the next one, dies without a word.
        """
        for _ in range(_UNTIL_BEGUN):
            if self._following is not None or self._plan_over:
                return True
            await event_loop().checkpoint()
        return False

    async def _attend(self, scope: Scope) -> None:
        with scope:
            await self.bus.attend()

    async def _work(self, after: NodeRun | None) -> None:
        """Follow the plan until a tick suspends, then stay with that tick."""
        job: Job | None = None
        with event_loop().scope() as scope:  # around all that a callback may open
            try:
                self._following = scope
                carrier = Carrier()
                if after is not None:
                    assert self._pace is not None
                    await self._pace.settle(after)
                while (job := self._go_on(self._jobs, in_task=True)) is not None:
                    if isinstance(job, NodeRun):
                        break
                    if job is STEP_END:
                        self._between_steps()
                    else:
                        await job
            except BaseException as error:
                self._broken = self._broken or error
                raise
            finally:
                self._following = None
                if not isinstance(job, NodeRun):
                    self._plan_over = True
                    self._plan_done.set()
            if job is not None:
                job.scope = scope
                await self._stay_with(job, carrier)

    def _go_on(self, jobs: Iterator[Job], *, in_task: bool) -> Job | None:
        """Carry out a plan up to the first job that has to be waited for; None at its end.

        That job is something to await, or a node whose callback has suspended. Outside of a task none may: there it is
        a node whose callback was called, and could suspend.
        """
        for job in jobs:
            if not isinstance(job, NodeRun):
                return job
            if job.waits:  # the native core has called it
                job.waits = False
                return job
            coroutine = job.coroutine
            if coroutine is None:
                coroutine = self._call(job)
                if coroutine is None:
                    continue
                if not in_task and may_suspend(coroutine):
                    job.coroutine = coroutine
                    return job
            try:
                # next() with a default spares an exception for the end of each tick
                trap = job.variables.run(next, coroutine.__await__(), ENDED)
            except BaseException as error:  # noqa: BLE001 - it is the node's, and judged there
                self._finish(job, error)
                continue
            if trap is ENDED:
                self._finish(job, None)
                continue
            job.coroutine, job.trap = coroutine, trap
            return job
        return None

    async def _stay_with(self, run: NodeRun, carrier: Carrier) -> None:
        """Carry a suspended callback to its end, while another worker goes on with the plan."""
        pace = self._pace
        assert pace is not None
        turn = pace.suspend(run)
        self._group.start_soon(self._work, run)
        left_behind = run.left_behind
        error: BaseException | None = None
        run.carrier = carrier
        self._carriers.add(carrier)
        try:
            await carry(run.coroutine, run.trap, turn, carrier, run.variables)
        except BaseException as raised:
            error = raised
            if self._is_cancellation(raised):
                raise
        finally:
            self._carriers.discard(carrier)
            carrier.busy = False
            pace.ended(run)
            if run.left_behind == left_behind:
                run.scope = run.carrier = None
                self._finish(run, error)
            pace.wake()


def _nothing() -> None:
    """A run in virtual time is not woken: threads take none of it."""
