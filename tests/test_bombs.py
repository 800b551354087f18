"""Files that are made to exhaust whoever reads them: each ends in an answer or an error of ours, in little memory.

A bomb is opened by a command in a process of its own, which says by how much its memory grew. The limits are those of
docs/format.md.
"""

from __future__ import annotations

import bz2
import io
import itertools
import json
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lz4.frame
import numpy as np
import orjson
import pytest
import zstandard

import horus_async.blackbox.__main__ as by_itself
from horus_async.blackbox import BlackBox
from horus_async.bounds import unpacking
from horus_async.bounds.text import Most
from horus_async.recorder import limits
from tests.engine.programs import environment
from tests.policy.traces import foreign_lines
from tests.record_commands.bag_files import START_NS, cdr_file, number_bag, text_bag
from tests.record_commands.mcap_files import write_mcap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MEBI = 1 << 20
GROWTH = 200 * MEBI
PATIENCE = 600
_CALL = """
import json, sys
from horus_async.cli import main
import horus_async.recorder, horus_async.policy
for name in sys.argv[1].split(","):
    __import__(name)
def peak():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
try:
    main(sys.argv[2:], standalone_mode=False)
    code = 0
except SystemExit as error:
    code = error.code
print("\\n" + json.dumps({"code": code, "grown": peak() - before}))
"""
_LOADED = (
    "mcap.reader,rosbags.rosbag2,zstandard,lz4.frame,bz2,numpy,sqlite3,pyulog,ruamel.yaml,orjson,cattrs,onnxruntime"
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the memory")


def opened(*arguments: object, most: int = GROWTH) -> tuple[int, str]:
    """Call a command; its exit code, and what it said. Fails if its memory grew by more, or it told of a bug."""
    done = subprocess.run(
        [sys.executable, "-c", _CALL, _LOADED, *map(str, arguments)],
        env=environment(), capture_output=True, timeout=PATIENCE, check=False, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["grown"] < most, f"{told['grown'] / MEBI:.0f} MiB; {done.stderr[-500:]}"
    return told["code"], done.stdout + done.stderr


def packed(pieces: Iterable[bytes]) -> bytes:
    """A frame of LZ4, as a recording has it, made in little memory."""
    packer: Any = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX1MB, content_checksum=True)
    whole: bytes = packer.begin() + b"".join(map(packer.compress, pieces)) + packer.flush()
    return whole


def header(role: str = "scheduler") -> bytes:
    """The first line of a recording's file."""
    fields = {"kind": "header", "schema_version": 1, "session": "s", "role": role, "node": role, "tick_rate": 100.0}
    return orjson.dumps({**fields, "seed": 1, "started_at": "2026-01-01T00:00:00Z", "deterministic": True}) + b"\n"


def many(text: bytes, size: int) -> Iterator[bytes]:
    """This text over and over, as many bytes in pieces."""
    piece = text * (MEBI // len(text))
    return itertools.repeat(piece, size // len(piece))


def line(items: bytes, size: int) -> Iterator[bytes]:
    """One line with an array of so many bytes of these items."""
    return itertools.chain([b'{"kind":"tick","tick":0,"x":['], many(items, size), [b"0]}\n"])


FRAMES: dict[str, Callable[[], bytes]] = {
    "line ends": lambda: packed(many(b"\n", 512 * MEBI)),
    "one long line": lambda: packed(line(b"0,", 300 * MEBI)),
    "one long text": lambda: packed([b'{"kind":"tick","x":"', *many(b"x", 300 * MEBI), b'"}\n']),
    "many values": lambda: packed(line(b"[],", 12 * MEBI)),
    "many objects": lambda: packed(line(b'{"a":0},', 12 * MEBI)),
    "many short lines": lambda: packed(many(b'{"kind":"x"}\n', 8 * MEBI)),
    "a size that is a lie": lambda: lz4.frame.compress(b"x\n", store_size=True)[:6] + struct.pack("<Q", 1 << 60) + b"x",
    "deep": lambda: packed([b'{"kind":"tick","x":', b"[" * 200_000, b"]" * 200_000, b"}\n"]),
    "many frames": lambda: packed([b'{"kind":"tick","tick":1}\n']) * 10_000,
    "numbers without end": lambda: packed([b'{"kind":"tick","tick":', b"9" * 4_000_000, b"}\n"]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_recordings(name: str, recordings_dir: Path) -> None:
    """None beyond the limits is in memory, whatever reads it."""
    folder = recordings_dir / "s"
    folder.mkdir(parents=True)
    (folder / "scheduler@00000000.jsonl.lz4").write_bytes(packed([header()]) + FRAMES[name]())
    code, said = opened("record", "check", "s")
    assert code in {0, 1}
    if name in {"line ends", "one long line", "one long text"}:
        assert f"more than {limits.FRAME_LIMIT} bytes of text" in said
    if name in {"many values", "many objects"}:
        assert ", the most that a frame may hold" in said
    opened("record", "info", "s")
    opened("replay", "s", "--speed", "max")


@pytest.mark.parametrize("file", ["session.json", "origin.json"])
@pytest.mark.parametrize(
    "text",
    [
        b'{"schema_version":1,"nodes":{' + b",".join(b'"%d":"x"' % i for i in range(800_000)) + b"}}",
        b'{"schema_version":1,"nodes":[' + b"{}," * 3_000_000 + b"0]}",
        b'{"schema_version":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"schema_version":1,"x":"' + b"y" * (limits.JSON_FILE_LIMIT + 1) + b'"}',
        b'{"schema_version":1,"x":"' + b"\\u00e9" * 2_000_000 + b'"}',
    ],
    ids=["many names", "many objects", "deep", "long", "escapes"],
)
def test_files_beside_a_recording(file: str, text: bytes, recordings_dir: Path) -> None:
    """They are JSON as a whole, so they may hold less."""
    folder = recordings_dir / "s"
    folder.mkdir(parents=True)
    (folder / "scheduler@00000000.jsonl.lz4").write_bytes(packed([header()]))
    (folder / file).write_bytes(text)
    for words in (("record", "check", "s"), ("record", "list"), ("record", "info", "s")):
        assert opened(*words)[0] in {0, 1, 2}


def gzipped(pieces: Iterable[bytes]) -> bytes:
    """A stream of gzip, made in little memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(map(packer.compress, pieces)) + packer.flush()


REQUEST = b'{"kind":"request","schema_version":1,"seq":0,"request":{"x":'
LINES: dict[str, Callable[[], Iterable[bytes]]] = {
    "one long line": lambda: [REQUEST + b"[", *many(b"0,", 256 * MEBI), b"0]}}\n"],
    "one line that does not end": lambda: many(b" ", 512 * MEBI),
    "one long text": lambda: [REQUEST + b'"', *many(b"x", 56 * MEBI), b'"}}\n'],
    "many values": lambda: [REQUEST + b"[", *many(b"[],", 12 * MEBI), b"0]}}\n"],
    "many objects": lambda: [REQUEST + b"[", *many(b'{"a":0},', 12 * MEBI), b"0]}}\n"],
    "empty lines": lambda: many(b"\n", 512 * MEBI),
    "lines that say nothing": lambda: many(b"{}\n", 64 * MEBI),
    "deep": lambda: [REQUEST, b"[" * 200_000, b"]" * 200_000, b"}}\n"],
}


@pytest.mark.parametrize("pack", [gzipped, packed])
@pytest.mark.parametrize("name", LINES)
def test_lines_of_traces(name: str, pack: Callable[[Iterable[bytes]], bytes], tmp_path: Path) -> None:
    """Whatever they are packed by."""
    first = orjson.dumps(foreign_lines(0)[0]) + b"\n"
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(pack(itertools.chain([first], LINES[name]())))
    code, said = opened("trace", "check", path)
    assert code in ({0, 1} if name in {"one long text", "deep"} else {1}), said
    opened("trace", "summary", path)
    opened("replay", path, "--no-replay")


def test_a_server_writes_no_line_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request beyond the limit keeps its place without its content, and the log says so."""
    from horus_async.policy import TraceReader
    from tests.policy.traces import exchange, record

    monkeypatch.setattr("horus_async.policy.trace.lines.MOST_IN_LINE", Most(values=100, objects=90))
    with TraceReader(record(tmp_path, [exchange({"x": [[0]] * 100}), exchange({"state": [1.0]})])) as trace:
        requests = list(trace.requests())
    assert [request.seq for request in requests] == [0, 1]
    assert not requests[0].ok
    assert requests[1].ok
    assert trace.notes == []


def zeros(size: int) -> bytes:
    """So many zeros by zstd, without its saying how many."""
    target = io.BytesIO()
    with zstandard.ZstdCompressor(write_content_size=False).stream_writer(target, closefd=False) as writer:
        for piece in many(b"\0", size):
            writer.write(piece)
    return target.getvalue()


def chunk(compression: str, data: bytes, *, size: int = 0, crc: int = 0) -> bytes:
    """A chunk of an MCAP file by hand."""
    word = compression.encode()
    body = struct.pack("<QQQII", START_NS, START_NS, size, crc, len(word)) + word + struct.pack("<Q", len(data)) + data
    return b"\x06" + struct.pack("<Q", len(body)) + body


def mcap_of(*chunks: bytes) -> bytes:
    """An MCAP file of these records."""
    begin = b"\x89MCAP0\r\n"
    return begin + b"\x01" + struct.pack("<QII", 8, 0, 0) + b"".join(chunks)


def messages(size: int) -> Iterator[bytes]:
    """The smallest messages that there are."""
    return many(b"\x05" + struct.pack("<QHIQQ", 22, 1, 0, START_NS, START_NS), size)


def _cdr(path: Path, definition: bytes, body: bytes) -> Path:
    return cdr_file(path, "p/msg/M", "ros2msg", definition, body)


def _laughs(depth: int, each: int) -> bytes:
    """A type whose fields become each ** depth."""
    line = b"=" * 80 + b"\n"
    types = [
        b"MSG: p/T%d\n" % level + b"".join(b"p/T%d f%d\n" % (level + 1, i) for i in range(each))
        for level in range(depth)
    ]
    return b"p/T0 root\n" + line + line.join([*types, b"MSG: p/T%d\nbool x\n" % depth])


def _write(data: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return write


def _json_mcap(text: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        def fill(writer: Any) -> None:
            writer.add_message(writer.register_channel("/t", "json", 0), START_NS, text, START_NS)

        return write_mcap(path, fill)

    return write


def _packed_message(path: Path) -> Path:
    def fill(writer: Any) -> None:
        schema = writer.register_schema("p/msg/M", "ros2msg", b"uint8[] x\n")
        writer.add_message(writer.register_channel("/t", "cdr", schema), START_NS, zeros(1 << 30), START_NS)

    return write_mcap(path, fill)


MCAPS: dict[str, Callable[[Path], Path]] = {
    "zstd": _write(mcap_of(chunk("zstd", zeros(1 << 30)))),
    "zstd that says its size": _write(mcap_of(chunk("zstd", zstandard.compress(bytes(300 * MEBI))))),
    "lz4": _write(mcap_of(chunk("lz4", packed(many(b"\0", 512 * MEBI))))),
    "many chunks": _write(mcap_of(*[chunk("lz4", packed(messages(4 * MEBI)))] * 100)),
    "many messages": _write(mcap_of(chunk("lz4", packed(messages(63 * MEBI))))),
    "a size that is a lie": _write(mcap_of(chunk("", b"", size=1 << 62), b"\x06" + struct.pack("<Q", 1 << 62))),
    "types in types": lambda path: _cdr(path, _laughs(12, 10), b"\0"),
    "a list of lists": lambda path: _cdr(
        path, b"p/T[100000] x\n" + b"=" * 80 + b"\nMSG: p/T\np/U[100000] y\n" + b"=" * 80 + b"\nMSG: p/U\n", b"\0"
    ),
    "many small objects": lambda path: _cdr(
        path, b"p/T[] x\n" + b"=" * 80 + b"\nMSG: p/T\nbool y\n", struct.pack("<I", 8 * MEBI) + bytes(8 * MEBI)
    ),
    "an array of a huge size": lambda path: _cdr(path, b"uint8[2000000000] x\n", b"\0"),
    "a packed message": _packed_message,
    "values": _json_mcap(b"[" + b"[]," * 6_000_000 + b"0]"),
    "objects": _json_mcap(b"[" + b'{"a":0},' * 2_000_000 + b"0]"),
    "deep": _json_mcap(b"[" * 500_000 + b"]" * 500_000),
}


@pytest.mark.parametrize("name", MCAPS)
def test_mcap_files(name: str, tmp_path: Path) -> None:
    """Chunks, messages and types."""
    code, said = opened("record", "import", MCAPS[name](tmp_path / "x.mcap"), "--name", "x")
    assert code in {0, 1, 2}, said


def bag_chunk(compression: bytes, data: bytes, size: int) -> bytes:
    """A chunk of a ROS 1 bag by hand."""

    def fields(**values: bytes) -> bytes:
        return b"".join(
            struct.pack("<I", len(name) + 1 + len(value)) + name.encode() + b"=" + value
            for name, value in values.items()
        )

    head = fields(op=b"\5", compression=compression, size=struct.pack("<I", size))
    return struct.pack("<I", len(head)) + head + struct.pack("<I", len(data)) + data


def bag_messages(count: int) -> bytes:
    """The smallest messages of a bag."""
    head = b"".join(
        struct.pack("<I", len(one)) + one for one in (b"op=\2", b"conn=\0\0\0\0", b"time=" + struct.pack("<II", 1, 0))
    )
    return (struct.pack("<I", len(head)) + head + struct.pack("<I", 0)) * count


BEGIN = b"#ROSBAG V2.0\n"
BAGS: dict[str, Callable[[], bytes]] = {
    "bz2": lambda: bag_chunk(b"bz2", bz2.compress(bytes(300 * MEBI)), 300 * MEBI),
    "lz4": lambda: bag_chunk(b"lz4", packed(many(b"\0", 512 * MEBI)), 1),
    "many chunks": lambda: bag_chunk(b"bz2", bz2.compress(bag_messages(100_000)), 1) * 60,
    "many empty streams": lambda: bag_chunk(b"bz2", bz2.compress(b"") * 20_000, 1),
    "a size that is a lie": lambda: bag_chunk(b"none", b"", 2**32 - 1) + struct.pack("<I", 2**32 - 1),
}


@pytest.mark.parametrize("name", BAGS)
def test_bags_of_ros_1(name: str, tmp_path: Path) -> None:
    """Chunks and messages."""
    (tmp_path / "x.bag").write_bytes(BEGIN + BAGS[name]())
    code, said = opened("record", "import", tmp_path / "x.bag", "--name", "x")
    assert code in {0, 1, 2}, said


def _database(path: Path, *statements: str) -> Path:
    folder = text_bag(path, {"/t": 1})
    database = sqlite3.connect(next(folder.glob("*.db3")))
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    return folder


_MADE_UP = (
    "DROP TABLE messages",
    (
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, "
        "data BLOB GENERATED ALWAYS AS (zeroblob(900000000)))"
    ),
    "INSERT INTO messages(topic_id, timestamp) VALUES (1, 1), (1, 2)",
)
_VIEW = (
    "DROP TABLE messages",
    (
        "CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
        "SELECT id, 1 AS topic_id, id AS timestamp, zeroblob(900000000) AS data FROM n"
    ),
)
_SCHEMA = (
    "DROP TABLE IF EXISTS schema",
    (
        "CREATE VIEW schema AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
        "SELECT 1 AS schema_version, hex(zeroblob(id)) AS ros_distro FROM n WHERE id < 0"
    ),
)


@pytest.mark.parametrize("statements", [_MADE_UP, _VIEW, _SCHEMA], ids=["made up", "view", "view of the schema"])
def test_databases(statements: tuple[str, ...], tmp_path: Path) -> None:
    """SQLite computes what a hostile file wants it to."""
    code, said = opened("record", "import", _database(tmp_path / "bag", *statements), "--name", "x")
    assert code in {0, 1, 2}, said


def test_a_message_of_a_database_that_is_packed(tmp_path: Path) -> None:
    """It costs itself, and a note says why."""
    folder = _database(tmp_path / "bag")
    with sqlite3.connect(next(folder.glob("*.db3"))) as database:
        database.execute("UPDATE messages SET data = ?", (zeros(1 << 30),))
    database.close()
    code, said = opened("record", "import", folder, "--name", "x")
    assert code in {0, 1}, said
    assert f"more than {unpacking.FREE} bytes" in said


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in itertools.pairwise("abcdefghij")
)
YAMLS = {
    "aliases": f"{LAUGHS}rosbag2_bagfile_information:\n  custom_data: {{k: *j}}\n  relative_file_paths: []\n",
    "merges": "m0: &m0 {a: 1}\n"
    + "".join(f"m{i + 1}: &m{i + 1} {{<<: [{','.join([f'*m{i}'] * 10)}]}}\n" for i in range(9)),
    "long": "a: " + "x" * (5 * MEBI),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", YAMLS)
def test_metadata_of_bags(name: str, tmp_path: Path) -> None:
    """What cannot be read of it is said, and the bag is imported without it."""
    folder = text_bag(tmp_path / "bag", {"/t": 3})
    (folder / "metadata.yaml").write_text(YAMLS[name])
    code, said = opened("record", "import", folder, "--name", "x")
    assert code == 0, said
    assert "metadata.yaml cannot be read" in said


def test_files_that_are_packed_as_a_whole(tmp_path: Path) -> None:
    """They go to the disk, which has an end too."""
    (tmp_path / "x.db3.zst").write_bytes(zeros(1 << 30))
    code, said = opened("record", "import", tmp_path / "x.db3.zst", "--name", "x")
    assert code == 2
    assert f"would become more than {unpacking.FILE_FREE} bytes" in said


def ulog(*records: tuple[str, bytes]) -> bytes:
    """A PX4 log of these messages."""
    begin = b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 1000)
    return begin + b"".join(struct.pack("<HB", len(data), ord(kind)) + data for kind, data in records)


def added(number: int, name: str) -> tuple[str, bytes]:
    """A topic of a log."""
    return "A", struct.pack("<BH", 0, number) + name.encode()


ULOGS = {
    "a large array": ulog(("F", b"x:uint64_t timestamp;uint8_t[2000000000] a"), added(0, "x"), ("D", bytes(20))),
    "a larger array": ulog(("F", b"x:uint64_t timestamp;uint8_t[%b] a" % (b"9" * 40)), added(0, "x"), ("D", bytes(20))),
    "types in types": ulog(
        *(("F", b"t%d:t%d[100] a;t%d[100] b" % (i, i + 1, i + 1)) for i in range(10)),
        ("F", b"x:uint64_t timestamp;t0 a"), added(0, "x"), ("D", bytes(20)),
    ),
    "a type in itself": ulog(("F", b"x:uint64_t timestamp;x a"), added(0, "x"), ("D", bytes(20))),
    "many topics": ulog(
        ("F", b"x:uint64_t timestamp;uint8_t[60000] a"), *(added(number % 65536, "x") for number in range(50_000))
    ),
    "a size that is a lie": ulog(("F", b"x:uint64_t timestamp"), added(0, "x")) + b"\xff\xffD",
}  # fmt: skip


@pytest.mark.parametrize("name", ULOGS)
def test_px4_logs(name: str, tmp_path: Path) -> None:
    """The library makes an object of each field of each topic."""
    (tmp_path / "x.ulg").write_bytes(ULOGS[name])
    code, said = opened("record", "import", tmp_path / "x.ulg", "--name", "x")
    assert code in {0, 1, 2}, said


@pytest.mark.parametrize(
    "text",
    [
        b'{"x":"' + b"y" * (2 * MEBI) + b'"}',
        b"{" + b",".join(b'"%d":0' % i for i in range(60_000)) + b',"0":0}',
        b"[" * 400_000,
    ],
    ids=["long", "a key that is there twice", "deep"],
)
def test_policy_json(text: bytes, tmp_path: Path) -> None:
    """It is read whole, in time that grows with it."""
    (tmp_path / "policy.json").write_bytes(text)
    (tmp_path / "model.onnx").write_bytes(b"x")
    code, said = opened("serve", tmp_path)
    assert code == 2
    assert "policy.json" in said


def test_images_of_any_shape(tmp_path: Path) -> None:
    """An array whose header promises more than any memory has costs nothing."""
    (tmp_path / "images").mkdir()
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    (tmp_path / "images" / "x.npy").write_bytes(head.getvalue())
    lines = foreign_lines(1)
    lines[1]["request"]["image"] = {"$image": "0" * 16, "shape": [2, 2], "dtype": "|u1"}
    (tmp_path / "t.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    (tmp_path / "policy.py").write_text("def act(request):\n    return [[1.0, 2.0]]\n")
    policy = f"{tmp_path / 'policy.py'}:act"
    code, said = opened("replay", tmp_path / "t.jsonl", "--model", policy, "--image-dir", tmp_path / "images")
    assert code in {0, 1, 2}, said


def test_blocks_of_black_boxes(tmp_path: Path) -> None:
    """One that claims to become two gigabytes costs its events, in both readers."""
    with BlackBox.create(tmp_path, name="b", size_mb=1) as box:
        for number in range(20_000):
            box.custom("x", f"{number} " * 8)
        path = box.path
    assert path is not None
    data = bytearray(path.read_bytes())
    head = by_itself.file_header(bytes(data))
    forged = 0
    for offset in range(by_itself.PAGE, len(data) - head["segment_size"] + 1, head["segment_size"]):
        _, word, _, kind, _ = struct.unpack_from("<QQQII", data, offset)
        if word and kind != 1:
            salt = by_itself.salt_of(word & ~by_itself.TAKEN, head["salt"])
            block = data[offset + 32 : offset + 68]
            struct.pack_into("<I", block, 8, 2**31 - 2)
            struct.pack_into("<I", block, 12, zlib.crc32(block[:12] + block[16:], salt))
            data[offset + 32 : offset + 68] = block
            forged += 1
    path.write_bytes(data)
    assert forged
    code, said = opened("blackbox", path)
    assert code in {0, None}
    assert "cannot be unpacked: it claims to be larger" in said
    _, damaged = by_itself.read(bytes(data))
    assert damaged >= forged


@pytest.mark.parametrize("size", [0, 1, MEBI, 4 * MEBI, 70 * MEBI])
def test_unpacking_to_the_byte(size: int) -> None:
    """What is within the limit comes back; of more, nothing."""
    data = np.random.default_rng(1).bytes(size // 2) + bytes(size - size // 2)
    for pack, unpack in (
        (zstandard.compress, unpacking.unpack_zstd),
        (bz2.compress, unpacking.unpack_bz2),
        (lz4.frame.compress, unpacking.unpack_lz4),
    ):
        whole = pack(data)
        assert unpack(whole) == data
        with pytest.raises((ValueError, zstandard.ZstdError, RuntimeError, OSError)):
            unpack(whole[:-3])
        with pytest.raises(unpacking.TooMuchError):
            unpack(pack(bytes(unpacking.FREE + 1)))


def test_real_bags_are_whole(tmp_path: Path) -> None:
    """A bag of many small messages in packed chunks loses none of them."""
    bag = number_bag(tmp_path / "x.bag", 20_000)
    code, said = opened("record", "import", bag, "--name", "x")
    assert code == 0
    assert "imported 20000 messages" in said
