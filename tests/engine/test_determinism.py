"""The same program and seed give the same messages, whatever the machine does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import trio

from horus_async import Node, rng, sleep, tick
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from tests.engine.programs import PATIENCE, ROOT, Log, environment, listener, run_nodes
from tests.engine.test_loops import busy_program

many_times = pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.long)])
"""Runs a test with as many runs of its program."""


@many_times
def test_many_runs_are_identical(times: int) -> None:
    """A program with sleeps, threads, events and loops sends the same bytes each time (J.1-34)."""
    results = set()
    for _ in range(times):
        log = Log()
        run_nodes(*busy_program(log), duration=0.3, seed=11)
        assert len(log.lines) > 50
        results.add(repr(log.lines))
    assert len(results) == 1


def test_the_seed_changes_the_messages() -> None:
    """Another seed gives other numbers."""
    results = set()
    for seed in range(5):
        log = Log()
        run_nodes(*busy_program(log), duration=0.1, seed=seed)
        results.add(repr(log.lines))
    assert len(results) == 5


@pytest.mark.parametrize("compute", [True, False])
def test_nobody_goes_on_while_a_thread_is_at_work(compute: bool) -> None:
    """What a message from a thread wakes waits for that thread's end, however long the thread gives it to go on."""
    went_on = threading.Event()
    early = []

    def work(node: Node) -> None:
        node.send("x", 1)
        early.append(went_on.wait(0.05))
        node.send("x", 2)

    async def in_thread(node: Node) -> None:
        await trio.to_thread.run_sync(work, node)

    async def receive(node: Node) -> None:
        heard = await node.receive("x")
        went_on.set()
        node.send("y", (heard, node.recv_all("x")))
        went_on.clear()

    log = Log()
    tick = work if compute else in_thread
    receiver = Node("receiver", tick=receive, subs="x", pubs="y", order=-1)
    run_nodes(receiver, Node("worker", tick=tick, compute=compute), listener(log, ["y"]), duration=0.03)
    assert early == [False] * 3
    assert [line[-1] for line in log.lines] == ["(1, [2])"] * 3


SCRIPT = """
import hashlib
from tests.engine.programs import Log, run_nodes
from tests.engine.test_loops import busy_program
log = Log()
run_nodes(*busy_program(log), duration=1.0, seed=11)
print(len(log.lines), hashlib.sha256(repr(log.lines).encode()).hexdigest())
"""


def test_the_same_under_any_hash_seed_and_load() -> None:
    """PYTHONHASHSEED and busy processors change nothing (J.1-34)."""
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 4)]
    try:
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT],
                env=environment(PYTHONHASHSEED=seed),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in ("0", "1", "random")
        ]
        outputs = {run.communicate(timeout=PATIENCE)[0] for run in runs}
    finally:
        for process in load:
            process.kill()
            process.wait()
    log = Log()
    run_nodes(*busy_program(log), duration=1.0, seed=11)
    outputs.add(f"{len(log.lines)} {hashlib.sha256(repr(log.lines).encode()).hexdigest()}\n")
    assert len(outputs) == 1


def same_each_time(make: Any, times: int, duration: float = 0.2) -> list[Any]:
    """What a program's listener hears, which has to be the same each time."""
    results = []
    for _ in range(times):
        log = Log()
        run_nodes(*make(log), duration=duration)
        results.append(log.lines)
    assert all(result == results[0] for result in results)
    assert results[0]
    return list(results[0])


@many_times
def test_sleeps_that_end_at_the_same_instant(times: int) -> None:
    """Ticks that wake together go on in the order of their nodes."""

    def make(log: Log) -> list[Node]:
        async def sleepy(n: Node) -> None:
            for _ in range(3):
                await sleep(0.002)
                n.send("x", (n.name, tick()))

        return [*(Node(name, tick=sleepy, pubs="x") for name in "edcba"), listener(log, ["x"], rate=100)]

    lines = same_each_time(make, times)
    assert [line[2] for line in lines[:5]] == [*"edcba"]


@many_times
def test_sums_of_sleeps_that_mean_the_same_instant(times: int) -> None:
    """Three sleeps of 1 ms and one of 3 ms end together, although their sums differ in the last bit."""

    def make(log: Log) -> list[Node]:
        def sleepy(*naps: float) -> Any:
            async def tick_(n: Node) -> None:
                for nap in naps:
                    await sleep(nap)
                n.send("x", n.name)

            return tick_

        naps = {"a": (0.001,) * 3, "b": (0.003,), "c": (0.0005,) * 6, "d": (0.001, 0.002)}
        return [listener(log, ["x"]), *(Node(name, tick=sleepy(*nap), pubs="x") for name, nap in naps.items())]

    lines = same_each_time(make, times)
    assert [line[2] for line in lines[:4]] == [*"abcd"]


@many_times
def test_threads_take_no_virtual_time(times: int) -> None:
    """Threads that take longer or shorter on the wall clock change neither order nor stamps."""

    def make(log: Log) -> list[Node]:
        count = iter(range(1000))

        async def threaded(n: Node) -> None:
            pause = next(count) * 7919 % 3 * 100_000
            await trio.to_thread.run_sync(lambda: sleep_until_monotonic(monotonic_ns() + pause))
            n.send("x", n.name)
            await sleep(0.001)
            await trio.to_thread.run_sync(lambda: sleep_until_monotonic(monotonic_ns() + pause))
            n.send("x", n.name)

        return [*(Node(name, tick=threaded, pubs="x") for name in "abc"), listener(log, ["x"])]

    same_each_time(make, times)


@many_times
def test_ping_pong_with_receive(times: int) -> None:
    """Two nodes that wait for each other's messages exchange them in the same order each time."""

    def make(log: Log) -> list[Node]:
        async def ping(n: Node) -> None:
            for index in range(5):
                n.send("ping", index)
                n.send("x", await n.receive("pong"))

        async def pong(n: Node) -> None:
            for _ in range(5):
                n.send("pong", await n.receive("ping"))

        return [Node("ping", tick=ping, pubs="ping"), Node("pong", tick=pong), listener(log, ["x", "ping", "pong"])]

    same_each_time(make, times)


@many_times
def test_several_nodes_wait_for_one_message(times: int) -> None:
    """Those who wait for the same message go on in the order of the nodes."""

    def make(log: Log) -> list[Node]:
        async def wait(n: Node) -> None:
            n.send("x", (n.name, await n.receive("go")))

        return [
            *(Node(name, tick=wait, pubs="x") for name in "abcdef"),
            Node("go", tick=lambda n: n.send("go", tick()), order=1),
            listener(log, ["x"]),
        ]

    lines = same_each_time(make, times)
    assert [line[2] for line in lines[:6]] == [*"abcdef"]


@many_times
def test_tasks_in_a_ticks_own_nursery(times: int) -> None:
    """Tasks that one tick starts in a nursery run in the same order each time, also where they wake together."""

    def make(log: Log) -> list[Node]:
        async def parent(n: Node) -> None:
            async def child(number: int) -> None:
                await sleep(0.001 * (number % 2))
                n.send("x", (number, rng().random()))
                await sleep(0.001)
                n.send("x", number)

            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(child, number)

        return [Node("parent", tick=parent, pubs="x"), listener(log, ["x"])]

    same_each_time(make, 3 * times, duration=0.05)


def test_wall_time_never_changes_a_result() -> None:
    """A tick that takes its time on the wall clock misses nothing in virtual time (J.1-42)."""
    log = Log()

    def slow(n: Node) -> None:
        sleep_until_monotonic(monotonic_ns() + 15_000_000)
        log(tick())

    scheduler = run_nodes(Node("slow", tick=slow, budget=0.001, deadline=0.005), duration=0.05)
    assert log.lines == [0, 1, 2, 3, 4]
    stats = scheduler.stats().nodes["slow"]
    assert (stats.deadline_misses, stats.budget_overruns) == (0, 0)


def test_as_fast_as_the_machine_allows() -> None:
    """A simulated hour at 10 Hz takes seconds (J.1-41): of the processor's time, and it waits for nothing else."""
    log = Log()
    before, began = os.times(), monotonic_ns()
    run_nodes(Node("n", tick=log.says("tick")), duration=3600, tick_rate=10)
    assert len(log.lines) == 36_000
    after = os.times()
    assert after.user + after.system - before.user - before.system < 60
    assert monotonic_ns() - began < 3600e9


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_order_of_add_changes_no_message(order: int) -> None:
    """Nodes in a declared chain give the same messages however they were added (J.1-36)."""

    def nodes(log: Log) -> list[Node]:
        return [
            Node("a", tick=lambda n: n.send("x", rng().random()), pubs="x"),
            Node("b", tick=lambda n: n.send("y", n.recv("x") * 2), subs="x", pubs="y"),
            listener(log, ["x", "y"]),
        ]

    log, other = Log(), Log()
    run_nodes(*nodes(log))
    made = nodes(other)
    run_nodes(*made[order:], *made[:order])
    assert log.lines == other.lines
