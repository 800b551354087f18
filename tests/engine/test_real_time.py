"""Pace and lateness in real time: that ticks neither drift nor pile up, on a machine however busy.

How precise a tick is on an idle machine is the figure ``lateness`` of ``python -m benchmarks``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from horus_async import Node, sleep, tick
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from tests.engine.programs import Log, run_nodes, scheduler_of

if TYPE_CHECKING:
    import trio


PERIOD_NS = 10_000_000


def two_rates(log: Log) -> tuple[Node, Node]:
    """A node at 100 Hz and one at 10 Hz, which write down their ticks."""
    return (
        Node("fast", tick=lambda n: log("fast", tick(), monotonic_ns())),
        Node("slow", rate=10, tick=lambda n: log("slow", tick(), monotonic_ns())),
    )


def test_a_second_takes_a_second() -> None:
    """run(duration) takes its duration, never less, and no tick comes before its time.

    On a busy machine a run may end late; one that always took half as long again would not pass.
    """
    for _ in range(60):
        log = Log()
        began = monotonic_ns()
        run_nodes(*two_rates(log), duration=0.2, deterministic=False)
        seconds = (monotonic_ns() - began) / 1e9
        assert seconds >= 0.199
        assert all(began + number * PERIOD_NS <= at for _, number, at in log.lines)
        fast = [number for name, number, _ in log.lines if name == "fast"]
        slow = [number for name, number, _ in log.lines if name == "slow"]
        assert fast == sorted(set(fast))
        assert set(fast) <= {*range(20)}
        assert set(slow) <= {*range(20)}
        if seconds < 0.3 and len(fast) >= 10 and slow == [0, 10]:
            break
    else:
        raise AssertionError(f"no run was in time; the last took {seconds} s and had {len(fast)} ticks")


async def test_a_second_has_its_ticks(autojump_clock: trio.testing.MockClock) -> None:
    """Where the machine is never late, by a test's clock, the rates are exact and the run ends on the second."""
    import trio

    log = Log()
    began = trio.current_time()
    await scheduler_of(*two_rates(log), deterministic=False).run(1.0)
    assert round(trio.current_time() - began, 6) == 1.0
    assert [number for name, number, _ in log.lines if name == "fast"] == [*range(100)]
    assert [number for name, number, _ in log.lines if name == "slow"] == [*range(0, 100, 10)]


def test_a_late_tick_does_not_shift_those_after_it() -> None:
    """After a tick that blocks for 55 ms the next ones are at their own times; those left out count as missed."""
    log = Log()

    def block(n: Node) -> None:
        log(tick(), monotonic_ns())
        if len(log.lines) == 3:
            sleep_until_monotonic(monotonic_ns() + 55_000_000)
        elif len(log.lines) == 20:
            n.request_stop()

    began = monotonic_ns()
    scheduler = run_nodes(Node("n", tick=block), duration=300, deterministic=False)
    assert all(began + number * PERIOD_NS <= at for number, at in log.lines)
    ticks = [number for number, _ in log.lines]
    assert len(ticks) == 20
    assert not {ticks[2] + later for later in (1, 2, 3, 4)} & set(ticks)
    assert ticks == sorted(set(ticks))
    assert scheduler.stats().nodes["n"].deadline_misses >= 4


def slow(log: Log) -> Node:
    """A node that needs 2.5 periods, ten times."""

    async def work(n: Node) -> None:
        log("in", tick())
        await sleep(0.025)
        log("out", tick())
        if len(log.lines) == 20:
            n.request_stop()

    return Node("n", tick=work)


def test_a_slow_tick_never_overlaps_itself() -> None:
    """A node that needs 2.5 periods begins no tick while it is busy; how many it leaves out, the machine decides."""
    log = Log()
    run_nodes(slow(log), duration=300, deterministic=False)
    assert [word for word, _ in log.lines] == ["in", "out"] * 10
    begun = [number for word, number in log.lines if word == "in"]
    assert all(earlier < later for earlier, later in itertools.pairwise(begun))


async def test_a_slow_tick_is_every_third(autojump_clock: trio.testing.MockClock) -> None:
    """Where the machine is never late, it ticks every third time and misses the two between."""
    log = Log()
    scheduler = scheduler_of(slow(log), deterministic=False)
    await scheduler.run(300)
    assert log.lines == [(word, number) for number in range(0, 30, 3) for word in ("in", "out")]
    assert scheduler.stats().nodes["n"].deadline_misses == 20
