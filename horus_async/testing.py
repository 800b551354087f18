"""A kit for testing nodes: run a few in virtual time, feed them messages, look at what they sent.

A test in three lines, with nothing to wait for and nothing to clean up::

    def test_controller_pushes_back():
        captured = run_nodes(controller, ticks=3, feed={"sensor.reading": [(0, {"value": 1.0}), (2, {"value": 4.0})]})
        assert captured.values("ctrl.cmd") == [{"output": -0.5}, {"output": -2.0}]

Each run has a topic namespace that nobody else uses. The pytest fixture ``horus`` (`horus_async.pytest_plugin`) gives a
whole test one, and a place for recordings that is gone afterwards.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from .clock.system import NANOSECONDS
from .engine.schedule import exact
from .errors import ConfigurationError
from .nodes.node import Node
from .observe import Execution, Observer, Sent
from .scheduler.scheduler import Scheduler
from .topics.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Feed = Mapping[str, Iterable[tuple[int, Any]]]

FEEDER = "feed"
"""The publisher of messages that a test feeds in."""


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
    """An exception that left a node's callback and, by the node's failure policy, did not end the run."""

    tick: int
    node: str
    error: str
    """``Type: message``."""


@define
class Captured:
    """What happened in a run. ``captured["topic"]`` are the topic's messages, oldest first, none if there are none."""

    messages: list[CapturedMessage] = field(factory=list)
    """Every message, in the order of sending; those that were fed in, too."""
    ticks: dict[str, list[int]] = field(factory=dict)
    """Each node's ticks: the scheduler ticks in which it ticked, once each time."""
    errors: list[CapturedError] = field(factory=list)

    def __getitem__(self, topic: str) -> list[CapturedMessage]:
        return [message for message in self.messages if message.topic == topic]

    def values(self, topic: str) -> list[Any]:
        """What was sent on a topic, oldest first."""
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
    namespace: str | None = None,
) -> Captured:
    """Run nodes in virtual time and capture every message. Not for use inside an event loop: see `run_nodes_async`.

    Args:
        nodes: At least one. A node can be run again: its ``init`` runs again.
        duration: Seconds of virtual time; or give ``ticks``.
        ticks: Scheduler ticks.
        tick_rate: Hz, of the scheduler.
        seed: Of the random numbers.
        feed: Messages to send: for each topic, pairs of a scheduler tick and a value. They are there before the
            nodes tick.
        namespace: For the topics; by default one that nobody else uses.

    Raises:
        NodeFailure: A node failed for good; its exceptions are in the group.
        ConfigurationError: The options cannot work, or a message is to be fed into a tick that the run does not have.
    """
    capture, scheduler, seconds = _prepared(
        nodes, duration=duration, ticks=ticks, tick_rate=tick_rate, seed=seed, feed=feed, namespace=namespace
    )
    scheduler.run_sync(seconds)
    return capture.captured


async def run_nodes_async(
    *nodes: Node,
    duration: float | None = None,
    ticks: int | None = None,
    tick_rate: float = 100.0,
    seed: int = 0,
    feed: Feed | None = None,
    namespace: str | None = None,
) -> Captured:
    """As `run_nodes`, from a coroutine: for tests that run under pytest-trio or anyio."""
    capture, scheduler, seconds = _prepared(
        nodes, duration=duration, ticks=ticks, tick_rate=tick_rate, seed=seed, feed=feed, namespace=namespace
    )
    await scheduler.run(seconds)
    return capture.captured


def unique_namespace() -> str:
    """A topic namespace that nobody else uses."""
    return f"test_{uuid.uuid4().hex[:16]}"


class _Capture(Observer):
    """Listens to a run and keeps what was sent."""

    def __init__(self) -> None:
        self.captured = Captured()

    def sent(self, message: Sent) -> None:
        node, topic, seq, stamp_ns, payload, tick = message
        self.captured.messages.append(CapturedMessage(tick, node, topic, seq, stamp_ns, decode(payload)))

    def executed(self, execution: Execution) -> None:
        if execution.kind == "tick":
            self.captured.ticks.setdefault(execution.node, []).append(execution.tick)
        if execution.error is not None:
            self.captured.errors.append(CapturedError(execution.tick, execution.node, execution.error))


class _Feeder(Node):
    """Sends what a test feeds in."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(FEEDER, pubs=tuple(feed), order=-(1 << 31))
        self._by_tick: dict[int, list[tuple[str, Any]]] = {}
        for topic, messages in feed.items():
            for tick, value in messages:
                encode(value)
                self._by_tick.setdefault(tick, []).append((topic, value))

    def check_ticks(self, ticks: int) -> None:
        """Raise if a message is for a tick that the run does not have: it would silently never be sent."""
        for tick, messages in self._by_tick.items():
            if type(tick) is not int or not 0 <= tick < ticks:
                raise ConfigurationError(
                    f"feed: {messages[0][0]!r} has a message for tick {tick!r}; the run has ticks 0 to {ticks - 1}"
                )

    def tick(self) -> None:
        from .nodes.context import tick as current_tick  # `tick` is this method here

        for topic, value in self._by_tick.get(current_tick(), ()):
            self.send(topic, value)


def _prepared(
    nodes: Sequence[Node],
    *,
    duration: float | None,
    ticks: int | None,
    tick_rate: float,
    seed: int,
    feed: Feed | None,
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
        namespace=namespace or unique_namespace(),
    ).observe(capture)
    seconds, count = _length(duration, ticks, tick_rate)
    if feed:
        feeder = _Feeder(feed)
        feeder.check_ticks(count)
        scheduler.add(feeder)
    for node in nodes:
        scheduler.add(node)
    return capture, scheduler, seconds


def _length(duration: float | None, ticks: int | None, tick_rate: float) -> tuple[float, int]:
    """The run's length in seconds and in ticks: those with tick / tick_rate < duration."""
    rate = exact(tick_rate)
    if ticks is None:
        assert duration is not None
        if not duration > 0:
            raise ConfigurationError(f"duration={duration!r}: give seconds above 0")
        return duration, -int(-exact(duration) * rate // 1)
    if type(ticks) is not int or ticks < 1:
        raise ConfigurationError(f"ticks={ticks!r}: give a whole number above 0")
    # Whole nanoseconds, rounded down: rounded up they would reach one tick further.
    return int(ticks * NANOSECONDS / rate) / NANOSECONDS, ticks
