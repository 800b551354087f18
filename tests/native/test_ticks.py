"""Runs with the native core and with the Python code are the same runs: whatever nodes do, and whatever goes wrong."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import math
import os
import re
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Fatal, Ignore, Miss, Node, Restart, Scheduler, Skip, dt, elapsed, now_ns, rng, sleep, tick
from horus_async.engine import planning
from horus_async.engine.core.state import Durations, PlanCore
from horus_async.engine.ports import Ports
from horus_async.engine.rules.schedule import Step
from horus_async.errors import ContextError
from horus_async.native import core
from horus_async.observe import Execution, Observer, Sent
from tests.engine.programs import PATIENCE, ROOT
from tests.recorder.independent import frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.observe import Incident, RunInfo, TickEnd

native = pytest.mark.skipif(core is None, reason="the native core is not in use")

RATE = 100.0
TOPICS = ("a", "b", "c")
POLICIES = (Fatal(), Ignore(), Skip(max_failures=2, cooldown=0.02), Restart(max_retries=2, backoff=0.004))
ACTIONS = (
    *("send", "send twice", "recv", "recv", "recv all", "message", "latest", "has", "nested", "array"),
    *("sleep", "long", "checkpoint", "fail", "fail late", "odd", "background", "stop", "undeclared", "forgets"),
)


_ADDRESS = re.compile("0x[0-9a-f]+")


class OopsError(Exception):
    """What a node fails with."""


@attrs.frozen
class Plan:
    """What a node is, and what it does in its ticks, over and over."""

    actions: tuple[str, ...]
    form: str
    options: dict[str, Any]
    pubs: tuple[str, ...]
    subs: tuple[str, ...]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any node."""
    options: dict[str, Any] = {
        "failure_policy": draw(st.sampled_from(POLICIES)),
        "deadline": draw(st.sampled_from((None, None, 0.003, 0.02))),
        "budget": draw(st.sampled_from((None, None, 0.001))),
        "on_miss": draw(st.sampled_from((Miss.WARN, Miss.SKIP, Miss.SAFE_MODE))),
        "order": draw(st.integers(0, 2)),
    }
    if draw(st.integers(0, 4)) == 0:
        options["on"] = draw(st.sampled_from(TOPICS))
    else:
        options["rate"] = draw(st.sampled_from((None, None, None, RATE, 50.0, 33.3)))
    actions = draw(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=4))
    topics = st.lists(st.sampled_from(TOPICS), max_size=2, unique=True)
    return Plan(
        tuple(actions),
        draw(st.sampled_from(("plain", "waits", "at once"))),
        options,
        tuple(draw(topics)),
        tuple(draw(topics)),
    )


@attrs.define
class Robot:
    """What the ticks of one node do."""

    index: int
    pub: str
    sub: str
    seen: list[Any]

    def act(self, node: Node, action: str) -> Any:
        """Do it at once."""
        self.seen.append((action, self.index, tick(), now_ns(), dt(), elapsed(), rng().random()))
        looks: dict[str, Callable[[], Any]] = {
            "recv": lambda: node.recv(self.sub, "none"),
            "recv all": lambda: node.recv_all(self.sub),
            "message": lambda: node.recv_message(self.sub),
            "latest": lambda: node.latest(self.sub),
            "has": lambda: node.has_msg(self.sub),
        }
        if action in looks:
            self.seen.append(looks[action]())
        does: dict[str, Callable[[], Any]] = {
            "send": lambda: node.send(self.pub, {"from": self.index, "tick": tick()}),
            "send twice": lambda: self.send_all(node),
            "undeclared": lambda: node.send("c", self.index),
            "array": lambda: node.send(self.pub, b"x" * 70_000),
            "fail": self.fail,
            "forgets": lambda: self.wait(0),
            "stop": lambda: node.request_stop() if tick() > 6 else None,
            "nested": self.run_another,
            "background": lambda: node.background(self.wait, 0.013),
        }
        if action in does:
            does[action]()

    async def act_later(self, action: str) -> None:
        """Do what waits."""
        if action == "checkpoint":
            await trio.lowlevel.checkpoint()
        elif action in {"sleep", "long", "fail late"}:
            await self.wait(0.025 if action == "long" else 0.004)
        if action == "fail late":
            self.fail()

    async def wait(self, seconds: float) -> None:
        """Wait in the time of the run."""
        await sleep(seconds)
        self.seen.append(("woke", self.index, now_ns()))

    def send_all(self, node: Node) -> None:
        """Send several messages."""
        for number in range(2):
            node.send(self.pub, number)

    def fail(self) -> None:
        """Raise."""
        raise OopsError(self.index)

    def run_another(self) -> None:
        """Run another scheduler in the tick."""
        Scheduler(deterministic=True, name="inner").add(Node("x", tick=lambda _: None)).run_sync(0.02)
        self.seen.append(tick())


def node_of(index: int, plan: Plan, seen: list[Any]) -> Node:
    """The node, which notes what it sees."""
    steps = itertools.cycle(plan.actions)
    robot = Robot(index, (*plan.pubs, "a")[0], (*plan.subs, "a")[0], seen)

    def plain(node: Node) -> Any:
        action = next(steps)
        robot.act(node, action)
        return robot.act_later(action) if action == "odd" else None  # a coroutine, of a plain function

    async def asynchronous(node: Node) -> Any:
        action = next(steps)
        robot.act(node, action)
        await robot.act_later(action)
        return 7

    async def at_once(node: Node) -> None:
        robot.act(node, next(steps))

    functions: dict[str, Callable[[Node], Any]] = {"plain": plain, "waits": asynchronous, "at once": at_once}
    return Node(
        f"n{index}",
        tick=functions[plan.form],
        init=lambda _: seen.append(("init", index)),
        enter_safe_state=lambda _: seen.append(("safe", index)),
        on_error=lambda _, error: seen.append(("error", index, str(error))),
        pubs=plan.pubs,
        subs=plan.subs,
        **plan.options,
    )


class Everything(Observer):
    """Notes all that is told, but for how long it took."""

    def __init__(self, seen: list[Any], *, messages: bool) -> None:
        self.seen = seen
        self.hears_messages = messages  # type: ignore[misc] # of this one only

    def run_started(self, run: RunInfo) -> None:
        """It begins."""
        self.seen.append([node.name for node in run.nodes])

    def initialised(self) -> None:
        """Its first tick."""
        self.seen.append("initialised")

    def sent(self, message: Sent) -> None:
        """A message."""
        self.seen.append(message)

    def executed(self, execution: Execution) -> None:
        """A callback."""
        assert type(execution.took_ns) is int
        self.seen.append(execution._replace(took_ns=0))

    def ticked(self, node: str, tick: int, took_ns: int, *, success: bool) -> None:
        """A tick."""
        assert took_ns >= 0
        self.seen.append(("ticked", node, tick, success))

    def incident(self, tick: int, incident: Incident) -> None:
        """Something is wrong."""
        self.seen.append((tick, incident))

    def tick_ended(self, end: TickEnd) -> None:
        """A scheduler tick."""
        self.seen.append(end)

    def run_stopped(self, reason: str, ticks: int) -> None:
        """It is over."""
        self.seen.append((reason, ticks))


def history(plans: list[Plan], *, messages: bool, steps: bool) -> list[str]:
    """All that happens in a run of such nodes."""
    seen: list[Any] = []
    scheduler = Scheduler(tick_rate=RATE, deterministic=True, seed=7)
    scheduler.observe(Everything(seen, messages=messages))
    for index, plan in enumerate(plans):
        scheduler.add(node_of(index, plan, seen))
    try:
        if steps:
            trio.run(stepping, scheduler)
        else:
            scheduler.run_sync(0.12)
    except BaseExceptionGroup as group:
        seen.append(sorted(str(error) for error in group.exceptions))
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        seen.append(repr(error))
    for name, stats in scheduler.stats().nodes.items():
        seen.append((name, attrs.evolve(stats, mean_us=0, p99_us=0, max_us=0)))
    return [_ADDRESS.sub("", repr(one)) for one in seen]


async def stepping(scheduler: Scheduler) -> None:
    """The same, step by step."""
    try:
        for _ in range(12):
            await scheduler.tick_once()
    finally:
        await scheduler.aclose()


def in_python(patch: pytest.MonkeyPatch) -> None:
    """Let the Python code do it all, but for the ring."""
    patch.setattr(planning, "Row", lambda plan, _: iter(plan._order))
    patch.setattr(Ports, "send", Ports.send_slowly)
    patch.setattr(Ports, "recv", Ports.recv_slowly)


@native
@given(plans=st.lists(plans(), min_size=1, max_size=5), messages=st.booleans(), steps=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_run_has_the_same_history_in_both_forms(plans: list[Plan], messages: bool, steps: bool) -> None:
    """Every message, every callback's clock, inputs and end, every incident, in the same order."""
    natively = history(plans, messages=messages, steps=steps)
    with pytest.MonkeyPatch.context() as patch:
        in_python(patch)
        assert history(plans, messages=messages, steps=steps) == natively


class Failing(Everything):
    """Fails in the third tick."""

    def ticked(self, node: str, tick: int, took_ns: int, *, success: bool) -> None:
        """A tick."""
        super().ticked(node, tick, took_ns, success=success)
        if tick == 2:
            raise OopsError("listener")


@pytest.mark.parametrize("messages", [False, True])
def test_an_observer_that_fails_is_left_out(messages: bool, caplog: pytest.LogCaptureFixture) -> None:
    """In both forms, with its traceback in the log; the run goes on."""
    seen: list[Any] = []
    scheduler = Scheduler(tick_rate=RATE, deterministic=True).observe(Failing(seen, messages=messages))
    scheduler.add(Node("n", tick=lambda _: None)).run_sync(0.06)
    assert [line for line in seen if line[:1] == ("ticked",)] == [("ticked", "n", number, True) for number in range(3)]
    assert scheduler.stats().nodes["n"].ticks == 6
    (record,) = [record for record in caplog.records if "is left out" in record.getMessage()]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OopsError)


def test_a_tick_in_a_cycle_of_objects_goes() -> None:
    """A run, its nodes and what holds them hold each other: the collector lets go of all."""

    def run_one() -> Any:
        node = Node("n", tick=lambda _: None, pubs=["a"], subs=["a"])
        scheduler = Scheduler(deterministic=True).add(node)
        scheduler.run_sync(0.03)
        runtime: Any = scheduler._runtime
        return weakref.ref(runtime.runs["n"]), weakref.ref(runtime), weakref.ref(node)

    kept = run_one()
    gc.collect()
    assert [one() for one in kept] == [None, None, None]


@native
@pytest.mark.parametrize("messages", [False, True])
def test_nothing_is_kept_of_many_ticks(messages: bool) -> None:
    """Neither a reference nor an object, however many there are."""
    counts: list[tuple[int, ...]] = []
    value = {"x": 1.5}
    kept = (None, True, False, value, OopsError, "a", Execution, Step, Node)

    async def talk(node: Node) -> None:
        node.send("a", value)
        node.recv("a")
        node.recv("a")
        if tick() % 500 == 0:
            gc.collect()
            counts.append((len(gc.get_objects()), *(sys.getrefcount(one) for one in kept)))

    scheduler = Scheduler(tick_rate=1000.0, deterministic=True).add(Node("n", tick=talk, pubs=["a"], subs=["a"]))
    if messages:
        scheduler.observe(Observer())
    scheduler.run_sync(5.0)
    assert len(counts) == 10
    assert all(abs(last - first) < 60 for first, last in zip(counts[4], counts[9], strict=True))


def test_durations_are_of_the_last_ticks() -> None:
    """All are counted, and the last 1024 are kept."""
    durations = Durations()
    assert (durations.count, durations.mean_us(), durations.p99_us()) == (0, 0, 0)
    for number in range(3000):
        durations.add(number * 1000)
    assert (durations.count, durations.total, durations.longest) == (3000, 2999 * 1500 * 1000, 2_999_000)
    assert sorted(durations.samples()) == [number * 1000 for number in range(1976, 3000)]
    assert durations.p99_us() == 2989


def test_what_is_no_topic_is_refused_alike() -> None:
    """In words of Python's or ours, and a send after the run is none of the node's."""
    errors: list[str] = []

    def tell(node: Node) -> None:
        wrong: Any
        for wrong in (["a"], "no/../topic"):
            for call in (lambda: node.send(wrong, 1), lambda: node.recv(wrong)):  # noqa: B023 - called at once
                try:
                    call()
                except Exception as error:  # noqa: BLE001 - its type is what is asked for
                    errors.append(type(error).__name__)

    node = Node("n", tick=tell)
    Scheduler(deterministic=True).add(node).run_sync(0.01)
    assert errors == ["TypeError", "TypeError", "TopicNameError", "TopicNameError"]
    with pytest.raises(ContextError, match="not running"):
        node.send("a", 1)


def chain(depth: int) -> list[Node]:
    """Nodes each of which passes on what it gets, and now and then waits."""

    def link(index: int) -> Callable[[Node], Any]:
        async def step(node: Node) -> None:
            value = node.recv(f"t{index - 1}") if index else {"n": tick(), "x": rng().random()}
            node.send(f"t{index}", value)
            if tick() % 5 == index:
                await sleep(0.003)
                node.send(f"t{index}", now_ns())

        return step

    return [
        Node(f"n{index}", tick=link(index), pubs=[f"t{index}"], subs=[f"t{index - 1}"] if index else [])
        for index in range(depth)
    ]


def recorded(name: str, folder: Path) -> None:
    """Record a run of them."""
    scheduler = Scheduler(tick_rate=RATE, deterministic=True, seed=3, recording=name, recordings_dir=folder)
    for node in chain(4):
        scheduler.add(node)
    scheduler.run_sync(0.5)


def verified(name: str, folder: Path) -> tuple[int, int]:
    """How many messages a verification of such nodes compares, and how many differ."""
    scheduler = Scheduler()
    for node in chain(4):
        scheduler.add(node)
    report = trio.run(functools.partial(Scheduler.verify, folder / name, scheduler))
    return report.compared, report.differences


def replayed(name: str, folder: Path) -> list[str]:
    """The messages of a replay."""
    seen: list[Any] = []
    scheduler = Scheduler.replay_from(folder / name).set_replay_speed(math.inf).observe(Everything(seen, messages=True))
    scheduler.run_sync()
    return [repr(one) for one in seen if isinstance(one, Execution | Sent)]


_OTHER_FORM = """
import json, sys
from pathlib import Path
from horus_async.native import core
from tests.native.test_ticks import recorded, replayed, verified
folder = Path(sys.argv[1])
recorded("theirs", folder)
print(json.dumps([core is not None, *verified("ours", folder), replayed("ours", folder), replayed("theirs", folder)]))
"""


def texts_of(session: Path) -> list[list[bytes]]:
    """The lines of all files, but for what is their own: when they were made."""
    files = sorted(session.glob("*.lz4"), key=lambda path: path.name.partition("@")[0])
    lines = ([line for _, text in frames(path.read_bytes()) for line in text.splitlines()] for path in files)
    return [[line for line in of_file if b'"header"' not in line and b'"footer"' not in line] for of_file in lines]


def test_what_one_form_records_the_other_verifies(tmp_path: Path) -> None:
    """In both directions without a difference; the same lines, and replays of the same messages."""
    recorded("ours", tmp_path)
    environment = {**os.environ, "HORUS_NATIVE": "0" if core is not None else "1", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", _OTHER_FORM, str(tmp_path)]
    done = subprocess.run(
        program, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    is_native, compared, differences, of_ours, of_theirs = json.loads(done.stdout)
    if core is not None:
        assert not is_native
    assert (compared, differences) == verified("theirs", tmp_path) == (240, 0)
    assert of_ours == of_theirs == replayed("theirs", tmp_path) == replayed("ours", tmp_path)
    assert len(of_ours) > 400
    mine, other = (texts_of(tmp_path / name) for name in ("ours", "theirs"))
    assert mine == other
    assert len(mine) == 5


@native
def test_the_row_knows_whom_it_calls() -> None:
    """Only while a callback runs: by that a signal's handler tells the node's code from ours."""
    names: list[Any] = []

    def look(node: Node) -> None:
        frame = sys._getframe(1)
        names.append((frame.f_code.co_name, frame.f_locals["row"].running.name, frame.f_locals["row"].running.busy))
        names.append(node)

    node = Node("n", tick=look)
    Scheduler(deterministic=True).add(node).run_sync(0.02)
    assert names == [("_tick_pass", "n", True), node] * 2
    assert core is not None
    row = core.Row(PlanCore(), Step(0, 0, 0, 0.0, 0.0))
    assert row.running is None
    assert list(row) == []
