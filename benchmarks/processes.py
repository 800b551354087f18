"""Our topics between two processes, and what they cost while idle."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from horus_async import Topic
from horus_async.clock.system import monotonic_ns

from .links import MIB, Link
from .sampling import BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_IDLE_TOPICS = 100


@contextmanager
def link(end: int, size: int) -> Iterator[Link]:
    """One end of a link: a topic for each direction."""
    capacity = 64 * max(size, MIB // 64)
    names = ("bench.there", "bench.back")
    with Topic(names[end], capacity=capacity) as out, Topic(names[1 - end], capacity=capacity) as into:
        yield Link(out.send, into.recv)


def round_trip_asleep(scale: float) -> list[float]:
    """64 bytes to an echoing process and back; both sides await ``receive``."""
    with Topic("bench.there") as there, Topic("bench.back") as back, _child("echo"):

        async def measure() -> list[float]:
            return await _asynchronous_round_trips(there, back, scale)

        return trio.run(measure)


async def _asynchronous_round_trips(there: Any, back: Any, scale: float) -> list[float]:
    samples = []
    for _ in range(round(2000 * scale) + 1):
        start = monotonic_ns()
        there.send(BYTES)
        await back.receive()
        samples.append((monotonic_ns() - start) / 1000)
    return samples[1:]


def idle_topics(scale: float) -> list[float]:
    """Per cent of a core taken by a process that awaits a hundred idle topics of another one."""
    topics = [Topic(f"bench.{number}") for number in range(_IDLE_TOPICS)]
    try:
        with _child("send once and stay"):
            return trio.run(_wait_for_all, topics, max(1.0, 5 * scale))
    finally:
        for topic in topics:
            topic.close()


async def _wait_for_all(topics: list[Any], seconds: float) -> list[float]:
    async with trio.open_nursery() as nursery:
        for topic in topics:
            await topic.receive()
            nursery.start_soon(topic.receive)
        await trio.sleep(0.5)
        before = resource.getrusage(resource.RUSAGE_SELF)
        await trio.sleep(seconds)
        after = resource.getrusage(resource.RUSAGE_SELF)
        nursery.cancel_scope.cancel()
    return [100 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / seconds]


@contextmanager
def _child(what: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.processes", what], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


async def _echo() -> None:
    with Topic("bench.there") as there, Topic("bench.back") as back:
        print("ready", flush=True)
        while True:
            back.send(await there.receive())


async def _send_once_and_stay() -> None:
    topics = [Topic(f"bench.{number}") for number in range(_IDLE_TOPICS)]
    for topic in topics:
        topic.send(BYTES)
    print("ready", flush=True)
    await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(_echo if sys.argv[1] == "echo" else _send_once_and_stay)
