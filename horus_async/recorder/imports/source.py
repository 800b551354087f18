"""Files that others recorded, as rows of messages: MCAP through ``mcap``, ROS bags through ``rosbags``.

MCAP messages may be JSON, ROS 1 or CDR (ROS 2); one in another encoding becomes its ``bytes``, and a note says so.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from horus_async.errors import HorusError, RecordingError
from horus_async.recorder.exports.mcap_export import PUBLISHERS, WRAPPED
from horus_async.recorder.exports.output import need
from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Decode = Callable[[bytes], Any]

_MCAP_MAGIC = b"\x89MCAP0\r\n"


class SourceMessage(NamedTuple):
    """A message of a file."""

    stamp_ns: int
    topic: str
    publisher: str
    """Empty where the file does not say."""
    value: Any


class Source(Protocol):
    """A file that was opened."""

    count: int
    first_ns: int
    last_ns: int
    topics: dict[str, None]
    publishers: dict[str, None]
    notes: list[str]

    def messages(self) -> Iterator[SourceMessage]:
        """The messages in the order of their stamps."""


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a file or a ROS 2 bag's folder, whatever kind it is.

    Raises:
        RecordingError: It is not of a kind that can be imported, it cannot be read, or a package is missing.
    """
    if not path.exists():
        raise RecordingError(f"there is no file {path}")
    try:
        with ExitStack() as stack:
            yield _open_mcap(path, stack) if _is_mcap(path) else _open_bag(path, stack)
    except HorusError:
        raise
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # two libraries, with many kinds of errors
        raise RecordingError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _is_mcap(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MCAP_MAGIC)) == _MCAP_MAGIC


class _Summary:
    """What a first pass over a file finds."""

    def __init__(self) -> None:
        self.count = self.first_ns = self.last_ns = 0
        self.topics: dict[str, None] = {}
        self.publishers: dict[str, None] = {}
        self.notes: list[str] = []

    def see(self, stamp_ns: int, topic: str, publisher: str) -> None:
        self.first_ns = min(self.first_ns, stamp_ns) if self.count else stamp_ns
        self.last_ns = max(self.last_ns, stamp_ns)
        self.count += 1
        self.topics[topic] = None
        self.publishers[publisher] = None


# -- MCAP --------------------------------------------------------------------------------------------------------------


def _open_mcap(path: Path, stack: ExitStack) -> Source:
    try:
        import mcap as _  # noqa: F401 - whether it is there
    except ImportError:
        raise need("mcap", "mcap", "importing MCAP files") from None
    return _Mcap(stack.enter_context(path.open("rb")))


class _Mcap(_Summary):
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
            return _ros_decoder(encoding, schema.name, schema.encoding, schema.data.decode())
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


def _ros_decoder(encoding: str, name: str, form: str, definition: str) -> Decode:
    """A decoder for a ROS message type by its definition."""
    try:
        from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
    except ImportError:
        raise need("rosbags", "bags", "decoding ROS messages") from None
    store = get_typestore(Stores.EMPTY)
    parts = name.split("/")
    full = name if len(parts) == 3 else f"{parts[0]}/msg/{parts[-1]}"
    store.register(get_types_from_idl(definition) if "idl" in form else get_types_from_msg(definition, full))
    parse = store.deserialize_cdr if encoding == "cdr" else store.deserialize_ros1
    return lambda data: ros_value(parse(data, full))


# -- ROS bags ----------------------------------------------------------------------------------------------------------


def _open_bag(path: Path, stack: ExitStack) -> Source:
    if path.is_file() and path.suffix not in {".bag", ".db3"}:
        raise RecordingError(f"{path} is neither an MCAP file nor a ROS bag (.bag, .db3, or the folder of a ROS 2 bag)")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise RecordingError(f"{path} is not a ROS 2 bag: it has no metadata.yaml")
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise need("rosbags", "bags", "importing ROS bags") from None
    reader = stack.enter_context(AnyReader([path], default_typestore=get_typestore(Stores.LATEST)))
    return _Bag(reader)


class _Bag(_Summary):
    def __init__(self, reader: Any) -> None:
        super().__init__()
        self._reader = reader
        for connection, stamp_ns, _ in self._reader.messages():
            self.see(stamp_ns, connection.topic, _bag_publisher(connection))

    def messages(self) -> Iterator[SourceMessage]:
        for connection, stamp_ns, data in self._reader.messages():
            value = ros_value(self._reader.deserialize(data, connection.msgtype))
            yield SourceMessage(stamp_ns, connection.topic, _bag_publisher(connection), value)


def _bag_publisher(connection: Any) -> str:
    return getattr(connection.ext, "callerid", None) or ""


def ros_value(value: Any) -> Any:
    """A ROS message as a dict of dicts, lists and arrays."""
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: ros_value(getattr(value, name)) for name in fields if name != "__msgtype__"}
    if isinstance(value, list):
        return [ros_value(item) for item in value]
    return value
