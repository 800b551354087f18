"""Pace and lateness in real time. The bounds are wide: what counts is that ticks neither drift nor pile up."""

from __future__ import annotations

from horus_async import Node, elapsed, sleep, tick
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from tests.engine.programs import Log, run_nodes


def test_a_second_takes_a_second() -> None:
    """run(duration=1) takes about a second, and no node ticks more often than it should."""
    log = Log()
    began = monotonic_ns()
    nodes = Node("fast", tick=lambda n: log("fast", tick())), Node("slow", rate=10, tick=lambda n: log("slow", tick()))
    run_nodes(*nodes, duration=1.0, deterministic=False)
    seconds = (monotonic_ns() - began) / 1e9
    assert 0.99 <= seconds < 3
    fast = [line[1] for line in log.lines if line[0] == "fast"]
    slow = [line[1] for line in log.lines if line[0] == "slow"]
    assert 50 <= len(fast) <= 100
    assert len(slow) == 10
    assert fast == sorted(set(fast))


def test_a_late_tick_does_not_shift_those_after_it() -> None:
    """After a tick that blocks for 55 ms the next ones are at their own times; those left out count as missed."""
    log = Log()

    def block(n: Node) -> None:
        log(tick(), elapsed())
        if tick() == 2:
            sleep_until_monotonic(monotonic_ns() + 55_000_000)

    scheduler = run_nodes(Node("n", tick=block), duration=0.3, deterministic=False)
    assert all(number / 100 - 0.001 <= at for number, at in log.lines)
    ticks = [number for number, _ in log.lines]
    assert not {3, 4, 5, 6} & set(ticks)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 26
    assert scheduler.stats().nodes["n"].deadline_misses >= 4


def test_a_slow_tick_never_overlaps_itself() -> None:
    """A node that needs 2.5 periods ticks every third time and misses the others."""
    log = Log()

    async def slow(n: Node) -> None:
        log("in")
        await sleep(0.025)
        log("out")

    scheduler = run_nodes(Node("n", tick=slow), duration=0.3, deterministic=False)
    assert log.lines[: len(log.lines) // 2 * 2] == ["in", "out"] * (len(log.lines) // 2)
    assert scheduler.stats().nodes["n"].deadline_misses >= scheduler.stats().nodes["n"].ticks
