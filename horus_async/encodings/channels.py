"""How the messages of a topic are written for others: files for viewers, and live connections to them.

A class of `horus_async.messages` is CDR under its ROS 2 name. Everything else is JSON, with a schema that viewers take.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from attrs import frozen

from horus_async import messages
from horus_async.frames.names import EITHER
from horus_async.topics.codec import encode, to_json

from .cdr_read import make_reader
from .cdr_write import make_writer
from .json_schema import readable, schema_of
from .ros_types import CLASSES, MODULE, definition
from .shapes import shape_of, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

_VALUE = "value"


@frozen
class Channel:
    """How the messages of a topic are written."""

    encoding: str
    """Of the messages: ``cdr`` or ``json``."""
    schema_name: str
    schema_encoding: str
    """``ros2msg`` or ``jsonschema``."""
    schema_data: bytes
    encode: Callable[[Any], bytes]
    """What makes bytes of a message as it was sent. Of CDR it raises `MisfitError`, where the type has no place for it.
    """


@frozen
class RecordedChannel(Channel):
    """The same in CDR for messages as recordings have them, and back."""

    kind: str
    """What messages call the class."""
    write: Callable[[Any], bytes]
    """``encode`` for a message as a recording has it."""
    read: Callable[[bytes], Any]
    """What ``write`` wrote, in its usual form. It raises `MisfitError`."""


def channel_for(kind: type, topic: str = "") -> Channel | None:
    """The channel of a class of `horus_async.messages`; None for any other class, whose channel is `json_channel`.

    Args:
        kind: The class of the topic's messages.
        topic: Its name: on ``frames`` and ``frames.static`` a `TransformStamped`, or a list of them, is a
            ``TFMessage``.
    """
    return recorded_channel(f"{kind.__module__}.{kind.__qualname__}", topic)


def json_channel(name: str, first: Any, *, schema: dict[str, Any] | None = None) -> Channel:
    """The channel of any other messages.

    Args:
        name: The schema's.
        first: A message, from which the schema is made; viewers want objects, so where it is none, messages become
            ``{"value": message}``.
        schema: From `json_schema.merged_schema`, if more is known of the messages than the first.
    """
    described = schema_of(_tree(first)) if schema is None else schema
    wrapped = described.get("type") != "object"
    if wrapped:
        described = {"type": "object", "properties": {_VALUE: described}}
    data = orjson.dumps(readable(name, described))
    return Channel("json", name, "jsonschema", data, _wrapped_text if wrapped else _text)


def channel_of_recorded(data: Any, topic: str = "") -> RecordedChannel | None:
    """`channel_for` a message as recordings have it; the same object for all messages that go together.

    Args:
        data: The message, with the codec's tags.
        topic: Its topic.
    """
    parts = data if type(data) is list and data and topic in EITHER else [data]
    kinds = {part.get("$type") if type(part) is dict else None for part in parts}
    kind = kinds.pop()
    return recorded_channel(kind, topic) if not kinds and type(kind) is str else None


def recorded_channel(kind: str, topic: str = "") -> RecordedChannel | None:
    """`channel_for` a class by the name that recordings give it."""
    short = kind.removeprefix(f"{MODULE}.")
    if short == kind or short not in CLASSES:
        return None
    return _channel(short, short == "TransformStamped" and topic in EITHER)


@cache
def _channel(short: str, edges: bool) -> RecordedChannel:  # noqa: FBT001 - for the cache
    kind = getattr(messages, short)
    shape, name = shape_of(kind, edges=edges), type_name(kind, edges=edges)
    return RecordedChannel(
        "cdr",
        name,
        "ros2msg",
        definition(name).encode(),
        make_writer(shape, name, recorded=False),
        f"{MODULE}.{short}",
        make_writer(shape, name, recorded=True),
        make_reader(shape, name),
    )


def _text(message: Any) -> bytes:
    return to_json(encode(message))


def _wrapped_text(message: Any) -> bytes:
    return b'{"%b":%b}' % (_VALUE.encode(), _text(message))


def _tree(message: Any) -> Any:
    return orjson.loads(_text(message))
