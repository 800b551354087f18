"""A session as an MCAP file (https://mcap.dev/spec), through the official library, for Foxglove and similar tools.

One channel per topic and publisher. A topic whose messages are all of one class of `horus_async.messages` is CDR under
the ROS 2 name of that class, as ROS itself and all viewers take it; what CDR has no place for stands beside the
messages (see `mcap_rests`), so that an import gives the same values again. All other topics are JSON: a message's data
is the recorded text with the codec's tags, the schema is derived from all messages of the topic. Viewers expect
objects: where any message of a topic is not one, all of them become ``{"value": message}``, and the channel's metadata
says so.

``log_time`` and ``publish_time`` are the stamp, ``sequence`` the low 32 bits of ``seq``. What an imported session keeps
of its file goes back: names, metadata, attachments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from horus_async.encodings import MisfitError, channel_of_recorded, merged_schema, schema_of, viewer_names
from horus_async.encodings.json_schema import readable
from horus_async.recorder.messages import session_messages
from horus_async.recorder.origin import Origin, attachment_path, read_origin

from .mcap_rests import RestWriter
from .output import Exported, check_found, need, writing

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from horus_async.encodings import RecordedChannel
    from horus_async.recorder.messages import Progress, RecordedMessage
    from horus_async.recorder.read.session import Session

WRAPPED = "horus_wrapped"
"""Channel metadata: the key under which messages that are not objects lie."""
PUBLISHERS = "horus_publishers"
"""Channel metadata: who published on the channel, as a JSON list. Version 0.1.0 had one channel for several."""
TOPIC = "horus_topic"
"""Channel metadata: what the session calls the topic."""
CLASS = "horus_class"
"""Channel metadata: the class of the messages, where they are CDR."""
SESSION = "horus_session"
"""The metadata record that says when tick 0 was, and the tick rate."""
RESTS = "rests"
"""In that record: how many attachments there are of what CDR has no place for."""
REGULAR = "deterministic"
"""In that record: whether ticks follow from stamps and the tick rate, ``true`` or ``false``."""


@define
class _Topic:
    channel: RecordedChannel | None
    """That of the class of its messages, as long as they are all of one that CDR has."""
    schema: dict[str, Any] | None = None
    wrapped: bool = False
    channels: dict[str, int] = field(factory=dict)
    """By publisher; 0 before they are made."""
    count: int = 0
    name: str = ""
    """In the file."""


def export_mcap(
    session: Session, output: Path, *, topics: Collection[str] = (), progress: Progress | None = None
) -> Exported:
    """Write the messages of a session into one MCAP file.

    Raises:
        RecordingError: There is nothing to write, it cannot be written, or the package ``mcap`` is missing.
        BrokenPipeError: Nobody reads the pipe any more.
    """
    try:
        from mcap.writer import CompressionType, Writer
    except ImportError:
        raise need("mcap", "mcap", "--format mcap") from None
    found, notes = _survey(session, topics, progress)
    origin = read_origin(session.path)
    names = viewer_names(found) if origin is None else {name: origin.topic(name) for name in found}
    origin = origin or Origin()
    for name, topic in found.items():
        topic.name = names[name]
    with writing(output) as stream:
        writer: Any = Writer(stream, compression=CompressionType.LZ4)
        is_ros = all(topic.channel is not None for topic in found.values())
        writer.start(profile="ros2" if is_ros else "", library="horus-async")
        _make_channels(writer, found, origin)
        rests = RestWriter(writer)
        for message in session_messages(session, topics, progress):
            topic = found[message.topic]
            if topic.channel is not None:
                data = rests.encoded(topic.channel, topic.name, origin.node(message.publisher), message)
            else:
                data = orjson.dumps({"value": message.data} if topic.wrapped else message.data)
            writer.add_message(
                topic.channels[message.publisher],
                log_time=max(0, message.stamp_ns),
                publish_time=max(0, message.stamp_ns),
                sequence=message.seq & 0xFFFFFFFF,
                data=data,
            )
        rests.finish()
        _write_besides(writer, session, origin, rests.count)
        writer.finish()
    return Exported({output: sum(topic.count for topic in found.values())}, notes)


def _survey(
    session: Session, topics: Collection[str], progress: Progress | None
) -> tuple[dict[str, _Topic], list[str]]:
    """What topics there are and how they are written; one more pass where a topic turns out to be no class's."""
    found: dict[str, _Topic] = {}
    misfits: dict[str, str] = {}
    plain: set[str] = set()
    for message in session_messages(session, topics, progress):
        name = message.topic
        topic = found.get(name)
        if topic is None:
            topic = found[name] = _Topic(channel_of_recorded(message.data, name))
        topic.count += 1
        topic.channels[message.publisher] = 0
        if topic.channel is None:
            if name not in plain:
                _describe(topic, message)
            continue
        try:
            if channel_of_recorded(message.data, name) is not topic.channel:
                plain.add(name)
            else:
                topic.channel.write(message.data)
        except MisfitError as error:
            plain.add(name)
            misfits[name] = f"topic {name}, number {message.seq} of {message.publisher}: {error}; so the topic is JSON"
        if name in plain:
            topic.channel = None
    check_found(session, topics, found)
    if plain:
        for message in session_messages(session, plain, progress):
            _describe(found[message.topic], message)
    return found, [*misfits.values()]


def _describe(topic: _Topic, message: RecordedMessage) -> None:
    topic.wrapped = topic.wrapped or not isinstance(message.data, dict)
    topic.schema = merged_schema(topic.schema, schema_of(message.data))


def _make_channels(writer: Any, found: dict[str, _Topic], origin: Origin) -> None:
    schemas: dict[str, int] = {}
    for name, topic in found.items():
        channel, metadata = topic.channel, {TOPIC: name}
        if channel is not None:
            metadata[CLASS] = channel.kind
            if channel.schema_name not in schemas:
                form = channel.schema_encoding
                schemas[channel.schema_name] = writer.register_schema(channel.schema_name, form, channel.schema_data)
            number = schemas[channel.schema_name]
        else:
            schema = topic.schema or {}
            if topic.wrapped:
                metadata[WRAPPED] = "value"
                schema = {"type": "object", "properties": {"value": schema}}
            number = writer.register_schema(topic.name, "jsonschema", orjson.dumps(readable(topic.name, schema)))
        for publisher in topic.channels:
            topic.channels[publisher] = writer.register_channel(
                topic=topic.name,
                message_encoding="json" if channel is None else channel.encoding,
                schema_id=number,
                metadata={PUBLISHERS: orjson.dumps([origin.node(publisher)]).decode(), **metadata},
            )


def _write_besides(writer: Any, session: Session, origin: Origin, rests: int) -> None:
    told = {"start_ns": str(session.start_ns), "tick_rate": repr(session.tick_rate), RESTS: str(rests)}
    writer.add_metadata(SESSION, {**told, REGULAR: str(session.deterministic).lower()})
    for record in origin.metadata:
        texts = {
            key: value if isinstance(value, str) else orjson.dumps(value).decode()
            for key, value in record.values.items()
        }
        writer.add_metadata(record.name, texts)
    for attachment in origin.attachments:
        writer.add_attachment(
            create_time=attachment.create_time_ns,
            log_time=attachment.log_time_ns,
            name=attachment.name,
            media_type=attachment.media_type,
            data=attachment_path(session.path, attachment).read_bytes(),
        )
