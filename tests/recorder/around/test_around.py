"""Sessions around what happens: triggers of all kinds, from anywhere, and what goes wrong meanwhile."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import (
    Anomaly,
    Around,
    ConfigurationError,
    EmergencyStop,
    Keep,
    Miss,
    Node,
    NodeFailure,
    RecordingError,
    RecordingOptions,
    Redact,
    Scheduler,
    SessionNameError,
    Skip,
    sleep,
    tick,
)
from horus_async.append_file import AppendFile
from horus_async.recorder import Session, list_sessions
from horus_async.recorder.around import order as order_module
from horus_async.recorder.around.ranges import Ranges, Trigger
from horus_async.recorder.edit.cut import cut_session
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.check import Verdict, check_session
from tests.engine.programs import environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def counter(**options: Any) -> Node:
    """Sends the number of the tick."""
    return Node("counter", tick=lambda n: n.send("count", {"n": tick(), "secret": "xyzzy"}), pubs="count", **options)


def scheduler(root: Path, around: Around, *nodes: Node, deterministic: bool = True, **options: Any) -> Scheduler:
    """One that is recorded so, as ``s``."""
    made = Scheduler(
        deterministic=deterministic,
        recording=RecordingOptions(name="s", around=around, **options),
        recordings_dir=root,
    )
    for node in nodes or (counter(),):
        made.add(node)
    return made


def ranges(root: Path, names: Sequence[str] | None = None) -> list[tuple[int | None, int | None]]:
    """The ticks of all sessions, or of these."""
    chosen = sorted(path.name for path in root.iterdir()) if names is None else names
    return [(session.first_tick, session.last_tick) for session in (Session(root / name) for name in chosen)]


def problems(ran: Scheduler) -> list[str]:
    """What is said at the end."""
    assert ran._recorder is not None
    return ran._recorder.problems


def sessions(ran: Scheduler) -> list[str]:
    """What was made."""
    stats = ran.stats().recording
    assert stats is not None
    assert stats.sessions is not None
    return list(stats.sessions)


# -- what it is made on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "wanted"), [("init", (0, 20)), ("first", (0, 20)), ("last", (69, 99)), ("shutdown", (69, 99))]
)
def test_triggers_at_the_edges_of_a_run(tmp_path: Path, where: str, wanted: tuple[int, int]) -> None:
    """Before the first tick, in it, in the last one, and after it."""
    around = Around(before=0.3, after=0.2, on=())
    at = {"first": 0, "last": 99}

    def act(_: Node) -> None:
        if tick() == at.get(where):
            around.trigger(where)

    node = Node(
        "edge",
        tick=act,
        init=lambda _: around.trigger("init") if where == "init" else None,
        shutdown=lambda _: around.trigger("shutdown") if where == "shutdown" else None,
    )
    ran = scheduler(tmp_path, around, counter(), node)
    ran.run_sync(1)
    assert ranges(tmp_path) == [wanted]
    trigger = Session(tmp_path / "s-1").trigger
    assert trigger is not None
    assert [one["text"] for one in trigger["triggers"]] == [where]


def test_nothing_happens_and_nothing_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Which the log says."""
    caplog.set_level(logging.INFO)
    ran = scheduler(tmp_path, Around(before=1, after=1))
    ran.run_sync(1)
    assert list(tmp_path.iterdir()) == []
    assert sessions(ran) == ran.stop_recording() == []
    assert "nothing has happened" in caplog.text


def test_anomalies(tmp_path: Path) -> None:
    """A node that fails, one that is late, an emergency stop: the kinds that are asked for."""

    def fail(_: Node) -> None:
        if tick() == 50:
            raise ValueError("no")

    async def late(_: Node) -> None:
        if tick() == 20:
            await sleep(0.03)

    def nodes() -> list[Node]:
        return [
            Node("bad", tick=fail, failure_policy=Skip(10, 1)),
            Node("late", tick=late, deadline=0.01, on_miss=Miss.WARN),
        ]

    scheduler(tmp_path / "any", Around(0.1, 0.1), *nodes()).run_sync(1)
    assert ranges(tmp_path / "any") == [(11, 32), (40, 61)]  # told of in 21; the policy's end in 51
    scheduler(tmp_path / "one", Around(0.1, 0.1, on=Anomaly.NODE_ERROR), *nodes()).run_sync(1)
    assert ranges(tmp_path / "one") == [(40, 60)]
    trigger = Session(tmp_path / "one" / "s-1").trigger
    assert trigger is not None
    assert trigger["triggers"] == [
        {"tick": 50, "now_ns": 500_000_000, "kind": "anomaly", "what": "node_error", "text": "bad: ValueError: no"}
    ]

    stopping = scheduler(tmp_path / "stop", Around(0.1, 0.1, on=[Anomaly.EMERGENCY_STOP]), counter(), nodes()[1])
    stopping.nodes[1].on_miss = Miss.STOP
    with pytest.raises(EmergencyStop):
        stopping.run_sync(1)
    assert len(ranges(tmp_path / "stop")) == 1


def test_a_failure_that_ends_the_run(tmp_path: Path) -> None:
    """The session has what there is; one of a failing ``init`` too, or it is said where that is."""

    def fail(_: Node) -> None:
        if tick() == 50:
            raise ValueError("no")

    ran = scheduler(tmp_path / "tick", Around(0.1, 0.1), Node("bad", tick=fail))
    with pytest.raises(NodeFailure):
        ran.run_sync(1)
    assert ranges(tmp_path / "tick") == [(40, 50)]

    def never(_: Node) -> None:
        raise ValueError("never")

    ran = scheduler(tmp_path / "init", Around(0.1, 0.1), Node("bad", tick=fail, init=never))
    with pytest.raises(NodeFailure):
        ran.run_sync(1)
    (left,) = (tmp_path / "init").iterdir()
    assert any("never" in str(line.error) for line in Session(left).executions("bad") if hasattr(line, "error"))


def test_messages_that_count(tmp_path: Path) -> None:
    """Functions of a message, or of topic and message; also of what is left out or hidden, of which nothing shows."""
    seen: list[str] = []

    def secret_at_40(message: dict[str, Any]) -> bool:
        return bool(message["n"] == 40 and message.pop("secret") == "xyzzy")

    def any_topic(topic: str, message: Any) -> bool:
        seen.append(topic)
        return bool(message == "now")

    other = Node("other", tick=lambda n: n.send("said", "now" if tick() == 70 else ""), pubs="said")
    around = Around(0.1, 0.05, on=[{"cou*": secret_at_40}, any_topic])
    ran = scheduler(tmp_path, around, counter(), other, redact={"count": Redact.DROP}, exclude_topics=("said",))
    ran.run_sync(1)
    assert ranges(tmp_path) == [(30, 45), (60, 75)]
    assert set(seen) == {"count", "said"}
    for name in sessions(ran):
        session = Session(tmp_path / name)
        assert {message.topic for message in session_messages(session)} == {"count"}
        assert "xyzzy" not in json.dumps([message.data for message in session_messages(session)])
        assert "xyzzy" not in (session.path / "session.json").read_text()


def test_a_predicate_that_fails_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once in the log, without the exception's text, and at the end; the run and its recording go on."""

    def picky(message: dict[str, Any]) -> bool:
        if message["n"] < 50:
            raise KeyError(message["secret"])
        return bool(message["n"] == 60)

    ran = scheduler(tmp_path, Around(0.1, 0.1, on={"count": picky}))
    ran.run_sync(1)
    assert ranges(tmp_path) == [(50, 70)]
    assert problems(ran) == ["around: picky failed 50 times"]
    assert caplog.text.count("picky failed with KeyError") == 1
    assert "xyzzy" not in caplog.text


def test_what_goes_on_for_ever_is_many_sessions_that_touch(tmp_path: Path) -> None:
    """A condition that always holds must not make one session of the whole run, which the window would have to hold."""
    ran = scheduler(tmp_path, Around(0.05, 0.05, on={"count": lambda _: True}))
    ran.run_sync(5)
    made = ranges(tmp_path, sessions(ran))
    assert len(made) > 2
    assert made[0][0] == 0
    assert made[-1][1] == 499
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(made))  # type: ignore[operator]
    assert not problems(ran)


def test_a_session_that_grew_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """It was made when its time was over; then something else happened, so soon that they overlap."""
    there: list[list[str]] = []
    around = Around(1, 0.2, on=())

    def act(_: Node) -> None:
        if tick() in {100, 180}:
            around.trigger()
        if tick() == 170:
            there.append(sorted(path.name for path in tmp_path.iterdir()))

    ran = scheduler(tmp_path, around, counter(), Node("act", tick=act))
    ran.run_sync(3)
    assert there == [["s-1", "s-window"]]
    assert sessions(ran) == ["s-2"]
    assert ranges(tmp_path) == [(0, 200)]


def test_triggers_are_told_up_to_a_number_and_all_counted() -> None:
    """So that a manifest stays short."""
    found = Ranges(10, 1000)
    for number in range(500):
        found.trigger(Trigger(number, 0, "call", "", ""))
    due = found.due(2000)
    assert due is not None
    assert (due.count, len(due.triggers)) == (500, 100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"before": -1},
        {"before": float("inf")},
        {"after": float("nan")},
        {"after": "3"},
        {"on": 5},
        {"on": "odom"},
        {"on": {"odom": 3}},
        {"on": {3: bool}},
        {"on": [Anomaly, "x"]},
        {"on": int},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    """With the option's name, and what to give instead."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Around(**wrong)


def test_options_that_do_not_go_together() -> None:
    """Rotation, and names without room for a number."""
    with pytest.raises(ConfigurationError, match="rotate"):
        RecordingOptions(around=Around(), rotate_mb=3)
    with pytest.raises(ConfigurationError, match="around"):
        RecordingOptions(around=30)  # type: ignore[arg-type]
    with pytest.raises(SessionNameError):
        RecordingOptions(name="x" * 250, around=Around())


# -- what can be done with it ------------------------------------------------------------------------------------------


def test_what_was_made_replays_and_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nodes read that was sent long before is there, as in any session that was cut."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    around = Around(1, 0.5, on=())

    def map_maker(n: Node) -> None:
        if tick() in {3, 5, 7}:
            n.send("map", tick())

    def plan(n: Node) -> None:
        n.send("plan", (n.latest("map"), n.recv("count")))

    def nodes() -> list[Node]:
        return [
            counter(),
            Node("maker", tick=map_maker, pubs={"map": Keep(int, 2)}),
            Node("plan", tick=plan, subs=["map", "count"], pubs="plan"),
        ]

    act = Node("act", tick=lambda _: around.trigger() if tick() == 3000 else None)
    ran = scheduler(tmp_path, around, *nodes(), act)
    ran.run_sync(40)
    assert ranges(tmp_path) == [(2900, 3050)]
    session = Session(tmp_path / "s-1")
    assert {(m.topic, m.data) for m in session.earlier()} >= {("map", 7)}
    report = trio.run(Scheduler.verify, "s-1", Scheduler(deterministic=True).add(nodes()[2]), ["plan"])
    assert report.passed, report
    replay = Scheduler.replay_from("s-1")
    replay.run_sync()
    cut_session(session, "again", start=2950, root=tmp_path)
    assert Session(tmp_path / "again").trigger == session.trigger


def test_a_name_is_used_again(tmp_path: Path) -> None:
    """Runs go on with the next number; a window that a killed process has left is not touched."""
    for _ in range(2):
        around = Around(0.1, 0.1, on={"count": lambda message: message["n"] == 50})
        scheduler(tmp_path, around).run_sync(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s-1", "s-2"]
    (tmp_path / "s-1").rename(tmp_path / "s-window")
    scheduler(tmp_path, around).run_sync(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s-2", "s-3", "s-window"]


def test_a_recording_without_a_name(tmp_path: Path) -> None:
    """Gets one from the time, with a number."""
    around = Around(0.1, 0.1, on={"count": lambda message: message["n"] == 50})
    ran = Scheduler(deterministic=True, recording=RecordingOptions(around=around), recordings_dir=tmp_path)
    ran.add(counter()).run_sync(1)
    (name,) = sessions(ran)
    assert name.startswith("recording_")
    assert name.endswith("-1")


def test_quotas_hold_for_what_is_made(tmp_path: Path) -> None:
    """The oldest go, however many are made in one run."""
    around = Around(0.01, 0.01, on={"count": lambda message: message["n"] % 50 == 49})
    ran = scheduler(tmp_path, around, keep_sessions=3)
    ran.run_sync(5)
    assert len(list(tmp_path.iterdir())) <= 3
    assert len(sessions(ran)) == 10
    assert ran.stop_recording()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_session_that_cannot_be_made_leaves_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on, it is said, and what there is stays."""

    def full(*_: Any, **__: Any) -> Any:
        raise RecordingError("no space left on device")

    monkeypatch.setattr(order_module, "cut_session", full)
    ran = scheduler(tmp_path, Around(0.1, 0.1, on={"count": lambda message: message["n"] == 50}))
    ran.run_sync(1)
    assert [path.name for path in tmp_path.iterdir()] == ["s-window"]
    assert "no space left on device" in problems(ran)[0]
    assert "s-window" in problems(ran)[1]
    left = Session(tmp_path / "s-window")
    assert left.window
    checked = check_session(left)
    assert checked.verdict is Verdict.WHOLE
    assert not checked.problems


def test_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was lost then is counted where it is missing; what came after it is there."""
    append, refused = AppendFile.append, [0]

    def sometimes(self: AppendFile, data: bytes) -> None:
        if 100 < refused[0] < 160:
            refused[0] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        refused[0] += 1
        append(self, data)

    monkeypatch.setattr(AppendFile, "append", sometimes)
    monkeypatch.setattr("horus_async.recorder.write.writer.RETRY_SECONDS", 0.01)
    around = Around(2, 0.5, on=())
    act = Node("act", tick=lambda _: around.trigger() if tick() % 1000 == 999 else None)
    ran = scheduler(tmp_path, around, counter(), act, interval=0.001)
    ran.run_sync(50)
    stats = ran.stats().recording
    assert stats is not None
    for name in sessions(ran):
        session = Session(tmp_path / name)
        numbers = [message.data["n"] for message in session_messages(session)]
        assert numbers == sorted(set(numbers))
        missing = set(range(session.first_tick or 0, (session.last_tick or 0) + 1)) - set(numbers)
        assert not missing or session.gaps()
    assert len(sessions(ran)) + sum("could be made" in problem for problem in problems(ran)) == 5


PROGRAM = """
import sys, threading
from pathlib import Path
from horus_async import Anomaly, Around, Node, RecordingOptions, Scheduler, tick

around = Around(before=0.5, after=0.1, on=())
threads = []

def act(n):
    n.send("count", tick())
    if tick() == 150:
        threads.append(threading.Thread(target=around.trigger, args=("from a thread",)))
        threads[0].start()
    if tick() > 150 and Path(sys.argv[1], "s-1", "session.json").exists():
        if sys.argv[2] == "ends":
            n.request_stop()
        else:
            print("made", flush=True)

s = Scheduler(recording=RecordingOptions(name="s", around=around), recordings_dir=sys.argv[1])
s.add(Node("counter", tick=act, pubs="count", rate=100)).run_sync(60)
threads[0].join()
print(s.stats().recording.sessions, s._recorder.problems)
"""


def test_in_real_time_a_process_makes_it_while_the_run_goes_on(tmp_path: Path) -> None:
    """From a trigger in a thread; two programs of one name at once do not disturb each other."""
    robots = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), "ends"], env=environment(), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [robot.communicate(timeout=120)[0].strip() for robot in robots]
    assert sorted(said) == ["('s-1',) []", "('s-2',) []"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s-1", "s-2"]
    for name in ("s-1", "s-2"):
        session = Session(tmp_path / name)
        assert check_session(session).verdict is Verdict.WHOLE
        numbers = [message.seq for message in session_messages(session)]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert session.trigger is not None
        at = session.trigger["triggers"][0]["tick"]
        assert (session.first_tick, session.last_tick) == (at - 50, at + 10)


def test_a_killed_process_leaves_its_window(tmp_path: Path) -> None:
    """With its last seconds, to be read, cut and replayed; a check finds no damage."""
    robot = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "goes on"], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert robot.stdout is not None
    assert robot.stdout.readline() == "made\n"
    lines = [robot.stdout.readline() for _ in range(200)]
    assert lines
    robot.send_signal(signal.SIGKILL)
    robot.wait()
    robot.stdout.close()
    left = Session(tmp_path / "s-window")
    assert left.window
    assert left.first_tick is not None
    assert left.last_tick is not None
    assert left.last_tick - left.first_tick >= 50
    assert not left.unreadable
    assert check_session(left).verdict is Verdict.CUT
    cut_session(left, "crash", root=tmp_path)
    numbers = [message.seq for message in session_messages(Session(tmp_path / "crash"))]
    assert numbers[-1] - numbers[0] >= 50
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert {summary.name for summary in list_sessions(tmp_path)} == {"crash", "s-1", "s-window"}
    replay = Scheduler.replay_from(tmp_path / "crash")
    replay.run_sync()


def test_triggers_of_many_threads_at_once(tmp_path: Path) -> None:
    """None is lost, whoever calls."""
    around = Around(1, 0.05, on=())

    def storm(n: Node) -> None:
        if tick() == 20:
            threads = [threading.Thread(target=ran.trigger, args=(f"{number}",)) for number in range(50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            n.request_stop()

    ran = scheduler(tmp_path, around, Node("storm", tick=storm, rate=100), deterministic=False)
    ran.run_sync(60)
    ran.trigger("too late: that is no error")
    (name,) = sessions(ran)
    trigger = Session(tmp_path / name).trigger
    assert trigger is not None
    assert trigger["count"] == 50
    assert {one["text"] for one in trigger["triggers"]} == {str(number) for number in range(50)}


def test_what_was_read_and_is_not_there_is_counted(tmp_path: Path) -> None:
    """A node that reads ever further behind: what was sent in the second before is there, the rest is said."""
    around = Around(0.5, 0.1, on=())

    def behind(n: Node) -> None:
        n.recv("count")
        if tick() == 2000:
            around.trigger()

    ran = scheduler(tmp_path, around, counter(), Node("behind", tick=behind, subs="count", rate=90))
    ran.run_sync(25)
    session = Session(tmp_path / "s-1")
    missing = [note for note in session.notes if "had been sent before" in note]
    assert len(missing) == 1
    assert not problems(ran)


def test_a_forked_child_makes_and_removes_nothing(tmp_path: Path) -> None:
    """What its parent records is its parent's."""
    around = Around(0.5, 0.1, on=())
    there: list[list[str]] = []

    def fork(_: Node) -> None:
        if tick() == 50:
            around.trigger()
            child = os.fork()
            if not child:
                ran.stop_recording()
                os._exit(0)
            os.waitpid(child, 0)
            there.append(sorted(path.name for path in tmp_path.iterdir()))

    ran = scheduler(tmp_path, around, counter(), Node("fork", tick=fork))
    ran.run_sync(1)
    assert there == [["s-window"]]
    assert ranges(tmp_path) == [(0, 60)]
    assert not problems(ran)
