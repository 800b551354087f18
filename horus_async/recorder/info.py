"""What a session is: its nodes, its topics, and what is missing. Quick, as long as the files were closed properly.

A file that was closed says in its footer how many ticks and messages it has, and its index says where which ticks lie.
What no footer says, the size of a topic's messages, is taken from samples: from its first, its last and some between.
The file of a node that sent on several topics is read whole, and so is a short one, and one without a footer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from .locking import is_being_recorded
from .records import GapRecord

if TYPE_CHECKING:
    from .reader import RecordedFile
    from .session import Session

_READ_WHOLE = 5000
"""Ticks and messages up to which a file is read whole, as that takes no time."""
_SAMPLES = 2
_SAMPLED = 16
"""Messages, or ticks, in a sample."""


@define
class TopicInfo:
    """A topic of a session, as one node or outsider published on it."""

    topic: str
    publisher: str
    count: int = 0
    bytes: int = 0
    """Of the messages as text. From samples unless ``exact``."""
    exact: bool = True
    first_tick: int | None = None
    last_tick: int | None = None
    type: str = ""
    """Of the values: ``dict``, ``float``, ``ndarray``, or the name of a class; ``mixed`` if they are of several."""
    rate: float = 0.0
    """Messages a second, over the session's duration."""

    def see(self, tick: int, data: Any) -> None:
        """Count a message."""
        self.count += 1
        self.bytes += len(orjson.dumps(data))
        self.note(tick, data)

    def note(self, tick: int, data: Any) -> None:
        """Take a message's tick and type into account."""
        kind = type_name(data)
        self.type = kind if self.type in {"", kind} else "mixed"
        self.first_tick = tick if self.first_tick is None else min(self.first_tick, tick)
        self.last_tick = tick if self.last_tick is None else max(self.last_tick, tick)


@define
class NodeFigures:
    """A node of a session."""

    node: str
    ticks: int
    rate: float
    """Ticks a second, over the session's duration."""
    declared_rate: float | None
    messages: int
    bytes: int
    """Of its files."""
    dropped: int
    """Lines that could not be kept."""
    excluded: int = 0
    """Messages that the recording was told to leave out."""


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

    @property
    def messages(self) -> int:
        """All messages, those from outside too."""
        return sum(topic.count for topic in self.topics)


def session_info(session: Session) -> SessionInfo:
    """Look at a session.

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
    )
    for node, file in session.files.items():
        figures, topics = _node_info(session, node, file)
        figures.rate = figures.ticks / duration if duration else 0.0
        info.nodes.append(figures)
        info.topics += sorted(topics.values(), key=lambda topic: topic.topic)
    info.topics += _outside_topics(session)
    for topic in info.topics:
        topic.rate = topic.count / duration if duration else 0.0
    info.notes = session_notes(session)
    excluded = sum(node.excluded for node in info.nodes)
    if excluded:
        info.notes.append(f"{excluded} messages were left out, as the recording was told to")
    return info


def session_duration(session: Session) -> float:
    """How long a session lasts on its own clock, seconds: its ticks over its rate."""
    first, last = session.first_tick, session.last_tick
    return 0.0 if first is None or last is None else (last - first + 1) / session.tick_rate


def session_bytes(session: Session) -> int:
    """The size of everything in a session's folder."""
    return sum(path.stat().st_size for path in session.path.iterdir() if path.is_file())


def session_notes(session: Session) -> list[str]:
    """What is known to be missing, a line each; only what was read so far shows its damage."""
    notes = [f"{name}: {cut}" for name, cut in session.cuts.items()]
    notes += [f"{name}: {piece}" for name, pieces in session.damage.items() for piece in pieces]
    notes += [f"{name} cannot be read: {why}" for name, why in session.unreadable.items()]
    if is_being_recorded(session.path):
        notes.append("it is still being recorded")
    elif session.ended_at is None:
        notes.append("the recording was not closed: its process was killed")
    if session.scheduler is None:
        notes.append("the scheduler's file is lost: the session cannot be replayed")
    return notes


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
    return tag[1:] if tag in {"$bytes", "$float", "$int", "$tuple", "$dict", "$datetime"} else "dict"


# -- one node ----------------------------------------------------------------------------------------------------------


def _node_info(session: Session, node: str, file: RecordedFile) -> tuple[NodeFigures, dict[str, TopicInfo]]:
    declared = session.nodes[node].rate
    footer = file.footer
    size = file.size
    long = footer is not None and footer.ticks + footer.outputs > _READ_WHOLE
    if long and footer is not None and footer.topics is not None and len(footer.topics) <= 1:
        topics = {topic: TopicInfo(topic, node, footer.outputs, exact=False) for topic in footer.topics}
        for topic in topics.values():
            _sample(session, node, topic)
        figures = NodeFigures(node, footer.ticks, 0.0, declared, footer.outputs, size, footer.dropped, footer.excluded)
        return figures, topics
    figures = NodeFigures(node, 0, 0.0, declared, 0, size, 0, 0 if footer is None else footer.excluded)
    topics = {}
    for line in session.executions(node):
        if isinstance(line, GapRecord):
            figures.dropped += line.dropped
            continue
        figures.ticks += line.kind == "tick"
        figures.messages += len(line.outputs)
        for sent in line.outputs:
            topics.setdefault(sent.topic, TopicInfo(sent.topic, node)).see(sent.tick, sent.data)
    return figures, topics


def _sample(session: Session, node: str, topic: TopicInfo) -> None:
    """Fill in what samples say of the only topic of a node: size, type, first and last tick."""
    first, last = session.files[node].first_tick, session.files[node].last_tick
    if first is None or last is None or not topic.count:
        return
    sizes: dict[int, int] = {}

    def look(start: int | None, stop: int | None, most: int) -> None:
        enough = len(sizes) + most
        for line in session.executions(node, start, stop):
            for sent in getattr(line, "outputs", ()):
                topic.note(sent.tick, sent.data)
                sizes[sent.seq] = len(orjson.dumps(sent.data))
            if len(sizes) >= enough:
                return

    look(None, None, _SAMPLED)
    step = (last - first) // _SAMPLES + 1
    for start in range(first + step, last, step):
        look(start, start + _SAMPLED, _SAMPLED)
    width = _SAMPLED
    known = len(sizes)
    while len(sizes) == known < topic.count and width < 8 * (last - first + 1):  # from the end back to the last message
        look(max(first, last - width), None, topic.count)
        width *= 8
    topic.exact = len(sizes) == topic.count
    topic.bytes = round(topic.count * sum(sizes.values()) / len(sizes)) if sizes else 0


def _outside_topics(session: Session) -> list[TopicInfo]:
    found: dict[tuple[str, str], TopicInfo] = {}
    for message in session.external():
        key = message.topic, message.publisher
        found.setdefault(key, TopicInfo(*key)).see(message.tick, message.data)
    return [found[key] for key in sorted(found)]
