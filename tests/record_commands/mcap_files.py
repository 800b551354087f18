"""Small MCAP files for these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcap.writer import Writer

from horus_async.recorder import Session, open_session
from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

START_NS = 1_700_000_000_000_000_000


def write_mcap(path: Path, fill: Callable[[Any], None], **options: Any) -> Path:
    """An MCAP file of what ``fill`` writes."""
    with path.open("wb") as stream:
        writer: Any = Writer(stream, **options)
        writer.start()
        fill(writer)
        writer.finish()
    return path


def json_mcap(path: Path, messages: Iterable[tuple[str, int, bytes]], **options: Any) -> Path:
    """An MCAP file of JSON messages: topic, stamp, text of each, in this order."""

    def fill(writer: Any) -> None:
        channels: dict[str, int] = {}
        for topic, stamp_ns, text in messages:
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "json", 0)
            writer.add_message(channels[topic], stamp_ns, text, stamp_ns)

    return write_mcap(path, fill, **options)


def messages_of(name: str, topic: str) -> list[Any]:
    """The values of a topic of a session."""
    return [value for _, value in stamped(name, topic)]


def stamped(name: str, topic: str) -> list[tuple[int, Any]]:
    """Stamp and value of each message of a topic of a session, in the order of the session."""
    session: Session = open_session(name)
    found = [
        (sent.tick, sent.stamp_ns, decode(sent.payload))
        for node in session.nodes
        for sent in session.outputs(node)
        if sent.topic == topic
    ]
    return [(stamp_ns, value) for _, stamp_ns, value in sorted(found, key=lambda message: message[0])]
