"""Messages that are kept for late readers: in one process, with threads, after a fork, and in what tools show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from click.testing import CliRunner

from horus_async import ConfigurationError, Keep, MessageTooLargeError, Topic, TopicTypeError
from horus_async.cli import main
from horus_async.topics import Bus
from horus_async.topics.keeping.ended import release
from horus_async.topics.ring import kept, layout
from horus_async.topics.ring.layout import Word
from horus_async.topics.ring.reader import RingReader
from tests.topics.test_processes import files
from tests.topics.test_ring import drain, new_reader, new_writer

if TYPE_CHECKING:
    from horus_async.topics.ring.writer import RingWriter


def late(**options: Any) -> list[Any]:
    """What a reader of topic ``map`` that comes now has to read."""
    with Topic("map", **options) as topic:
        found = topic.recv_all()
        assert topic.lost == 0
        return found


def test_a_late_reader_begins_with_the_last_messages() -> None:
    """It gets those that are kept, in order, none twice, then what comes; what lay before them is not lost."""
    with Topic("map", keep=2) as topic:
        assert late() == []
        for value in range(5):
            topic.send(value)
        with Topic("map") as reader:
            assert reader.has_msg()
            assert (reader.latest(), reader.recv_message().seq) == (4, 3)  # type: ignore[union-attr]
            topic.send(5)
            assert (reader.recv_all(), reader.lost) == ([4, 5], 0)
        assert late() == [4, 5]
        assert topic.recv_all() == [0, 1, 2, 3, 4, 5]


def test_without_keep_a_late_reader_gets_nothing() -> None:
    """As ever; and a larger number than there are messages gives all of them."""
    with Topic("map") as topic:
        topic.send(1)
        assert late() == []
    with Topic("map", keep=100) as topic:
        topic.send(1)
        topic.send(2)
        assert late() == [1, 2]


def test_what_is_kept_outlives_its_publisher() -> None:
    """A clean end leaves it; the next publisher replaces it with its first message."""
    with Topic("map", keep=2) as topic:
        for value in range(3):
            topic.send(value)
    assert late() == [1, 2]
    assert late() == [1, 2]
    with Topic("map", keep=1) as topic:
        assert late() == [1, 2]
        topic.send("new")
        assert late() == ["new"]
    assert late() == ["new"]


def test_a_publisher_that_never_sent_replaces_nothing() -> None:
    """Opening a handle alone takes no map away."""
    with Topic("map", keep=1) as topic:
        topic.send(1)
    with Topic("map", keep=1):
        pass
    assert late() == [1]


def test_handles_of_one_process_keep_together() -> None:
    """They are one publisher: the largest number counts, also where others ask for none, before or after."""
    with Topic("map") as plain:
        plain.send("before")
        with Topic("map", keep=2) as two, Topic("map", keep=1) as one:
            for number, topic in enumerate((plain, one, two, one)):
                topic.send(number)
            assert late() == [2, 3]
    assert late() == [2, 3]


def test_two_publishers_keep_each_their_own() -> None:
    """Merged as they were sent; of one name in two runs the later one replaces the earlier."""
    with Bus() as first, Bus() as second:
        for bus, name in ((first, "a"), (second, "b")):
            bus.keep("map", name, 2)
        publishers = first.publisher("map", "a"), second.publisher("map", "b")
        for number in range(6):
            publishers[number % 2].publish(b"%d" % number, number)
        publishers[0].publish(b"6", 6)
        assert late() == [3, 4, 5, 6]
    with Bus() as third:
        third.keep("map", "b", 1)
        third.publisher("map", "b").publish(b"7", 7)
        assert late() == [4, 6, 7]


def test_others_on_the_topic_push_nothing_out() -> None:
    """Who keeps has a ring of its own: what another node of the run sends there is not kept, and takes no room."""
    with Bus() as bus:
        bus.keep("map", "a", 1)
        keeping, busy = bus.publisher("map", "a"), bus.publisher("map", "b")
        keeping.publish(b'"kept"', 0)
        for number in range(100):
            busy.publish(b'"%s"' % (b"x" * 50_000), number)
        assert late() == ["kept"]


def test_waiting_readers_get_what_is_kept() -> None:
    """``receive`` and ``async for`` have it at once."""

    async def main() -> list[Any]:
        with Topic("map") as topic:
            return [await topic.receive(), await topic.__anext__()]

    with Topic("map", keep=2) as topic:
        topic.send(1)
        topic.send(2)
        assert trio.run(main) == [1, 2]
    assert trio.run(main) == [1, 2]


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("keep", [1, 2, 7])
def test_the_ring_grows_for_what_is_kept(keep: int, checked: bool) -> None:
    """Whatever is sent, and however small the ring was, all that is kept is there after each message."""
    writer = new_writer(checked=checked)
    writer.add_publisher("p")
    writer.keep(keep)
    sent: list[bytes] = []
    for number in range(300):
        sent.append(b"%d" % number * (1 + number * 7919 % 5000))
        writer.write(sent[-1], 0, number, number)
        reader = new_reader(writer, writer.begin())
        assert [message[0] for message in drain(reader)] == sent[-keep:]
        assert (reader.lost, reader.consumed) == (0, len(sent[-keep:]))
    assert writer.region.capacity <= layout.rounded_capacity(2 * (keep + 1) * 25_000)


def test_what_no_ring_can_keep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the limit; what was kept before still is, and smaller messages go on."""
    monkeypatch.setattr(kept, "RING_LIMIT", 1 << 16)
    monkeypatch.setattr(layout, "RING_LIMIT", 1 << 16)
    writer = new_writer()
    writer.add_publisher("p")
    writer.keep(3)
    for number in range(3):
        writer.write(b"x" * 12_000, 0, number, number)
    with pytest.raises(MessageTooLargeError, match=r"keeps its last 3 messages.*RING_LIMIT = 65536") as refused:
        _write_large(writer)
    assert "\n" not in str(refused.value)
    assert len(drain(new_reader(writer, writer.begin()))) == 3
    writer.write(b"small", 0, 9, 9)
    assert drain(new_reader(writer, writer.begin()))[-1][0] == b"small"


def _write_large(writer: RingWriter) -> None:
    for number in range(3, 9):
        writer.write(b"y" * 16_000, 0, number, number)


def test_a_reader_that_was_there_misses_nothing_by_growth() -> None:
    """It reads on through all generations, and counts what it was too slow for."""
    writer = new_writer()
    writer.add_publisher("p")
    writer.keep(2)
    reader = new_reader(writer, writer.start())
    for number in range(50):
        writer.write(b"x" * (number * 997), 0, number, number)
        taken = reader.take()
        assert taken is not None
        assert taken[2] == number
    assert reader.lost == 0


@pytest.mark.parametrize("word", [0, 1, 3, 1 << 40, (1 << 64) - 8])
def test_damage_to_the_words_costs_no_more_than_what_is_kept(word: int) -> None:
    """Whatever another process writes there, a late reader gets messages of the ring, or begins at its end."""
    writer = new_writer()
    writer.add_publisher("p")
    writer.keep(2)
    for number in range(4):
        writer.write(b"%d" % number, 0, number, number)
    writer.region.words[Word.KEPT] = word
    assert drain(new_reader(writer, writer.begin())) == []


def test_rings_without_the_words_are_read_as_before() -> None:
    """Older programs leave them 0."""
    writer = new_writer()
    writer.add_publisher("p")
    writer.write(b"1", 0, 0, 0)
    assert (writer.region.words[Word.KEEP], writer.region.words[Word.KEPT]) == (0, 0)
    assert drain(RingReader(writer.begin(), writer.follow)) == []


def test_ctrl_c_within_a_message_leaves_the_last_ones() -> None:
    """The place of a message is noted by the next one, if Ctrl-C came before that."""
    writer = _writer_of(2)
    original = kept.KeptMessages.note

    def struck(self: kept.KeptMessages, region: Any, end: int) -> None:
        if writer.index == 3:
            raise KeyboardInterrupt
        original(self, region, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept.KeptMessages, "note", struck)
        writer.write(b"1", 0, 1, 1)
        with pytest.raises(KeyboardInterrupt):
            writer.write(b"2", 0, 2, 2)
    writer.write(b"3", 0, 3, 3)
    assert [message[0] for message in drain(new_reader(writer, writer.begin()))] == [b"2", b"3"]


def _writer_of(keep: int) -> RingWriter:
    writer = new_writer()
    writer.add_publisher("p")
    writer.keep(keep)
    writer.write(b"0", 0, 0, 0)
    return writer


def test_threads_that_come_late_while_others_send() -> None:
    """Each gets at least the number that is kept, without a gap, up to the last one."""
    failures: list[object] = []
    count, keep = 400, 3

    def read() -> None:
        with Topic("map") as topic:
            found = topic.recv_all()
            while not found or found[-1] != count - 1:
                found += topic.recv_all()
            if found != list(range(found[0], count)) or len(found) < min(keep, count) or topic.lost:
                failures.append(found)

    with Topic("map", keep=keep) as topic:
        for number in range(keep):
            topic.send(number)
        readers = []
        for number in range(keep, count):
            if number % 40 == 0:
                readers.append(threading.Thread(target=read))
                readers[-1].start()
            topic.send(number)
        for reader in readers:
            reader.join()
    assert failures == []


def test_a_forked_process_reads_what_its_parent_keeps() -> None:
    """The ring stays the parent's: the child is a late reader, and its end takes nothing away."""
    with Topic("map", keep=1) as topic:
        topic.send("parent")
    child = os.fork()
    if child == 0:
        with Topic("map") as topic:
            found = topic.recv_all()
        os._exit(0 if found == ["parent"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert late() == ["parent"]


def test_a_typed_topic_checks_what_is_kept() -> None:
    """As any message."""
    with Topic("map", keep=1) as topic:
        topic.send("text")
    with Topic("map", Keep) as reader, pytest.raises(TopicTypeError, match="map"):
        reader.recv()


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, "1", 1 << 17])
def test_wrong_numbers_are_refused_in_one_line(keep: Any) -> None:
    """Where they are given, with what is possible."""
    for make in (lambda: Topic("map", keep=keep), lambda: Keep(n=keep)):
        with pytest.raises(ConfigurationError, match="1 to 65536") as refused:
            make()
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="class of the messages"):
        Keep(3)  # type: ignore[arg-type]


def test_memory_of_what_is_kept_goes_with_its_replacement(namespace: str) -> None:
    """However often a publisher comes back, one ring is there."""
    for number in range(5):
        with Topic("map", keep=1) as topic:
            topic.send(number)
    assert len(files(namespace)) == 1
    release(namespace)
    assert files(namespace) == []
    assert late() == []


def test_tools_show_what_is_kept() -> None:
    """``topic list`` and ``info`` say so, ``echo`` begins with it, ``hz`` does not count it, ``clean`` leaves it."""

    def call(*args: str) -> str:
        return CliRunner().invoke(main, ["topic", *args]).stdout

    with Topic("map", keep=2) as topic:
        for number in range(3):
            topic.send(number)
        assert "keeps the last 2 for late readers" in " ".join(call("info", "map").split())
    assert json.loads(call("info", "map", "--json"))["rings"][0]["keep"] == 2
    assert "kept" in call("list")
    assert [json.loads(line)["value"] for line in call("echo", "map", "-n", "2", "--json").splitlines()] == [1, 2]
    assert json.loads(call("hz", "map", "--window", "0.01", "-n", "1", "--json"))["messages"] == 0
    call("clean")
    assert late() == [1, 2]
    call("pub", "map", '"from pub"', "--keep", "1")
    assert late() == ["from pub"]


def test_the_code_on_the_page_runs(namespace: str) -> None:
    """As a reader would type it, with what it says about the result."""
    page = (Path(__file__).parents[2] / "docs" / "topics.md").read_text(encoding="utf-8")
    section = page.split("\n## Keeping the last messages\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    program = code.replace("late.recv()  #", "assert late.recv() == {'wheels': 2}  #")
    assert program != code
    program += "\nfrom horus_async.testing import run_nodes\n"
    program += "assert run_nodes(MapServer(), ticks=1).values('map') == [{'resolution': 0.05}]\n"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(namespace) == []
