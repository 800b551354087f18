"""All messages of a session in one sequence: what diff and export read."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .session import Session

    Progress = Callable[[int], None]
    """Told the tick that was reached, now and then."""

PROGRESS_STEP = 2048
"""Messages between two reports of progress."""


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


def session_messages(
    session: Session, topic: str | None = None, progress: Progress | None = None
) -> Iterator[RecordedMessage]:
    """All messages, external ones included, in the order of their ticks and within a tick of their stamps.

    Args:
        session: Read frame by frame; memory does not grow with its length.
        topic: Only this topic's.
        progress: Told how far it is.
    """
    sources = [_node_messages(session, node) for node in session.files]
    sources.append(_external_messages(session))
    for count, message in enumerate(heapq.merge(*sources, key=_when)):
        if progress is not None and not count % PROGRESS_STEP:
            progress(message.tick)
        if topic is None or message.topic == topic:
            yield message


def _when(message: RecordedMessage) -> tuple[int, int]:
    return message[:2]


def _node_messages(session: Session, node: str) -> Iterator[RecordedMessage]:
    for sent in session.outputs(node):
        yield RecordedMessage(sent.tick, sent.stamp_ns, node, sent.topic, sent.seq, sent.data)


def _external_messages(session: Session) -> Iterator[RecordedMessage]:
    for taken in session.external():
        yield RecordedMessage(taken.tick, taken.stamp_ns, taken.publisher, taken.topic, taken.seq, taken.data)
