"""Our side: nodes, topics, sizes and subscribers. Each function takes the size first, and returns samples."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import horus_async
from horus_async import Node, Scheduler, Topic
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from horus_async.topics.bus import Bus, default_namespace
from horus_async.topics.inspection import survey

from .processor import used_a_call, used_by, used_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RATE = 100
_MESSAGE = {"value": 0.5, "tick": 7}


# -- nodes -------------------------------------------------------------------------------------------------------------


def start(nodes: int, scale: float) -> list[float]:
    """Milliseconds of the processor for a run of one tick, from the making of its nodes to its end."""
    del scale
    return [used_by(lambda: _chain(nodes).run_sync(duration=1 / _RATE)) / 1000]


def ticks(nodes: int, scale: float) -> list[float]:
    """Microseconds of the processor per tick of the scheduler, from the third tick to the end."""
    count = max(10, round(100_000 * scale / nodes))
    marks: list[float] = []

    def mark(tick: int) -> None:
        if tick in {2, count - 1}:
            marks.append(used_us())

    _chain(nodes, mark).run_sync(duration=count / _RATE)
    return [(marks[1] - marks[0]) / (count - 3)]


def _chain(nodes: int, mark: Callable[[int], object] | None = None) -> Scheduler:
    """Nodes that each send a small dict in a tick and take the one before's; the first calls ``mark``."""
    scheduler = Scheduler(tick_rate=_RATE, deterministic=True)

    def link(index: int) -> Node:
        source, target = f"chain.{index - 1}", f"chain.{index}"

        async def step(node: Node) -> None:
            if mark is not None and not index:
                mark(horus_async.tick())
            if index and node.recv(source) is None:
                raise AssertionError("the message did not arrive")
            node.send(target, _MESSAGE)

        return Node(f"link{index}", tick=step, pubs=[target], subs=[source] if index else [])

    for index in range(nodes):
        scheduler.add(link(index))
    return scheduler


# -- topics ------------------------------------------------------------------------------------------------------------


def topics(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor to open topics, send and receive once on each, and close them."""
    del scale

    def work() -> None:
        with ExitStack() as opened:
            handles = [opened.enter_context(Topic(f"bench.{number}")) for number in range(count)]
            for handle in handles:
                handle.send(_MESSAGE)
            _take_from(handles)

    return [used_by(work) / 1000]


def topics_in_turn(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor to open topics, each with its first message before the next is opened."""
    del scale

    def work() -> None:
        with ExitStack() as opened:
            for number in range(count):
                opened.enter_context(Topic(f"bench.{number}")).send(_MESSAGE)

    return [used_by(work) / 1000]


def topics_found(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor until this process has a message from each topic of another one."""
    del scale
    with ExitStack() as opened:
        handles = [opened.enter_context(Topic(f"bench.{number}")) for number in range(count)]
        with _other_process(count):
            return [used_by(lambda: _take_from(handles)) / 1000]


def topics_ended(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor to notice that another process has closed its topics."""
    del scale
    with ExitStack() as opened:
        handles = [opened.enter_context(Topic(f"bench.{number}")) for number in range(count)]
        with _other_process(count) as process:
            _take_from(handles)
            _tell(process, "close")
            _rest()
            return [used_by(lambda: _take_from(handles, there=False)) / 1000]


def topics_listed(count: int, scale: float) -> list[float]:
    """Milliseconds of the processor to look at all rings of another process, as ``topic list`` does."""
    del scale
    with _other_process(count):
        found: list[Any] = []
        took = used_by(lambda: found.extend(survey(default_namespace())[0]))
        if len(found) != count:
            raise AssertionError(f"{len(found)} of {count} topics were found")
        return [took / 1000]


def beside_topics(count: int, scale: float) -> list[float]:
    """Microseconds of the processor to send and receive on one topic, with so many others, open here and elsewhere."""
    with ExitStack() as opened:
        handles = [opened.enter_context(Topic(f"bench.{number}")) for number in range(count)]
        with _other_process(count), Topic("bench.one") as one:
            _take_from(handles)

            def call() -> None:
                one.send(_MESSAGE)
                _take_from([one])

            return used_a_call(call, scale)


def _take_from(handles: list[Any], *, there: bool = True) -> None:
    for handle in handles:
        while (message := handle.recv()) is None and there:
            _rest()
        if (message is not None) is not there:
            raise AssertionError(f"{handle.name}: {message}")


def _rest() -> None:
    """Wait for the next look at the folder, which does not take place all the time."""
    sleep_until_monotonic(monotonic_ns() + 10_000_000)


@contextmanager
def _other_process(count: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has sent a message on each of so many topics."""
    command = [sys.executable, "-m", "benchmarks.curves.ours", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            _tell(process, "send")
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    if not process.stdout.readline():
        raise AssertionError("the other process has ended")


# -- messages ----------------------------------------------------------------------------------------------------------


def sizes(size: int, scale: float) -> list[float]:
    """Microseconds of the processor to send and receive so many bytes, in one process."""
    value = bytes(size)
    with Topic("bench.size", capacity=max(2 * size, 1 << 20)) as topic:

        def call() -> None:
            topic.send(value)
            if len(topic.recv()) != size:
                raise AssertionError("another message arrived")

        return used_a_call(call, scale)


def subscribers(count: int, scale: float) -> list[float]:
    """Microseconds of the processor to send a message and receive it with each of so many subscribers."""
    with ExitStack() as opened:
        handles = [opened.enter_context(Topic("bench.one")) for _ in range(count)]

        def call() -> None:
            handles[0].send(_MESSAGE)
            _take_from(handles)

        return used_a_call(call, scale)


def publishers(count: int, scale: float) -> list[float]:
    """Microseconds of the processor to send a message from each of so many participants, and receive all in order."""
    with ExitStack() as opened:
        buses = [opened.enter_context(Bus()) for _ in range(count)]
        senders = [bus.publisher("bench.one", f"sender{number}") for number, bus in enumerate(buses)]
        with Topic("bench.one") as topic:

            def call() -> None:
                for number, sender in enumerate(senders):
                    sender.publish(b"%d" % number, monotonic_ns())
                for number in range(count):
                    message = topic.recv_message()
                    if message is None or message.publisher != f"sender{number}":
                        raise AssertionError(f"from sender {number}: {message}")

            return used_a_call(call, scale)


if __name__ == "__main__":
    with ExitStack() as mine:
        sys.stdin.readline()
        for sent_on in range(int(sys.argv[1])):
            mine.enter_context(Topic(f"bench.{sent_on}")).send(_MESSAGE)
        print("sent", flush=True)
        sys.stdin.readline()
    print("closed", flush=True)
    sys.stdin.readline()
