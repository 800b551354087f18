"""When garbage is collected while nodes run: by what policy, never for ever without, and never with other messages."""

from __future__ import annotations

import gc
import logging
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import horus_async
from horus_async import ConfigurationError, Gc, Node, Scheduler, rng
from horus_async.realtime import collector as module
from horus_async.realtime.collector import OFTEN, PRESSING, PRESSING_OLD, Collector
from horus_async.realtime.pythons_collector import NET, hold_back, let_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Cycle:
    """Garbage that only the collector takes away."""

    alive = 0

    def __init__(self) -> None:
        self.itself = self
        Cycle.alive += 1

    def __del__(self) -> None:
        Cycle.alive -= 1


@pytest.fixture(autouse=True)
def none_alive() -> Iterator[None]:
    """Each test counts its own."""
    gc.collect()
    Cycle.alive = 0
    yield
    gc.collect()


def as_it_is() -> tuple[object, ...]:
    """All of Python's collector that a run changes."""
    return gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 0, len(gc.callbacks)


def littering(cycles: int, note: Callable[[], object] = int) -> Node:
    """A node that leaves so many cycles behind in each tick."""

    def tick(node: Node) -> None:
        for _ in range(cycles):
            Cycle()
        note()
        node.send("count", {"value": rng().random()})

    return Node("litter", tick=tick, rate=100, pubs=["count"])


@pytest.mark.parametrize("text", ["between ticks", "between-ticks", "between_ticks", Gc.BETWEEN_TICKS])
def test_policies_by_name(text: str | Gc) -> None:
    """As an enum, as its value, or as a command line has it."""
    assert Scheduler(gc=text)._options.gc is Gc.BETWEEN_TICKS
    assert Scheduler()._options.gc is Gc.AUTO
    assert Scheduler(gc="off")._options.gc is Gc.OFF


@pytest.mark.parametrize("value", ["between", "", True, None, 0, "Between ticks"])
def test_policies_that_there_are_not(value: Any) -> None:
    """The line says which there are."""
    with pytest.raises(ConfigurationError, match=r"gc=.*'between ticks'"):
        Scheduler(gc=value)


def test_by_itself_python_does_as_ever() -> None:
    """`AUTO` without real time changes and counts nothing."""
    before, during = as_it_is(), []
    scheduler = Scheduler(deterministic=True).add(littering(1, lambda: during.append(as_it_is()[:3])))
    scheduler.run_sync(duration=0.03)

    assert set(during) == {before[:3]}
    assert scheduler.stats().gc is None


@pytest.mark.parametrize("deterministic", [True, False])
def test_between_ticks_means_in_none(deterministic: bool) -> None:
    """No collection begins while a tick runs, and the garbage goes all the same."""
    in_tick, inside = [False], []

    def notice(phase: str, _: object) -> None:
        if phase == "start":
            inside.append(in_tick[0])

    def tick(node: Node) -> None:
        del node
        in_tick[0] = True
        for _ in range(OFTEN):
            Cycle()
        in_tick[0] = False

    gc.callbacks.append(notice)
    try:
        scheduler = Scheduler(deterministic=deterministic, gc=Gc.BETWEEN_TICKS).add(Node("litter", tick=tick, rate=100))
        scheduler.run_sync(duration=0.3)
    finally:
        gc.callbacks.remove(notice)

    assert True not in inside
    stats = scheduler.stats().gc
    assert stats is not None
    assert sum(stats.collections) >= 1
    assert stats.longest_us > 0
    assert Cycle.alive <= PRESSING


def test_off_collects_nothing() -> None:
    """Until the run is over."""
    before, during = as_it_is(), []
    scheduler = Scheduler(deterministic=True, gc=Gc.OFF)
    scheduler.add(littering(OFTEN, lambda: during.append((gc.isenabled(), Cycle.alive)))).run_sync(duration=0.05)

    assert during == [(False, OFTEN * (tick + 1)) for tick in range(5)]
    assert as_it_is() == before
    stats = scheduler.stats().gc
    assert stats is not None
    assert (stats.collects, stats.collections) == (False, (0, 0, 0))


@pytest.mark.parametrize("policy", [Gc.BETWEEN_TICKS, Gc.OFF])
@pytest.mark.parametrize("enabled", [True, False])
def test_all_is_as_it_was_before(policy: Gc, enabled: bool) -> None:
    """Also after a run that failed, and where the program had its own idea of it."""

    def fail() -> None:
        raise OSError("no bus")

    if not enabled:
        gc.disable()
    gc.set_threshold(901, 11, 12)
    before = as_it_is()
    try:
        for note in (int, fail):
            with pytest.raises(ExceptionGroup) if note is fail else pytest.MonkeyPatch.context():
                Scheduler(deterministic=True, gc=policy).add(littering(1, note)).run_sync(duration=0.02)
            assert as_it_is() == before
    finally:
        gc.enable()
        gc.set_threshold(700, 10, 10)


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=5), st.booleans(), st.integers())
def test_runs_at_one_time_leave_it_as_it_was(wanted: list[bool], enabled: bool, seed: int) -> None:
    """In whatever order they end."""
    (gc.enable if enabled else gc.disable)()
    before = as_it_is()
    try:
        for collects in wanted:
            hold_back(collects=collects)
        assert gc.isenabled() is (any(wanted) or (enabled and not wanted))
        for collects in random.Random(seed).sample(wanted, len(wanted)):
            let_go(collects=collects)
        assert as_it_is() == before
    finally:
        gc.enable()


def test_the_messages_are_the_same_under_every_policy() -> None:
    """Garbage is no part of a result."""
    auto, between, off = (run_bits(policy) for policy in Gc)

    assert auto == between == off


def run_bits(policy: Gc) -> list[tuple[int, float]]:
    """What a deterministic run with a lot of garbage sends."""
    sent: list[tuple[int, float]] = []

    def read(node: Node) -> None:
        sent.extend((horus_async.tick(), message["value"]) for message in node.recv_all("count"))

    scheduler = Scheduler(deterministic=True, seed=7, gc=policy).add(littering(300))
    scheduler.add(Node("reader", tick=read, subs=["count"])).run_sync(duration=0.6)
    assert len(sent) == 60
    return sent


def test_virtual_time_collects_at_the_same_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's speed has no say in it: counts alone decide."""

    def once(clock_ns: int) -> list[int]:
        began: list[int] = []
        now = [0]

        def perf_ns() -> int:
            now[0] += clock_ns
            return now[0]

        def notice(phase: str, _: object) -> None:
            if phase == "start" and scheduler._runtime is not None:
                began.append(scheduler._runtime.tick)

        scheduler = Scheduler(deterministic=True, gc=Gc.BETWEEN_TICKS).add(littering(300))
        monkeypatch.setattr(module, "perf_ns", perf_ns)
        gc.callbacks.append(notice)
        try:
            scheduler.run_sync(duration=0.6)
        finally:
            gc.callbacks.remove(notice)
        return [tick for tick in began if 0 < tick < 59]  # not before the first and after the last

    once(1)  # what is made once a process is made
    fast, slow = once(1), once(10**9)

    assert fast == slow
    assert len(fast) > 3


def test_a_tick_that_never_ends_keeps_no_garbage(caplog: pytest.LogCaptureFixture) -> None:
    """Above the net Python's own collector comes even there, which is counted and said once."""
    most = [0]

    def tick(node: Node) -> None:
        del node
        for _ in range(5 * NET):
            Cycle()
            most[0] = max(most[0], Cycle.alive)

    scheduler = Scheduler(deterministic=True, gc=Gc.BETWEEN_TICKS).add(Node("litter", tick=tick))
    with caplog.at_level(logging.WARNING):
        scheduler.run_sync(duration=0.01)

    assert most[0] <= 2 * NET
    stats = scheduler.stats().gc
    assert stats is not None
    assert stats.without_time >= 2
    assert caplog.text.count("no time for it") == 1


# -- what it decides, with a collector that is made up -----------------------------------------------------------------


class _FakeGc:
    """Python's, with as many objects as a test says; nothing of it takes time but what is counted."""

    def __init__(self) -> None:
        self.new, self.alive, self.found = 0, 0, 0
        self.done: list[int] = []
        self.now_ns = 0
        self.callbacks: list[Any] = []

    def get_count(self) -> tuple[int, int, int]:
        return self.new, 0, 0

    def get_objects(self) -> range:
        return range(self.alive)

    def get_freeze_count(self) -> int:
        return 0

    def collect(self, generation: int) -> int:
        self.done.append(generation)
        self.now_ns += 20 * (500 + self.new + (0, 0, self.alive)[generation])
        self.new = 0
        return self.found


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> _FakeGc:
    """In the place of Python's."""
    made = _FakeGc()
    monkeypatch.setattr(module, "gc", made)
    monkeypatch.setattr(module, "perf_ns", lambda: made.now_ns)
    monkeypatch.setattr(module, "hold_back", lambda **_: None)
    monkeypatch.setattr(module, "let_go", lambda **_: None)
    return made


def begun() -> Collector:
    """A collector whose run goes on."""
    made = Collector(collects=True)
    made.begin()
    return made


def test_nothing_is_due_before_it_begins_and_after_it_ends(fake: _FakeGc) -> None:
    """And not while there is little."""
    collector = Collector(collects=True)
    fake.new = OFTEN
    assert not collector.is_due()
    collector.begin()
    assert collector.is_due()
    fake.new = OFTEN - 1
    assert not collector.is_due()
    fake.new = OFTEN
    collector.end()
    assert not collector.is_due()
    assert not Collector(collects=False).is_due()


def test_it_waits_for_enough_time(fake: _FakeGc) -> None:
    """At first it expects the worst; what it has measured it goes by."""
    collector = begun()
    fake.new = OFTEN
    collector.between(100_000)
    assert fake.done == []
    collector.between(1_000_000)
    assert fake.done == [0]
    for _ in range(40):
        fake.new = OFTEN
        collector.between(1_000_000)
    fake.done.clear()
    fake.new = OFTEN
    collector.between(100_000)
    assert fake.done == [0]
    assert collector.stats().without_time == 0


def test_one_long_collection_is_forgotten(fake: _FakeGc) -> None:
    """The machine was at something else: that is no reason to let garbage lie."""
    collector = begun()
    for tick in range(200):
        fake.new = OFTEN
        if tick == 100:
            collector._learn(0, 1e9)
        collector.between(500_000)

    assert len(fake.done) > 150
    assert collector.stats().without_time == 0


def test_older_objects_are_looked_at_less_often(fake: _FakeGc) -> None:
    """One look in ten goes further, and all are looked at once many have come to stay."""
    collector = begun()
    for stay in (0, 50):
        for _ in range(110):
            fake.new = OFTEN
            fake.found = OFTEN - stay
            fake.alive += stay
            collector.between(None)
        if not stay:
            assert fake.done == ([0] * 10 + [1]) * 10

    assert fake.done.count(2) == 1  # 110 times 50 have stayed, and the next quarter is not full
    assert collector.stats().collections == tuple(fake.done.count(kind) for kind in range(3))


def test_a_look_at_all_waits_for_its_time_and_the_others_do_not(fake: _FakeGc) -> None:
    """With a large heap new objects are looked at meanwhile, and those that outlived it as often as ever."""
    fake.alive = 20_000
    collector = begun()
    for _ in range(50):
        fake.new = OFTEN
        collector.between(700_000)

    assert fake.done == ([0] * 10 + [1]) * 4 + [0] * 6
    fake.new = OFTEN
    collector.between(1_000_000_000)
    assert fake.done[-1] == 2
    assert collector.stats().without_time == 0


def test_where_there_never_is_time_it_comes_all_the_same(fake: _FakeGc, caplog: pytest.LogCaptureFixture) -> None:
    """At a stated bound; each time is counted, the first is said."""
    collector = begun()
    with caplog.at_level(logging.WARNING):
        for new in (OFTEN, PRESSING - 1, PRESSING, OFTEN, PRESSING):
            fake.new = new
            collector.between(0)

    assert fake.done == [0, 0]
    assert collector.stats().without_time == 2
    assert caplog.text.count("no time for it") == 1


def test_old_garbage_is_bounded_too(fake: _FakeGc) -> None:
    """Objects that outlived a look are looked at before there are too many, time or not."""
    collector = begun()
    looks = 0
    while 2 not in fake.done:
        fake.new = PRESSING
        collector.between(0)
        looks += 1

    assert looks <= PRESSING_OLD / PRESSING + 1
    assert collector.stats().without_time == looks


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3 * PRESSING), st.integers(0, 3_000_000)), max_size=60))
def test_whatever_comes_memory_is_bounded(ticks: list[tuple[int, int]]) -> None:
    """After each pause there are fewer new objects than the bound, whatever time there was."""
    fake = _FakeGc()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "gc", fake)
        patch.setattr(module, "perf_ns", lambda: fake.now_ns)
        patch.setattr(module, "hold_back", lambda **_: None)
        collector = begun()
        for new, left_ns in ticks:
            fake.new += new
            if collector.is_due():
                collector.between(left_ns)
            assert fake.new < PRESSING


# -- in a run ----------------------------------------------------------------------------------------------------------


def test_whoever_is_busy_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a tick waits for something, there is no time for garbage: it may go on at any moment."""
    left: list[tuple[bool, int | None]] = []
    waiting = [False]
    monkeypatch.setattr(Collector, "is_due", lambda _: True)
    monkeypatch.setattr(Collector, "between", lambda _, left_ns: left.append((waiting[0], left_ns)))

    async def tick(_: Node) -> None:
        if horus_async.tick() == 1:
            waiting[0] = True
            await horus_async.sleep(0.035)
            waiting[0] = False

    slow = Node("slow", tick=tick, rate=100)
    Scheduler(tick_rate=100, gc=Gc.BETWEEN_TICKS).add(slow).run_sync(duration=0.1)

    assert {left_ns for busy, left_ns in left if busy} == {0}
    assert any(left_ns is not None and left_ns > 0 for busy, left_ns in left if not busy)


def test_nodes_that_tick_on_messages_leave_time_too() -> None:
    """Between two messages, where the scheduler's own ticks are far apart."""

    async def sending(node: Node) -> None:
        for _ in range(90):
            await horus_async.sleep(0.01)
            node.send("go", 1)

    async def begin(node: Node) -> None:
        node.background(sending, node)

    def read(node: Node) -> None:
        node.recv("go")
        for _ in range(OFTEN):
            Cycle()

    scheduler = Scheduler(tick_rate=1, deterministic=True, gc=Gc.BETWEEN_TICKS)
    scheduler.add(Node("sender", init=begin, tick=lambda _: None, pubs=["go"]))
    scheduler.add(Node("reader", tick=read, on="go")).run_sync(duration=1)

    assert scheduler.stats().nodes["reader"].ticks >= 80
    stats = scheduler.stats().gc
    assert stats is not None
    assert stats.without_time == 0
    assert sum(stats.collections) > 40


@pytest.mark.parametrize("policy", [Gc.BETWEEN_TICKS, Gc.OFF])
def test_a_recording_does_not_tell_which_policy(policy: Gc) -> None:
    """It is verified under another one without a difference."""
    Scheduler(deterministic=True, seed=3, recording=policy.name, gc=policy).add(littering(300)).run_sync(duration=0.3)

    report = trio.run(Scheduler.verify, policy.name, Scheduler(deterministic=True, seed=3).add(littering(300)))
    assert (report.compared, report.differences) == (30, 0)


@pytest.mark.parametrize("policy", [Gc.BETWEEN_TICKS, Gc.OFF])
def test_a_forked_child_has_pythons_own(policy: Gc) -> None:
    """A worker that a node forks may live long, and nobody collects for it."""
    before, codes = as_it_is(), []

    def tick(_: Node) -> None:
        child = os.fork()
        if not child:
            os._exit(0 if as_it_is()[:2] == before[:2] else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    Scheduler(deterministic=True, gc=policy).add(Node("arm", tick=tick)).run_sync(duration=0.02)

    assert codes == [0, 0]
    assert as_it_is() == before


def test_what_was_there_before_is_frozen_and_thawed() -> None:
    """In a process where nobody else has frozen anything."""
    program = (
        "import gc\n"
        "from horus_async import Node, Scheduler\n"
        "seen = []\n"
        "def init(node): seen.append(gc.get_freeze_count())\n"
        "def tick(node): seen.append(gc.get_freeze_count())\n"
        "scheduler = Scheduler(deterministic=True, gc='between ticks').add(Node('arm', init=init, tick=tick))\n"
        "scheduler.run_sync(0.01)\n"
        "assert seen[0] == gc.get_freeze_count() == 0 and seen[1] > 1000, seen\n"
        "assert scheduler.stats().gc.frozen >= seen[1], seen\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.trio
@pytest.mark.parametrize("deterministic", [True, False])
async def test_ticks_one_by_one(deterministic: bool) -> None:
    """They collect between the calls, and all is as before once they are over."""
    before = as_it_is()
    scheduler = Scheduler(deterministic=deterministic, gc=Gc.BETWEEN_TICKS).add(littering(OFTEN))
    async with scheduler:
        for _ in range(8):
            await scheduler.tick_once()

    stats = scheduler.stats().gc
    assert stats is not None
    assert sum(stats.collections) >= 4
    assert as_it_is() == before
