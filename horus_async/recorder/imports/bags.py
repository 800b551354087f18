"""ROS 1 and ROS 2 bags, through ``rosbags``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.errors import RecordingError
from horus_async.recorder.exports.output import need

from .ros import ros_value
from .source import SourceMessage, Summary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from .source import Source


def open_bag(path: Path, stack: ExitStack) -> Source:
    """Open a bag."""
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


class _Bag(Summary):
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
