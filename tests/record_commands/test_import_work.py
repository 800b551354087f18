"""How much work an import is: operations are counted, as a clock would judge the machine."""

from __future__ import annotations

from io import BytesIO
from struct import pack
from typing import TYPE_CHECKING, Any

import lz4.frame
import pytest
from mcap import records, stream_reader
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.writer import CompressionType

from horus_async.recorder.write.line_maker import LineMaker
from horus_async.topics.codec import decode

from .mcap_files import json_mcap, messages_of, write_mcap
from .sessions import call, call_json
from .test_import import ros1_bag, ros2_bag

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS: dict[str, Callable[[Path], Path]] = {
    "ros1": lambda folder: ros1_bag(folder / "x.bag"),
    "ros2": lambda folder: ros2_bag(folder / "x", 60),
    "mcap": lambda folder: json_mcap(folder / "x.mcap", [("/a", n, b"%d" % n) for n in range(60)]),
}


def counting(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """The arguments of each call of a function from now on."""
    calls: list[Any] = []
    original = getattr(owner, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append((arguments, named))
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_recorder_is_told_of_a_message_once(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Not of its sending, of the end of a callback, and of the end of a tick; but for the first, which finds room."""
    path = KINDS[kind](tmp_path)
    told = [counting(monkeypatch, LineMaker, name) for name in ("sent", "executed", "tick_ended")]
    assert call_json("import", path, "--name", "x")["messages"] >= 20
    assert [len(calls) for calls in told] == [1, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_session_is_packed_quickly(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A thorough search would be a third of the work."""
    path = KINDS[kind](tmp_path)
    packed = counting(monkeypatch, lz4.frame, "compress")
    call_json("import", path, "--name", "x")
    assert {named["compression_level"] for _, named in packed} == {0}


def test_records_of_a_chunk_are_not_read_number_by_number(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither messages nor the indexes behind chunks; the library does the rest."""
    path = json_mcap(tmp_path / "x.mcap", [("/a", n, b"%d" % n) for n in range(300)], chunk_size=2000)
    calls = [counting(monkeypatch, kind, "read") for kind in (records.Message, records.MessageIndex)]
    broken = counting(monkeypatch, stream_reader, "breakup_chunk")
    assert call_json("import", path, "--name", "x")["messages"] == 300
    assert [*map(len, calls), len(broken)] == [0, 0, 0]
    assert messages_of("x", "a") == [*range(300)]


# -- what is read without the library ----------------------------------------------------------------------------------


def record(code: Opcode, content: bytes) -> bytes:
    """A record of an MCAP file."""
    return pack("<BQ", code, len(content)) + content


def message(channel: int, stamp_ns: int, data: bytes) -> bytes:
    """A message."""
    return record(Opcode.MESSAGE, pack("<HIQQ", channel, 0, stamp_ns, stamp_ns) + data)


def channel_record(number: int, topic: str, padding: bytes = b"") -> bytes:
    """A channel of JSON without a schema, with bytes behind it that a later version of the format may put there."""
    texts = b"".join(pack("<I", len(text)) + text for text in (topic.encode(), b"json"))
    return record(Opcode.CHANNEL, pack("<HH", number, 0) + texts + pack("<I", 0) + padding)


def file_of_chunk(path: Path, content: bytes) -> Path:
    """An MCAP file with one chunk of these bytes, and a good one behind it."""
    good = channel_record(9, "/good") + message(9, 50, b"1")

    def fill(writer: Any) -> None:
        for part in (content, good):
            builder: Any = RecordBuilder()
            records.Chunk("", part, 0, 99, 0, len(part)).write(builder)
            writer._Writer__stream.write(builder.end())

    return write_mcap(path, fill, use_chunking=False)


def test_message_that_is_too_short_to_be_one(recordings_dir: Path, tmp_path: Path) -> None:
    """It costs itself, which is said. A reader that trusts its length would swallow the rest of the chunk."""
    content = channel_record(1, "/a") + message(1, 1, b"1") + record(Opcode.MESSAGE, bytes(20)) + message(1, 2, b"2")
    found = call_json("import", file_of_chunk(tmp_path / "x.mcap", content), "--name", "x")
    assert found["topics"] == {"a": 2, "good": 1}
    assert any("1 messages in it are shorter than their head, and lost" in note for note in found["notes"])


def test_chunk_that_ends_within_a_head(recordings_dir: Path, tmp_path: Path) -> None:
    """The same."""
    content = channel_record(1, "/a") + message(1, 1, b"1") + message(1, 2, b"2")[:20]
    found = call_json("import", file_of_chunk(tmp_path / "x.mcap", content), "--name", "x")
    assert found["topics"] == {"good": 1}
    assert any("cut off or damaged" in note for note in found["notes"])


def test_chunk_that_ends_within_the_data_of_a_message(recordings_dir: Path, tmp_path: Path) -> None:
    """The same: what is left of the data may be a value, too, as of 12 here."""
    content = channel_record(1, "/a") + message(1, 1, b"1") + message(1, 2, b"12")[:-1]
    found = call_json("import", file_of_chunk(tmp_path / "x.mcap", content), "--name", "x")
    assert found["topics"] == {"good": 1}
    assert any("cut off or damaged" in note and "goes on beyond its end" in note for note in found["notes"])


def test_records_that_are_longer_than_what_is_known_of_them(recordings_dir: Path, tmp_path: Path) -> None:
    """What stands behind the known fields, and records of an unknown kind, are passed over."""
    content = channel_record(1, "/a", b"later") + pack("<BQ", 0x90, 3) + b"???" + message(1, 1, b"[1]")
    path = file_of_chunk(tmp_path / "x.mcap", content)
    notes = call_json("import", path, "--name", "x")["notes"]
    assert notes == ["the file says that it holds 0 messages, and 2 were imported"]
    assert messages_of("x", "a") == [[1]]
    assert messages_of("x", "good") == [1]


def test_finite_numbers_whose_sum_is_not(recordings_dir: Path, tmp_path: Path) -> None:
    """They come as they are: only the test for NaN is by the sum."""

    def fill(writer: Any) -> None:
        schema = writer.register_schema("pkg/msg/Two", "ros2msg", b"float64 x\nfloat64 y\n")
        channel = writer.register_channel("/a", "cdr", schema)
        for number, pair in enumerate([(1.5e308, 1.5e308), (float("inf"), float("-inf")), (-0.0, 5e-324)]):
            writer.add_message(channel, number, b"\0\1\0\0" + pack("<dd", *pair), number)

    assert call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x").exit_code == 0
    assert messages_of("x", "a") == [
        {"x": 1.5e308, "y": 1.5e308},
        decode(b'{"x":{"$float":"inf"},"y":{"$float":"-inf"}}'),
        {"x": -0.0, "y": 5e-324},
    ]


def test_index_that_is_cut_off(recordings_dir: Path, tmp_path: Path) -> None:
    """It is passed over without being read, but its end has to be there."""
    path = json_mcap(tmp_path / "x.mcap", [("/a", n, b"1") for n in range(50)], compression=CompressionType.NONE)
    data = path.read_bytes()
    stream = BytesIO(data)
    offset = 8
    while data[offset] != Opcode.MESSAGE_INDEX:
        stream.seek(offset + 1)
        offset += 9 + int.from_bytes(stream.read(8), "little")
    path.write_bytes(data[: offset + 40])
    found = call_json("import", path, "--name", "x")
    assert found["messages"] == 50
    assert any("(EndOfFile): what comes after is lost" in note for note in found["notes"]), found["notes"]
