"""A ROS 1 bag, as it lies in the file: records, one after another, with the messages in chunks.

It is read from its beginning, not by its index: a bag that was cut off, or that a recorder was killed over
(``.bag.active``), has none. The index of a whole bag says how many messages there should be.
"""

from __future__ import annotations

from collections import OrderedDict
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class
from typing import TYPE_CHECKING, BinaryIO

from attrs import define, field, frozen

from horus_async.bounds.unpacking import most_entries, most_of_file, unpack_bz2, unpack_lz4
from horus_async.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Header = dict[bytes, bytes]

MAGIC = b"#ROSBAG V"
_VERSION = b"#ROSBAG V2.0\n"
_CACHE_BYTES = 128 * 2**20
"""Of unpacked chunks that are kept, for bags whose chunks overlap in time."""
_MESSAGE, _BAG, _CHUNK, _CHUNK_INFO, _CONNECTION = b"\2", b"\3", b"\5", b"\6", b"\7"
_u32 = Struct("<I")
_u64 = Struct("<Q")
_time = Struct("<II")
_pair = Struct("<II")


@frozen
class Connection:
    """What a publisher said of itself as it began to send on a topic."""

    id: int
    topic: str
    type: str
    definition: bytes
    md5: str
    publisher: str
    """Empty where it did not say."""


@frozen
class _Chunk:
    start: int
    """Where its data begin in the file."""
    size: int
    compression: bytes
    unpacked_size: int


class _EnoughError(Exception):
    """More than is read of any bag of this size."""


@define
class Bag1:
    """An open ROS 1 bag.

    Raises:
        RecordingError: It is of another version, or encrypted.
    """

    file: BinaryIO
    path: Path
    connections: dict[int, Connection] = field(init=False, factory=dict)
    index: list[tuple[int, int, int, int]] = field(init=False, factory=list)
    """Stamp, number of the chunk (-1: none), place in it, and connection of each message, by time."""
    said: dict[int, int] = field(init=False, factory=dict)
    """How many messages of each connection the bag's index counts."""
    problems: list[str] = field(init=False, factory=list)
    _chunks: list[_Chunk] = field(init=False, factory=list)
    _unpacked: OrderedDict[int, bytes] = field(init=False, factory=OrderedDict)
    _size: int = field(init=False, default=0)
    _unpacked_bytes: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._size = self.file.seek(0, 2)
        self.file.seek(0)
        version = self.file.readline(40)
        if version != _VERSION:
            number = version[len(MAGIC) :].decode("ascii", "replace").strip()
            raise RecordingError(f"{self.path} is a bag of version {number}: convert it with  rosbag reindex")
        end = self._scan(self.file.tell())
        if end < self._size:
            self.problems.append(
                f"{self.path.name} is cut off or damaged at byte {end} of {self._size}: what comes after is lost, "
                f"{len(self.index)} messages in {len(self._chunks)} whole chunks come before"
            )
        elif not self.said and self.index:
            self.problems.append(
                f"{self.path.name} was never closed: it has no index, and {len(self.index)} messages in "
                f"{len(self._chunks)} whole chunks"
            )
        self.index.sort()

    def messages(self, wanted: set[int]) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, stamp and data of each message of the wanted connections, by time."""
        connections = self.connections
        for stamp_ns, chunk, place, connection in self.index:
            if connection not in wanted:
                continue
            if chunk < 0:
                self.file.seek(place)
                data = self.file.read(_u32.unpack(self.file.read(4))[0])
            else:
                unpacked = self._unpacked.get(chunk) or self._unpack(chunk)
                data = unpacked[place + 4 : place + 4 + _u32.unpack_from(unpacked, place)[0]]
            yield connections[connection], stamp_ns, data

    def _scan(self, place: int) -> int:
        """Read all records but the data of messages; where the last whole one ends."""
        while place < self._size:
            try:
                header, start, size = self._record(place)
                self._take(header, start, size)
            except _EnoughError as error:
                self.problems.append(f"{self.path.name}: {error}, the most that are read: what comes after is lost")
                return self._size
            except (StructError, KeyError, ValueError, EOFError):
                return place
            place = start + size
        return place

    def _record(self, place: int) -> tuple[Header, int, int]:
        """A record's header, and where its data are and how long."""
        self.file.seek(place)
        (length,) = _u32.unpack(self.file.read(4))
        start = place + 8 + length
        if start > self._size:
            raise EOFError
        header = _header(self.file.read(length))
        (size,) = _u32.unpack(self.file.read(4))
        if start + size > self._size:
            raise EOFError
        return header, start, size

    def _take(self, header: Header, start: int, size: int) -> None:
        kind = header[b"op"]
        if kind == _CHUNK:
            self._chunks.append(_Chunk(start, size, header[b"compression"], _u32.unpack(header[b"size"])[0]))
            self._scan_chunk(len(self._chunks) - 1)
        elif kind == _CONNECTION:
            self._connect(header, self.file.read(size))
        elif kind == _MESSAGE:  # in the chunk that was open when the recorder was killed, which has no size yet
            self._see(header, -1, start - 4)
        elif kind == _CHUNK_INFO:
            counts = self.file.read(size)
            for place in range(0, _u32.unpack(header[b"count"])[0] * _pair.size, _pair.size):
                connection, count = _pair.unpack_from(counts, place)
                self.said[connection] = self.said.get(connection, 0) + count
        elif kind == _BAG and header.get(b"encryptor"):
            by = header[b"encryptor"].decode("ascii", "replace")
            raise RecordingError(f"{self.path} is encrypted ({by}): decrypt it with  rosbag decrypt")

    def _scan_chunk(self, number: int) -> None:
        chunk = self._chunks[number]
        if not chunk.size:
            return
        before = len(self.index)
        if self._unpacked_bytes > most_of_file(self._size) and chunk.compression != b"none":
            raise _EnoughError(f"its chunks become more than {most_of_file(self._size)} bytes")
        try:
            data = self._unpack(number)
            self._unpacked_bytes += len(data)
            place = 0
            while place < len(data):
                (length,) = _u32.unpack_from(data, place)
                header = _header(data[place + 4 : place + 4 + length])
                start = place + 8 + length
                (size,) = _u32.unpack_from(data, start - 4)
                if start + size > len(data):
                    raise EOFError
                if header[b"op"] == _MESSAGE:
                    self._see(header, number, start - 4)
                elif header[b"op"] == _CONNECTION:
                    self._connect(header, data[start : start + size])
                place = start + size
        except (StructError, KeyError, ValueError, EOFError, RuntimeError, OSError) as error:
            kept = len(self.index) - before
            self.problems.append(
                f"{self.path.name}: the chunk at byte {chunk.start} is damaged ({type(error).__name__}: {error}): "
                f"{kept} of its messages can be read"
            )

    def _see(self, header: Header, chunk: int, place: int) -> None:
        if len(self.index) >= most_entries(self._size):
            raise _EnoughError(f"it holds more than {most_entries(self._size)} messages")
        seconds, nanoseconds = _time.unpack(header[b"time"])
        connection = _u32.unpack(header[b"conn"])[0]
        self.index.append((seconds * 1_000_000_000 + nanoseconds, chunk, place, connection))
        if connection not in self.connections:
            self.connections[connection] = Connection(connection, f"connection_{connection}", "?", b"", "", "")

    def _connect(self, header: Header, data: bytes) -> None:
        number = _u32.unpack(header[b"conn"])[0]
        said = _header(data)
        self.connections[number] = Connection(
            number,
            _text(header[b"topic"]),
            _text(said[b"type"]),
            said.get(b"message_definition", b""),
            _text(said.get(b"md5sum", b"")),
            _text(said.get(b"callerid", b"")),
        )

    def _unpack(self, number: int) -> bytes:
        found = self._unpacked.get(number)
        if found is not None:
            self._unpacked.move_to_end(number)
            return found
        chunk = self._chunks[number]
        self.file.seek(chunk.start)
        data = _unpacked(self.file.read(chunk.size), chunk.compression)
        held = sum(len(other) for other in self._unpacked.values())
        while self._unpacked and held + len(data) > _CACHE_BYTES:
            held -= len(self._unpacked.popitem(last=False)[1])
        self._unpacked[number] = data
        return data


def _unpacked(data: bytes, compression: bytes) -> bytes:
    if compression == b"none":
        return data
    if compression == b"bz2":
        return unpack_bz2(data)
    if compression == b"lz4":
        return unpack_lz4(data)
    raise ValueError(f"its compression {compression.decode('ascii', 'replace')!r} is unknown")


def _header(data: bytes) -> Header:
    """The fields of a record's header: each its length, and ``name=value``."""
    found: Header = {}
    place = 0
    while place < len(data):
        (length,) = _u32.unpack_from(data, place)
        name, is_one, value = data[place + 4 : place + 4 + length].partition(b"=")
        if not is_one:
            raise ValueError("a field of a header has no name")
        found[name] = value
        place += 4 + length
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
