"""Being woken by other processes, without the slow poll that would make up for a wake-up that went lost."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from horus_async import Node, Scheduler, Topic
from horus_async.errors import TopicError
from horus_async.topics import Bus
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import FOR_ALL, SLOTS_AT, bell_byte
from horus_async.topics.ring.region import SLEEPERS
from horus_async.topics.ring.writer import RingWriter
from horus_async.topics.wake import doorbell, sleepers
from tests.topics.test_processes import SECONDS, Child, child, files, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

NEVER_MS = 100_000_000
UNPOLLED = f"import horus_async.topics.wake.sleepers as sleepers\nsleepers.SLOW_POLL_MS = {NEVER_MS}\n"
BACKENDS = pytest.mark.parametrize("backend", ["trio", "asyncio"])

SEND_AS_TOLD = """
topics = {}
tell("ready")
while line := heard():
    name, value = line.split()
    if name not in topics:
        topics[name] = Topic(name)
    topics[name].send(int(value))
for topic in topics.values():
    topic.close()
"""


@pytest.fixture(autouse=True)
def unpolled(namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody looks by himself. What the processes that a test killed have left is removed."""
    monkeypatch.setattr(sleepers, "SLOW_POLL_MS", NEVER_MS)
    yield
    reclaim(namespace, grace_ns=0)


def bells(namespace: str) -> int:
    """How many doorbells there are."""
    return sum(map(doorbell.is_bell, files(namespace)))


def run(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    """Run ``main``, which must not take for ever."""

    async def bounded() -> None:
        with anyio.fail_after(SECONDS):
            await main()

    anyio.run(bounded, backend=backend)


@BACKENDS
def test_two_sleeping_processes_wake_each_other(backend: str, namespace: str) -> None:
    """Hundreds of messages go there and back while both sides sleep in between; one doorbell each is enough."""
    echo = f"""
import anyio
{UNPOLLED}
async def main():
    with Topic("there") as there, Topic("back") as back:
        tell("ready")
        while True:
            back.send(await there.receive())
anyio.run(main, backend={backend!r})
"""

    async def main() -> None:
        with Topic("there") as there, Topic("back") as back, child(echo) as other:
            other.line()
            for value in range(300):
                there.send(value)
                assert await back.receive() == value
            assert bells(namespace) == 2

    run(backend, main)


@BACKENDS
def test_each_of_many_waiting_tasks_is_woken_by_its_own_message(backend: str) -> None:
    """150 tasks of one event loop wait for as many topics; each gets its messages, in whatever order they come."""
    count = 150
    got: list[tuple[int, int]] = []

    async def take(number: int, topic: Topic) -> None:
        got.extend([(number, await topic.receive()) for _ in range(2)])

    async def main() -> None:
        topics = [Topic(f"t{number}") for number in range(count)]
        with child(SEND_AS_TOLD) as sender:
            sender.line()
            async with anyio.create_task_group() as group:
                for number, topic in enumerate(topics):
                    group.start_soon(take, number, topic)
                await anyio.wait_all_tasks_blocked()
                for value in range(2):
                    for number in reversed(range(count)):
                        sender.go(f"t{number} {value}")
            assert sorted(got) == [(number, value) for number in range(count) for value in range(2)]
            for topic in topics:
                topic.close()

    run(backend, main)


class Waiters:
    """Tasks that wait for a topic each, the first of them at the doorbell."""

    def __init__(self, count: int) -> None:
        self.topics = [Topic(f"t{number}") for number in range(count)]
        self.scopes = [anyio.CancelScope() for _ in range(count)]
        self.left = [anyio.Event() for _ in range(count)]

    async def take(self, number: int) -> None:
        """Wait, and tell when that is over."""
        with self.scopes[number], suppress(TopicError):
            await self.topics[number].receive()
        self.left[number].set()

    async def end(self, number: int, how: str, sender: Child) -> None:
        """End the waiting of a task that way."""
        if how == "cancelled":
            self.scopes[number].cancel()
        elif how == "closed":
            self.topics[number].close()
        elif how == "served":
            sender.go(f"t{number} 1")
        else:
            self.topics[number].send(1)
        await self.left[number].wait()


@BACKENDS
@pytest.mark.parametrize("how", ["cancelled", "closed", "served", "sent to from here"])
def test_nobody_is_left_asleep_by_the_one_who_waits_for_all(backend: str, how: str) -> None:
    """When the task that waits at the doorbell leaves, for whatever reason, another one takes its place."""

    async def main() -> None:
        waiters = Waiters(4)
        with child(SEND_AS_TOLD) as sender:
            sender.line()
            async with anyio.create_task_group() as group:
                for number in range(4):
                    group.start_soon(waiters.take, number)
                    await anyio.wait_all_tasks_blocked()
                for number in range(3):
                    await waiters.end(number, how, sender)
                assert not waiters.left[3].is_set()
                await waiters.end(3, "served", sender)
        for topic in waiters.topics:
            topic.close()

    run(backend, main)


def test_tasks_wake_in_two_event_loops_of_one_process(namespace: str) -> None:
    """Two event loops in two threads wait at the same time, for their own topics and a common one; none is missed."""
    rounds = 50
    found: dict[str, list[int]] = {}
    ready = threading.Barrier(3, timeout=SECONDS)

    async def take(name: str, key: str) -> None:
        with Topic(name) as topic:
            await anyio.to_thread.run_sync(ready.wait) if key == name else None
            found[key] = [await topic.receive() for _ in range(rounds)]

    async def main(own: str) -> None:
        with Topic("common") as topic:
            async with anyio.create_task_group() as group:
                group.start_soon(take, own, own)
                found[f"common {own}"] = [await topic.receive() for _ in range(rounds)]

    threads = [
        threading.Thread(target=run, args=(backend, partial(main, own)))
        for backend, own in (("trio", "a"), ("asyncio", "b"))
    ]
    with Topic("open"), child(SEND_AS_TOLD) as sender:  # which keeps what is common to all
        sender.line()
        for thread in threads:
            thread.start()
        ready.wait()
        for value in range(rounds):
            for name in ("a", "b", "common"):
                sender.go(f"{name} {value}")
        for thread in threads:
            thread.join(SECONDS)
        assert bells(namespace) == 3  # one of them the sender's
    expected = list(range(rounds))
    assert found == {"a": expected, "b": expected, "common a": expected, "common b": expected}


@BACKENDS
def test_a_thread_of_the_same_process_wakes_every_waiting_task(backend: str) -> None:
    """What another thread sends wakes the task that waits at the doorbell, and those that wait behind it."""

    async def main() -> None:
        waiters = Waiters(4)
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(waiters.take, number)
                await anyio.wait_all_tasks_blocked()
            for number in (2, 1, 3, 0):
                await anyio.to_thread.run_sync(waiters.topics[number].send, 1)
                await waiters.left[number].wait()
        for topic in waiters.topics:
            topic.close()

    run(backend, main)


@BACKENDS
def test_a_lost_ring_is_made_up_for(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that is killed before it rings, here one that never does, is heard by the slow poll."""
    monkeypatch.setattr(sleepers, "SLOW_POLL_MS", 50)
    silent = """
import horus_async.topics.publisher as publisher
publisher.ring_bells = lambda namespace, slots, kind: None
"""

    async def main() -> None:
        with Topic("t") as topic, child(silent + SEND_AS_TOLD) as sender:
            sender.line()
            async with anyio.create_task_group() as group:
                group.start_soon(topic.receive)
                await anyio.wait_all_tasks_blocked()
                sender.go("t 1")
            assert topic.recv() is None

    run(backend, main)


def test_a_sleeper_follows_a_ring_that_grows() -> None:
    """Messages that make the other side's ring grow wake as others do."""
    program = """
with Topic("t", capacity=4096) as topic:
    tell("ready")
    while size := heard():
        topic.send(bytes(int(size)))
"""

    async def main() -> None:
        with Topic("t") as topic, child(program) as sender:
            sender.line()
            for size in (10, 100_000, 10, 1_000_000, 10, 10):
                async with anyio.create_task_group() as group:
                    group.start_soon(_expect_length, topic, size)
                    await anyio.wait_all_tasks_blocked()
                    sender.go(str(size))

    run("trio", main)


async def _expect_length(topic: Topic, size: int) -> None:
    assert len(await topic.receive()) == size


def test_a_doorbell_that_was_full_loses_nobody() -> None:
    """Rings that find no room are lost; whoever empties a doorbell that may have been full looks at everything."""

    async def main() -> None:
        with Topic("t") as topic, child(SEND_AS_TOLD) as sender:
            sender.line()
            sender.go("t 1")
            assert await topic.receive() == 1
            slots = topic._bus._discovery.sleepers.slots  # type: ignore[union-attr]
            other = next(byte for byte in range(128, 256) if byte != bell_byte("t")[0])
            for _ in range(100_000):
                doorbell.ring_bells(topic.namespace, slots, bytes([other]))
            async with anyio.create_task_group() as group:
                group.start_soon(topic.receive)
                sender.go("t 2")

    run("trio", main)
    doorbell.forget()


def test_a_small_full_doorbell_counts_as_full(namespace: str) -> None:
    """Where the system gives a FIFO one page only, 4096 rings fill it; fewer are taken as they are."""
    bell = doorbell.Doorbell(namespace)
    try:
        assert bell.slot is not None
        doorbell.ring_bells(namespace, [bell.slot] * 4095, b"\xff")
        assert bell.drain() == b"\xff" * 4095
        doorbell.ring_bells(namespace, [bell.slot] * 4096, b"\xff")
        assert bell.drain() == FOR_ALL
        assert bell.drain() == b""
    finally:
        bell.withdraw()
        bell.close()
        doorbell.forget(namespace)
        memory.remove_empty_folders(memory.root() / namespace)


def test_waiting_again_and_again_takes_no_more_doorbells(namespace: str) -> None:
    """Event loops that come and go, and waits that are cancelled, use the same doorbell one after the other."""

    async def main(topic: Topic) -> None:
        for _ in range(20):
            with anyio.move_on_after(0):
                await topic.receive()
            async with anyio.create_task_group() as group:
                group.start_soon(topic.receive)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()

    with Topic("t") as topic:
        for backend in ("trio", "asyncio") * 5:
            run(backend, partial(main, topic))
        assert bells(namespace) == 1
    assert files(namespace) == []


def test_callbacks_are_called_with_and_without_an_event_loop() -> None:
    """``on_message`` hears other processes from a thread, from an event loop that attends, and from a thread again."""
    called: list[str] = []
    ready = threading.Event()
    finish = threading.Event()

    def note() -> None:
        called.append(threading.current_thread().name)

    async def attend(bus: Bus) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(bus.attend)
            await anyio.wait_all_tasks_blocked()
            ready.set()
            await anyio.to_thread.run_sync(finish.wait)
            group.cancel_scope.cancel()

    with Bus() as bus, child(SEND_AS_TOLD) as sender:
        subscriber = bus.subscriber("t")
        subscriber.on_message(note)
        sender.line()
        sender.go("t 1")
        until(lambda: called)
        loop = threading.Thread(target=run, args=("trio", partial(attend, bus)), name="loop")
        loop.start()
        assert ready.wait(SECONDS)
        before = len(called)
        sender.go("t 2")
        until(lambda: len(called) > before)
        assert set(called[before:]) == {"loop"}
        finish.set()
        loop.join(SECONDS)
        before = len(called)
        sender.go("t 3")
        until(lambda: len(called) > before)
        assert set(called[before:]) == {f"topics {bus.namespace}"}
        subscriber.close()


class Begun(Node):
    """Tells when the run has begun."""

    begun: anyio.Event

    async def init(self) -> None:
        """See `Node.init`."""
        self.begun.set()


class Echo(Begun):
    """Ticks for each message."""

    on = "there"
    pubs = ("back",)

    async def tick(self) -> None:
        """See `Node.tick`."""
        self.send("back", self.recv("there"))


class Waiting(Begun):
    """Waits within its one tick."""

    subs = ("there",)
    pubs = ("back",)

    async def tick(self) -> None:
        """See `Node.tick`."""
        while True:
            self.send("back", await self.receive("there"))


@BACKENDS
@pytest.mark.parametrize("kind", [Echo, Waiting])
def test_a_node_is_woken_by_another_process(backend: str, kind: type[Begun]) -> None:
    """A node that ticks on messages, and one that awaits them, answer another process again and again (J.1-50)."""
    ask = f"""
import anyio
{UNPOLLED}
async def main():
    with Topic("there") as there, Topic("back") as back:
        while (value := int(heard() or -1)) >= 0:
            there.send(value)
            tell(await back.receive())
anyio.run(main)
"""

    async def main() -> None:
        node = kind()
        node.begun = anyio.Event()
        scheduler = Scheduler(tick_rate=1)
        scheduler.add(node)
        with child(ask) as asking:
            async with anyio.create_task_group() as group:
                group.start_soon(scheduler.run)
                await node.begun.wait()
                for value in range(100):
                    asking.go(str(value))
                    assert await anyio.to_thread.run_sync(asking.line) == str(value)
                scheduler.stop()

    run(backend, main)


def test_a_fork_wakes_on_its_own() -> None:
    """A child forked from a process that waited has doorbells of its own, and leaves its parent's alone."""
    program = f"""
import anyio
{UNPOLLED}
async def take(name):
    with Topic(name) as topic:
        tell("ready")
        return await topic.receive()
tell(anyio.run(take, "a"))
child = os.fork()
if child == 0:
    tell(anyio.run(take, "b"))
    os._exit(0)
os.waitpid(child, 0)
tell(anyio.run(take, "c"))
"""
    topics = {name: Topic(name) for name in "abc"}
    with child(program) as forking:
        for number, topic in enumerate(topics.values()):
            assert forking.line() == "ready"
            topic.send(number)
            assert forking.line() == str(number)
        assert forking.end() == 0
    for topic in topics.values():
        topic.close()


def test_a_doorbell_that_another_process_takes_for_left_over(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed between its making and its locking, as nobody had it yet, it is made again."""
    made = []
    real = os.mkfifo

    def make(name: str, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        made.append(name)
        if len(made) == 1:
            os.unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkfifo", make)
    bell = doorbell.Doorbell(namespace)
    assert len(made) == 2
    assert bells(namespace) == 1
    bell.close()


class _Interrupted(bytearray):
    """Memory of a ring in which a sleeper comes just as its writer has looked through the slots."""

    def find(self, *arguments: Any) -> int:
        """As usual, and then the sleeper lies down: first its slot, then the word."""
        at = super().find(*arguments)
        if at < 0 and self.slot is not None:
            self[SLOTS_AT + self.slot] = 1
            with memoryview(self) as memory, memory.cast("Q") as words:
                words[SLEEPERS] = 1
            self.slot = None
        return at

    slot: int | None = None


def test_a_sleeper_that_comes_while_others_are_rung_is_rung_with_the_next_message() -> None:
    """The word says so, whose slots the writer has looked at before."""
    files: list[_Interrupted] = []

    def allocate(number: int, size: int) -> _Interrupted:
        files.append(_Interrupted(size))
        return files[-1]

    writer = RingWriter(allocate, topic="t", namespace="n", capacity=4096)
    files[0][SLOTS_AT + 5] = 1
    writer.words[SLEEPERS] = 1
    files[0].slot = 3
    assert writer.sleepers() == [5]
    assert writer.words[SLEEPERS], "nobody would ring the one that came in between"
    assert writer.sleepers() == [3]
    assert not writer.words[SLEEPERS]
