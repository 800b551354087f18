"""One node in one run: when it is due, what it is doing, how it fared."""

from __future__ import annotations

import functools
import inspect
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import ConfigurationError
from horus_async.nodes.context import FIRST_REQUEST_TICK, INIT_TICK, SHUTDOWN_TICK, TickContext, current
from horus_async.nodes.failure_policies import Fatal
from horus_async.nodes.node import answering_of, callback_of

from .core.state import TICK, Durations, RunCore
from .rules.failure import FailureMachine
from .rules.schedule import RateSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import anyio

    from horus_async.clock.event_loop import Scope
    from horus_async.nodes.node import Node
    from horus_async.topics import Subscriber

    from .coroutines import Carrier
    from .ports import Ports
    from .rules.schedule import Step
    from .stats import NodeStats

INIT, SHUTDOWN, SAFE_STATE, REQUEST = "init", "shutdown", "safe_state", "request"
BACKGROUND, THREAD = "background", "a thread"
"""What a node started beside its callbacks."""
_CALLBACKS = {TICK: "tick", INIT: "init", SHUTDOWN: "shutdown", SAFE_STATE: "enter_safe_state"}


class NodeRun(RunCore):
    """A node while it runs. The runtime drives it; nothing here waits or does I/O.

    With slots: of an object with more than thirty attributes Python looks them up the slow way, and a tick needs sixty.
    """

    __slots__ = (
        "__weakref__",
        "_requests_in_tick",
        "_ticked_for",
        "after_ns",
        "answering",
        "asked",
        "by_nature",
        "carrier",
        "ended_ns",
        "errors",
        "held_ns",
        "in_a_hurry",
        "initialised",
        "left_behind",
        "misses",
        "never_ran",
        "node",
        "now",
        "overruns",
        "paused",
        "rank",
        "rate",
        "real_time",
        "requests",
        "restarts",
        "resumed_ns",
        "scope",
        "shut_down",
        "thread",
        "threads",
        "unsafe",
    )  # fmt: skip

    ports: Ports

    def __init__(self, node: Node, ports: Ports, *, tick_rate: float, seed: int) -> None:  # noqa: PLR0915 - one line a fact
        super().__init__(
            node.name, TickContext(node.name, seed, node.budget, lambda: self.now() - self.began_ns), copy_context()
        )
        self.node = node
        self.rate = node.rate
        """Hz, for this run."""
        self.ports = ports
        self.kind = TICK
        self.durations = Durations()
        self.by_hand = self.by_nature = node.compute or type(self).begin is not NodeRun.begin
        self.paused = False
        """It does not tick, until somebody says so."""
        if node.on:
            self.on = [ports.subscriber(topic) for topic in node.on]
        else:
            self.schedule = RateSchedule(node.rate or tick_rate, tick_rate)
        self.nominal_dt = 0.0 if node.on else 1 / (node.rate or tick_rate)
        self.variables.run(current.set, self.context)
        self.rank = 0
        self.resumed_ns = 0
        """When it last went on, where time is real."""
        self.held_ns = 0
        """For how long its last tick ran, where time is real: after it went on for the last time, if it waited."""
        self.initialised = False
        self.shut_down = False
        """Its ``shutdown`` was called."""
        self.after_ns = 0
        """In virtual time, how long after its scheduler tick the running callback began, of those that need not begin
        with it: the ticks of an event node, and requests."""
        self.misses = 0
        self.overruns = 0
        self.errors = 0
        self.restarts = 0
        self.failure = FailureMachine(node.failure_policy or Fatal())
        self.deadline_ns = None if node.deadline is None else round(node.deadline * NANOSECONDS)
        self.budget_ns = None if node.budget is None else round(node.budget * NANOSECONDS)
        self.period_ns = round(self.nominal_dt * NANOSECONDS)
        self.scope: Scope | None = None
        """Cancels it, once it has suspended."""
        self.carrier: Carrier | None = None
        """Carries it then."""
        self.left_behind = 0
        """How many callbacks did not end and are not waited for any more."""
        self.ended_ns = 0
        """When the last tick ended, in the run's time; where that is real."""
        self.real_time = False
        self.threads: anyio.CapacityLimiter | None = None
        """What its ticks with ``compute=True`` take their thread from."""
        self.thread: int | None = None
        """The thread that a tick with ``compute=True`` is in."""
        self.never_ran = False
        """Its tick with ``compute=True`` was cancelled before its thread began: there was none."""
        self.in_a_hurry = False
        """An emergency stop: nothing waits for a thread to end."""
        self.unsafe = False
        """It missed its deadline and its safe state was entered; a met deadline ends that."""
        self._ticked_for = 0
        self.now: Callable[[], int] = lambda: 0
        """The run's time, nanoseconds; the runtime sets it."""
        self.requests: list[Subscriber] = []
        """On which it is asked for something."""
        self.asked = False
        """Something was asked of it, and not answered yet."""
        self._requests_in_tick = (-1, 0)
        callbacks = {kind: callback_of(node, name) for kind, name in _CALLBACKS.items()}
        if node.compute and (tick := callbacks[TICK]) is not None:
            callbacks[TICK] = _in_thread(self, tick)
        self.answering = answering_of(node)
        if self.answering is not None:
            self.requests = [ports.subscriber(topic) for topic in self.answering.topics]
            callbacks[INIT] = functools.partial(self.answering.begin, callbacks[INIT])
            callbacks[REQUEST] = self.answering.answer_next
            callbacks[SHUTDOWN] = functools.partial(self.answering.end, callbacks[SHUTDOWN])
        self.callbacks = callbacks

    def messages_waiting(self) -> int:
        """How many messages on its ``on`` topics have brought no tick yet.

        A message that was taken in another one's tick brings none of its own.
        """
        arrived = consumed = 0
        for subscriber in self.on:
            arrived += subscriber.arrived
            consumed += subscriber.consumed
        return arrived - max(self._ticked_for, consumed)

    def ticks_for_message(self) -> None:
        """The coming tick is for the oldest message that waits."""
        self._ticked_for = max(self._ticked_for, sum(subscriber.consumed for subscriber in self.on)) + 1

    def begin(self, step: Step, base_ns: int | None) -> None:
        """Set the clock of the coming callback.

        Args:
            step: The scheduler tick it belongs to.
            base_ns: In real time, what to add to the run's time for the time of day; None where time is virtual, and
                the step's time is the tick's.
        """
        self.resumed = 0
        began_ns = self.began_ns = self.now()
        context = self.context
        if base_ns is None:
            self.after_ns = began_ns - step.at_ns if self.on or self.kind is REQUEST else 0
            context.now_ns, context.now, context.elapsed = step.now_ns, step.now, step.elapsed
        else:
            now_ns = began_ns + base_ns
            context.now_ns, context.now = now_ns, now_ns / NANOSECONDS
            context.elapsed = (now_ns - step.origin_ns) / NANOSECONDS
        if self.kind is REQUEST:
            number = self._requests_in_tick[1] + 1 if self._requests_in_tick[0] == step.tick else 0
            self._requests_in_tick = step.tick, number
            context.tick, context.seed_tick = step.tick, FIRST_REQUEST_TICK - (step.tick << 16) - number
            return
        if self.kind is not TICK:
            context.tick = None
            context.seed_tick = INIT_TICK if self.kind is INIT else SHUTDOWN_TICK
            return
        context.tick = context.seed_tick = step.tick
        if self.last_ns is None or (base_ns is None and not self.on):
            context.dt, self.dt_ns = self.nominal_dt, self.period_ns
            if self.real_time:
                context.dt = self.dt_ns / NANOSECONDS  # as files keep it, for a replay to give the same
        else:
            self.dt_ns = began_ns - self.last_ns
            context.dt = self.dt_ns / NANOSECONDS
        self.last_ns = began_ns
        self.due_ns = began_ns if self.on or began_ns < step.at_ns else step.at_ns

    def held_loop_ns(self) -> int:
        """For how long its last tick kept the event loop from others, as far as that is known."""
        return 0 if self.node.compute else self.held_ns

    def waits_for_nobody(self) -> None:
        """Nothing can happen any more: if its ``init`` or ``shutdown`` waits for a message, that fails."""
        if self.ports.wait_scope is not None:
            self.ports.wait_scope.cancel()

    def stats(self) -> NodeStats:
        """The figures so far."""
        from .stats import NodeStats  # late: only who asks needs it

        return NodeStats(
            ticks=self.durations.count,
            rate=self.rate,
            mean_us=self.durations.mean_us(),
            p99_us=self.durations.p99_us(),
            max_us=self.durations.longest / 1000,
            budget_overruns=self.overruns,
            deadline_misses=self.misses,
            errors=self.errors,
            restarts=self.restarts,
            lost=self.ports.lost_in_all(),
            refused=self.ports.refused,
            unmatched=self.ports.unmatched,
            paused=self.paused,
        )


def _in_thread(run: NodeRun, tick: Callable[[], Any]) -> Callable[[], Coroutine[Any, Any, None]]:
    def in_thread(given_up: list[bool]) -> Any:
        run.thread = threading.get_ident()
        try:
            if given_up:
                return None  # it was cancelled before its thread began
            run.never_ran = False
            return tick()
        finally:
            run.thread = None

    async def tick_in_thread() -> None:
        import anyio
        import anyio.to_thread

        given_up: list[bool] = []
        run.never_ran = True
        try:
            result = await anyio.to_thread.run_sync(
                in_thread, given_up, abandon_on_cancel=run.real_time, limiter=run.threads
            )
        finally:
            given_up.append(True)  # before looking whether it runs, which the thread says before it looks at this
            while run.thread is not None and not run.in_a_hurry:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.001)  # the run ends, and so does this tick first
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ConfigurationError("the tick of a node with compute=True must be a plain function")

    return tick_in_thread
