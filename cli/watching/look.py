"""What there is to see in a namespace at one moment, for ``horus-async top``: plain facts, ready for JSON."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import field, frozen


@frozen
class NodeRow:
    """A node of a run in real time."""

    node: str
    run: str
    pid: int
    wanted: float | None
    """Hz; None for a node that ticks on messages."""
    on: tuple[str, ...]
    """The topics on whose messages it ticks."""
    rate: float | None
    """Ticks a second between the last two answers; None before."""
    mean_us: float | None
    """Mean time of a tick between the last two answers; before that, of all ticks."""
    max_us: float
    """Of all ticks."""
    ticks: int
    misses: int
    overruns: int
    errors: int
    restarts: int
    lost: int
    refused: int
    state: str

    @property
    def load(self) -> float:
        """Part of a second that it ticks in a second, %."""
        return (self.rate or 0) * (self.mean_us or 0) / 10_000

    @property
    def trouble(self) -> int:
        """How much has gone wrong."""
        return self.misses + self.errors + self.restarts + self.lost + self.refused


@frozen
class TopicRow:
    """A topic, by its rings."""

    topic: str
    publishers: tuple[str, ...]
    pids: tuple[int, ...]
    rate: float | None
    """Messages a second between the last two looks; None before."""
    bytes_per_second: float | None
    """By the sizes of the newest messages."""
    messages: int
    memory: int
    """Bytes of shared memory."""
    state: str
    """``live``, ``kept`` or ``left over``."""

    @property
    def load(self) -> float:
        """What it costs."""
        return self.bytes_per_second or 0

    @property
    def trouble(self) -> int:
        """Whether it has been left over."""
        return self.state == "left over"


@frozen
class ProcessRow:
    """A process that publishes, or in which a run answers."""

    pid: int
    program: str
    nodes: int | None
    """Of the runs that answer in it; None if there are none."""
    topics: int
    """On which it publishes."""
    memory: int | None
    """Bytes."""
    cpu: float | None
    """Part of a core, %, between the last two looks."""
    state: str
    """``running`` or ``dead``."""

    @property
    def rate(self) -> float:
        """By what it does."""
        return self.nodes or 0

    @property
    def load(self) -> float:
        """What it costs."""
        return self.cpu or 0

    @property
    def trouble(self) -> int:
        """Whether it is dead."""
        return self.state == "dead"


@frozen
class Anomaly:
    """Something that went wrong in a run."""

    run: str
    pid: int
    node: str | None
    kind: str
    text: str
    tick: int
    now_ns: int
    """Wall clock, of the newest one."""
    count: int
    """How often it came in a row."""


@frozen
class Look:
    """All of it."""

    namespace: str
    at_ns: int
    """Wall clock, nanoseconds since 1970."""
    nodes: tuple[NodeRow, ...] = ()
    topics: tuple[TopicRow, ...] = ()
    processes: tuple[ProcessRow, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    """The newest first."""
    notes: tuple[str, ...] = field(default=())
    """What is not seen here, and why."""
    cost: float = 0.0
    """The largest part of its time that answering took any run since the last look, %."""


def as_dict(look: Look) -> dict[str, Any]:
    """The same for JSON."""
    return attrs.asdict(look)
