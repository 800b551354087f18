"""now, dt, elapsed, tick, rng and their kin."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

import horus_async
from horus_async import ContextError, Node, budget_remaining, dt, elapsed, now, now_ns, np_rng, rng, sleep, tick
from horus_async.clock.random import tick_random
from horus_async.clock.system import monotonic_ns, wall_ns
from tests.engine.programs import Log, both_modes, run_nodes, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Callable


@both_modes
def test_nothing_moves_within_a_tick(deterministic: bool) -> None:
    """now, now_ns, dt, elapsed and tick are the same before and after a wait, in tasks and in threads (J.1-39)."""
    log = Log()

    def values() -> tuple[Any, ...]:
        return now(), now_ns(), dt(), elapsed(), tick()

    async def slow(n: Node) -> None:
        seen = {values()}
        await sleep(0.025)
        seen.add(values())
        seen.add(await trio.to_thread.run_sync(values))

        async def task() -> None:
            seen.add(values())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
        log(len(seen))

    run_nodes(Node("n", tick=slow), Node("other", tick=lambda n: None), duration=0.2, deterministic=deterministic)
    assert log.lines
    assert set(log.lines) == {1}


def test_deterministic_values() -> None:
    """now() is tick / tick_rate from 0 on, dt() exactly 1/rate, elapsed() equals now() (J.1-39)."""
    log = Log()
    run_nodes(Node("n", rate=33.3, tick=lambda n: log(tick(), now(), now_ns(), dt(), elapsed())), duration=1)
    for number, seconds, nanoseconds, step, since in log.lines:
        assert seconds == since == number / 100
        assert nanoseconds == number * 10_000_000
        assert step == 1 / 33.3
    assert log.lines[0][0] == 0


def test_real_time_values() -> None:
    """now() is the wall clock, dt() what really passed since the node's last tick, ticks count up."""
    log = Log()

    def write(n: Node) -> None:
        log(now_ns(), dt(), tick(), now(), monotonic_ns())
        if len(log.lines) == 10:
            n.request_stop()

    before, before_monotonic = wall_ns(), monotonic_ns()
    run_nodes(Node("n", tick=write), duration=300, deterministic=False)
    after = wall_ns()
    assert before <= log.lines[0][0] <= log.lines[-1][0] <= after
    assert log.lines[0][1] == 0.01
    assert all(this[2] > last[2] for last, this in zip(log.lines, log.lines[1:], strict=False))
    assert all(line[3] == pytest.approx(line[0] / 1e9) for line in log.lines)
    began = [before_monotonic, *(line[4] for line in log.lines)]
    for number in range(1, 10):  # each tick began after the one before it, and before it wrote its line
        passed = sum(line[1] for line in log.lines[1 : number + 1])
        assert (began[number] - began[1]) / 1e9 <= passed <= (began[number + 1] - began[0]) / 1e9


async def test_dt_is_what_passed_between_two_ticks(autojump_clock: trio.testing.MockClock) -> None:
    """By a test's clock, on which nothing else passes, dt() is the difference of now() to the nanosecond."""
    log = Log()

    async def uneven(n: Node) -> None:
        log(now_ns(), dt())
        await trio.sleep(0.013 * (tick() % 3))

    await scheduler_of(Node("n", tick=uneven), deterministic=False).run(1.0)
    assert len({line[1] for line in log.lines}) > 1
    for last, this in zip(log.lines, log.lines[1:], strict=False):
        assert this[1] == pytest.approx((this[0] - last[0]) / 1e9, abs=1e-8)


def test_sleeping_costs_no_wall_time() -> None:
    """An hour's sleep in a deterministic tick, with any way to sleep, is over at once (J.1-41)."""
    import anyio

    log = Log()

    async def patient(n: Node) -> None:
        began = trio.current_time()
        await trio.sleep(3600)
        await anyio.sleep(3600)
        await sleep(3600)
        with trio.move_on_after(3600):
            await trio.sleep_forever()
        log(round(trio.current_time() - began, 6))
        n.request_stop()

    began = monotonic_ns()
    run_nodes(Node("patient", tick=patient, rate=1), duration=20_000, tick_rate=1)
    assert log.lines == [4 * 3600]
    assert monotonic_ns() - began < 3600e9  # less than one of the sleeps


@pytest.mark.parametrize("function", [dt, elapsed, tick, rng, np_rng, budget_remaining])
def test_outside_a_tick_they_say_what_to_do(function: Callable[[], object]) -> None:
    """Each raises an error that names itself and the way out; also in a thread, and after a run."""
    run_nodes(Node("n", tick=lambda n: None), duration=0.01)
    with pytest.raises(ContextError, match=rf"{function.__name__}\(\).*tick"):
        function()


def test_now_falls_back_to_the_wall_clock() -> None:
    """Outside a tick now() and now_ns() are the wall clock."""
    before = wall_ns()
    nanoseconds, seconds = now_ns(), now()
    assert before <= nanoseconds <= wall_ns()
    assert before / 1e9 <= seconds <= wall_ns() / 1e9


def numbers(log: Log, name: str = "n", **options: Any) -> Node:
    """A node that writes its random numbers down."""
    return Node(name, tick=lambda n: log(name, tick(), rng().random(), float(np_rng().random())), **options)


def test_rng_depends_on_seed_node_and_tick_alone() -> None:
    """Other nodes, rates and the order of add change nothing; seed, name and tick do (J.1-40)."""
    alone, beside, other_seed = Log(), Log(), Log()
    run_nodes(numbers(alone), seed=1)
    run_nodes(numbers(Log(), "a"), numbers(beside, rate=50), numbers(Log(), "z"), seed=1)
    run_nodes(numbers(other_seed), seed=2)
    of_tick = {line[1]: line for line in alone.lines}
    assert [of_tick[line[1]] for line in beside.lines] == beside.lines
    assert not {line[2] for line in alone.lines} & {line[2] for line in other_seed.lines}
    assert len({line[2] for line in alone.lines}) == len(alone.lines) == 10
    named = Log()
    run_nodes(numbers(named, "m"), seed=1)
    assert not {line[2] for line in alone.lines} & {line[2] for line in named.lines}


def test_rng_follows_the_documented_derivation() -> None:
    """The numbers are those of the derivation that is fixed for good."""
    log = Log()
    run_nodes(numbers(log), seed=7, duration=0.03)
    assert [line[2] for line in log.lines] == [tick_random(7, "n", number).random() for number in range(3)]


def test_rng_twice_in_a_tick_is_one_generator() -> None:
    """Called again it continues, also after a wait and from a thread."""
    log = Log()

    async def draw(n: Node) -> None:
        first = rng()
        values = [first.random()]
        await sleep(0.001)
        values += [rng().random(), await trio.to_thread.run_sync(lambda: rng().random())]
        reference = tick_random(0, "n", tick())
        log(first is rng(), np_rng() is np_rng(), values == [reference.random() for _ in range(3)])

    run_nodes(Node("n", tick=draw), duration=0.03)
    assert log.lines == [(True, True, True)] * 3


def test_real_time_rng_differs_from_run_to_run() -> None:
    """In real time the seed comes from the operating system."""
    logs = Log(), Log()
    for log in logs:
        run_nodes(numbers(log), duration=0.02, deterministic=False)
    assert logs[0].lines[0][2] != logs[1].lines[0][2]


def test_budget_remaining() -> None:
    """Without a budget it is infinite; with one it shrinks in virtual time as the tick waits (J.1-42)."""
    log = Log()

    async def spend(n: Node) -> None:
        log(n.name, budget_remaining())
        await sleep(0.002)
        log(n.name, round(budget_remaining(), 9))

    run_nodes(Node("a", tick=spend), Node("b", tick=spend, budget=0.005), duration=0.01)
    assert set(log.lines) == {("a", float("inf")), ("b", 0.005), ("b", 0.003)}


def test_init_and_shutdown_have_a_clock_and_numbers() -> None:
    """now() and rng() work there; tick() and dt() say that they belong to ticks."""
    log = Log()

    def use(n: Node) -> None:
        log(now(), rng().random())
        for function in (tick, dt):
            with pytest.raises(ContextError):
                function()

    run_nodes(Node("n", init=use, tick=lambda n: None, shutdown=use), duration=0.05)
    assert log.lines[0][0] == 0.0
    again = log.lines[:]
    log.lines.clear()
    run_nodes(Node("n", init=use, tick=lambda n: None, shutdown=use), duration=0.05)
    assert log.lines == again


def test_a_thread_of_the_program_is_outside() -> None:
    """A plain thread that a tick starts has no tick context of its own."""
    log = Log()

    def ask() -> None:
        try:
            dt()
        except ContextError:
            log("outside")

    def start(n: Node) -> None:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    run_nodes(Node("n", tick=start), duration=0.01)
    assert log.lines == ["outside"]


def test_everything_is_at_the_top() -> None:
    """The whole time API is importable from horus_async."""
    for name in ("now", "now_ns", "dt", "elapsed", "tick", "rng", "np_rng", "budget_remaining", "sleep"):
        assert callable(getattr(horus_async, name))
