"""What a node can do while it runs; provided by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from horus_async.topics import Borrowing, Message

    from .interface.asking import Asking


class Synced(Protocol):
    """What takes messages of several topics and matches them."""

    @property
    def unmatched_in_all(self) -> int:
        """How many of them found no partners."""


class TopicAccess(Protocol):
    """The topics of one node in one run. Each method is the one of the same name in `Node`."""

    syncs: dict[str, Synced]
    """What matches a topic's messages with those of others; another dict once ``init`` runs again."""

    def send(self, topic: str, value: Any) -> None:
        """Send a value."""

    def recv(self, topic: str, default: Any) -> Any:
        """The next unread value, or ``default``."""

    def recv_all(self, topic: str) -> list[Any]:
        """All unread values, oldest first."""

    def recv_message(self, topic: str) -> Message | None:
        """The next unread message, or None."""

    def borrow(self, topic: str) -> Borrowing:
        """The next unread message, without copying its arrays."""

    def latest(self, topic: str) -> Any:
        """The newest value, or None; consumes nothing."""

    def has_msg(self, topic: str) -> bool:
        """Whether there is an unread message; consumes nothing."""

    async def receive(self, topic: str) -> Any:
        """Wait for the next unread value."""

    async def receive_any(self, names: Sequence[str]) -> Message:
        """Wait for the next unread message of any of some topics."""

    def lost(self, topic: str) -> int:
        """How many messages were overwritten before they were read."""

    def asking(self, node: Any) -> Asking:
        """What the node has asked of others."""

    def note(self, category: str, message: str, data: dict[str, Any]) -> None:
        """Tell those who watch the run of an event."""

    def background(self, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        """Start a task of the node's own."""

    def in_thread(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Start a thread of the node's own."""

    def request_stop(self) -> None:
        """Ask the scheduler to end the run."""
