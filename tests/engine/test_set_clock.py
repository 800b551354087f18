"""The wall clock is set while a run goes on: now() follows, and nothing else changes."""

from __future__ import annotations

import itertools
import logging
from itertools import repeat
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async import Node, Topic, dt, elapsed, now, now_ns, sleep, tick
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from horus_async.observe import Observer, Sent, TickEnd
from horus_async.topics import topic as topic_module
from tests.clock.fake_wall import FakeWall, fake_wall
from tests.engine.programs import Log, run_nodes, scheduler_of

HOUR_NS = 3600 * 10**9
NEAR_NS = 2_000_000
"""Nanoseconds by which the machine's own clocks may come apart in a test."""
SETTINGS = st.dictionaries(st.integers(0, 6), st.integers(-10 * HOUR_NS, 10 * HOUR_NS), max_size=4)
"""By the tick in which it happens: by how much the clock is set."""
real_time = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Each setting is told."""
    caplog.set_level(logging.ERROR, "horus_async")


def setter(wall: FakeWall, settings_ns: dict[int, int], last: int, done: dict[int, int] | None = None) -> Node:
    """A node that sets the clock in some ticks, before the others tick, notes in which, and ends the run."""
    waiting = dict(sorted(settings_ns.items()))
    done = {} if done is None else done

    def act(node: Node) -> None:
        due = next(iter(waiting), last)
        if waiting and due <= tick():  # one a tick, on a machine too busy for some ticks too
            done[tick()] = waiting.pop(due)
            wall.set(done[tick()])
        node.send("go", tick())
        if tick() >= last and not waiting:
            node.request_stop()

    return Node("a setter", tick=act, order=-1, pubs=["go"])


def witnesses(log: Log) -> list[Node]:
    """Nodes of every kind that write down what time it is."""

    def see(node: Node) -> None:
        log(node.name, tick(), now_ns(), elapsed(), dt())

    async def see_slowly(node: Node) -> None:
        see(node)
        before = now_ns(), now(), elapsed(), dt()
        await sleep(0.013)
        assert before == (now_ns(), now(), elapsed(), dt())

    return [
        Node("each tick", tick=see),
        Node("slow", tick=see_slowly),
        Node("thread", tick=see, compute=True),
        Node("rare", tick=see, rate=33.3),
        Node("event", tick=see, on="go"),
    ]


def check_times(rows: list[Any]) -> set[int]:
    """elapsed() is the sum of dt(), and now() only ever differs from it by a constant of the tick; gives these."""
    assert rows[0][3] >= 0
    for last, this in itertools.pairwise(rows):
        assert this[3] - last[3] == pytest.approx(this[4], abs=1e-8)
    return {row[2] - round(row[3] * 1e9) for row in rows}


@real_time
@given(SETTINGS)
def test_elapsed_and_dt_never_jump(settings_ns: dict[int, int]) -> None:
    """In nodes of every kind; now() is that of the clock as it was set when the scheduler tick began."""
    log, done = Log(), dict[int, int]()
    with fake_wall() as wall:
        run_nodes(setter(wall, settings_ns, 8, done), *witnesses(log), duration=300, deterministic=False)
    by_tick: dict[int, set[int]] = {}
    for name in {row[0] for row in log.lines}:
        check_times([row for row in log.lines if row[0] == name])
    for _, number, now_in, elapsed_in, _ in log.lines:
        by_tick.setdefault(number, set()).add(now_in - round(elapsed_in * 1e9))
    origin = by_tick[0].copy().pop()
    for number, origins in by_tick.items():
        moved = sum(by for due, by in done.items() if due < number)
        assert max(origins) - min(origins) <= 1  # a float holds 15 digits
        assert abs(max(origins) - origin - moved) < NEAR_NS


class Worker:
    """A node whose task and thread write down what time it is; the run ends when both have seen the last setting."""

    def __init__(self, last_hours: int) -> None:
        self.rows: dict[str, list[tuple[int, float, int, int]]] = {"task": [], "thread": []}
        """Monotonic clock before, elapsed(), now_ns(), monotonic clock after."""
        self._last_hours = last_hours
        self._ended = False
        self.node = Node("worker", tick=self._tick, init=self._init, shutdown=self._end)

    def hours(self, where: str, number: int) -> int:
        """By how many hours now() was ahead of where it was at first."""
        first, row = self.rows[where][0], self.rows[where][number]
        return round((row[2] - first[2] - (row[0] - first[0])) / HOUR_NS)

    def _init(self, node: Node) -> None:
        node.background(self._task)
        node.in_thread(self._thread)

    def _tick(self, node: Node) -> None:
        if all(rows and self.hours(where, -1) == self._last_hours for where, rows in self.rows.items()):
            node.request_stop()

    def _end(self, _: Node) -> None:
        self._ended = True

    def _look(self, where: str) -> None:
        before = monotonic_ns()
        values = elapsed(), now_ns()
        self.rows[where].append((before, *values, monotonic_ns()))

    async def _task(self) -> None:
        while True:
            self._look("task")
            await trio.sleep(0.001)

    def _thread(self) -> None:
        while not self._ended:
            self._look("thread")
            sleep_until_monotonic(monotonic_ns() + 200_000)


def test_background_work_sees_time_go_on() -> None:
    """In a task and in a thread elapsed() goes on as the monotonic clock does, and now() follows the wall clock.

    In a task from wait to wait: in between time stands.
    """
    worker = Worker(-3)
    with fake_wall() as wall:
        changes = {2: HOUR_NS, 4: -6 * HOUR_NS, 6: 2 * HOUR_NS}
        run_nodes(setter(wall, changes, 10**9), worker.node, duration=300, deterministic=False)
    for where, rows in worker.rows.items():
        for start, first, before, row in zip(repeat(rows[0]), repeat(rows[1]), rows[1:], rows[2:], strict=False):
            since, until = (before, start) if where == "task" else (row, first)
            assert (since[0] - first[3]) / 1e9 - 1e-6 <= row[1] - first[1] <= (row[3] - until[0]) / 1e9 + 1e-6
        assert {worker.hours(where, number) for number in range(len(rows))} <= {0, 1, -5, -3}


class Stamps(Observer):
    """Keeps what was sent, and when the ticks ended."""

    def __init__(self) -> None:
        self.sent_: list[Sent] = []
        self.ticks: list[TickEnd] = []

    def sent(self, message: Sent) -> None:
        """Keep it."""
        self.sent_.append(message)

    def tick_ended(self, end: TickEnd) -> None:
        """Keep it."""
        self.ticks.append(end)


def test_stamps_are_by_the_setting_of_their_tick() -> None:
    """Also those of a thread that sends all the time: a tick's messages and its begin are by one clock."""
    stamps = Stamps()
    ended = False

    def shout(node: Node) -> None:
        number = 0
        while not ended:
            number += 1
            node.send("shout", number)

    def end(_: Node) -> None:
        nonlocal ended
        ended = True

    with fake_wall() as wall:
        loud = Node("loud", tick=lambda n: n.send("t", 1), init=lambda n: n.in_thread(shout, n), shutdown=end)
        changes = {number: (-1) ** number * HOUR_NS for number in range(1, 30)}
        scheduler_of(setter(wall, changes, 32), loud, deterministic=False, tick_rate=1000).observe(stamps).run_sync()
    began = {end.tick: end.now_ns for end in stamps.ticks}
    assert len([message for message in stamps.sent_ if message.topic == "shout"]) > 30
    for message in stamps.sent_:
        if message.tick in began:
            assert abs(message.stamp_ns - began[message.tick]) < HOUR_NS / 2, message


def test_ticks_say_how_long_it_has_been_once_the_clock_was_set() -> None:
    """An observer is told, from the first scheduler tick by another setting on; before there is nothing to say."""
    stamps, done = Stamps(), dict[int, int]()
    with fake_wall() as wall:
        scheduler_of(setter(wall, {3: HOUR_NS, 5: -HOUR_NS}, 8, done), deterministic=False).observe(stamps).run_sync()
    told = [end.elapsed_ns for end in stamps.ticks]
    first = stamps.ticks[0]
    assert [value is None for value in told] == [end.tick <= min(done) for end in stamps.ticks]
    for end in stamps.ticks:
        if end.elapsed_ns is not None:
            moved = sum(by for due, by in done.items() if due < end.tick)
            assert abs(end.now_ns - first.now_ns - end.elapsed_ns - moved) < NEAR_NS
            assert end.elapsed_ns > 0


def test_nothing_is_told_where_nobody_set_it() -> None:
    """Files of most runs stay as they are."""
    stamps = Stamps()
    scheduler_of(Node("n", tick=lambda n: None), deterministic=False).observe(stamps).run_sync(0.1)
    assert {end.elapsed_ns for end in stamps.ticks} == {None}


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """In the log, with how far."""
    caplog.set_level(logging.WARNING, "horus_async")
    with fake_wall() as wall:
        run_nodes(setter(wall, {2: -HOUR_NS}, 6), duration=300, deterministic=False)
    said = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("the wall clock was set back by 3")


@pytest.mark.parametrize("change", [HOUR_NS, -HOUR_NS])
def test_single_ticks(change: int) -> None:
    """tick_once() goes by the same clocks, between its calls too."""
    log = Log()
    see = next(node for node in witnesses(log) if node.name == "each tick")

    async def step() -> None:
        async with scheduler_of(see, deterministic=False) as scheduler:
            for number in range(6):
                await scheduler.tick_once()
                if number == 2:
                    wall.set(change)

    with fake_wall() as wall:
        trio.run(step)
    origins = [row[2] - round(row[3] * 1e9) for row in log.lines]
    check_times(log.lines)
    assert max(origins[:3]) - min(origins[:3]) <= 1
    assert max(origins[3:]) - min(origins[3:]) <= 1
    assert abs(origins[3] - origins[0] - change) < NEAR_NS


def test_before_the_first_tick() -> None:
    """Set during a long init, it holds from the second scheduler tick on: one tick's times are by one clock."""
    log = Log()

    def init(_: Node) -> None:
        log("init", elapsed(), now_ns())
        wall.set(-HOUR_NS)
        log("init", elapsed(), now_ns())

    with fake_wall() as wall:
        node = Node("n", init=init, tick=lambda n: log("tick", elapsed(), now_ns()))
        run_nodes(node, setter(wall, {}, 3), duration=300, deterministic=False)
    inits, ticks = ([row for row in log.lines if row[0] == kind] for kind in ("init", "tick"))
    assert inits[0] == inits[1]
    assert 0 <= inits[0][1] < 3000
    assert inits[0][2] <= ticks[0][2] < inits[0][2] + HOUR_NS // 2
    assert all(row[2] < inits[0][2] for row in ticks[1:])
    assert all(0 <= last[1] < this[1] < 3000 for last, this in itertools.pairwise(ticks))


async def test_a_tests_clock_is_never_set(autojump_clock: trio.testing.MockClock) -> None:
    """Under a clock of trio's for tests, time of day moves with that one."""
    log = Log()
    with fake_wall() as wall:
        see = next(node for node in witnesses(log) if node.name == "each tick")
        await scheduler_of(setter(wall, {2: HOUR_NS}, 6), see, deterministic=False).run(300)
    assert len(check_times(log.lines)) <= 2  # by rounding


def test_a_deterministic_run_does_not_look_at_it() -> None:
    """Not once, with messages, tasks and suspended ticks; so nothing that it shows can change a result."""

    async def wait(node: Node) -> None:
        node.send("t", now())
        await sleep(0.004)
        node.send("t", elapsed())

    def begin(node: Node) -> None:
        node.background(task, node)

    async def task(node: Node) -> None:
        while True:
            node.send("t", (now(), elapsed()))
            await sleep(0.003)

    looks = []
    for duration in (0.05, 0.5):
        with fake_wall() as wall:
            run_nodes(Node("n", tick=wait, init=begin), duration=duration)
        looks.append(wall.looks)
    assert looks[0] == looks[1]  # where the run is put together


def test_a_run_looks_once_a_tick() -> None:
    """However much is sent, and however many nodes there are."""

    def talk(node: Node) -> None:
        for number in range(50):
            node.send(node.name, number)

    stamps = Stamps()
    with fake_wall() as wall:
        nodes = [Node(f"n{number}", tick=talk) for number in range(5)]
        scheduler_of(*nodes, deterministic=False).observe(stamps).run_sync(0.1)
    assert wall.looks <= len(stamps.ticks) * 7 + 7  # more only where the machine was busy
    assert len(stamps.sent_) == 250 * len(stamps.ticks)


def test_an_external_message_keeps_its_stamp() -> None:
    """By the clock of its own process; its place is by the monotonic one."""
    got = []

    def hear(node: Node) -> None:
        while (message := node.recv_message("outside")) is not None:
            got.append(message.value)
            if message.value == 3:
                node.request_stop()

    def speak(_: Node) -> None:
        for value in range(4):
            outside.send(value)

    shown = iter((5 * HOUR_NS, 2 * HOUR_NS, 9 * HOUR_NS, HOUR_NS))
    with pytest.MonkeyPatch.context() as patch, Topic("outside") as outside:
        patch.setattr(topic_module, "wall_ns", lambda: next(shown))
        node = Node("n", tick=hear, init=speak, subs=["outside"])
        run_nodes(node, duration=300, deterministic=False)
    assert got == [0, 1, 2, 3]
