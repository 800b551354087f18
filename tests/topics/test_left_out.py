"""What fails while looking at other processes' rings, what they leave behind, and what the system does not give."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from horus_async import Node, Scheduler, Topic
from horus_async.clock.system import NANOSECONDS, wall_ns
from horus_async.errors import HorusError, MessageTooLargeError, TopicError
from horus_async.topics import Bus, discovery
from horus_async.topics import topic as topic_module
from horus_async.topics.codec import encode
from horus_async.topics.external import rings
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import Word
from horus_async.topics.subscriber import ENDED_LIMIT
from horus_async.topics.values.payload import MESSAGE_LIMIT
from horus_async.topics.wake import doorbell, sleepers
from tests.topics.test_processes import child, clean, until
from tests.topics.test_survivors import _age

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clean"]

AGAIN_AND_AGAIN = """
    for run in range(int(sys.argv[1])):
        with Topic("t") as topic:
            for number in range(3):
                topic.send([run, number])
        tell(run)
        heard()
    """
RUNS = 3 * ENDED_LIMIT


def mapped(namespace: str) -> list[str]:
    """The rings that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if f"/{namespace}/" in line and "bell-" not in line]


@pytest.mark.parametrize("use", ["latest", "send only"])
def test_publishers_that_come_and_go_leave_nothing(use: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever never takes a message keeps a few rings that have ended; the others are counted as lost."""
    with Topic("t") as topic, child(AGAIN_AND_AGAIN, RUNS) as sender:

        def is_latest(value: list[int]) -> bool:
            return bool(topic.latest() == value)

        def has_arrived(count: int) -> bool:
            return topic._subscriber.arrived == count

        for run in range(RUNS):
            assert sender.line() == str(run)
            if use == "latest":
                until(partial(is_latest, [run, 2]))
            else:
                topic.send("mine")
                until(partial(has_arrived, 3 * (run + 1) + run + 1))
            assert len(topic._subscriber._readers) <= ENDED_LIMIT + 2
            sender.go()
        assert sender.end() == 0
        _age(namespace, 60)
        monkeypatch.setattr(discovery, "_SWEEP_NS", 0)
        until(lambda: topic.latest() is not None and len(mapped(namespace)) <= ENDED_LIMIT + 3)

        received = [value for value in topic.recv_all() if value != "mine"]

        assert received == [[run, number] for run in range(RUNS - len(received) // 3, RUNS) for number in range(3)]
        assert len(received) >= 3 * (ENDED_LIMIT - 1)
        assert topic.lost + len(received) == 3 * RUNS


GROW = """
    with Topic("t") as topic:
        tell("open")
        heard()
        topic.send("first")
        topic.send("x" * 400_000)
        topic.send("y" * 4_000_000)
        topic.send("last")
        tell("sent")
        heard()
    """


@pytest.mark.parametrize("generation", [0, 1, 2])
@pytest.mark.parametrize("error", [partial(OSError, errno.EMFILE, "Too many open files"), partial(TopicError, "bad")])
def test_a_ring_that_cannot_be_read_is_left_out_for_now(
    generation: int, error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, other topics go on, and when it can be read again nothing is missing."""
    failing = True
    original = rings.open_region

    def open_region(namespace: str, name: str) -> Any:
        if failing and name.startswith("t@") and name.endswith(f".{generation}"):
            raise error()
        return original(namespace, name)

    monkeypatch.setattr(rings, "open_region", open_region)
    monkeypatch.setattr(discovery, "open_region", open_region)
    with Topic("t") as topic, Topic("u") as other, child(GROW) as sender:
        assert sender.line() == "open"
        sender.go()
        assert sender.line() == "sent"
        received: list[Any] = []

        def receive(count: int) -> bool:
            received.extend(topic.recv_all())
            return len(received) == count

        until(lambda: receive((0, 1, 2)[generation]))
        until(lambda: topic.recv_all() or any("left out" in text for text in caplog.messages))
        for _ in range(5):
            assert topic.recv() is None
            topic.latest()
        other.send(1)
        assert other.recv() == 1
        assert sum("is left out for now" in text for text in caplog.messages) == 1

        failing = False
        until(lambda: receive(4))

        assert [value[:1] for value in received] == ["f", "x", "y", "l"]
        assert topic.lost == 0
        sender.go()
        assert sender.end() == 0


def no_descriptor(*_: Any, **__: Any) -> Any:
    """As the system when the limit of open files is reached."""
    raise OSError(errno.EMFILE, "Too many open files")


def test_without_descriptors_a_run_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the look at the folder, nor a doorbell, nor waking others ends it."""
    ticks = []

    def tick(node: Node) -> None:
        ticks.append(node.recv("other"))
        node.send("mine", 1)
        if len(ticks) == 3:
            for place, name in (
                (discovery, "list_folder"),
                (discovery, "folder_stamp"),
                (discovery, "open_region"),
                (discovery, "reclaim"),
                (doorbell, "_open_bell"),
                (sleepers, "Doorbell"),
            ):
                monkeypatch.setattr(place, name, no_descriptor)

    async def wait(node: Node) -> None:
        await node.receive("mine")

    monkeypatch.setattr(discovery, "_GLANCE_NS", 0)
    scheduler = Scheduler(tick_rate=100).add(Node("a", tick=tick, subs=["other"], pubs=["mine"]))
    scheduler.add(Node("b", tick=wait, subs=["mine"]))
    scheduler.run_sync(0.3)
    monkeypatch.undo()

    assert len(ticks) > 5
    assert sum("cannot look for topics" in text for text in caplog.messages) == 1


def test_a_sleeper_that_cannot_be_woken_does_not_fail_the_send(
    namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It soon looks by itself; that it is slow is said once."""
    monkeypatch.setattr(doorbell, "_open_bell", no_descriptor)
    monkeypatch.setattr(doorbell, "_said_unrung", False)
    doorbell.ring_bells(namespace, [0, 1], b"!")
    doorbell.ring_bells(namespace, [0, 1], b"!")
    assert len([text for text in caplog.messages if "cannot wake other processes" in text]) == 1


MANY = """
import sys, threading
from horus_async import Topic
topics = [Topic(f"t{number}") for number in range(int(sys.argv[1]))]
for topic in topics:
    topic.send(1)
spare = [open("/dev/null") for _ in range(100)]
assert all(topic.recv() == 1 for topic in topics)
for topic in topics:
    topic.close()
print("fine")
"""


@pytest.mark.parametrize("topics", [230, 400])
def test_the_limit_of_open_files_is_raised_before_it_is_reached(topics: int) -> None:
    """Fewer topics than it allows, and more; in any case some descriptors are left for the rest of the program."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 1024:
        pytest.skip("the hard limit is too low")

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))

    command = [sys.executable, "-W", "ignore", "-c", MANY, str(topics)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=lower)
    assert result.stdout == "fine\n", result.stderr


# Time


@pytest.mark.parametrize("step", [-3600, 3600])
def test_the_newest_is_the_one_sent_last_whatever_the_clock_says(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock is set between two publishers; both are heard in the order in which they sent."""
    with Topic("t") as topic:
        with child('with Topic("t") as t:\n    t.send("before")') as sender:
            assert sender.end() == 0
        until(lambda: topic.latest() == "before")
        monkeypatch.setattr(topic_module, "wall_ns", lambda: wall_ns() + step * NANOSECONDS)
        topic._send_slowly("after")  # the native core asks the system itself

        assert topic.latest() == "after"
        messages = [topic.recv_message(), topic.recv_message()]

        assert [message.value for message in messages if message] == ["before", "after"]
        assert abs(messages[1].stamp_ns - wall_ns() - step * NANOSECONDS) < 600 * NANOSECONDS  # type: ignore[union-attr]
        assert topic.latest() == "after"


def test_a_run_of_its_own_time_keeps_the_order_of_its_stamps() -> None:
    """In a deterministic run or a replay the rings of its bus are merged by stamp."""
    with Bus(isolated=True) as bus:
        subscriber = bus.subscriber("t")
        bus.publisher("t", "a").publish(b"2", 2)
        bus.publisher("t", "b", external=True).publish(b"1", 1)

        assert [subscriber.take(), subscriber.take()] == [(b"1", "b", 0, 1), (b"2", "a", 0, 2)]


# Sizes


@pytest.mark.parametrize(
    "make",
    [
        lambda huge: huge,
        lambda huge: {"a": [1, (huge,)]},
        lambda huge: [huge[: MESSAGE_LIMIT // 16]] * 17,
        lambda huge: np.broadcast_to(np.array([None], object), (1 << 37,)),
        lambda huge: np.broadcast_to(np.zeros(1, [("a", "<f8"), ("b", "|u1")]), (1 << 37,)),
        lambda huge: np.broadcast_to(np.zeros(1, [("a", "O"), ("b", "<f8")]), (1 << 37,)),
        lambda huge: [bytes(1 << 20)] * 1_000_000,
        lambda huge: huge[::2],
    ],
)
def test_what_can_never_fit_is_refused_before_it_is_copied(make: Callable[[Any], Any]) -> None:
    """A tebibyte takes no memory as a view; it must not be asked for."""
    value = make(np.broadcast_to(np.zeros(1), (1 << 37,)))
    with pytest.raises(MessageTooLargeError, match=f"MESSAGE_LIMIT = {MESSAGE_LIMIT} bytes; send it in parts"):
        encode(value)
    with Topic("t") as topic:
        with pytest.raises(MessageTooLargeError):
            topic.send(value)
        topic.send("small")
        assert topic.recv_all() == ["small"]


def test_no_memory_for_a_message_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is named instead of a bare ``MemoryError``."""
    from horus_async.topics.codec import codec

    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(codec, "dumps", fail)
    with pytest.raises(MessageTooLargeError, match="MESSAGE_LIMIT"):
        codec.encode_slowly("text")


# The file system


@pytest.mark.parametrize("call", ["mkdir", "open", "mkfifo"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTSUP])
def test_no_shared_memory_at_all_is_our_error(call: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system says, what comes out is one line that says what to do."""
    original = getattr(os, call)

    def fail(path: Any, *arguments: Any, **options: Any) -> Any:
        creates = call != "open" or "@" in str(path) or "bell-" in str(path)
        if creates and (code != errno.ENOENT or str(path).startswith(str(memory.root()))):
            raise OSError(code, os.strerror(code))
        return original(path, *arguments, **options)

    if code == errno.ENOENT and call != "mkdir":
        pytest.skip("a folder that vanishes is made again")
    monkeypatch.setattr(os, call, fail)
    if call == "mkdir":
        monkeypatch.setattr(memory, "root", lambda: Path("/nowhere/horus-0") if code == errno.ENOENT else _nowhere())
    with pytest.raises(HorusError, match=r"horus-async doctor|too many|no room") as raised, Topic("t") as topic:
        topic.send(1)
    assert "\n" not in str(raised.value)


def _nowhere() -> Path:
    return Path("/dev/shm/horus-of-nobody")


def test_a_ring_of_another_version_is_left_out(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    """Old programs may still run; new ones say that they do not hear them, and go on."""
    with child('with Topic("t") as t:\n    t.send(1)\n    tell(1)\n    heard()') as sender:
        assert sender.line() == "1"
        (file,) = [path for path in (memory.root() / namespace).iterdir() if "@" in path.name]
        with file.open("r+b") as ring:
            ring.seek(8 * Word.VERSION)
            ring.write(b"\1")
        with Topic("t") as topic:
            assert topic.recv() is None
            assert any("another version" in text for text in caplog.messages)
            topic.send("own")
            assert topic.recv() == "own"
        sender.go()
        assert sender.end() == 0


@pytest.mark.parametrize("leads_to", [1, 2])
def test_a_ring_that_leads_back_ends_there(leads_to: int, namespace: str) -> None:
    """Whatever the word for the next generation says, no reader goes round in circles."""
    with Topic("t") as topic, child(GROW) as sender:
        assert sender.line() == "open"
        sender.go()
        assert sender.line() == "sent"
        (file,) = [path for path in (memory.root() / namespace).iterdir() if path.name.endswith(".2")]
        with file.open("r+b") as ring:
            ring.seek(8 * Word.NEXT)
            ring.write(leads_to.to_bytes(8, "little"))
        until(topic.has_msg)
        assert [value[:1] for value in topic.recv_all()] == ["f", "x", "y", "l"]
        assert topic.lost == 0
        assert topic.latest() == "last"
        sender.go()
        assert sender.end() == 0


# Opening ahead


def test_a_ring_made_ahead_shows_nothing_before_its_first_message(namespace: str) -> None:
    """And the first message asks the system for nothing more."""
    with Bus() as bus, Topic("t") as early:
        publisher = bus.publisher("t", "a")
        publisher.open()
        publisher.open()
        with Topic("t") as late:
            assert not late.has_msg()
            assert late.latest() is early.latest() is None
            files = sorted((memory.root() / namespace).iterdir())
            backed = bus._lines["t", False].ring._backed  # type: ignore[union-attr]

            publisher.publish(b"1", 0)

            assert late.recv_all() == early.recv_all() == [1]
            assert sorted((memory.root() / namespace).iterdir()) == files
            assert bus._lines["t", False].ring._backed == backed  # type: ignore[union-attr]


def test_declared_topics_are_open_before_the_first_tick(namespace: str) -> None:
    """So the first tick costs no more than others."""
    seen: list[set[str]] = []

    def tick(node: Node) -> None:
        seen.append({path.name.split("@")[0] for path in (memory.root() / namespace).iterdir()})

    Scheduler(tick_rate=10).add(Node("n", tick=tick, pubs=["one", "two/three"])).run_sync(0.01)

    assert {"one", "two,three"} <= seen[0]


def test_topics_of_another_user_are_hinted_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may look into them, but it can be seen that there are some."""
    from horus_async.cli.support import shared_memory

    (tmp_path / f"horus-{os.geteuid()}" / "default").mkdir(parents=True)
    assert shared_memory.other_users() is None or os.geteuid() != 0
    monkeypatch.setattr(memory, "root", lambda: tmp_path / "horus-1")
    hint = shared_memory.other_users()
    assert hint is not None
    assert f"user {os.geteuid()}" in hint
    monkeypatch.setattr(memory, "root", lambda: tmp_path / f"horus-{os.geteuid()}")
    assert shared_memory.other_users() is None
    assert textwrap.shorten(hint, 300) == hint
