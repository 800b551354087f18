"""What a part of a session read that was sent before it: kept beside its messages, so that it can be verified."""

from __future__ import annotations

import itertools
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
    """Gathers which messages the lines of a part name that are not in it.

    Args:
        since: The tick from which on the session has all messages for certain; None if it has all of the run. What is
            older is only in the part if it was one of the last of its topic then, as many as its node keeps for late
            readers: else it would depend on chance.
    """

    def __init__(self, since: int | None = None) -> None:
        self._since = since
        self._first: dict[Stream, int] = {}
        """The lowest number in the part."""
        self.missing = 0
        """How many of these messages the session does not have, once `lines` has looked."""
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
        unique = {(*_stream_of(line), line["seq"]): line for line in found}
        if self._since is not None:
            last = _last_ones(session, {_stream_of(line) for line in unique.values()}, self._since)
            unique = {name: line for name, line in unique.items() if line["tick"] >= self._since or name in last}
        self.missing = sum(map(len, wanted.values())) - len(unique)
        return sorted(unique.values(), key=lambda line: (line["tick"], line["stamp_ns"], line["topic"], line["seq"]))


def _stream_of(line: Fields) -> Stream:
    return line["topic"], line["publisher"], line.get("source", 0)


def _last_ones(session: Session, streams: set[Stream], before: int) -> set[tuple[str, str, int, int]]:
    """The last messages before a tick, as many of each stream as are kept for late readers."""
    found: dict[Stream, list[int]] = {stream: [] for stream in streams}
    places = [_again(session), _external(session, before)]
    publishers = {stream[1] for stream in streams}
    places += [_sent(session, node, None, before) for node in session.files if node in publishers]
    for line in itertools.chain(*places):
        stream = _stream_of(line)
        if stream in found and line["tick"] < before:
            most = max(1, session.nodes[stream[1]].keep.get(stream[0], 1)) if stream[1] in session.nodes else 1
            found[stream] = sorted({*found[stream], line["seq"]})[-most:]
    return {(*stream, seq) for stream, numbers in found.items() for seq in numbers}


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
        yield _sent(session, node, start, first)


def _sent(session: Session, node: str, start: int | None, before: int) -> Iterator[Fields]:
    return (earlier_line(sent, node) for sent in session.outputs(node, start, before - 1))


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
