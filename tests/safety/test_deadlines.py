"""Budgets, deadlines, what a miss brings; in virtual time, where nothing of the machine's speed shows."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import ConfigurationError, EmergencyStop, Miss, Node, Scheduler, budget_remaining, sleep, tick
from horus_async.clock.system import monotonic_ns, spin_until_monotonic

from .kit import busy_for, error_of, events, kinds, reason, run

if TYPE_CHECKING:
    import trio


def test_a_budget_overrun_is_an_event_and_no_more() -> None:
    """The event has budget and execution time in virtual microseconds; every tick still runs (J.1-47)."""
    node, ticks = busy_for(lambda tick: 3 if tick in (2, 5) else 1, budget=0.002)
    scheduler = run(node)
    assert [(e.tick, e.name, e.budget_us, e.actual_us) for e in events(scheduler, "BudgetViolation")] == [
        (2, "arm", 2000, 3000),
        (5, "arm", 2000, 3000),
    ]
    assert ticks == list(range(10))
    assert scheduler.stats().nodes["arm"].budget_overruns == 2
    assert reason(scheduler) == "duration"


def test_a_tick_exactly_on_its_deadline_has_met_it() -> None:
    """Only what is later than the deadline is a miss."""
    node, _ = busy_for(lambda _: 2, deadline=0.002, budget=0.002)
    scheduler = run(node)
    assert events(scheduler, "DeadlineMiss", "BudgetViolation") == []


def test_budget_remaining_counts_down_in_virtual_time() -> None:
    """What is left of the budget goes by the run's time and gets negative."""
    left: list[float] = []

    async def work(node: Node) -> None:
        for _ in range(3):
            left.append(round(budget_remaining(), 6))
            await sleep(0.001)

    run(Node("arm", tick=work, rate=100, budget=0.0015), duration=0.01)
    assert left == [0.0015, 0.0005, -0.0005]


def test_warn_is_an_event_and_no_more() -> None:
    """Miss.WARN, the default: an event with deadline and lateness plus execution; every tick runs (J.1-47)."""
    node, ticks = busy_for(lambda tick: 3 if tick == 2 else 1, deadline=0.002)
    scheduler = run(node)
    (miss,) = events(scheduler, "DeadlineMiss")
    assert (miss.tick, miss.name, miss.deadline_us, miss.actual_us) == (2, "arm", 2000, 3000)
    assert ticks == list(range(10))
    assert scheduler.stats().nodes["arm"].deadline_misses == 1


def test_skip_leaves_out_the_next_tick() -> None:
    """Miss.SKIP: after each miss one tick is left out (J.1-47)."""
    node, ticks = busy_for(lambda tick: 3 if tick in (2, 6) else 1, deadline=0.002, on_miss=Miss.SKIP)
    run(node)
    assert ticks == [0, 1, 2, 4, 5, 6, 8, 9]


def test_safe_mode_is_entered_once_an_episode() -> None:
    """Miss.SAFE_MODE: the first miss of an episode enters the safe state; a met deadline ends it (J.1-47)."""
    log: list[str] = []

    def work_time(tick: int) -> int:
        log.append(f"tick {tick}")
        return 3 if tick in (2, 3, 4, 7) else 1

    node, _ = busy_for(
        work_time,
        deadline=0.002,
        on_miss=Miss.SAFE_MODE,
        enter_safe_state=lambda _: log.append("safe"),
    )
    scheduler = run(node)
    assert [log[at - 1] for at, line in enumerate(log) if line == "safe"] == ["tick 2", "tick 7"]
    assert len(events(scheduler, "DeadlineMiss")) == 4
    assert reason(scheduler) == "duration"


def test_an_async_safe_state_is_awaited_before_the_next_tick() -> None:
    """An async enter_safe_state runs to its end beside the others, and no tick of its node overlaps it."""
    log: list[str] = []

    async def safe(node: Node) -> None:
        log.append("begins")
        await sleep(0.004)
        log.append("ends")

    async def work(node: Node) -> None:
        log.append("tick")
        await sleep(0.003)

    run(Node("arm", tick=work, rate=100, deadline=0.002, on_miss=Miss.SAFE_MODE, enter_safe_state=safe), duration=0.03)
    assert log == ["tick", "begins", "ends", "tick", "tick"]


def test_safe_mode_waits_for_a_tick_that_is_still_busy() -> None:
    """A node found busy when it is due enters its safe state as soon as that tick has ended, and does enter it."""
    log: list[Any] = []

    async def work(node: Node) -> None:
        log.append("begins")
        await sleep(0.015)
        log.append("ends")

    node = Node("arm", tick=work, rate=100, on_miss=Miss.SAFE_MODE, enter_safe_state=lambda _: log.append("safe"))
    run(node, duration=0.02)
    assert log == ["begins", "ends", "safe"]


def test_stop_is_an_emergency_stop() -> None:
    """Miss.STOP: safe state, shutdown, EmergencyStop out of run(); the box says miss, then stop (J.1-47)."""
    log: list[str] = []
    node, ticks = busy_for(
        lambda tick: 3 if tick == 2 else 1,
        deadline=0.002,
        on_miss=Miss.STOP,
        enter_safe_state=lambda _: log.append("safe"),
        shutdown=lambda _: log.append("shutdown"),
    )
    scheduler = run(node)
    assert type(error_of(scheduler)) is EmergencyStop
    assert (ticks, log) == ([0, 1, 2], ["safe", "shutdown"])
    assert kinds(scheduler, "DeadlineMiss", "EmergencyStop", "SchedulerStop") == [
        "DeadlineMiss",
        "EmergencyStop",
        "SchedulerStop",
    ]
    assert reason(scheduler) == "emergency stop: arm missed its deadline"


@pytest.mark.parametrize(
    ("limit", "slow", "stopped_in"),
    [(1, (2,), [2]), (2, (2, 5, 6), [6]), (3, (2, 5, 7, 8, 9), [9]), (4, (5, 6, 7), [])],
)
def test_max_deadline_misses_counts_one_nodes_misses_in_a_row(
    limit: int, slow: tuple[int, ...], stopped_in: list[int]
) -> None:
    """So many consecutive misses of one node stop the run; a met deadline begins anew (J.1-48)."""
    node, _ = busy_for(lambda tick: 3 if tick in slow else 1, deadline=0.002)
    scheduler = run(node, max_deadline_misses=limit)
    assert [(stop.tick, stop.reason) for stop in events(scheduler, "EmergencyStop")] == [
        (tick, f"deadline miss threshold exceeded: arm missed {limit} in a row") for tick in stopped_in
    ]


def test_misses_of_different_nodes_do_not_add_up() -> None:
    """The limit is for one node: two that miss in turn stay below it."""
    arm, _ = busy_for(lambda tick: 3 if tick % 2 else 1, deadline=0.002)
    leg, _ = busy_for(lambda tick: 1 if tick % 2 else 3, deadline=0.002, name="leg")
    scheduler = run(arm, leg, max_deadline_misses=2)
    assert len(events(scheduler, "DeadlineMiss")) == 10
    assert error_of(scheduler) is None


def test_a_busy_node_without_a_deadline_misses_its_period() -> None:
    """Each time it is due and still busy it skips that tick, and that is a miss, one event each."""
    node, ticks = busy_for(lambda tick: 25 if tick == 3 else 1)
    scheduler = run(node)
    assert ticks == [0, 1, 2, 3, 6, 7, 8, 9]
    misses = events(scheduler, "DeadlineMiss")
    assert [(miss.tick, miss.deadline_us, miss.actual_us) for miss in misses] == [(4, 10000, 10000), (5, 10000, 20000)]
    assert scheduler.stats().nodes["arm"].deadline_misses == 2


def test_a_node_that_never_keeps_its_period_reaches_the_threshold() -> None:
    """Ticks that end after the next was due do not count as met."""
    node, _ = busy_for(lambda _: 15)
    scheduler = run(node, max_deadline_misses=3)
    assert [miss.tick for miss in events(scheduler, "DeadlineMiss")] == [1, 3, 5]
    assert reason(scheduler).startswith("emergency stop: deadline miss threshold exceeded")


def test_a_failing_tick_can_miss_its_deadline_too() -> None:
    """A tick that is late and then raises is both: an event each."""
    from horus_async import Ignore

    async def work(node: Node) -> None:
        await sleep(0.003)
        raise ValueError("no")

    scheduler = run(Node("arm", tick=work, rate=100, deadline=0.002, failure_policy=Ignore()), duration=0.02)
    assert kinds(scheduler, "DeadlineMiss", "NodeError") == ["NodeError", "DeadlineMiss"] * 2


def test_wall_time_never_makes_a_miss_in_a_deterministic_run() -> None:
    """A tick that blocks for longer than its deadline on the wall clock has met it in virtual time (J.1-42)."""

    def work(node: Node) -> None:
        spin_until_monotonic(monotonic_ns() + 3_000_000)

    scheduler = run(Node("arm", tick=work, rate=100, deadline=0.001, budget=0.001), duration=0.03)
    assert events(scheduler, "DeadlineMiss", "BudgetViolation") == []
    assert scheduler.stats().nodes["arm"].mean_us >= 3000


def test_a_blocking_tick_misses_periods_in_real_time() -> None:
    """A plain tick that takes longer than its period, by the wall clock, misses it each time, and the limit is met."""

    def work(node: Node) -> None:
        spin_until_monotonic(monotonic_ns() + 12_000_000)

    scheduler = run(Node("arm", tick=work, rate=100), deterministic=False, duration=None, max_deadline_misses=4)
    misses = events(scheduler, "DeadlineMiss")
    assert len(misses) == scheduler.stats().nodes["arm"].deadline_misses >= 4
    assert all(miss.deadline_us == 10_000 < miss.actual_us for miss in misses)
    assert type(error_of(scheduler)) is EmergencyStop


def test_an_idle_node_does_not_miss_the_periods_that_another_one_blocked() -> None:
    """A node without a deadline that was not busy has missed nothing when the loop stood still."""

    def block(node: Node) -> None:
        spin_until_monotonic(monotonic_ns() + 45_000_000)
        node.request_stop()

    blocker = Node("blocker", tick=block, rate=10, order=-1)
    idle = Node("idle", tick=lambda _: None, rate=100)
    scheduler = run(blocker, idle, deterministic=False, duration=None)
    assert scheduler.stats().nodes["idle"].deadline_misses == 0


def test_lateness_of_the_start_counts() -> None:
    """In real time a deadline is lateness plus execution: a quick tick that begins too late has missed it."""

    def block(node: Node) -> None:
        spin_until_monotonic(monotonic_ns() + 5_000_000)
        node.request_stop()

    late = Node("late", tick=lambda _: None, rate=100, deadline=0.004, order=1)
    scheduler = run(Node("blocker", tick=block, rate=100), late, deterministic=False, duration=None)
    (miss,) = events(scheduler, "DeadlineMiss")
    assert (miss.name, miss.deadline_us) == ("late", 4000)
    assert miss.actual_us >= 5000


async def test_deadlines_follow_a_test_clock(autojump_clock: trio.testing.MockClock) -> None:
    """Under a test's clock real time is that clock's, and so are deadlines."""
    node, _ = busy_for(lambda _: 3, deadline=0.002)
    scheduler = Scheduler(blackbox_mb=1).add(node)
    await scheduler.run(0.03)
    assert [round(miss.actual_us, -2) for miss in events(scheduler, "DeadlineMiss")] == [3000] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 0},
        {"budget": -1},
        {"budget": float("inf")},
        {"deadline": 0},
        {"deadline": float("nan")},
        {"deadline": "1"},
        {"watchdog": 0},
        {"rate": 0},
        {"rate": True},
        {"on_miss": "stop"},
        {"failure_policy": "restart"},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    """Rate, budget, deadline, watchdog, on_miss and failure_policy are checked when the node is made (J.1-46)."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Node("arm", tick=lambda _: None, **options)


@pytest.mark.parametrize("options", [{"max_deadline_misses": 0}, {"watchdog": -1.0}, {"blackbox_mb": 1.5}], ids=str)
def test_scheduler_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    """The scheduler's are checked when it is made."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Scheduler(**options)


async def test_a_standstill_is_counted_whole(autojump_clock: trio.testing.MockClock) -> None:
    """A loop that stood still costs a node with a deadline every tick it could not begin, an event each (J.1-48).

    It stands still for 50 ms, twice, by a test's clock: on a busy machine others are longer, and told of in part.
    """

    def block(node: Node) -> None:
        autojump_clock.jump(0.05)

    blocker = Node("blocker", tick=block, rate=10, order=1)
    late = Node("late", tick=lambda _: None, rate=1000, deadline=0.5, order=2)
    scheduler = Scheduler(blackbox_mb=1, tick_rate=1000).add(blocker).add(late)
    await scheduler.run(0.2)
    misses = scheduler.stats().nodes["late"].deadline_misses
    assert misses == 2 * 49
    assert len(events(scheduler, "DeadlineMiss")) == misses + scheduler.stats().nodes["blocker"].deadline_misses


async def test_a_standstill_is_one_miss_in_a_row(autojump_clock: trio.testing.MockClock) -> None:
    """However many periods it lasted, it is no reason for an emergency stop; several of them in a row are."""

    def block(node: Node) -> None:
        if tick() in node.state:
            autojump_clock.jump(0.5)

    def scheduler_for(*ticks: int) -> Scheduler:
        blocker = Node("blocker", tick=block, rate=100, order=1)
        blocker.state = ticks
        late = Node("late", tick=lambda _: None, rate=100, deadline=0.008, order=2)
        return Scheduler(tick_rate=100, max_deadline_misses=3).add(blocker).add(late)

    once = scheduler_for(3)
    await once.run(1)
    assert once.stats().nodes["late"].deadline_misses >= 49
    assert once.stats().nodes["blocker"].deadline_misses >= 49
    with pytest.raises(EmergencyStop, match="late missed 3 in a row"):
        await scheduler_for(*range(3, 1000)).run()


STANDS = """
from horus_async import Node, Scheduler
class Arm(Node):
    name, rate, deadline = "arm", 100, 0.5
    def init(self):
        self.after = 0
    def tick(self):
        if not self.after:
            print("ready", flush=True)
        if scheduler.stats().nodes["arm"].deadline_misses > 30:
            self.after += 1
        if self.after > 20:
            self.request_stop()
scheduler = Scheduler(max_deadline_misses=5).add(Arm())
scheduler.run_sync()
print(scheduler.stats().nodes["arm"].deadline_misses)
"""


@pytest.mark.usefixtures("namespace")
def test_a_process_that_was_stopped_goes_on() -> None:
    """SIGSTOP and SIGCONT half a second later: the periods in between are counted, and nothing is stopped."""
    command = [sys.executable, "-c", STANDS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        threading.Event().wait(0.5)
        process.send_signal(signal.SIGCONT)
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert int(output.splitlines()[-1]) > 30
