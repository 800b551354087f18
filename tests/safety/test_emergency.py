"""Emergency stop: safe states, shutdowns, and how soon."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from horus_async import ContextError, EmergencyStop, Node, Scheduler, sleep, tick

from .kit import events, kinds, reason


def scheduler_of(*nodes: Node, **options: Any) -> Scheduler:
    """A scheduler with a box."""
    scheduler = Scheduler(blackbox_mb=1, **options)
    for node in nodes:
        scheduler.add(node)
    return scheduler


def stopper(after: int = 2) -> Node:
    """A node that pulls the emergency stop in a tick."""

    def work(node: Node) -> None:
        if tick() >= after:
            node.state.emergency_stop("obstacle")

    return Node("stopper", tick=work, rate=100)


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
def test_every_safe_state_before_any_shutdown(deterministic: bool) -> None:
    """All nodes enter their safe state, sync and async, then all shut down; run() raises EmergencyStop itself."""
    log: list[str] = []

    async def safe_async(node: Node) -> None:
        await sleep(0.001)
        log.append(f"safe {node.name}")

    def safe(node: Node) -> None:
        log.append(f"safe {node.name}")

    stop = stopper()
    arm = Node("arm", tick=lambda _: None, enter_safe_state=safe_async, shutdown=lambda _: log.append("shutdown arm"))
    leg = Node("leg", tick=lambda _: None, enter_safe_state=safe, shutdown=lambda _: log.append("shutdown leg"))
    scheduler = stop.state = scheduler_of(stop, arm, leg, deterministic=deterministic)
    with pytest.raises(EmergencyStop, match=r"^obstacle$") as caught:
        scheduler.run_sync()
    assert type(caught.value) is EmergencyStop
    assert sorted(log[:2]) == ["safe arm", "safe leg"]
    assert log[2:] == ["shutdown arm", "shutdown leg"]
    assert reason(scheduler) == "emergency stop: obstacle"
    assert [stop.reason for stop in events(scheduler, "EmergencyStop")] == ["obstacle"]
    assert kinds(scheduler)[-1] == "SchedulerStop"


def test_safe_states_begin_together() -> None:
    """One that takes long holds up nobody else's: all have begun before any is waited for."""
    log: list[str] = []

    def safe(milliseconds: int) -> Any:
        async def enter(node: Node) -> None:
            log.append(f"{node.name} begins")
            await sleep(milliseconds / 1000)
            log.append(f"{node.name} ends")

        return enter

    stop = stopper()
    slow = Node("slow", tick=lambda _: None, enter_safe_state=safe(30))
    quick = Node("quick", tick=lambda _: None, enter_safe_state=safe(10))
    stop.state = scheduler = scheduler_of(stop, slow, quick, deterministic=True)
    with pytest.raises(EmergencyStop):
        scheduler.run_sync()
    assert log == ["slow begins", "quick begins", "quick ends", "slow ends"]


def test_a_safe_state_that_never_ends_is_given_up() -> None:
    """After a second it is reported and cut off, and every shutdown still runs."""
    log: list[str] = []

    async def hang(node: Node) -> None:
        await sleep(3600)

    stop = stopper()
    arm = Node("arm", tick=lambda _: None, enter_safe_state=hang, shutdown=lambda _: log.append("shutdown"))
    stop.state = scheduler = scheduler_of(stop, arm, deterministic=True)
    with pytest.raises(EmergencyStop):
        scheduler.run_sync()
    assert log == ["shutdown"]
    assert [error.error.partition(":")[0] for error in events(scheduler, "NodeError")] == ["TimeoutError"]


def test_a_failing_safe_state_keeps_nobody_from_safety() -> None:
    """It is on record; the others' safe states and every shutdown run; EmergencyStop is what comes out."""
    log: list[str] = []

    def fail(node: Node) -> None:
        raise OSError("no port")

    stop = stopper()
    arm = Node("arm", tick=lambda _: None, enter_safe_state=fail, shutdown=lambda _: log.append("shutdown arm"))
    leg = Node("leg", tick=lambda _: None, enter_safe_state=lambda _: log.append("safe leg"))
    stop.state = scheduler = scheduler_of(stop, arm, leg, deterministic=True)
    with pytest.raises(EmergencyStop, match="obstacle"):
        scheduler.run_sync()
    assert log == ["safe leg", "shutdown arm"]
    assert kinds(scheduler, "EmergencyStop", "NodeError") == ["EmergencyStop", "NodeError"]


def test_nothing_that_runs_holds_it_up() -> None:
    """Pulled from another thread: ticks that wait are cut off, and one in a worker thread is not waited for."""
    release = threading.Event()
    waiting = threading.Barrier(2)
    log: list[str] = []

    async def wait(node: Node) -> None:
        await sleep(3600)

    def compute(node: Node) -> None:
        waiting.wait()
        release.wait(300)
        log.append("the thread is done")

    scheduler = scheduler_of(
        Node("compute", tick=compute, compute=True, rate=10, enter_safe_state=lambda _: log.append("compute is safe")),
        Node("waits", tick=wait, rate=10, shutdown=lambda _: log.append("shutdown")),
    )

    def pull() -> None:
        waiting.wait()
        scheduler.emergency_stop("button")

    button = threading.Thread(target=pull)
    button.start()
    try:
        with pytest.raises(EmergencyStop, match="button"):
            scheduler.run_sync()
        assert log == ["compute is safe", "shutdown"]
    finally:
        release.set()
        button.join()


def test_it_wins_over_what_was_about_to_end_the_run() -> None:
    """After stop() in the same tick the emergency stop is what ended the run, and what run() raises."""

    def work(node: Node) -> None:
        node.request_stop()
        node.state.emergency_stop("obstacle")
        node.state.emergency_stop("a second one")

    node = Node("arm", tick=work)
    node.state = scheduler = scheduler_of(node, deterministic=True)
    with pytest.raises(EmergencyStop, match="obstacle"):
        scheduler.run_sync()
    assert reason(scheduler) == "emergency stop: obstacle"
    assert len(events(scheduler, "EmergencyStop")) == 1


def test_later_nodes_do_not_tick_any_more() -> None:
    """The nodes after the one that stopped the run have no tick in that scheduler tick."""
    ticks: list[int] = []
    stop = stopper(after=2)
    after = Node("after", tick=lambda _: ticks.append(tick()), order=1)
    stop.state = scheduler = scheduler_of(stop, after, deterministic=True)
    with pytest.raises(EmergencyStop):
        scheduler.run_sync()
    assert ticks == [0, 1]


async def test_tick_once_makes_everything_safe_at_once() -> None:
    """An emergency stop in tick_once() enters every safe state and shuts down before it raises."""
    log: list[str] = []
    stop = stopper(after=1)
    arm = Node(
        "arm",
        tick=lambda _: None,
        enter_safe_state=lambda _: log.append("safe"),
        shutdown=lambda _: log.append("shutdown"),
    )
    stop.state = scheduler = scheduler_of(stop, arm, deterministic=True)
    async with scheduler:
        await scheduler.tick_once()
        assert log == []
        with pytest.raises(EmergencyStop, match="obstacle"):
            await scheduler.tick_once()
        assert log == ["safe", "shutdown"]
    assert log == ["safe", "shutdown"]


def test_it_needs_a_run() -> None:
    """Before and after the run there is nothing to stop, and that is said."""
    scheduler = Scheduler()
    with pytest.raises(ContextError, match="does not"):
        scheduler.emergency_stop("obstacle")
