"""Messages that one session has from outside and another from its nodes, or that several have from outside.

Merged, they are one message: that of the node where there is one, else the first that was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from horus_async.recorder.read.session import Session
    from horus_async.recorder.records import ExternalMessage

    Stream = tuple[int, str, str, int]
    """Number of the session, topic, publisher, source."""


class Outside:
    """The external messages of several sessions, as they are called in the merged one.

    Args:
        sessions: What is merged.
        name_of: Gives the new name of a node, by the number of its session and its old one.
    """

    def __init__(self, sessions: Sequence[Session], name_of: Callable[[int, str], str]) -> None:
        self._name_of = name_of
        self._owners: dict[tuple[str, str, int, int], Stream] = {}
        """By topic, publisher, number and stamp: the stream that had it first."""
        self._same: dict[Stream, Stream] = {}
        """Streams that have messages of an earlier one: their publisher is the same."""
        for number, session in enumerate(sessions):
            for message in session.external():
                stream = number, message.topic, message.publisher, message.source
                owner = self._owners.setdefault(_identity(message), stream)
                if owner[0] != number:
                    self._same.setdefault(stream, self._same.get(owner, owner))
        self._of_nodes: dict[tuple[str, str, int, int], str] = {}
        for number, session in enumerate(sessions):
            self._find_in_nodes(number, session)
        nodes = {name_of(number, node) for number, session in enumerate(sessions) for node in session.nodes}
        self._sources = self._number(nodes)
        self._written: set[tuple[str, str, int, int]] = set()
        self._stamps: dict[tuple[Stream, int], int] = {
            (stream, identity[2]): identity[3] for identity, stream in self._owners.items()
        }
        self.doubled = 0
        """External messages that are there already."""

    def _find_in_nodes(self, number: int, session: Session) -> None:
        publishers = {stream[2] for stream in self._owners.values() if stream[0] != number}
        for node in session.nodes:
            if node in publishers:
                for sent in session.outputs(node):
                    identity = sent.topic, node, sent.seq, sent.stamp_ns
                    owner = self._owners.get(identity)
                    if owner is not None and owner[0] != number:
                        self._of_nodes.setdefault(identity, self._name_of(number, node))

    def _number(self, nodes: set[str]) -> dict[Stream, int]:
        """A source for each stream, as in any recording: 0 is not given to a publisher with a node's name."""
        sources: dict[Stream, int] = {}
        taken: dict[tuple[str, str], int] = {}
        for stream in dict.fromkeys(self._owners.values()):
            _, topic, publisher, _ = stream
            if stream not in self._same:
                source = taken.get((topic, publisher), 1 if publisher in nodes else 0)
                sources[stream], taken[topic, publisher] = source, source + 1
        return sources

    def source_of(self, stream: Stream) -> int:
        """The source of a stream's messages in the merged session."""
        return self._sources.get(self._same.get(stream, stream), 0)

    def take(self, message: tuple[str, str, int, int]) -> bool:
        """Whether an external message is to be written: it is nowhere else."""
        if message in self._of_nodes or message in self._written:
            self.doubled += 1
            return False
        self._written.add(message)
        return True

    def read_from(self, stream: Stream, seq: int) -> tuple[str, int]:
        """Publisher and source by which an input names an external message."""
        owner = self._same.get(stream, stream)
        stamp_ns = self._stamps.get((stream, seq), self._stamps.get((owner, seq)))
        _, topic, publisher, _ = stream
        node = None if stamp_ns is None else self._of_nodes.get((topic, publisher, seq, stamp_ns))
        return (publisher, self.source_of(stream)) if node is None else (node, 0)


def _identity(message: ExternalMessage) -> tuple[str, str, int, int]:
    return message.topic, message.publisher, message.seq, message.stamp_ns
