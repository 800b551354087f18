"""``record cut`` and ``record merge``: sessions made of sessions."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Node, RecordingError, Scheduler, SessionExistsError, elapsed, now, rng, sleep, tick
from horus_async.observe import Execution, External, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions, Session, open_session
from horus_async.recorder.edit.cut import cut_session
from horus_async.recorder.edit.merge import merge_sessions
from horus_async.recorder.messages import session_messages
from horus_async.recorder.origin import (
    Attachment,
    Metadata,
    Origin,
    attachment_path,
    read_origin,
    write_attachment,
    write_origin,
)
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.records import ExecutionRecord, SendsRecord
from tests.replay.rewriting import rewrite
from tests.replay.sessions import PROGRAMS, controller, heard, pair, record, sensor

from .sessions import call, call_json, damage, outsider, robot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.replay.rewriting import Lines

SECOND = 1_000_000_000
DAY_NS = 1_795_230_000 * SECOND


def messages(*sessions: str | Session) -> list[Any]:
    """All messages of some sessions, in one order."""
    found = [message for session in sessions for message in session_messages(open_session(session))]
    return sorted(found, key=lambda m: (m.tick, m.publisher, m.topic, m.seq, m.stamp_ns))


def is_whole(name: str) -> bool:
    """Whether ``check`` finds nothing."""
    found = check_session(open_session(name))
    return found.verdict is Verdict.WHOLE and not any(file.problems for file in found.files)


def callbacks(session: Session, node: str) -> list[Any]:
    """The callbacks of a node with all that they sent, in order, whatever lines hold it."""
    found, sent = [], list[Any]()
    for line in session.executions(node):
        if isinstance(line, SendsRecord) and line.tick is not None:
            sent += line.outputs
        if isinstance(line, ExecutionRecord):
            found.append(attrs.evolve(line, outputs=(*sent, *line.outputs)))
            sent = []
    return found


# -- cut ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("program", PROGRAMS)
def test_cuts_hold_their_ticks_and_together_everything(program: str, *, deterministic: bool) -> None:
    """The laws: a cut of all is the same, two cuts that touch have each message once, and merged they are the whole."""
    record("s", PROGRAMS[program](), duration=0.2, deterministic=deterministic)
    whole = open_session("s")
    cut_session(whole, "all")
    assert messages("all") == messages("s")
    assert is_whole("all")
    for at in (4, 9):
        head, tail = cut_session(whole, f"head{at}", stop=at), cut_session(whole, f"tail{at}", start=at + 1)
        assert head.whole
        assert tail.whole
        assert is_whole(head.session)
        assert is_whole(tail.session)
        wanted = messages("s")
        assert messages(head.session) == [m for m in wanted if m.tick <= at]
        assert messages(tail.session) == [m for m in wanted if m.tick > at]
        merged = merge_sessions([open_session(tail.session), open_session(head.session)], f"both{at}")
        assert messages(merged.session) == wanted
        assert is_whole(merged.session)
        for node in whole.nodes:
            assert callbacks(open_session(merged.session), node) == callbacks(whole, node)


@pytest.mark.parametrize("at", range(5, 20))
def test_callbacks_that_a_cut_goes_through_are_put_together_again(recordings_dir: Path, at: int) -> None:
    """In lines of their own or not: all that they sent, in order, and whether they ended."""

    async def slow(n: Node) -> None:
        for number in range(12):
            n.send("slow", number)
            await sleep(0.01 if tick() % 2 else 0.003)

    nodes = [Node("slow", tick=slow, pubs="slow", rate=5), *PROGRAMS["suspended"]()]
    nodes[1] = Node("quicker", tick=slow, pubs="slow", rate=12)
    record("s", nodes, duration=0.3)
    whole = open_session("s")
    cut_session(whole, "head", stop=at)
    cut_session(whole, "tail", start=at + 1)
    merge_sessions([open_session("head"), open_session("tail")], "both")
    assert messages("both") == messages("s")
    for node in whole.nodes:
        assert callbacks(open_session("both"), node) == callbacks(whole, node)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 29), max_size=4, unique=True), st.booleans())
def test_any_row_of_cuts_is_the_whole(tmp_path_factory: pytest.TempPathFactory, at: list[int], backwards: bool) -> None:
    """However many, and in whatever order they are given."""
    root = tmp_path_factory.mktemp("cuts")
    whole = irregular(root, "s", [n * SECOND // 3 for n in range(30)])
    edges = [-1, *sorted(at), 29]
    parts = []
    for number, (before, last) in enumerate(itertools.pairwise(edges)):
        if before < last:
            parts.append(open_session(cut_session(whole, f"p{number}", start=before + 1, stop=last, root=root).path))
    if len(parts) < 2:
        return
    merged = merge_sessions(parts[::-1] if backwards else parts, "m", root=root)
    assert messages(open_session(merged.path)) == messages(whole)
    again = open_session(merged.path)
    assert list(again.scheduler_ticks()) == list(whole.scheduler_ticks())
    assert again.tick_rate == whole.tick_rate


WRONG_LINES: list[dict[str, Any]] = [
    {"tick": None},
    {"tick": "3"},
    {"outputs": 5},
    {"outputs": ["x"]},
    {"outputs": [{"topic": ["t"], "data": 1, "stamp_ns": 1, "seq": 0}]},
    {"outputs": [{"data": 1, "stamp_ns": 1, "seq": 0}]},
    {"outputs": [{"topic": "t", "data": 1, "stamp_ns": 1, "seq": 0, "tick": None}]},
    {"inputs": 7},
    {"inputs": [{"topic": "operator.cmd", "publisher": {}, "seq": 0}]},
    {"inputs": [3]},
    {"looks": 5},
    {"kind": "news", "tick": "x"},
    {"digest": "000000", "order": [], "outputs": 5},
    {"kind": "message", "topic": "t", "publisher": "p", "stamp_ns": 1, "seq": 0, "data": 1},
]


CUT = ("cut", "s", "--ticks", "1-7", "--name", "part")
MERGE = ("merge", "other", "s", "--prefix", "--name", "both")


def check_one_line_is_damage(*commands: tuple[str, ...]) -> None:
    """Each of the commands leaves one line out, says so, and ends with 1."""
    for arguments in commands:
        result = call(*arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 1
        assert "1 lines are none of a recording" in result.stderr


@pytest.mark.parametrize("wrong", WRONG_LINES, ids=str)
def test_lines_with_fields_of_a_wrong_type_are_damage(
    wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that readers refuse is left out and counted, as elsewhere; its seal may be right, if a program wrote it."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    robot(tmp_path, "other", ticks=9, outside=[outsider(2, 1)])
    whole = robot(tmp_path, "s", ticks=9, outside=[outsider(2, 1)])

    def spoil(recorded: Lines) -> Lines:
        return [line | wrong if line["kind"] == "tick" and line["tick"] == 4 else line for line in recorded]

    rewrite(str(whole.files["sensor"].path), spoil)
    check_one_line_is_damage(CUT, ("cut", "s", "--ticks", "5-7", "--name", "end"), MERGE)
    assert len(messages("part")) == 7 * 2 + 1 - 1
    assert "damaged in the session that this was made of" in str([*open_session("part").files["sensor"].gaps()])


@pytest.mark.parametrize(
    "added",
    [
        {"kind": "news", "inputs": 24, "outputs": 3},
        {"kind": "news", "tick": None, "outputs": [5]},
        {"kind": "sends", "tick": None, "outputs": []},
    ],
    ids=str,
)
def test_lines_that_say_nothing_here_are_copied(
    added: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kinds of later releases, whose fields may be anything, and lines that hold nothing."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    robot(tmp_path, "other", ticks=9)
    whole = robot(tmp_path, "s", ticks=9)
    rewrite(str(whole.files["sensor"].path), lambda found: [*found[:4], added, *found[4:]])
    for arguments in (CUT, MERGE):
        result = call(*arguments)
        assert result.exit_code == 0, (result.exception, result.output)
    assert is_whole("part")
    assert is_whole("both")


def test_a_look_without_a_number_is_one_at_the_first_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As readers take it."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    robot(tmp_path, "other", ticks=9)
    whole = robot(tmp_path, "s", ticks=9, outside=[outsider(0, 1)])
    looks = [{"topic": "operator.cmd", "asked": "latest", "publisher": "joystick"}]
    rewrite(str(whole.files["sensor"].path), lambda found: [*found[:3], found[3] | {"looks": looks}, *found[4:]])
    result = call("merge", "other", "s", "--prefix", "--name", "both")
    assert result.exit_code == 0, (result.exception, result.output)
    (line,) = [one for one in callbacks(open_session("both"), "s/sensor") if one.looks]
    assert (line.looks[0].publisher, line.looks[0].seq) == ("joystick", 0)


@pytest.mark.parametrize("wrong", [{"topic": ["t"]}, {"publisher": None}, {"seq": "x"}, {"tick": {}}], ids=str)
def test_external_lines_with_fields_of_a_wrong_type_are_damage(
    wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for messages of other processes."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    robot(tmp_path, "other", ticks=9, outside=[outsider(2, 1)])
    whole = robot(tmp_path, "s", ticks=9, outside=[outsider(2, 1)])
    assert whole.external_file is not None
    rewrite(str(whole.external_file.path), lambda found: [x | wrong if x["kind"] == "message" else x for x in found])
    check_one_line_is_damage(CUT, MERGE)


def irregular(
    root: Path,
    name: str,
    moments: list[int],
    *,
    node: str = "n",
    outside: list[External] | None = None,
    inputs: list[Any] | None = None,
    **options: Any,
) -> Session:
    """A session with a tick and a message at each moment, a start and a seed of its own."""
    recorder = Recorder(RecordingOptions(name=name), root, block=True)
    start_ns = DAY_NS + moments[0]
    rate, seed = options.get("tick_rate", 10.0), options.get("seed", 7)
    recorder.run_started(RunInfo("scheduler", rate, False, seed, start_ns, start_ns, "d", (NodeInfo(node, None),)))
    for message in outside or ():
        recorder.received_external(message)
    for number, moment in enumerate(moments):
        at_ns = DAY_NS + moment
        recorder.sent(Sent(node, "t", number, at_ns, b"%d" % number, number, number))
        recorder.executed(Execution("tick", node, number, at_ns, SECOND, 0, inputs or [], None))
        recorder.tick_ended(TickEnd(number, at_ns, [node]))
    recorder.run_stopped("duration", len(moments))
    return open_session(name, root)


def test_a_cut_keeps_the_clock(recordings_dir: Path) -> None:
    """``now()``, ``elapsed()`` and ``tick()`` are those of the run, though its first tick is not there."""
    irregular(recordings_dir, "s", [0, 7 * SECOND, 19 * SECOND, 20 * SECOND])
    call("cut", "s", "--ticks", "2-", "--name", "part")
    seen: list[Any] = []
    live = Node("live", on="t", tick=lambda n: seen.append((tick(), n.recv("t"), now(), elapsed())), subs="t")
    Scheduler.replay_from("part").set_replay_speed(math.inf).add(live).run_sync()
    day = DAY_NS / 1e9
    assert seen == [(2, 2, day + 19, 19.0), (3, 3, day + 20, 20.0)]


def test_everything_works_on_a_cut(recordings_dir: Path, tmp_path: Path) -> None:
    """info, check, diff, export, list, verify, replay, and cutting again."""
    record("s", pair(), duration=0.3)
    assert call("cut", "s", "--ticks", "10-19", "--name", "part").exit_code == 0
    info = call_json("info", "part")
    assert (info["first_tick"], info["last_tick"], info["notes"]) == (10, 19, [])
    assert call("check", "part").exit_code == 0
    assert call("diff", "part", "part").exit_code == 0
    assert call("export", "part", "--format", "csv", "--output", tmp_path / "out.csv").exit_code == 0
    assert "part" in call("list").output
    assert call("cut", "part", "--ticks", "12", "--name", "one").exit_code == 0
    assert {message.tick for message in messages("one")} == {12}
    found = heard(Scheduler.replay_from("part").set_replay_speed(math.inf), "sensor.reading")
    assert [row[2] for row in found] == list(range(10, 20))


def robot_nodes() -> list[Node]:
    """A sensor alone."""
    return [Node("sensor", tick=lambda n: n.send("sensor.reading", tick()), pubs="sensor.reading")]


def test_a_cut_of_all_verifies(recordings_dir: Path) -> None:
    """As what it was cut from."""
    record("s", pair(), duration=0.2)
    cut_session(open_session("s"), "all")
    cut_session(open_session("s"), "head", stop=9)
    for name in ("all", "head"):
        report = trio.run(Scheduler.verify, name, lambda: Scheduler(deterministic=True).add(sensor()).add(controller()))
        assert report.compared
        assert not report.differences


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_later_part_verifies_as_the_whole_does_from_there(program: str, *, deterministic: bool) -> None:
    """What its ticks read from before it is kept beside its messages, also when it is cut again or put together."""
    record("s", PROGRAMS[program](), duration=0.3 if deterministic else 0.6, deterministic=deterministic)
    cut_session(open_session("s"), "part", start=10)
    cut_session(open_session("part"), "again", start=15, stop=25)
    cut_session(open_session("s"), "middle", start=10, stop=20)
    cut_session(open_session("s"), "end", start=21)
    merge_sessions([open_session("middle"), open_session("end")], "joined")

    def build() -> Scheduler:
        scheduler = Scheduler(deterministic=deterministic)
        for node in PROGRAMS[program]():
            scheduler.add(node)
        return scheduler

    for name in ("part", "again", "middle", "joined"):
        report = trio.run(Scheduler.verify, name, build)
        assert report.compared
        assert not report.differences, report.first_difference
        if name in {"part", "joined"}:  # in others a callback that began in the part may have read something after it
            assert not [note for note in report.notes if "not in the recording" in note]
        assert is_whole(name)


def test_times_choose_ticks(recordings_dir: Path) -> None:
    """From A up to B; so spans that touch have no tick in common."""
    record("s", robot_nodes(), duration=0.3)
    for number, span in enumerate(
        ["0-0.1", "0.1-0.2", "0.2-", "-0.05", "1970-01-01T00:00:00.1Z-1970-01-01T00:00:00.15Z"]
    ):
        assert call("cut", "s", "--time", span, "--name", f"p{number}").exit_code == 0
    found = [(open_session(f"p{n}").first_tick, open_session(f"p{n}").last_tick) for n in range(5)]
    assert found == [(0, 9), (10, 19), (20, 29), (0, 4), (10, 14)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ticks", "5-2"], "there are no ticks 5 to 2"),
        (["--ticks", "50-60"], "has 0 to 29"),
        (["--ticks", "all"], "give N-M"),
        (["--ticks", "-"], "give N-M"),
        (["--time", "5-9"], "no tick there"),
        (["--time", "0.2-0.1"], "no tick there"),
        (["--time", "soon"], "give A-B"),
        ([], "--ticks N-M or --time A-B"),
        (["--ticks", "1-2", "--time", "0-1"], "--ticks N-M or --time A-B"),
    ],
)
def test_wrong_ranges_are_wrong_usage(recordings_dir: Path, options: list[str], says: str) -> None:
    """One line that says what there is, exit code 2, and no session."""
    record("s", robot_nodes(), duration=0.3)
    result = call("cut", "s", *options, "--name", "new")
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (recordings_dir / "new").exists()


def test_names_are_checked(recordings_dir: Path) -> None:
    """An existing session is not written over, and a name leads nowhere else."""
    record("s", robot_nodes(), duration=0.1)
    assert "already" in call("cut", "s", "--ticks", "0-", "--name", "s").stderr
    assert "cannot be used" in call("cut", "s", "--ticks", "0-", "--name", "../x").stderr
    with pytest.raises(SessionExistsError):
        cut_session(open_session("s"), "s")


def test_what_is_damaged_is_said_and_the_part_says_so_too(recordings_dir: Path) -> None:
    """Exit code 1; ``check`` of the part is no all-clear."""
    session = robot(recordings_dir, "s")
    path = next(iter(session.files.values())).path
    damage(path)
    result = call("cut", "s", "--ticks", "0-", "--name", "part")
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert call("check", "part").exit_code == 1


def test_a_missing_node_is_missing_from_the_part(recordings_dir: Path) -> None:
    """And not left out of it in silence."""
    session = robot(recordings_dir, "s")
    node, file = next(iter(session.files.items()))
    file.path.unlink()
    result = call("cut", "s", "--ticks", "0-", "--name", "part")
    assert result.exit_code == 1
    assert node in open_session("part").missing_nodes
    assert call("check", "part").exit_code == 1


def test_a_cut_of_a_killed_recording_is_closed(recordings_dir: Path) -> None:
    """As far as it goes."""
    node = Node("n", tick=lambda n: n.send("noise", rng().randbytes(50_000)), pubs="noise")
    Scheduler(deterministic=True, recording="s").add(node).run_sync(0.5)
    path = open_session("s").files["n"].path
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    result = call("cut", "s", "--ticks", "0-", "--name", "part")
    assert result.exit_code == 0, result.output
    assert "cut off" in result.stderr
    assert is_whole("part")
    assert 0 < len(messages("part")) < 50
    assert messages("part") == messages("s")


def test_a_full_disk_leaves_no_session(recordings_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 and one line."""
    from horus_async.recorder.write.frame_file import FrameFile

    record("s", robot_nodes(), duration=0.1)

    def full(self: FrameFile, text: bytes) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FrameFile, "write", full)
    result = call("cut", "s", "--ticks", "0-", "--name", "new")
    assert result.exit_code == 2
    assert "No space left" in result.stderr
    assert not (recordings_dir / "new").exists()


def test_files_that_follow_each_other_become_one(recordings_dir: Path) -> None:
    """A rotated session is cut like any other."""
    options = RecordingOptions(name="s", rotate_mb=0.5)
    node = Node("n", tick=lambda n: n.send("noise", rng().randbytes(50_000)), pubs="noise")
    Scheduler(deterministic=True, recording=options).add(node).run_sync(0.5)
    assert len(open_session("s").all_files()) > 2
    cut_session(open_session("s"), "part", start=3, stop=17)
    assert [message.tick for message in messages("part")] == list(range(3, 18))
    assert is_whole("part")
    assert len(open_session("part").all_files()) == 2


# -- merge -------------------------------------------------------------------------------------------------------------


def test_robots_are_merged_by_their_clocks(recordings_dir: Path) -> None:
    """Ticks are in the order of their times of day; one moment is one tick; stamps and numbers stay."""
    irregular(recordings_dir, "a", [0, 2 * SECOND, 4 * SECOND], node="left", seed=1)
    irregular(recordings_dir, "b", [SECOND, 2 * SECOND, 9 * SECOND], node="right", seed=2, tick_rate=50.0)
    result = call("merge", "a", "b", "--name", "both")
    assert result.exit_code == 0, result.output
    session = open_session("both")
    assert [(line.tick, line.now_ns - DAY_NS, line.order) for line in session.scheduler_ticks()] == [
        (0, 0, ("left",)),
        (1, SECOND, ("right",)),
        (2, 2 * SECOND, ("left", "right")),
        (3, 4 * SECOND, ("left",)),
        (4, 9 * SECOND, ("right",)),
    ]
    assert [(m.tick, m.publisher, m.seq, m.stamp_ns - DAY_NS) for m in messages("both")] == [
        (0, "left", 0, 0),
        (1, "right", 0, SECOND),
        (2, "left", 1, 2 * SECOND),
        (2, "right", 1, 2 * SECOND),
        (3, "left", 2, 4 * SECOND),
        (4, "right", 2, 9 * SECOND),
    ]
    assert is_whole("both")
    found = heard(Scheduler.replay_from("both").set_replay_speed(math.inf), "t")
    assert [(row[4], row[2]) for row in found] == [(m.publisher, m.seq) for m in messages("both")]


def test_nodes_of_the_same_name_need_a_prefix(recordings_dir: Path) -> None:
    """The error says so; with it inputs name the new publishers."""
    inputs = [("t", "n", 0, 0, 0)]
    irregular(recordings_dir, "a", [0, SECOND], seed=1, inputs=inputs)
    irregular(recordings_dir, "b", [0, SECOND], seed=2)
    result = call("merge", "a", "b", "--name", "both")
    assert result.exit_code == 2
    assert "'n'" in result.stderr
    assert "--prefix" in result.stderr
    assert call("merge", "a", "b", "--name", "both", "--prefix").exit_code == 0
    session = open_session("both")
    assert [*session.nodes] == ["a/n", "b/n"]
    assert {taken.publisher for line in session.executions("a/n") for taken in line.inputs} == {"a/n"}  # type: ignore[union-attr]
    assert [line.order for line in session.scheduler_ticks()] == [("a/n", "b/n")] * 2
    assert is_whole("both")


def test_deterministic_sessions_of_one_rate_stay_deterministic(recordings_dir: Path) -> None:
    """Their ticks coincide; where their rates differ the clock is written out."""
    record("a", [Node("one", tick=lambda n: n.send("a", tick()))], duration=0.1)
    record("b", [Node("two", tick=lambda n: n.send("b", tick()))], duration=0.2)
    made = merge_sessions([open_session("a"), open_session("b")], "both")
    session = open_session("both")
    assert session.deterministic
    assert (session.tick_rate, session.first_tick, session.last_tick) == (100.0, 0, 19)
    assert messages("both") == messages("a", "b")
    assert made.ticks == 20
    faster = Scheduler(deterministic=True, recording="c", tick_rate=1000)
    faster.add(Node("three", tick=lambda n: n.send("c", tick()), rate=1000))
    faster.run_sync(0.05)
    merge_sessions([open_session("a"), open_session("c")], "mixed")
    assert not open_session("mixed").deterministic
    assert [m.seq for m in messages("mixed") if m.topic == "c"] == list(range(50))
    assert is_whole("mixed")


def test_a_virtual_clock_and_the_time_of_day_have_nothing_in_common(recordings_dir: Path) -> None:
    """Half a century would lie between them."""
    record("a", [Node("one", tick=lambda n: n.send("a", tick()))], duration=0.1)
    irregular(recordings_dir, "b", [0, SECOND])
    result = call("merge", "a", "b", "--name", "both")
    assert result.exit_code == 2
    assert "no time in common" in result.stderr


def test_what_one_has_from_outside_and_another_from_its_node_is_there_once(recordings_dir: Path) -> None:
    """The node's message stays, the inputs of the other session name it; what is in no other session stays outside."""
    sender = irregular(recordings_dir, "sender", [0, SECOND, 2 * SECOND], node="camera", seed=1)
    theirs = [External(0, m.topic, m.publisher, m.seq, m.stamp_ns, b"%d" % m.seq, 0) for m in session_messages(sender)]
    other = External(0, "joy", "stick", 0, DAY_NS, b"5", 0)
    inputs = [("t", "camera", 1, 0, 0), ("joy", "stick", 0, 0, 0)]
    moments = [SECOND // 2, 3 * SECOND]
    irregular(recordings_dir, "reader", moments, node="eye", seed=2, outside=[*theirs[:2], other], inputs=inputs)
    result = call("merge", "reader", "sender", "--name", "both", "--prefix")
    assert "2 messages from outside are here once" in result.stderr
    session = open_session("both")
    assert [(m.topic, m.publisher) for m in session.external()] == [("joy", "stick")]
    taken = {(one.topic, one.publisher, one.source) for line in session.executions("reader/eye") for one in line.inputs}  # type: ignore[union-attr]
    assert taken == {("t", "sender/camera", 0), ("joy", "stick", 0)}
    assert len(messages("both")) == 6
    assert is_whole("both")


def test_what_several_heard_from_outside_is_there_once(recordings_dir: Path) -> None:
    """Publishers of one name that are not the same keep apart."""
    same = External(0, "joy", "stick", 0, DAY_NS, b"5", 0)
    another = External(0, "joy", "stick", 0, DAY_NS + 5, b"6", 0)
    irregular(recordings_dir, "a", [0, SECOND], node="one", seed=1, outside=[same])
    irregular(recordings_dir, "b", [0, SECOND], node="two", seed=2, outside=[same])
    irregular(recordings_dir, "c", [0, SECOND], node="three", seed=3, outside=[another])
    merge_sessions([open_session(name) for name in "abc"], "all")
    found = [(m.stamp_ns - DAY_NS, m.source) for m in open_session("all").external()]
    assert found == [(0, 0), (5, 1)]


def test_what_lies_between_parts_is_said(recordings_dir: Path) -> None:
    """A part that was forgotten leaves a hole in a whole session: a note names its ticks, and nothing is damaged."""
    robot(recordings_dir, "s", ticks=20)
    for name, ticks in (("a", "-4"), ("b", "5-9"), ("c", "11-")):
        assert call("cut", "s", "--ticks", ticks, "--name", name).exit_code == 0
    result = call("merge", "c", "a", "--name", "holed")
    assert result.exit_code == 0
    assert result.stderr == "note: ticks 5 to 10 are in none of the parts: 'a' ends before, 'c' begins after\n"
    found = call_json("merge", "b", "c", "a", "--name", "less")
    assert found["notes"] == ["tick 10 is in none of the parts: 'b' ends before, 'c' begins after"]
    assert call("merge", "a", "b", "--name", "touching").stderr == ""


def test_parts_that_overlap_or_are_given_twice_are_refused(recordings_dir: Path) -> None:
    """Each tick is there once."""
    record("s", robot_nodes(), duration=0.3)
    call("cut", "s", "--ticks", "0-15", "--name", "a")
    call("cut", "s", "--ticks", "10-", "--name", "b")
    result = call("merge", "a", "b", "--name", "m")
    assert result.exit_code == 2
    assert "both hold ticks 10 to 15" in result.stderr
    assert "each once" in call("merge", "a", "a", "--name", "m").stderr
    assert "at least two" in call("merge", "a", "--name", "m").stderr
    with pytest.raises(RecordingError):
        merge_sessions([], "m")


def test_logs_are_merged(recordings_dir: Path) -> None:
    """By ticks, with the new names."""
    for name in "ab":
        record(name, [Node("n", tick=lambda n: n.log.warning("tick %d", tick()))], duration=0.03, seed=ord(name))
    merge_sessions([open_session("a"), open_session("b")], "both", prefix=True)
    found = [(line.at_tick, line.node, line.message) for line in open_session("both").log]
    assert found == [(n, f"{name}/n", f"tick {n}") for n in range(3) for name in "ab"]
    assert is_whole("both")


def test_what_imported_sessions_keep_of_their_files_is_kept(recordings_dir: Path) -> None:
    """Names, metadata and attachments, each once, in parts and in what is merged."""
    for name, node in (("a", "left"), ("b", "right")):
        session = irregular(recordings_dir, name, [0, SECOND], node=node, seed=ord(name))
        file = write_attachment(session.path, (), "calibration.yaml", node.encode())
        attachment = Attachment("calibration.yaml", "text/yaml", ord(name), 0, len(node), file)
        origin = Origin(f"{name}.mcap", {"t": "/t"}, {node: f"/{node}"}, [Metadata("robot", {"n": 1})], [attachment])
        write_origin(session.path, origin)
    cut_session(open_session("a"), "part", stop=0)
    cut_session(open_session("a"), "rest", start=1)
    merge_sessions([open_session("part"), open_session("rest")], "again")
    for name in ("part", "again"):
        assert read_origin(open_session(name).path) == read_origin(open_session("a").path)
        assert is_whole(name)
    merge_sessions([open_session("a"), open_session("b")], "both", prefix=True)
    session = open_session("both")
    kept = read_origin(session.path)
    assert kept is not None
    assert (kept.file, kept.nodes) == ("a.mcap, b.mcap", {"a/left": "/left", "b/right": "/right"})
    assert [attachment_path(session.path, one).read_text() for one in kept.attachments] == ["left", "right"]
    assert kept.metadata == [Metadata("robot", {"n": 1})]
    attachment_path(open_session("b").path, kept.attachments[0]).unlink()
    assert call("merge", "a", "b", "--name", "less", "--prefix").exit_code == 1


def test_results_as_json(recordings_dir: Path) -> None:
    """One object."""
    record("s", robot_nodes(), duration=0.1)
    found = orjson.loads(call("cut", "s", "--ticks", "2-4", "--name", "p", "--json").stdout)
    assert (found["session"], found["first_tick"], found["last_tick"], found["messages"]) == ("p", 2, 4, 3)
