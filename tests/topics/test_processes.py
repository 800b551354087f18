"""Topics between processes: real ones, started and killed in any order."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.errors import TopicError, TopicPermissionError, TopicTypeError
from horus_async.topics import Bus, discovery
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.ring import memory
from horus_async.topics.wake import sleepers
from tests.topics import payload_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 300
"""Only there so that a hang ends, on a machine however busy."""
BEGIN = """
import os, sys
from horus_async import Topic
def tell(text):
    print(text, flush=True)
def heard():
    return sys.stdin.readline().strip()
"""


@pytest.fixture(autouse=True)
def clean(namespace: str) -> Iterator[None]:
    """Remove what the processes that a test killed have left."""
    yield
    reclaim(namespace, grace_ns=0)


class Child:
    """Another process, that tells and hears lines."""

    def __init__(self, program: str, *args: object) -> None:
        code = BEGIN + textwrap.dedent(program)
        command = [sys.executable, "-c", code, *map(str, args)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        """What it told next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self, text: str = "go") -> None:
        """Let it hear a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Wait for its own end; gives the exit code."""
        return self.process.wait(SECONDS)


@contextmanager
def child(program: str, *args: object) -> Iterator[Child]:
    """A process that ends with the block at the latest."""
    one = Child(program, *args)
    try:
        yield one
    finally:
        one.kill()
        assert one.process.stdin is not None
        assert one.process.stdout is not None
        one.process.stdin.close()
        one.process.stdout.close()


def until(condition: Callable[[], Any]) -> Any:
    """What ``condition`` gives as soon as that is true."""
    end = monotonic_ns() + SECONDS * NANOSECONDS
    while monotonic_ns() < end:
        found = condition()
        if found:
            return found
        sleep_until_monotonic(monotonic_ns() + 1_000_000)
    raise AssertionError("it never came")


def values(topic: Topic, count: int) -> list[Any]:
    """The next ``count`` values."""
    found: list[Any] = []

    def enough() -> bool:
        found.extend(topic.recv_all())
        return len(found) >= count

    until(enough)
    return found


def files(namespace: str) -> list[str]:
    """What lies in the folder of a namespace."""
    folder = memory.root() / namespace
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


SEND = """
with Topic("t") as topic:
    for value in range(int(sys.argv[1]), int(sys.argv[2])):
        topic.send(value)
    tell("sent")
    heard()
"""


def test_a_publisher_that_starts_later_is_heard(namespace: str) -> None:
    """All messages of a process that starts after the subscriber arrive, in order, and no file is left (J.1-50)."""
    with Topic("t") as topic:
        with child(SEND, 0, 5) as sender:
            assert values(topic, 5) == [0, 1, 2, 3, 4]
            sender.go()
            assert sender.end() == 0
        assert topic.lost == 0
    assert files(namespace) == []


def test_a_subscriber_that_starts_later_hears_what_comes_from_then_on() -> None:
    """What was sent before the topic was opened is not delivered, but is the latest (SPEC 10)."""
    with child('with Topic("t") as topic:\n topic.send(1); tell("1"); heard(); topic.send(2); heard()') as sender:
        sender.line()
        with Topic("t") as topic:
            assert topic.latest() == 1
            assert topic.recv() is None
            sender.go()
            assert values(topic, 1) == [2]


def test_a_process_that_sends_once_and_ends_is_heard(namespace: str) -> None:
    """The last messages of a publisher that exits cleanly stay readable for those who had not seen it (SPEC 10)."""
    with Topic("t") as topic:
        assert topic.recv() is None
        for value in range(3):
            with child('with Topic("t") as topic: topic.send(int(sys.argv[1]))', value) as sender:
                assert sender.end() == 0
        assert values(topic, 3) == [0, 1, 2]
    assert files(namespace) == []


@pytest.mark.parametrize("borrow", [False, True])
def test_a_new_ring_is_merged_by_stamp_with_a_known_one(monkeypatch: pytest.MonkeyPatch, borrow: bool) -> None:
    """A reader that has messages of one process to read still gets an older one of a process that it did not know."""
    monkeypatch.setattr(sleepers.Sleepers, "_start", lambda _: None)  # which would find the ring a little later
    program = """
    with Topic("t") as topic:
        while heard() == "send":
            topic.send(sys.argv[1])
            tell("sent")
    """
    with Topic("t") as topic, child(program, "known") as known, child(program, "new") as new:
        known.go("send")
        assert (known.line(), values(topic, 1)) == ("sent", ["known"])
        for process in (new, known):
            process.go("send")
            assert process.line() == "sent"
        found = topic._bus._discovery
        assert found is not None
        until(lambda: monotonic_ns() >= found.next_glance)
        if borrow:
            with topic.borrow() as message:
                assert message is not None
                assert message.value == "new"
            assert topic.recv() == "known"
        else:
            assert [topic.recv(), topic.recv()] == ["new", "known"]
        for process in (known, new):
            process.go("end")
            assert process.end() == 0


def test_a_subscriber_that_outlives_its_bus_gets_no_message_twice() -> None:
    """When the folder changes after that, the rings that it knows are not shown to it again."""
    program = """
        with Topic("t") as t:
            t.send("once")
            tell("sent")
            heard()
            with Topic("u") as u:
                u.send("other")
                tell("sent")
                heard()
    """
    with Bus() as bus, child(program) as sender:
        subscriber = bus.subscriber("t")
        assert sender.line() == "sent"
        until(subscriber.has_message)
        message = subscriber.take()
        assert message is not None
        assert message[0] == b'"once"'
        bus.close()
        found = bus._discovery
        assert found is not None
        sender.go()
        assert sender.line() == "sent"
        until(lambda: monotonic_ns() >= found.next_glance)
        assert subscriber.take() is None
        subscriber.close()
        sender.go()


@pytest.mark.parametrize("sleeper", [False, True])
def test_what_ended_long_ago_is_still_heard(namespace: str, monkeypatch: pytest.MonkeyPatch, sleeper: bool) -> None:
    """A live reader gets the last messages of a clean publisher however late it looks, or while it does not look."""
    monkeypatch.setattr(discovery, "_SWEEP_NS", 0)
    monkeypatch.setattr(discovery, "GRACE_NS", 0)
    monkeypatch.setattr(discovery, "UNSEEN_GRACE_NS", 0)
    if not sleeper:
        monkeypatch.setattr(sleepers.Sleepers, "_start", lambda _: None)
    with Topic("t") as topic:
        assert topic.recv() is None
        with child('with Topic("t") as topic: topic.send("last")') as sender:
            assert sender.end() == 0
        if sleeper:
            until(lambda: files(namespace) == ["bell-0"])
        assert topic.recv() == "last"


def test_a_killed_publisher_comes_back(namespace: str) -> None:
    """After kill -9 its last messages are read, its successor is heard, and its memory is reclaimed."""
    with Topic("t") as topic:
        with child(SEND, 0, 3) as sender:
            sender.line()
            sender.kill()
        with child(SEND, 10, 13) as sender:
            sender.line()
            assert values(topic, 6) == [0, 1, 2, 10, 11, 12]
            until(lambda: topic.recv() is None and len([name for name in files(namespace) if "@" in name]) == 1)
            sender.go()
            sender.end()
    assert files(namespace) == []


def test_the_next_start_removes_what_a_dead_process_left(namespace: str) -> None:
    """Rings and doorbells of a killed process go when another one opens a topic; those of a live one stay."""
    with child(SEND, 0, 1) as dead, child('with Topic("u") as u: u.send(1); tell(""); heard()') as live:
        assert dead.line() == "sent"
        live.line()
        dead.kill()
        with Topic("v") as topic:
            topic.send(1)
            until(
                lambda: (
                    topic.recv() != 0
                    and [name.partition("@")[0] for name in files(namespace) if "@" in name] == ["u", "v"]
                )
            )
        live.go()
        live.end()


def test_two_publishers_are_merged_by_stamp() -> None:
    """Messages of several processes come in the order in which they were sent, whoever sent them."""
    program = """
    with Topic("t") as topic:
        tell("ready")
        while value := heard():
            topic.send(int(value))
            tell("sent")
    """
    with Topic("t") as topic, child(program) as one, child(program) as other:
        for sender in (one, other):
            sender.line()
        for value in range(20):
            sender = (one, other)[value % 2]
            sender.go(str(value))
            sender.line()
        until(topic.has_msg)
        external_ready = until(lambda: topic._subscriber.arrived == 20)
        assert external_ready
        assert topic.recv_all() == list(range(20))


def test_growth_is_followed() -> None:
    """A ring that grows in another process, for large messages, is read through all its generations (J.1-51)."""
    program = """
    with Topic("t", capacity=4096) as topic:
        for size in (10, 100_000, 10, 3_000_000, 10):
            topic.send(b"x" * size)
        tell("sent"); heard()
    """
    with Topic("t") as topic, child(program) as sender:
        assert [len(value) for value in values(topic, 5)] == [10, 100_000, 10, 3_000_000, 10]
        sender.go()
        sender.end()


def test_losses_are_counted_exactly() -> None:
    """The oldest go, the reader continues with the oldest that is left and knows how many it missed (J.1-50)."""
    program = 'with Topic("t", capacity=4096) as t:\n for i in range(5000): t.send(i)\n tell("");heard()'
    with Topic("t") as topic, child(program) as sender:
        sender.line()
        found = values(topic, 1)
        while found[-1] != 4999:
            found += values(topic, 1)
        assert found == list(range(found[0], 5000))
        assert topic.lost == found[0] > 0


def test_values_come_back_equal_and_of_the_same_type() -> None:
    """Bytes, tuples, None, NaN, large integers and keys that are no strings cross processes (J.1-51, J.1-52)."""
    program = """
    sent = [b"\\0\\xff", (1, (2,)), None, 2**80, {1: {"a": ()}}, float("inf")]
    with Topic("t") as topic:
        for value in sent:
            topic.send(value)
        tell("sent"); heard()
    """
    with Topic("t") as topic, child(program):
        found: list[Any] = []
        while len(found) < 6:
            until(topic.has_msg)
            found.append(topic.recv(default="nothing"))
        assert found == [b"\0\xff", (1, (2,)), None, 2**80, {1: {"a": ()}}, float("inf")]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_waiting_task_is_woken(backend: str) -> None:
    """``await receive()`` returns when another process sends, there and back, on both event loops."""
    echo = 'with Topic("there") as a, Topic("back") as b:\n tell("")\n import anyio\n' + textwrap.indent(
        f"async def main():\n  while True: b.send(await a.receive())\nanyio.run(main, backend={backend!r})", " "
    )

    async def main() -> None:
        with Topic("there") as there, Topic("back") as back, anyio.fail_after(SECONDS):
            for value in range(100):
                there.send(value)
                assert await back.receive() == value

    with child(echo) as other:
        other.line()
        anyio.run(main, backend=backend)


def test_event_callbacks_fire_for_other_processes() -> None:
    """``on_message`` is called for what comes from outside, and its thread ends with the bus."""
    called = threading.Event()
    threads = threading.active_count()
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        subscriber.on_message(called.set)
        with child(SEND, 0, 1):
            assert called.wait(SECONDS)
            until(subscriber.has_message)
    assert threading.active_count() == threads


def test_a_run_hears_what_was_sent_since_it_began() -> None:
    """``from_start``: not what other processes sent before the bus was opened, but all since."""
    program = 'with Topic("t") as t:\n t.send(1)\n tell("")\n heard()\n t.send(2)\n tell("")\n heard()'
    with child(program) as sender:
        sender.line()
        with Bus() as bus:
            sender.go()
            sender.line()
            taken = until(bus.subscriber("t", from_start=True).take)
            assert taken[0] == b"2"


def test_an_isolated_bus_hears_nobody_and_is_heard() -> None:
    """A deterministic run takes no messages from other processes, and can be watched from them (SPEC 10)."""
    watch = 'with Topic("t") as t:\n tell("")\n while (v := t.recv()) is None: pass\n tell(v)\n heard()'
    with child(watch) as watcher:
        watcher.line()
        with child(SEND, 0, 9) as sender, Bus(isolated=True) as bus:
            sender.line()
            subscriber = bus.subscriber("t", from_start=True)
            assert subscriber.take() is None
            assert watcher.line() == "0"
            bus.publisher("t", "a").publish(b"7", 1)
            assert subscriber.take() == (b"7", "a", 0, 1)
            assert subscriber.take() is None
    with child(watch) as watcher, Bus(isolated=True) as bus:
        watcher.line()
        bus.publisher("t", "a").publish(b"7", 1)
        assert watcher.line() == "7"


def test_idle_topics_cost_next_to_nothing() -> None:
    """A process that awaits 100 topics of another one wakes up a few times a second, and does next to nothing then.

    That this is under 1 % of a core on a machine that is not busy is the figure ``idle_topics`` of
    ``python -m benchmarks``.
    """
    program = """
    import resource
    import trio
    from horus_async.clock.system import monotonic_ns
    topics = [Topic(f"t{i}") for i in range(100)]
    async def main():
        async with trio.open_nursery() as nursery:
            for topic in topics:
                nursery.start_soon(topic.receive)
            await trio.sleep(0.5)
            began = monotonic_ns()
            before = resource.getrusage(resource.RUSAGE_SELF)  # os.times goes by hundredths of a second
            await trio.sleep(1.5)
            after = resource.getrusage(resource.RUSAGE_SELF)
            seconds = (monotonic_ns() - began) / 1e9
            tell((after.ru_nvcsw - before.ru_nvcsw) / seconds)
            tell((after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / seconds)
            nursery.cancel_scope.cancel()
    trio.run(main)
    """
    topics = [Topic(f"t{number}") for number in range(100)]
    for topic in topics:
        topic.send(0)
    try:
        with child(program) as waiting:
            wakeups, used = float(waiting.line()), float(waiting.line())
            assert wakeups < 20
            assert used < 0.05
    finally:
        for topic in topics:
            topic.close()


def test_full_shared_memory_is_an_error_and_nothing_more() -> None:
    """Where the file cannot get its memory the sender gets a TopicError; what was sent stays whole, then it goes on."""
    program = """
    import resource
    from horus_async.errors import TopicError
    with Topic("t") as topic:
        topic.send(1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        try:
            topic.send(bytes(400_000))
        except TopicError as error:
            tell(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        topic.send(2); tell(""); heard()
    """
    with Topic("t") as topic, child(program) as sender:
        assert "no room for" in sender.line()
        sender.line()
        assert values(topic, 2) == [1, 2]


def test_a_thousand_topics_are_small(namespace: str) -> None:
    """A ring takes memory as it fills: a thousand of them take less than 40 MiB, and more files than usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        with Bus() as bus:
            for number in range(1000):
                bus.publisher(f"t{number}", "a").publish(b"1", 1)
            folder = memory.root() / namespace
            assert sum(path.stat().st_blocks * 512 for path in folder.iterdir()) < 40 << 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert files(namespace) == []


@pytest.mark.parametrize("name", [".", "a/b", "-", "x" * 255, ".hidden", "bell-0", "x/" * 127])
def test_names_from_hell_meet(name: str) -> None:
    """Any name that is allowed works across processes, and only topics of the very same name meet."""
    with Topic(name) as topic, Topic("other") as other:
        with child("with Topic(sys.argv[1]) as t: t.send(sys.argv[1])", name) as sender:
            assert sender.end() == 0
        assert values(topic, 1) == [name]
        assert other.recv() is None


def test_a_fork_does_not_harm_the_parents_ring() -> None:
    """In a forked child old handles refuse to send, and a new one has a ring of its own."""
    program = """
    from horus_async.errors import TopicError
    topic = Topic("t")
    topic.send(1)
    if os.fork() == 0:
        try:
            topic.send(99)
        except TopicError:
            with Topic("t") as mine:
                mine.send(2)
        os._exit(0)
    os.wait()
    topic.send(3)
    topic.close()
    """
    with Topic("t") as topic:
        with child(program) as sender:
            assert sender.end() == 0
        assert values(topic, 3) == [1, 2, 3]


def test_a_link_in_the_place_of_a_ring_is_left_alone(namespace: str, tmp_path: Path) -> None:
    """A symbolic link with the name of a ring is neither followed nor removed nor written to."""
    target = tmp_path / "precious"
    target.write_bytes(bytes(8192))
    with Topic("t") as topic:
        topic.send(1)
        link = memory.root() / namespace / "t@1-abcdef00-0.0"
        link.symlink_to(target)
        with Topic("t") as other:
            assert other.recv() is None
            reclaim(namespace)
        assert link.is_symlink()
        assert target.read_bytes() == bytes(8192)
        link.unlink()


def test_a_namespace_that_is_a_link_is_refused(namespace: str, tmp_path: Path) -> None:
    """Opening a topic whose folder is a symbolic link is an error, for readers as for writers."""
    memory.root().mkdir(mode=0o700, exist_ok=True)
    link = memory.root() / namespace
    link.symlink_to(tmp_path)
    try:
        with pytest.raises(TopicPermissionError, match="symbolic link"):
            Topic("t")
    finally:
        link.unlink()


def test_a_mismatch_names_both_sides() -> None:
    """A reader with another type gets an error that names its own and the sender's, and reads on after it."""
    program = """
    import attrs
    @attrs.define
    class Speed:
        metres_per_second: float
    with Topic("t", Speed) as topic:
        topic.send(Speed(1.0)); tell(""); heard()
    """
    with Topic("t", payload_types.Pose) as topic, child(program):
        until(topic.has_msg)
        with pytest.raises(TopicTypeError, match=r"payload_types\.Pose.*__main__\.Speed"):
            topic.recv()
        assert topic.recv() is None


def test_an_added_field_gets_its_default() -> None:
    """A process that knows an older class, without the field, is understood by one that knows the newer."""
    program = """
    import sys, types, attrs
    module = types.ModuleType("tests.topics.payload_types")
    sys.modules["tests.topics.payload_types"] = module
    Pose = attrs.make_class("Pose", {"x": attrs.field(type=float)})
    Pose.__module__, module.Pose = module.__name__, Pose
    with Topic("t", Pose) as topic:
        topic.send(Pose(1.5)); tell(""); heard()
    """
    with Topic("t", payload_types.Pose) as topic, child(program):
        until(topic.has_msg)
        assert topic.recv() == payload_types.Pose(1.5, heading=0.25)


def test_a_stopped_writer_holds_nobody_up() -> None:
    """A writer that is stopped (not dead) keeps its ring, readers return at once, and go on when it does."""
    with Topic("t") as topic, child(SEND, 0, 3) as sender:
        assert values(topic, 3) == [0, 1, 2]
        sender.process.send_signal(signal.SIGSTOP)
        assert topic.recv() is None
        assert topic.latest() == 2
        sender.process.send_signal(signal.SIGCONT)


async def test_waiting_ends_with_the_handle() -> None:
    """Closing a handle while a task waits for other processes is an error there, not a hang."""
    topic = Topic("t")
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_closed, topic)
            await trio.testing.wait_all_tasks_blocked()
            topic.close()


async def _expect_closed(topic: Topic) -> None:
    with pytest.raises(TopicError, match="closed"):
        await topic.receive()
