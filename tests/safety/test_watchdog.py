"""The watchdog: in a thread of its own, so that it sees a node that blocks the event loop while it does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import EmergencyStop, Node, Scheduler, sleep, tick
from horus_async.blackbox import open_blackbox
from horus_async.engine import calling, planning, watchdog
from horus_async.engine.safety import Safety
from horus_async.engine.watchdog import STAGES, Watchdog
from tests.engine.programs import PATIENCE, environment

from .kit import error_of, events, kinds, reason, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


LIMIT_NS = 4_000_000
"""The watchdog's time-out here; it looks about every millisecond."""


class HandClock:
    """The time that ticks take: none, unless a test says so. However busy the machine is, only what blocks is seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000_000_000
        self.looks = threading.Semaphore(0)
        self.heard = threading.Semaphore(0)
        self.count = 0
        for module in (calling, watchdog):
            monkeypatch.setattr(module, "perf_ns", lambda: self.now_ns)
        # The native core looks at the machine's clock: it has no part in this.
        monkeypatch.setattr(planning, "Row", lambda plan, _: iter(plan._order))
        look, fired = Watchdog._look_at, Safety.watchdog_fired

        def look_and_tell(dog: Watchdog, run: Any, limit_ns: int) -> None:
            look(dog, run, limit_ns)
            self.looks.release()

        def fire_and_tell(told: Any, run: Any, stage: str, stack: str) -> None:
            fired(told, run, stage, stack)
            self.count += 1
            self.heard.release()

        monkeypatch.setattr(Watchdog, "_look_at", look_and_tell)
        monkeypatch.setattr(Safety, "watchdog_fired", fire_and_tell)

    def block(self) -> None:
        """Take three time-outs in this thread: just before each of them nothing more is said, and at it one stage."""
        for stage in range(len(STAGES)):
            self.now_ns += LIMIT_NS - 1
            self.wait_for_looks(4)
            assert self.count == stage
            self.now_ns += 1
            assert self.heard.acquire(timeout=PATIENCE)

    def wait_for_looks(self, count: int) -> None:
        """Block this thread until the watchdog has looked at so many nodes, twice as many as there are."""
        while self.looks.acquire(blocking=False):
            pass
        for _ in range(count):
            assert self.looks.acquire(timeout=PATIENCE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """The time that ticks take."""
    return HandClock(monkeypatch)


def blocked_run(clock: HandClock, *, deterministic: bool, compute: bool = False, own: bool = False) -> Scheduler:
    """A run whose third tick blocks until the watchdog has gone through its stages."""
    options = {} if own else {"watchdog": LIMIT_NS / 1e9}
    scheduler = Scheduler(deterministic=deterministic, blackbox_mb=1, **options)  # type: ignore[arg-type]

    def the_culprit(node: Node) -> None:
        if len(ticks) == 3:
            clock.block()

    ticks: list[int] = []

    def work(node: Node) -> None:
        ticks.append(tick())
        the_culprit(node)

    scheduler.add(Node("arm", tick=work, rate=10, compute=compute, watchdog=LIMIT_NS / 1e9 if own else None))
    scheduler.add(Node("idle", tick=lambda _: None, rate=10, watchdog=30 if own or compute else None))
    try:
        scheduler.run_sync(0.4 if deterministic else PATIENCE)
    except EmergencyStop as error:
        scheduler.error = error  # type: ignore[attr-defined]
    return scheduler


@pytest.mark.parametrize("own", [False, True], ids=["of the scheduler", "of the node"])
def test_a_blocked_loop_is_seen_while_it_is_blocked(own: bool, clock: HandClock) -> None:
    """Once, twice and three times its time-out: warn, unhealthy, emergency_stop, each with the culprit's stack."""
    scheduler = blocked_run(clock, deterministic=False, own=own)
    barks = events(scheduler, "Watchdog")
    assert [(bark.name, bark.stage) for bark in barks] == [("arm", stage) for stage in STAGES]
    assert all("in the_culprit" in bark.stack and "clock.block()" in bark.stack for bark in barks)
    assert type(error_of(scheduler)) is EmergencyStop
    assert reason(scheduler) == "emergency stop: watchdog: the tick of arm does not end"
    assert kinds(scheduler, "Watchdog", "EmergencyStop") == ["Watchdog"] * 3 + ["EmergencyStop"]


def test_in_deterministic_mode_it_only_reports(clock: HandClock) -> None:
    """All three stages are said, and the run goes on to its end: wall time never changes a result (J.1-42)."""
    scheduler = blocked_run(clock, deterministic=True)
    assert [bark.stage for bark in events(scheduler, "Watchdog")] == [*STAGES]
    assert error_of(scheduler) is None
    assert reason(scheduler) == "duration"
    assert scheduler.stats().nodes["arm"].ticks == 4


def test_a_tick_in_a_worker_thread_shows_that_threads_stack(clock: HandClock) -> None:
    """compute=True: the stack is the node's own code, not where the event loop waits for it."""
    scheduler = blocked_run(clock, deterministic=False, compute=True)
    barks = events(scheduler, "Watchdog")
    assert all("in the_culprit" in bark.stack for bark in barks)
    assert len(barks) == 3


def passing(clock: HandClock, allowed: Callable[[], bool], most: int | None = None) -> Node:
    """A node whose ticks let one time-out pass each, and all nodes be looked at, and that is not watched itself."""
    passed: list[int] = []

    def let_pass(node: Node) -> None:
        if allowed():
            clock.now_ns += LIMIT_NS
            clock.wait_for_looks(6)
            passed.append(tick())
            if len(passed) == most:
                node.request_stop()

    return Node("passing", tick=let_pass, watchdog=30)


def test_a_tick_that_waits_for_ever_shows_where(clock: HandClock) -> None:
    """A suspended tick blocks nobody, and is watched all the same: the stack is where it waits."""
    waits: list[int] = []

    async def where_it_waits() -> None:
        waits.append(tick())
        await sleep(3600)

    async def work(node: Node) -> None:
        await where_it_waits()

    scheduler = run(
        Node("arm", tick=work, rate=10),
        passing(clock, lambda: bool(waits)),
        deterministic=False,
        duration=None,
        watchdog=LIMIT_NS / 1e9,
    )
    barks = events(scheduler, "Watchdog")
    assert [bark.stage for bark in barks] == [*STAGES]
    assert all("await where_it_waits()" in bark.stack and "await sleep(3600)" in bark.stack for bark in barks)
    assert isinstance(error_of(scheduler), EmergencyStop)


def test_idle_nodes_are_exempt(clock: HandClock) -> None:
    """A node that ticks on messages and gets none for many time-outs is not spoken of."""
    scheduler = run(
        Node("idle", tick=lambda _: None, on="nothing", watchdog=LIMIT_NS / 1e9),
        Node("rare", tick=lambda _: None, rate=1, watchdog=LIMIT_NS / 1e9),
        passing(clock, lambda: True, most=25),
        deterministic=False,
        duration=None,
    )
    assert events(scheduler, "Watchdog") == []
    assert error_of(scheduler) is None


BLOCKED = """
import sys, time
from horus_async import Node, Scheduler, sleep, tick
from horus_async.blackbox import BlackBox

record = BlackBox.record
def tell(self, event, *place):
    record(self, event, *place)
    print(type(event).__name__, place[0], flush=True)
BlackBox.record = tell

def the_culprit(node):
    if tick() >= 1:
        time.sleep(300)

Scheduler(blackbox_mb=1, blackbox_dir=sys.argv[1], watchdog=0.05).add(Node("arm", tick=the_culprit)).run_sync()
"""


def test_the_stack_is_in_the_box_before_the_process_can_be_killed(tmp_path: Path) -> None:
    """time.sleep in a tick: kill -9 while it blocks, and the box holds the line it stood in."""
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(tmp_path)], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            kind, number = line.split()
            if kind == "Watchdog" and number != "0":  # on a busy machine the tick before may take long as well
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with open_blackbox(tmp_path / "scheduler.hbb") as box:
        barks = box.events(kind="Watchdog", ticks=int(number))
        assert (barks[0].name, barks[0].stage, barks[0].tick) == ("arm", "warn", int(number))
        assert "in the_culprit" in barks[0].stack
        assert box.damage == []


@pytest.mark.parametrize(("deterministic", "suspended"), [(False, False), (True, False), (True, True)])
async def test_it_watches_single_ticks(deterministic: bool, suspended: bool, clock: HandClock) -> None:
    """In tick_once() a tick that blocks is told of while it blocks, as in a run; its thread ends with aclose()."""
    scheduler = Scheduler(deterministic=deterministic, blackbox_mb=1, watchdog=LIMIT_NS / 1e9)

    async def rest(_: Node) -> None:
        await sleep(1000)

    if suspended:
        scheduler.add(Node("rests", tick=rest, watchdog=3600))

    def the_culprit(node: Node) -> None:
        if tick() == 2:
            clock.block()

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


def test_each_tick_goes_through_all_stages_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that took too long and ended does not keep the watchdog quiet about the next one."""
    said: list[tuple[int, str]] = []
    now_ns = [0]
    began_ns: list[int | None] = [None]
    arm = type("Arm", (), {"node": SimpleNamespace(watchdog=None), "coroutine": None, "thread": None})()
    runtime = SimpleNamespace(
        runs={"arm": arm},
        blocked_since_ns=lambda _: began_ns[0],
        watchdog_fired=lambda _, stage, stack: said.append((began_ns[0] or 0, stage)),
        emergency=None,
        audience=SimpleNamespace(thread=threading.get_ident()),
    )
    monkeypatch.setattr(watchdog, "perf_ns", lambda: now_ns[0])
    dog = Watchdog(runtime, LIMIT_NS / 1e9)  # type: ignore[arg-type]
    for begin in (1_000, 1_000 + 10 * LIMIT_NS):
        for lasts in (LIMIT_NS - 1, LIMIT_NS, 2 * LIMIT_NS, 3 * LIMIT_NS, 4 * LIMIT_NS):
            began_ns[0], now_ns[0] = begin, begin + lasts
            dog._look_at(arm, LIMIT_NS)
            dog._look_at(arm, LIMIT_NS)
        began_ns[0] = None
        dog._look_at(arm, LIMIT_NS)
    assert said == [(begin, stage) for begin in (1_000, 1_000 + 10 * LIMIT_NS) for stage in STAGES]


def test_what_holds_up_a_stopped_run_is_broken_off_once() -> None:
    """However often the watchdog looks after that: a second time is for whoever was told to see to it."""
    ended: list[int] = []
    arm = type("Arm", (), {"node": SimpleNamespace(watchdog=None), "coroutine": None, "thread": None})()
    runtime = SimpleNamespace(
        runs={"arm": arm},
        blocked_since_ns=lambda _: 1,
        watchdog_fired=lambda *_: None,
        emergency=None,
        audience=SimpleNamespace(thread=threading.get_ident()),
    )
    dog = Watchdog(runtime, 1e-9, ended.append)  # type: ignore[arg-type]
    dog._look_at(arm, 1)
    assert ended == [], "a run that goes on, as a deterministic one does, is left alone"
    runtime.emergency = "it does not end"
    for _ in range(3):
        dog._look_at(arm, 1)
    assert ended == [threading.get_ident()]
