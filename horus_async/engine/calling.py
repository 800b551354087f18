"""One callback of a node: calling it, and what follows when it ends."""

from __future__ import annotations

import logging
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import perf_ns
from horus_async.errors import ConfigurationError
from horus_async.observe import Execution, External
from horus_async.topics.codec import as_bytes

from .core.state import TICK
from .external_sources import ExternalSources
from .node_run import REQUEST
from .planning import Planning
from .ports import new_tuple
from .reporting import describe

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from horus_async.observe import Observer
    from horus_async.topics.ring.reader import RingReader
    from horus_async.topics.ring.region import Taken

    from .node_run import NodeRun
    from .rules.schedule import Timeline


_GENERATOR = "it returned an async generator, which nobody would run: leave out the 'yield', and send() or await"
_log = logging.getLogger("horus_async")


class Calling(Planning):
    """The part of `Runtime` that calls nodes, and tells what they did."""

    def __init__(self, timeline: Timeline, observers: Iterable[Observer], start_ns: int) -> None:
        super().__init__(timeline, observers, start_ns)
        self._external = ExternalSources(self.runs)
        self._virtual = False

    def _call(self, run: NodeRun) -> Coroutine[Any, Any, Any] | None:
        """Begin a node's callback; None when it has ended already."""
        callback = run.callbacks[run.kind]
        assert callback is not None
        if self.audience.hears_messages:
            run.ports.begin(self._step.tick if run.kind is TICK else self.tick)
            if run.kind is TICK:
                self._began.append(run.name)
        run.begin(self._step, None if self._virtual else self.time_of_day.base_ns)
        run.started_ns = perf_ns()
        run.busy = True  # only now, as the watchdog goes by both
        try:
            result = run.variables.run(callback)
        except BaseException as error:  # noqa: BLE001 - it is the node's, and judged there
            self._finish(run, error)
            return None
        if type(result) is CoroutineType:
            return result
        if result is None:
            self._finish(run, None)
            return None
        return self._given(run, result)

    def _given(self, run: NodeRun, result: Any) -> Coroutine[Any, Any, None] | None:
        """A callback gave something else than most do."""
        if hasattr(result, "__await__") or hasattr(result, "send"):
            return _awaited(result)
        self._finish(run, ConfigurationError(_GENERATOR) if hasattr(result, "__anext__") else None)
        return None

    def _finish(self, run: NodeRun, error: BaseException | None) -> None:  # noqa: C901 - hot, so written out
        """A callback has ended."""
        kind, took_ns = run.kind, perf_ns() - run.started_ns
        if run.misuse is not None:
            error = self._with_misuse(run, error)
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
            if run.tick_listeners:
                self._tell_listeners(run, took_ns, error is None)
        if self.audience.hears_messages and not run.never_ran:
            duration_ns = run.now() - run.began_ns if waited else 0
            self._tell_executed(run, kind, error, duration_ns, took_ns)
            run.ports.end()
        run.never_ran = False
        if kind is TICK:
            if run.real_time:
                run.ended_ns = run.now()
                if not run.resumed:
                    run.held_ns = took_ns
            if run.deadline_ns is not None or run.budget_ns is not None or run.misses_in_a_row:
                self._judge(run, error)
        if failure is not None or run.failure.failures:
            self._failed_or_recovered(run, kind, error, failure)

    def _tell_listeners(self, run: NodeRun, took_ns: int, success: bool) -> None:  # noqa: FBT001 - as listeners take it
        for observer, listener in run.tick_listeners:
            try:
                listener(run.context.tick, took_ns, success)  # type: ignore[arg-type] # in a tick there is one
            except Exception as error:  # noqa: BLE001 - an observer must not take the robot down
                self.audience.leave_out(observer, error)

    def _with_misuse(self, run: NodeRun, error: BaseException | None) -> BaseException | None:
        """What a callback fails with that did something wrong: with that, unless it failed anyway."""
        misuse, run.misuse = run.misuse, None
        if error is not None:
            _log.error("%s", misuse, extra={"node": run.name, "tick": run.context.tick})
        return error or misuse

    def _tell_executed(
        self, run: NodeRun, kind: str, error: BaseException | None, duration_ns: int, took_ns: int
    ) -> None:
        context = run.context
        text = None if error is None else describe(error)
        tick = self.tick if context.tick is None else context.tick
        self.audience.executed(
            new_tuple(
                Execution,
                (
                    kind,
                    run.name,
                    tick,
                    context.now_ns,
                    run.dt_ns,
                    duration_ns,
                    run.ports.inputs,
                    text,
                    took_ns,
                    error is not None and self._is_cancellation(error),
                    run.ports.looks,
                    run.after_ns if kind is REQUEST or (kind is TICK and run.on) else 0,
                ),
            )
        )

    def first_seq(self, node: str, topic: str) -> int:  # noqa: ARG002 - a replay overrides this
        """The number of a node's first request on a topic."""
        return 0

    def took_external(self, topic: str, taken: Taken, reader: RingReader) -> int:
        """A node took an external message: tell of it, once; gives the number of its source."""
        payload, publisher, seq, stamp_ns = taken
        source = self.external_source(topic, publisher, reader)
        if self._external.is_new(reader.source, reader.index, publisher, seq):
            message = External(self.tick, topic, publisher, seq, stamp_ns, as_bytes(payload), source)
            self.audience.tell("received_external", message)
        return source

    def saw_external(self, topic: str, newest: Taken, reader: RingReader) -> int:
        """A node saw an external message without taking it: tell of it, once; gives the number of its source."""
        payload, publisher, seq, stamp_ns = newest
        source = self.external_source(topic, publisher, reader)
        if self._external.is_new_sight(reader.source, publisher, seq):
            message = External(self.tick, topic, publisher, seq, stamp_ns, as_bytes(payload), source)
            self.audience.tell("received_external", message)
        return source

    def external_source(self, topic: str, publisher: str, reader: RingReader) -> int:
        """The ``source`` of the external message that ``reader`` gave last."""
        return self._external.number(topic, publisher, reader.source)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
