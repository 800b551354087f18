"""Requests, and what comes back for them: plain messages that name a request by who sent it, and which of theirs it is.

A request is the user's value. What comes back is a dict: ``publisher``, ``seq`` and ``stamp_ns`` of the request, and
then ``value``, ``error`` or ``state``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

from attrs import frozen

if TYPE_CHECKING:
    from horus_async.topics import Message

ENDS = frozenset({"succeeded", "failed", "rejected", "cancelled", "preempted"})
"""The states in which a goal has ended."""
PARAMS = "params"
"""The service with which parameters are set and read."""


@frozen
class Request:
    """A message that something comes back for."""

    publisher: str
    seq: int
    stamp_ns: int | None
    """Tells two nodes of one name in two processes apart; None where another run's replies are played."""

    @classmethod
    def of(cls, message: Message) -> Self:
        """The one that this message is."""
        return cls(message.publisher, message.seq, message.stamp_ns)

    @classmethod
    def named_in(cls, value: Any) -> Self | None:
        """The one that a message names; None if it names none."""
        if not isinstance(value, dict):
            return None
        publisher, seq, stamp_ns = (value.get(name) for name in ("publisher", "seq", "stamp_ns"))
        if isinstance(publisher, str) and type(seq) is int and (stamp_ns is None or type(stamp_ns) is int):
            return cls(publisher, seq, stamp_ns)
        return None

    def named(self, **rest: Any) -> dict[str, Any]:
        """A message that names it."""
        return {"publisher": self.publisher, "seq": self.seq, "stamp_ns": self.stamp_ns, **rest}

    def is_meant_by(self, other: Request) -> bool:
        """Whether something that came back for ``other`` came back for this."""
        stamps = {self.stamp_ns, other.stamp_ns} - {None}
        return (self.publisher, self.seq) == (other.publisher, other.seq) and len(stamps) < 2


class Asker(Protocol):
    """What a node's topics do for requests."""

    def ask(self, topic: str, value: Any, answers: str) -> Request:
        """Send a request, what comes back for which is read from ``answers``; says how that will name it."""

    async def receive_answer(self, topic: str) -> Message:
        """Wait for the next unread message in the place that `ask` has opened."""

    def gave_up(self, topic: str) -> None:
        """Somebody has waited for an answer in vain."""


def said_of(error: BaseException) -> str:
    """An exception as others are told of it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
