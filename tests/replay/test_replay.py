"""Replaying recorded sessions."""

from __future__ import annotations

import itertools
import math
import struct
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import (
    ConfigurationError,
    HorusError,
    Message,
    Node,
    ReplayError,
    Restart,
    Scheduler,
    SessionNotFoundError,
    dt,
    elapsed,
    now,
    now_ns,
    rng,
    sleep,
    tick,
)
from horus_async.clock.system import monotonic_ns
from horus_async.observe import Execution, NodeInfo, Observer, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions
from tests.engine.programs import Log, run_nodes
from tests.replay.sessions import PROGRAMS, controller, feedback, file_of, heard, pair, record, sensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOPICS = ["sensor.reading", "ctrl.cmd"]


def original(duration: float = 0.5, session: str = "s", **options: Any) -> list[Any]:
    """Record the pair of nodes; gives what was heard."""
    scheduler = Scheduler(deterministic=True, seed=3, recording=session, **options)
    for node in pair():
        scheduler.add(node)
    return heard(scheduler, *TOPICS, duration=duration)


def test_a_full_replay_sends_what_was_recorded() -> None:
    """Every message with value, seq, stamp and publisher, through the real topics; it ends by itself (J.1-13)."""
    recorded = original()
    assert len(recorded) == 100
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf)
    assert heard(replay, *TOPICS) == recorded


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("deterministic", [True, False])
def test_each_program_replays(program: str, deterministic: bool) -> None:
    """Whatever its ticks do, in both modes, a replay sends the recorded messages of each topic in order."""
    topics = sorted({topic for n in PROGRAMS[program]() for topic in n.pubs}) or ["chat"]
    scheduler = Scheduler(deterministic=deterministic, seed=3, recording="s")
    for node in PROGRAMS[program]():
        scheduler.add(node)
    recorded = heard(scheduler, *topics, duration=0.3)
    assert recorded
    assert heard(Scheduler.replay_from("s").set_replay_speed(math.inf), *topics) == recorded


def test_what_a_long_last_tick_sent_late_is_replayed(recordings_dir: Path) -> None:
    """A suspended tick that sent its message when the last tick had lasted longer than planned replays it, too."""
    ms = 1_000_000
    recorder = Recorder(RecordingOptions(name="s"), recordings_dir, block=False)
    recorder.run_started(RunInfo("late", 100.0, False, 0, 0, 0, "default", (NodeInfo("slow", None, pubs=("slow",)),)))
    sent = [
        Sent("slow", "slow", seq, at * ms, b"%d" % seq, number) for seq, (number, at) in enumerate([(1, 11), (2, 47)])
    ]
    for message in sent:
        recorder.sent(message._replace(began=1))
    recorder.executed(Execution("tick", "slow", 1, 10 * ms, 10 * ms, 37 * ms, [], None))
    for number in range(3):
        recorder.tick_ended(TickEnd(number, 10 * number * ms, ["slow"][: number == 1]))
    recorder.run_stopped("duration", 3)
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf)
    assert heard(replay, "slow") == [("slow", 0, 0, 11 * ms, "slow"), ("slow", 1, 1, 47 * ms, "slow")]


def test_a_session_is_found_by_name_folder_or_scheduler_file(recordings_dir: Path, monkeypatch: Any) -> None:
    """All three forms work, and ~ is expanded (J.1-22)."""
    files = record("s", pair(), duration=0.1)
    monkeypatch.setenv("HOME", str(recordings_dir))
    scheduler_file = next(file for file in files if "/scheduler@" in file)
    for session in ("s", recordings_dir / "s", scheduler_file, "~/s", "~/s/" + scheduler_file.rsplit("/", 1)[1]):
        assert len(heard(Scheduler.replay_from(session).set_replay_speed(math.inf), "ctrl.cmd")) == 10


def test_what_is_missing_is_an_error(tmp_path: Path) -> None:
    """An unknown session or file is an error at once, not a warning (J.1-22)."""
    with pytest.raises(SessionNotFoundError, match="nothing"):
        Scheduler.replay_from("nothing")
    with pytest.raises(HorusError):
        Scheduler.replay_from(tmp_path / "scheduler@1.jsonl.lz4")
    with pytest.raises(HorusError):
        Scheduler().add_replay(tmp_path / "a@1.jsonl.lz4")


@pytest.mark.parametrize(("first", "last"), [(None, None), (20, 40), (0, 0), (49, 49), (None, 5), (45, None)])
def test_ranges_are_inclusive(first: int | None, last: int | None) -> None:
    """start_at_tick and stop_at_tick name the first and the last tick that play (J.1-17)."""
    recorded = original()
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf)
    if first is not None:
        assert replay.start_at_tick(first) is replay
    if last is not None:
        assert replay.stop_at_tick(last) is replay
    from_tick, to_tick = first or 0, 49 if last is None else last
    expected = [m for m in recorded if from_tick <= m[3] / 10_000_000 <= to_tick]
    assert heard(replay, *TOPICS) == expected


@pytest.mark.parametrize("number", [-1, 50, 1.5, "3", None, True])
def test_impossible_ticks_are_errors(number: Any) -> None:
    """The error names the ticks that there are."""
    record("s", pair())
    methods = ["start_at_tick"] if number == 50 else ["start_at_tick", "stop_at_tick"]  # a stop may be beyond the end
    for method in methods:
        with pytest.raises(ReplayError, match="0 to 49"):
            getattr(Scheduler.replay_from("s"), method)(number)


def test_a_start_after_the_stop_is_an_error() -> None:
    """It is found when the replay runs, at the latest."""
    record("s", pair())
    with pytest.raises(ReplayError, match=r"30.*20"):
        Scheduler.replay_from("s").start_at_tick(30).stop_at_tick(20).run_sync()


@pytest.mark.parametrize("speed", [0, -1, 0.009, 100.1, math.nan, -math.inf, "1", None])
def test_impossible_speeds_are_errors(speed: Any) -> None:
    """0.01 to 100 or inf; anything else is an error that says so (J.1-18)."""
    record("s", pair(), duration=0.1)
    with pytest.raises(ReplayError, match=r"0\.01 to 100"):
        Scheduler.replay_from("s").set_replay_speed(speed)
    for fine in (0.01, 1, 100, math.inf):
        Scheduler.replay_from("s").set_replay_speed(fine)


def test_speeds() -> None:
    """At 1 (the default) a replay takes as long as the original, at 2 half as long, at inf no time (J.1-18)."""
    record("s", pair())
    hours = Scheduler(deterministic=True, tick_rate=0.01, recording="hours")
    hours.add(Node("n", tick=lambda n: n.send("t", tick()), pubs="t")).run_sync(36_000)
    took = {}
    for speed in (None, 2, math.inf):
        replay = Scheduler.replay_from("hours" if speed == math.inf else "s")
        if speed is not None:
            replay.set_replay_speed(speed)
        began = monotonic_ns()
        replay.run_sync()
        took[speed] = (monotonic_ns() - began) / 1e9
    assert took[None] >= 0.49
    assert took[2] >= 0.245
    assert took[math.inf] < 3600  # of ten hours


def test_loop_repeats_the_range() -> None:
    """The clock goes back with it: live nodes see the same times, ticks and messages again (J.1-20)."""
    record("s", pair())
    log = Log()

    def watch(n: Node) -> None:
        log(tick(), now(), n.recv("sensor.reading"))
        if len(log.lines) == 25:
            n.request_stop()

    replay = Scheduler.replay_from("s").start_at_tick(10).stop_at_tick(19).loop().set_replay_speed(math.inf)
    replay.add(Node("watch", tick=watch, subs="sensor.reading")).run_sync()
    assert [line[0] for line in log.lines] == [*range(10, 20), *range(10, 20), *range(10, 15)]
    assert log.lines[10:20] == log.lines[:10]
    assert all(line[1] == line[0] / 100 and line[2]["count"] == line[0] for line in log.lines)


def test_a_duration_ends_a_replay_too() -> None:
    """run(duration) ends at the earlier of both (J.1-14)."""
    original()
    assert len(heard(Scheduler.replay_from("s").set_replay_speed(math.inf), "ctrl.cmd", duration=0.2)) == 20
    assert len(heard(Scheduler.replay_from("s").set_replay_speed(math.inf), "ctrl.cmd", duration=9)) == 50


@pytest.mark.parametrize("speed", [math.inf, 100])
def test_a_live_node_takes_the_place_of_the_recorded_one(speed: float) -> None:
    """Unchanged code sends byte-identical messages: clock, dt, random numbers and inputs are the recorded (J.1-15)."""
    recorded = original()
    replay = Scheduler.replay_from("s").set_replay_speed(speed).add(controller())
    assert heard(replay, *TOPICS) == recorded


def test_changed_code_gets_the_same_inputs() -> None:
    """Another gain gives other outputs for the same readings, tick by tick (J.1-15)."""
    recorded = original()
    changed = heard(Scheduler.replay_from("s").set_replay_speed(math.inf).add(controller(gain=0.25)), *TOPICS)
    assert [m for m in changed if m[0] == TOPICS[0]] == [m for m in recorded if m[0] == TOPICS[0]]
    old, new = ([m[1] for m in messages if m[0] == "ctrl.cmd"] for messages in (recorded, changed))
    assert [2 * value["output"] for value in new] == [value["output"] for value in old]
    assert [value["noise"] for value in new] == [value["noise"] for value in old]


def test_a_live_node_that_publishes_a_recorded_topic_takes_its_publishers_place() -> None:
    """A node of another name that declares the topic replaces the one that sent on it."""
    original()
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf).add(controller(name="controller_v2"))
    publishers = {m[4] for m in heard(replay, "ctrl.cmd")}
    assert publishers == {"controller_v2"}


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_clock_is_the_recorded_one(deterministic: bool) -> None:
    """now, dt, elapsed, tick and rng equal the recorded ones in a node of the same name (J.1-16)."""

    def node(log: Log) -> Node:
        def values(n: Node) -> None:
            log(tick(), now(), now_ns(), dt(), rng().random(), elapsed())

        return Node("n", tick=values, rate=50)

    first, second = Log(), Log()
    record("s", [node(first), sensor()], duration=0.3, deterministic=deterministic)
    Scheduler.replay_from("s").set_replay_speed(math.inf).add(node(second)).run_sync()
    assert len(first.lines) >= 5
    assert [line[:3] for line in second.lines] == [line[:3] for line in first.lines]
    assert [line[4:] for line in second.lines] == [line[4:] for line in first.lines]
    # files keep dt in whole nanoseconds; in a deterministic session it is computed from the rate, exactly
    tolerance = 0 if deterministic else 1e-9
    assert [line[3] for line in second.lines] == pytest.approx([line[3] for line in first.lines], abs=tolerance)


@pytest.mark.parametrize("live", ["plant", "control"])
def test_the_edge_that_closes_a_loop_still_comes_a_tick_later(live: str) -> None:
    """Live and recorded nodes keep the recorded order, so both halves of a loop replay identically."""
    topics = ["state", "cmd"]
    scheduler = Scheduler(deterministic=True, recording="s")
    for node in feedback():
        scheduler.add(node)
    recorded = heard(scheduler, *topics, duration=0.2)
    node = next(node for node in feedback() if node.name == live)
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf).add(node)
    assert heard(replay, *topics) == recorded


def test_override_by_value() -> None:
    """A value takes the place of each recorded one; the live controller reacts to it (J.1-19)."""
    original()
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf).add(controller())
    replay.set_replay_override("sensor", "sensor.reading", {"value": 99.0, "count": 0})
    messages = heard(replay, *TOPICS)
    assert {m[1]["value"] for m in messages if m[0] == TOPICS[0]} == {99.0}
    assert {m[1]["output"] for m in messages if m[0] == TOPICS[1]} == {49.5}
    assert [m[2] for m in messages if m[0] == TOPICS[0]] == [*range(50)]


def test_override_by_bytes() -> None:
    """Given bytes arrive as bytes (J.1-19)."""
    original()
    data = struct.pack("<fi", 99.0, 0)
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf)
    replay.set_replay_override("sensor", "sensor.reading", data)
    assert {m[1] for m in heard(replay, TOPICS[0])} == {data}


def test_override_by_function() -> None:
    """A function gets the recorded message and returns the new value (J.1-19)."""
    recorded = original()
    seen: list[Message] = []

    def double(message: Message) -> Any:
        seen.append(message)
        return {**message.value, "value": 2 * message.value["value"]}

    replay = Scheduler.replay_from("s").set_replay_speed(math.inf)
    messages = heard(replay.set_replay_override("sensor", "sensor.reading", double), TOPICS[0])
    before = [m for m in recorded if m[0] == TOPICS[0]]
    assert [m[1]["value"] for m in messages] == [2 * m[1]["value"] for m in before]
    assert [(m.topic, m.value, m.seq, m.stamp_ns, m.publisher) for m in seen] == before


def test_override_of_nothing_is_an_error_that_lists_what_there_is() -> None:
    """An unknown node or topic is an error with the known ones (J.1-19)."""
    record("s", pair())
    replay = Scheduler.replay_from("s")
    with pytest.raises(ReplayError, match=r"sensr.*controller.*sensor"):
        replay.set_replay_override("sensr", "sensor.reading", 1)
    with pytest.raises(ReplayError, match=r"reading.*sensor\.reading"):
        replay.set_replay_override("sensor", "reading", 1)
    with pytest.raises(HorusError):
        replay.set_replay_override("sensor", "sensor.reading", object())


def test_replay_options_need_a_replay() -> None:
    """On a scheduler that replays nothing they are errors (J.1-21)."""
    scheduler = Scheduler()
    uses: list[Callable[[], object]] = [
        lambda: scheduler.start_at_tick(0),
        lambda: scheduler.stop_at_tick(0),
        lambda: scheduler.set_replay_speed(1),
        scheduler.loop,
        lambda: scheduler.set_replay_override("a", "b", 1),
    ]
    for use in uses:
        with pytest.raises(ReplayError, match="replay"):
            use()


@pytest.mark.parametrize("deterministic", [True, False])
def test_add_replay_feeds_a_live_node(deterministic: bool) -> None:
    """One recorded node plays among live ones, at its ticks; the run goes on until its duration (J.1-15)."""
    files = record("s", pair(), duration=0.2)
    got: list[Any] = []
    ticks = Log()

    def live(n: Node) -> None:
        ticks(tick())
        got.extend((m.value["count"], m.publisher, m.seq) for m in iter(lambda: n.recv_message("sensor.reading"), None))

    scheduler = Scheduler(deterministic=deterministic, seed=3)
    assert scheduler.add_replay(file_of(files, "sensor")) is scheduler
    scheduler.add(Node("live", tick=live, subs="sensor.reading")).run_sync(0.3)
    assert got == [(count, "sensor", count) for count in range(20)]
    assert max(ticks.lines) >= 25


def test_add_replay_with_unchanged_code_gives_the_recorded_output() -> None:
    """In deterministic mode with the recorded seed the live controller sends what it did (J.1-15)."""
    recorded = original()
    files = [str(path) for path in sorted(_session_files("s"))]
    scheduler = Scheduler(deterministic=True, seed=3).add_replay(file_of(files, "sensor")).add(controller())
    assert heard(scheduler, *TOPICS, duration=0.5) == recorded


def _session_files(name: str) -> list[Path]:
    import os
    from pathlib import Path

    return [*(Path(os.environ["HORUS_RECORDINGS_DIR"]) / name).iterdir()]


@pytest.mark.parametrize("live_first", [True, False])
@pytest.mark.parametrize("name", ["sensor", "sensor_v2"])
def test_a_live_node_takes_the_place_of_an_added_one(live_first: bool, name: str) -> None:
    """By name or by a topic that both publish, whichever was added first."""
    files = record("s", pair(), duration=0.1)
    scheduler = Scheduler(deterministic=True, seed=99)
    live = Node(name, tick=lambda n: n.send("sensor.reading", "live"), pubs="sensor.reading")
    if live_first:
        scheduler.add(live).add_replay(file_of(files, "sensor"))
    else:
        scheduler.add_replay(file_of(files, "sensor")).add(live)
    assert [(m[1], m[4]) for m in heard(scheduler, "sensor.reading", duration=0.05)] == [("live", name)] * 5


def test_add_replay_refuses_what_cannot_work() -> None:
    """The same node twice, and a scheduler that replays a whole session."""
    files = record("s", pair(), duration=0.1)
    with pytest.raises(ConfigurationError, match="sensor"):
        Scheduler().add_replay(file_of(files, "sensor")).add_replay(file_of(files, "sensor"))
    with pytest.raises(ReplayError, match="whole session"):
        Scheduler.replay_from("s").add_replay(file_of(files, "sensor"))


def test_a_replay_can_be_recorded() -> None:
    """What plays is recorded again, and that recording replays the same."""
    recorded = original()
    files = [str(path) for path in _session_files("s")]
    scheduler = Scheduler(deterministic=True, seed=3, recording="again").add_replay(file_of(files, "sensor"))
    scheduler.add(controller())
    scheduler.run_sync(0.5)
    assert heard(Scheduler.replay_from("again").set_replay_speed(math.inf), *TOPICS) == recorded


def test_an_unrelated_live_node_listens() -> None:
    """It gets messages at their recorded ticks with recorded identity (J.1-13)."""
    recorded = original()
    log = Log()

    def listen(n: Node) -> None:
        while (m := n.recv_message("ctrl.cmd")) is not None:
            log("ctrl.cmd", m.value, m.seq, m.stamp_ns, m.publisher)
            assert m.stamp_ns == now_ns()

    Scheduler.replay_from("s").set_replay_speed(math.inf).add(Node("l", tick=listen, subs="ctrl.cmd")).run_sync()
    assert log.lines == [m for m in recorded if m[0] == "ctrl.cmd"]


def test_recording_changes_nothing() -> None:
    """A deterministic run gives the same messages with and without a recording (J.1-6)."""
    log, plain = Log(), Log()
    for target, recording in ((log, "s"), (plain, False)):
        scheduler = Scheduler(deterministic=True, seed=3, recording=recording)
        for node in pair():
            scheduler.add(node)
        target.lines = heard(scheduler, *TOPICS, duration=0.5)
    assert log.lines == plain.lines


def test_a_failing_override_function_ends_the_replay() -> None:
    """Its exception comes out, with the node's name."""
    record("s", pair())
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf)
    replay.set_replay_override("sensor", "sensor.reading", lambda m: 1 / 0)
    with pytest.raises(HorusError, match="sensor"):
        replay.run_sync()


def test_stop_ends_a_looping_replay() -> None:
    """request_stop of a live node ends it; without nodes a loop runs until its duration."""
    record("s", pair(), duration=0.05)
    Scheduler.replay_from("s").loop().set_replay_speed(math.inf).run_sync(1.0)
    run_nodes(Node("n", tick=lambda n: None), duration=0.01)


def _homing(*, waits: bool) -> list[Node]:
    """A motor that homes each time it starts, fails twice, and somebody who hears of it."""
    ticks = itertools.count()

    async def init_slowly(n: Node) -> None:
        n.send("homing", "begins")
        await sleep(0.023)
        n.send("homing", "done")

    def drive(n: Node) -> None:
        count = next(ticks)
        n.send("position", count)
        if count in (4, 8):
            raise OSError("gone")

    return [
        Node(
            "motor",
            tick=drive,
            init=init_slowly if waits else lambda n: n.send("homing", "begins"),
            failure_policy=Restart(max_retries=10, backoff=0.02),
        ),
        Node("z", tick=lambda n: n.send("heard", n.recv_all("homing"))),
    ]


class _Sent(Observer):
    def __init__(self) -> None:
        self.found: list[tuple[Any, ...]] = []

    def sent(self, message: Sent) -> None:
        self.found.append((message.tick, *message[:4], bytes(message.payload)))


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("start", [None, 0, 2, 6, 7, 14])
def test_what_a_repeated_init_sent_plays_at_its_tick(*, deterministic: bool, waits: bool, start: int | None) -> None:
    """Between the ticks before and after it, also of a replay that begins between its beginning and its end."""
    told, again = _Sent(), _Sent()
    scheduler = Scheduler(deterministic=deterministic, recording="s").observe(told)
    for node in _homing(waits=waits):
        scheduler.add(node)
    scheduler.run_sync(0.25)
    assert len([message for message in told.found if b"begins" in message[-1] and message[1] == "motor"]) == 3
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf).observe(again)
    if start is not None:
        replay.start_at_tick(start)
    replay.run_sync()
    wanted = [message for message in told.found if start in (None, 0) or message[0] >= start]
    if deterministic:
        assert again.found == wanted
    else:  # which of two came first within a tick that has begun is not told
        assert sorted(again.found) == sorted(wanted)
        for name in ("motor", "z"):
            assert [m for m in again.found if m[1] == name] == [m for m in wanted if m[1] == name]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])
@pytest.mark.parametrize("how", ["add_replay", "inject"])
def test_a_repeated_init_plays_among_live_nodes(how: str, *, waits: bool) -> None:
    """It is not the live scheduler's to repeat."""
    told, again = _Sent(), _Sent()
    scheduler = Scheduler(deterministic=True, recording="s").observe(told)
    for node in _homing(waits=waits):
        scheduler.add(node)
    scheduler.run_sync(0.25)
    files = scheduler.stop_recording()
    live = Scheduler(deterministic=True).observe(again)
    if how == "inject":
        live.inject("s", "motor")
    else:
        live.add_replay(file_of(files, "motor"))
    live.add(_homing(waits=waits)[1]).run_sync(0.25)
    motor = [[message for message in one.found if message[1] == "motor"] for one in (told, again)]
    assert [(m[0], m[2], m[3], m[5]) for m in motor[1]] == [(m[0], m[2], m[3], m[5]) for m in motor[0]]


@pytest.mark.parametrize("speed", [1.0, math.inf])
def test_what_a_task_sends_on_a_message_plays_after_it(speed: float) -> None:
    """At the same instant, with other nodes before the one that woke it."""
    told, again = _Sent(), _Sent()

    async def answer(n: Node) -> None:
        async for question in n.subscribe("question"):
            n.send("answer", question)

    scheduler = Scheduler(deterministic=True, recording="s").observe(told)
    scheduler.add(Node("first", tick=lambda n: n.send("noise", tick()), order=-1))
    scheduler.add(Node("asks", tick=lambda n: n.send("question", tick()), pubs="question", rate=20))
    scheduler.add(
        Node("answers", tick=lambda n: None, init=lambda n: n.background(answer, n), subs="question", pubs="answer")
    )
    scheduler.run_sync(0.2)
    Scheduler.replay_from("s").set_replay_speed(speed).observe(again).run_sync()
    assert again.found == told.found
    assert {message[1] for message in told.found} == {"first", "asks", "answers"}
