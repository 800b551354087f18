"""From a send in another process to the tick of an event node, and to a bare wake-up by eventfd.

``python -m benchmarks.waking topic|FD COUNT`` is the sender of either: every few milliseconds, for who sleeps by then.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import Any

import trio

from horus_async import Node, Scheduler, Topic
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic

_PAUSE_NS = 3_000_000
_COUNT = 700
_FIRST = 20
"""So many are not counted: both sides are still settling."""


class _Listener(Node):
    """Notes how long each message was on its way, and stops the run with the last."""

    def __init__(self, count: int) -> None:
        super().__init__(on="bench.wake")
        self.count = count
        self.times: list[float] = []
        self.scheduler: Scheduler | None = None

    def tick(self) -> None:
        """Take what came."""
        now = monotonic_ns()
        while (sent := self.recv("bench.wake")) is not None:
            self.times.append((now - sent) / 1000)
        if len(self.times) >= self.count and self.scheduler is not None:
            self.scheduler.stop()


def event_node(scale: float) -> list[float]:
    """Microseconds from the time in a message, taken just before its sending, to the begin of the node's tick."""
    count = round(_COUNT * scale) + _FIRST
    listener = _Listener(count)
    scheduler = Scheduler(tick_rate=1000)
    listener.scheduler = scheduler
    scheduler.add(listener)
    sender = _sender("topic", count)
    try:
        scheduler.run_sync()
    finally:
        sender.kill()
        sender.wait()
    return listener.times[_FIRST:]


def bare(scale: float) -> list[float]:
    """The same to a trio task that waits for an eventfd; the time comes as what is read from a pipe."""
    count = round(_COUNT * scale) + _FIRST
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    taken, sent = os.pipe()
    sender = _sender(f"{bell},{sent}", count, pass_fds=(bell, sent))
    times: list[float] = []

    async def wait() -> None:
        while len(times) < count:
            await trio.lowlevel.wait_readable(bell)
            now = monotonic_ns()
            os.eventfd_read(bell)
            stamps = struct.iter_unpack("<q", os.read(taken, 8 * 1000))  # several, if this came late
            times.extend((now - stamp) / 1000 for (stamp,) in stamps)

    try:
        trio.run(wait)
    finally:
        sender.kill()
        sender.wait()
        for fd in (bell, taken, sent):
            os.close(fd)
    return times[_FIRST:]


def _sender(to: str, count: int, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.waking", to, str(count)]
    return subprocess.Popen(command, **options)


def _send(to: str, count: int) -> None:
    sleep_until_monotonic(monotonic_ns() + 500_000_000)  # until the other side listens
    if to == "topic":
        with Topic("bench.wake") as topic:
            _every_pause(count, lambda: topic.send(monotonic_ns()))
        return
    bell, pipe = map(int, to.split(","))

    def ring() -> None:
        os.write(pipe, struct.pack("<q", monotonic_ns()))
        os.eventfd_write(bell, 1)

    _every_pause(count, ring)


def _every_pause(count: int, send: Any) -> None:
    due = monotonic_ns()
    for _ in range(10 * count):  # more than are waited for: who listens ends this process
        due += _PAUSE_NS
        sleep_until_monotonic(due)
        send()


if __name__ == "__main__":
    _send(sys.argv[1], int(sys.argv[2]))
