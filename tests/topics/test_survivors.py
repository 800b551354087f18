"""What is left by processes that were killed, forked, or belong to somebody else."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.topics import Bus, discovery
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import Word
from tests.topics.test_processes import SECONDS, child, files, until, values

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def clean(namespace: str) -> Iterator[None]:
    """Remove what the processes that a test killed have left."""
    yield
    reclaim(namespace, grace_ns=0)


GROWN = """
with Topic("t", capacity=4096) as topic:
    for number, size in enumerate((10, 20_000, 10, 300_000, 10)):
        topic.send([number, b"x" * size])
    tell("sent"); heard()
"""


def rings(namespace: str) -> list[str]:
    """The files of rings in a namespace."""
    return [name for name in files(namespace) if "@" in name]


def test_all_generations_of_a_dead_ring_are_reclaimed(namespace: str) -> None:
    """The ring of a killed process that had grown twice is read to its end first, and then leaves no file behind."""
    with Topic("t") as topic:
        with child(GROWN) as sender:
            sender.line()
            assert {name.rpartition(".")[2] for name in rings(namespace)} == {"0", "1", "2"}
            sender.kill()
        assert [value[0] for value in values(topic, 5)] == [0, 1, 2, 3, 4]
        assert topic.lost == 0
        with Topic("u") as other:
            other.send(1)
            until(lambda: topic.recv() is None and [name[0] for name in rings(namespace)] == ["u"])
    assert files(namespace) == []


def test_a_dead_ring_without_readers_goes_at_the_next_start(namespace: str) -> None:
    """Nobody listens: rings, all generations of them, and doorbells of killed processes go when a topic is opened."""
    with child(GROWN) as sender:
        sender.line()
        sender.kill()
    assert len(rings(namespace)) == 3
    assert [name for name in files(namespace) if name.startswith("bell-")] == ["bell-0"]
    with Bus() as bus:
        bus.publisher("u", "a").publish(b"1", 1)
        assert [name[0] for name in files(namespace)] == ["u"]
    assert files(namespace) == []


def test_a_doorbell_of_a_dead_process_is_taken_over(namespace: str) -> None:
    """Processes that are killed while they listen use up no doorbells, and a live one's stays."""
    listen = 'with Topic("t") as topic: tell("ready"); heard()'
    with child(listen) as live:
        live.line()
        for _ in range(3):
            with child(listen) as dead:
                dead.line()
                assert files(namespace) == ["bell-0", "bell-1"]
                dead.kill()
        with Topic("t") as topic:
            topic.send(1)
            assert [name for name in files(namespace) if name.startswith("bell-")] == ["bell-0", "bell-1"]
        live.go()
        assert live.end() == 0
    reclaim(namespace, grace_ns=0)
    assert files(namespace) == []


def test_a_writer_killed_within_a_message_leaves_no_trace_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that was being written is not seen; what came before it is."""
    monkeypatch.setenv("HORUS_NATIVE", "0")  # for the sender: nothing comes into the middle of the native core
    program = """
    import signal
    with Topic("t") as topic:
        topic.send(b"whole")
        ring = topic._bus._lines["t", False].ring
        class Words:
            def __init__(self, words): self.words = words
            def __getitem__(self, at): return self.words[at]
            def __setitem__(self, at, value): os.kill(os.getpid(), signal.SIGKILL)
        ring.words = Words(ring.words)
        topic.send(b"x" * 5000)  # all but its place in the header
    """
    with Topic("t") as topic:
        with child(program) as sender:
            assert sender.end() == -9
        assert values(topic, 1) == [b"whole"]
        assert topic.recv() is None
        with child(GROWN):
            assert [value[0] for value in values(topic, 5)] == [0, 1, 2, 3, 4]
        assert topic.lost == 0


FORK = """
import signal
with Topic("t") as topic, Topic("answers") as answers:
    topic.send("parent 0")
    assert topic.recv() == "parent 0"
    pid = os.fork()
    if pid == 0:
        with Topic("t") as mine, Topic("answers") as told:
            mine.send("child 0")
            told.send(heard())
            if sys.argv[1] == "exec":
                os.execv(sys.executable, [sys.executable, "-c", ""])
            if sys.argv[1] == "leak":
                os._exit(0)
        sys.exit(0)
    tell(pid)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    topic.send("parent 1")
    tell("sent")
    heard()
"""


@pytest.mark.parametrize("end", ["clean", "leak", "exec"])
def test_parent_and_child_both_work_after_a_fork(end: str, namespace: str) -> None:
    """Each has rings of its own, however the child ends; it takes no file of its parent's along, and none stays."""
    with Topic("t") as topic, Topic("answers") as answers:
        with child(FORK, end) as forked:
            forked.line()
            assert sorted(values(topic, 2)) == ["child 0", "parent 0"]
            forked.go("go")
            assert values(answers, 1) == ["go"]
            assert forked.line() == "sent"
            assert values(topic, 1) == ["parent 1"]
            assert topic.lost == 0
            forked.go()
            assert forked.end() == 0
        topic.send("here")
        assert topic.recv() == "here"
    reclaim(namespace, grace_ns=0)
    assert files(namespace) == []


WAIT_AND_FORK = """
import trio
async def wait_for(topic, value):
    with trio.fail_after(300):
        assert await topic.receive() == value
topic = Topic("t")
tell("ready")
trio.run(wait_for, topic, 1)
if os.fork() == 0:
    with Topic("t") as topic:
        tell("ready")
        trio.run(wait_for, topic, 2)
    os._exit(0)
_, status = os.wait()
trio.run(wait_for, topic, 2)
topic.close()
tell(status)
"""


def test_a_waiting_program_may_fork() -> None:
    """The thread that listens for other processes does not exist in the child; waiting works there all the same."""
    with Topic("t") as topic, child(WAIT_AND_FORK) as forked:
        for value in (1, 2):
            assert forked.line() == "ready"
            topic.send(value)
        assert forked.line() == "0"
        assert forked.end() == 0


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.long)])
def test_many_topics_reach_another_process(namespace: str, count: int) -> None:
    """Many topics, all open in two processes: each message arrives where it belongs, none is lost, nothing stays."""
    program = """
    topics = [Topic(f"t{number}") for number in range(int(sys.argv[1]))]
    tell("ready")
    for number, topic in enumerate(topics):
        while (value := topic.recv()) is None: pass
        assert value == number, (value, number)
        assert topic.recv() is None and topic.lost == 0
        topic.send([number])
    tell("done")
    heard()
    for topic in topics: topic.close()
    """
    topics = [Topic(f"t{number}") for number in range(count)]
    try:
        with child(program, count) as other:
            assert other.line() == "ready"
            for number, topic in enumerate(topics):
                topic.send(number)
                assert topic.recv() == number
            assert other.line() == "done"
            for number, topic in enumerate(topics):
                assert values(topic, 1) == [[number]]
                assert topic.lost == 0
            other.go()
            assert other.end() == 0
    finally:
        for topic in topics:
            topic.close()
    reclaim(namespace, grace_ns=0)
    assert files(namespace) == []


def test_opening_many_topics_does_not_look_at_all_files_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tidying takes a tenth of the time at most: a thousand topics in two processes took seconds to open."""
    now, tidied = 0, 0

    def slow_reclaim(*_: object, **__: object) -> list[str]:
        nonlocal now, tidied
        now += 10_000_000
        tidied += 1
        return []

    with Bus() as bus:
        monkeypatch.setattr(discovery, "monotonic_ns", lambda: now)
        monkeypatch.setattr(discovery, "reclaim", slow_reclaim)
        for _ in range(20):
            discovery.tidy(bus.namespace)
            now += 10_000_000
        monkeypatch.undo()
    assert tidied == 2


def test_looking_consumes_nothing_across_processes() -> None:
    """``has_msg`` and ``latest`` leave another process's message unread; ``None`` is not nothing (J.1-52)."""
    program = 'with Topic("t") as t:\n t.send(None); tell(""); heard(); t.send([]); tell(""); heard()'
    with Topic("t") as topic, child(program) as sender:
        sender.line()
        until(topic.has_msg)
        for _ in range(3):
            assert topic.has_msg()
            assert topic.latest() is None
        assert topic.recv(default="nothing") is None
        assert not topic.has_msg()
        assert topic.recv(default="nothing") == "nothing"
        sender.go()
        sender.line()
        until(topic.has_msg)
        assert topic.recv(default="nothing") == []
        assert topic.latest() == []


def test_namespaces_are_apart_across_processes(namespace: str) -> None:
    """The environment's namespace, the one given, and the default never meet, in either direction."""
    program = """
    with Topic("t", namespace=sys.argv[1]) as given, Topic("t") as mine:
        given.send("given"); mine.send("environment"); tell("sent"); heard()
        tell([given.recv_all(), mine.recv_all()])
    """
    other = namespace + "b"
    with Topic("t") as here, Topic("t", namespace=other) as there:
        with child(program, other) as process:
            process.line()
            assert values(here, 1) == ["environment"]
            assert values(there, 1) == ["given"]
            here.send(1)
            there.send(2)
            process.go()
            assert process.line() == "[['given', 2], ['environment', 1]]"
        assert here.recv_all() == [1]
        assert there.recv_all() == [2]
    reclaim(other, grace_ns=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("whose", ["root", "namespace"])
def test_a_folder_of_somebody_else_is_refused(whose: str) -> None:
    """Another user's folder, in the place of ours or in it, is an error that names the owner, to read and to write."""
    program = """
    import os, sys
    from horus_async import Topic
    from horus_async.errors import TopicPermissionError
    from horus_async.topics.ring import memory
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    try:
        with Topic("t", namespace=sys.argv[1]) as topic:
            topic.send(1)
        print("works")
    except TopicPermissionError as error:
        print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), "stranger"]
    theirs = memory.root().parent / "horus-65534"
    if theirs.exists():
        pytest.skip(f"{theirs} is in use")
    inner = theirs / "stranger"
    try:
        theirs.mkdir(mode=0o777)
        if whose == "namespace":
            os.chown(theirs, 65534, 65534)
            inner.mkdir(mode=0o777)
        refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert "belongs to user 0, not to user 65534; remove it" in refused.stdout, refused.stderr
        if whose == "namespace":
            inner.rmdir()
        else:
            os.chown(theirs, 65534, 65534)
        works = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert works.stdout == "works\n", works.stderr
    finally:
        for folder in (inner, theirs):
            if folder.exists():
                folder.rmdir()


SEND_ONCE = 'with Topic("t") as topic: topic.send(int(sys.argv[1]))'


def _age(namespace: str, seconds: int) -> None:
    """Make the rings look as if they had been closed some time ago."""
    for name in rings(namespace):
        with (memory.root() / namespace / name).open("r+b") as file:
            file.seek(8 * Word.CLOSED_NS)
            file.write(struct.pack("<Q", monotonic_ns() - seconds * NANOSECONDS))


def test_a_slow_reader_gets_what_ended_publishers_left(namespace: str) -> None:
    """Three processes that send once and end, seconds ago; a reader that has not looked since gets all (SPEC 10)."""
    with Topic("t") as topic:
        assert topic.recv() is None
        for value in range(3):
            with child(SEND_ONCE, value) as sender:  # each tidies when it starts
                assert sender.end() == 0
            _age(namespace, 2)
        found = topic._bus._discovery
        assert found is not None
        found._next_sweep = 0  # and so does the reader
        assert values(topic, 3) == [0, 1, 2]
    assert files(namespace) == []


def test_what_ended_publishers_left_goes_in_time(namespace: str) -> None:
    """It is not kept for ever: a later start removes it although somebody listens."""
    with Topic("t"):
        with child(SEND_ONCE, 1) as sender:
            assert sender.end() == 0
        assert len(rings(namespace)) == 1
        _age(namespace, 60)
        with child(SEND_ONCE, 2) as sender:
            assert sender.end() == 0
        assert len(rings(namespace)) == 1
    assert files(namespace) == []
