"""Two processes: there and back. Ours, and HORUS's through its public API."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from horus_async import Topic
from horus_async.clock.system import monotonic_ns

from .sampling import BYTES, CannotMeasureError, round_trips

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_WITHIN_NS = 3_000_000_000


def round_trip_asleep(scale: float) -> list[float]:
    """64 bytes to an echoing process and back; both sides await ``receive``."""
    with Topic("bench.there") as there, Topic("bench.back") as back, _echo("asleep"):
        _until_first(lambda: there.send(BYTES), back.recv)

        async def measure() -> list[float]:
            return await _asynchronous_round_trips(there, back, scale)

        return trio.run(measure)


async def _asynchronous_round_trips(there: Any, back: Any, scale: float) -> list[float]:
    samples = []
    for _ in range(round(2000 * scale)):
        start = monotonic_ns()
        there.send(BYTES)
        await back.receive()
        samples.append((monotonic_ns() - start) / 1000)
    return samples


def round_trip_awake(scale: float) -> list[float]:
    """The same, both sides calling ``recv`` without a pause."""
    with Topic("bench.there") as there, Topic("bench.back") as back, _echo("awake"):
        return _spin(there, back, BYTES, scale)


def horus_round_trip_awake(scale: float) -> list[float]:
    """The same by HORUS, whose generic topics take JSON's values: text of that length."""
    import horus

    any_topic: Any = horus.Topic
    with _echo("horus"):
        return _spin(any_topic("bench.there"), any_topic("bench.back"), "x" * len(BYTES), scale)


def _spin(there: Any, back: Any, value: object, scale: float) -> list[float]:
    _until_first(lambda: there.send(value), back.recv)

    def call() -> None:
        there.send(value)
        while back.recv() is None:
            pass

    return round_trips(call, scale=scale)


def _until_first(send: Any, recv: Any) -> None:
    """Send until the other process has answered, and take what else comes."""
    until_ns = monotonic_ns() + _FIRST_WITHIN_NS
    while monotonic_ns() < until_ns:
        send()
        if _answer_within(recv, 50_000_000) is not None:
            while _answer_within(recv, 50_000_000) is not None:
                pass
            return
    raise CannotMeasureError("no message came back from the other process")


def _answer_within(recv: Any, nanoseconds: int) -> Any:
    until_ns = monotonic_ns() + nanoseconds
    while monotonic_ns() < until_ns:
        message = recv()
        if message is not None:
            return message
    return None


@contextmanager
def _echo(how: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.processes", how], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def _serve(how: str) -> None:
    if how == "horus":
        import horus

        any_topic: Any = horus.Topic
        there, back = any_topic("bench.there"), any_topic("bench.back")
    else:
        there, back = Topic("bench.there"), Topic("bench.back")
    print("ready", flush=True)
    if how == "asleep":
        trio.run(_answer_asleep, there, back)
    while True:
        message = there.recv()
        if message is not None:
            back.send(message)


async def _answer_asleep(there: Any, back: Any) -> None:
    while True:
        back.send(await there.receive())


if __name__ == "__main__":
    _serve(sys.argv[1])
