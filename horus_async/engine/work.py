"""Tasks and threads of nodes' own: `Node.background` and `Node.in_thread`."""

from __future__ import annotations

import contextvars
import functools
import threading
from typing import TYPE_CHECKING, Any

from attrs import define

from horus_async.clock.event_loop import event_loop
from horus_async.errors import ConfigurationError, ContextError, LimitError
from horus_async.limits.threads import start_thread
from horus_async.nodes.context import WorkContext, current
from horus_async.nodes.node import callback_of
from horus_async.observe import Resumed
from horus_async.topics.wake.wakeup import Bell

from .calling import Calling
from .coroutines import Carrier, start_and_carry
from .node_run import BACKGROUND, THREAD
from .pace.pace import nowhere
from .reporting import finished, name_of, tell, telling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from horus_async.clock.event_loop import Scope
    from horus_async.observe import Observer

    from .node_run import NodeRun
    from .pace.pace import Turn
    from .rules.schedule import Timeline


@define(eq=False)
class Work:
    """A task or thread of a node's own. Of what goes on at one instant it comes right after its node's callbacks."""

    run: NodeRun
    name: str
    """Of its function."""
    context: WorkContext
    variables: contextvars.Context
    """The context variables that it sees and sets."""
    number: int = 0
    """How many the node had started before."""
    scope: Scope | None = None
    """Cancels it, once it was started."""
    thread: threading.Thread | None = None
    held: Scope | None = None
    """In which it waits for nothing but its end."""
    carrier: Carrier | None = None
    """Of a task that has begun."""
    reported: BaseException | None = None
    """What it raised, once the run was told of it."""
    busy: bool = True
    resumed: int = 0
    resumed_ns: int = 0
    held_ns: int = 0

    @property
    def rank(self) -> float:
        """Its place: behind its node's callbacks and what the node started before, and before the next node's."""
        return self.run.rank + (self.number + 1) / (self.number + 2)

    @property
    def is_being_cancelled(self) -> bool:
        """Whether it goes on with the cancellation of all of it."""
        carrier, scope = self.carrier, self.scope
        if carrier is None or scope is None or carrier.thrown is None:
            return False
        return scope.cancel_called and isinstance(carrier.thrown, event_loop().cancelled)

    def waits_for_nobody(self) -> None:
        """It may: it does not have to end."""

    def cancel(self) -> None:
        """Cancel it, if it was started."""
        for scope in (self.scope, self.held):
            if scope is not None:
                scope.cancel()

    def leave_behind(self) -> None:
        """It may not send any more, and is not waited for."""
        self.context.over = True
        self.cancel()
        if self.thread is not None:
            self.busy = False


class Working(Calling):
    """The part of `Runtime` that runs what nodes start beside their callbacks."""

    _group: Any

    def __init__(self, timeline: Timeline, observers: Iterable[Observer], start_ns: int) -> None:
        super().__init__(timeline, observers, start_ns)
        self._seed = 0
        self._takes_work = False
        self._group_of_run = False
        """Whether the run is one that tasks may outlive a tick in: not one of single ticks in real time."""
        self._to_start: list[Callable[[], None]] = []
        self._started: dict[str, int] = {}
        """How many tasks and threads each node has started."""
        self._works: list[Work] = []
        """Those that have not ended."""

    def start_task(self, node: str, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        """Start a task of a node's own.

        Raises:
            ContextError: It is too late for that, or this is not the event loop's thread.
        """
        work = self._begin_work(node, "background", function)
        self._start(functools.partial(self._start_task, work, functools.partial(function, *arguments)))

    def _start_task(self, work: Work, start: Callable[[], Awaitable[Any]]) -> None:
        assert self._pace is not None
        work.scope = event_loop().scope()
        turn = self.turn_of(work, self._pace.suspend(work))  # from now on, as time may move before the task runs
        on_error = callback_of(work.run.node, "on_error")
        if on_error is not None:
            start = telling(start, on_error, functools.partial(self._report_work, work))
        self._group.start_soon(self._carry_work, work, turn, start)

    def turn_of(self, work: Work, turn: Turn) -> Turn:
        """What a task awaits before it goes on, each time; in real time those who watch are told of it."""
        if self._virtual:
            return turn

        async def told(into_thread: Callable[[], bool] = nowhere) -> None:
            await turn(into_thread)
            now_ns = self.stamp_ns()
            work.context.went_on(now_ns, now_ns - self.time_of_day.dial.began_ns)
            if self.audience.hears_messages:
                resumed = Resumed(work.run.name, work.number, self.tick, now_ns, work.is_being_cancelled)
                self.audience.tell("resumed", resumed)

        return told

    def spawn(self, run: NodeRun, work: Callable[[Turn], Awaitable[None]]) -> bool:
        """Run a task of the run itself beside the plan, in the place of a node; False where no plan is carried out now.

        Args:
            run: The node. The task is one more to settle until it calls ``ended`` of the pace.
            work: Its function; it is given what to await after each wait.
        """
        if not (self._in_group or self._in_steps):
            return False
        self._start(functools.partial(self._spawn, run, work))
        return True

    def _spawn(self, run: NodeRun, work: Callable[..., Awaitable[None]]) -> None:
        assert self._pace is not None
        turn = self._pace.suspend(run)  # from now on, as time may move before the task runs
        self._group.start_soon(work, turn)

    def start_thread(self, node: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Start a thread of a node's own.

        Raises:
            ContextError: It is too late for that, or this is not the event loop's thread.
        """
        work = self._begin_work(node, "in_thread", function)
        work.context.in_thread = True
        self._start(functools.partial(self._start_thread, work, functools.partial(function, *arguments)))

    def _start(self, start: Callable[[], None]) -> None:
        """Start something where there is an event loop, else have one taken for this run."""
        if self._in_group:
            start()
            return
        assert self._pace is not None
        self._pace.suspended += 1
        self._to_start.append(start)

    def start_waiting(self) -> None:
        """Start what was to be started while no event loop carried the plan out."""
        while self._to_start:
            self._to_start.pop(0)()

    def _start_thread(self, work: Work, function: Callable[[], Any]) -> None:
        failures: list[BaseException] = []
        bell = Bell()

        def in_thread() -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - it is the node's, and judged there
                if not (isinstance(error, ContextError) and work.context.over):
                    failures.append(error)
            finally:
                bell.ring()

        name = f"{work.run.name}: {work.name}"
        work.scope = event_loop().scope(shield=True)  # the end of the run waits for it
        work.thread = threading.Thread(target=work.variables.run, args=(in_thread,), name=name, daemon=True)
        self._group.start_soon(self._await_thread, work, bell, failures)
        try:
            start_thread(work.thread)
        except LimitError as error:  # the node's, as what fails in it
            failures.append(error)
            bell.ring()

    def _begin_work(self, node: str, method: str, function: Callable[..., Any]) -> Work:
        if threading.get_ident() != self.audience.thread or not self._takes_work:
            raise ContextError(f"{method}() of node {node!r}: {self._why_no_work()}")
        number = self._started[node] = self._started.get(node, -1) + 1
        context = WorkContext(node, self._seed, number, self.stamp_ns, self._since_began_ns)
        work = Work(self.runs[node], name_of(function), context, contextvars.copy_context(), number)
        work.variables.run(current.set, context)
        self._works.append(work)
        return work

    def _why_no_work(self) -> str:
        if threading.get_ident() != self.audience.thread:
            return "call it in init or a tick of the event loop's thread, not in a thread of your own or compute=True"
        if not self._virtual and not self._group_of_run:
            return (
                "tick_once() in real time has nothing go on between ticks: use run(), or Scheduler(deterministic=True)"
            )
        return "the run ends, and shutdown is too late for it: call it in init or a tick"

    def _since_began_ns(self) -> int:
        return self.time_of_day.since_began_ns(self._pace)

    def end_work(self, node: str) -> list[Work]:
        """Cancel a node's tasks, and let its threads send no more: its ``init`` runs again, or the run ends.

        Returns:
            The tasks that have not ended.
        """
        self._end_threads(node)
        tasks = [work for work in self._works if work.run.name == node and work.thread is None]
        for work in tasks:
            work.cancel()
        return tasks

    def _end_threads(self, node: str | None) -> None:
        """The threads of a node, or of all, may not send any more."""
        for work in self._works:
            if work.thread is not None and node in (None, work.run.name):
                work.context.over = True

    async def _carry_work(self, work: Work, turn: Turn, start: Callable[[], Any]) -> None:
        pace, variables = self._pace, work.variables
        assert pace is not None
        assert work.scope is not None
        error: BaseException | None = None
        try:
            with work.scope:
                carrier = work.carrier = Carrier()
                await turn()
                coroutine = variables.run(start)
                if not hasattr(coroutine, "__await__"):
                    raise ConfigurationError(
                        f"background() takes a coroutine function, and {work.name} is none: use in_thread() for "
                        "one that blocks"
                    )
                await start_and_carry(coroutine, turn, carrier, variables)
        except BaseException as raised:
            error = raised
            if self._is_cancellation(raised):
                raise
        finally:
            pace.ended(work)
            self._work_ended(work, error)

    async def _await_thread(self, work: Work, bell: Bell, failures: list[BaseException]) -> None:
        assert work.scope is not None
        with work.scope:
            await bell.wait()
            assert work.thread is not None
            if work.thread.ident is not None:
                work.thread.join()
        error = failures[0] if failures else None
        on_error = callback_of(work.run.node, "on_error")
        if on_error is not None and isinstance(error, Exception):
            self._report_work(work, error)
            told = work.variables.run(tell, on_error, error)
            if told is not None:
                await start_and_carry(finished(told), None, Carrier(), work.variables)
        self._work_ended(work, error)

    def _report_work(self, work: Work, error: BaseException) -> None:
        work.reported = error
        run = work.run
        of_callback = run.reported
        self._report(run, _kind_of(work), error)
        run.reported = of_callback  # one of its callbacks may be telling its own just now

    def _work_ended(self, work: Work, error: BaseException | None) -> None:
        work.busy = False
        self._works.remove(work)
        if error is not None and not self._is_cancellation(error):
            if error is not work.reported:
                self._report_work(work, error)
            self._failed(work.run, _kind_of(work), error)
        if self._pace is not None:
            self._pace.wake()


def _kind_of(work: Work) -> str:
    return BACKGROUND if work.thread is None else THREAD
