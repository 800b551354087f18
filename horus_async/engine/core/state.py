"""What each tick looks at and changes: the native core's, or the same in Python.

Fields only, and how they begin. What is done with them is in the classes of the engine that stand on these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.native import core

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from contextvars import Context

    from horus_async.engine.pace.pace import Pace
    from horus_async.engine.pace.time_of_day import TimeOfDay
    from horus_async.engine.rules.failure import FailureMachine
    from horus_async.engine.rules.schedule import Schedule, Step, Timeline
    from horus_async.nodes.context import TickContext
    from horus_async.observe import Looks, Observer, Received, TickListener
    from horus_async.topics import Publisher, Subscriber

TICK = "tick"
"""The kind of callback that a node's tick is. Kinds are told apart by identity."""

_SAMPLES = 1024
"""Of how many of a node's last ticks the durations are kept."""


class DurationsCore:
    """Execution times of one node's ticks, nanoseconds."""

    __slots__ = ("_next", "_samples", "count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.longest = 0
        self._samples: list[int] = []
        self._next = 0

    def add(self, duration_ns: int) -> None:
        """One more tick took ``duration_ns``."""
        self.count += 1
        self.total += duration_ns
        if duration_ns > self.longest:
            self.longest = duration_ns
        samples = self._samples
        if len(samples) < _SAMPLES:
            samples.append(duration_ns)
        else:
            samples[self._next] = duration_ns
            self._next = (self._next + 1) % _SAMPLES

    def samples(self) -> list[int]:
        """Those of the last ticks, in any order."""
        return list(self._samples)


class RunCore:
    """What changes with each tick of a node, and what a tick looks at."""

    __slots__ = (
        "began_ns",
        "budget_ns",
        "busy",
        "by_hand",
        "callbacks",
        "called",
        "context",
        "coroutine",
        "deadline_ns",
        "dt_ns",
        "due_ns",
        "durations",
        "failure",
        "kind",
        "last_ns",
        "misses_in_a_row",
        "misuse",
        "name",
        "needs_init",
        "nominal_dt",
        "on",
        "period_ns",
        "ports",
        "reported",
        "resumed",
        "schedule",
        "skips_next",
        "started_ns",
        "tick_listeners",
        "trap",
        "variables",
        "waits",
    )  # fmt: skip

    kind: str
    durations: Durations
    failure: FailureMachine
    nominal_dt: float
    period_ns: int
    deadline_ns: int | None
    budget_ns: int | None
    callbacks: dict[str, Callable[[], Any] | None]
    ports: Any

    def __init__(self, name: str, context: TickContext, variables: Context) -> None:
        self.name = name
        self.context = context
        self.variables = variables
        """The context variables that its callbacks see and set: its own."""
        self.by_hand = False
        """Whether its ticks are no business of the native core."""
        self.called = False
        """The native core has called its tick, and what follows is up to the plan."""
        self.waits = False
        """Its tick, which the native core has called, has suspended, or may."""
        self.schedule: Schedule | None = None
        self.on: list[Subscriber] = []
        self.busy = False
        """A callback of it is running; the runtime says so."""
        self.resumed = 0
        """How often the running callback went on after a suspension."""
        self.began_ns = 0
        """When the running callback began, in the run's time."""
        self.last_ns: int | None = None
        """When the last tick began."""
        self.dt_ns = 0
        self.due_ns = 0
        """When the running tick was due, in the run's time."""
        self.started_ns = 0
        """When the running callback began, on the system's finest clock."""
        self.misses_in_a_row = 0
        self.coroutine: Any = None
        """The running callback's, once it has suspended."""
        self.trap: Any = None
        """What it yielded when it suspended first; its carrier has what it yielded last."""
        self.reported: BaseException | None = None
        """What the running callback raised, once the run was told of it."""
        self.misuse: Exception | None = None
        """What the running callback did wrong without raising anything: it fails with that when it ends."""
        self.needs_init = False
        """Its ``init`` has to run, again, before its next tick."""
        self.skips_next = False
        self.tick_listeners: list[tuple[Observer, TickListener]] = []
        """Who is told of each of its ticks."""


class AudienceCore:
    """What each message looks at of an audience."""

    __slots__ = ("hears_messages", "thread")

    def __init__(self) -> None:
        self.hears_messages = False
        """Whether anybody wants to know of messages and callbacks: if not, none is noted."""


class PlanCore:
    """What of a run each tick looks at."""

    __slots__ = (
        "_aborted", "_began", "_in_group", "_in_steps", "_interludes", "_order", "_order_known", "_pace", "_step",
        "_step_open", "_stirred", "at_step", "audience", "before_step", "collector", "reason", "tick", "ticks",
        "timeline",
    )  # fmt: skip

    tick: int
    """Of the scheduler, which goes on or was last."""
    _step: Step
    """The same."""
    timeline: Timeline
    audience: Any
    _interludes: deque[Any]
    """Nodes whose safe state is to be entered while the run goes on."""

    def __init__(self) -> None:
        self._pace: Pace | None = None
        self._order: list[Any] = []
        """The nodes in the order of their ticks. A list that is replaced, never changed."""
        self._order_known = False
        self._began: list[str] = []
        """The names of the nodes that have begun a tick in this scheduler tick, where that is noted."""
        self.ticks = 0
        """How many there were."""
        self._step_open = False
        self._stirred = False
        """A message came for a node that ticks on messages."""
        self.before_step: list[Callable[[Step], None]] = []
        """Called before a scheduler tick begins, while the one before it still goes on."""
        self.at_step: list[Callable[[Step], None]] = []
        """Called as a scheduler tick begins, before any node."""
        self.collector: Any = None
        """Says when garbage is collected; None for wherever Python does it."""
        self.reason = ""
        """Why the run ends; empty while it goes on."""
        self._aborted = False
        self._in_group = False
        """Whether a plan is carried out by tasks, not by `Runtime.step`."""
        self._in_steps = False
        """Whether there is a `STEP_END` between two ticks."""


class PortsCore:
    """What ports look at with each message, and what of them changes with each callback."""

    __slots__ = (
        "_audience", "_empty", "_has_work", "_node", "_own", "_own_time", "_publishers", "_run", "_subscribers",
        "_time_of_day", "began", "guarded", "inputs", "looks",
    )  # fmt: skip

    _node: str
    _run: Any
    _audience: Any
    _time_of_day: TimeOfDay
    _own: set[object]
    """The rings of this run, by which its own messages are told from external ones."""

    def __init__(self) -> None:
        self._own_time = False
        """Whether messages are in the order of their stamps: where nothing comes from other processes."""
        self._publishers: dict[str, Publisher] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._has_work = False
        """Whether the node has, or had, tasks or threads of its own."""
        self.guarded = False
        """Whether only the node's own callbacks may send without a word."""
        self.began: int | None = None
        """The scheduler tick in which the running callback began; None while none is going on."""
        self.inputs: list[Received] = []
        """What the running callback took."""
        self.looks: Looks | None = None
        """What it saw without taking it."""
        self._empty: dict[str, int] = {}
        """How often it found nothing on a topic since it last took something there."""

    def begin(self, tick: int) -> None:
        """A callback begins, in that scheduler tick."""
        self.began = tick
        self.inputs = []
        self.looks = None
        if self._empty:
            self._empty = {}

    def end(self) -> None:
        """The callback has ended."""
        self.began = None

    if TYPE_CHECKING:

        def send(self, topic: str, value: Any) -> None:
            """See ``Ports.send_slowly``, which is the same."""

        def recv(self, topic: str, default: Any) -> Any:
            """See ``Ports.recv_slowly``, which is the same."""


if not TYPE_CHECKING and core is not None:
    DurationsCore, RunCore, PortsCore = core.DurationsCore, core.RunCore, core.PortsCore
    AudienceCore, PlanCore = core.AudienceCore, core.PlanCore


class Durations(DurationsCore):
    """Execution times of one node's ticks, and what they come to."""

    __slots__ = ()

    def mean_us(self) -> float:
        """Mean over all ticks, 0 before the first."""
        return self.total / self.count / 1000 if self.count else 0.0

    def p99_us(self) -> float:
        """99th percentile (nearest rank) of the last ticks, 0 before the first."""
        ordered = sorted(self.samples())
        return ordered[-(-99 * len(ordered) // 100) - 1] / 1000 if ordered else 0.0
