"""The processes of ``benchmarks.hunts``: writers and readers of messages that can be verified."""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEAD = struct.Struct("<QQII")
"""Of each message: its writer, its number, whether it is the last, and the CRC-32 of the rest."""


class HuntError(AssertionError):
    """A hunt found something."""


def make(writer: int, number: int, body: bytes, *, last: bool = False) -> bytes:
    """A message that can be verified."""
    return _HEAD.pack(writer, number, last, zlib.crc32(body)) + body


@define
class Account:
    """What a reader got from each writer."""

    received: Counter[int] = field(factory=Counter)
    missing: Counter[int] = field(factory=Counter)
    """Numbers that were skipped, from 0 on, or for a late reader from its first one on."""
    next: dict[int, int] = field(factory=dict)
    finished: set[int] = field(factory=set)
    """Writers whose last message has arrived."""
    late: bool = False

    def enter(self, value: Any) -> None:
        """Verify a message and count it.

        Raises:
            HuntError: it is torn or out of order.
        """
        data = value if isinstance(value, bytes) else value.tobytes()
        writer, number, last, checksum = _HEAD.unpack_from(data)
        if zlib.crc32(data[_HEAD.size :]) != checksum:
            raise HuntError(f"torn: message {number} of writer {writer}, {len(data)} bytes")
        expected = self.next.get(writer, number if self.late else 0)
        if number < expected:
            raise HuntError(f"message {number} of writer {writer} came where {expected} was due")
        self.missing[writer] += number - expected
        self.next[writer] = number + 1
        self.received[writer] += 1
        if last:
            self.finished.add(writer)


def _write(number: int, seed: int, seconds: float) -> None:
    """A writer: sends for some time, reports how much, and stays until it is dismissed."""
    noise = random.Random(seed)
    capacity = noise.choice([4096, 4096, 65536, 1 << 20])
    largest = noise.choice([200, 900, 10_000, 300_000])
    arrays = noise.random() < 0.3
    body = noise.randbytes(largest)
    end_ns = monotonic_ns() + int(seconds * NANOSECONDS)
    with Topic("hunt", capacity=capacity) as topic:
        sent = 0
        while monotonic_ns() < end_ns:
            size = int(largest ** noise.random())
            begin = noise.randrange(largest - size + 1)
            _send(topic, make(number, sent, body[begin : begin + size]), array=arrays)
            sent += 1
        topic.send(make(number, sent, b"", last=True))
        print(sent + 1, flush=True)
        sys.stdin.read()


def _send(topic: Topic, data: bytes, *, array: bool) -> None:
    if not array:
        topic.send(data)
        return
    import numpy as np

    topic.send(np.frombuffer(data, np.uint8))


def _read(mode: str, writers: int) -> None:
    """A reader: verifies until it has the last message of each writer, and reports what it got."""
    account = Account()
    with Topic("hunt") as topic:
        print("ready", flush=True)
        if mode == "sleep":
            import trio

            trio.run(_read_asleep, topic, account, writers)
        while len(account.finished) < writers:
            if mode == "late":
                sleep_until_monotonic(monotonic_ns() + 20_000_000)
            for value in available(topic):
                account.enter(value)
        print(json.dumps({"received": account.received, "missing": account.missing, "lost": topic.lost}), flush=True)
        sys.stdin.read()


async def _read_asleep(topic: Topic, account: Account, writers: int) -> None:
    while len(account.finished) < writers:
        account.enter(await topic.receive())


def available(topic: Topic) -> Iterator[Any]:
    """All unread values."""
    while (value := topic.recv()) is not None:
        yield value


def _write_until_killed(number: int, seed: int) -> None:
    """A writer that reports now and then what it is sure to have sent."""
    noise = random.Random(seed)
    largest = noise.choice([60, 900, 10_000, 100_000])
    body = noise.randbytes(largest)
    with Topic("hunt", capacity=noise.choice([4096, 65536])) as topic:
        for sent in range(1 << 60):
            size = int(largest ** noise.random())
            topic.send(make(number, sent, body[:size]))
            if not sent % 50:
                os.write(1, b"%d\n" % sent)


def _read_until_killed() -> None:
    """A reader that may come late; fails if something is wrong."""
    account = Account(late=True)
    with Topic("hunt") as topic:
        print("ready", flush=True)
        while True:
            for value in available(topic):
                account.enter(value)
            if account.missing.total() > topic.lost:
                raise HuntError(f"{topic.lost} counted as lost, but {account.missing} are missing")


_ROLES: dict[str, Callable[..., None]] = {
    "writer": lambda number, seed, seconds: _write(int(number), int(seed), float(seconds)),
    "reader": lambda mode, writers: _read(mode, int(writers)),
    "endless-writer": lambda number, seed: _write_until_killed(int(number), int(seed)),
    "endless-reader": _read_until_killed,
}


if __name__ == "__main__":
    _ROLES[sys.argv[1]](*sys.argv[2:])
