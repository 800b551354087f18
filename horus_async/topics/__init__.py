"""Topics: named streams of messages in shared memory."""

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
