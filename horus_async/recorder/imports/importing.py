"""Data recorded by others as a session: MCAP files, and ROS 1 and ROS 2 bags.

Messages become dicts and NumPy arrays. Each publisher that the file names becomes a node; unnamed ones become the node
``bag``. The recorder itself writes the session, so it is like any other.

With a tick rate the session has a regular clock that begins with the first message: a message belongs to the first
tick at or after its stamp. Without one every message has a tick of its own, at its time.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from horus_async.clock.system import NANOSECONDS, wall_ns
from horus_async.engine.rules.schedule import exact
from horus_async.errors import HorusError, RecordingError
from horus_async.observe import Execution, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder.naming import check_session_name
from horus_async.recorder.options import RecordingOptions
from horus_async.recorder.read.listing import delete_session
from horus_async.recorder.write.recorder import Recorder
from horus_async.topics.codec import as_bytes, encode

from .opening import open_source

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from .source import Source, SourceMessage

_UNUSABLE = re.compile(r"[^A-Za-z0-9_.\-/]")
MAX_EMPTY_TICKS = 100_000_000
"""Ticks above which a session is refused: a stamp is wrong, or the rate."""


@frozen
class Imported:
    """What was imported."""

    session: str
    path: Path
    messages: int
    ticks: int
    tick_rate: float
    topics: dict[str, int]
    """Messages by topic, under its name in the session."""
    renamed: dict[str, str]
    """Topics with another name in the session: from the name in the file to the new one."""
    notes: list[str]
    """What could not be imported as it was, one line each."""


def import_file(
    path: Path,
    name: str,
    *,
    tick_rate: float | None = None,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Make a session of a file.

    Args:
        path: An MCAP file, a ROS 1 bag (``.bag``), or a ROS 2 bag (its folder, or one ``.db3`` file).
        name: The session's.
        tick_rate: Hz of its clock; None for one tick per message.
        root: The folder for sessions; None for the usual one.
        progress: Told the number of messages done.

    Raises:
        RecordingError: The file cannot be read, holds no messages, or a package is missing.
        SessionExistsError: There is a session of that name.
        SessionNameError: The name cannot be a session's.
    """
    check_session_name(name)
    if tick_rate is not None and not (math.isfinite(tick_rate) and tick_rate > 0):
        raise RecordingError(f"tick rate {tick_rate!r}: give a number of Hz above 0")
    with open_source(path) as source:
        if not source.count:
            raise RecordingError("; ".join([f"{path} holds no messages: there is nothing to import", *source.notes]))
        topics, nodes = _names(source.topics), _nodes(source.publishers)
        clock = _Clock.regular(source, tick_rate) if tick_rate is not None else _Clock.by_message(source)
        recorder = Recorder(RecordingOptions(name=name), root, block=True)
        recorder.run_started(_run_info(path, clock, nodes))
        writer = _TickWriter(recorder, clock, topics, nodes)
        try:
            for count, message in enumerate(source.messages(), 1):
                writer.put(message)
                if progress is not None and not count % 500:
                    progress(count)
            ticks = writer.finish()
        except BaseException as error:
            recorder.stop()
            delete_session(name, root)
            if isinstance(error, HorusError) or not isinstance(error, Exception):
                raise
            raise RecordingError(f"{path}: {type(error).__name__}: {error}") from error
        recorder.run_stopped("imported", ticks)
    assert recorder.path is not None
    renamed = {original: new for original, new in topics.items() if original.lstrip("/") != new}
    counted = {topics[topic]: number for topic, number in writer.counts.items()}
    return Imported(name, recorder.path, sum(counted.values()), ticks, clock.rate, counted, renamed, source.notes)


def _run_info(path: Path, clock: _Clock, nodes: dict[str, str]) -> RunInfo:
    return RunInfo(
        name=f"import of {path.name}",
        tick_rate=clock.rate,
        deterministic=clock.is_regular,
        seed=0,
        started_at_ns=wall_ns(),
        start_ns=clock.start_ns,
        namespace="",
        nodes=tuple(NodeInfo(node, None) for node in dict.fromkeys(nodes.values())),
    )


@define
class _Clock:
    """Which tick a stamp belongs to, and the time of a tick."""

    start_ns: int
    rate: float
    is_regular: bool

    @classmethod
    def regular(cls, source: Source, rate: float) -> _Clock:
        ticks = (source.last_ns - source.first_ns) * rate / NANOSECONDS
        if ticks > MAX_EMPTY_TICKS:
            raise RecordingError(
                f"the stamps span {(source.last_ns - source.first_ns) / NANOSECONDS:.0f} s, which at {rate:g} Hz is "
                f"{ticks:.0f} ticks: a stamp is wrong, or give a lower rate, or none for one tick a message"
            )
        return cls(source.first_ns, rate, is_regular=True)

    @classmethod
    def by_message(cls, source: Source) -> _Clock:
        span = source.last_ns - source.first_ns
        rate = (source.count - 1) * NANOSECONDS / span if span > 0 and source.count > 1 else 100.0
        return cls(source.first_ns, rate, is_regular=False)

    def tick_of(self, stamp_ns: int) -> int:
        """The first tick at or after a stamp."""
        return max(0, math.ceil((stamp_ns - self.start_ns) * exact(self.rate) / NANOSECONDS))

    def now_ns(self, tick: int) -> int:
        """When a tick begins."""
        return self.start_ns + math.ceil(tick * NANOSECONDS / exact(self.rate))


@define
class _TickWriter:
    """Gathers the messages of a tick and tells the recorder of it as a run would."""

    recorder: Recorder
    clock: _Clock
    topics: dict[str, str]
    nodes: dict[str, str]
    counts: dict[str, int] = field(factory=dict)
    _tick: int = -1
    _now_ns: int = 0
    _sent: list[Sent] = field(factory=list)
    _seqs: dict[tuple[str, str], int] = field(factory=dict)

    def put(self, message: SourceMessage) -> None:
        """Take the next message."""
        clock = self.clock
        if clock.is_regular:
            self._go_to(max(self._tick, clock.tick_of(message.stamp_ns)))
        else:
            self._end_tick()
            self._tick += 1
            self._now_ns = max(self._now_ns, message.stamp_ns)
        node, topic = self.nodes[message.publisher], self.topics[message.topic]
        seq = self._seqs[node, topic] = self._seqs.get((node, topic), -1) + 1
        payload = as_bytes(encode(message.value))
        self._sent.append(Sent(node, topic, seq, message.stamp_ns, payload, self._tick, self._tick))
        self.counts[message.topic] = self.counts.get(message.topic, 0) + 1

    def finish(self) -> int:
        """End the last tick; the number of ticks."""
        self._end_tick()
        return self._tick + 1

    def _go_to(self, tick: int) -> None:
        while self._tick < tick:
            self._end_tick()
            self._tick += 1
            self._now_ns = self.clock.now_ns(self._tick)

    def _end_tick(self) -> None:
        if self._tick < 0:
            return
        tick, now_ns, sent = self._tick, self._now_ns, self._sent
        period_ns = round(NANOSECONDS / self.clock.rate)
        by_node: dict[str, list[Sent]] = {}
        for message in sent:
            by_node.setdefault(message.node, []).append(message)
        for node, outputs in by_node.items():
            for message in outputs:
                self.recorder.sent(message)
            self.recorder.executed(Execution("tick", node, tick, now_ns, period_ns, 0, [], None))
        self.recorder.tick_ended(TickEnd(tick, now_ns, [*by_node]))
        self._sent = []


def _names(originals: Iterable[str]) -> dict[str, str]:
    """A valid topic name for each in the file, all different."""
    return dict(_unique(originals, "topic", 240))


def _nodes(originals: Iterable[str]) -> dict[str, str]:
    """A valid node name for each publisher in the file, all different."""
    return dict(_unique(originals, "bag", 100))


def _unique(originals: Iterable[str], default: str, limit: int) -> Iterator[tuple[str, str]]:
    taken: set[str] = set()
    for original in originals:
        name = wanted = _UNUSABLE.sub("_", original.lstrip("/"))[:limit].replace("..", "__") or default
        number = 2
        while name in taken:
            name = f"{wanted}_{number}"
            number += 1
        taken.add(name)
        yield original, name
