"""``record import`` of MCAP files of all makes: nothing vanishes, and what is bad costs itself."""

from __future__ import annotations

import json
import math
import stat
import struct
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, IndexType
from rosbags.typesys import Stores, get_typestore

from horus_async.recorder import open_session
from horus_async.recorder.imports.importing import import_file
from horus_async.recorder.imports.mcap_records import McapRecords
from horus_async.recorder.imports.opening import open_source

from .mcap_files import START_NS, json_mcap, messages_of, stamped, write_mcap
from .sessions import call, call_json

if TYPE_CHECKING:
    from pathlib import Path

ODD_JSON: list[tuple[bytes, Any]] = [
    (b'{"r": [1.0, NaN, Infinity, -Infinity]}', {"r": [1.0, math.nan, math.inf, -math.inf]}),
    (b'{"id": 18446744073709551616}', {"id": 2**64}),
    (b'{"id": -9223372036854775809}', {"id": -(2**63) - 1}),
    (b'{"id": 1' + b"0" * 60 + b"}", {"id": 10**60}),
    (b'[18446744073709551615, 1e308, -0.0, "9999999999999999999999"]', [2**64 - 1, 1e308, -0.0, "9" * 22]),
    (b'{"$type": "os.system", "value": "ls"}', {"$type": "os.system", "value": "ls"}),
    (b'{"$ndarray": 1, "a": {"$float": "nan"}}', {"$ndarray": 1, "a": {"$float": "nan"}}),
    (b'\xef\xbb\xbf{"r": 1}', {"r": 1}),
    ('{"r": "°"}'.encode("utf-16"), {"r": "°"}),
    (b" 5\n", 5),
]


@pytest.mark.parametrize(("text", "value"), ODD_JSON)
def test_json_as_others_write_it(recordings_dir: Path, tmp_path: Path, text: bytes, value: Any) -> None:
    """NaN, integers of any size, keys with a dollar sign, byte order marks: the value is the one that was meant."""
    path = json_mcap(tmp_path / "x.mcap", [("/a", 1, text)])
    found = call_json("import", path, "--name", "x")
    assert found["notes"] == []
    assert repr(messages_of("x", "a")) == repr([value])


@pytest.mark.parametrize("digits", [3999, 4001, 4300, 4301, 9999, 100_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_beyond_what_python_reads(recordings_dir: Path, tmp_path: Path, digits: int, sign: str) -> None:
    """Python refuses those of more than 4,300 digits, and ours have any size: no message becomes bytes for that."""
    text = f"{sign}1{'0' * (digits - 2)}7"
    found = call_json("import", json_mcap(tmp_path / "x.mcap", [("/a", 1, text.encode())]), "--name", "x")
    assert (found["notes"], messages_of("x", "a")) == ([], [int(f"{sign}1") * (10 ** (digits - 1) + 7)])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", ["1e400", "-1E+309", "9" * 310 + ".0", "1e00999"])
def test_numbers_beyond_all_floats(recordings_dir: Path, tmp_path: Path, text: str, encoding: str) -> None:
    """The nearest is infinity, and how many messages have it instead is said; Infinity as such needs no word."""
    one, infinite = (f'{{"v": [{number}, 1e300]}}'.encode(encoding) for number in (text, "Infinity"))
    messages = [("/a", START_NS, infinite), ("/a", START_NS + 1, one), ("/a", START_NS + 2, one)]
    result = call("import", json_mcap(tmp_path / "x.mcap", messages), "--name", "x")
    assert result.exit_code == 0, result.output
    signed = -math.inf if text[0] == "-" else math.inf
    assert messages_of("x", "a") == [{"v": [math.inf, 1e300]}] + 2 * [{"v": [signed, 1e300]}]
    assert result.stderr == (
        f"note: topic /a: 2 messages have infinity in the place of a number; the first, at {START_NS + 1} ns: "
        f"{text[:40]} is beyond the largest float\n"
    )


@pytest.mark.parametrize(
    "text",
    [b"", b'{"r": ', b"{nonsense", b"\xff\xfe\xfd", b'"\\ud800"', b"[" * 100_000, b"1" * 100_001, b'{"a":1}{"b":2}'],
)
def test_message_that_is_no_json_costs_itself(recordings_dir: Path, tmp_path: Path, text: bytes) -> None:
    """It comes as its bytes, a note names topic, number, stamp and reason, and all others are imported."""
    messages = [
        ("/a", START_NS, b"1"),
        ("/a", START_NS + 1, text),
        ("/b", START_NS + 2, b"2"),
        ("/a", START_NS + 3, text),
    ]
    result = call("import", json_mcap(tmp_path / "x.mcap", messages), "--name", "x")
    assert result.exit_code == 0, result.output
    assert messages_of("x", "a") == [1, text, text]
    assert messages_of("x", "b") == [2]
    (note,) = result.stderr.splitlines()
    assert note.startswith(f"note: topic /a: 2 messages are bytes; the first, at {START_NS + 1} ns: ")


# -- how a file is made makes no difference ----------------------------------------------------------------------------

STAMPS = st.lists(st.integers(0, 40), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    stamps=STAMPS,
    chunked=st.booleans(),
    index=st.sampled_from([IndexType.ALL, IndexType.NONE, IndexType.CHUNK, IndexType.MESSAGE]),
    compression=st.sampled_from([*CompressionType]),
    chunk_size=st.integers(1, 400),
    has_summary=st.booleans(),
    has_statistics=st.booleans(),
)
def test_every_message_comes_by_time(
    tmp_path_factory: pytest.TempPathFactory, stamps: list[int], *, has_summary: bool, has_statistics: bool, **how: Any
) -> None:
    """Chunked or not, indexed or not, with a summary or without, in any order: every message, by log time."""
    folder = tmp_path_factory.mktemp("x")
    messages = [(f"/{stamp % 3}", stamp, b"%d" % number) for number, stamp in enumerate(stamps)]
    path = json_mcap(
        folder / "x.mcap",
        messages,
        chunk_size=how["chunk_size"],
        compression=how["compression"],
        index_types=how["index"],
        use_chunking=how["chunked"],
        use_statistics=has_statistics,
        repeat_channels=has_summary,
        repeat_schemas=has_summary,
        use_summary_offsets=has_summary,
    )
    found = import_file(path, "x", root=folder)
    assert (found.messages, found.notes, found.missing) == (len(stamps), [], 0)
    session = open_session("x", folder)
    came = [(sent.stamp_ns, json.loads(sent.payload)) for sent in session.outputs("bag")]
    assert came == sorted(((stamp, number) for number, stamp in enumerate(stamps)), key=lambda message: message[0])


def test_messages_beside_chunks_and_in_them(recordings_dir: Path, tmp_path: Path) -> None:
    """Messages outside of chunks are read, too, where others are in chunks: no index names them."""

    def fill(writer: Any) -> None:
        channel = writer.register_channel("/a", "json", 0)
        writer.add_message(channel, 5, b"5", 5)
        writer.flush()
        chunks = writer._Writer__chunk_builder
        writer._Writer__chunk_builder = None
        for stamp in (9, 1, 7):
            writer.add_message(channel, stamp, b"%d" % stamp, stamp)
        writer._Writer__chunk_builder = chunks
        writer.add_message(channel, 6, b"6", 6)

    assert call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x").exit_code == 0
    assert messages_of("x", "a") == [1, 5, 6, 7, 9]


def test_damaged_chunk_costs_itself(recordings_dir: Path, tmp_path: Path) -> None:
    """A damaged chunk is named, the others are imported, and the exit code says that something is missing."""
    path = json_mcap(
        tmp_path / "x.mcap",
        [("/a", number, b'"%d"' % number) for number in range(300)],
        chunk_size=500,
        compression=CompressionType.NONE,
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"150"', b'"xxx"'))
    result = call("import", path, "--name", "x")
    assert result.exit_code == 1
    assert "a chunk at byte" in result.stderr
    came = [int(value) for value in messages_of("x", "a")]
    assert 250 < len(came) < 300
    assert f"topic /a: the file says that it holds 300 messages, and {len(came)} were imported" in result.stderr
    assert came == sorted(came)
    assert 150 not in came


def test_damage_between_records_is_passed_over(recordings_dir: Path, tmp_path: Path) -> None:
    """Where a record's length is damaged, reading goes on with the next chunk that the index names."""
    path = json_mcap(tmp_path / "x.mcap", [("/a", n, b"%d" % n) for n in range(300)], chunk_size=500)
    from mcap.reader import SeekingReader

    with path.open("rb") as stream:
        summary = SeekingReader(stream).get_summary()
    assert summary is not None
    data = bytearray(path.read_bytes())
    broken = summary.chunk_indexes[3].chunk_start_offset
    data[broken + 1 : broken + 9] = b"\xff" * 8
    path.write_bytes(data)
    found = call_json("import", path, "--name", "x")
    came = messages_of("x", "a")
    assert 250 < len(came) < 300
    assert (came[0], came[-1]) == (0, 299)
    assert found["missing"] == 300 - len(came)


@pytest.mark.parametrize("claimed", [5, 1])
def test_number_is_compared_with_what_the_file_says(recordings_dir: Path, tmp_path: Path, claimed: int) -> None:
    """Fewer messages than the statistics claim: a note, and exit code 1; more: a note."""

    def fill(writer: Any) -> None:
        channel = writer.register_channel("/a", "json", 0)
        for stamp in (1, 2, 3):
            writer.add_message(channel, stamp, b"1", stamp)
        writer._Writer__statistics.channel_message_counts[channel] = claimed

    result = call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")
    assert result.exit_code == (1 if claimed > 3 else 0)
    assert f"topic /a: the file says that it holds {claimed} messages, and 3 were imported" in result.stderr
    assert call_json("info", "x")["messages"] == 3


def test_file_that_is_cut_while_it_is_read(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that are there at first and not when they are read are counted as missing, once."""
    path = json_mcap(tmp_path / "x.mcap", [("/a", n, b"1") for n in range(100)], chunk_size=300)
    read = McapRecords.of_piece
    monkeypatch.setattr(McapRecords, "of_piece", lambda self, piece: read(self, piece)[1:])
    found = call_json("import", path, "--name", "x")
    assert found["missing"] == 100 - found["messages"] > 0
    assert "topic /a: 100 messages were there at first" in found["notes"][0]


# -- channels ----------------------------------------------------------------------------------------------------------


def test_each_channel_is_read_by_its_own_schema(recordings_dir: Path, tmp_path: Path) -> None:
    """Two definitions of one type name are two: each channel's messages are read by its own."""

    def fill(writer: Any) -> None:
        for topic, definition, data in (
            ("/one", b"float32 speed\n", b"\0\0\x20\x40"),
            ("/two", b"uint32 count\nfloat32 speed\n", b"\7\0\0\0\0\0\x20\x40"),
        ):
            schema = writer.register_schema("pkg/msg/Odo", "ros2msg", definition)
            channel = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channel, 1, b"\0\1\0\0" + data, 1)

    assert call_json("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")["notes"] == []
    assert messages_of("x", "one") == [{"speed": 2.5}]
    assert messages_of("x", "two") == [{"count": 7, "speed": 2.5}]


@pytest.mark.parametrize(
    ("definition", "data"),
    [
        (b"this is no definition @@@\n", b"\0\1\0\0\7\0\0\0"),
        (b"int32 x\nfloat64 y\n", b"\0\1\0\0\7\0\0\0"),
        (b"other_pkg/Missing it\n", b"\0\1\0\0\7\0\0\0"),
        (b"string s\n", b"\0\1\0\0\4\0\0\0\xd0\x20\xff\0"),
        (b"int32 x\n", b""),
    ],
)
def test_topic_that_cannot_be_decoded_costs_itself(
    recordings_dir: Path, tmp_path: Path, definition: bytes, data: bytes
) -> None:
    """Its messages are bytes, one note says how many and why, and the good topic is whole."""

    def fill(writer: Any) -> None:
        bad = writer.register_channel("/bad", "cdr", writer.register_schema("pkg/msg/Foo", "ros2msg", definition))
        good = writer.register_channel("/good", "json", 0)
        for stamp in range(2):
            writer.add_message(bad, stamp, data, stamp)
            writer.add_message(good, stamp, b"1", stamp)

    result = call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")
    assert result.exit_code == 0, result.output
    assert messages_of("x", "good") == [1, 1]
    assert messages_of("x", "bad") == [data, data]
    (note,) = result.stderr.splitlines()
    assert "topic /bad: 2 messages are bytes; the first, at 0 ns: " in note


def test_messages_compressed_one_by_one(recordings_dir: Path, tmp_path: Path) -> None:
    """Messages that a ROS 2 bag compressed one by one are read in place."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    word = bytes(store.serialize_cdr(store.types["std_msgs/msg/String"]("x" * 100), "std_msgs/msg/String"))

    def fill(writer: Any) -> None:
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/a", "cdr", schema)
        writer.add_message(channel, 1, zstandard.compress(word), 1)
        writer.add_message(channel, 2, word, 2)
        writer.add_message(channel, 3, b"\x28\xb5\x2f\xfdgarbage", 3)

    found = call_json("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")
    assert messages_of("x", "a") == [{"data": "x" * 100}] * 2 + [b"\x28\xb5\x2f\xfdgarbage"]
    assert len(found["notes"]) == 1


def test_two_channels_of_one_topic_are_two_publishers(recordings_dir: Path, tmp_path: Path) -> None:
    """Channels of one topic stay apart, by the names of their publishers or without any."""

    def fill(writer: Any) -> None:
        for topic, caller in (("/a", "/left"), ("/a", "/right"), ("/b", ""), ("/b", ""), ("/a", "/left")):
            metadata = {"callerid": caller} if caller else {}
            writer.add_message(writer.register_channel(topic, "json", 0, metadata), 1, b"1", 1)

    assert call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x").exit_code == 0
    session = open_session("x")
    sent = Counter((node, message.topic) for node in session.nodes for message in session.outputs(node))
    assert sent == {("left", "a"): 2, ("right", "a"): 1, ("bag", "b"): 1, ("bag_2", "b"): 1}


# -- stamps, choice, what is kept --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [2**63, 2**64 - 1])
@pytest.mark.parametrize("rate", [(), ("--tick-rate", "100")])
def test_stamp_that_nothing_can_carry_is_refused(
    recordings_dir: Path, tmp_path: Path, stamp: int, rate: tuple[str, ...]
) -> None:
    """A stamp from 2**63 on is refused with topic and stamp, and the way out works."""
    path = json_mcap(tmp_path / "x.mcap", [("/a", START_NS, b"1"), ("/b", stamp, b"2")])
    result = call("import", path, "--name", "x", *rate)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert f"topic /b has a message with the stamp {stamp} ns" in result.output
    assert not (recordings_dir / "x").exists()
    assert call("import", path, "--name", "x", "--exclude", "/b", *rate).exit_code == 0
    assert (
        call("import", json_mcap(path, [("/a", START_NS, b"1"), ("/b", 2**63 - 1, b"2")]), "--name", "y").exit_code == 0
    )


def test_choosing_topics(recordings_dir: Path, tmp_path: Path) -> None:
    """``--topic`` and ``--exclude`` go by the names in the file or in the session; what is left out is counted."""
    topics = ("/cam/left", "/cam/right", "/odom", "/say it")
    path = json_mcap(tmp_path / "x.mcap", [(topic, n, b"{bad" if n else b"1") for n in range(3) for topic in topics])
    for name, options, kept in (
        ("one", ("--topic", "/cam/*"), {"cam/left", "cam/right"}),
        ("two", ("--topic", "cam/*", "--topic", "odom", "--exclude", "*right"), {"cam/left", "odom"}),
        ("three", ("--exclude", "/cam/*", "--exclude", "say_it"), {"odom"}),
        ("four", ("--topic", "/say it"), {"say_it"}),
    ):
        result = call("import", path, "--name", name, *options)
        assert result.exit_code == 0, result.output
        assert {topic["topic"] for topic in call_json("info", name)["topics"]} == kept
        assert f"left out {12 - 3 * len(kept)} messages of {4 - len(kept)} topics" in result.stdout
        assert len(result.stderr.splitlines()) == len(kept), "nothing is said of topics that are left out"
    for options, words in (
        (("--topic", "/imu"), "no topic fits '/imu': the file has /cam/left, "),
        (("--exclude", "*"), "no topic is left"),
    ):
        result = call("import", path, "--name", "none", *options)
        assert result.exit_code == 2
        assert words in result.output
    assert "no topic fits --exclude '/imu'" in call("import", path, "--name", "five", "--exclude", "/imu").stderr


def test_first_message_is_that_of_the_chosen_topics(recordings_dir: Path, tmp_path: Path) -> None:
    """With a tick rate the clock begins with the first message of what was chosen."""
    path = json_mcap(tmp_path / "x.mcap", [("/early", 0, b"1"), ("/a", START_NS, b"1"), ("/a", START_NS + 10**7, b"2")])
    found = call_json("import", path, "--name", "x", "--tick-rate", "100", "--topic", "a")
    assert (found["ticks"], found["left_out"]) == (2, {"/early": 1})
    assert open_session("x").start_ns == START_NS


def test_an_attachment_before_all_else_is_kept(tmp_path: Path) -> None:
    """Its length is its own, not what the file's first bytes happen to say."""
    content = struct.pack("<QQ", 1, 2) + b"".join(
        struct.pack(f"<{size}", len(part)) + part
        for size, part in (("I", b"a.txt"), ("I", b"text/plain"), ("Q", b"fx"))
    )
    content += struct.pack("<I", zlib.crc32(content))
    footer = struct.pack("<BQQQI", 2, 20, 0, 0, 0)
    path = tmp_path / "x.mcap"
    path.write_bytes(b"\x89MCAP0\r\n" + struct.pack("<BQ", 9, len(content)) + content + footer + b"\x89MCAP0\r\n")
    with open_source(path) as source:
        assert list(source.messages()) == []
        assert [(one.name, one.load()) for one in source.enclosed] == [("a.txt", b"fx")]
        assert not [note for note in source.notes if "checksum" in note]


def test_attachments_and_metadata_are_kept(recordings_dir: Path, tmp_path: Path) -> None:
    """They lie in the session's folder, ``record info`` names them, and an export gives them back."""
    names = ["calib.yaml", "calib.yaml", "../../evil", "/etc/passwd", "", "..", "CALIB.yaml", "ö" * 300]

    def fill(writer: Any) -> None:
        for number, name in enumerate(names):
            writer.add_attachment(number, number + 1, name, "text/yaml", b"fx: %d" % number)
        writer.add_metadata("robot", {"serial": "42"})
        writer.add_message(writer.register_channel("/a", "json", 0), 1, b"1", 1)

    path = write_mcap(tmp_path / "x.mcap", fill)
    result = call("import", path, "--name", "x")
    assert result.exit_code == 0
    assert f"kept {len(names)} attachments: calib.yaml, calib.yaml" in result.stdout
    assert "kept 1 metadata records: robot" in result.stdout
    folder = recordings_dir / "x" / "attachments"
    assert len({file.name.lower() for file in folder.iterdir()}) == len(names)
    assert [path.name for path in recordings_dir.iterdir()] == ["x"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
    assert (folder / "calib.yaml").read_bytes() == b"fx: 0"
    shown = call("info", "x").stdout
    assert "calib.yaml (5 B)" in shown
    assert "robot: 1 values" in shown
    assert call("check", "x").exit_code == 0
    assert call("export", "x", "--format", "mcap", "--output", tmp_path / "y.mcap").exit_code == 0
    assert call("import", tmp_path / "y.mcap", "--name", "y").exit_code == 0
    before, after = (call_json("info", name)["origin"] for name in ("x", "y"))
    assert before["metadata"] == after["metadata"] == [{"name": "robot", "values": {"serial": "42"}}]
    assert before["attachments"] == after["attachments"]
    assert [attachment["name"] for attachment in after["attachments"]] == names
    for attachment in after["attachments"]:
        same = [(recordings_dir / name / "attachments" / attachment["file"]).read_bytes() for name in ("x", "y")]
        assert same[0] == same[1]


def test_check_looks_at_what_is_kept(recordings_dir: Path, tmp_path: Path) -> None:
    """An attachment that is gone or cut, or an index that is no JSON, is damage."""

    def fill(writer: Any) -> None:
        writer.add_attachment(1, 1, "a", "", b"12345")
        writer.add_message(writer.register_channel("/a", "json", 0), 1, b"1", 1)

    call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")
    kept = recordings_dir / "x" / "attachments" / "a"
    kept.write_bytes(b"123")
    assert "attachment a has 3 of 5 bytes" in call("check", "x").output
    kept.unlink()
    result = call("check", "x")
    assert result.exit_code == 1
    assert "attachment a: No such file" in result.output
    (recordings_dir / "x" / "origin.json").write_bytes(b"{")
    assert call("check", "x").exit_code == 1


def test_names_do_not_control_the_terminal(recordings_dir: Path, tmp_path: Path) -> None:
    """What a file calls its topics and attachments is shown with escapes where it is no text."""
    red = "\x1b[31mred"

    def fill(writer: Any) -> None:
        writer.add_attachment(1, 1, red, "", b"1")
        writer.add_metadata(red, {})
        for topic in (red, f"{red}2"):
            writer.add_message(writer.register_channel(topic, "json", 0), 1, b"{bad", 1)

    result = call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x", "--exclude", "*2")
    assert result.exit_code == 0
    shown = result.output + call("info", "x").output
    assert shown.count("\\x1b[31mred") == 7
    assert "\x1b" not in shown


@pytest.mark.parametrize("file", ["../../../etc/passwd", "/etc/passwd", ".hidden", "", 7, "a/b"])
def test_index_that_leads_elsewhere_is_not_followed(recordings_dir: Path, tmp_path: Path, file: object) -> None:
    """A session of somebody else's whose index names files outside of it: that is damage, and nothing is read."""

    def fill(writer: Any) -> None:
        writer.add_attachment(1, 1, "a", "", b"1")
        writer.add_message(writer.register_channel("/a", "json", 0), 1, b"1", 1)

    call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")
    index = recordings_dir / "x" / "origin.json"
    fields = json.loads(index.read_bytes())
    fields["attachments"][0]["file"] = file
    index.write_text(json.dumps(fields))
    if file != 7:  # which becomes the name "7" of a file that is not there
        assert "origin.json cannot be read" in call("info", "x").stderr
    result = call("export", "x", "--format", "mcap", "--output", tmp_path / "y.mcap")
    assert result.exit_code == 2
    assert not (tmp_path / "y.mcap").exists()


def test_names_come_back(recordings_dir: Path, tmp_path: Path) -> None:
    """Topics and publishers have their own names again in an export, whatever they were called in the session."""

    def fill(writer: Any) -> None:
        for topic in ("/say it", "/say_it", "plain", "/ünï"):
            for caller in ("/my node", "/my_node"):
                channel = writer.register_channel(topic, "json", 0, {"callerid": caller})
                writer.add_message(channel, 1, b"1", 1)

    call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")
    call("export", "x", "--format", "mcap", "--output", tmp_path / "y.mcap")
    from mcap.reader import make_reader

    with (tmp_path / "y.mcap").open("rb") as stream:
        channels = [channel for _, channel, _ in make_reader(stream).iter_messages()]
    named = {(channel.topic, *json.loads(channel.metadata["horus_publishers"])) for channel in channels}
    assert named == {
        (topic, caller) for topic in ("/say it", "/say_it", "plain", "/ünï") for caller in ("/my node", "/my_node")
    }
    call("import", tmp_path / "y.mcap", "--name", "y")
    assert call_json("diff", "x", "y")["same"] is True


def test_old_exports_say_what_they_lack(recordings_dir: Path, tmp_path: Path) -> None:
    """A channel of ours that names several publishers, as version 0.1.0 wrote them: a note says that they are one."""

    def fill(writer: Any) -> None:
        channel = writer.register_channel("t", "json", 0, {"horus_publishers": '["a","b"]'})
        writer.add_message(channel, 1, b'{"$float":"nan"}', 1)

    result = call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x")
    assert "topic t has messages of a, b, and the file does not say which are whose" in result.stderr
    assert math.isnan(messages_of("x", "t")[0])
    assert stamped("x", "t")[0][0] == 1


def test_a_publisher_called_as_unnamed_ones_are_is_none_of_them(recordings_dir: Path, tmp_path: Path) -> None:
    """Two channels of a topic without names, and a publisher whose name the second would get."""

    def fill(writer: Any) -> None:
        for caller in ("", "", "bag_2", "bag 2", ""):
            channel = writer.register_channel("t", "json", 0, {"callerid": caller} if caller else {})
            writer.add_message(channel, 1, b"1", 1)

    assert call("import", write_mcap(tmp_path / "x.mcap", fill), "--name", "x").exit_code == 0
    assert sorted(open_session("x").nodes) == ["bag", "bag 2", "bag_2", "bag_3", "bag_4"]


def test_a_topic_without_a_name_is_one_of_many(recordings_dir: Path, tmp_path: Path) -> None:
    """Its count in the file is not taken for that of all."""
    result = call(
        "import", json_mcap(tmp_path / "x.mcap", [("", 0, b"1"), ("/a", 1, b"2"), ("/a", 2, b"3")]), "--name", "x"
    )
    assert result.exit_code == 0
    assert "the file says" not in result.stderr
    assert messages_of("x", "topic") == [1]
