"""The watchdog: in a thread of its own, so that it sees a node that blocks the event loop while it does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from horus_async import EmergencyStop, Node, Scheduler, sleep, tick
from horus_async.blackbox import open_blackbox
from horus_async.engine.watchdog import STAGES
from tests.engine.programs import environment

from .kit import error_of, events, kinds, reason, run

if TYPE_CHECKING:
    from pathlib import Path


class Barks:
    """Lets a tick wait until the watchdog has said all it says about it; no clock decides."""

    def __init__(self, scheduler: Scheduler) -> None:
        assert scheduler.blackbox is not None
        self.box = scheduler.blackbox
        self.heard = threading.Semaphore(0)
        record = self.box.record

        def tell(event: object, tick: int, time_ns: int) -> None:
            record(event, tick, time_ns)  # type: ignore[arg-type]
            if getattr(event, "stage", None) == STAGES[-1]:
                self.heard.release()

        self.box.record = tell  # type: ignore[method-assign]

    def wait(self) -> None:
        """Block this thread until it has barked for the last time."""
        assert self.heard.acquire(timeout=30)


def blocked_run(*, deterministic: bool, compute: bool = False, own: bool = False) -> Scheduler:
    """A run whose third tick blocks until the watchdog has gone through its stages."""
    options = {} if own else {"watchdog": 0.1}
    scheduler = Scheduler(deterministic=deterministic, blackbox_mb=1, **options)  # type: ignore[arg-type]
    barks = Barks(scheduler)

    def the_culprit(node: Node) -> None:
        if tick() == 20:
            barks.wait()

    def work(node: Node) -> None:
        the_culprit(node)

    scheduler.add(Node("arm", tick=work, rate=10, compute=compute, watchdog=0.1 if own else None))
    scheduler.add(Node("idle", tick=lambda _: None, rate=10, watchdog=None if not own else 30))
    try:
        scheduler.run_sync(0.4)
    except EmergencyStop as error:
        scheduler.error = error  # type: ignore[attr-defined]
    return scheduler


@pytest.mark.parametrize("own", [False, True], ids=["of the scheduler", "of the node"])
def test_a_blocked_loop_is_seen_while_it_is_blocked(own: bool) -> None:
    """Once, twice and three times its time-out: warn, unhealthy, emergency_stop, each with the culprit's stack."""
    scheduler = blocked_run(deterministic=False, own=own)
    barks = events(scheduler, "Watchdog")
    assert [(bark.name, bark.stage) for bark in barks] == [("arm", stage) for stage in STAGES]
    assert all("in the_culprit" in bark.stack and "barks.wait()" in bark.stack for bark in barks)
    assert type(error_of(scheduler)) is EmergencyStop
    assert reason(scheduler) == "emergency stop: watchdog: the tick of arm does not end"
    assert kinds(scheduler, "Watchdog", "EmergencyStop") == ["Watchdog"] * 3 + ["EmergencyStop"]


def test_in_deterministic_mode_it_only_reports() -> None:
    """All three stages are said, and the run goes on to its end: wall time never changes a result (J.1-42)."""
    scheduler = blocked_run(deterministic=True)
    assert [bark.stage for bark in events(scheduler, "Watchdog")] == [*STAGES]
    assert error_of(scheduler) is None
    assert reason(scheduler) == "duration"
    assert scheduler.stats().nodes["arm"].ticks == 4


def test_a_tick_in_a_worker_thread_shows_that_threads_stack() -> None:
    """compute=True: the stack is the node's own code, not where the event loop waits for it."""
    scheduler = blocked_run(deterministic=False, compute=True)
    barks = events(scheduler, "Watchdog")
    assert all("in the_culprit" in bark.stack for bark in barks)
    assert len(barks) == 3


def test_a_tick_that_waits_for_ever_shows_where() -> None:
    """A suspended tick blocks nobody, and is watched all the same: the stack is where it waits."""

    async def where_it_waits() -> None:
        await sleep(3600)

    async def work(node: Node) -> None:
        await where_it_waits()

    scheduler = run(Node("arm", tick=work, rate=10), deterministic=False, duration=None, watchdog=0.02)
    barks = events(scheduler, "Watchdog")
    assert [bark.stage for bark in barks] == [*STAGES]
    assert all("await where_it_waits()" in bark.stack and "await sleep(3600)" in bark.stack for bark in barks)
    assert isinstance(error_of(scheduler), EmergencyStop)


def test_idle_nodes_are_exempt() -> None:
    """A node that ticks on messages and gets none for many time-outs is not spoken of."""
    scheduler = run(
        Node("idle", tick=lambda _: None, on="nothing", watchdog=0.002),
        Node("rare", tick=lambda _: None, rate=1, watchdog=0.002),
        deterministic=False,
        duration=0.05,
    )
    assert events(scheduler, "Watchdog") == []
    assert error_of(scheduler) is None


BLOCKED = """
import sys, time
from horus_async import Node, Scheduler, tick
from horus_async.blackbox import BlackBox

record = BlackBox.record
def tell(self, event, *place):
    record(self, event, *place)
    print(type(event).__name__, flush=True)
BlackBox.record = tell

def the_culprit(node):
    if tick() == 1:
        time.sleep(60)

Scheduler(blackbox_mb=1, blackbox_dir=sys.argv[1], watchdog=0.05).add(Node("arm", tick=the_culprit)).run_sync()
"""


def test_the_stack_is_in_the_box_before_the_process_can_be_killed(tmp_path: Path) -> None:
    """time.sleep in a tick: kill -9 while it blocks, and the box holds the line it stood in."""
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(tmp_path)], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "Watchdog":
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with open_blackbox(tmp_path / "scheduler.hbb") as box:
        barks = box.events(kind="Watchdog")
        assert (barks[0].name, barks[0].stage, barks[0].tick) == ("arm", "warn", 1)
        assert "in the_culprit" in barks[0].stack
        assert box.damage == []


@pytest.mark.parametrize("deterministic", [False, True])
async def test_it_watches_single_ticks(deterministic: bool) -> None:
    """In tick_once() a tick that blocks is told of while it blocks, as in a run; its thread ends with aclose()."""
    scheduler = Scheduler(deterministic=deterministic, blackbox_mb=1, watchdog=0.1)
    barks = Barks(scheduler)

    def the_culprit(node: Node) -> None:
        if tick() == 2:
            barks.wait()

    scheduler.add(Node("arm", tick=the_culprit))
    await scheduler.tick_once()
    await scheduler.tick_once()
    if deterministic:
        await scheduler.tick_once()
    else:
        with pytest.raises(EmergencyStop, match="the tick of arm does not end"):
            await scheduler.tick_once()
    await scheduler.aclose()
    found = events(scheduler, "Watchdog")
    assert [(bark.name, bark.stage) for bark in found] == [("arm", stage) for stage in STAGES]
    assert all("in the_culprit" in bark.stack for bark in found)
    assert "horus-watchdog" not in [thread.name for thread in threading.enumerate()]
