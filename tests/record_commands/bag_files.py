"""Bags for the tests of imports."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Bag1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Bag2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from horus_async.recorder import open_session
from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rosbags.typesys.store import Typestore

START_NS = 1_700_000_000_000_000_000
TEXT = "std_msgs/msg/String"
HUMBLE = get_typestore(Stores.ROS2_HUMBLE)


def types_of(definition: str, name: str = "pkg/msg/Foo", *, ros1: bool = False) -> Typestore:
    """ROS's own types and one more."""
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(definition, name))
    return store


def text_message(text: str) -> bytes:
    """A ``std_msgs/String`` in CDR."""
    return bytes(HUMBLE.serialize_cdr(HUMBLE.types[TEXT](data=text), TEXT))


def text_bag(path: Path, topics: Mapping[str, int], storage: StoragePlugin = StoragePlugin.SQLITE3) -> Path:
    """A ROS 2 bag of texts: so many on each topic, a microsecond from one to the next."""
    with Bag2Writer(path, version=9, storage_plugin=storage) as writer:
        stamp = START_NS
        for topic, count in topics.items():
            connection = writer.add_connection(topic, TEXT, typestore=HUMBLE)
            for number in range(count):
                writer.write(connection, stamp, text_message(f"{topic} {number}"))
                stamp += 1000
    return path


def storage_of(folder: Path) -> Path:
    """The one file of a bag that holds its messages."""
    (found,) = [path for path in folder.iterdir() if path.suffix in {".db3", ".mcap"}]
    return found


def number_bag(path: Path, count: int, *, chunk: int = 2000) -> Path:
    """A ROS 1 bag of ``count`` numbers in many chunks."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Bag1Writer(path)
    writer.chunk_threshold = chunk
    with writer:
        connection = writer.add_connection("/n", "std_msgs/msg/Int32", typestore=store, callerid="/counter")
        for number in range(count):
            writer.write(connection, START_NS + number, struct.pack("<i", number))
    return path


def cdr_file(path: Path, name: str, form: str, definition: bytes, *bodies: bytes) -> Path:
    """An MCAP file with CDR messages on ``/t`` by any definition, and two that are surely good on ``/good``."""
    with path.open("wb") as stream:
        writer: Any = McapWriter(stream)
        writer.start(profile="ros2")
        channel = writer.register_channel("/t", "cdr", writer.register_schema(name, form, definition))
        good = writer.register_channel("/good", "cdr", writer.register_schema(TEXT, "ros2msg", b"string data\n"))
        for number, body in enumerate(bodies):
            writer.add_message(channel, START_NS + number, b"\0\1\0\0" + body, START_NS)
        for number in range(2):
            writer.add_message(good, START_NS + number, text_message("good"), START_NS)
        writer.finish()
    return path


def found(name: str, topic: str) -> list[Any]:
    """The values of a topic of a session, in their order."""
    session = open_session(name)
    sent = [
        message
        for node in session.nodes
        for line in session.executions(node)
        for message in getattr(line, "outputs", ())
        if message.topic == topic
    ]
    return [decode(message.payload) for message in sorted(sent, key=lambda message: (message.tick, message.seq))]
