"""What is replayed, and how: the options, checked against what the session holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import ReplayError
from horus_async.recorder import open_session
from horus_async.recorder.view.moments import first_tick_from, span_text
from horus_async.spelling import did_you_mean
from horus_async.topics.codec import encode
from horus_async.validators import is_not_negative, is_number, is_whole

from .choosing.gaps import EmptyTime, busy_ticks
from .choosing.topics import TopicChoice, known_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from horus_async.recorder import Session
    from horus_async.recorder.records import ExternalMessage, RecordedOutput
    from horus_async.recorder.view.moments import Moment

MIN_SPEED, MAX_SPEED = 0.01, 100.0
MIN_STAMP, MAX_STAMP = -(1 << 63), (1 << 63) - 1
"""What rings hold; files of others may have stamps up to 2**64."""


@define(kw_only=True)
class ReplayOptions:
    """What of a session is replayed, and how."""

    session: Session
    start: int | None = None
    """First tick, inclusive."""
    stop: int | None = None
    """Last tick, inclusive."""
    speed: float = 1.0
    loop: bool = False
    nodes: tuple[str, ...] | None = None
    """Only these nodes play; None for all."""
    overrides: dict[tuple[str, str], Any] = field(factory=dict)
    """(node, topic) to a value, or to a function of the message."""
    choice: TopicChoice = field(factory=TopicChoice)
    """Which topics play, and under which names."""
    empty_limit: float | None = None
    """Seconds of empty time that are played; None: all of it."""
    stamps_changed: dict[str, int] = field(factory=dict)
    """How many messages had a stamp that no topic can carry, by topic: they were played with the nearest."""
    kept: dict[str, int] = field(factory=dict)
    """How many messages from before the start were played, by topic: the last of what was sent once."""

    outside: int = 0
    """How many messages of other programs were played."""

    def set_start_time(self, moment: Moment) -> None:
        """Begin at the first tick at or after a moment."""
        self.start = tick_at(self.session, moment)

    def stamp_of(self, message: RecordedOutput | ExternalMessage) -> int:
        """The stamp with which a message is played: its own, if a topic can carry it."""
        stamp_ns = message.stamp_ns
        if not MIN_STAMP <= stamp_ns <= MAX_STAMP:
            self.stamps_changed[message.topic] = self.stamps_changed.get(message.topic, 0) + 1
            return MAX_STAMP if stamp_ns > 0 else MIN_STAMP
        return stamp_ns

    def set_skip_gaps(self, longer_than: float) -> None:
        """Play no more than so many seconds of any empty time."""
        if not is_not_negative(longer_than):
            raise ReplayError(f"skip_gaps(longer_than={longer_than!r}): give seconds, 0 or more")
        self.empty_limit = longer_than

    def known_topics(self) -> set[str]:
        """All that were recorded, played or not."""
        return known_topics(self.session, (session_topics(self.session, node) for node in self.session.nodes))

    def played_topics(self, node: str) -> set[str]:
        """Those of a node that are played, under the names that they get."""
        return {name for topic in session_topics(self.session, node) if (name := self.choice.played_as(topic))}

    def empty_time(self) -> EmptyTime | None:
        """What tells of empty time; None where that is played as it was."""
        if self.empty_limit is None:
            return None
        nodes = self.session.files if self.nodes is None else self.nodes

        def ticks() -> Iterator[int]:
            takes = self.choice.played_as
            return busy_ticks(self.session, [*nodes], self.start, self.stop, lambda topic: takes(topic) is not None)

        return EmptyTime(ticks, round(self.empty_limit * NANOSECONDS))

    def set_start(self, tick: int) -> None:
        """Begin at ``tick``."""
        self._check_tick("start_at_tick", tick)
        self.start = tick

    def set_stop(self, tick: int) -> None:
        """End after ``tick``; one beyond the end is the end."""
        last = self.session.last_tick
        if is_whole(tick) and last is not None:
            tick = min(tick, last)
        self._check_tick("stop_at_tick", tick)
        self.stop = tick

    def _check_tick(self, what: str, tick: int) -> None:
        first, last = self.session.first_tick, self.session.last_tick
        if not is_whole(tick) or first is None or last is None:
            raise ReplayError(f"{what}({tick!r}): give a tick number; the session has ticks {first} to {last}")
        if not first <= tick <= last:
            raise ReplayError(f"{what}({tick}): session {self.session.name!r} has ticks {first} to {last}")

    def set_speed(self, speed: float) -> None:
        """Set the speed, 1.0 as recorded, ``inf`` as fast as possible."""
        if not is_number(speed) or not (MIN_SPEED <= speed <= MAX_SPEED or speed == math.inf):
            raise ReplayError(f"speed {speed!r}: give a number from {MIN_SPEED} to {MAX_SPEED:g}, or math.inf")
        self.speed = speed

    def set_override(self, node: str, topic: str, value: Any) -> None:
        """Replace what a recorded node sent on a topic."""
        check_override(self.session, self.session.nodes, node, topic, value)
        self.overrides[node, topic] = value

    def set_nodes(self, nodes: Sequence[str]) -> None:
        """Let only these play."""
        for name in nodes:
            if name in self.session.missing_nodes:
                raise ReplayError(f"node {name!r} cannot be replayed: {self.session.missing_nodes[name]}")
            if name not in self.session.nodes:
                known = ", ".join(sorted(self.session.nodes))
                meant = did_you_mean(name, self.session.nodes)
                raise ReplayError(f"no node {name!r} in session {self.session.name!r}; it has {known}{meant}")
        self.nodes = tuple(nodes)

    def check(self) -> None:
        """Raise what only the whole of the options shows.

        Raises:
            ReplayError: Nothing would be replayed, or not all.
        """
        if self.session.scheduler is None:
            raise ReplayError(f"session {self.session.name!r} has lost its scheduler's file and cannot be replayed")
        if self.session.first_tick is None:
            raise ReplayError(f"session {self.session.name!r} has no ticks: there is nothing to replay")
        if self.start is not None and self.stop is not None and self.start > self.stop:
            raise ReplayError(f"start_at_tick({self.start}) is after stop_at_tick({self.stop})")
        if self.choice.is_all:
            return
        self.choice.check(self.known_topics())
        for node, topic in self.overrides:
            if self.choice.played_as(topic) is None:
                raise ReplayError(f"topic {topic!r} of node {node!r} cannot be replaced: it is left out")


def tick_at(session: Session, moment: Moment) -> int:
    """The first tick of a session at or after a moment.

    Raises:
        ReplayError: It has none there.
        RecordingError: It is no moment, or the session's times are not known.
    """
    tick = first_tick_from(session, moment)
    if tick is None or (isinstance(moment, int | float) and moment < 0):
        raise ReplayError(f"start at time {moment!s}: session {session.name!r} has {span_text(session)}")
    return tick


def check_missing(session: Session, left_out: Callable[[str], bool]) -> None:
    """Refuse to go on without a node of which nothing can be read.

    Raises:
        ReplayError: There is one that is not left out.
    """
    for name, why in session.missing_nodes.items():
        if not left_out(name):
            raise ReplayError(
                f"node {name!r} of session {session.name!r} cannot be read ({why}): leave it out by naming the others"
            )


def check_override(session: Session, nodes: Iterable[str], node: str, topic: str, value: Any) -> None:
    """Refuse to replace what a node never sent, by what cannot be sent.

    Raises:
        ReplayError: There is no such node or topic; it lists those that are.
        ValueNotSupportedError: No topic can carry ``value``.
    """
    if node not in nodes:
        there = f"{', '.join(sorted(nodes)) or 'none'}{did_you_mean(node, nodes)}"
        raise ReplayError(f"no node {node!r} in session {session.name!r}; it has {there}")
    known = session_topics(session, node)
    if topic not in known:
        topics = f"{', '.join(sorted(known)) or 'nothing'}{did_you_mean(topic, known)}"
        raise ReplayError(f"node {node!r} sent nothing on {topic!r} in session {session.name!r}; it sent {topics}")
    if not callable(value):
        encode(value)


@frozen
class PlayedFile:
    """One recorded node that plays among live ones."""

    session: Session
    node: str
    priority: int = 0
    wins: bool = False
    """Whether it takes the place of a live node of its name, and not the other way round."""
    overrides: dict[tuple[str, str], Any] = field(factory=dict)
    """What is sent instead, by node and topic."""

    @classmethod
    def open(cls, path: str | Path, priority: int) -> PlayedFile:
        """Open a node's file.

        Raises:
            ReplayError: It is no node's file.
        """
        session = open_session(path)
        node = session.node_of(path)
        if node is None:
            known = ", ".join(sorted(session.nodes))
            raise ReplayError(f"{str(path)!r} is not a node's file; session {session.name!r} has {known}")
        return cls(session, node, priority)


def injected(ref: str | Path | Session, nodes: Sequence[str]) -> list[PlayedFile]:
    """Recorded nodes that take the places of live ones.

    Raises:
        ReplayError: No node is named, or one that was not recorded.
    """
    session = open_session(ref)
    known = ", ".join(session.nodes) or "none"
    if not nodes:
        raise ReplayError(f"no node is named; session {session.name!r} has {known}")
    for name in nodes:
        if name not in session.nodes:
            meant = did_you_mean(name, session.nodes)
            raise ReplayError(f"no node {name!r} in session {session.name!r}; it has {known}{meant}")
    return [PlayedFile(session, name, session.nodes[name].order, wins=True) for name in dict.fromkeys(nodes)]


def session_topics(session: Session, node: str) -> set[str]:
    """The topics that a recorded node sent on."""
    return session.output_topics(node) | set(session.nodes[node].pubs)
