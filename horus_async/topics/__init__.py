"""Topics: named streams of messages in shared memory. Names are loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.lazy_names import loader

if TYPE_CHECKING:
    from .borrowing import BorrowedMessage, Borrowing
    from .bus import Bus, default_namespace
    from .message import Message
    from .publisher import Publisher
    from .ring.names import check_namespace, check_topic_name
    from .subscriber import Subscriber
    from .topic import Topic

__all__ = [
    "BorrowedMessage",
    "Borrowing",
    "Bus",
    "Message",
    "Publisher",
    "Subscriber",
    "Topic",
    "check_namespace",
    "check_topic_name",
    "default_namespace",
]

_HOMES = {
    "borrowing": ("BorrowedMessage", "Borrowing"),
    "bus": ("Bus", "default_namespace"),
    "message": ("Message",),
    "publisher": ("Publisher",),
    "ring.names": ("check_namespace", "check_topic_name"),
    "subscriber": ("Subscriber",),
    "topic": ("Topic",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # A type checker that saw this would accept any misspelt name.
    __getattr__ = loader(__name__, __all__, _HOME_OF)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
