"""What an import reads: a file that others recorded, as a row of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class SourceMessage(NamedTuple):
    """A message of a file."""

    stamp_ns: int
    topic: str
    publisher: str
    """Empty where the file does not say."""
    value: Any


class Source(Protocol):
    """A file that was opened."""

    count: int
    first_ns: int
    last_ns: int
    topics: dict[str, None]
    publishers: dict[str, None]
    expected: dict[str, int]
    """How many messages of each topic the file itself, or its metadata, says that it holds; empty if it says nothing."""
    notes: list[str]

    def messages(self) -> Iterator[SourceMessage]:
        """The messages in the order of their stamps."""


class Summary:
    """What a first pass over a file finds."""

    def __init__(self) -> None:
        self.count = self.first_ns = self.last_ns = 0
        self.topics: dict[str, None] = {}
        self.publishers: dict[str, None] = {}
        self.expected: dict[str, int] = {}
        self.notes: list[str] = []

    def see(self, stamp_ns: int, topic: str, publisher: str) -> None:
        """Count a message."""
        self.first_ns = min(self.first_ns, stamp_ns) if self.count else stamp_ns
        self.last_ns = max(self.last_ns, stamp_ns)
        self.count += 1
        self.topics[topic] = None
        self.publishers[publisher] = None
