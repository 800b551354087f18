"""What a node sent while a tick went on, or in its background, stands in lines of its own, and counts like the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from horus_async import Node, Scheduler, tick
from horus_async.cli.record import record as record_command
from horus_async.observe import Observer, Sent
from horus_async.recorder import open_session
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.read.diff import diff_sessions
from horus_async.recorder.read.info import session_info
from horus_async.recorder.read.reader import RecordedFile
from horus_async.recorder.records import RecordedOutput, SendsRecord, parse_line
from tests.replay.rewriting import in_background, rewrite, told_late, with_sends
from tests.replay.sessions import PROGRAMS, file_of, heard, record
from tests.replay.test_verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from horus_async.recorder.frames import Frame
    from horus_async.recorder.records import SessionLine
    from tests.replay.rewriting import Lines

CHANGES: dict[str, Callable[[Lines], Lines]] = {"in a tick": with_sends, "in the background": in_background}


def recorded_twice(program: str, change: Callable[[Lines], Lines]) -> None:
    """Record a program as ``plain`` and ``sends``, and put what nodes sent into lines of its own in ``sends``."""
    record("plain", PROGRAMS[program](), duration=0.4)
    files = record("sends", PROGRAMS[program](), duration=0.4)
    for node in PROGRAMS[program]():
        rewrite(file_of(files, node.name), change)


def test_the_line_is_read() -> None:
    """Each output has its own tick where it is not the line's."""
    assert parse_line(
        b'{"kind":"sends","tick":4,"outputs":[{"topic":"t","seq":3,"stamp_ns":7,"data":1}]}'
    ) == SendsRecord(4, (RecordedOutput("t", 3, 7, 1, 4),))
    line = b'{"kind":"sends","tick":null,"outputs":[{"topic":"t","seq":3,"stamp_ns":7,"data":1,"tick":9}]}'
    sends = parse_line(line)
    assert sends == SendsRecord(None, (RecordedOutput("t", 3, 7, 1, 9),))
    assert isinstance(sends, SendsRecord)
    assert (sends.first_tick, sends.last_tick) == (9, 9)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_counted_compared_and_exported(program: str, change: str, tmp_path: Path) -> None:
    """Info, check, diff and export find the same messages as in a session without such lines."""
    recorded_twice(program, CHANGES[change])
    plain, sends = open_session("plain"), open_session("sends")
    assert any(isinstance(line, SendsRecord) for node in sends.nodes for line in sends.executions(node))
    assert sorted(session_messages(plain)) == sorted(session_messages(sends))
    assert [m[:2] for m in session_messages(sends)] == sorted(m[:2] for m in session_messages(sends))
    assert session_info(sends).messages == session_info(plain).messages
    found = diff_sessions(plain, sends)
    assert found.same
    assert found.pairs == session_info(plain).messages
    checked = check_session(sends)
    assert checked.verdict is Verdict.WHOLE, [file.problems for file in checked.files]
    assert sum(file.messages for file in checked.files) == session_info(plain).messages
    for name in ("plain", "sends"):
        output = tmp_path / f"{name}.jsonl"
        done = CliRunner().invoke(record_command, ["export", name, "--format", "jsonl", "--output", str(output)])
        assert done.exit_code == 0, done.output
    for table in tmp_path.glob("plain*"):
        assert table.read_text() == (tmp_path / table.name.replace("plain", "sends", 1)).read_text()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_plays(program: str, change: str) -> None:
    """A replay sends the same messages, at the same moments."""
    recorded_twice(program, CHANGES[change])
    topics = sorted({m.topic for m in session_messages(open_session("plain"))})
    plays = [heard(Scheduler.replay_from(name).set_replay_speed(math.inf), *topics) for name in ("plain", "sends")]
    assert sorted(map(repr, plays[0])) == sorted(map(repr, plays[1]))
    if change == "in a tick":
        assert plays[0] == plays[1]


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
def test_what_was_told_of_late_plays_in_its_tick(deterministic: bool) -> None:
    """A thread's message that stands behind those of later ticks, or is stamped after its tick, goes out in its own."""

    def send(node: Node) -> None:
        node.send("soon", tick())
        node.send("late", tick())

    files = record("s", [Node("n", tick=send)], duration=0.2, deterministic=deterministic)
    rewrite(file_of(files, "n"), told_late)
    recorded = sorted((m.topic, m.seq, m.tick) for m in session_messages(open_session("s")))
    played = []

    class Told(Observer):
        def sent(self, message: Sent) -> None:
            played.append((message.topic, message.seq, message.tick))

    Scheduler.replay_from("s").set_replay_speed(math.inf).observe(Told()).run_sync()
    assert len(recorded) > 10
    assert sorted(played) == recorded


def test_a_part_of_it_plays() -> None:
    """Of a range of ticks only what was sent in it."""
    recorded_twice("suspended", in_background)
    topics = sorted({m.topic for m in session_messages(open_session("plain"))})
    wanted = sorted((m.topic, m.seq) for m in session_messages(open_session("plain")) if 12 <= m.tick <= 20)
    replay = Scheduler.replay_from("sends").set_replay_speed(math.inf).start_at_tick(12).stop_at_tick(20)
    assert sorted((message[0], message[2]) for message in heard(replay, *topics)) == wanted


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_verified(program: str) -> None:
    """What was sent in a tick that went on is compared as before."""
    recorded_twice(program, with_sends)
    plain, sends = (verify(name, PROGRAMS[program]()) for name in ("plain", "sends"))
    assert sends.first_difference is None
    assert (sends.compared, sends.differences) == (plain.compared, 0)


def test_a_tick_that_never_ended_is_verified_and_plays() -> None:
    """Only lines of what it sent are there, as after a kill."""
    from horus_async import Node, sleep

    async def endless(n: Node) -> None:
        count = 0
        while True:
            n.send("t", count)
            count += 1
            await sleep(0.003)

    def node() -> Node:
        return Node("endless", tick=endless, pubs="t")

    files = record("s", [node()], duration=0.2)
    rewrite(file_of(files, "endless"), lambda lines: [line for line in with_sends(lines) if line["kind"] != "tick"])
    kept = sum(1 for _ in session_messages(open_session("s")))
    assert kept > 20
    assert len(heard(Scheduler.replay_from("s").set_replay_speed(math.inf), "t")) == kept
    report = verify("s", [node()])
    assert (report.compared, report.differences) == (kept, 0), str(report.first_difference)


@pytest.mark.parametrize("options", [{}, {"rotate_mb": 0.0005}], ids=["one file", "rotated"])
def test_a_closed_file_says_how_many_such_lines_it_has(
    options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nobody reads an hour's file to see that there are none: no frame of it but the last is read for that."""
    from horus_async import Node, RecordingOptions, sleep

    async def in_the_background(n: Node) -> None:
        while True:
            n.send("t", {"kind": "sends"})
            await sleep(0.003)

    nodes = [
        Node("quiet", tick=lambda n: n.send("q", {"kind": "sends"})),
        Node("loud", tick=lambda n: None, init=lambda n: n.background(in_the_background, n)),
    ]
    scheduler = Scheduler(deterministic=True, recording=RecordingOptions(name="s", **options))  # type: ignore[arg-type]
    for node in nodes:
        scheduler.add(node)
    scheduler.run_sync(3.0)
    session = open_session("s")
    for name in ("quiet", "loud"):
        for path in session.files[name].paths:
            file = RecordedFile(path)
            held = [line for line in file.records() if isinstance(line, SendsRecord)]
            assert file.footer is not None
            assert file.footer.sends == len(held)
            assert file.footer.loose == sum(1 for line in held if line.tick is None)
    assert session.has_sends("loud")

    def read(_: RecordedFile, *__: object, **___: object) -> Iterator[SessionLine]:
        raise AssertionError("it is read")

    monkeypatch.setattr(RecordedFile, "_records", read)
    assert not session.has_sends("quiet")
    with pytest.raises(AssertionError, match="it is read"):
        session.has_sends("loud")


def test_large_messages_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have lines of their own, but all of them of ticks: nobody looks for others behind them."""
    from horus_async import Node

    camera = Node("camera", tick=lambda n: n.send("image", b"\xa5" * 3_000_000), rate=100, pubs="image")
    record("s", [camera], duration=0.1)
    session = open_session("s")
    assert session.has_sends("camera")
    read: list[int] = []
    real = RecordedFile._parse

    def parse(self: RecordedFile, line: bytes | memoryview, frame: Frame) -> SessionLine | None:
        read.append(len(line))
        return real(self, line, frame)

    monkeypatch.setattr(RecordedFile, "_parse", parse)
    assert sum(1 for _ in session_messages(session)) == 10
    assert sum(length > 3_000_000 for length in read) == 10
