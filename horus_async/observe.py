"""What the runtime tells its observers.

The runtime knows only `Observer`, not what is behind it: the recorder and the black box are observers, and so is
anything a user adds. Calls come from the event loop's thread, in the order in which things happened, and must not
block it.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - recordings are read by it
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from attrs import field, frozen

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    TickListener = Callable[[int, int, bool], None]
    """Takes ``tick``, ``took_ns`` and ``success`` of `Observer.ticked`."""


class Sent(NamedTuple):
    """One outgoing message. A named tuple, because one is made for each message sent."""

    node: str
    topic: str
    seq: int
    stamp_ns: int
    payload: bytes
    """As the codec made it; ``codec.to_json`` turns it into the text of a recorded line."""
    tick: int
    """The scheduler tick in which it was sent."""
    began: int | None = None
    """The tick in which the callback that sent it began; None where a task or thread of the node's own sent it."""


class Received(NamedTuple):
    """The identity of one message that a node read."""

    topic: str
    publisher: str
    seq: int
    source: int = 0
    """See `External`; 0 for a message of this run."""
    empty: int = 0
    """How often the node had found nothing to read on the topic in the same callback since it last read there."""


Looks = dict[tuple[str, str], list[list[Any]]]
"""What a callback saw without taking it: by what it asked (``latest``, ``has_msg``, ``lost``) and the topic, the
answers in order, each with how often it came in a row. An answer of ``latest`` is publisher, ``seq`` and ``source``, or
None."""


class Execution(NamedTuple):
    """One finished call of a node's ``tick``, ``init`` or ``shutdown``."""

    kind: str
    """``tick``, ``init``, ``shutdown``, ``safe_state`` or ``request``: the ``kind`` of its recorded line."""
    node: str
    tick: int
    """The scheduler tick in which it began."""
    now_ns: int
    dt_ns: int
    duration_ns: int
    """Elapsed time, in virtual time if the run is virtual, so that it is the same in each run."""
    inputs: list[Received]
    error: str | None
    """``Type: message`` of the exception that ended it."""
    took_ns: int = 0
    """Elapsed wall time, in every mode."""
    cut: bool = False
    """Whether it was cancelled, as what still waits is when a run ends: it did not end by itself."""
    looks: Looks | None = None
    after_ns: int = 0
    """In virtual time, how long after the beginning of its scheduler tick it began."""


class NodeFailed(NamedTuple):
    """A callback of a node raised."""

    node: str
    error: str
    traceback: str


class DeadlineMissed(NamedTuple):
    """A tick ended after its deadline, or its node was still busy when the next tick was due."""

    node: str
    deadline_ns: int
    actual_ns: int
    """Lateness of its start plus execution."""


class BudgetOverrun(NamedTuple):
    """A tick took longer than its budget."""

    node: str
    budget_ns: int
    actual_ns: int


class PolicyChanged(NamedTuple):
    """A node's failure policy changed its state."""

    node: str
    policy: str
    from_: str
    to: str


class WatchdogFired(NamedTuple):
    """A tick takes far too long. Reported from the watchdog's own thread."""

    node: str
    stage: str
    """``warn``, ``unhealthy`` or ``emergency_stop``."""
    stack: str
    """Where the node's code is."""


class EmergencyStopped(NamedTuple):
    """The run was stopped because it was no longer safe."""

    reason: str


class Noted(NamedTuple):
    """Something happened in a node that is worth an event, such as the change of a parameter."""

    node: str
    category: str
    message: str
    data: dict[str, Any]


Incident = NodeFailed | DeadlineMissed | BudgetOverrun | PolicyChanged | WatchdogFired | EmergencyStopped | Noted


class Resumed(NamedTuple):
    """A task of a node's own went on, in real time: when, so that a verification lets it go on then."""

    node: str
    task: int
    """How many tasks and threads the node had started before."""
    tick: int
    now_ns: int
    """The run's time of day, as messages that are sent now are stamped."""
    cancelled: bool = False
    """Whether with its cancellation: the run ended, or the node began anew."""


class External(NamedTuple):
    """An external message, under the tick in which a node first read it."""

    tick: int
    topic: str
    publisher: str
    seq: int
    stamp_ns: int
    payload: bytes
    source: int = 0
    """Tells apart publishers of one name on one topic: 0 for the first, unless a node of the run has that name, then
    1, 2 and so on. A restarted process is a new publisher."""


class Logged(NamedTuple):
    """Something was logged: by a node (``node.log``), or by the runtime about the run."""

    node: str | None
    """The node that logged it, or that it is about."""
    tick: int | None
    """The scheduler tick in which the callback began that logged it; None outside of one."""
    at_tick: int
    """The scheduler tick that was going on."""
    now_ns: int
    """The run's time of day, as ``record.now_ns``."""
    level: int
    """As `logging` numbers them."""
    message: str
    """The text, whole."""
    record: logging.LogRecord
    by_node: bool = True


class TickEnd(NamedTuple):
    """A scheduler tick is over: nothing more will be sent in it."""

    tick: int
    now_ns: int
    order: list[str]
    """The nodes that ticked, in the order in which they began."""
    elapsed_ns: int | None = None
    """Where ``now_ns`` does not say how long it had been since the first scheduler tick, as the wall clock was set
    since: that."""


@frozen
class NodeInfo:
    """What a node declared."""

    name: str
    rate: float | None
    """Hz; None for a node that ticks on messages or on every scheduler tick."""
    on: tuple[str, ...] = ()
    pubs: tuple[str, ...] = ()
    subs: tuple[str, ...] = ()
    order: int = 0
    compute: bool = False
    params: Mapping[str, Any] = field(factory=dict, hash=False)
    """The values that its parameters have as the run begins, as JSON has them."""
    keep: dict[str, int] = field(factory=dict, hash=False)
    """How many messages it keeps for late readers, by topic."""


@frozen
class RunInfo:
    """A run, as it begins."""

    name: str
    """The scheduler's name."""
    tick_rate: float
    """Hz."""
    deterministic: bool
    seed: int
    started_at_ns: int
    """Wall clock, nanoseconds since 1970."""
    start_ns: int
    """The value of ``now_ns()`` in tick 0."""
    namespace: str
    nodes: tuple[NodeInfo, ...] = field(factory=tuple)


class Observer:
    """Watches a run. Inherit from it, and override what you want to hear."""

    hears_messages: ClassVar[bool] = True
    """False if it does without `sent`, `executed`, `tick_ended` and `received_external`. If no observer of a run needs
    them, no message and no call is noted, which saves as much as all other observing costs."""

    logs_from: int | None = None
    """From which level on, as `logging` numbers them, it wants `logged`; None: nothing."""
    logs_kept_back: bool = False
    """Whether it also wants what nodes log and their loggers' levels do not let through."""

    def run_started(self, run: RunInfo) -> None:
        """Called before the first ``init``. An exception here keeps the run from starting."""

    def node_added(self, node: NodeInfo) -> None:
        """A recorded node joined this run."""

    def initialised(self) -> None:
        """Every ``init`` has run, and the first scheduler tick begins."""

    def sent(self, message: Sent) -> None:
        """A message was just sent. All messages of a callback come before its `executed`."""

    def resumed(self, resumed: Resumed) -> None:
        """A task of a node's own went on, in real time."""

    def missed(self, node: str, count: int) -> None:
        """So many messages that threads of a node sent were not told of: the event loop was busy for too long."""

    def executed(self, execution: Execution) -> None:
        """A call of a node's callback ended."""

    def ticked(self, node: str, tick: int, took_ns: int, *, success: bool) -> None:
        """A node's tick ended: the cheap part of `executed`, for observers that need no more.

        Args:
            node: Its name.
            tick: The scheduler tick in which it began.
            took_ns: Elapsed wall time, in every mode.
            success: Whether it neither raised nor was cancelled.
        """

    def tick_listener(self, node: str) -> TickListener | None:
        """What to call for each tick of one node; None for nothing. By default `ticked`, if it is overridden.

        Called once per node and run, so this is the place to prepare anything for a node.
        """
        if type(self).ticked is Observer.ticked:
            return None

        def listener(tick: int, took_ns: int, success: bool) -> None:  # noqa: FBT001 - a keyword costs on this path
            self.ticked(node, tick, took_ns, success=success)

        return listener

    def incident(self, tick: int, incident: Incident) -> None:
        """Something went wrong, or was about to. Can come from another thread, as `logged` can, and nothing else."""

    def logged(self, line: Logged) -> None:
        """Something was logged. Comes from any thread, also from a signal handler or ``__del__``.

        It is what the loggers let through, and what nodes log from INFO up unless the level of their loggers was set.
        """

    def received_external(self, message: External) -> None:
        """A node is the first to read an external message."""

    def tick_ended(self, end: TickEnd) -> None:
        """Called once per scheduler tick, including the last one."""

    def given_up(self) -> None:
        """Called once if the run goes on without this observer, because a method of it has raised."""

    def run_stopped(self, reason: str, ticks: int) -> None:
        """Called after the last ``shutdown``; ``ticks`` is the number of scheduler ticks begun."""
