"""Two processes with a link between them, measured alike for every side: round trips and throughput.

A side's module has ``link(end, size)``, which opens end 0 or 1 of a link for messages of ``size`` bytes. The worker has
end 0; end 1 is in a process that it starts: ``python -m benchmarks.links MODULE ROLE SIZE SECONDS``. Every message
starts as a ``bytes`` object and ends as one of the receiver's own.
"""

from __future__ import annotations

import importlib
import select
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import NANOSECONDS, monotonic_ns

from .sampling import BYTES, CannotMeasureError, round_trips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
_SECONDS = 1.0
_WITHIN_NS = 10 * NANOSECONDS
_FIRST_WITHIN_NS = 3 * NANOSECONDS


@frozen
class Link:
    """One end of a link."""

    send: Callable[[bytes], object]
    """Sends a message; may drop it, or wait for a while, if the other end is slower."""
    poll: Callable[[], object]
    """Returns the next message, or None at once."""
    receive: Callable[[], object] | None = None
    """Returns the next message, sleeping until there is one; None for links that only poll."""
    wake: Callable[[], object] | None = None
    """To be called after ``send`` if that alone does not wake the other end."""

    def send_and_wake(self, value: bytes) -> None:
        """Send a message to an end that sleeps."""
        self.send(value)
        if self.wake is not None:
            self.wake()

    @property
    def take(self) -> Callable[[], object]:
        """Returns the next message, or None, from a sender that never rests."""
        return self.poll if self.receive is None or self.wake is not None else self.receive


def round_trip_awake(module: str, scale: float) -> list[float]:
    """Microseconds per round trip of 64 bytes; both ends poll without a pause."""
    with _both_ends(module, "awake", len(BYTES), scale) as (link, _):
        return spin(link.send, link.poll, BYTES, scale)


def round_trip_asleep(module: str, scale: float) -> list[float]:
    """Microseconds per round trip of 64 bytes; both ends sleep in between."""
    with _both_ends(module, "asleep", len(BYTES), scale) as (link, _):
        _until_first(link.send_and_wake, link.poll, BYTES)
        receive = link.receive
        assert receive is not None

        def call() -> None:
            link.send_and_wake(BYTES)
            receive()

        return round_trips(call, scale=scale)


def time_a_message(module: str, size: int, scale: float) -> list[float]:
    """Microseconds per message that arrives, while this end sends at full speed."""
    value = bytes(size)
    with _both_ends(module, "count", size, scale) as (link, process):
        assert process.stdout is not None
        end = monotonic_ns() + _WITHIN_NS
        while monotonic_ns() < end:
            for _ in range(50):
                link.send(value)
            if select.select([process.stdout], [], [], 0)[0]:
                return [float(process.stdout.readline())]
    raise CannotMeasureError("too few messages came to the other process")


def spin(send: Callable[[bytes], object], poll: Callable[[], object], value: bytes, scale: float) -> list[float]:
    """Microseconds of each round trip, without ever sleeping."""
    _until_first(send, poll, value)

    def call() -> None:
        send(value)
        while poll() is None:
            pass

    return round_trips(call, scale=scale)


def _until_first(send: Callable[[bytes], object], poll: Callable[[], object], value: bytes) -> None:
    """Send until the other process answers, and discard its further answers."""
    until_ns = monotonic_ns() + _FIRST_WITHIN_NS
    while monotonic_ns() < until_ns:
        send(value)
        if _answer_within(poll, 50_000_000):
            while _answer_within(poll, 50_000_000):
                pass
            return
    raise CannotMeasureError("no message came back from the other process")


def _answer_within(poll: Callable[[], object], nanoseconds: int) -> bool:
    until_ns = monotonic_ns() + nanoseconds
    while monotonic_ns() < until_ns:
        if poll() is not None:
            return True
    return False


@contextmanager
def _both_ends(module: str, role: str, size: int, scale: float) -> Iterator[tuple[Link, subprocess.Popen[bytes]]]:
    """End 0, and the process with end 1, which is opened first."""
    peer = importlib.import_module(module)  # first of all, so that a missing package is named
    command = [sys.executable, "-m", "benchmarks.links", module, role, str(size), str(_SECONDS * scale)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise CannotMeasureError("the other process did not start")
            with peer.link(0, size) as link:
                yield link, process
        finally:
            process.kill()


def _answer(receive: Callable[[], object], send: Callable[[bytes], object]) -> None:
    while True:
        message = receive()
        if message is not None:
            send(message)  # type: ignore[arg-type]


def _count(receive: Callable[[], object], seconds: float) -> None:
    """Print the microseconds per message over some time, then take messages until killed."""
    while receive() is None:
        pass
    start = now = monotonic_ns()
    count = 0
    while now < start + seconds * NANOSECONDS or count < 10:
        if receive() is not None:
            count += 1
        now = monotonic_ns()
    print((now - start) / count / 1000, flush=True)
    while True:
        receive()


def _serve(module: str, role: str, size: int, seconds: float) -> None:
    with importlib.import_module(module).link(1, size) as link:
        print("ready", flush=True)
        if role == "count":
            _count(link.take, seconds)
        elif role == "asleep":
            assert link.receive is not None
            _answer(link.receive, link.send_and_wake)
        else:
            _answer(link.poll, link.send)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
