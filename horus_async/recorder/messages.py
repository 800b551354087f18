"""All messages of a session in one sequence: what diff and export read, and programs that look for themselves."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from horus_async.observe import NodeInfo

    from .records import ExternalMessage, RecordedOutput

    Progress = Callable[[int], None]
    """Told how many messages were read."""


class RecordedMessage(NamedTuple):
    """A message of a session; a named tuple, as there are many."""

    tick: int
    """The scheduler tick in which it was sent; for an external message, first read."""
    stamp_ns: int
    publisher: str
    topic: str
    seq: int
    data: Any
    """As parsed from JSON, with the codec's tags."""

    @property
    def stamp(self) -> float:
        """When it was sent, in seconds since 1970, or of the run's virtual time."""
        return self.stamp_ns / 1e9

    @property
    def value(self) -> Any:
        """What was sent; a class that the program does not have comes as a dict with its ``$type``."""
        return decode(orjson.dumps(self.data))


class Recorded(Protocol):
    """What is asked of a session, which is read in `horus_async.recorder.read`."""

    @property
    def name(self) -> str:
        """The session's."""

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """By name."""

    @property
    def files(self) -> Mapping[str, Any]:
        """By node."""

    @property
    def external_file(self) -> Any:
        """None where there is none."""

    def outputs(self, node: str, start: int | None = ..., stop: int | None = ..., /) -> Iterable[RecordedOutput]:
        """What a node sent, of a range of ticks."""

    def external(self, start: int | None = ..., stop: int | None = ..., /) -> Iterable[ExternalMessage]:
        """What came from outside, of a range of ticks."""

    def has_loose(self, node: str, /) -> bool:
        """Whether a node may have sent something outside of its callbacks."""


def session_messages(
    session: Recorded,
    topics: Collection[str] = (),
    progress: Progress | None = None,
    *,
    start: int | None = None,
) -> Iterator[RecordedMessage]:
    """All messages, external ones included, in the order of their ticks and within a tick of their stamps.

    Args:
        session: Read frame by frame; memory does not grow with its length.
        topics: Only messages of these; all if empty.
        progress: Told how far it is, with every message of these topics.
        start: The tick to begin with; None for the first.
    """
    sources = [_node_messages(session, node, start) for node, file in session.files.items() if may_hold(file, topics)]
    if session.external_file is not None and may_hold(session.external_file, topics):
        sources.append(_external_messages(session, start))
    merged = heapq.merge(*sources, key=when)
    for count, message in enumerate(one for one in merged if not topics or one.topic in topics):
        if progress is not None:
            progress(count)
        yield message


def count_messages(session: Recorded, topics: Collection[str] = ()) -> int | None:
    """How many messages `session_messages` gives for this; None where only reading them tells."""
    count = 0
    for file in (*session.files.values(), session.external_file):
        if file is None or not may_hold(file, topics):
            continue
        if file.footer is None or file.footer.topics is None:
            return None
        count += sum(tally.count for tally in file.footer.topics if not topics or tally.topic in topics)
    return count


def may_hold(file: Any, topics: Collection[str]) -> bool:
    """Whether a file may hold messages of one of these topics, by what it says when it was closed."""
    if not topics or file.footer is None or file.footer.topics is None:
        return True
    return any(tally.topic in topics for tally in file.footer.topics)


def when(message: RecordedMessage) -> tuple[int, int]:
    """What messages are ordered by: tick and stamp."""
    return message[:2]


def _node_messages(session: Recorded, node: str, start: int | None) -> Iterator[RecordedMessage]:
    for sent in session.outputs(node, start):
        yield RecordedMessage(sent.tick, sent.stamp_ns, node, sent.topic, sent.seq, sent.data)


def _external_messages(session: Recorded, start: int | None) -> Iterator[RecordedMessage]:
    for taken in session.external(start):
        yield RecordedMessage(taken.tick, taken.stamp_ns, taken.publisher, taken.topic, taken.seq, taken.data)
