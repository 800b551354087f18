"""A session in short: what a catalogue keeps of it. Quick if it was closed; else its lines are read."""

from __future__ import annotations

from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING

import orjson
from attrs import asdict, field, frozen

from horus_async.clock.system import parse_iso_utc
from horus_async.errors import DamagedRecordingError, RecordingError, UnsupportedVersionError
from horus_async.limits.open_files import why
from horus_async.recorder.catalogue.happenings import LOG, Happening, Happenings, merged, read_rows
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.read.session import Session
from horus_async.recorder.records import ExecutionRecord, GapRecord, parse_line
from horus_async.recorder.tallies import Tallies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from horus_async.recorder.read.reader import RecordedFile
    from horus_async.recorder.tallies import TopicTally

_PROBLEMS = 5
"""So many are told in words."""
_REASONS = {"emergency stop: ": "EmergencyStop", "fatal: ": "Fatal"}
"""What the reason for the end of a run begins with, and what that is."""


@frozen
class TopicFacts:
    """A topic of a session, as one node or external publisher published on it."""

    topic: str
    publisher: str
    count: int
    first_tick: int
    last_tick: int


@frozen
class Facts:
    """A session in short."""

    program: str = ""
    """The scheduler's name."""
    started_at: str = ""
    started_ns: int | None = None
    """Wall clock, nanoseconds since 1970; None if it is lost."""
    ended_at: str | None = None
    reason: str = ""
    tick_rate: float = 0.0
    deterministic: bool = False
    seed: str = ""
    """In digits: it may be of any size."""
    first_tick: int | None = None
    last_tick: int | None = None
    nodes: tuple[str, ...] = ()
    topics: tuple[TopicFacts, ...] = ()
    happenings: tuple[Happening, ...] = ()
    problems: tuple[str, ...] = field(factory=tuple)
    """What of it cannot be read."""
    readable: bool = True
    """Whether anything can."""

    @property
    def duration(self) -> float:
        """Seconds, on the recorded clock."""
        if self.first_tick is None or self.last_tick is None or not self.tick_rate > 0:
            return 0.0
        return (self.last_tick - self.first_tick + 1) / self.tick_rate

    @property
    def messages(self) -> int:
        """All messages, external ones included."""
        return sum(topic.count for topic in self.topics)

    def seconds(self, tick: int | None) -> float | None:
        """When a tick was: seconds since the first one, by the tick rate."""
        if tick is None or self.first_tick is None or not self.tick_rate > 0:
            return None
        return (tick - self.first_tick) / self.tick_rate

    def to_json(self) -> bytes:
        """As a catalogue keeps it."""
        fields = asdict(self, recurse=False)
        fields["topics"] = [(t.topic, t.publisher, t.count, t.first_tick, t.last_tick) for t in self.topics]
        fields["happenings"] = [tuple(row) for row in self.happenings]
        return orjson.dumps(fields)

    @classmethod
    def from_json(cls, text: bytes) -> Facts:
        """What `to_json` made.

        Raises:
            ValueError, TypeError: It did not make this.
        """
        fields = orjson.loads(text)
        fields["topics"] = tuple([TopicFacts(*row) for row in fields["topics"]])
        fields["happenings"] = tuple([Happening(*row) for row in fields["happenings"]])
        fields["nodes"], fields["problems"] = tuple(fields["nodes"]), tuple(fields["problems"])
        return cls(**fields)


def unreadable(problem: str) -> Facts:
    """Of a session of which nothing can be read."""
    return Facts(problems=(_plain(problem),), readable=False)


def facts_of(folder: Path) -> Facts:
    """Read a session as far as it takes. Whatever is wrong with it is among its ``problems``."""
    try:
        return _read(folder)
    except (RecordingError, UnsupportedVersionError) as error:
        return unreadable(str(error))
    except OSError as error:
        return unreadable(why(error))
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError) as error:
        return unreadable(f"{type(error).__name__}: {error}")


def _read(folder: Path) -> Facts:
    session = Session(folder)
    try:
        manifest = read_manifest(folder) or {}
    except DamagedRecordingError:  # the session says so itself
        manifest = {}
    told = read_rows(manifest.get("happenings")) if session.ended_at is not None else None
    counted, topics = Happenings(), Tallies()
    for node, file in session.files.items():
        _see_node(session, node, file, topics, counted if told is None else None)
    _see_external(session, topics)
    if told is None:
        for line in session.log:
            counted.see(f"{LOG}{line.level}", line.node or "", line.at_tick)
    gaps = Happenings()
    for name, found in session.gaps().items():
        node = next((node for node, file in session.files.items() if name in {p.name for p in file.paths}), "")
        for gap in found:
            gaps.see("Gap", node, gap.tick, gap.dropped)
    reason = manifest.get("reason")
    reason = reason if isinstance(reason, str) else ""
    for begins, event in _REASONS.items():
        if reason.startswith(begins):
            gaps.see(event, reason[len(begins) :].partition(":")[0] if event == "Fatal" else "", session.last_tick)
    happened = merged(told or counted.rows() or [], gaps.rows() or [])
    return Facts(
        program=_plain(session.scheduler_name),
        started_at=_plain(session.started_at),
        started_ns=_when(session.started_at),
        ended_at=session.ended_at and _plain(session.ended_at),
        reason=_plain(reason),
        tick_rate=session.tick_rate if isfinite(session.tick_rate) else 0.0,
        deterministic=session.deterministic,
        seed=str(session.seed),
        first_tick=session.first_tick,
        last_tick=session.last_tick,
        nodes=tuple(map(_plain, session.nodes)),
        topics=tuple(
            TopicFacts(_plain(one.topic), _plain(one.publisher or ""), one.count, one.first_tick, one.last_tick)
            for one in topics.rows()
        ),
        happenings=tuple(row._replace(event=_plain(row.event), node=_plain(row.node)) for row in happened),
        problems=tuple(_problems(session)),
    )


def _see_node(session: Session, node: str, file: RecordedFile, topics: Tallies, errors: Happenings | None) -> None:
    footer = file.footer
    if footer is None or footer.topics is None:
        for line in session.executions(node):
            if isinstance(line, GapRecord):
                continue
            for sent in line.outputs:
                topics.see(sent.topic, node, sent.tick, 0)
            if errors is not None and isinstance(line, ExecutionRecord):
                _see_error(node, line, errors)
        return
    _add(topics, footer.topics, node)
    if errors is not None:
        for line in _with_errors(file):
            _see_error(node, line, errors)


def _with_errors(file: RecordedFile) -> Iterator[ExecutionRecord]:
    """The callbacks that failed. No other line is parsed."""
    for text in file.lines():
        if b'"error":"' in text:
            with suppress(DamagedRecordingError):
                found = parse_line(text)
                if isinstance(found, ExecutionRecord):
                    yield found


def _see_error(node: str, line: ExecutionRecord, errors: Happenings) -> None:
    if line.error is not None and not line.was_cut:
        errors.see("NodeError", node, line.tick)


def _see_external(session: Session, topics: Tallies) -> None:
    file = session.external_file
    if file is None:
        return
    footer = file.footer
    if footer is not None and footer.topics is not None:
        _add(topics, footer.topics, "")
        return
    for message in session.external():
        topics.see(message.topic, message.publisher, message.tick, 0)


def _add(topics: Tallies, told: tuple[TopicTally, ...], publisher: str) -> None:
    for tally in told:
        tally.publisher = tally.publisher or publisher
        topics.add(tally)


def _problems(session: Session) -> list[str]:
    found = list(session.unreadable.values())
    found += [f"{name}: {piece}" for name, pieces in session.damage.items() for piece in pieces]
    more = [f"and {len(found) - _PROBLEMS} more"] if len(found) > _PROBLEMS else []
    return [_plain(problem) for problem in [*found[:_PROBLEMS], *more]]


def _when(started_at: str) -> int | None:
    try:
        return parse_iso_utc(started_at)
    except (ValueError, OverflowError):
        return None


def _plain(text: str) -> str:
    """As UTF-8 can hold it: half a surrogate pair, as in the name of a file, is spelled out."""
    return text.encode(errors="backslashreplace").decode()
