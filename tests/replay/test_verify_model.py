"""Whatever a robot does, verifying the same code finds no difference, and a changed node is found."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async import Scheduler, Topic
from horus_async.observe import Observer, Sent
from horus_async.recorder import ExecutionRecord, open_session
from horus_async.recorder.messages import session_messages
from tests.replay.graphs import OUTSIDE, Part, Plan, robots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from horus_async import VerifyReport

numbers = itertools.count()
EXAMPLES = int(os.environ.get("HORUS_MODEL_EXAMPLES", "0"))
model = settings(
    max_examples=EXAMPLES or 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


pytestmark = pytest.mark.usefixtures("quiet")
"""These nodes fail by the thousand."""


def make(plans: list[Plan], **options: object) -> Scheduler:
    """A scheduler of these nodes."""
    scheduler = Scheduler(**options)  # type: ignore[arg-type]
    for plan in plans:
        scheduler.add(plan.build())
    return scheduler


def record(plans: list[Plan], *, deterministic: bool, duration: float) -> str:
    """Record these nodes, in a new session."""
    name = f"m{os.getpid()}-{next(numbers)}"
    make(plans, deterministic=deterministic, recording=name, seed=5, guard=_guard()).run_sync(duration)
    return name


def _guard() -> object:
    from horus_async.determinism.reaction import Guard

    return Guard.OFF


def verify(session: str, plans: list[Plan]) -> VerifyReport:
    """Verify these nodes."""

    async def run() -> VerifyReport:
        return await Scheduler.verify(session, make(plans))

    return trio.run(run)


def check(session: str, plans: list[Plan], change: int) -> None:
    """No difference, all messages compared; and one where a node is changed."""
    report = verify(session, plans)
    assert report.differences == 0, str(report.first_difference)
    own = [m for m in session_messages(open_session(session)) if m.publisher.startswith("n")]
    assert report.compared == len(own)
    assert sum(row.compared for row in report.topics) == report.compared
    ordinary = [m.publisher for m in own if isinstance(m.data, dict) and m.data.get("n", -1) >= 1]
    if ordinary:
        changed = ordinary[change % len(ordinary)]
        seen = min(m.data["n"] for m in own if m.publisher == changed and isinstance(m.data, dict) and "n" in m.data)
        others = [evolve(plan, bad=seen) if plan.name == changed else plan for plan in plans]
        found = verify(session, others)
        assert found.differences > 0
        assert found.first_difference is not None
        assert found.first_difference.node == changed
    check_replay(session)
    Scheduler.delete_recording(session)


def check_replay(session: str) -> None:
    """The replay sends what was recorded, each message in its scheduler tick, each publisher's in order."""
    recorded = list(session_messages(open_session(session)))
    told = _Told()
    heard = {topic: Topic(topic) for topic in {message.topic for message in recorded}}
    try:
        replay = Scheduler.replay_from(session).set_replay_speed(math.inf).observe(told)
        replay.run_sync()
        for topic, handle in heard.items():
            wanted = sorted((m.publisher, m.seq, m.stamp_ns) for m in recorded if m.topic == topic)
            got = []
            while (message := handle.recv_message()) is not None:
                got.append((message.publisher, message.seq, message.stamp_ns))
            assert sorted(got) == wanted, topic
            # What is seen by latest() from outside is recorded before what is taken later, though sent earlier.
            for publisher in {one[0] for one in got} if topic != OUTSIDE else ():
                seqs = [seq for who, seq, _ in got if who == publisher]
                assert seqs == sorted(seqs), (topic, publisher)
    finally:
        for handle in heard.values():
            handle.close()
    own = sorted((m.publisher, m.topic, m.seq, m.tick) for m in recorded if m.topic != OUTSIDE)
    assert sorted(told.sent_in) == own
    check_steps(session, told.sent_in)


def check_steps(session: str, sent: list[tuple[str, str, int, int]]) -> None:
    """A replay step by step sends what it sends in one run, in the same order; one step more goes to its end."""
    found = open_session(session)
    in_steps = _Told()

    async def step() -> None:
        async with Scheduler.replay_from(session).set_replay_speed(math.inf).observe(in_steps) as replay:
            for _ in range(sum(1 for _ in found.scheduler_ticks()) + 1):
                await replay.tick_once()

    trio.run(step)
    assert in_steps.sent_in == sent


@model
@given(robots())
def test_in_steps(plans: list[Plan]) -> None:
    """``tick_once`` as often as a run has ticks records the same lines."""
    run = record(plans, deterministic=True, duration=0.08)
    steps = f"m{os.getpid()}-{next(numbers)}"

    async def step() -> None:
        async with make(plans, deterministic=True, recording=steps, seed=5, guard=_guard()) as scheduler:
            for _ in range(8):
                await scheduler.tick_once()

    trio.run(step)
    for name in ("scheduler", *open_session(run).files):
        assert _lines(steps, name) == _lines(run, name), name
    Scheduler.delete_recording(run)
    Scheduler.delete_recording(steps)


def _lines(session: str, name: str) -> Sequence[object]:
    found = open_session(session)
    file = found.scheduler if name == "scheduler" else found.files[name]
    assert file is not None
    lines = [*file.records()][:-1]  # without the footer, which has a time of day
    return [  # why something was cancelled at the end is told by trio
        evolve(line, error=None) if isinstance(line, ExecutionRecord) and line.was_cut else line for line in lines
    ]


class _Told(Observer):
    def __init__(self) -> None:
        self.sent_in: list[tuple[str, str, int, int]] = []

    def sent(self, message: Sent) -> None:
        self.sent_in.append((message.node, message.topic, message.seq, message.tick))


@model
@given(robots(), st.integers(0, 1000))
def test_deterministic(plans: list[Plan], change: int) -> None:
    """In virtual time."""
    in_virtual_time(plans, change)


@settings(model, max_examples=EXAMPLES // 4 or 12)
@given(robots(outside=True), st.integers(0, 1000))
def test_real_time(plans: list[Plan], change: int) -> None:
    """In real time, with messages from outside."""
    in_real_time(plans, change)


def in_virtual_time(plans: list[Plan], change: int) -> None:
    """Record, verify, change, verify."""
    plans = [evolve(plan, knows_steps=True) for plan in plans]
    check(record(plans, deterministic=True, duration=0.08), plans, change)


def in_real_time(plans: list[Plan], change: int) -> None:
    """The same by the wall clock, with somebody outside who sends."""
    with Topic(OUTSIDE) as outside:
        name = f"m{os.getpid()}-{next(numbers)}"
        scheduler = make(plans, recording=name)

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_talk, outside)
                await scheduler.run(0.08)
                nursery.cancel_scope.cancel()

        trio.run(run)
    check(name, plans, change)


READER = """
import sys, time
from horus_async import Topic
handles = [Topic(topic) for topic in sys.argv[1:]]
print("ready", flush=True)
sys.stdin.readline()
for topic, handle in zip(sys.argv[1:], handles):
    while (message := handle.recv_message()) is not None:
        print(topic, message.publisher, message.seq, message.stamp_ns, flush=True)
print("end", flush=True)
"""


@pytest.mark.parametrize("number", range(3))
def test_another_process_hears_the_replay(number: int) -> None:
    """Message by message what was recorded."""
    plans = [
        Plan(0, (), None, True, False, (Part("send", "a", 1 + number), Part("send", "b", 1)), 1, 1, None, 0),
        Plan(
            1,
            ("a",),
            None,
            True,
            False,
            (Part("recv", "a", 1), Part("sleep", "", 3), Part("send", "c", 2)),
            0,
            0,
            None,
            0,
        ),
        Plan(2, ("b", "c"), None, True, number == 2, (Part("recv_all", "c", 1), Part("send", "d", 1)), 0, 1, None, 0),
    ]
    session = record(plans, deterministic=number != 1, duration=0.2)
    recorded = list(session_messages(open_session(session)))
    topics = sorted({message.topic for message in recorded})
    command = [sys.executable, "-c", READER, *topics]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"

        class Finish(Observer):
            def run_stopped(self, reason: str, ticks: int) -> None:
                del reason, ticks
                print(file=reader.stdin, flush=True)
                heard.extend(iter(reader.stdout.readline, "end\n"))  # type: ignore[union-attr]

        heard: list[str] = []
        Scheduler.replay_from(session).set_replay_speed(math.inf).observe(Finish()).run_sync()
    wanted = sorted(f"{m.topic} {m.publisher} {m.seq} {m.stamp_ns}\n" for m in recorded)
    assert sorted(heard) == wanted
    assert len(wanted) > 60


async def _talk(topic: Topic) -> None:
    number = 0
    while True:
        topic.send({"outside": number})
        number += 1
        await trio.sleep(0.003)
