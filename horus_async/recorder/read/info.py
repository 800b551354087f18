"""A session in figures: its nodes, its topics, and what is missing. Quick if the files were closed properly.

The footer of a closed file says what it holds of each topic; only the types are looked up, in the first and the last
messages. A file without a footer is read whole, and so is one whose writer could not write everything.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from horus_async.errors import DamagedRecordingError
from horus_async.folders import open_to_everyone
from horus_async.recorder.locking import is_being_recorded, is_marked
from horus_async.recorder.origin import read_origin
from horus_async.recorder.records import GapRecord
from horus_async.topics.values import standard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from horus_async.recorder.origin import Origin
    from horus_async.recorder.records import ExecutionRecord, SendsRecord
    from horus_async.recorder.tallies import TopicTally

    from .reader import RecordedFile
    from .session import Session

_NAMED = frozenset({"$bytes", "$float", "$int", "$tuple", "$dict", "$set", "$frozenset", "$bytearray"})
"""Tags that are named after their types; so are those of the standard library's types."""

_AROUND = 16
"""Ticks after a topic's first and last message in which types are looked for."""


@define
class TopicInfo:
    """A topic of a session, as one node or external publisher published on it."""

    topic: str
    publisher: str
    count: int = 0
    bytes: int = 0
    """Of the messages as text."""
    first_tick: int | None = None
    last_tick: int | None = None
    type: str = ""
    """Of the values: ``dict``, ``float``, ``ndarray``, or the name of a class; ``mixed`` if they are of several. In a
    closed file only some of the values are looked at, the first and the last among them."""
    rate: float = 0.0
    """Messages per second, over the session's duration."""

    def see(self, tick: int, data: Any) -> None:
        """Count a message."""
        self.count += 1
        self.bytes += len(orjson.dumps(data))
        self.first_tick = tick if self.first_tick is None else min(self.first_tick, tick)
        self.last_tick = tick if self.last_tick is None else max(self.last_tick, tick)
        self.note_type(data)

    def note_type(self, data: Any) -> None:
        """Take a message's type into account."""
        kind = type_name(data)
        self.type = kind if self.type in {"", kind} else "mixed"


@define
class NodeFigures:
    """A node of a session."""

    node: str
    ticks: int
    rate: float
    """Ticks per second, over the session's duration."""
    declared_rate: float | None
    messages: int
    bytes: int
    """Of its files."""
    dropped: int
    """Lines that could not be kept."""
    excluded: int = 0
    """Messages left out by the recording's options."""


@define
class SessionInfo:
    """A session in figures."""

    name: str
    path: str
    started_at: str
    ended_at: str | None
    mode: str
    """``deterministic`` or ``real time``."""
    tick_rate: float
    seed: int
    first_tick: int | None
    last_tick: int | None
    duration: float
    """Seconds, on the recorded clock."""
    bytes: int
    nodes: list[NodeFigures] = field(factory=list)
    topics: list[TopicInfo] = field(factory=list)
    notes: list[str] = field(factory=list)
    """What is cut off, damaged, unreadable or missing."""
    log_lines: int = 0
    """Lines of its log."""
    origin: Origin | None = None
    """What it keeps of the file that it was imported from, if it was."""
    window: bool = False
    """Whether it is what a recording has of the last seconds, its older files taken away."""
    trigger: dict[str, Any] | None = None
    """What it was made around, as its manifest says."""

    @property
    def messages(self) -> int:
        """All messages, external ones included."""
        return sum(topic.count for topic in self.topics)


def session_info(session: Session) -> SessionInfo:
    """The figures of a session.

    Raises:
        DamagedRecordingError: A file became unreadable meanwhile.
    """
    duration = session_duration(session)
    info = SessionInfo(
        name=session.name,
        path=str(session.path),
        started_at=session.started_at,
        ended_at=session.ended_at,
        mode="deterministic" if session.deterministic else "real time",
        tick_rate=session.tick_rate,
        seed=session.seed,
        first_tick=session.first_tick,
        last_tick=session.last_tick,
        duration=duration,
        bytes=session_bytes(session),
        window=session.window,
        trigger=session.trigger,
    )
    for node, file in session.files.items():
        figures, topics = _node_info(session, node, file)
        figures.rate = figures.ticks / duration if duration else 0.0
        info.nodes.append(figures)
        info.topics += topics
    info.topics += _external_topics(session)
    for topic in info.topics:
        topic.rate = topic.count / duration if duration else 0.0
    info.log_lines = count_log_lines(session)
    info.notes = session_notes(session)
    try:
        info.origin = read_origin(session.path)
    except DamagedRecordingError as error:
        info.notes.append(str(error))
    excluded = sum(node.excluded for node in info.nodes)
    if excluded:
        info.notes.append(f"{excluded} messages were left out, as the recording was told to")
    return info


def session_duration(session: Session) -> float:
    """The length of a session on its own clock, in seconds: its ticks divided by its rate."""
    first, last = session.first_tick, session.last_tick
    return 0.0 if first is None or last is None else (last - first + 1) / session.tick_rate


def session_bytes(session: Session) -> int:
    """The size of everything in a session's folder, in bytes."""
    total = 0
    for folder, _, names in os.walk(session.path):
        for name in names:
            with suppress(FileNotFoundError):  # a recording that goes on has renamed it
                total += (Path(folder) / name).stat().st_size
    return total


def session_notes(session: Session) -> list[str]:
    """What is known to be missing, one line each; damage shows only in what was read so far."""
    notes = [*session.notes, *(f"{name}: {cut}" for name, cut in session.cuts.items())]
    notes += [f"{name}: {piece}" for name, pieces in session.damage.items() for piece in pieces]
    notes += [f"{name} cannot be read: {why}" for name, why in session.unreadable.items()]
    notes += [f"{name}: {gaps_note(gaps)}" for name, gaps in session.gaps().items()]
    if session.ended_at is not None:
        lost = [file.path.name for file in session.all_files() if file.footer is None and file.cut is None]
        notes += [f"{name} has lost its end: the recording was closed, and it has no footer" for name in lost]
    if is_being_recorded(session.path):
        unknown = ", or its process was killed: without a lock nobody can tell" if is_marked(session.path) else ""
        notes.append(f"it is still being recorded{unknown}")
    elif session.ended_at is None:
        notes.append("the recording was not closed: its process was killed")
    notes += filter(None, map(open_to_everyone, (session.path.parent, session.path)))
    if session.scheduler is None:
        notes.append("the scheduler's file is lost: the session cannot be replayed")
    return notes


def count_log_lines(session: Session) -> int:
    """The lines of a session's log; quick if it was closed."""
    footer = None if session.log_file is None else session.log_file.footer
    return sum(1 for _ in session.log) if footer is None else footer.lines


def gaps_note(gaps: Sequence[GapRecord]) -> str:
    """How much is missing, where and why."""
    number = sum(gap.dropped for gap in gaps)
    ticks = f"tick {gaps[0].tick}" if len(gaps) == 1 else f"ticks {gaps[0].tick} to {gaps[-1].tick}"
    reasons = ", ".join(dict.fromkeys(gap.reason for gap in gaps))
    return f"{number} messages or lines are missing from {ticks} on: {reasons}"


def type_name(data: Any) -> str:
    """The type of a recorded value: ``dict``, ``float``, ``bytes``, ``ndarray``, or the name of its class."""
    if not isinstance(data, dict):
        return "None" if data is None else type(data).__name__
    tag = next(iter(data), "")
    if tag == "$type":
        return str(data[tag])
    if tag == "$ndarray" and isinstance(data[tag], dict) and "dtype" in data[tag]:
        shape = "x".join(map(str, data[tag].get("shape", ())))
        return f"ndarray {data[tag]['dtype']} {shape}".rstrip() if isinstance(data[tag]["dtype"], str) else "ndarray"
    return tag[1:] if tag in _NAMED or tag in standard.MAKERS else "dict"


# -- one file ----------------------------------------------------------------------------------------------------------


def _node_info(session: Session, node: str, file: RecordedFile) -> tuple[NodeFigures, list[TopicInfo]]:
    footer = file.footer
    figures = NodeFigures(node, 0, 0.0, session.nodes[node].rate, 0, file.size, 0, footer.excluded if footer else 0)
    if footer is not None and footer.topics is not None:
        figures.ticks, figures.messages, figures.dropped = footer.ticks, footer.outputs, footer.dropped
        topics = {tally.topic: _told(tally, node) for tally in footer.topics}
        _look_at_types(topics, lambda first, last: _sent(session.executions(node, first, last)))
        return figures, list(topics.values())
    topics = {}
    for line in session.executions(node):
        if isinstance(line, GapRecord):
            figures.dropped += line.dropped
            continue
        figures.ticks += line.kind == "tick"  # and not what was sent besides
        figures.messages += len(line.outputs)
        for sent in line.outputs:
            topics.setdefault(sent.topic, TopicInfo(sent.topic, node)).see(sent.tick, sent.data)
    return figures, sorted(topics.values(), key=lambda topic: topic.topic)


def _sent(lines: Iterable[ExecutionRecord | SendsRecord | GapRecord]) -> Iterator[tuple[str, Any]]:
    for line in lines:
        if not isinstance(line, GapRecord):
            for sent in line.outputs:
                yield sent.topic, sent.data


def _external_topics(session: Session) -> list[TopicInfo]:
    footer = None if session.external_file is None else session.external_file.footer
    if footer is not None and footer.topics is not None:
        told = {(tally.topic, tally.publisher or ""): _told(tally, tally.publisher or "") for tally in footer.topics}
        _look_at_types(
            told,
            lambda first, last: (((m.topic, m.publisher), m.data) for m in session.external(first, last)),
        )
        return list(told.values())
    found: dict[tuple[str, str], TopicInfo] = {}
    for message in session.external():
        key = message.topic, message.publisher
        found.setdefault(key, TopicInfo(*key)).see(message.tick, message.data)
    return [found[key] for key in sorted(found)]


def _told(tally: TopicTally, publisher: str) -> TopicInfo:
    return TopicInfo(tally.topic, publisher, tally.count, tally.bytes, tally.first_tick, tally.last_tick)


def _look_at_types(
    topics: Mapping[Any, TopicInfo], messages: Callable[[int | None, int | None], Iterable[tuple[Any, Any]]]
) -> None:
    """Fill in the types: those of each topic's first and last messages, and of others near them.

    ``messages`` gives key and data of the messages in a range of ticks.
    """
    ticks = {tick for topic in topics.values() for tick in (topic.first_tick, topic.last_tick) if tick is not None}
    done = -1
    for tick in sorted(ticks):
        if tick <= done:
            continue
        done = tick + _AROUND
        for key, data in messages(tick, done):
            if key in topics:
                topics[key].note_type(data)
    hidden = {key for key, topic in topics.items() if topic.count and not topic.type}
    if hidden:  # topics whose messages were all sent by ticks that had begun long before
        for key, data in messages(None, None):
            if key in hidden:
                topics[key].note_type(data)
                hidden.remove(key)
                if not hidden:
                    return
