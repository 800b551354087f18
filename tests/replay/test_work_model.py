"""Whatever tasks, threads and endless ticks send is recorded, verified and replayed."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, example, given, settings

from horus_async import Scheduler
from horus_async.determinism.reaction import Guard
from horus_async.observe import Observer, Sent
from horus_async.recorder import open_session
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.check import Verdict, check_session
from tests.replay.test_verify_model import check_replay, verify
from tests.replay.works import Job, Worker, workers

EXAMPLES = int(os.environ.get("HORUS_MODEL_EXAMPLES", "0"))
model = settings(
    max_examples=EXAMPLES or 30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
numbers = itertools.count()


pytestmark = pytest.mark.usefixtures("quiet")
"""These nodes fail by the hundred."""


class Told(Observer):
    """What was sent."""

    hears_messages = True

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, int, int, bytes, int]] = []

    def sent(self, message: Sent) -> None:
        """Note it."""
        self.messages.append((*message[:4], bytes(message.payload), message.tick))


def make(plans: list[Worker], **options: object) -> tuple[Scheduler, Told]:
    """A scheduler of these nodes, and somebody who listens."""
    scheduler = Scheduler(seed=5, guard=Guard.OFF, grace=0.5, **options)  # type: ignore[arg-type]
    for plan in plans:
        scheduler.add(plan.build())
    told = Told()
    return scheduler.observe(told), told


def recorded(plans: list[Worker], *, deterministic: bool) -> tuple[str, Told, Scheduler]:
    """Record these nodes, in a new session."""
    name = f"w{os.getpid()}-{next(numbers)}"
    scheduler, told = make(plans, deterministic=deterministic, recording=name)
    scheduler.run_sync(0.08)
    return name, told, scheduler


def _beats_of_one_instant() -> list[Worker]:
    """Two tasks of one node, begun before and after the order of the nodes was known, that wake together."""
    beats = Job("beat", "d", "a", 0.7), Job("beat", "d", "b", 0.7, from_tick=1)
    rest: dict[str, Any] = {"endless": None, "sends": 0, "fails_at": None}
    return [Worker(0, None, (Job("echo", "out0", "d", 0.7),), **rest), Worker(1, None, beats, **rest)]


def _task_before_the_first_turn(from_tick: int | None) -> list[Worker]:
    """A task that hears what another of its node sent before its node's first turn, and then another node's tick.

    It was begun before that as well, or after all of it.
    """
    first, second = Job("beat", "a", "a", 0.7), Job("beat", "a", "b", 0.7)
    rest: dict[str, Any] = {"sends": 0, "fails_at": None}
    echo = Job("echo", "out1", "a", 0.7, from_tick)
    return [
        Worker(0, None, (first, second), endless=Job("beat", "a", "d", 0.7), **rest),
        Worker(1, None, (second, echo), endless=None, **rest),
    ]


@model
@given(workers())
@example(_beats_of_one_instant())
@example(_task_before_the_first_turn(None))
@example(_task_before_the_first_turn(1))
def test_deterministic(plans: list[Worker]) -> None:
    """The same each time, with and without recording; all of it is recorded, verified and replayed."""
    scheduler, plain = make(plans, deterministic=True)
    scheduler.run_sync(0.08)
    session, told, _ = recorded(plans, deterministic=True)
    assert plain.messages == told.messages
    found = list(session_messages(open_session(session)))
    assert sorted((m.publisher, m.topic, m.seq, m.stamp_ns, m.tick) for m in found) == sorted(
        (node, topic, seq, stamp, tick) for node, topic, seq, stamp, _, tick in told.messages
    )
    assert check_session(open_session(session)).verdict is Verdict.WHOLE
    report = verify(session, plans)  # type: ignore[arg-type]
    assert report.differences == 0, str(report.first_difference)
    assert report.compared == len(found)
    senders = {message.publisher for message in found}
    for name in sorted(senders)[:1]:
        changed = [evolve(plan, bad=plan.name == name) for plan in plans]
        assert verify(session, changed).differences > 0  # type: ignore[arg-type]
    for plan in plans:
        for change in ("more", "new") if any(_did(plan, m.data) for m in found if m.publisher == plan.name) else ():
            changed = [evolve(one, change=change if one is plan else "") for one in plans]
            assert verify(session, changed).differences > 0, (plan, change)  # type: ignore[arg-type]
    check_replay(session)
    Scheduler.delete_recording(session)


def _did(plan: Worker, data: object) -> bool:
    """Whether a message is of what `Worker.change` changes."""
    job = "endless" if plan.endless is not None else "job 0."
    return isinstance(data, dict) and data.get("by", "").startswith(job)


@settings(model, max_examples=EXAMPLES // 4 or 10)
@given(workers(threads=True))
def test_real_time(plans: list[Worker]) -> None:
    """Recorded and counted as dropped are together all that was sent, and it replays."""
    session, told, scheduler = recorded(plans, deterministic=False)
    found = list(session_messages(open_session(session)))
    stats = scheduler.stats().recording
    assert stats is not None
    assert stats.dropped == 0
    assert sorted((m.publisher, m.topic, m.seq, m.stamp_ns) for m in found) == sorted(
        (node, topic, seq, stamp) for node, topic, seq, stamp, _, _ in told.messages
    )
    check_replay(session)
    Scheduler.delete_recording(session)
