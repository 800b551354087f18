"""A message as a program receives it."""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen
class Message:
    """A value with its identity: (topic, publisher, seq) identifies one message for good."""

    value: Any
    topic: str
    seq: int
    """The publisher's own count of its messages on this topic, from 0."""
    stamp_ns: int
    """When it was sent, nanoseconds since 1970."""
    publisher: str
    """The node that sent it; for a bare ``Topic`` handle ``topic-`` and the process id."""
