"""Sessions during which the wall clock was set replay, and verify, as if nobody had set it; only now() differs.

Most of these record once and rewrite the files as they would be, had the clock been set in some ticks: then what
comes of the two can be compared to the nanosecond.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from horus_async import Node, RecordingOptions, Scheduler, Topic, dt, elapsed, now_ns, sleep, tick
from horus_async.observe import Execution, NodeInfo, Observer, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, open_session
from horus_async.recorder.records import ExternalMessage
from horus_async.replay.options import ReplayOptions
from horus_async.replay.players import _in_order
from horus_async.replay.timeline import RecordedTimeline
from horus_async.replay.verify.run import verify
from tests.clock.fake_wall import FakeWall, fake_wall
from tests.replay.graphs import OUTSIDE, Plan, robots
from tests.replay.rewriting import rewrite
from tests.replay.sessions import record
from tests.replay.test_verify_model import _talk as talk
from tests.replay.test_verify_model import check, make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from horus_async.engine.rules.schedule import Step
    from horus_async.recorder import Session
    from tests.replay.rewriting import Lines

HOUR_NS = 3600 * 10**9
SETTINGS = st.dictionaries(
    st.integers(1, 30), st.integers(-10 * HOUR_NS, 10 * HOUR_NS).filter(bool), min_size=1, max_size=4
)
"""By the tick from which on it holds: by how much the clock was set."""
EXAMPLES = int(os.environ.get("HORUS_MODEL_EXAMPLES", "0"))
rewritten = settings(
    max_examples=EXAMPLES or 8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TICKS = 32
numbers = itertools.count()


pytestmark = pytest.mark.usefixtures("quiet")
"""Each setting is told, and the model's nodes fail by the thousand."""


# -- a session, and the same as if the clock had been set --------------------------------------------------------------


def times() -> tuple[float, float, int | None]:
    """What a node can know without asking for the time of day."""
    return elapsed(), dt(), tick()


def program() -> list[Node]:
    """Nodes that send in ticks, after waits, in the background, in a thread and on messages."""

    async def task(node: Node) -> None:
        for number in itertools.count():
            node.send("task", number)
            await sleep(0.0031)

    async def slow(node: Node) -> None:
        node.send("slow", ("begin", times()))
        await sleep(0.023)
        node.send("slow", ("middle", times()))
        await sleep(0.014)
        node.send("slow", ("end", times()))

    async def patient(node: Node) -> None:
        node.send("patient", (await node.receive("slow"), await node.receive("task"), times()))

    def answer(node: Node) -> None:
        node.send("answer", (node.recv_all("slow"), node.latest("task") is not None, times()))

    return [
        Node("worker", tick=lambda n: n.send("count", times()), init=lambda n: n.background(task, n), rate=50),
        Node("slow", tick=slow, rate=20, pubs=["slow"]),
        Node("patient", tick=patient, subs=["slow", "task"]),
        Node("answer", tick=answer, on="slow"),
        Node("ticker", tick=lambda n: n.send("ticker", times())),
    ]


def recorded() -> Session:
    """A session of it in real time, which nobody disturbed."""
    name = f"c{next(numbers)}"
    record(name, program(), duration=TICKS / 100, deterministic=False)
    return open_session(name)


def shift_of(settings_ns: dict[int, int], number: int) -> int:
    """By how much the clock had been set in a tick."""
    return sum(by for first, by in settings_ns.items() if first <= number)


def with_set_clock(session: Session, settings_ns: dict[int, int]) -> Session:
    """A copy of it, as it would be if the clock had been set."""
    path = session.path.with_name(f"{session.path.name}-{next(numbers)}")
    shutil.copytree(session.path, path)
    for file in path.glob("*.lz4"):
        of_scheduler = file.name.startswith("scheduler@")
        rewrite(str(file), lambda lines, of=of_scheduler: _as_set(lines, settings_ns, of_scheduler=of))  # type: ignore[misc]
    return open_session(path)


def _as_set(lines: Lines, settings_ns: dict[int, int], *, of_scheduler: bool) -> Lines:
    first_ns = next((line["now_ns"] for line in lines if "now_ns" in line), 0)
    for line in lines:
        number: Any = line.get("tick")
        outputs = line.get("outputs")
        for sent in outputs if isinstance(outputs, list) else ():
            sent["stamp_ns"] += shift_of(settings_ns, sent.get("tick", number))
        if "now_ns" in line:
            if of_scheduler and number >= min(settings_ns):
                line["elapsed_ns"] = line["now_ns"] - first_ns
            line["now_ns"] += shift_of(settings_ns, number)
    return lines


def steps_of(session: Session) -> list[Step]:
    """When a replay of it begins its scheduler ticks."""
    timeline = RecordedTimeline(ReplayOptions(session=session), duration=None, on_rewind=lambda: None)
    return list(iter(timeline.next_step, None))


class Moments(Observer):
    """When a run sent what, in its own time, whatever the time of day."""

    def __init__(self, scheduler: Scheduler, session: Session, settings_ns: dict[int, int]) -> None:
        self.sent_: list[tuple[int, str, str, int, int, int]] = []
        self._scheduler = scheduler
        self._shifts = {
            (node, sent.topic, sent.seq): shift_of(settings_ns, sent.tick)
            for node in session.nodes
            for sent in session.outputs(node)
        }
        scheduler.observe(self)

    def sent(self, message: Sent) -> None:
        """Note it."""
        runtime = self._scheduler._runtime
        assert runtime is not None
        stamp_ns = message.stamp_ns - self._shifts.get((message.node, message.topic, message.seq), 0)
        self.sent_.append((runtime.elapsed_ns(), message.node, message.topic, message.seq, message.tick, stamp_ns))


def played(session: Session, settings_ns: dict[int, int], **options: Any) -> tuple[list[Any], list[Any]]:
    """What its replay sends when, and what a live node sees of the time there."""
    replay = Scheduler.replay_from(session).set_replay_speed(math.inf)
    if "start" in options:
        replay.start_at_tick(options["start"]).stop_at_tick(options["stop"])
    if options.get("loop"):
        replay.loop()
    seen = []
    replay.add(Node("ticker", tick=lambda n: seen.append((*times(), now_ns() - shift_of(settings_ns, tick())))))
    moments = Moments(replay, session, settings_ns)
    replay.run_sync(options.get("duration"))
    return moments.sent_, seen


@rewritten
@given(SETTINGS, st.integers(0, TICKS), st.integers(0, TICKS))
def test_a_replay_does_not_notice(settings_ns: dict[int, int], one: int, other: int) -> None:
    """Every message goes out at the same moment of the run, from any tick on; live nodes see the same times."""
    session = recorded()
    last = session.last_tick or 0
    start, stop = min(one, other, last), min(max(one, other), last)
    was_set = with_set_clock(session, settings_ns)
    for options in ({}, {"start": start, "stop": stop}, {"start": start, "stop": stop, "loop": True, "duration": 0.9}):
        plain, ours = played(session, {}, **options), played(was_set, settings_ns, **options)
        assert ours == plain, options
        assert plain[1] or options


@rewritten
@given(SETTINGS)
def test_a_node_among_live_ones_does_not_notice(settings_ns: dict[int, int]) -> None:
    """Played by a run with a clock of its own, what was recorded goes out at the same moments."""
    session = recorded()
    was_set = with_set_clock(session, settings_ns)
    for node in ("worker", "slow", "ticker"):
        found = []
        for one, shifts in ((session, {}), (was_set, settings_ns)):
            scheduler = Scheduler(deterministic=True).add_replay(one.files[node].path)
            moments = Moments(scheduler, one, shifts)
            scheduler.run_sync(TICKS / 100)
            found.append([(at, *rest) for at, *rest, _, _ in moments.sent_])
        assert found[0] == found[1]
        assert found[0]


@rewritten
@given(SETTINGS)
def test_a_verification_does_not_notice(settings_ns: dict[int, int]) -> None:
    """Unchanged code differs nowhere: elapsed() and dt() come back bit for bit, and what was waited for comes."""
    session = recorded()
    for one in (session, with_set_clock(session, settings_ns)):
        for nodes, start in ((None, None), (("answer", "ticker"), 7)):
            report = trio.run(lambda one=one, nodes=nodes, start=start: verify(one, program(), nodes, start))  # type: ignore[misc]
            assert report.differences == 0, str(report.first_difference)
            assert report.compared > 0


@rewritten
@given(SETTINGS, st.integers(0, 20))
@example({5: HOUR_NS, 12: -HOUR_NS}, 0)  # back to where it was, to the nanosecond
def test_the_recording_of_a_replay_says_it_too(settings_ns: dict[int, int], start: int) -> None:
    """Of a part, and of one that is repeated: the times of its ticks are those of the session."""
    session = with_set_clock(recorded(), settings_ns)
    wanted = {line.tick: (line.now_ns, session.clock.elapsed_of(line)) for line in session.scheduler_ticks()}
    for loops in (False, True):
        replay = Scheduler.replay_from(session).set_replay_speed(math.inf).start_at_tick(start)
        if loops:
            replay.loop()
        again = Recorder(RecordingOptions(name=f"again{next(numbers)}"), block=True)
        replay.observe(again).run_sync(0.8 if loops else None)
        assert again.path is not None
        opened = open_session(again.path)
        lines = list(opened.scheduler_ticks())
        assert lines
        for line in lines:
            elapsed_ns = opened.clock.elapsed_of(line)
            assert (line.now_ns, elapsed_ns) == wanted[line.tick]
            assert opened.clock.origin_ns(line.tick) == line.now_ns - elapsed_ns


@pytest.mark.parametrize("lost", [False, True])
def test_parts_of_a_rotated_session(lost: bool, recordings_dir: Path) -> None:
    """Each is enough to know the time; with the first one lost it is known to within what a tick was late."""
    recorder = Recorder(RecordingOptions(name="s", rotate_mb=1e-6, interval=60), recordings_dir, block=True)
    recorder.run_started(RunInfo("s", 100.0, False, 0, 0, 5, "default", (NodeInfo("n", None),)))
    assert recorder._writer is not None
    for number in range(40):
        elapsed_ns = number * 10_000_000 + (number % 3) * 1000 * (number > 0)
        moved = (number > 9) * HOUR_NS - (number > 29) * 5 * HOUR_NS
        recorder.executed(Execution("tick", "n", number, 77 + elapsed_ns + moved, 0, 0, [], None))
        recorder.tick_ended(TickEnd(number, 77 + elapsed_ns + moved, ["n"], elapsed_ns if moved else None))
        recorder._writer.flush()
    recorder.run_stopped("duration", 40)
    if lost:
        scheduler = open_session("s").scheduler
        assert scheduler is not None
        for path in scheduler.paths[:4]:
            path.unlink()
    session = open_session("s")
    lines = list(session.scheduler_ticks())
    assert len(lines) == (36 if lost else 40)
    for line in lines:
        wanted = line.tick * 10_000_000 + (line.tick % 3) * 1000 * (line.tick > 0)
        assert abs(session.clock.elapsed_of(line) - wanted) <= 3000 * lost
    steps = steps_of(session)
    for last, this in itertools.pairwise(steps):
        assert abs(this.at_ns - last.at_ns - 10_000_000) <= 10_000


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(-3, 3)), max_size=12), st.randoms())
def test_external_messages_keep_their_order(sends: list[tuple[str, str, int]], random: Any) -> None:
    """In a replay each publisher's come as it sent them, whatever its clock said; else all by their stamps."""
    seqs: dict[tuple[str, str], Iterator[int]] = {}
    messages = []
    stamp_ns = 0
    for topic, publisher, step in sends:
        stamp_ns += step
        seq = next(seqs.setdefault((topic, publisher), itertools.count()))
        messages.append(ExternalMessage(0, topic, publisher, seq, stamp_ns, 1))
    shuffled = random.sample(messages, len(messages))
    found = _in_order(shuffled)
    assert sorted(map(repr, found)) == sorted(map(repr, messages))
    for stream in seqs:
        of_stream = [message.seq for message in found if (message.topic, message.publisher) == stream]
        assert of_stream == sorted(of_stream)
    if all(step >= 0 for _, _, step in sends):
        assert [message.stamp_ns for message in found] == sorted(message.stamp_ns for message in found)


# -- real runs, whose clock is set -------------------------------------------------------------------------------------


class Setter(Observer):
    """Sets the clock after so many things have happened in a run, and notes what it had to do."""

    def __init__(self, wall: FakeWall, settings_ns: dict[int, int]) -> None:
        self._wall = wall
        self._settings_ns = settings_ns
        self._number = 0
        self.ends: list[TickEnd] = []

    def _next(self) -> None:
        self._number += 1
        self._wall.set(self._settings_ns.get(self._number, 0))

    def sent(self, message: Sent) -> None:
        """A message went out."""
        del message
        self._next()

    def executed(self, execution: Execution) -> None:
        """A callback ended."""
        del execution
        self._next()

    def tick_ended(self, end: TickEnd) -> None:
        """A tick ended."""
        self.ends.append(end)
        self._next()


@settings(rewritten, max_examples=EXAMPLES // 4 or 12)
@given(robots(outside=True), st.integers(0, 1000), SETTINGS)
def test_any_robot(plans: list[Plan], change: int, settings_ns: dict[int, int]) -> None:
    """Recorded while its clock is set: verified and replayed as any other, in the time that it took."""
    with fake_wall() as wall, Topic(OUTSIDE) as outside:
        name = f"r{os.getpid()}-{next(numbers)}"
        setter = Setter(wall, settings_ns)
        scheduler = make(plans, recording=name).observe(setter)

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk, outside)
                await scheduler.run(0.08)
                nursery.cancel_scope.cancel()

        trio.run(run)
    session = open_session(name)
    lines = list(session.scheduler_ticks())
    assert [line.elapsed_ns for line in lines] == [end.elapsed_ns for end in setter.ends]
    moments = [session.clock.elapsed_of(line) for line in lines]
    assert all(0 < this - last < 3000 * 10**9 for last, this in itertools.pairwise(moments))
    assert [step.at_ns for step in steps_of(session)] == [moment - moments[0] for moment in moments]
    check(name, plans, change)
