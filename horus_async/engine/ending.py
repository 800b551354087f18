"""How a run ends: what goes on is cancelled, what has to be safe is made safe, and every ``shutdown`` is called.

Whatever does not end holds up nobody else: it is waited for after everything else, named, and left behind.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from abc import abstractmethod
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.limits.memory import is_for_want_of_memory
from horus_async.live_objects import LiveObjects
from horus_async.observe import NodeFailed

from .coroutines import Carrier, a_cancellation
from .safety import LeftBehind
from .work import Work, Working

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from horus_async.observe import Observer

    from .node_run import NodeRun
    from .pace.pace import Waited
    from .rules.schedule import Timeline
    from .safety import Plan

PATIENCE_NS = 500_000_000
"""How long one callback that does not end keeps the others waiting when a run ends."""
UNSAFE_PATIENCE_NS = 20_000_000
"""The same where the run was not safe any more."""
_ATTEMPTS, _ROUNDS = 20, 10
"""How often what is left behind is cancelled by force, and in how many rounds of the event loop it may end then."""

_TRIES = 3
"""How often the end of a run is tried where there is no memory for it."""

_log = logging.getLogger("horus_async")


class Ending(Working):
    """The part of `Runtime` that ends a run."""

    def __init__(self, timeline: Timeline, observers: Iterable[Observer], start_ns: int) -> None:
        super().__init__(timeline, observers, start_ns)
        self.at_end: list[Callable[[int], None]] = []
        """Called with the last scheduler tick when the timeline has come to its end, before any ``shutdown``."""
        self._carriers: set[Carrier] = set()
        """Of the callbacks that are suspended, those left behind among them."""
        self._hurried = False

    @property
    def patience_ns(self) -> int:
        """How long one callback that does not end keeps the others waiting."""
        return min(PATIENCE_NS, self.grace_ns)

    def hurry(self) -> None:
        """Wait for nothing any more that does not end at once, and make safe. From any thread or signal handler."""
        self._hurried = True
        pace = self._pace
        if pace is not None:
            pace.give_up_ns = monotonic_ns() + UNSAFE_PATIENCE_NS
            pace.wake()

    @property
    def breaks_off(self) -> bool:
        """Whether it has become urgent and the safe states are not entered yet."""
        return self._hurried and not self._made_safe

    def _give_up_at(self, at_ns: int) -> None:
        """Wait until then for what does not end, on the monotonic clock."""
        assert self._pace is not None
        self._pace.give_up_ns = at_ns
        if self._hurried:  # looked at last: a signal may come in between
            self._pace.give_up_ns = min(at_ns, monotonic_ns() + UNSAFE_PATIENCE_NS)

    @abstractmethod
    async def _drive(self, plan: Plan) -> None:
        """Carry out a plan."""

    async def shut_down(self) -> None:
        """Call every ``shutdown`` and tell the observers; whatever fails on the way is kept with the failures."""
        assert self._pace is not None
        unsafe = self.emergency is not None or bool(self.failures)
        self._aborted = False
        self._takes_work = False
        for run in self.runs.values():
            run.ports.end_work()
        self._end_threads(None)
        self.audience.collect()
        if self.reason == self.timeline.end_reason:
            for complete in self.at_end:
                complete(self.tick)
        try:
            await self._end_in_group(unsafe=unsafe)
        finally:
            self.audience.collect()
            self._end_tick()
            self.audience.tell("run_stopped", self.reason or "stop", self.ticks)
            self._pace.close()

    async def _end_in_group(self, *, unsafe: bool) -> None:
        """End all, and once more where there was no memory for it: what has been shut down is not again."""
        for tries_left in reversed(range(_TRIES)):
            try:
                async with event_loop().group() as group:
                    self._group: Any = group
                    await self._end_in_order(unsafe=unsafe)
                    await self._force_all()
                    group.cancel_scope.cancel()
            except Exception as error:
                if not (tries_left and is_for_want_of_memory(error)):
                    raise
            else:
                return

    async def _end_in_order(self, *, unsafe: bool) -> None:
        """Cancel what is going on, enter every safe state if the run was ``unsafe``, and call every ``shutdown``.

        If it becomes urgent on the way, safe states are entered then, before anything else.
        """
        pace = self._pace
        assert pace is not None
        began_ns = monotonic_ns()
        patience_ns = UNSAFE_PATIENCE_NS if unsafe else self.patience_ns
        self._cancel_callbacks()
        self._give_up_at(began_ns + patience_ns)
        await self._drive(self._brief_plan())
        if unsafe or self._hurried:
            await self._become_safe()
        self._give_up_at(monotonic_ns() + patience_ns)
        await self._drive(self.shutdown_plan())
        if self.breaks_off:
            await self._become_safe()
            await self._drive(self.shutdown_plan())
        self._give_up_at(began_ns + self.grace_ns)
        await self._drive(self._patient_plan())
        await self._leave_behind_callbacks()
        if self.breaks_off:
            await self._become_safe()
        self._leave_behind_work()
        self._give_up_at(monotonic_ns() + UNSAFE_PATIENCE_NS)
        await self._drive(self.shutdown_plan())  # of those that were busy until now
        await self._leave_behind_callbacks()
        pace.give_up_ns = None

    async def _become_safe(self) -> None:
        """Enter the safe state of every node whose ``shutdown`` has not ended well."""
        failed = [run for run, _ in self.failures]
        over = [run for run in self._order if run.shut_down and not run.busy and run not in failed]
        await self._leave_behind_callbacks()
        self._made_safe = True
        await self._drive(self.all_safe_plan(over))
        self._cancel_callbacks()
        await self._drive(self.idle_plan())
        self._give_up_at(monotonic_ns() + UNSAFE_PATIENCE_NS)

    def _brief_plan(self) -> Plan:
        """Wait until no callback is going on and no task of a node, but for those that wait for a thread."""
        yield from self.idle_plan()
        for work in tuple(self._works):
            if work.carrier is not None and not work.carrier.waits_for_thread:
                yield from self._until_idle(work)

    def _patient_plan(self) -> Plan:
        """Wait until nothing is going on any more, threads included, or until the pace gives up."""
        yield from self.idle_plan()
        left: tuple[Waited, ...] = (*self._works, *self._carriers)
        for busy in left:
            yield from self._until_idle(busy)

    def _cancel_callbacks(self) -> None:
        """Cancel what is suspended, but for those that wait for a thread: these get some time to end by themselves."""
        for run in self.runs.values():
            self.end_work(run.name)
            if run.scope is not None and not (run.carrier is not None and run.carrier.waits_for_thread):
                run.scope.cancel()

    async def _leave_behind_callbacks(self) -> None:
        """Go on without the callbacks that have not ended."""
        for run in self.runs.values():
            if not run.busy:
                continue
            kind = run.kind
            run.in_a_hurry = True
            if run.scope is not None:
                run.scope.cancel()
            run.left_behind += 1
            text = f"{kind} of node {run.name!r} has not ended and is left behind"
            self._told(run.name, text)
            self._finish(run, LeftBehind(text))
        if any(carrier.waits_for_thread for carrier in self._carriers):
            cancellation = await a_cancellation()
            for carrier in tuple(self._carriers):
                if carrier.waits_for_thread:
                    carrier.force(cancellation)

    def _leave_behind_work(self) -> None:
        """Go on without the tasks and threads of nodes that have not ended."""
        for work in tuple(self._works):
            kind = "thread" if work.thread else "background task"
            within = "" if self._hurried else f" within {self.grace_ns / NANOSECONDS:g} s"
            text = f"{kind} {work.name} of node {work.run.name!r} has not ended{within} and is left behind"
            self._told(work.run.name, text)
            work.leave_behind()

    def _told(self, node: str, text: str) -> None:
        _log.error("%s", text, extra={"node": node})
        self._incident(NodeFailed(node, f"TimeoutError: {text}", ""))

    async def _force_all(self) -> None:
        """Have all tasks end, also those that catch their cancellation, so that the run can return."""
        for _ in range(_ATTEMPTS):
            if not (self._carriers or self._works):
                return
            cancellation = await a_cancellation()
            for carrier in (*self._carriers, *(work.carrier for work in self._works)):
                if carrier is not None:
                    carrier.force(cancellation)
            for _ in range(_ROUNDS):
                await event_loop().checkpoint()


async def to_the_end(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Await ``work()`` to its end, however often this is cancelled meanwhile."""
    with event_loop().scope(shield=True):
        if trio.lowlevel.in_trio_run():
            await work()
            return
        import asyncio

        cancelled = None
        task = asyncio.ensure_future(work())  # asyncio's own kind of cancellation heeds no shield
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                cancelled = error
        task.result()
        if cancelled is not None:
            raise cancelled


# Forked children: they share the event loop's descriptors with the parent, so they may not go on with its run

_going_on: LiveObjects[Ending] = LiveObjects()


class _ForkedCarrier(Carrier):
    """A carrier in a child: what it carries ends the process where it would wait."""

    __slots__ = ()

    @property
    def trap(self) -> Any:
        """What it waits for."""
        return None

    @trap.setter
    def trap(self, trap: Any) -> None:
        del trap
        _end_child(None)


def ends_in_children(ending: Ending) -> None:
    """A run goes on: where a callback of it forks, the child ends with the callback."""
    _going_on.add(ending)


def _after_in_child() -> None:
    for ending in _going_on:
        if ending.audience.thread != get_ident():
            continue  # the event loop's thread is not in this process
        ours: Any = ending
        ours._finish = ours._work_ended = _end_child  # noqa: SLF001 - of this module's class, and only in the child
        ours._stay_with = lambda run, _: _end_child(run)  # noqa: SLF001
        for run in ours.runs.values():
            run.by_hand = True  # what ends a callback is the above
        for carrier in (*ours._carriers, *(work.carrier for work in ours._works)):  # noqa: SLF001
            if carrier is not None:
                carrier.__class__ = _ForkedCarrier
    _going_on.clear()


def _end_child(run: NodeRun | Work | None, error: BaseException | None = None) -> NoReturn:
    """End this process without a step of the event loop: at once, but for what is printed."""
    code = 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    else:
        if error is not None:
            traceback.print_exception(error)
        name = "" if run is None else f" of node {(run.run if isinstance(run, Work) else run).name!r}"
        sys.stderr.write(
            f"process {os.getpid()} was forked in a callback{name} and cannot go on with the run: end it in the "
            "callback with os._exit() or sys.exit(), or use multiprocessing\n"
        )
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code & 0xFF)


os.register_at_fork(after_in_child=_after_in_child)
