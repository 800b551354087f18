"""A kit for testing nodes: run some in virtual time, feed them messages, and check what they send.

A test in three lines, with nothing to wait for and nothing to clean up::

    def test_controller_pushes_back():
        captured = run_nodes(controller, ticks=3, feed={"sensor.reading": [(0, {"value": 1.0}), (2, {"value": 4.0})]})
        assert captured.values("ctrl.cmd") == [{"output": -0.5}, {"output": -2.0}]

Each run has its own topic namespace. The pytest fixture ``horus`` (`horus_async.pytest_plugin`) gives a whole test its
own namespace, and a folder for recordings that is removed afterwards.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from .clock.system import NANOSECONDS
from .engine.rules.schedule import exact
from .errors import ConfigurationError
from .nodes.node import Node
from .observe import Execution, Observer, Sent
from .remote.asks import Answer, Ask, Asker, Call, Give, SetParam
from .scheduler.scheduler import Scheduler
from .spelling import did_you_mean
from .topics.codec import decode, encode
from .topics.keeping.keep import Keep
from .validators import is_positive, is_whole_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Feed = Mapping[str, Iterable[tuple[int, Any]]]

__all__ = [
    "Answer",
    "Call",
    "Captured",
    "CapturedError",
    "CapturedMessage",
    "Give",
    "SetParam",
    "run_nodes",
    "run_nodes_async",
    "unique_namespace",
]

FEEDER = "feed"
"""The publisher of the messages that a test feeds in."""
_KEPT = "give a list of messages for each topic, as in {'map': [grid]}"
_FEED = "give pairs of a scheduler tick and a value for each topic, as in {'scan': [(0, 1.5), (1, 1.6)]}"


@frozen
class CapturedMessage:
    """One message that was sent in a run."""

    tick: int
    """The scheduler tick in which it was sent; what ``init`` sends belongs to tick 0."""
    publisher: str
    topic: str
    seq: int
    stamp_ns: int
    value: Any


@frozen
class CapturedError:
    """An exception raised by a node's callback that did not end the run, because of the node's failure policy."""

    tick: int
    node: str
    error: str
    """``Type: message``."""


@define
class Captured:
    """What happened in a run. ``captured["topic"]`` lists the topic's messages, oldest first.

    It is empty for a topic that carried nothing. One that no node of the run declares or uses is a
    `ConfigurationError`, which names the nearest: a test for silence should not pass by a misspelt name.
    """

    messages: list[CapturedMessage] = field(factory=list)
    """Every message, in the order of sending, including those fed in."""
    ticks: dict[str, list[int]] = field(factory=dict)
    """The scheduler ticks in which each node ticked, one entry per tick of the node."""
    errors: list[CapturedError] = field(factory=list)
    answers: list[Answer] = field(factory=list)
    """What came of what was asked, in the order of ``asks``."""
    known: frozenset[str] | None = field(default=None, repr=False)
    """The topics that the nodes declare or use; None if that is open, and any may be asked for."""

    def __getitem__(self, topic: str) -> list[CapturedMessage]:
        if self.known is not None and topic not in self.known:
            raise ConfigurationError(
                f"no node of this run declares or uses a topic {topic!r}{did_you_mean(topic, self.known)}"
            )
        return [message for message in self.messages if message.topic == topic]

    def values(self, topic: str) -> list[Any]:
        """What was sent on a topic, oldest first.

        Raises:
            ConfigurationError: No node declares or uses it.
        """
        return [message.value for message in self[topic]]

    def topics(self) -> set[str]:
        """The topics on which something was sent."""
        return {message.topic for message in self.messages}


def run_nodes(
    *nodes: Node,
    duration: float | None = None,
    ticks: int | None = None,
    tick_rate: float = 100.0,
    seed: int = 0,
    feed: Feed | None = None,
    kept: Mapping[str, Iterable[Any]] | None = None,
    asks: Iterable[Ask] = (),
    params: Mapping[str, Any] | None = None,
    namespace: str | None = None,
) -> Captured:
    """Run nodes in virtual time and capture every message. Inside an event loop, use `run_nodes_async`.

    Args:
        nodes: At least one. Nodes can be run more than once: ``init`` runs each time.
        duration: Seconds of virtual time; alternatively, give ``ticks``.
        ticks: Number of scheduler ticks.
        tick_rate: Of the scheduler, Hz.
        seed: Of the random numbers.
        feed: Messages to send: for each topic, pairs of a scheduler tick and a value. They are sent before the nodes
            tick.
        kept: For each topic, the messages that a publisher kept for late readers (`Keep`) before the run began: nodes
            can read them from ``init`` on.
        asks: What is asked of the nodes, and in which ticks: `Call`, `Give` and `SetParam`. What comes of each is in
            the result's ``answers``, in their order.
        params: Values of parameters as the run begins, by ``node.parameter``.
        namespace: Of the topics; by default a new one.

    Raises:
        NodeFailure: A node failed for good; its exceptions are in the group.
        ConfigurationError: An option is invalid, or a message is fed into a tick that the run does not have, or on a
            topic that no node declares or uses.
    """
    capture, scheduler, seconds = _prepared(
        nodes,
        duration=duration,
        ticks=ticks,
        tick_rate=tick_rate,
        seed=seed,
        feed=feed,
        kept=kept,
        asks=asks,
        params=params,
        namespace=namespace,
    )
    with _names_checked(capture.captured, scheduler, (*(feed or ()), *(kept or ()))):
        scheduler.run_sync(seconds)
    return capture.captured


async def run_nodes_async(
    *nodes: Node,
    duration: float | None = None,
    ticks: int | None = None,
    tick_rate: float = 100.0,
    seed: int = 0,
    feed: Feed | None = None,
    kept: Mapping[str, Iterable[Any]] | None = None,
    asks: Iterable[Ask] = (),
    params: Mapping[str, Any] | None = None,
    namespace: str | None = None,
) -> Captured:
    """The same as `run_nodes`, for tests that are coroutines, under pytest-trio or anyio."""
    capture, scheduler, seconds = _prepared(
        nodes,
        duration=duration,
        ticks=ticks,
        tick_rate=tick_rate,
        seed=seed,
        feed=feed,
        kept=kept,
        asks=asks,
        params=params,
        namespace=namespace,
    )
    with _names_checked(capture.captured, scheduler, (*(feed or ()), *(kept or ()))):
        await scheduler.run(seconds)
    return capture.captured


@contextmanager
def _names_checked(captured: Captured, scheduler: Scheduler, fed: Iterable[str]) -> Iterator[None]:
    """Meanwhile a run goes on; then see whether what was fed was read, which only the run can tell.

    Raises:
        ConfigurationError: A topic that was fed is not one that any node declares or uses.
    """
    try:
        yield
    except Exception as error:
        misfed = _misfed(scheduler, fed)
        if misfed is not None:
            error.add_note(misfed)  # perhaps it failed for want of that message
        raise
    captured.known = frozenset(scheduler.topics())
    misfed = _misfed(scheduler, fed)
    if misfed is not None:
        raise ConfigurationError(misfed)


def _misfed(scheduler: Scheduler, fed: Iterable[str]) -> str | None:
    topics = scheduler.topics()
    if not topics:  # it did not begin
        return None
    others = {topic for topic, use in topics.items() if {*use.readers, *use.writers} - {FEEDER}}
    for topic in fed:
        if topic not in others:
            meant = did_you_mean(topic, others) or "; if one reads it only at times, declare it in its subs"
            return f"feed: no node has read {topic!r}{meant}"
    return None


def unique_namespace() -> str:
    """A topic namespace that nobody else uses."""
    return f"test_{uuid.uuid4().hex[:16]}"


class _Capture(Observer):
    """Listens to a run and keeps what was sent."""

    def __init__(self) -> None:
        self.captured = Captured()

    def sent(self, message: Sent) -> None:
        node, topic, seq, stamp_ns, payload, tick, _ = message
        self.captured.messages.append(CapturedMessage(tick, node, topic, seq, stamp_ns, decode(payload)))

    def executed(self, execution: Execution) -> None:
        if execution.kind == "tick":
            self.captured.ticks.setdefault(execution.node, []).append(execution.tick)
        if execution.error is not None:
            self.captured.errors.append(CapturedError(execution.tick, execution.node, execution.error))


class _Feeder(Node):
    """Sends the messages that a test feeds in, and first those that were kept before."""

    def __init__(self, feed: Feed, kept: Mapping[str, Iterable[Any]]) -> None:
        self._kept = {topic: _kept_values(topic, values) for topic, values in _items(kept, "kept", _KEPT)}
        pairs = [
            (topic, tick, value)
            for topic, messages in _items(feed, "feed", _FEED)
            for tick, value in _pairs(topic, messages)
        ]
        keeps = {topic: Keep(n=len(values)) for topic, values in self._kept.items() if values}
        super().__init__(FEEDER, pubs=dict.fromkeys((*feed, *kept)) | keeps, order=-(1 << 31))
        self._by_tick: dict[int, list[tuple[str, Any]]] = {}
        for topic, tick, value in pairs:
            encode(value)
            self._by_tick.setdefault(tick, []).append((topic, value))

    def check_ticks(self, ticks: int) -> None:
        """Raise if a message is for a tick that the run does not have, and so would never be sent."""
        for tick, messages in self._by_tick.items():
            if type(tick) is not int or not 0 <= tick < ticks:
                raise ConfigurationError(
                    f"feed: {messages[0][0]!r} has a message for tick {tick!r}; the run has ticks 0 to {ticks - 1}"
                )

    def init(self) -> None:
        for topic, values in self._kept.items():
            for value in values:
                self.send(topic, value)

    def tick(self) -> None:
        from .nodes.context import tick as current_tick  # `tick` is this method here

        for topic, value in self._by_tick.get(current_tick(), ()):
            self.send(topic, value)


def _items(given: Any, option: str, way_out: str) -> Iterable[tuple[str, Any]]:
    if not hasattr(given, "items"):
        raise ConfigurationError(f"{option}={given!r}: {way_out}")
    return given.items()  # type: ignore[no-any-return] # a mapping's


def _kept_values(topic: str, values: Any) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise ConfigurationError(f"kept: {topic!r} has {values!r}: {_KEPT}")
    for value in values:
        encode(value)
    return list(values)


def _pairs(topic: str, messages: Any) -> list[tuple[int, Any]]:
    try:
        return [(tick, value) for tick, value in messages]
    except (TypeError, ValueError):
        raise ConfigurationError(f"feed: {topic!r} has {messages!r}: {_FEED}") from None


def _prepared(
    nodes: Sequence[Node],
    *,
    duration: float | None,
    ticks: int | None,
    tick_rate: float,
    seed: int,
    feed: Feed | None,
    kept: Mapping[str, Iterable[Any]] | None,
    asks: Iterable[Ask],
    params: Mapping[str, Any] | None,
    namespace: str | None,
) -> tuple[_Capture, Scheduler, float]:
    if not nodes:
        raise ConfigurationError("run_nodes() needs a node to run")
    if (duration is None) == (ticks is None):
        raise ConfigurationError(f"duration={duration!r}, ticks={ticks!r}: give one of them")
    capture = _Capture()
    scheduler = Scheduler(
        tick_rate=tick_rate,
        deterministic=True,
        seed=seed,
        params=params,
        namespace=namespace or unique_namespace(),
    ).observe(capture)
    seconds, count = _length(duration, ticks, tick_rate)
    if feed or kept:
        feeder = _Feeder(feed or {}, kept or {})
        feeder.check_ticks(count)
        scheduler.add(feeder)
    if asks := list(asks):
        asker = Asker(asks, count)
        capture.captured.answers = asker.answers
        scheduler.add(asker)
    for node in nodes:
        scheduler.add(node)
    return capture, scheduler, seconds


def _length(duration: float | None, ticks: int | None, tick_rate: float) -> tuple[float, int]:
    """The run's length in seconds and in ticks: those with tick / tick_rate < duration."""
    rate = exact(tick_rate)
    if ticks is None:
        assert duration is not None
        if not is_positive(duration):
            raise ConfigurationError(f"duration={duration!r}: give seconds above 0")
        return duration, -int(-exact(duration) * rate // 1)
    if not is_whole_from(1)(ticks):
        raise ConfigurationError(f"ticks={ticks!r}: give a whole number above 0")
    # Whole nanoseconds, rounded down: rounded up they would reach one tick further.
    return int(ticks * NANOSECONDS / rate) / NANOSECONDS, ticks
