"""Writes what CDR has no place for beside the messages: attachments of an MCAP file, which viewers pass over.

An attachment is an LZ4 frame of JSON lines, one for each channel that needs it: ``{"topic", "publisher", "first",
"last", "rests": [[sequence, rest], …]}``. A rest (see `horus_async.encodings.rest`) holds from that message on up to
the next one that is named; null where there is none. Nothing depends on an earlier attachment, so each is good by
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lz4.frame
import orjson
from attrs import define, field

from horus_async.encodings import MisfitError
from horus_async.encodings.rest import rest_of, with_rest

if TYPE_CHECKING:
    from horus_async.encodings import RecordedChannel
    from horus_async.recorder.messages import RecordedMessage

REST = "horus_rest"
"""The name of the attachments."""
REST_TYPE = "application/x-ndjson+lz4"
FULL = 1 << 20
"""Characters from which an attachment is written."""


@define
class _Flow:
    """One channel, since the last attachment."""

    topic: str
    publisher: str
    first: int
    last: int
    rests: list[Any] = field(factory=list)
    rest: Any = None
    """Of the last message."""


@define
class RestWriter:
    """Encodes messages as CDR and keeps what is missing there."""

    writer: Any
    """The library's."""
    count: int = 0
    """Attachments written so far."""
    _flows: dict[tuple[str, str], _Flow] = field(factory=dict)
    _size: int = 0
    _stamp_ns: int = 0

    def encoded(self, channel: RecordedChannel, topic: str, publisher: str, message: RecordedMessage) -> bytes:
        """A message in CDR.

        Args:
            channel: Of the message.
            topic: What the file calls its topic.
            publisher: What the file calls its publisher.
            message: It was found to fit its type.
        """
        data = channel.write(message.data)
        flow = self._flows.get((topic, publisher))
        if flow is None:
            flow = self._flows[topic, publisher] = _Flow(topic, publisher, message.seq, message.seq)
        flow.last = message.seq
        if not _is_whole(channel.read(data), flow.rest, message.data):
            rest = rest_of(channel.read(data), message.data) or None
            flow.rest = rest
            line = orjson.dumps([message.seq & 0xFFFFFFFF, rest])
            flow.rests.append(orjson.Fragment(line))
            self._size += len(line)
            self._stamp_ns = message.stamp_ns
            if self._size >= FULL:
                self.finish()
        return data

    def finish(self) -> None:
        """Write what there is."""
        lines = [
            orjson.dumps(
                {
                    "topic": flow.topic,
                    "publisher": flow.publisher,
                    "first": flow.first & 0xFFFFFFFF,
                    "last": flow.last & 0xFFFFFFFF,
                    "rests": flow.rests,
                }
            )
            for flow in self._flows.values()
            if flow.rests
        ]
        if lines:
            stamp_ns = max(0, self._stamp_ns)
            packed = lz4.frame.compress(b"\n".join(lines) + b"\n")
            self.writer.add_attachment(stamp_ns, stamp_ns, REST, REST_TYPE, packed)
            self.count += 1
        self._flows.clear()
        self._size = 0


def _is_whole(read: Any, rest: Any, message: Any) -> bool:
    """Whether a message that was read is, with this rest, what it was."""
    try:
        return orjson.dumps(with_rest(read, rest) if rest else read) == orjson.dumps(message)
    except MisfitError:
        return False
