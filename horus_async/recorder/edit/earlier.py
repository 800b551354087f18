"""What a part of a session read that was sent before it: kept beside its messages, so that it can be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from horus_async.recorder.read.session import Session
    from horus_async.recorder.records import EarlierMessage, ExternalMessage, RecordedOutput

    from .files import Fields

    Stream = tuple[str, str, int]
    """Topic, publisher, source."""

_NEAR = 1000
"""Ticks before the part in which is looked first."""


class Earlier:
    """Gathers which messages the lines of a part name that are not in it."""

    def __init__(self) -> None:
        self._first: dict[Stream, int] = {}
        """The lowest number in the part."""
        self._named: dict[Stream, set[int]] = {}

    def see_outside(self, session: Session, first: int, last: int) -> None:
        """Take in the external messages of the part."""
        for message in session.external(first, last):
            self._there((message.topic, message.publisher, message.source), message.seq)

    def see(self, fields: Fields, node: str) -> None:
        """Take in a line of a node in the part."""
        for sent in fields.get("outputs", ()):
            self._there((sent["topic"], node, 0), sent["seq"])
        for named in (*fields.get("inputs", ()), *fields.get("looks", ())):
            if "publisher" in named:
                stream = named["topic"], named["publisher"], named.get("source", 0)
                if named["seq"] < self._first.get(stream, named["seq"] + 1):
                    self._named.setdefault(stream, set()).add(named["seq"])

    def _there(self, stream: Stream, seq: int) -> None:
        if seq < self._first.get(stream, seq + 1):
            self._first[stream] = seq
            if stream in self._named:
                self._named[stream] = {number for number in self._named[stream] if number < seq}

    def lines(self, session: Session, first: int) -> list[Fields]:
        """The lines that hold these messages, in order, as far as the session has them."""
        wanted = {stream: numbers for stream, numbers in self._named.items() if numbers}
        found: list[Fields] = []
        for publisher in dict.fromkeys(stream[1] for stream in wanted):
            if publisher in session.files:
                here = {s: n for s, n in wanted.items() if s[1] == publisher and not s[2]}
                found += _find(_outputs(session, publisher, first), here)
        outside = {s: n for s, n in wanted.items() if s[2] or s[1] not in session.files}
        found += _find([_external(session, first)], outside)
        found += _find([_again(session)], wanted)
        unique = {(line["topic"], line["publisher"], line.get("source", 0), line["seq"]): line for line in found}
        return sorted(unique.values(), key=lambda line: (line["tick"], line["stamp_ns"]))


def _find(places: Iterable[Iterable[Fields]], wanted: dict[Stream, set[int]]) -> Iterator[Fields]:
    """Look for messages, in one place after another until all are found."""
    missing = sum(map(len, wanted.values()))
    done = set[tuple[Any, ...]]()
    for place in places:
        if len(done) >= missing:
            return
        for line in place:
            stream = line["topic"], line["publisher"], line.get("source", 0)
            if line["seq"] in wanted.get(stream, ()) and (*stream, line["seq"]) not in done:
                done.add((*stream, line["seq"]))
                yield line


def _outputs(session: Session, node: str, first: int) -> Iterator[Iterator[Fields]]:
    for start in (max(0, first - _NEAR), None):
        yield (earlier_line(sent, node) for sent in session.outputs(node, start, first - 1))


def _external(session: Session, first: int) -> Iterator[Fields]:
    return (earlier_line(message, message.publisher, message.source) for message in session.external(None, first - 1))


def _again(session: Session) -> Iterator[Fields]:
    """Those that a session which was cut has of before itself."""
    return (earlier_line(message, message.publisher, message.source) for message in session.earlier())


def earlier_line(message: RecordedOutput | ExternalMessage | EarlierMessage, publisher: str, source: int = 0) -> Fields:
    """The line of a message from before a part."""
    which = {"source": source} if source else {}
    named = {"kind": "earlier", "topic": message.topic, "publisher": publisher, **which}
    return {**named, "data": message.data, "stamp_ns": message.stamp_ns, "seq": message.seq, "tick": message.tick}
