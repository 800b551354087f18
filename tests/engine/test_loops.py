"""Under which event loops a scheduler runs, how runs begin and end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing

from horus_async import ContextError, EmergencyStop, Node, NodeFailure, Scheduler, elapsed, now, rng, run, sleep, tick
from horus_async.recorder import ExecutionRecord, open_session
from horus_async.recorder.read.check import Verdict, check_session
from tests.engine.programs import PATIENCE, Log, both_modes, every_runner, listener, run_nodes, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def busy_program(log: Log) -> list[Node]:
    """A program with a bit of everything: rates, sleeps, threads, events, a loop, random numbers."""

    async def sleepy(n: Node) -> None:
        n.send("x", rng().random())
        await sleep(0.015)
        n.send("x", rng().random())

    async def equally_sleepy(n: Node) -> None:
        await trio.sleep(0.015)
        n.send("x", tick())

    async def threaded(n: Node) -> None:
        n.send("y", await trio.to_thread.run_sync(rng().random))
        n.send("x", "back")

    async def asker(n: Node) -> None:
        n.send("question", tick())
        n.send("x", await n.receive("answer"))

    async def answerer(n: Node) -> None:
        question = await n.receive("question")
        await sleep(0.004)
        n.send("answer", question)

    return [
        listener(log, ["x", "y", "z"]),
        Node("sleepy", tick=sleepy, rate=30, pubs="x"),
        Node("twin", tick=equally_sleepy, rate=30),
        Node("threaded", tick=threaded, rate=50, pubs=["x", "y"]),
        Node("compute", tick=lambda n: n.send("z", rng().random()), compute=True, rate=20),
        Node("event", on="y", tick=lambda n: n.send("z", n.recv("y"))),
        Node("asker", tick=asker, rate=10, pubs="question", subs="answer"),
        Node("answerer", tick=answerer, rate=10, pubs="answer", subs="question"),
    ]


def result_of(runner: Callable[[Scheduler, float], None]) -> list[Any]:
    """What the busy program's listener hears."""
    log = Log()
    runner(scheduler_of(*busy_program(log), seed=5), 1.0)
    return log.lines


@every_runner
def test_a_deterministic_run_is_the_same_under_every_event_loop(runner: Callable[[Scheduler, float], None]) -> None:
    """run_sync, trio, anyio on both backends and asyncio give the same messages, stamps and order (J.1-34)."""
    expected = result_of(lambda scheduler, duration: scheduler.run_sync(duration))
    assert len(expected) > 200
    assert result_of(runner) == expected


async def test_a_deterministic_run_is_the_same_under_autojump_clock(autojump_clock: trio.testing.MockClock) -> None:
    """So does a test under pytest-trio's autojump_clock."""
    log = Log()
    await scheduler_of(*busy_program(log), seed=5).run(1.0)
    expected = await trio.to_thread.run_sync(result_of, lambda scheduler, duration: scheduler.run_sync(duration))
    assert log.lines == expected


async def test_a_deterministic_run_is_the_same_in_a_trio_test() -> None:
    """And one without a test clock."""
    log = Log()
    await scheduler_of(*busy_program(log), seed=5).run(1.0)
    expected = await trio.to_thread.run_sync(result_of, lambda scheduler, duration: scheduler.run_sync(duration))
    assert log.lines == expected


@every_runner
def test_real_time_runs_under_every_event_loop(runner: Callable[[Scheduler, float], None]) -> None:
    """Async ticks, sleeps, messages, compute nodes and events work under each."""
    log = Log()

    async def tick_a(n: Node) -> None:
        await sleep(0.001)
        n.send("x", await n.receive("y"))

    a = Node("a", tick=tick_a, pubs="x", rate=50)
    b = Node("b", tick=lambda n: n.send("y", 1), compute=True, pubs="y")

    def tick_e(n: Node) -> None:
        log("e")
        if log.lines.count("e") == 3:
            n.request_stop()

    runner(scheduler_of(a, b, listener(log, ["x"]), Node("e", on="x", tick=tick_e), deterministic=False), PATIENCE)
    assert log.lines.count("e") == 3
    assert len(log.lines) > 3


async def test_autojump_clock_makes_real_time_runs_quick(autojump_clock: trio.testing.MockClock) -> None:
    """An hour in real-time mode under autojump_clock takes seconds and has exactly its ticks."""
    log = Log()

    async def slow(n: Node) -> None:
        await trio.sleep(600)
        log("slept", trio.current_time() - start)

    start = trio.current_time()
    nodes = Node("hourly", tick=lambda n: log(tick()), rate=0.01), Node("slow", tick=slow, rate=0.001)
    await scheduler_of(*nodes, deterministic=False, tick_rate=1).run(3600)
    assert [line for line in log.lines if isinstance(line, int)] == [*range(0, 3600, 100)]
    assert len([line for line in log.lines if not isinstance(line, int)]) == 4
    assert trio.current_time() - start == pytest.approx(3600, abs=0.1)


def test_stop_after_a_run_under_a_tests_clock_does_nothing() -> None:
    """The event loop is gone by then, and with it what stop() would wake."""
    scheduler = scheduler_of(Node("a", tick=lambda n: None), deterministic=False)
    trio.run(scheduler.run, 0.1, clock=trio.testing.MockClock(autojump_threshold=0))
    scheduler.stop()


async def test_time_of_a_scheduler_and_its_test_go_together(autojump_clock: trio.testing.MockClock) -> None:
    """Under autojump_clock a test's own sleeps and the scheduler's ticks share the clock, in both modes."""
    for deterministic in (True, False):
        log = Log()
        scheduler = scheduler_of(Node("n", tick=log.says("tick")), deterministic=deterministic, tick_rate=10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scheduler.run, 10.0)
            await trio.sleep(5.05)
            assert len(log.lines) == 51
        assert len(log.lines) == 100


async def test_stats_while_it_runs(autojump_clock: trio.testing.MockClock) -> None:
    """Another task sees tick, node figures and rates of a running scheduler (J.1-49)."""
    scheduler = scheduler_of(Node("n", tick=lambda n: None, rate=50), Node("m", tick=lambda n: None))
    assert scheduler.stats().recording is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run, 10.0)
        await trio.sleep(1.005)
        first = scheduler.stats()
        await trio.sleep(1)
        second = scheduler.stats()
    assert (first.tick, second.tick) == (100, 200)
    assert (first.nodes["n"].ticks, second.nodes["n"].ticks) == (51, 101)
    assert (first.nodes["n"].rate, first.nodes["m"].rate) == (50, None)
    assert scheduler.stats().nodes["m"].ticks == 1000
    figures = second.nodes["n"]
    assert 0 < figures.mean_us <= figures.max_us
    assert 0 < figures.p99_us <= figures.max_us
    assert (figures.errors, figures.restarts, figures.lost, figures.budget_overruns, figures.deadline_misses) == (
        0,
    ) * 5
    with pytest.raises(AttributeError):
        second.tick = 3  # type: ignore[misc]


def test_stats_from_another_thread() -> None:
    """stats() may be called from anywhere while a scheduler runs (J.1-49)."""
    seen: list[Any] = []
    asked = threading.Event()
    scheduler = scheduler_of(Node("n", tick=lambda n: asked.is_set() and n.request_stop()), deterministic=False)

    def ask() -> None:
        while not seen or "n" not in seen[-1].nodes or seen[-1].nodes["n"].ticks < 3:
            seen.append(scheduler.stats())
        asked.set()

    thread = threading.Thread(target=ask)
    thread.start()
    scheduler.run_sync(20)
    thread.join()
    assert seen[-1].nodes["n"].ticks >= 3


@both_modes
@every_runner
def test_stop_from_another_thread(runner: Callable[[Scheduler, float | None], None], deterministic: bool) -> None:
    """stop() ends a run without a duration, from any thread; shutdown runs."""
    log = Log()
    ticking = threading.Event()
    n = Node("n", tick=lambda n: ticking.set(), shutdown=log.says("off"))
    scheduler = scheduler_of(n, deterministic=deterministic)

    def stop() -> None:
        ticking.wait(300)
        scheduler.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    runner(scheduler, None)
    thread.join()
    assert log.lines == ["off"]


def test_runs_in_a_row_and_side_by_side() -> None:
    """Schedulers in one process do not disturb each other: not one after the other, not in threads at once."""
    expected = result_of(lambda scheduler, duration: scheduler.run_sync(duration))
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(result_of(lambda s, duration: s.run_sync(duration))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 3


async def test_two_deterministic_schedulers_in_one_nursery() -> None:
    """Side by side in one event loop each gives what it gives alone."""
    logs = [Log(), Log()]
    async with trio.open_nursery() as nursery:
        for log in logs:
            nursery.start_soon(scheduler_of(*busy_program(log), seed=5).run, 1.0)
    assert logs[0].lines == logs[1].lines
    assert len(logs[0].lines) > 200


async def test_a_scheduler_runs_once_at_a_time() -> None:
    """A second run() of a running scheduler is an error; the first goes on."""
    log = Log()
    refused = trio.Event()

    def work(n: Node) -> None:
        if refused.is_set():
            log("tick")
        if len(log.lines) == 3:
            n.request_stop()

    scheduler = scheduler_of(Node("n", tick=work), deterministic=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run, PATIENCE)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ContextError, match="runs already"):
            await scheduler.run(0.1)
        with pytest.raises(ContextError):
            await scheduler.tick_once()
        refused.set()
    assert len(log.lines) == 3


# Cancellation from outside


def suspended(log: Log) -> list[Node]:
    """Nodes that wait in all possible ways; each says when it shuts down, and those that tick when they do so first."""

    async def forever(n: Node) -> None:
        begun(n)
        await trio.sleep_forever()

    async def message(n: Node) -> None:
        begun(n)
        await n.receive("never")

    async def sleeping(n: Node) -> None:
        begun(n)
        try:
            await sleep(0.05)
        finally:
            log("cleaned up")

    async def threaded(n: Node) -> None:
        begun(n)
        await trio.to_thread.run_sync(lambda: None)

    def begun(n: Node) -> None:
        if ("begun", n.name) not in log.lines:
            log("begun", n.name)

    async def shutdown(n: Node) -> None:
        await sleep(0.001)
        log(n.name)

    ticks = {"forever": forever, "message": message, "sleeping": sleeping, "threaded": threaded}
    nodes = [Node(name, tick=function, shutdown=shutdown) for name, function in ticks.items()]
    return [*nodes, Node("event", on="never", tick=print, shutdown=shutdown), Node("e", tick=print, shutdown=shutdown)]


NAMES = ["e", "event", "forever", "message", "sleeping", "threaded"]


async def all_wait(log: Log) -> None:
    """Return when each of the `suspended` nodes that tick has begun to."""
    waiting = {"forever", "message", "sleeping", "threaded"}
    while {line[1] for line in log.lines if line[0] == "begun"} < waiting:  # noqa: ASYNC110 - in another thread, maybe
        await trio.sleep(0.001)


def said(log: Log) -> list[str]:
    """The names of those that have shut down."""
    return sorted(line for line in log.lines if isinstance(line, str) and line != "cleaned up")


@both_modes
async def test_cancelled_by_a_time_out(deterministic: bool) -> None:
    """move_on_after around run() runs every shutdown, also async ones, and leaves nothing behind."""
    log = Log()
    scheduler = scheduler_of(*quiet(suspended(log)), deterministic=deterministic)
    with trio.move_on_after(PATIENCE) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scheduler.run)
            await all_wait(log)
            scope.deadline = trio.current_time() + 0.01
    assert scope.cancelled_caught
    assert said(log) == NAMES


@both_modes
async def test_cancelled_under_autojump_clock(deterministic: bool, autojump_clock: trio.testing.MockClock) -> None:
    """The same where time is a test's."""
    log = Log()
    scheduler = scheduler_of(*quiet(suspended(log)), deterministic=deterministic)
    with trio.move_on_after(0.125) as scope:
        await scheduler.run()
    assert scope.cancelled_caught
    assert said(log) == NAMES
    assert "cleaned up" in log.lines


def quiet(nodes: list[Node]) -> list[Node]:
    """Nodes whose tick does not print."""
    for n in nodes:
        if n._functions["tick"] is print:
            n._functions["tick"] = lambda n: None
    return nodes


@both_modes
def test_cancelled_in_a_nursery(deterministic: bool) -> None:
    """An error in a sibling task cancels run(): every shutdown runs and the error comes out."""
    log = Log()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scheduler_of(*quiet(suspended(log)), deterministic=deterministic).run)
            await all_wait(log)
            raise KeyError("sibling")

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main)
    assert isinstance(caught.value.exceptions[0], KeyError)
    assert said(log) == NAMES


@both_modes
def test_cancelled_under_asyncio(deterministic: bool) -> None:
    """A wait_for of asyncio around run() runs every shutdown too."""
    log = Log()

    begun = threading.Event()

    async def stays(n: Node) -> None:
        begun.set()
        await anyio.sleep_forever()

    async def shutdown(n: Node) -> None:
        await sleep(0.001)
        log("off")

    async def main() -> None:
        scheduler = scheduler_of(
            Node("a", tick=stays, shutdown=shutdown),
            Node("b", tick=lambda n: None, shutdown=shutdown),
            deterministic=deterministic,
        )
        run = asyncio.create_task(scheduler.run())
        while not begun.is_set():  # noqa: ASYNC110 - it is set in another thread, maybe
            await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run, 0.01)

    asyncio.run(main())
    assert log.lines == ["off", "off"]


# One tick at a time


@both_modes
async def test_tick_once(deterministic: bool) -> None:
    """The first one runs init; aclose runs shutdown; ticks count from 0."""
    log = Log()
    scheduler = scheduler_of(
        Node("n", init=log.says("init"), tick=lambda n: log(tick()), shutdown=log.says("off")),
        deterministic=deterministic,
    )
    await scheduler.tick_once()
    assert log.lines == ["init", 0]
    await scheduler.tick_once()
    await scheduler.tick_once()
    assert log.lines == ["init", 0, 1, 2]
    await scheduler.aclose()
    await scheduler.aclose()
    assert log.lines == ["init", 0, 1, 2, "off"]


@both_modes
def test_tick_once_a_thousand_times_under_plain_trio(deterministic: bool) -> None:
    """It costs no waiting for the wall clock, by which it would take a day, and leaks nothing on the way."""
    log = Log()

    async def main() -> None:
        scheduler = scheduler_of(
            Node("n", tick=lambda n: n.send("t", tick()), pubs="t"),
            listener(log, ["t"]),
            deterministic=deterministic,
            tick_rate=0.01,
        )
        async with scheduler:
            for _ in range(1000):
                await scheduler.tick_once()

    trio.run(main)
    assert [line[0] for line in log.lines] == [*range(1000)]


def _steps_as_run(program: Callable[[Log], list[Node]], steps: int, **options: Any) -> list[Any]:
    """The log of ``tick_once`` that many times, which is that of a run as long."""
    log, stepped = Log(), Log()
    run_nodes(*program(log), duration=steps / 100, **options)

    async def main() -> None:
        async with scheduler_of(*program(stepped), **options) as scheduler:
            for _ in range(steps):
                await scheduler.tick_once()

    trio.run(main)
    assert stepped.lines == log.lines
    asyncio.run(main())
    assert stepped.lines == 2 * log.lines
    return log.lines


def test_ticks_one_by_one_are_those_of_a_run() -> None:
    """tick_once as often as a run has ticks gives the run's messages, with stamps, times and random numbers."""

    def program(log: Log) -> list[Node]:
        def noise(n: Node) -> None:
            n.send("x", (rng().random(), now()))

        async def slow(n: Node) -> None:
            await sleep(0.004)
            n.send("x", tick())

        async def slower(n: Node) -> None:
            await sleep(0.025)
            n.send("x", (tick(), elapsed()))

        return [
            Node("noise", tick=noise, rate=50),
            Node("slow", tick=slow, rate=20),
            Node("slower", tick=slower, rate=20),
            listener(log, ["x"]),
        ]

    assert len(_steps_as_run(program, 50)) > 40


def test_a_step_ends_where_its_tick_does() -> None:
    """What a tick sends after 25 ms is read two ticks later; the clock stands still between the calls."""
    log = Log()

    async def slow(n: Node) -> None:
        await sleep(0.025)
        n.send("x", tick())

    def reader(n: Node) -> None:
        log(tick(), elapsed(), n.recv("x"))

    async def main() -> None:
        async with scheduler_of(Node("slow", tick=slow, rate=10), Node("reader", tick=reader, subs="x")) as scheduler:
            for number in range(4):
                await scheduler.tick_once()
                assert len(log.lines) == number + 1
                threading.Event().wait(0.002)
                await anyio.sleep(0.001)

    trio.run(main)
    assert log.lines == [(0, 0.0, None), (1, 0.01, None), (2, 0.02, None), (3, 0.03, 0)]


def test_background_tasks_go_on_from_step_to_step() -> None:
    """Started in init or in a tick, before anything has suspended or after."""

    def program(log: Log) -> list[Node]:
        async def beats(n: Node, name: str, period: float) -> None:
            while True:
                n.send("x", (name, elapsed()))
                await sleep(period)

        def init(n: Node) -> None:
            n.background(beats, n, "from init", 0.017)

        def start(n: Node) -> None:
            if tick() in (3, 7):
                n.background(beats, n, f"from tick {tick()}", 0.004)
            n.send("x", tick())

        return [Node("a", tick=start), Node("b", init=init, tick=start), listener(log, ["x"])]

    assert len(_steps_as_run(program, 20)) > 90


def test_what_is_suspended_for_ever_does_not_keep_a_step() -> None:
    """A tick that waits for a message that never comes is cancelled by aclose()."""
    log = Log()

    async def waits(n: Node) -> None:
        try:
            await n.receive("never")
        finally:
            log("cancelled")

    async def main() -> None:
        async with scheduler_of(
            Node("waits", tick=waits), Node("b", tick=lambda n: n.send("x", 1), shutdown=log.says("off"))
        ) as scheduler:
            for _ in range(3):
                await scheduler.tick_once()
            assert log.lines == []
            assert scheduler.stats().nodes["b"].ticks == 3

    trio.run(main)
    assert log.lines == ["cancelled", "off"]


def _suspended(log: Log) -> Node:
    async def waits(n: Node) -> None:
        await sleep(1000)

    return Node("waits", tick=waits, shutdown=log.says("off"), enter_safe_state=log.says("safe"))


async def test_a_failure_in_a_step_after_something_has_suspended() -> None:
    """It comes out of that tick_once(), and aclose() shuts down."""
    log = Log()

    def fails(n: Node) -> None:
        if tick() == 2:
            raise ValueError("no sensor")

    scheduler = scheduler_of(_suspended(log), Node("fails", tick=fails))
    await scheduler.tick_once()
    await scheduler.tick_once()
    with pytest.raises(NodeFailure, match="node 'fails' failed in tick 2"):
        await scheduler.tick_once()
    await scheduler.aclose()
    assert log.lines == ["safe", "off"]
    await scheduler.tick_once()  # a new run
    await scheduler.aclose()
    assert log.lines == ["safe", "off", "off"]


async def test_an_emergency_stop_in_a_step_after_something_has_suspended() -> None:
    """Everything is safe and shut down when tick_once() raises."""
    log = Log()
    scheduler = scheduler_of(_suspended(log))
    await scheduler.tick_once()
    scheduler.emergency_stop("button")
    with pytest.raises(EmergencyStop, match="button"):
        await scheduler.tick_once()
    assert log.lines == ["safe", "off"]


async def _in_scope(steps: Callable[[Callable[[], object]], Awaitable[None]]) -> None:
    with anyio.CancelScope() as scope:
        await steps(scope.cancel)


async def _in_trio_scope(steps: Callable[[Callable[[], object]], Awaitable[None]]) -> None:
    with trio.CancelScope() as scope:
        await steps(scope.cancel)


async def _in_asyncio_task(steps: Callable[[Callable[[], object]], Awaitable[None]]) -> None:
    async def in_task() -> None:
        task = asyncio.current_task()
        assert task is not None
        await steps(task.cancel)

    task = asyncio.ensure_future(in_task())
    await asyncio.wait([task])
    assert task.cancelled()


SCOPES = {
    "trio": (trio.run, _in_trio_scope),
    "anyio on trio": (trio.run, _in_scope),
    "anyio on asyncio": (asyncio.run, _in_scope),
    "asyncio": (asyncio.run, _in_asyncio_task),
}


@both_modes
@pytest.mark.parametrize("where", SCOPES)
@pytest.mark.parametrize("way", ["async with", "finally"])
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "suspended"])
def test_steps_in_a_scope_that_is_cancelled_end_with_shutdown(
    where: str, way: str, *, waits: bool, deterministic: bool
) -> None:
    """A scope that ends the steps, as a time limit does, does not keep the motors running."""
    log = Log()

    async def slow_off(n: Node) -> None:
        await sleep(0.001)
        log("motors off")

    async def tick_and_wait(n: Node) -> None:
        await sleep(0.001)

    scheduler = scheduler_of(
        Node("n", tick=tick_and_wait if waits else lambda n: n.send("t", tick()), shutdown=slow_off),
        deterministic=deterministic,
        recording="s",
    )

    async def step(cancel: Callable[[], object]) -> None:
        for number in range(6):
            if number == 3:
                cancel()
            await scheduler.tick_once()
            await anyio.lowlevel.checkpoint()
        log("not cancelled")

    async def steps(cancel: Callable[[], object]) -> None:
        if way == "async with":
            async with scheduler:
                await step(cancel)
        else:
            try:
                await step(cancel)
            finally:
                await scheduler.aclose()

    run_loop, in_scope = SCOPES[where]
    loop: Any = run_loop
    in_it: Any = in_scope(steps)
    if loop is trio.run:
        trio.run(lambda: in_it)
    else:
        loop(in_it)
    assert log.lines == ["motors off"]
    assert check_session(open_session("s")).verdict is Verdict.WHOLE
    lines = [line for line in open_session("s").executions("n") if isinstance(line, ExecutionRecord)]
    assert lines[-1].kind == "shutdown"


@pytest.mark.parametrize("runner", [trio.run, lambda main: asyncio.run(main())], ids=["trio", "asyncio"])
def test_steps_that_are_cancelled(runner: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
    """The scheduler can be closed, and shuts down."""
    log = Log()
    begun = threading.Event()

    def waits(n: Node) -> None:
        begun.set()
        stop.wait(60)

    stop = threading.Event()

    async def main() -> None:
        scheduler = scheduler_of(_suspended(log), Node("slow", tick=waits, compute=True))
        async with scheduler, anyio.create_task_group() as group:
            group.start_soon(scheduler.tick_once)
            while not begun.is_set():  # noqa: ASYNC110 - it is set in another thread
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()
            stop.set()

    runner(main)
    assert log.lines == ["off"]


@both_modes
async def test_steps_that_are_cancelled_under_a_test_clock(
    deterministic: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A ``shutdown`` that waits ends too, where its steps run in the loop of the test."""
    log = Log()

    async def shutdown(n: Node) -> None:
        await sleep(0.01)
        log("off")

    with trio.CancelScope() as scope:
        async with scheduler_of(
            Node("n", tick=lambda n: None, shutdown=shutdown), deterministic=deterministic
        ) as scheduler:
            await scheduler.tick_once()
            scope.cancel()
    assert log.lines == ["off"]


def test_run_without_nodes() -> None:
    """A scheduler without nodes runs to its end."""
    Scheduler(deterministic=True).run_sync(1)
    run(duration=0.01)
