"""Files of other programs, and the definitions of types in them."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import zstandard

from horus_async.errors import HorusError
from horus_async.recorder.imports.importing import import_file
from horus_async.recorder.imports.opening import open_source
from horus_async.recorder.imports.ros.decoder import _defined, ros_decoder
from horus_async.recorder.read.listing import delete_session
from horus_async.topics.codec import encode

from .changes import change_bytes
from .target import Fuzzed, put

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

_START_NS = 1_700_000_000_000_000_000
_WHOLE = 64
"""Of so many inputs one becomes a session; the others are only read."""
_MOST_MESSAGES = 20_000


def _reader(path: Path, root: Path) -> Any:
    """Reads all messages of a file; of some, by their bytes, makes a session."""
    name = str(path)

    def read(data: bytes) -> None:
        put(name, data)
        read_source(path)
        if zlib.crc32(data) % _WHOLE == 0:
            try:
                import_file(path, "fuzzed", root=root / "sessions")
            finally:
                with suppress(HorusError):
                    delete_session("fuzzed", root / "sessions")

    return read


def read_source(path: Path) -> None:
    """All that an import asks of a file."""
    with open_source(path) as source:
        assert (source.count, source.topics, source.publishers, source.first_ns, source.last_stamps()) is not None
        for number, message in enumerate(source.messages()):
            if number > _MOST_MESSAGES:
                break
            with suppress(HorusError):
                encode(message.value)
        for enclosed in source.enclosed:
            enclosed.load()
        assert (source.faults.notes(), source.notes) is not None


# -- MCAP --------------------------------------------------------------------------------------------------------------


def mcap(root: Path) -> Fuzzed:
    """Files with and without chunks, compressed or not, with JSON, CDR and protobuf-like bytes, and attachments."""
    from mcap.writer import CompressionType, Writer

    seeds = []
    for chunked in (False, True):
        for compression in CompressionType if chunked else [CompressionType.NONE]:
            path = root / "seed.mcap"
            with path.open("wb") as stream:
                writer = Writer(
                    stream, compression=compression, use_chunking=chunked, chunk_size=600, enable_crcs=chunked
                )
                _fill_mcap(writer)
            seeds.append(path.read_bytes())
    packed = zstandard.compress(seeds[0])
    return Fuzzed([*seeds, packed], _reader(root / "fuzzed.mcap", root), _change_mcap)


def _fill_mcap(writer: Any) -> None:
    writer.start(profile="ros2")
    text = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
    form = writer.register_schema("thing", "jsonschema", b'{"type":"object"}')
    channels = [
        writer.register_channel("/text", "cdr", text, {"offered_qos_profiles": "- history: 1"}),
        writer.register_channel("/json", "json", form),
        writer.register_channel("/raw", "x", 0),
    ]
    for number in range(4):
        bodies = [b"\0\1\0\0\x03\0\0\0ab\0", b'{"x":[1,2,{"y":null}]}', b"\1\2\3"]
        for channel, body in zip(channels, bodies, strict=True):
            writer.add_message(channel, _START_NS + number, body, _START_NS + number, number)
    writer.add_attachment(_START_NS, _START_NS, "calibration.yaml", "text/yaml", b"a: 1")
    writer.add_metadata("robot", {"name": "arm"})
    writer.finish()


def _change_mcap(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change bytes, or one record within its length."""
    if chance.random() < 0.4 or data[:8] != b"\x89MCAP0\r\n":
        return change_bytes(data, others, chance)
    places = []
    at = 8
    while at + 9 <= len(data) - 8:
        (length,) = struct.unpack_from("<Q", data, at + 1)
        places.append((at, at + 9 + length))
        at += 9 + length
    if not places:
        return change_bytes(data, others, chance)
    at, end = chance.choice(places)
    body = change_bytes(data[at + 9 : end], others, chance)
    kind = data[at] if chance.random() < 0.9 else chance.randrange(16)
    return data[:at] + struct.pack("<BQ", kind, len(body)) + body + data[end:]


# -- ROS ---------------------------------------------------------------------------------------------------------------


def bag1(root: Path) -> Fuzzed:
    """ROS 1 bags, plain and compressed."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    seeds = []
    for number, compression in enumerate((None, Writer.CompressionFormat.BZ2, Writer.CompressionFormat.LZ4)):
        path = root / f"seed{number}.bag"
        writer = Writer(path)
        if compression is not None:
            writer.set_compression(compression)
        writer.chunk_threshold = 120
        with writer:
            count = writer.add_connection("/n", "std_msgs/msg/Int32", typestore=store, callerid="/counter")
            text = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
            for message in range(4):
                writer.write(count, _START_NS + message, struct.pack("<i", message))
                writer.write(text, _START_NS + message, struct.pack("<I", 3) + b"abc")
        seeds.append(path.read_bytes())
    return Fuzzed(seeds, _reader(root / "fuzzed.bag", root), change_bytes)


def _bag2(path: Path, storage: Any) -> Path:
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(path, version=9, storage_plugin=storage) as writer:
        text = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
        body = bytes(store.serialize_cdr(store.types["std_msgs/msg/String"](data="abc"), "std_msgs/msg/String"))
        for number in range(3):
            writer.write(text, _START_NS + number, body)
    return path


def sqlite(root: Path) -> Fuzzed:
    """ROS 2 bags in SQLite: their bytes, and what stands in their tables."""
    from rosbags.rosbag2 import StoragePlugin

    folder = _bag2(root / "bag", StoragePlugin.SQLITE3)
    (path,) = folder.glob("*.db3")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma page_size=512")
        connection.execute("vacuum")
    seed = path.read_bytes()
    scratch = root / "changed.db3"

    def change(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        if chance.random() < 0.6:
            return change_bytes(data, others, chance)
        put(str(scratch), seed)
        with suppress(sqlite3.Error), closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
            connection.execute("pragma journal_mode=off")
            for _ in range(chance.randrange(1, 3)):
                table, column = chance.choice(_columns(connection))
                value = chance.choice(_CELLS)
                connection.execute(f"update or ignore {table} set {column} = ?", (value,))  # noqa: S608
        return scratch.read_bytes()

    return Fuzzed([seed], _reader(root / "fuzzed.db3", root), change)


_CELLS: list[Any] = [
    None, 0, -1, 1, 1 << 40, (1 << 63) - 1, -(1 << 63), 1.5, 1e300, "", "x", "\0", "std_msgs/msg/Nothing", "/../x",
    "cdr", "ros2msg", "string data\n", "string[<=5", "a" * 2000, b"", b"\0", b"\0\1\0\0\xff\xff\xff\xff", b"\xff\xfe",
    b"\x28\xb5\x2f\xfd",
]  # fmt: skip


def _columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
    return [(name, row[1]) for name in tables for row in connection.execute(f"pragma table_info({name})")]


def folder(root: Path) -> Fuzzed:
    """A ROS 2 bag's folder, of which the metadata is the input."""
    from rosbags.rosbag2 import StoragePlugin

    path = _bag2(root / "bag", StoragePlugin.MCAP)
    metadata = path / "metadata.yaml"
    seed = metadata.read_bytes()

    def read(data: bytes) -> None:
        put(str(metadata), data)
        read_source(path)

    return Fuzzed([seed, b"{}", b"rosbag2_bagfile_information: {relative_file_paths: [bag.mcap], version: 5}"], read)


# -- PX4 ---------------------------------------------------------------------------------------------------------------

_FORMATS = (
    "vehicle_gps_position:uint64_t timestamp;uint64_t time_utc_usec;int32_t lat;",
    "esc:float rpm;uint8_t[2] flags;",
    "attitude:uint64_t timestamp;float[4] q;double big;bool ok;char[6] mode;esc[2] escs;esc main;",
)


def ulog(root: Path) -> Fuzzed:
    """A log of two topics, with information, parameters and text."""
    return Fuzzed([_log()], _reader(root / "fuzzed.ulg", root), _change_ulog)


def _record(kind: str, data: bytes) -> bytes:
    return struct.pack("<HB", len(data), ord(kind)) + data


def _named(value: bytes, key: str) -> bytes:
    return bytes([len(key)]) + key.encode() + value


def _log() -> bytes:
    log = b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 1000)
    log += b"".join(_record("F", text.encode()) for text in _FORMATS)
    log += _record("I", _named(b"PX4_FMU_V5", "char[10] ver_hw"))
    log += _record("P", _named(struct.pack("<f", 6.5), "float MPC_XY_VEL_MAX"))
    log += _record("A", struct.pack("<BH", 0, 0) + b"attitude") + _record(
        "A", struct.pack("<BH", 0, 1) + b"vehicle_gps_position"
    )
    for us in range(1000, 4000, 1000):
        escs = struct.pack("<f2B", 1.0, 1, 2) * 3
        log += _record("D", struct.pack("<HQ4fd?6s", 0, us, 1.0, 0.5, -1.0, float("nan"), 1e300, True, b"HOLD") + escs)
        log += _record("D", struct.pack("<HQQi", 1, us + 100, 1_700_000_000_000_000 + us, 5))
    log += _record("L", struct.pack("<BQ", ord("4"), 2500) + b"battery low")
    log += _record("C", struct.pack("<BHQ", ord("4"), 7, 2600) + b"tagged") + _record("O", struct.pack("<H", 20))
    return log + _record("M", b"\0" + _named(b"part", "char[4] more"))


def _change_ulog(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change bytes, or one record within its length."""
    places = []
    at = 16
    while at + 3 <= len(data):
        (length,) = struct.unpack_from("<H", data, at)
        places.append((at, at + 3 + length))
        at += 3 + length
    if not places or chance.random() < 0.4:
        return change_bytes(data, others, chance)
    at, end = chance.choice(places)
    body = change_bytes(data[at + 3 : end], others, chance)[:65535]
    kind = data[at + 2] if chance.random() < 0.9 else chance.randrange(256)
    return data[:at] + struct.pack("<HB", len(body), kind) + body + data[end:]


# -- definitions -------------------------------------------------------------------------------------------------------

_FORMS = ("ros1msg", "ros2msg", "ros2idl", "omgidl")

_MSG = b"""# a thing
uint8 KIND_A=1
string NAME="x y"
std_msgs/Header header
geometry_msgs/Point[] points
float64[9] matrix
uint8[<=4] few
string<=10 name
bool[] flags
pkg/Inner inner
================================================================================
MSG: pkg/Inner
int16 a 5
string[2] b
"""
_IDL = b"""================================================================================
IDL: pkg/msg/Thing
module pkg { module msg {
  typedef double double__9[9];
  module Thing_Constants { const uint8 KIND_A = 1; };
  @verbatim (language="comment", text="a thing")
  struct Thing { @default (value=5) int16 a; double__9 matrix; sequence<string, 4> names; string<10> name; };
}; };
"""


def definition(root: Path) -> Fuzzed:
    """Definitions in all languages. An input's first byte says which, and whether the message is of ROS 1 or in CDR."""
    del root
    seeds = [bytes([kind]) + text for kind, text in enumerate((_MSG, _MSG, _IDL, _IDL))]

    def read(data: bytes) -> None:
        kind = data[0] if data else 0
        form = _FORMS[kind % 4]
        encoding = "ros1" if form == "ros1msg" else "cdr"
        _defined.cache_clear()
        decode = ros_decoder(encoding, "pkg/msg/Thing", form, data[1:])
        for body in (b"", bytes(200), b"\0\1\0\0" + bytes(400), b"\0\0\0\0" + b"\1" * 300, b"\xff" * 64):
            with suppress(Exception):  # `Source.decoded` takes any
                decode(body)

    return Fuzzed(seeds, read)
