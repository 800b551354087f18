"""Corrected: the tick hands the work to a thread and waits for it, which takes no virtual time."""

from __future__ import annotations

import trio

from horus_async import Node, Scheduler


class Detector(Node):
    """Looks for obstacles in the background."""

    name = "detector"
    rate = 100
    pubs = ("obstacles",)

    async def init(self) -> None:
        """Nothing has been looked at yet."""
        self.checked = 0

    def look(self) -> None:
        """Look at ten pictures."""
        for _ in range(10):
            self.checked += sum(range(100)) > 0

    async def tick(self) -> None:
        """Look, and report how far it has come."""
        await trio.to_thread.run_sync(self.look)
        self.send("obstacles", {"checked": self.checked})


def build() -> Scheduler:
    """The program, ready to run."""
    return Scheduler(tick_rate=100, deterministic=True).add(Detector())


if __name__ == "__main__":
    build().run_sync(1.0)
