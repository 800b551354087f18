"""ROS bags: a ROS 1 file, a ROS 2 file of SQLite, and the folder of a ROS 2 bag with all its files."""

from __future__ import annotations

from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

from horus_async.errors import RecordingError
from horus_async.recorder.exports.output import need

from .ros import ZSTD, UnreadableDefinitionError, known_decoder, ros_decoder, unpacked
from .ros.rosbag1 import Bag1
from .ros.sqlite import Storage
from .source import ALL_TOPICS, Packed, Source, SourceMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from .ros.rosbag1 import Connection
    from .ros.sqlite import Topic

    Decode = Callable[[bytes], bytes]
    """From a message to its payload."""


def open_bag1(path: Path, stack: ExitStack) -> Source:
    """Open a ROS 1 bag.

    Raises:
        RecordingError: It is of another version, encrypted, or ``rosbags`` is missing.
    """
    _need_rosbags()
    return _RosBag1(Bag1(stack.enter_context(path.open("rb")), path))


def open_sqlite(path: Path, stack: ExitStack) -> Source:
    """Open a ``.db3`` file of a ROS 2 bag.

    Raises:
        RecordingError: It is no bag, or ``rosbags`` is missing.
    """
    _need_rosbags()
    return SqliteBag(Storage(path, stack))


def _need_rosbags() -> None:
    try:
        import rosbags.typesys as _  # noqa: F401 - whether it is there
    except ImportError:
        raise need("rosbags", "bags", "importing ROS bags") from None


class _RosBag1(Source):
    def __init__(self, bag: Bag1) -> None:
        super().__init__()
        self._bag = bag
        connections = bag.connections
        for stamp_ns, _, _, number in bag.index:
            connection = connections[number]
            self.see(stamp_ns, connection.topic, connection.publisher)
        for number, count in bag.said.items():
            topic = connections[number].topic if number in connections else f"(connection {number})"
            self.expected[topic] = self.expected.get(topic, 0) + count
        self.notes += bag.problems

    def messages(self) -> Iterator[SourceMessage]:
        wanted = {number for number, connection in self._bag.connections.items() if self.takes(connection.topic)}
        decoders: dict[int, Decode] = {}
        value: Packed | bytes
        for connection, stamp_ns, data in self._bag.messages(wanted):
            decode = decoders.get(connection.id)
            if decode is None:
                decode = decoders[connection.id] = _bag1_decoder(connection)
            try:
                value = Packed(decode(data))
            except Exception as error:  # noqa: BLE001 - as in Source.decoded, which one call more would be
                value = self.undecoded(connection.topic, stamp_ns, data, error)
            yield SourceMessage(stamp_ns, connection.topic, connection.publisher, value, data)


def _bag1_decoder(connection: Connection) -> Decode:
    try:
        return ros_decoder("ros1", connection.type, "ros1msg", connection.definition, md5=connection.md5)
    except UnreadableDefinitionError as error:
        return _refusing(error)


class SqliteBag(Source):
    """One file of a ROS 2 bag."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        self.distro = storage.distro
        """The ROS 2 distribution that wrote it, whose definitions its own types have; empty if it does not say."""
        for number, flow in storage.flows.items():
            self.see_all(storage.topics[number].name, "", *flow)
        self.notes += storage.problems

    def messages(self) -> Iterator[SourceMessage]:
        """The messages by their stamps."""
        wanted = {number for number, topic in self._storage.topics.items() if self.takes(topic.name)}
        decoders: dict[int, Decode] = {}
        value: Packed | bytes
        told = len(self._storage.problems)
        for topic, stamp_ns, data in self._storage.messages(wanted):
            decode = decoders.get(topic.id)
            if decode is None:
                decode = decoders[topic.id] = self._decoder(topic)
            try:
                if data[:4] == ZSTD:
                    data = unpacked(data)  # noqa: PLW2901
                value = Packed(decode(data))
            except Exception as error:  # noqa: BLE001 - as in Source.decoded, which one call more would be
                value = self.undecoded(topic.name, stamp_ns, data, error)
            yield SourceMessage(stamp_ns, topic.name, "", value, data)
        self.notes += self._storage.problems[told:]

    def _decoder(self, topic: Topic) -> Decode:
        if topic.encoding != "cdr":
            return _refusing(RecordingError(f"the encoding {topic.encoding!r} is not decoded"))
        try:
            if topic.definition.strip():
                return ros_decoder("cdr", topic.type, topic.form, topic.definition)
            decoder = known_decoder("cdr", topic.type, self.distro)
        except UnreadableDefinitionError as error:
            return _refusing(error)
        by = f"of ROS 2 {self.distro}" if self.distro else "that fits, from the newest ROS 2 on"
        note = f"the file holds no definitions of some types: they are read by the one {by}"
        if note not in self.notes:
            self.notes.append(note)
        return decoder


def wrote(source: Source, distro: str) -> None:
    """Tell a file which ROS 2 distribution wrote it, if it does not say itself."""
    if isinstance(source, SqliteBag) and not source.distro:
        source.distro = distro


def _refusing(error: RecordingError) -> Decode:
    def refuse(_: Any) -> NoReturn:
        raise error

    return refuse


class BagFolder(Source):
    """Several files as one: those of a ROS 2 bag.

    Args:
        parts: Each file's name, and the file.
        expected: How many messages of each topic the bag's metadata promise.
        notes: What is to be said of the bag.
        distro: The ROS 2 distribution that wrote it, if the metadata say.
    """

    def __init__(
        self, parts: Mapping[str, Source], expected: Mapping[str, int], notes: Sequence[str], distro: str = ""
    ) -> None:
        super().__init__()
        self._parts = parts
        self._told: set[tuple[str, str]] = set()
        self.notes += notes
        counted: dict[str, int] = {}
        for part in parts.values():
            part.faults = self.faults
            wrote(part, distro)
            for topic, count in part.expected.items():
                counted[topic] = counted.get(topic, 0) + count
            self.see_file(part)
            self.metadata += part.metadata
            self.enclosed += part.enclosed
        if expected:
            counted.pop(ALL_TOPICS, None)
        found = self.topics
        self.expected = {**counted, **{topic: n for topic, n in expected.items() if found.get(topic, 0) != n}}
        self._take_notes()

    def choose(self, is_wanted: Callable[[str], bool]) -> None:
        """Leave out topics in every file."""
        super().choose(is_wanted)
        for part in self._parts.values():
            part.choose(is_wanted)

    def messages(self) -> Iterator[SourceMessage]:
        """The messages of all files by their stamps."""
        flows = [part.messages() for part in self._parts.values()]
        yield from flows[0] if len(flows) == 1 else merge(*flows, key=attrgetter("stamp_ns"))
        self._take_notes()

    def _take_notes(self) -> None:
        """Say what the files say, which they may say as late as they are read: once, if all say the same."""
        said: dict[str, list[str]] = {}
        for name, part in self._parts.items():
            for note in part.notes:
                if (name, note) not in self._told:
                    self._told.add((name, note))
                    said.setdefault(note, []).append(name)
        for note, names in said.items():
            is_plain = len(names) == len(self._parts) or any(name in note for name in names)
            self.notes.append(note if is_plain else f"{', '.join(names)}: {note}")
