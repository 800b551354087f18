"""``record import``: ROS bags that are cut, split, compressed, not closed, or told of wrongly."""

from __future__ import annotations

import bz2
import os
import shutil
import sqlite3
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag1 import Writer as Bag1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Bag2Writer
from rosbags.typesys import Stores, get_typestore

from horus_async.errors import RecordingError
from horus_async.recorder import open_session
from horus_async.recorder.imports.opening import open_source
from horus_async.recorder.imports.ros import decoder

from .bag_files import HUMBLE, START_NS, TEXT, found, number_bag, storage_of, text_bag, text_message
from .sessions import call, call_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QOS = (
    'offered_qos_profiles: "- history: 1\\n  depth: 1\\n  reliability: 1\\n  durability: 1\\n  deadline:\\n'
    "    sec: 9\\n    nsec: 8\\n  lifespan:\\n    sec: 9\\n    nsec: 8\\n  liveliness: 1\\n"
    '  liveliness_lease_duration:\\n    sec: 9\\n    nsec: 8\\n  avoid_ros_namespace_conventions: false"'
)
both_storages = pytest.mark.parametrize("storage", [*StoragePlugin])


def edit_metadata(bag: Path, old: str, new: str) -> None:
    """Replace something in a bag's metadata."""
    path = bag / "metadata.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# -- what metadata say -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A limit of 500 bytes. It is in the decoders that are made meanwhile, so none of them stays."""
    for module in ("recorder.imports.ros.reading", "topics.codec.encoding"):
        monkeypatch.setattr(f"horus_async.{module}.MESSAGE_LIMIT", 500)
    decoder._known.cache_clear()
    decoder._defined.cache_clear()
    yield
    decoder._known.cache_clear()
    decoder._defined.cache_clear()


@pytest.mark.usefixtures("small_messages")
def test_message_that_is_too_large_for_any_topic(recordings_dir: Path, tmp_path: Path) -> None:
    """It is left out, which the exit code tells, too."""
    bag = text_bag(tmp_path / "bag", {"/text": 5})
    with closing(sqlite3.connect(storage_of(bag))) as database, database:
        database.execute("UPDATE messages SET data = zeroblob(1000) WHERE id = 3")
    for path in (bag, storage_of(bag)):
        result = call("import", path, "--name", f"of_{path.suffix[1:]}")
        assert "imported 4 messages" in result.stdout
        assert "1 messages are left out" in result.stderr
        assert "are bytes" not in result.stderr
        assert result.exit_code == 1


@both_storages
@pytest.mark.parametrize("qos", [QOS, "offered_qos_profiles: nonsense", "offered_qos_profiles: 7"])
def test_other_qos_text_in_the_metadata(recordings_dir: Path, tmp_path: Path, storage: StoragePlugin, qos: str) -> None:
    """A topic is imported whatever the metadata have for the quality of its service."""
    bag = text_bag(tmp_path / "bag", {"/imu": 5, "/tf_static": 1}, storage)
    edit_metadata(bag, "offered_qos_profiles: []", qos)
    result = call_json("import", bag, "--name", "s")
    assert (result["topics"], result["missing"], result["notes"]) == ({"imu": 5, "tf_static": 1}, 0, [])


@both_storages
def test_fewer_messages_than_the_metadata_count(recordings_dir: Path, tmp_path: Path, storage: StoragePlugin) -> None:
    """What is missing is said, by topic, and shows in the exit code."""
    bag = text_bag(tmp_path / "bag", {"/a": 5, "/b": 2}, storage)
    edit_metadata(bag, "message_count: 5", "message_count: 8")
    result = call("import", bag, "--name", "s")
    assert result.exit_code == 1, result.output
    assert "/a" in result.stderr
    assert "8" in result.stderr
    assert call_json("info", "s")["messages"] == 7


@both_storages
def test_topics_and_totals_that_metadata_claim(recordings_dir: Path, tmp_path: Path, storage: StoragePlugin) -> None:
    """A topic that is not there at all, and a total that is not the sum, are said as well."""
    bag = text_bag(tmp_path / "bag", {"/a": 5, "/b": 2}, storage)
    edit_metadata(bag, "name: /b", "name: /gone")
    result = call("import", bag, "--name", "s")
    assert result.exit_code == 1, result.output
    assert "/gone" in result.stderr
    edit_metadata(bag, "name: /gone", "name: /b")
    edit_metadata(bag, "message_count: 7", "message_count: 70")
    result = call_json("import", bag, "--name", "t")
    assert (result["messages"], result["missing"]) == (7, 63)


@both_storages
def test_metadata_that_cannot_be_read(recordings_dir: Path, tmp_path: Path, storage: StoragePlugin) -> None:
    """Broken metadata do not keep the files from being imported; a note says what is wrong with them."""
    bag = text_bag(tmp_path / "bag", {"/a": 3}, storage)
    for number, text in enumerate(("{", "[1]", "rosbag2_bagfile_information: {version: 5}", "\x00", "")):
        (bag / "metadata.yaml").write_text(text)
        result = call("import", bag, "--name", f"s{number}")
        assert (result.exit_code, result.stderr.count("note:")) == (0, 1), result.output
        assert "metadata.yaml cannot be read" in result.stderr
        assert call_json("info", f"s{number}")["messages"] == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("custom_data:\n    a: &a [x, x]\n    b: [*a, *a]", "alias"),
        ("custom_data: " + "[" * 200_000, "depth"),
        ("x: " + "y" * (1 << 24), "more than 4194304 bytes"),
    ],
    ids=["aliases", "depth", "size"],
)
def test_metadata_that_would_become_too_much(recordings_dir: Path, tmp_path: Path, text: str, problem: str) -> None:
    """A few aliases of aliases are gigabytes of text, a row of brackets is hours of work; the files are imported."""
    bag = text_bag(tmp_path / "bag", {"/a": 3})
    edit_metadata(bag, "rosbag2_bagfile_information:\n", f"rosbag2_bagfile_information:\n  {text}\n")
    result = call("import", bag, "--name", "s")
    assert (result.exit_code, result.stderr.count("note:")) == (0, 1), result.output
    assert "metadata.yaml cannot be read" in result.stderr
    assert problem in result.stderr
    assert call_json("info", "s")["messages"] == 3


def test_metadata_name_no_paths(recordings_dir: Path, tmp_path: Path) -> None:
    """A file that metadata name is looked for in the bag's own folder only."""
    text_bag(tmp_path / "other", {"/secret": 3})
    bag = text_bag(tmp_path / "bag", {"/a": 3})
    edit_metadata(bag, "- bag.db3", "- ../other/other.db3")
    result = call("import", bag, "--name", "s")
    assert result.exit_code == 2
    assert "the files that metadata.yaml names are not there: other.db3" in result.stderr


def test_a_distribution_decides_which_definition(recordings_dir: Path, tmp_path: Path) -> None:
    """A file of an old ROS 2 holds no definitions: those of its distribution are taken, and a note says so."""
    bag = text_bag(tmp_path / "bag", {"/a": 2})
    with closing(sqlite3.connect(storage_of(bag))) as database, database:
        database.executescript("DROP TABLE message_definitions; DROP TABLE schema")
    edit_metadata(bag, "ros_distro: rosbags", "ros_distro: foxy")
    for number, path in enumerate((bag, storage_of(bag))):
        result = call("import", path, "--name", f"s{number}")
        assert found(f"s{number}", "a") == [{"data": "/a 0"}, {"data": "/a 1"}]
        assert "of ROS 2 foxy" in result.stderr


def test_rows_without_a_stamp_or_a_topic(recordings_dir: Path, tmp_path: Path) -> None:
    """SQLite takes any value in any column. Such rows cost themselves, which is said; a topic may lack its name."""
    bag = text_bag(tmp_path / "bag", {"/a": 5, "/b": 2})
    with closing(sqlite3.connect(storage_of(bag))) as database, database:
        (topic,) = database.execute("SELECT id FROM topics WHERE name = '/a'").fetchone()
        for row, change in enumerate(("timestamp = 'noon'", "timestamp = 1.5", "topic_id = 'a'")):
            rows = f"SELECT id FROM messages WHERE topic_id = {topic} ORDER BY id LIMIT 1 OFFSET {row}"
            database.execute(f"UPDATE messages SET {change} WHERE id = ({rows})")
    result = call("import", storage_of(bag), "--name", "s")
    assert "3 messages are left out, as their stamp or topic is no number" in result.stderr
    assert (len(found("s", "a")), len(found("s", "b"))) == (2, 2)


# -- folders -----------------------------------------------------------------------------------------------------------


def split(folder: Path, storage: StoragePlugin, count: int) -> Path:
    """The files of a bag that was split, with no metadata: their messages overlap in time."""
    folder.mkdir()
    for part in range(count):
        with Bag2Writer(folder / "tmp", version=9, storage_plugin=storage) as writer:
            connection = writer.add_connection("/t", TEXT, typestore=HUMBLE)
            for number in range(3):
                stamp = START_NS + (2 * part + number) * 10 + part
                writer.write(connection, stamp, text_message(f"{part}.{number}"))
        made = storage_of(folder / "tmp")
        made.rename(folder / f"bag_{part}{made.suffix}")
        shutil.rmtree(folder / "tmp")
    return folder


@both_storages
def test_a_split_bag_without_metadata(recordings_dir: Path, tmp_path: Path, storage: StoragePlugin) -> None:
    """All files of a bag whose recorder was killed are one session, by the messages' stamps."""
    folder = split(tmp_path / "bag", storage, 11)
    (folder / "notes.txt").write_text("no bag")
    result = call("import", folder, "--name", "s")
    assert result.exit_code == 0, result.output
    assert "has no metadata.yaml" in result.stderr
    session = open_session("s")
    stamps = [sent.stamp_ns for line in session.executions("bag") for sent in getattr(line, "outputs", ())]
    assert len(stamps) == 33
    assert stamps == sorted(stamps)


@both_storages
def test_files_that_the_metadata_do_not_name(recordings_dir: Path, tmp_path: Path, storage: StoragePlugin) -> None:
    """A file that was begun after the metadata were written is imported; one that they name and is gone is missed."""
    folder = split(tmp_path / "bag", storage, 3)
    ending = ".db3" if storage is StoragePlugin.SQLITE3 else ".mcap"
    names = "".join(f"\n  - bag_{number}{ending}" for number in (0, 1, 9))
    (folder / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  relative_file_paths:{names}\n")
    result = call("import", folder, "--name", "s")
    assert result.exit_code == 0, result.output
    assert f"metadata.yaml names bag_9{ending}, which is not there" in result.stderr
    assert f"metadata.yaml does not name bag_2{ending}" in result.stderr
    assert call_json("info", "s")["messages"] == 9


@both_storages
def test_a_file_of_a_split_bag_that_cannot_be_read(
    recordings_dir: Path, tmp_path: Path, storage: StoragePlugin
) -> None:
    """The last file of a killed recorder may be empty: it costs itself. If none can be read, the first says why."""
    folder = split(tmp_path / "bag", storage, 3)
    (last,) = folder.glob("bag_2.*")
    last.write_bytes(b"")
    result = call("import", folder, "--name", "s")
    assert result.exit_code == 0, result.output
    assert f"{last} is empty; it is left out" in result.stderr
    assert call_json("info", "s")["messages"] == 6
    for file in folder.iterdir():
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    result = call("import", folder, "--name", "t")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "git lfs pull" in result.output


def test_one_file_of_a_split_bag_says_that_there_are_more(recordings_dir: Path, tmp_path: Path) -> None:
    """Who imports one file of several is told of the folder."""
    folder = split(tmp_path / "bag", StoragePlugin.SQLITE3, 2)
    text = "rosbag2_bagfile_information: {relative_file_paths: [bag_0.db3, bag_1.db3]}"
    (folder / "metadata.yaml").write_text(text)
    result = call("import", folder / "bag_1.db3", "--name", "s")
    assert "bag_1.db3 is one of 2 files of a bag: import its folder" in result.stderr


def test_folders_that_are_no_bag(recordings_dir: Path, tmp_path: Path) -> None:
    """A folder of several bags, of none, or with bags in it, is one line that says what to give."""
    several = tmp_path / "several"
    several.mkdir()
    for name in ("one", "two"):
        shutil.copy(storage_of(text_bag(tmp_path / name, {"/t": 1})), several / f"{name}.db3")
    (tmp_path / "none").mkdir()
    above = tmp_path / "above"
    above.mkdir()
    text_bag(above / "monday", {"/t": 1})
    for path, words in (
        (several, "give one of one.db3, two.db3"),
        (tmp_path / "none", "is no ROS 2 bag"),
        (above, "give one of the bags in it: monday"),
    ):
        result = call("import", path, "--name", "s")
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert words in result.output


# -- SQLite ------------------------------------------------------------------------------------------------------------


def test_paths_of_other_kinds(recordings_dir: Path, tmp_path: Path) -> None:
    """Two slashes at the beginning, a link, and a name that is no text lead to the file, too."""
    path = storage_of(text_bag(tmp_path / "bag", {"/t": 1}))
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff#.db3")
    shutil.copy(path, odd)
    (tmp_path / "link.db3").symlink_to(path)
    for number, one in enumerate((f"/{path}", odd, tmp_path / "link.db3")):
        assert call("import", one, "--name", f"s{number}").exit_code == 0
        assert found(f"s{number}", "t") == [{"data": "/t 0"}]


@pytest.mark.parametrize("name", ["run%31", "a#b", "a?b", "a b", "ä", "file:x?mode=rw", "%", "a'b"])
def test_the_path_is_the_one_that_was_given(recordings_dir: Path, tmp_path: Path, name: str) -> None:
    """A ``.db3`` is read from its path, whatever characters it has, and not from where they lead as a URI."""
    for folder, text in ((name, "/right"), ("run1", "/wrong"), ("a", "/wrong")):
        if not (tmp_path / folder).exists():
            (tmp_path / folder).mkdir()
            made = text_bag(tmp_path / "made", {text: 1})
            shutil.move(storage_of(made), tmp_path / folder / "x.db3")
            shutil.rmtree(made)
    assert call_json("import", tmp_path / name / "x.db3", "--name", "s")["topics"] == {"right": 1}


@pytest.mark.parametrize("mode", ["WAL", "PERSIST"])
def test_a_database_that_was_not_closed(recordings_dir: Path, tmp_path: Path, mode: str) -> None:
    """What is only in ``-wal`` is read, too, and what was not finished is not; nothing in the folder changes."""
    bag = text_bag(tmp_path / "bag", {"/t": 3})
    path = storage_of(bag)
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("PRAGMA cache_size=1")  # what is not finished reaches the file
        database.execute("BEGIN")
        rows = [(START_NS + number, text_message("x" * 5000)) for number in range(50)]
        database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)", rows)
        if mode == "WAL":
            database.execute("COMMIT")
        for file in bag.iterdir():
            shutil.copy(file, killed / file.name)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in killed.iterdir()}
    assert any(name.endswith(("-wal", "-journal")) and data for name, (data, _) in before.items())
    killed.chmod(0o555)
    try:
        for number, given_path in enumerate((killed, killed / path.name)):
            result = call("import", given_path, "--name", f"s{number}")
            assert f"{path.name} was not closed" in result.stderr, result.output
            assert call_json("info", f"s{number}")["messages"] == (53 if mode == "WAL" else 3)
    finally:
        killed.chmod(0o755)
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in killed.iterdir()} == before


def test_no_room_for_a_copy(recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a copy is needed and cannot be made, the line says what to do."""
    bag = text_bag(tmp_path / "bag", {"/t": 3})
    (bag / "bag.db3-wal").write_bytes(b"not empty")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    result = call("import", bag, "--name", "s")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "No space left on device): set TMPDIR" in result.output


@pytest.mark.parametrize("size", [10, 3000])
@pytest.mark.parametrize("share", [0.5, 0.77, 0.9])
def test_a_database_that_was_cut_off(recordings_dir: Path, tmp_path: Path, share: float, size: int) -> None:
    """Of a ``.db3`` that lost its end those messages are imported that can be read whole, and a note says it is cut."""
    texts = [f"{number} " + "x" * size for number in range(3000)]
    with Bag2Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/t", TEXT, typestore=HUMBLE)
        for number, text in enumerate(texts):
            writer.write(connection, START_NS + number, text_message(text))
    data = storage_of(tmp_path / "bag").read_bytes()
    cut = tmp_path / "cut.db3"
    cut.write_bytes(data[: int(len(data) * share)])
    result = call("import", cut, "--name", "s")
    assert result.exit_code in {0, 1}, result.output
    assert "cut.db3 is cut off or damaged" in result.stderr
    values = [value["data"] for value in found("s", "t")]
    assert values == texts[: len(values)]
    assert len(values) > 3000 * (share - 0.3)
    assert cut.read_bytes() == data[: int(len(data) * share)]


def test_rows_that_are_odd(recordings_dir: Path, tmp_path: Path) -> None:
    """A topic in another encoding, a message of no topic, and data that are text or nothing, cost themselves."""
    path = storage_of(text_bag(tmp_path / "bag", {"/a": 2, "/b": 1}))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE topics SET serialization_format = 'other' WHERE name = '/b'")
        add = "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)"
        database.execute(add, (77, START_NS, text_message("lost")))
        database.execute(add, (1, START_NS + 10**9, "a text"))
    result = call("import", path, "--name", "s")
    assert result.exit_code == 0, result.output
    assert found("s", "a") == [{"data": "/a 0"}, {"data": "/a 1"}, b"a text"]
    assert found("s", "b") == [text_message("/b 0")]
    assert found("s", "topic_77") == [text_message("lost")]
    assert result.stderr.count("are bytes") == 3


def test_another_database(recordings_dir: Path, tmp_path: Path) -> None:
    """An SQLite file that is no bag is one line."""
    with closing(sqlite3.connect(tmp_path / "x.db3")) as database, database:
        database.execute("CREATE TABLE topics (id INTEGER)")
    result = call("import", tmp_path / "x.db3", "--name", "s")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "no ROS 2 bag" in result.output


# -- compressed --------------------------------------------------------------------------------------------------------


@both_storages
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("folder", [True, False])
def test_compressed_bags(
    recordings_dir: Path, tmp_path: Path, storage: StoragePlugin, mode: CompressionMode, *, folder: bool
) -> None:
    """A bag whose files or messages are compressed is read in place, as a folder and as a file without it."""
    writer = Bag2Writer(tmp_path / "bag", version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/t", TEXT, typestore=HUMBLE)
        for number in range(3):
            writer.write(connection, START_NS + number, text_message("x" * 100 + str(number)))
    before = sorted(path.name for path in (tmp_path / "bag").iterdir())
    path = tmp_path / "bag"
    if not folder:
        (path,) = [file for file in path.iterdir() if file.name != "metadata.yaml"]
        path = path.rename(tmp_path / path.name)
    assert call("import", path, "--name", "s").exit_code == 0
    assert found("s", "t") == [{"data": "x" * 100 + str(number)} for number in range(3)]
    if folder:
        assert sorted(file.name for file in path.iterdir()) == before


def test_a_folder_whose_file_was_unpacked(recordings_dir: Path, tmp_path: Path) -> None:
    """Metadata may name a file with or without what says that it is compressed."""
    bag = text_bag(tmp_path / "bag", {"/t": 3})
    path = storage_of(bag)
    packed = bag / f"{path.name}.zstd"
    packed.write_bytes(zstandard.compress(path.read_bytes()))
    path.unlink()
    assert call_json("import", bag, "--name", "s")["messages"] == 3
    edit_metadata(bag, "- bag.db3", "- bag.db3.zstd")
    path.write_bytes(zstandard.decompress(packed.read_bytes()))
    packed.unlink()
    assert call_json("import", bag, "--name", "again")["messages"] == 3


def test_a_compressed_message_that_is_damaged(recordings_dir: Path, tmp_path: Path) -> None:
    """It costs itself."""
    path = storage_of(text_bag(tmp_path / "bag", {"/t": 2}))
    with closing(sqlite3.connect(path)) as database, database:
        data = zstandard.compress(text_message("y" * 500))[:-3]
        database.execute("UPDATE messages SET data = ? WHERE id = 2", (data,))
    result = call("import", path, "--name", "s")
    assert found("s", "t") == [{"data": "/t 0"}, data]
    assert "a compressed message is damaged" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.db3", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        ("x.bag", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        ("x.bag", b"/annex/objects/SHA256E-s1--0.bag\n", "git annex get"),
        ("x.bag", bz2.compress(b"#ROSBAG V2.0\n"), "bunzip2"),
        ("x.mcap", b"<!DOCTYPE html><html>", "a web page"),
        ("metadata.yaml", b"rosbag2_bagfile_information:\n  version: 5\n", "import the folder"),
        ("metadata.yaml", b"# by hand\n\nrosbag2_bagfile_information:\n", "import the folder"),
        ("x.bag", bytes(4096), "zeros"),
        ("x.db3-wal", b"\x37\x7f\x06\x82", "x.db3-wal belongs to x.db3"),
        ("x.bag", b"#ROSBAG V1.2\n", "rosbag reindex"),
        ("x.zstd", zstandard.compress(b"hello"), "none of what can be imported"),
    ],
)
def test_files_that_are_something_else(
    recordings_dir: Path, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    """One line says what it is, or what to do."""
    (tmp_path / name).write_bytes(content)
    result = call("import", tmp_path / name, "--name", "s")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert words in result.output


# -- ROS 1 -------------------------------------------------------------------------------------------------------------


def test_bags_without_an_index(recordings_dir: Path, tmp_path: Path) -> None:
    """A bag that was never closed, or lost its index, has all messages of its whole chunks, whatever it is called."""
    data = bytearray(number_bag(tmp_path / "x.bag", 1000).read_bytes())
    place = data.index(b"index_pos=") + 10
    index = struct.unpack("<Q", data[place : place + 8])[0]
    without = data[:index]
    (tmp_path / "lost.bag").write_bytes(without)
    without[place : place + 8] = bytes(8)
    (tmp_path / "killed.bag.active").write_bytes(without)
    for name in ("lost.bag", "killed.bag.active"):
        result = call("import", tmp_path / name, "--name", name)
        assert result.exit_code == 0, result.output
        assert f"{name} was never closed: it has no index, and 1000 messages" in result.stderr
        assert [value["data"] for value in found(name, "n")] == [*range(1000)]


def test_a_chunk_that_was_being_written(recordings_dir: Path, tmp_path: Path) -> None:
    """A killed recorder's last chunk has no size yet: its messages lie open, and those that are whole are read."""
    data = number_bag(tmp_path / "x.bag", 100, chunk=10**6).read_bytes()
    chunk = data.index(b"op=\x05") - 8
    (length,) = struct.unpack_from("<I", data, data.index(b"compression=none") - 4)
    assert length == len(b"compression=none")
    while data[chunk : chunk + 4] != struct.pack("<I", 4 + 4 + 4 + 16 + 4 + 9):
        chunk -= 1
    (header,) = struct.unpack_from("<I", data, chunk)
    size = chunk + 4 + header
    (body,) = struct.unpack_from("<I", data, size)
    open_chunk = data[:size] + bytes(4) + data[size + 4 : size + 4 + body - 5]
    (tmp_path / "x.bag.active").write_bytes(open_chunk)
    result = call("import", tmp_path / "x.bag.active", "--name", "s")
    assert result.exit_code == 0, result.output
    assert "cut off or damaged" in result.stderr
    assert [value["data"] for value in found("s", "n")] == [*range(99)]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.05, 1.0))
def test_a_bag_that_was_cut_anywhere(tmp_path: Path, share: float) -> None:
    """Wherever it was cut, what is read is the beginning of what was there, and a note says that it is cut."""
    data = number_bag(tmp_path / "x.bag", 300, chunk=500).read_bytes()
    (tmp_path / "x.bag").unlink()
    cut = tmp_path / "cut.bag"
    cut.write_bytes(data[: int(len(data) * share)])
    with open_source(cut) as source:
        payloads = [message.value.payload for message in source.messages()]
    assert payloads == [b'{"data":%d}' % number for number in range(len(payloads))]
    assert share == 1.0 or source.notes or not payloads
    assert len(payloads) >= 300 * (share - 0.55)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(13, 20_000), st.binary(min_size=1, max_size=8))
def test_a_bag_that_is_damaged_anywhere(tmp_path: Path, place: int, junk: bytes) -> None:
    """Wherever a bag is damaged, it is read as far as it goes, or the error is one of ours."""
    data = bytearray(number_bag(tmp_path / "x.bag", 100, chunk=500).read_bytes())
    (tmp_path / "x.bag").unlink()
    place %= len(data)
    data[place : place + len(junk)] = junk
    (tmp_path / "y.bag").write_bytes(data)
    try:
        with open_source(tmp_path / "y.bag") as source:
            assert len([*source.messages()]) <= 110
    except RecordingError:
        pass


def test_a_damaged_chunk_costs_itself(recordings_dir: Path, tmp_path: Path) -> None:
    """Of a bag with a chunk that cannot be unpacked all others are imported, and what is missing is counted."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Bag1Writer(tmp_path / "x.bag")
    writer.set_compression(Bag1Writer.CompressionFormat.BZ2)
    writer.chunk_threshold = 1000
    with writer:
        connection = writer.add_connection("/n", "std_msgs/msg/Int32", typestore=store)
        for number in range(200):
            writer.write(connection, START_NS + number, struct.pack("<i", number))
    data = bytearray((tmp_path / "x.bag").read_bytes())
    place = data.index(b"BZh", data.index(b"BZh") + 1)
    data[place + 20 : place + 40] = bytes(20)
    (tmp_path / "x.bag").write_bytes(data)
    result = call("import", tmp_path / "x.bag", "--name", "s")
    assert "the chunk at byte" in result.stderr
    assert result.exit_code == 1, result.output
    assert 100 < len(found("s", "n")) < 200


def test_two_publishers_of_one_topic_stay_two(recordings_dir: Path, tmp_path: Path) -> None:
    """Each connection's publisher is a node, also on the same topic; one that does not say is ``bag``."""
    store = get_typestore(Stores.ROS1_NOETIC)
    with Bag1Writer(tmp_path / "x.bag") as writer:
        for number, name in enumerate(("/left", "/right", "")):
            connection = writer.add_connection("/n", "std_msgs/msg/Int32", typestore=store, callerid=name or None)
            writer.write(connection, START_NS + number, struct.pack("<i", number))
    assert call("import", tmp_path / "x.bag", "--name", "s").exit_code == 0
    session = open_session("s")
    senders = {
        node: [sent.stamp_ns - START_NS for line in session.executions(node) for sent in getattr(line, "outputs", ())]
        for node in session.nodes
    }
    assert senders == {"left": [0], "right": [1], "bag": [2]}


def test_a_table_of_an_impossible_size(tmp_path: Path) -> None:
    """SQLite then says that there is no memory: it is damage all the same."""
    path = storage_of(text_bag(tmp_path / "bag", {"/a": 3}))
    data = path.read_bytes()
    (count,) = struct.unpack_from(">H", data, 103)
    for at in struct.unpack_from(f">{count}H", data, 108):  # where the tables are described
        path.write_bytes(data[:at] + b"\xff" * 19 + data[at + 19 :])
        with pytest.raises(RecordingError) as raised, open_source(path):
            pass
        assert "larger than memory" in str(raised.value) or "malformed" in str(raised.value)
