"""Planted fault: the node's own thread writes a value that ticks read, at arbitrary moments."""

from __future__ import annotations

import threading

from horus_async import Node, Scheduler


class Detector(Node):
    """Looks for obstacles in the background."""

    name = "detector"
    rate = 100
    pubs = ("obstacles",)

    async def init(self) -> None:
        """Start looking."""
        self.checked = 0
        self.done = threading.Event()
        threading.Thread(target=self.look, daemon=True).start()  # the fault: it may be anywhere in its work

    def look(self) -> None:
        """Look at one picture after another."""
        while not self.done.is_set():
            self.checked += sum(range(100)) > 0

    async def tick(self) -> None:
        """Report how far it has come."""
        self.send("obstacles", {"checked": self.checked})

    async def shutdown(self) -> None:
        """End the thread."""
        self.done.set()


def build() -> Scheduler:
    """The program, ready to run."""
    return Scheduler(tick_rate=100, deterministic=True).add(Detector())


if __name__ == "__main__":
    build().run_sync(1.0)
