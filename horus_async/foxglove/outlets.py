"""Topics as viewers see them: a channel for each, made anew where messages turn out to be of another kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import foxglove
import orjson
from attrs import frozen

from horus_async.encodings import (
    MisfitError,
    channel_for,
    channel_of_recorded,
    json_channel,
    schema_of,
    viewer_name,
)
from horus_async.frames.names import EITHER
from horus_async.spelling import free_name
from horus_async.topics.codec import decode, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.encodings import Channel
    from horus_async.recorder.messages import RecordedMessage
    from horus_async.topics.ring.region import Taken


@frozen
class Shown:
    """A message that is to be shown."""

    stamp_ns: int
    channel: Channel | None
    """That of its class in `horus_async.messages`; None for any other."""
    as_cdr: Callable[[], bytes] | None
    """Where there is a ``channel``. It raises `MisfitError`."""
    as_text: Callable[[], bytes]
    """JSON, with the codec's tags."""


def live(topic: str, taken: Taken) -> Shown:
    """A message as it comes out of a ring.

    Raises:
        TopicError: It cannot be read.
    """
    payload, _, _, stamp_ns = taken
    value = decode(payload)
    first = value[0] if topic in EITHER and isinstance(value, list) and value else value
    channel = channel_for(type(first), topic)
    encoded = None if channel is None else partial(channel.encode, value)
    return Shown(stamp_ns, channel, encoded, lambda: bytes(to_json(payload)))


def recorded(message: RecordedMessage) -> Shown:
    """A message of a session."""
    data = message.data
    channel = channel_of_recorded(data, message.topic)
    encoded = None if channel is None else partial(channel.write, data)
    return Shown(message.stamp_ns, channel, encoded, lambda: orjson.dumps(data))


class Outlet:
    """One topic.

    Messages of one class of `horus_async.messages` are CDR, as ROS 2 has them. Whatever comes after something else, or
    does not fit its ROS 2 type, is JSON, as is everything from then on; and what is no object then is
    ``{"value": message}``.
    """

    def __init__(self, context: foxglove.Context, topic: str, name: str) -> None:
        self._context = context
        self.topic = topic
        self.name = name
        """What viewers call it."""
        self.count = 0
        self._cdr: Channel | None = None
        """What all messages so far are written by; None as soon as one is not."""
        self._wraps = False
        self._channel: foxglove.Channel | None = None

    @property
    def is_open(self) -> bool:
        """Whether viewers know of the topic."""
        return self._channel is not None

    def offer(self, message: Shown) -> None:
        """Have viewers know the topic, of which this is a message."""
        self._encoded(message)

    def show(self, message: Shown) -> None:
        """Send a message to the viewers that watch the topic; if there are none, it is only offered."""
        if self._channel is not None and not self._channel.has_sinks():
            return
        data = self._encoded(message)
        if self._channel is not None and self._channel.has_sinks():
            self._channel.log(data, log_time=max(0, message.stamp_ns))
            self.count += 1

    def close(self) -> None:
        """Take the topic from viewers. Idempotent."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _encoded(self, message: Shown) -> bytes:
        if self._channel is None and message.channel is not None:
            self._cdr = message.channel
        if self._cdr is not None and message.channel is self._cdr and message.as_cdr is not None:
            try:
                data = message.as_cdr()
            except MisfitError:
                pass
            else:
                self._open(self._cdr)
                return data
        text = message.as_text()
        wraps = self._wraps or not text.startswith(b"{")
        if self._cdr is not None or wraps is not self._wraps:
            self.close()  # viewers ask for it again by its name
            self._cdr = None
            self._wraps = wraps
        if self._channel is None:
            schema = schema_of(orjson.loads(text))
            if wraps:
                schema = {"type": "object", "properties": {"value": schema}}
            self._open(json_channel(self.name, None, schema=schema))
        return b'{"value":%b}' % text if wraps else text

    def _open(self, form: Channel) -> None:
        if self._channel is None:
            schema = foxglove.Schema(name=form.schema_name, encoding=form.schema_encoding, data=form.schema_data)
            self._channel = foxglove.Channel(
                self.name,
                schema=schema,
                message_encoding=form.encoding,
                context=self._context,
                metadata={"horus_topic": self.topic},
            )


class Outlets:
    """All topics of a server, by the names that viewers know them by."""

    def __init__(self, context: foxglove.Context) -> None:
        self._context = context
        self._by_topic: dict[str, Outlet] = {}
        self._by_name: dict[str, Outlet] = {}

    def of(self, topic: str) -> Outlet:
        """The outlet of a topic."""
        outlet = self._by_topic.get(topic)
        if outlet is None:
            name = free_name(viewer_name(topic), self._by_name)
            outlet = self._by_topic[topic] = self._by_name[name] = Outlet(self._context, topic, name)
        return outlet

    def named(self, name: str) -> Outlet | None:
        """The outlet that viewers call so."""
        return self._by_name.get(name)

    def close(self) -> None:
        """Take all topics from viewers."""
        for outlet in self._by_topic.values():
            outlet.close()

    @property
    def count(self) -> int:
        """Messages that were shown."""
        return sum(outlet.count for outlet in self._by_topic.values())
