"""Messages of a topic over stretches of time, for ``horus-async topic hz`` and ``bw``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.topics import Bus

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_NS = 2_000_000
"""How long to wait before looking again when there is no message."""


@attrs.frozen
class Window:
    """The messages of one stretch of time."""

    messages: list[tuple[int, int]]
    """Time stamp (ns since 1970) and size (bytes) of each message that was looked at."""
    lost: int
    """Messages that were overwritten before."""
    seconds: float

    @property
    def count(self) -> int:
        """All messages, lost ones included."""
        return len(self.messages) + self.lost

    def __str__(self) -> str:
        return f"{self.count} messages" + (f", {self.lost} of them lost" if self.lost else "")


def windows(topic: str, namespace: str, seconds: float, number: int | None) -> Iterator[Window]:
    """Listen to a topic for ``number`` windows of ``seconds`` each, one right after the other; None: endlessly."""
    with Bus(namespace, from_start=False) as bus:
        subscriber = bus.subscriber(topic, kept=False)  # what is kept came before
        done = lost_before = 0
        while done != number:
            start, found = monotonic_ns(), []
            end = start + round(seconds * NANOSECONDS)
            while (now := monotonic_ns()) < end:
                message = subscriber.take()
                if message is None:
                    sleep_until_monotonic(min(end, now + LOOK_NS))
                else:
                    found.append((message[3], len(message[0])))
            lost = subscriber.lost
            yield Window(found, lost - lost_before, (monotonic_ns() - start) / NANOSECONDS)
            lost_before = lost
            done += 1
