"""MCAP files, through ``mcap``.

Messages may be JSON, ROS 1 or CDR (ROS 2); one in another encoding becomes its ``bytes``, and a note says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from horus_async.recorder.exports.mcap_export import PUBLISHERS, WRAPPED
from horus_async.recorder.exports.output import need
from horus_async.topics.codec import decode

from .ros import ros_decoder
from .source import SourceMessage, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from .source import Source

    Decode = Callable[[bytes], Any]


def open_mcap(path: Path, stack: ExitStack) -> Source:
    """Open an MCAP file."""
    try:
        import mcap as _  # noqa: F401 - whether it is there
    except ImportError:
        raise need("mcap", "mcap", "importing MCAP files") from None
    return _Mcap(stack.enter_context(path.open("rb")))


class _Mcap(Summary):
    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._decoders: dict[int, Decode] = {}
        for _, channel, message in self._raw():
            self.see(message.log_time, channel.topic, _mcap_publisher(channel))

    def messages(self) -> Iterator[SourceMessage]:
        for schema, channel, message in self._raw():
            decoder = self._decoders.get(channel.id)
            if decoder is None:
                decoder = self._decoders[channel.id] = self._decoder(schema, channel)
            yield SourceMessage(message.log_time, channel.topic, _mcap_publisher(channel), decoder(message.data))

    def _raw(self) -> Iterator[Any]:
        """Schema, channel and message of each, by time; of a file that was cut off, those that are left, in file order.

        The library raises what its parts raise (``struct.error``, ``ZstdError``, ...), hence the broad ``except``.
        """
        from mcap.reader import NonSeekingReader, SeekingReader

        self._stream.seek(0)
        try:
            reader: Any = SeekingReader(self._stream, validate_crcs=True)
            summary = reader.get_summary()
            indexed = summary is not None and bool(summary.chunk_indexes)
        except Exception:  # noqa: BLE001
            indexed = False
        if not indexed:
            self._stream.seek(0)
            reader = NonSeekingReader(self._stream, validate_crcs=True)
        try:
            yield from reader.iter_messages(log_time_order=indexed)
        except Exception as error:  # noqa: BLE001
            note = f"the file is cut off or damaged ({type(error).__name__}): what comes after is lost"
            if note not in self.notes:
                self.notes.append(note)

    def _decoder(self, schema: Any, channel: Any) -> Decode:
        encoding = channel.message_encoding
        if encoding == "json":
            key = channel.metadata.get(WRAPPED)
            return _json if key is None else lambda data: decode(orjson.dumps(orjson.loads(data)[key]))
        if encoding in {"cdr", "ros1"} and schema is not None:
            return ros_decoder(encoding, schema.name, schema.encoding, schema.data.decode())
        self.notes.append(f"topic {channel.topic} is {encoding or 'of unknown encoding'}: its messages are bytes")
        return bytes


def _json(data: bytes) -> Any:
    return decode(bytes(data))


def _mcap_publisher(channel: Any) -> str:
    """Who published on a channel, if it names exactly one; else empty."""
    metadata = channel.metadata
    try:
        names = orjson.loads(metadata.get(PUBLISHERS, "[]"))
    except orjson.JSONDecodeError:
        names = []
    if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
        return names[0]
    return str(metadata.get("callerid", ""))
