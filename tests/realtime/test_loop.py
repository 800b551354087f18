"""What a run in real time does to its thread, to the others and to memory, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from horus_async import ConfigurationError, LimitError, Node, Realtime, Scheduler, node
from horus_async.limits.threads import make_urgent, urgent_threads
from horus_async.realtime.loop import RealtimeLoop
from horus_async.realtime.permission import check_permitted
from horus_async.realtime.system import SYSTEM, UNLIMITED

from .fake_machine import FIFO, ORDINARY, FakeMachine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(tick: Callable[[Node], object], *, init: Callable[[Node], object] | None = None, **options: object) -> None:
    """Three ticks or so in real time."""
    options = {"realtime": True, **options}
    Scheduler(tick_rate=100, **options).add(Node("arm", tick=tick, init=init)).run_sync(duration=0.03)  # type: ignore[arg-type]


def test_the_loop_comes_first_from_the_first_tick_to_the_end(machine: FakeMachine) -> None:
    """In `init`, which may take long, it does not yet; afterwards it is as it was."""
    seen: dict[str, int] = {}

    def note(kind: str) -> Callable[[Node], None]:
        return lambda _: seen.__setitem__(kind, machine.policy(0).priority if machine.locked() else 0)

    arm = Node("arm", init=note("init"), tick=note("tick"), shutdown=note("shutdown"))
    Scheduler(tick_rate=100, realtime=Realtime(priority=70)).add(arm).run_sync(duration=0.02)

    assert seen == {"init": 0, "tick": 70, "shutdown": 70}
    assert machine.policy(0) == ORDINARY
    assert machine.log[-2:] == ["policy 0 0", "unlock"]


def test_what_the_loop_starts_is_ordinary(machine: FakeMachine) -> None:
    """The kernel sees to it, by the flag."""
    seen = []
    run(lambda _: seen.append(machine.policy(0).number))

    assert set(seen) == {FIFO}


def test_the_watchdog_is_above_the_loop_and_nobody_else(machine: FakeMachine) -> None:
    """It has to end a loop that spins on the only core."""
    seen: dict[str, int] = {}

    def tick(_: Node) -> None:
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        seen.update({names.get(number, "?"): policy.priority for number, policy in machine.policies.items()})

    run(tick, watchdog=5.0, recording="night", blackbox_mb=1)

    assert seen.pop("?", 51) == 51  # the trial's thread has ended
    assert seen == {"MainThread": 50, "horus-watchdog": 51}
    assert not urgent_threads


def test_without_realtime_nothing_is_touched(machine: FakeMachine) -> None:
    """Not even asked."""
    run(lambda _: None, realtime=None, watchdog=5.0)

    assert not machine.log
    assert not machine.policies


def test_a_cpu_of_its_own(machine: FakeMachine) -> None:
    """From the first tick to the end; what is started in a tick may use all the others again."""
    seen: list[tuple[str, set[int]]] = []

    def tick(node: Node) -> None:
        seen.append(("tick", machine.cpus(0)))
        if node.state is None:
            node.state = threading.Thread(target=int)
            node.state.start()
            node.state.join()
            seen.append(("started", machine.cpus(0)))

    run(tick, init=lambda _: seen.append(("init", machine.cpus(0))), realtime=Realtime(cpu=2))

    everything = {0, 1, 2, 3}
    assert seen[:4] == [("init", everything), ("tick", {2}), ("started", everything), ("tick", {2})]
    assert machine.cpus(0) == everything


def test_programs_that_a_tick_starts_have_all_cpus(machine: FakeMachine) -> None:
    """As threads have."""
    seen = []

    def tick(_: Node) -> None:
        before = machine.cpus(0)
        subprocess.run([sys.executable, "-c", ""], check=True)
        seen.append((before, machine.cpus(0)))

    run(tick, realtime=Realtime(cpu=1))

    assert set(map(str, seen)) == {str(({1}, {0, 1, 2, 3}))}


def test_threads_started_beside_the_loop_move_nothing(machine: FakeMachine) -> None:
    """Only what the pinned thread starts inherits its CPU."""
    seen = []

    async def tick(node: Node) -> None:
        if node.state is None:
            node.state = True
            node.in_thread(elsewhere)

    def elsewhere() -> None:
        machine.log.append("elsewhere")
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        seen.append(machine.log[-1])

    run(tick, realtime=Realtime(cpu=1))

    assert len(seen) == 1
    assert machine.log.count("cpus [0, 1, 2, 3]") >= 1


def test_memory_that_the_program_locked_itself_stays_locked(machine: FakeMachine) -> None:
    """It cannot be told apart, and is not ours to unlock."""
    machine.locked_bytes = 4096
    run(lambda _: None)

    assert machine.locked() == 4096
    assert not [line for line in machine.log if "lock" in line]


def test_runs_at_one_time_share_the_lock(machine: FakeMachine) -> None:
    """The last one to end unlocks the memory."""
    first, second = RealtimeLoop(Realtime(), SYSTEM), RealtimeLoop(Realtime(), SYSTEM)
    for loop in (first, second):
        loop.expect()
        loop.begin()
    first.end()
    assert machine.locked()
    second.end()

    assert not machine.locked()
    assert [line for line in machine.log if "lock" in line] == ["lock future=True", "unlock"]


def test_urgent_threads_are_above_every_loop(machine: FakeMachine) -> None:
    """With several runs at one time, whichever began first."""
    for priorities in ((70, 30), (30, 70)):
        loops = [RealtimeLoop(Realtime(priority=priority), SYSTEM) for priority in priorities]
        for loop in loops:
            loop.expect()
        thread = threading.Thread(target=make_urgent)
        machine.policies.clear()
        thread.start()
        thread.join()
        assert [policy.priority for policy in machine.policies.values()] == [71]
        for loop in loops:
            loop.end()


def test_a_limit_that_is_enough_for_now(machine: FakeMachine, caplog: pytest.LogCaptureFixture) -> None:
    """Later memory is left unlocked, which is said: with it a node could be refused memory in the middle of the run."""
    machine.unprivileged(rtprio=99, memlock=512 << 20)
    with caplog.at_level(logging.WARNING):
        run(lambda _: None)

    assert "lock future=False" in machine.log
    assert "RLIMIT_MEMLOCK is 512 MiB" in caplog.text


def test_the_flag_stays_where_it_may_not_be_taken_away(machine: FakeMachine) -> None:
    """Without privilege the thread keeps it, and is ordinary all the same."""
    machine.unprivileged(rtprio=99, memlock=UNLIMITED)
    run(lambda _: None)

    assert (machine.policy(0).number & 0xFF, machine.policy(0).priority) == (0, 0)


def test_what_init_took_may_be_too_much(machine: FakeMachine) -> None:
    """Then the run ends before its first tick, with what is missing, and its nodes are shut down."""
    machine.unprivileged(rtprio=99, memlock=512 << 20)
    called = []
    arm = Node(
        "arm",
        init=lambda _: setattr(machine, "size", 1 << 30),
        tick=lambda _: called.append("tick"),
        shutdown=lambda _: called.append("shutdown"),
    )
    with pytest.raises(LimitError, match="RLIMIT_MEMLOCK is 512 MiB"):
        Scheduler(realtime=True).add(arm).run_sync(duration=0.01)

    assert called == ["shutdown"]
    assert machine.policy(0) == ORDINARY
    assert not urgent_threads


def test_a_run_that_fails_leaves_nothing(machine: FakeMachine) -> None:
    """As one that ends."""

    def fail(_: Node) -> None:
        raise OSError("no bus")

    with pytest.raises(ExceptionGroup):
        run(fail, realtime=Realtime(cpu=3))

    assert machine.policy(0) == ORDINARY
    assert machine.cpus(0) == {0, 1, 2, 3}
    assert not machine.locked()
    assert not urgent_threads


@pytest.mark.trio
async def test_ticks_one_by_one_are_as_ever(machine: FakeMachine, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever calls decides when they come; that nothing is done for them is said."""
    scheduler = Scheduler(realtime=True).add(Node("arm", tick=lambda _: None))
    with caplog.at_level(logging.WARNING):
        async with scheduler:
            await scheduler.tick_once()

    assert "no effect on tick_once()" in caplog.text
    assert not machine.log


def test_a_replay_refuses(machine: FakeMachine) -> None:
    """Its time is not the machine's."""
    run(lambda _: None, realtime=None, recording="night")
    scheduler = Scheduler.replay_from("night")
    scheduler._options = Scheduler(realtime=True)._options
    with pytest.raises(ConfigurationError, match="replay"):
        scheduler.run_sync()

    assert not machine.log


# -- for real, where it is permitted -----------------------------------------------------------------------------------

PROGRAM = """
import os, subprocess, sys, threading
from horus_async import Node, Realtime, Scheduler

CPU = max(os.sched_getaffinity(0))
def state():
    return os.sched_getscheduler(0) & 0xff, os.sched_getparam(0).sched_priority, sorted(os.sched_getaffinity(0))
def locked():
    return int(open("/proc/self/status").read().split("VmLck:")[1].split()[0]) > 0
def tick(node):
    if node.state is None:
        node.state = True
        print(state(), locked())
        child = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)))"]
        print(subprocess.run(child, capture_output=True, text=True).stdout, end="")
        thread = threading.Thread(target=lambda: print(state()))
        thread.start()
        thread.join()
        node.request_stop()

before = state()
print(before, CPU)
Scheduler(realtime=Realtime(cpu=CPU, priority=30)).add(Node("arm", tick=tick)).run_sync(60)
assert state() == before and not locked(), (state(), locked())
"""


def permitted() -> bool:
    """Whether this process may."""
    try:
        check_permitted(Realtime())
    except (ConfigurationError, LimitError):
        return False
    return True


for_real = pytest.mark.skipif(not permitted(), reason="real time is not permitted here")


@for_real
def test_for_real(tmp_path: Path) -> None:
    """SCHED_FIFO and one CPU for the loop's thread; neither for a program or a thread that it starts."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    before, loop, child, thread = done.stdout.splitlines()
    cpus, cpu = before[before.index("[") : before.index("]") + 1], before.split()[-1]
    assert loop == f"(1, 30, [{cpu}]) True"
    assert child == f"0 {cpus}"
    assert thread == f"(0, 0, {cpus})"


@for_real
def test_the_watchdog_ends_a_loop_that_spins_on_the_only_core(tmp_path: Path) -> None:
    """A loop of real time lets nobody of lower priority run beside it."""
    program = tmp_path / "spin.py"
    program.write_text(
        "from horus_async import Node, Scheduler\n"
        "def tick(node):\n    while True: pass\n"
        "scheduler = Scheduler(watchdog=0.1, grace=0.2).add(Node('arm', tick=tick))\n",
        encoding="utf-8",
    )
    cpu = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-m", "horus_async", "run", "--realtime", "--cpu", str(cpu), "--no-blackbox", str(program)],
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 1
    assert "emergency stop: watchdog: the tick of arm does not end" in done.stderr


@pytest.mark.parametrize("start", [asyncio.run, trio.run, anyio.run])
def test_under_every_event_loop(machine: FakeMachine, start: Any) -> None:
    """The thread of the loop is whichever runs it."""
    seen = []

    async def tick(node: Node) -> None:
        seen.append(machine.policy(0).priority)
        node.request_stop()

    async def main() -> None:
        await Scheduler(realtime=True).add(Node("arm", tick=tick)).run(60)

    thread = threading.Thread(target=start, args=(main,) if start is not asyncio.run else (main(),))
    thread.start()
    thread.join()

    assert seen == [50]
    assert {policy.priority for policy in machine.policies.values()} <= {0, 51}  # 51: a trial's, which has ended


def test_decorated_nodes_know_nothing_of_it(machine: FakeMachine) -> None:
    """It is the scheduler's business."""

    @node(rate=100)
    async def arm(node: Node) -> None:
        node.request_stop()

    Scheduler(realtime=True).add(arm).run_sync(duration=60)
    assert machine.policy(0) == ORDINARY
