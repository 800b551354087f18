"""What another process may do to rings, doorbells and their folder, and what comes of it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from benchmarks.ring_damage import spoil_files, spoil_rings
from horus_async import Node, Scheduler, Topic
from horus_async.cli import main
from horus_async.errors import MessageOverwrittenError, TopicError
from horus_async.topics import discovery
from horus_async.topics.external import rings
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.ring import guard, memory
from horus_async.topics.ring.layout import PUBLISHERS_AT, SLOTS, Word
from horus_async.topics.ring.region import adopt_region
from horus_async.topics.wake import doorbell
from tests.topics.test_processes import SECONDS, child, clean, until

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["clean"]

guarded = pytest.mark.skipif(guard._installed() is None, reason="nothing helps against SIGBUS here")

SENDS = """
    import time
    with Topic("t", capacity=4096) as topic:
        for size in (10, 3000, 30_000):
            topic.send({"number": -1, "text": "x" * size})
        tell("ready")
        number = 0
        while True:
            topic.send({"number": number})
            number += 1
            time.sleep(0.001)
    """


def files(namespace: str, topic: str = "t") -> list[Path]:
    """The files of a topic's rings."""
    return [path for path in (memory.root() / namespace).iterdir() if path.name.startswith(f"{topic}@")]


def numbers(topic: Topic, count: int) -> list[int]:
    """The next ``count`` numbers of `SENDS`."""
    found: list[int] = []

    def enough() -> bool:
        found.extend(value["number"] for value in topic.recv_all())
        return len(found) >= count

    until(enough)
    return found


# Mutated rings


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_ring_gives_messages_that_were_sent_or_none(seed: int) -> None:
    """In a bounded number of looks: `benchmarks.ring_damage` counts them, and fails."""
    counts = spoil_rings(random.Random(seed), 250)
    assert counts["left out"]
    assert counts["said to be damaged"]
    assert counts["messages"]


@pytest.mark.parametrize("seed", range(2))
def test_a_topic_lives_among_mutated_files(seed: int, tmp_path: Path) -> None:
    """Files that are no rings, damaged ones, and ones that are cut, removed or written while they are read."""
    assert spoil_files(tmp_path, random.Random(seed), 60)


@pytest.mark.parametrize("capacity", [0, 8, 4095, 1 << 40])
def test_a_header_that_fits_no_ring_is_refused(capacity: int) -> None:
    """Also one whose checksum is right."""
    from benchmarks.ring_damage import make
    from horus_async.topics.ring.region import header_crc

    ring = make(random.Random(1), checked=False, laps=0, grows=False).files[0]
    words = memoryview(ring).cast("Q")
    words[Word.DATA_AT] = max(len(ring) - capacity, PUBLISHERS_AT)
    words[Word.CAPACITY] = capacity
    words[Word.HEADER_CRC] = header_crc(ring)
    with pytest.raises(TopicError, match="contradicts its size"):
        adopt_region(ring)


def test_a_damaged_ring_goes_on_with_its_newest_message(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    """What was between counts as lost, and it is said once, with ring and process."""
    program = """
    with Topic("t") as topic:
        for number in range(10):
            topic.send(number)
        tell("sent")
        heard()
        topic.send("after")
        tell("sent")
        heard()
    """
    with Topic("t") as topic, child(program) as sender:
        assert sender.line() == "sent"
        until(topic.has_msg)
        assert topic.recv() == 0
        (file,) = files(namespace)
        with file.open("r+b") as ring:
            ring.seek(8192 + 3 * 56)
            ring.write(b"\xff" * 16)
        assert topic.recv_all() == [1, 2, 9]
        assert topic.lost == 6
        with file.open("r+b") as ring:
            ring.seek(8 * Word.LATEST)
            ring.write(((1 << 62) + 4).to_bytes(8, "little"))
        assert topic.recv_all() == []
        assert not topic.has_msg()
        sender.go()
        assert sender.line() == "sent"
        assert topic.recv_all() == ["after"]
        said = [text for text in caplog.messages if "is damaged" in text]
        assert len(said) == 1
        assert f"of process {sender.process.pid}" in said[0]
        sender.go()
        assert sender.end() == 0


# Cut files


@guarded
@pytest.mark.parametrize("size", [0, 4096, 9000])
def test_a_ring_that_is_cut_short_harms_neither_reader_nor_writer(
    size: int, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both go on: the writer in a new ring, which the reader finds."""
    with Topic("t") as topic, child(SENDS) as sender:
        assert sender.line() == "ready"
        numbers(topic, 5)
        for file in files(namespace):
            os.truncate(file, size)
        reached = until(lambda: topic.latest() and topic.latest()["number"])
        until(lambda: any("short while it was in use" in text for text in caplog.messages) or size == 9000)
        assert numbers(topic, 200)[-1] > reached
        assert sender.process.poll() is None


@guarded
def test_a_topic_whose_own_ring_is_cut_or_removed_goes_on(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    """With classes too, whose description has to be in the new ring."""
    from horus_async.messages import CmdVel

    program = """
    from horus_async.messages import CmdVel
    with Topic("t", CmdVel) as topic:
        tell("open")
        for value in iter(topic.recv, "never"):
            if value is not None:
                tell(value.linear)
    """
    with Topic("t", CmdVel, capacity=4096) as topic, child(program) as reader:
        assert reader.line() == "open"
        topic.send(CmdVel(linear=1.0))
        assert reader.line() == "1.0"
        os.truncate(files(namespace)[0], 0)
        topic.send(CmdVel(linear=1.5))  # perhaps lost: it may have met the end of the file
        topic.send(CmdVel(linear=2.0))
        until(lambda: reader.line() == "2.0")
        assert any("goes on in a new ring" in text for text in caplog.messages)
        for file in files(namespace):
            file.unlink()
        for _ in range(2000):
            topic.send(CmdVel(linear=3.0))
        topic.send(CmdVel(linear=4.0))
        assert any("somebody removed" in text for text in caplog.messages)
        until(lambda: reader.line() == "4.0")
        topic.recv_all()
        topic.send(CmdVel(linear=5.0))
        assert topic.recv() == CmdVel(linear=5.0)


@guarded
def test_what_is_borrowed_of_a_cut_ring_is_overwritten(namespace: str) -> None:
    """No view of it becomes unreadable, and leaving the block says that it is no message any more."""
    import numpy as np

    program = """
    import numpy as np
    with Topic("t") as topic:
        topic.send(np.ones(100_000))
        tell("sent")
        heard()
    """
    with Topic("t") as topic, child(program) as sender:
        assert sender.line() == "sent"
        until(topic.has_msg)

        def read() -> None:
            with topic.borrow() as message:
                assert message is not None
                for file in files(namespace):
                    os.truncate(file, 0)
                assert isinstance(np.sum(message.value), np.floating)

        with pytest.raises(MessageOverwrittenError):
            read()


BUS_ERROR = """
import faulthandler, mmap, os, signal, sys, tempfile
from horus_async import Topic
topic = Topic("t")
topic.send(1)
if "late" in sys.argv:
    faulthandler.enable()
if sys.argv[1] == "sent":
    os.kill(os.getpid(), signal.SIGBUS)
else:
    file = tempfile.TemporaryFile()
    file.truncate(4096)
    memory = mmap.mmap(file.fileno(), 4096)
    file.truncate(0)
    memory[0]
print("alive")
"""


@guarded
@pytest.mark.parametrize("kind", ["sent", "of another file"])
@pytest.mark.parametrize("when", ["early", "late"])
def test_any_other_bus_error_ends_the_process_as_before(kind: str, when: str) -> None:
    """Only memory of rings is replaced; ``faulthandler`` tells of the rest."""
    command = [sys.executable, *(["-X", "faulthandler"] if when == "early" else []), "-c", BUS_ERROR, kind, when]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == -signal.SIGBUS
    assert "Bus error" in done.stderr
    assert "alive" not in done.stdout


# Odd files


@pytest.mark.parametrize("kind", ["folder", "file", "link", "fifo that nobody reads"])
def test_what_is_no_doorbell_is_none(kind: str, namespace: str) -> None:
    """A process takes another one, and nothing is written into a file of that name."""
    folder = memory.root() / namespace
    folder.mkdir(parents=True, mode=0o700)
    bell = folder / "bell-0"
    if kind == "folder":
        bell.mkdir()
    elif kind == "file":
        bell.touch()
    elif kind == "link":
        bell.symlink_to("/dev/null")
    else:
        os.mkfifo(bell)
    with Topic("t") as topic:
        topic.send(1)
        assert topic.recv() == 1
        assert doorbell.others_listen(["bell-0", "bell-1"], namespace, {0} if kind.startswith("fifo") else ()) != [0]
    if kind == "file":
        assert bell.read_bytes() == b""
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", ["bell-256", "bell-00", "bell-99999999999", "bell-\u0663", "bell--1", "bell-"])
def test_slots_beyond_the_table_are_no_doorbells(name: str) -> None:
    """Nor other ways to write a number."""
    assert not doorbell.is_bell(name)
    assert doorbell.is_bell(f"bell-{SLOTS - 1}")


@pytest.mark.parametrize(
    "name",
    [
        "t@1-1-1.\u0663",
        "t@1-1-1.00",
        "t\x1b[31m@1-1-1.0",
        "t@1-1-1.0\n",
        "t\u202e@1-1-1.0",
        "t@1-1-1." + "9" * 60,
        "@1-1-1.0",
    ],
)
def test_names_that_no_ring_has(name: str) -> None:
    """They are not looked at, and so not printed either."""
    assert rings.ring_file(name) is None


def test_odd_files_do_not_keep_leftovers_from_being_removed(namespace: str) -> None:
    """A FIFO with the name of a ring, and one that says that it will be closed in the future."""
    with child('with Topic("t") as t:\n    t.send(1)\n    tell(1)\n    heard()') as sender:
        assert sender.line() == "1"
    (left,) = files(namespace)
    os.mkfifo(left.parent / "t@1-1-1.0")
    (left.parent / "t@2-1-1.0").mkdir()
    with left.open("r+b") as ring:
        ring.seek(8 * Word.CLOSED)
        ring.write((1).to_bytes(8, "little"))
        ring.seek(8 * Word.CLOSED_NS)
        ring.write((1 << 63).to_bytes(8, "little"))
    assert left.name in reclaim(namespace)
    shutil.rmtree(left.parent)


def test_a_lock_on_a_new_file_holds_nobody_up(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has locked it for good before its maker could."""
    original = memory._create
    held = []

    def create(base: Path, namespace: str, name: str) -> int:
        descriptor = original(base, namespace, name)
        other = os.open(base / namespace / name, os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX)
        held.append(other)
        return descriptor

    monkeypatch.setattr(memory, "_create", create)
    monkeypatch.setattr(memory, "_LOCK_PAUSE_NS", 0)
    with Topic("t") as topic, pytest.raises(TopicError, match=r"keeps .* locked"):
        topic.send(1)
    for descriptor in held:
        os.close(descriptor)


def test_a_folder_full_of_other_files_is_looked_at_in_parts(
    namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many there are, one look opens few, and not all are named in the log."""
    monkeypatch.setattr(discovery, "_UNFINISHED_NS", 0)
    with Topic("t") as topic:
        topic.send(1)
        for number in range(500):
            (memory.root() / namespace / f"t@{number:x}-1-1.0").touch()
        opened: Counter[int] = Counter()
        """By thread, as one that sleeps for others may look at the same time."""

        def open_region(where: str, name: str) -> Any:
            opened[threading.get_ident()] += 1
            return rings.open_region(where, name)

        monkeypatch.setattr(discovery, "open_region", open_region)
        until(lambda: topic._subscriber.channel.glance and topic._subscriber.channel.glance())
        assert sum(opened.values()) > 0
        assert opened[threading.get_ident()] <= discovery._MOST_TRIED
        with child('with Topic("t") as t:\n    t.send("heard")\n    tell(1)\n    heard()') as sender:
            assert sender.line() == "1"
            until(lambda: topic.latest() == "heard")
        assert sum("left out" in text for text in caplog.messages) <= 21
    shutil.rmtree(memory.root() / namespace, ignore_errors=True)


def test_the_command_line_names_what_is_left_out(namespace: str) -> None:
    """``topic list`` on standard error, ``doctor`` as a warning."""
    with Topic("t") as topic:
        topic.send(1)
        (memory.root() / namespace / "u@4d2-1-1.0").write_bytes(b"HORUSRNG" + (99).to_bytes(8, "little") + bytes(9000))
        os.mkfifo(memory.root() / namespace / "u@4d3-1-1.0")
        done = CliRunner().invoke(main, ["topic", "list", "--namespace", namespace])
        assert done.exit_code == 0
        assert "not read: u@4d2-1-1.0 of process 1234: not a ring, or one of another version" in done.stderr
        assert "u@4d3-1-1.0 of process 1235" in done.stderr
        found = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
        assert f"{namespace}/u@4d2-1-1.0 of process 1234" in json.dumps(found)
        for path in files(namespace, "u"):
            path.unlink()


# Runs


@pytest.mark.parametrize("how", ["recv", "recv_all", "recv_message", "latest", "borrow", "receive"])
def test_what_is_no_message_does_not_end_a_run(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out, counted, and told once, with its process; the messages around it arrive."""
    program = """
    from horus_async.topics import Bus
    with Bus() as bus:
        publisher = bus.publisher("t", "evil")
        tell("open")
        heard()
        for number in range(3):
            publisher.publish(b"no json at all \\x1b[31m", number)
            publisher.publish(b'{"a":%d}' % number, number)
        tell("sent")
        heard()
    """
    got: list[Any] = []

    def use(node: Node) -> None:
        value: Any
        if how == "borrow":
            with node.borrow("t") as message:
                value = message and message.value
        else:
            value = getattr(node, how)("t")
        if how == "recv_message":
            value = value and value.value
        got.extend(value if how == "recv_all" else [value] if value is not None and value not in got else [])

    async def receive(node: Node) -> None:
        got.append(await node.receive("t"))

    with child(program) as sender:
        assert sender.line() == "open"
        node = Node("n", tick=receive if how == "receive" else use, init=lambda _: sender.go(), subs=["t"])
        scheduler = Scheduler(tick_rate=100).add(node)

        def watch(_: Node) -> None:
            if {"a": 2} in got:
                scheduler.stop()

        scheduler.add(Node("watch", tick=watch)).run_sync(SECONDS)
        assert sender.line() == "sent"
        assert got[-1] == {"a": 2}
        assert how == "latest" or got == [{"a": 0}, {"a": 1}, {"a": 2}]
        if how != "latest":
            assert scheduler.stats().nodes["n"].refused == 3
            (said,) = [text for text in caplog.messages if "is left out" in text]
            assert f"in process {sender.process.pid}" in said
        sender.go()
        assert sender.end() == 0


ROBOT = """
import sys
from pathlib import Path
from horus_async import Node, Scheduler
def tick(node):
    for message in node.recv_all("t"):
        pass
    node.latest("t")
    node.send("out", 1)
    if node.state.get("ticks", 0) == 20:
        print("up", flush=True)
    node.state["ticks"] = node.state.get("ticks", 0) + 1
class Robot(Node):
    def __init__(self):
        super().__init__("robot", tick=tick, rate=200, subs=["t"], pubs=["out"])
        self.state = {}
Scheduler(tick_rate=200, recording="s", recordings_dir=Path(sys.argv[1]), watchdog=30.0).add(Robot()).run_sync()
"""


@guarded
def test_a_run_among_hostile_rings_ticks_records_and_ends(tmp_path: Path, namespace: str) -> None:
    """All the time files are put, spoilt, cut and removed; its recording is whole, and SIGTERM ends it."""
    command = [sys.executable, "-c", ROBOT, str(tmp_path)]
    robot = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert robot.stdout is not None
        assert robot.stdout.readline() == "up\n"
        with child(SENDS) as sender:
            assert sender.line() == "ready"
            spoil_files(tmp_path / "nothing", random.Random(7), 150, namespace=namespace)
            assert robot.poll() is None
            robot.send_signal(signal.SIGTERM)
            assert robot.wait(SECONDS) == 128 + signal.SIGTERM
    finally:
        robot.kill()
        robot.wait()
        assert robot.stdout is not None
        robot.stdout.close()
    done = CliRunner().invoke(main, ["record", "check", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output


SPINS = """
from horus_async import Node, Scheduler
from horus_async.errors import EmergencyStop
from horus_async.topics.subscriber import Subscriber
def spin(_):
    while True:
        pass
Subscriber.take_slowly = Subscriber.take = spin  # which is what is called where nobody has sent yet
node = Node("n", tick=lambda node: node.recv("t"), rate=100, subs=["t"], shutdown=lambda node: print("shut down"))
try:
    Scheduler(tick_rate=100, watchdog=0.05, grace=0.2).add(node).run_sync()
except EmergencyStop as error:
    print(error)
"""


def test_the_watchdog_ends_a_run_whose_loop_spins_in_our_code() -> None:
    """Without any signal from outside."""
    done = subprocess.run([sys.executable, "-c", SPINS], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.stdout.splitlines() == ["shut down", "watchdog: the tick of n does not end"]
    assert "broken off" in done.stderr


EVIL = """
    import time
    from horus_async.topics import Bus
    with Bus() as bus:
        publisher = bus.publisher("t", "evil")
        publisher.publish(b"\\xff no json", 1)
        tell("sent")
        heard()
        while True:
            for _ in range(20):
                publisher.publish(b"\\xff no json", 3)
            publisher.publish(b"[1]", 2)
            time.sleep(0.001)
    """


def test_the_error_of_a_handle_names_topic_publisher_and_process() -> None:
    """So that one knows which program to look at."""
    with Topic("t") as topic, child(EVIL) as sender:
        assert sender.line() == "sent"
        until(topic.has_msg)
        named = f"topic 't', sent by evil in process {sender.process.pid}: a message that is not JSON"
        for read in (topic.latest, topic.recv):
            with pytest.raises(TopicError, match=named):
                read()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_command_line_shows_what_it_can_read(options: tuple[str, ...], namespace: str) -> None:
    """What is no message is named on standard error, and the next one is printed."""
    with child(EVIL) as sender:
        assert sender.line() == "sent"
        done = CliRunner().invoke(main, ["topic", "info", "t", *options])
        assert done.exit_code == 0
        assert "not read: message 0 of 'evil': a message that is not JSON" in done.stderr
        sender.go()
        echo = [sys.executable, "-m", "horus_async", "topic", "echo", "t", "-n", "1", *options]
        echoed = subprocess.run(echo, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert "1" in echoed.stdout
        assert "not read: message" in echoed.stderr


def test_the_black_box_tells_which_ring_was_left_out(tmp_path: Path, namespace: str) -> None:
    """As a warning of the run, with the process."""
    with Topic("keeper") as keeper:
        keeper.send(1)
        (memory.root() / namespace / "t@4d2-1-1.0").write_bytes(b"HORUSRNG" + (99).to_bytes(8, "little") + bytes(9000))
        node = Node("n", tick=lambda node: node.recv("t"), subs=["t"])
        Scheduler(tick_rate=100, blackbox_mb=1, blackbox_dir=tmp_path).add(node).run_sync(0.3)
        (memory.root() / namespace / "t@4d2-1-1.0").unlink()
    done = CliRunner().invoke(main, ["blackbox", "--json", str(tmp_path)])
    assert "t@4d2-1-1.0 of process 1234 is left out" in done.output
