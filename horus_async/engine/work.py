"""Tasks and threads of nodes' own: `Node.background` and `Node.in_thread`."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

from attrs import define

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.errors import ConfigurationError, ContextError
from horus_async.nodes.context import WorkContext, current
from horus_async.topics.wake.wakeup import Bell

from .calling import Calling
from .coroutines import carry
from .node_run import BACKGROUND, NodeRun
from .reporting import name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from horus_async.clock.event_loop import Scope
    from horus_async.observe import Observer

    from .pace.pace import Pace
    from .rules.schedule import Timeline

_ENDED = object()
_log = logging.getLogger("horus_async")


@define(eq=False)
class _OwnThread:
    node: str
    thread: threading.Thread
    function: str


@define(eq=False)
class _Turns:
    """A background task among those that go on at one instant: right after its node's own callbacks."""

    run: NodeRun
    busy: bool = True
    resumed: int = 0
    resumed_ns: int = 0
    held_ns: int = 0
    trap: Any = None

    @property
    def rank(self) -> float:
        return self.run.rank + 0.5

    def waits_for_nobody(self) -> None:
        """It may: it does not have to end."""


class Working(Calling):
    """The part of `Runtime` that runs what nodes start beside their callbacks."""

    _group: Any
    _pace: Pace | None

    def __init__(self, timeline: Timeline, observers: Iterable[Observer], start_ns: int) -> None:
        super().__init__(timeline, observers, start_ns)
        self._seed = 0
        self._takes_work = False
        self._in_group = False
        """Whether a plan is carried out by tasks, not by `Runtime.step`."""
        self._to_start: list[Callable[[], None]] = []
        self._started: dict[str, int] = {}
        """How many tasks and threads each node has started."""
        self._scopes: dict[str, set[Scope]] = {}
        self._threads: list[_OwnThread] = []

    def start_task(self, node: str, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        """Start a task of a node's own.

        Raises:
            ContextError: It is too late for that, or this is not the event loop's thread.
        """
        run, context = self._begin_work(node, "background")
        self._start(functools.partial(self._start_task, run, functools.partial(function, *arguments), context))

    def _start_task(self, run: NodeRun, start: Callable[[], Awaitable[Any]], context: WorkContext) -> None:
        assert self._pace is not None
        turns = _Turns(run)
        turn = self._pace.suspend(turns)  # from now on, as time may move before the task runs
        self._group.start_soon(self._carry_work, turns, turn, start, context)

    def start_thread(self, node: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Start a thread of a node's own.

        Raises:
            ContextError: It is too late for that, or this is not the event loop's thread.
        """
        run, context = self._begin_work(node, "in_thread")
        context.in_thread = True
        work = functools.partial(function, *arguments)
        self._start(lambda: self._group.start_soon(self._await_thread, run, work, context))

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

    def _begin_work(self, node: str, method: str) -> tuple[NodeRun, WorkContext]:
        if threading.get_ident() != self.audience.thread or not self._takes_work:
            raise ContextError(
                f"{method}() of node {node!r} is for its init and its ticks, and not for tick_once() in real time"
            )
        number = self._started[node] = self._started.get(node, -1) + 1
        return self.runs[node], WorkContext(node, self._seed, number, self.stamp_ns, self._since_began_ns)

    def _since_began_ns(self) -> int:
        return self.time_of_day.since_began_ns(self._pace)

    def end_work(self, node: str) -> None:
        """Cancel a node's tasks: its ``init`` runs again, or the run ends."""
        for scope in self._scopes.pop(node, ()):
            scope.cancel()

    async def _carry_work(
        self, turns: _Turns, turn: Callable[[], Awaitable[None]], start: Callable[[], Any], context: WorkContext
    ) -> None:
        pace, run = self._pace, turns.run
        assert pace is not None
        current.set(context)
        error: BaseException | None = None
        scope = event_loop().scope()
        self._scopes.setdefault(run.name, set()).add(scope)
        try:
            with scope:
                await turn()
                coroutine = start()
                if not hasattr(coroutine, "__await__"):
                    raise ConfigurationError(
                        f"background() takes a coroutine function, and {name_of(start)} is none: use in_thread() for "
                        "one that blocks"
                    )
                trap = next(coroutine.__await__(), _ENDED)
                if trap is not _ENDED:
                    await carry(coroutine, trap, turn, turns)
        except BaseException as raised:
            error = raised
            if self._is_cancellation(raised):
                raise
        finally:
            self._scopes.get(run.name, set()).discard(scope)
            pace.ended(turns)
            self._work_ended(run, error)

    async def _await_thread(self, run: NodeRun, work: Callable[[], Any], context: WorkContext) -> None:
        bell = Bell()
        failures: list[BaseException] = []

        def in_thread() -> None:
            current.set(context)
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is the node's, and judged there
                if not (isinstance(error, ContextError) and not self._takes_work):
                    failures.append(error)
            finally:
                bell.ring()

        name = name_of(work)
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(in_thread,), name=f"{run.name}: {name}", daemon=True
        )
        own = _OwnThread(run.name, thread, name)
        self._threads.append(own)
        thread.start()
        await bell.wait()
        self._threads.remove(own)
        self._work_ended(run, failures[0] if failures else None)

    def _work_ended(self, run: NodeRun, error: BaseException | None) -> None:
        if error is not None and not self._is_cancellation(error):
            self._report(run, BACKGROUND, error)
            self._failed(run, BACKGROUND, error)
        if self._pace is not None:
            self._pace.wake()

    def leave_threads(self, grace_ns: int) -> None:
        """Wait for the threads of nodes to end; name those that do not, and leave them behind."""
        until_ns = monotonic_ns() + grace_ns
        for own in self._threads:
            own.thread.join(max(0, until_ns - monotonic_ns()) / NANOSECONDS)
            if own.thread.is_alive():
                seconds = grace_ns / NANOSECONDS
                text = "node %r: its thread %s did not end within %g s and is left behind"
                _log.warning(text, own.node, own.function, seconds, extra={"node": own.node})
        self._threads.clear()
