"""Topics: named streams of messages in shared memory."""

from horus_async.topics.borrowing import BorrowedMessage, Borrowing
from horus_async.topics.bus import Bus, default_namespace
from horus_async.topics.message import Message
from horus_async.topics.names import check_namespace, check_topic_name
from horus_async.topics.publisher import Publisher
from horus_async.topics.subscriber import Subscriber
from horus_async.topics.topic import Topic

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
