"""What it takes to have messages of two sensors matched, beside reading them."""

from __future__ import annotations

import horus_async
from horus_async import Guard, Node, Scheduler
from horus_async.clock.system import perf_ns

RATE = 1000
PERIOD = 10**9 // RATE


def pairs(way: str, scale: float) -> list[float]:
    """Microseconds a pair in a deterministic run: one node sends it, another takes it.

    Args:
        way: ``read`` for two ``recv``, ``exact`` for equal stamps, ``near`` for stamps a fifth of a period apart.
        scale: How long to measure.
    """
    ticks = max(100, round(20_000 * scale))
    apart = 0 if way == "exact" else PERIOD // 5
    found = start_ns = 0

    async def sense(node: Node) -> None:
        nonlocal start_ns
        tick = horus_async.tick()
        if tick == 2:
            start_ns = perf_ns()
        node.send("left", {"stamp_ns": tick * PERIOD, "value": tick})
        node.send("right", {"stamp_ns": tick * PERIOD + apart, "value": tick})

    async def read(node: Node) -> None:
        nonlocal found
        if node.recv("left") is not None and node.recv("right") is not None:
            found += 1

    def make(node: Node) -> None:
        node.state = node.sync("left", "right", slop=apart * 2e-9)

    async def match(node: Node) -> None:
        nonlocal found
        for _left, _right in node.state:
            found += 1

    topics = ["left", "right"]
    reader = Node("reader", init=make, tick=read if way == "read" else match, subs=topics)
    scheduler = Scheduler(tick_rate=RATE, deterministic=True, guard=Guard.OFF)
    scheduler.add(Node("sensors", tick=sense, pubs=topics)).add(reader)
    scheduler.run_sync(duration=ticks / RATE)
    took = perf_ns() - start_ns
    if not ticks - 2 <= found <= ticks:
        raise AssertionError(f"{found} of {ticks} pairs were found")
    return [took / (ticks - 2) / 1000]
