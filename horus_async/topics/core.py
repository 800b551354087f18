"""What each value passes through on its way through a topic: the native core, or the same in Python.

These classes hold what the hot paths need, and those paths, as ``ring.core`` does for rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.clock.system import monotonic_ns
from horus_async.errors import TopicError
from horus_async.native import core

from .codec import decode
from .packed.marks import MARK, exact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .packed.marks import Pack
    from .ring.region import Taken
    from .values.payload import Payload


class ChannelCore:
    """Where the buses of a process meet on one topic."""

    __slots__ = ("glance", "watchers")

    def __init__(self) -> None:
        self.watchers: tuple[Callable[[], None], ...] = ()
        """Wake tasks that wait, or are callbacks. A tuple that is replaced, never changed, so that loops over it are
        not disturbed."""
        self.glance: Callable[[], bool] | None = None
        """Looks for more rings: ``Discovery.glance``; None if nobody listens to other processes."""


class GlanceCore:
    """Looks for something now and then."""

    __slots__ = ("next_glance",)

    def __init__(self) -> None:
        self.next_glance = 0
        """When to look again, ns of the monotonic clock."""

    def glance(self) -> bool:
        """Call ``glance_now`` unless that was done just now; False if it was not called."""
        return monotonic_ns() >= self.next_glance and self.glance_now()

    def glance_now(self) -> bool:
        """Look for it; True."""
        raise NotImplementedError


class PublisherCore:
    """The way of a publisher's messages into the ring."""

    __slots__ = ("channel", "free", "next_seq", "number", "ring")

    def __init__(self) -> None:
        self.ring: Any = None
        """The ring that it writes, a ``RingWriter``; None before the first message."""
        self.number = 0
        """Its number in the ring's table."""
        self.next_seq = 0
        """The sequence number of its next message."""

    def meet(self, channel: ChannelCore, free: list[object]) -> None:
        """Say where its messages are heard, and whose turn it is to write: the one item is True if nobody's."""
        self.channel = channel
        self.free = free

    if TYPE_CHECKING:

        def publish(self, payload: Payload, stamp_ns: int, seq: int | None = None, order_ns: int | None = None) -> int:
            """See ``Publisher.publish_slowly``, which is the same."""


class SubscriberCore:
    """The way of messages to a subscriber."""

    __slots__ = ("channel", "closed", "only")

    def __init__(self) -> None:
        self.closed = False
        self.only: Any = None
        """The ``RingReader``, if there is just one ring."""

    if TYPE_CHECKING:

        def take(self) -> Taken | None:
            """See ``Subscriber.take_slowly``, which is the same."""


class TopicCore:
    """Values in, values out."""

    __slots__ = ("_forms", "_publisher", "_subscriber", "_type")

    def __init__(self) -> None:
        self._type: type | None = None
        self._publisher: PublisherCore | None = None
        """None once closed."""
        self._forms: Mapping[type, Pack | None]
        self._subscriber: SubscriberCore

    def recv(self, default: Any = None) -> Any:
        """The next unread value, or ``default`` if there is none.

        Raises:
            MessageDecodeError: the next message is damaged; it is consumed.
            TopicTypeError: the next message is not of this topic's type, or a field of it is not what its class
                annotates; it is consumed. A ``SchemaMismatchError`` if its class has other fields where it was sent.
        """
        message = self._subscriber.take()
        if message is None:
            return default
        try:
            value = decode(message[0])
        except TopicError:
            return self._value_of(message)  # raises it again, and says more
        wanted = self._type
        if wanted is not None and (type(value) is not wanted or wanted not in exact or message[0][:2] != MARK):
            self._check_type(value, message[1])
        return value

    def _check_type(self, value: Any, publisher: str) -> None:
        """Make sure that a value is of the topic's type."""
        raise NotImplementedError

    def _value_of(self, message: Taken) -> Any:
        """The value of a message; says what is wrong with it."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def send(self, value: Any) -> None:
            """See ``Topic._send_slowly``, which is the same."""


if not TYPE_CHECKING and core is not None:
    core.connect_topics(TopicError, exact)
    ChannelCore, GlanceCore, TopicCore = core.ChannelCore, core.GlanceCore, core.TopicCore
    PublisherCore, SubscriberCore = core.PublisherCore, core.SubscriberCore
