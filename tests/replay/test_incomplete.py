"""What a session lacks is an error, or is said and counted; never passed over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from click.testing import CliRunner

from horus_async import Node, ReplayError, Scheduler
from horus_async.cli import main
from horus_async.recorder import open_session
from horus_async.recorder.read.check import Verdict, check_session
from tests.record_commands.sessions import outsider, robot
from tests.replay.rewriting import rewrite
from tests.replay.sessions import controller, file_of, heard, pair, record, sensor
from tests.replay.test_verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from tests.replay.rewriting import Lines


def call(*arguments: object) -> Result:
    """Call ``horus-async`` in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _gone(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _rubbish(path: Path) -> None:
    path.write_bytes(b"rubbish" * 1000)


DAMAGES: list[Callable[[Path], None]] = [_gone, _empty, _rubbish]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_node_of_which_nothing_can_be_read_is_an_error(damage: Callable[[Path], None]) -> None:
    """It is named, with the file; those who leave it out go on."""
    files = record("s", pair())
    damage(Path(file_of(files, "sensor")))
    assert list(open_session("s").missing_nodes) == ["sensor"]

    def fast() -> Scheduler:
        return Scheduler.replay_from("s").set_replay_speed(math.inf)

    with pytest.raises(ReplayError, match=r"sensor.*sensor@"):
        fast().run_sync()
    with pytest.raises(ReplayError, match="sensor"):
        fast().only("sensor")
    with pytest.raises(ReplayError, match="sensor"):
        verify("s", pair())
    with pytest.raises(ReplayError, match="sensor"):
        verify("s", pair(), nodes=["sensor"])
    with pytest.raises(ReplayError, match="sensor"):
        Scheduler().add(controller()).inject("s", "sensor")
    for command in (("replay", "s", "--speed", "max"), ("replay", "s", "--nodes", "sensor")):
        result = call(*command)
        assert result.exit_code == 2
        assert "sensor" in result.output
    assert len(heard(fast().only("controller"), "ctrl.cmd")) == 50
    assert len(heard(fast().add(sensor()), "ctrl.cmd")) == 50
    assert verify("s", pair(), nodes=["controller"]).differences == 50  # its inputs are gone with that file


def test_inputs_that_are_not_recorded_are_said() -> None:
    """A node that read what is not in the recording cannot be compared fairly: the report says so."""
    files = record("s", pair())
    Path(file_of(files, "sensor")).unlink()
    report = verify("s", pair(), nodes=["controller"])
    assert any("50 messages on sensor.reading" in note and "controller" in note for note in report.notes)


def test_without_the_scheduler_s_file_nothing_replays() -> None:
    """It holds the clock: an error, not a replay of nothing."""
    files = record("s", pair())
    Path(files[0]).unlink()
    with pytest.raises(ReplayError, match="scheduler"):
        Scheduler.replay_from("s").run_sync()
    with pytest.raises(ReplayError, match="scheduler"):
        verify("s", pair())


def _drop(first: int, last: int) -> Callable[[Lines], Lines]:
    def drop(lines: Lines) -> Lines:
        left = [line for line in lines if not (line["kind"] == "tick" and first <= line["tick"] <= last)]
        at = next(number for number, line in enumerate(left) if line["kind"] == "tick" and line["tick"] > last)
        number = last - first + 1
        left.insert(at, {"kind": "gap", "tick": first, "dropped": number, "reason": "more came than could be written"})
        footer = left[-1]
        left[-1] = {**footer, "dropped": number, "ticks": footer["ticks"] - number, "topics": None}
        left[-1].pop("topics")
        left[-1]["inputs"] = sum(len(line.get("inputs", ())) for line in left[:-1])
        left[-1]["outputs"] = sum(len(line.get("outputs", ())) for line in left[:-1])
        return left

    return drop


def test_gaps_are_said_and_counted(tmp_path: Path) -> None:
    """On standard error by every command that uses the rest; ``check`` counts them, and its exit code is 1."""
    files = record("s", pair())
    record("whole", pair())
    rewrite(file_of(files, "sensor"), _drop(10, 41))
    output = tmp_path / "out.jsonl"
    commands: list[tuple[Any, ...]] = [
        ("record", "info", "s"),
        ("record", "export", "s", "--format", "jsonl", "--output", output),
        ("record", "diff", "s", "s"),
        ("record", "diff", "whole", "s"),
        ("replay", "s", "--speed", "max"),
    ]
    for command in commands:
        result = call(*command)
        assert "32 messages or lines are missing" in result.stderr, command
        assert "tick 10" in result.stderr, command
        assert "sensor" in result.stderr, command
    checked = check_session(open_session("s"))
    assert (checked.dropped, checked.verdict) == (32, Verdict.WHOLE)
    result = call("record", "check", "s")
    assert result.exit_code == 1
    assert "32 messages or lines are missing" in result.output
    assert "is whole" not in result.output
    assert call("record", "check", "whole").exit_code == 0
    assert "missing" not in call("record", "info", "whole").stderr


def test_a_verification_goes_on_after_a_gap() -> None:
    """The ticks of the gap are run, uncompared; a node that keeps no state is as recorded after it."""
    files = record("s", pair())
    rewrite(file_of(files, "controller"), _drop(10, 41))
    report = verify("s", pair())
    assert report.first_difference is None, str(report.first_difference)
    assert report.compared == 50 + 18


def test_overrides_of_nodes_that_were_added() -> None:
    """They are replaced as those of a whole replay are; what is unknown is an error that lists what is known."""
    files = record("s", pair())
    for scheduler in (
        Scheduler(deterministic=True).add_replay(file_of(files, "sensor")),
        Scheduler(deterministic=True).inject("s", "sensor"),
    ):
        with pytest.raises(ReplayError, match=r"'sensr'.*sensor"):
            scheduler.set_replay_override("sensr", "sensor.reading", 1)
        with pytest.raises(ReplayError, match=r"'controller'.*sensor"):
            scheduler.set_replay_override("controller", "ctrl.cmd", 1)
        with pytest.raises(ReplayError, match=r"'reading'.*sensor\.reading"):
            scheduler.set_replay_override("sensor", "reading", 1)
        scheduler.set_replay_override("sensor", "sensor.reading", {"value": 8.0, "count": 0}).add(controller())
        commands = heard(scheduler, "ctrl.cmd", duration=0.1)
        assert [message[1]["output"] for message in commands] == [4.0] * 10
    with pytest.raises(ReplayError, match="replays nothing"):
        Scheduler().set_replay_override("sensor", "sensor.reading", 1)


def test_overrides_with_dots_on_the_command_line() -> None:
    """What is meant is found among the pairs that there are; where two are meant, that is an error with both."""

    def node(name: str, topic: str) -> Node:
        return Node(name, tick=lambda n: n.send(topic, 1), pubs=topic)

    record("s", [node("arm.left", "joint.1"), node("a", "b.c"), node("a.b", "c")])
    for pair_, value in (("arm.left.joint.1", "[1, 2]"), ("arm.joint", "1")):
        result = call("replay", "s", "--speed", "max", "--override", f"{pair_}={value}")
        assert (result.exit_code == 0) is (pair_ == "arm.left.joint.1"), result.output
    result = call("replay", "s", "--override", "a.b.c=1")
    assert result.exit_code == 2
    assert "topic b.c of node a or topic c of node a.b" in result.output
    result = call("replay", "s", "--override", "arm.left.joint=1")
    assert result.exit_code == 2
    assert "arm.left.joint.1" in result.output


def test_a_stop_beyond_the_end_is_the_end() -> None:
    """In a replay, by API and command, and in a verification."""
    record("s", pair())
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf).start_at_tick(40).stop_at_tick(10**9)
    assert len(heard(replay, "ctrl.cmd")) == 10
    assert call("replay", "s", "--speed", "max", "--stop-tick", 10**9).exit_code == 0

    async def run() -> None:
        from horus_async.replay.verify.run import verify as verify_nodes

        assert (await verify_nodes("s", pair(), None, 0, 10**9)).compared == 100

    trio.run(run)


def test_a_topic_from_outside_that_none_can_have_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours in the middle of a run that no node is to blame for: not in a group, and so no traceback."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    session = robot(tmp_path, "s", ticks=5, outside=[outsider(2, 1)])
    assert session.external_file is not None

    def rename(recorded: Lines) -> Lines:
        return [line | {"topic": "a b"} if line["kind"] == "message" else line for line in recorded[:-1]]

    rewrite(str(session.external_file.path), rename)
    result = CliRunner().invoke(main, ["replay", "s", "--speed", "max"])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("horus-async: topic name 'a b' contains ' '")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("whose", ["node", "external"])
def test_a_message_with_a_number_below_0_is_damage(whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No topic can carry it: its line is left out and named, as any that cannot be read."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    session = robot(tmp_path, "s", ticks=5, outside=[outsider(2, 1)])
    file = session.external_file if whose == "external" else session.files["sensor"]
    assert file is not None

    def number(recorded: Lines) -> Lines:
        for line in recorded:
            for message in {"message": [line], "tick": line.get("outputs", ())}.get(line["kind"], ()):
                if message["seq"] == 2:
                    message["seq"] = -2
        return recorded

    rewrite(str(file.path), number)
    for arguments in (["replay", "s", "--speed", "max"], ["record", "check", "s"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "a message with the number -2" in result.output
        assert "Traceback" not in result.output
