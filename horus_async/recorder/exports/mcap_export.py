"""A session as an MCAP file (https://mcap.dev/spec), through the official library, for Foxglove and similar tools.

One channel per topic and publisher, in JSON: a message's data is the recorded text with the codec's tags, so that
nothing is lost and an import gives the same values again. The JSON schema of a topic is derived from all its messages.
Foxglove expects objects: where any message of a topic is not one, all of them become ``{"value": message}``, and the
channel's metadata says so. ``log_time`` and ``publish_time`` are the stamp, ``sequence`` the low 32 bits of ``seq``.

What an imported session keeps of its file goes back: names, metadata, attachments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from horus_async.recorder.messages import session_messages
from horus_async.recorder.origin import Origin, attachment_path, read_origin

from .output import Exported, check_found, need, writing

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from horus_async.recorder.messages import Progress
    from horus_async.recorder.read.session import Session

WRAPPED = "horus_wrapped"
"""Channel metadata: the key under which messages that are not objects lie."""
PUBLISHERS = "horus_publishers"
"""Channel metadata: who published on the channel, as a JSON list. Version 0.1.0 had one channel for several."""
SESSION = "horus_session"
"""The metadata record that says when tick 0 was, and the tick rate."""

_MAX_DEPTH = 12
_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


@define
class _Topic:
    schema: dict[str, Any] | None = None
    wrapped: bool = False
    channels: dict[str, int] = field(factory=dict)
    """By publisher; 0 before they are made."""
    count: int = 0


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
    found = _survey(session, topics, progress)
    with writing(output) as stream:
        writer: Any = Writer(stream, compression=CompressionType.LZ4)
        writer.start(profile="", library="horus-async")
        origin = read_origin(session.path) or Origin()
        for name, topic in found.items():
            _make_channels(writer, name, topic, origin)
        for message in session_messages(session, topics, progress):
            topic = found[message.topic]
            data = {"value": message.data} if topic.wrapped else message.data
            writer.add_message(
                topic.channels[message.publisher],
                log_time=max(0, message.stamp_ns),
                publish_time=max(0, message.stamp_ns),
                sequence=message.seq & 0xFFFFFFFF,
                data=orjson.dumps(data),
            )
        _write_besides(writer, session, origin)
        writer.finish()
    return Exported({output: sum(topic.count for topic in found.values())})


def _survey(session: Session, topics: Collection[str], progress: Progress | None) -> dict[str, _Topic]:
    found: dict[str, _Topic] = {}
    for message in session_messages(session, topics, progress):
        topic = found.setdefault(message.topic, _Topic())
        topic.count += 1
        topic.channels[message.publisher] = 0
        topic.wrapped = topic.wrapped or not isinstance(message.data, dict)
        topic.schema = merged_schema(topic.schema, schema_of(message.data))
    check_found(session, topics, found)
    return found


def _make_channels(writer: Any, name: str, found: _Topic, origin: Origin) -> None:
    topic = origin.topic(name)
    schema = found.schema or {}
    if found.wrapped:
        schema = {"type": "object", "properties": {"value": schema}}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": topic, **schema}
    number = writer.register_schema(name=topic, encoding="jsonschema", data=orjson.dumps(schema))
    for publisher in found.channels:
        metadata = {PUBLISHERS: orjson.dumps([origin.node(publisher)]).decode()}
        if found.wrapped:
            metadata[WRAPPED] = "value"
        found.channels[publisher] = writer.register_channel(
            topic=topic, message_encoding="json", schema_id=number, metadata=metadata
        )


def _write_besides(writer: Any, session: Session, origin: Origin) -> None:
    writer.add_metadata(SESSION, {"start_ns": str(session.start_ns), "tick_rate": repr(session.tick_rate)})
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


def schema_of(data: Any, depth: int = 0) -> dict[str, Any]:
    """The JSON schema of one value."""
    if depth > _MAX_DEPTH:
        return {}
    if isinstance(data, dict):
        properties = {key: schema_of(item, depth + 1) for key, item in data.items()}
        if "$bytes" in properties:
            properties["$bytes"] = {"type": "string", "contentEncoding": "base64"}
        return {"type": "object", "properties": properties}
    if isinstance(data, list):
        items: dict[str, Any] | None = None
        for item in data:
            items = merged_schema(items, schema_of(item, depth + 1))
        return {"type": "array"} if items is None else {"type": "array", "items": items}
    return {"type": _NAMES[type(data)]}


def merged_schema(a: dict[str, Any] | None, b: dict[str, Any]) -> dict[str, Any]:
    """A schema that both values match; ``a`` itself where it says it all."""
    if a is None or a == b:
        return b
    if a.get("type") == b.get("type") == "object":
        mine, others = a["properties"], b["properties"]
        properties = {key: merged_schema(mine.get(key), item) for key, item in others.items()}
        return {"type": "object", "properties": {**mine, **properties}}
    if a.get("type") == b.get("type") == "array":
        return {"type": "array", "items": merged_schema(a.get("items"), b["items"])} if "items" in b else a
    types = {a.get("type"), b.get("type")}
    if types == {"integer", "number"}:
        return {"type": "number"}
    return {}  # anything
