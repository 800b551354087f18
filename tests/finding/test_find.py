"""``record find`` and ``record sql`` as users call them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from horus_async.cli import main
from horus_async.recorder.catalogue import folders
from horus_async.recorder.naming import CATALOGUE
from tests.finding.folders import kill, record
from tests.terminal import at_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

pytestmark = pytest.mark.usefixtures("quiet")


def find(*arguments: str) -> Result:
    """Call it."""
    return CliRunner().invoke(main, ["record", "find", *arguments])


def names(*arguments: str) -> list[str]:
    """The sessions that are found, by the JSON."""
    result = find(*arguments, "--json")
    assert result.exit_code == (0 if result.stdout else 1), result.output
    return [json.loads(line)["session"] for line in result.stdout.splitlines()]


def sql(*arguments: str) -> list[dict[str, object]]:
    """The rows of an answer."""
    result = CliRunner().invoke(main, ["record", "sql", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def week(recordings_dir: Path) -> Path:
    """Some runs."""
    for number, what in enumerate(("", "late", "fails", "logs")):
        record(recordings_dir, what or "plain", what, volts=12.0 - number)
    return recordings_dir


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("", ["plain", "late", "fails", "logs"]),
        ("--since 1h", ["plain", "late", "fails", "logs"]),
        ("--until 1h", []),
        ("--since 2019-01-01 --until 2019-01-08T00:00:00Z", []),
        ("--node arm", ["plain", "late", "fails", "logs"]),
        ("--node amr", []),
        ("--event DeadlineMiss", ["late"]),
        ("--event deadlinemiss --node arm", ["late"]),
        ("--event DeadlineMiss --node leg", []),
        ("--event anomaly", ["late", "fails"]),
        ("--event Fatal", ["fails"]),
        ("--event warning", ["logs"]),
        ("--event Log", ["logs"]),
        ("--event Killed", []),
        ("--topic battery", ["plain", "late", "fails", "logs"]),
        ("--topic batery", []),
        ("--topic battery --where volts<9.98", ["fails", "logs"]),
        ("--topic battery --event Fatal --where volts<9.98", ["fails"]),
        ("--topic battery --where pose.x==2", []),
        ("--topic battery --where tick==3andtime>0.0299", ["plain", "late", "fails", "logs"]),
    ],
)
def test_what_is_found(arguments: str, found: list[str], week: Path) -> None:
    """Oldest first; exit code 1 where nothing is."""
    words = [word.replace("3and", "3 and ") for word in arguments.split()]
    assert names(*words) == found
    assert names(*words) == found, "from the catalogue"


def test_a_table_says_how_often_and_where_first(week: Path) -> None:
    """Of events, and of messages as they come."""
    assert find("--event", "DeadlineMiss").stdout.splitlines()[1].split()[-3:] == ["1", "3", "0.030"]
    lines = find("--topic", "battery", "--where", "volts < 9.985").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["session", "fails", "logs"]
    assert lines[1].split()[-3:] == ["2", "2", "0.020"]


def test_messages_without_the_field_are_counted(week: Path) -> None:
    """And where none has it, it is wrong usage, with the field that was meant."""
    result = find("--topic", "battery", "--where", 'pose.x == 1 if tick < 2 else pose["y"] == 1')
    assert result.exit_code == 0
    assert "note: 26 of 34 messages have no field pose['y']" in result.stderr
    result = find("--topic", "battery", "--where", "vols < 3")
    assert result.exit_code == 2
    assert "did you mean 'volts'?" in result.stderr
    assert find("--where", "volts < 3").exit_code == 2
    assert find("--topic", "battery", "--where", "__import__('os')").exit_code == 2


def test_a_misspelt_event_names_the_nearest(week: Path) -> None:
    """Wrong usage; a misspelt node or topic is a note."""
    result = find("--event", "DeadlineMis")
    assert result.exit_code == 2
    assert "did you mean 'DeadlineMiss'?" in result.stderr
    assert "did you mean 'arm'?" in find("--node", "amr").stderr
    assert "did you mean 'battery'?" in find("--topic", "batery").stderr


def test_what_cannot_be_read_shows(week: Path) -> None:
    """In a line, and in the exit code."""
    for path in (week / "late").glob("arm@*"):
        path.write_bytes(b"x" * 100)
    (week / "void").mkdir()
    (week / "void" / "session.json").write_text("{")
    result = find("--event", "Fatal")
    assert result.exit_code == 2
    assert result.stdout.splitlines()[1].startswith("fails")
    assert "not read: late: " in result.stderr
    assert "not read: void: " in result.stderr
    assert "things could not be read" in result.stderr


def test_killed_runs_and_boxes(recordings_dir: Path, blackbox_dir: Path) -> None:
    """A box adds what a killed session does not say, once; and runs of which there is no session."""
    kill(record(recordings_dir, "killed", "late", blackbox_mb=1))
    assert names("--event", "Killed") == ["killed"]
    assert names("--event", "DeadlineMiss") == ["killed"]
    found = json.loads(find("--event", "DeadlineMiss", "--json").stdout)
    assert found["found"] == 1
    assert found["blackbox"] == str(blackbox_dir / "robot.hbb")
    for path in (recordings_dir / "killed").iterdir():
        path.unlink()
    (recordings_dir / "killed").rmdir()
    found = json.loads(find("--event", "DeadlineMiss", "--json").stdout)
    assert (found["session"], found["state"], found["program"], found["first_tick"]) == (None, "box", "robot", 3)
    (blackbox_dir / "bad.hbb").write_bytes(b"x")
    assert find("--event", "DeadlineMiss").exit_code == 2


def test_it_fits_a_terminal(week: Path) -> None:
    """Of 80 columns; lines that come one by one end up in order."""
    _, lines = at_a_terminal("record", "find", "--event", "Anomaly", HORUS_RECORDINGS_DIR=str(week))
    assert all(len(line) <= 80 for line in lines)
    code, lines = at_a_terminal(
        "record", "find", "--topic", "battery", "--where", "volts < 9.985", HORUS_RECORDINGS_DIR=str(week)
    )
    assert code == 0
    assert [line.split()[0] for line in lines if "robot" in line] == ["fails", "logs"]


def test_nothing_recorded_yet(tmp_path: Path) -> None:
    """Nothing is made where there is nothing."""
    assert find().exit_code == 1
    assert not (tmp_path / "recordings").exists()


def test_tables(week: Path) -> None:
    """Each topic is one; and what the catalogue, the log and the ticks know."""
    rows = sql('SELECT session, min(volts) AS low, max("pose.x") AS x FROM battery GROUP BY session ORDER BY low')
    assert [row["session"] for row in rows] == ["logs", "fails", "late", "plain"]
    assert sql("late", "SELECT times, first_tick FROM events") == [{"times": 1, "first_tick": 3}]
    assert sql("SELECT session, message FROM log") == [{"session": "logs", "message": "low"}]
    assert sql("fails", "SELECT error, tick FROM ticks WHERE error IS NOT NULL") == [
        {"error": "ValueError: no", "tick": 3}
    ]
    assert len(sql("SELECT * FROM sessions s JOIN topic.battery b USING (session)")) == 34
    assert sql("plain", "SELECT data FROM messages LIMIT 1") == [{"data": '{"volts":12.0,"pose":{"x":1}}'}]
    assert sql("WITH battery2 AS (SELECT 1 AS a) SELECT a FROM battery2") == [{"a": 1}]
    assert sql("--until", "1h", "SELECT count(*) AS n FROM sessions") == [{"n": 0}]
    assert sql("SELECT topic, sum(messages)::INT AS n FROM topics GROUP BY ALL") == [{"topic": "battery", "n": 34}]


def test_types_that_change_on_the_way(recordings_dir: Path) -> None:
    """A column has one type for all sessions, found out by reading again where that takes it."""
    from horus_async import Node, Scheduler

    def send(name: str, value: object) -> None:
        node = Node("n", tick=lambda node: node.send("log", {"x": value, "session": 1}), rate=100)
        Scheduler(deterministic=True, recording=name, recordings_dir=recordings_dir).add(node).run_sync(50)

    send("a", 1)
    send("b", 1.5)
    send("c", "text")
    rows = sql('SELECT session, any_value(x) AS x, max("data.session") AS s FROM topic.log GROUP BY ALL ORDER BY 1')
    assert [row["x"] for row in rows] == ["1", "1.5", '"text"']
    assert rows[0]["s"] == 1
    assert sql("a", "SELECT sum(x)::INT AS n FROM topic.log") == [{"n": 5000}]


def test_arrays_are_lists(recordings_dir: Path) -> None:
    """However large: of any length, so that a few images do not take room for thousands."""
    import numpy as np

    from horus_async import Node, Scheduler

    image = np.arange(40_000, dtype="u2").reshape(200, 200)
    node = Node("n", tick=lambda node: node.send("cam", {"data": image, "xs": np.zeros(3)}), rate=100)
    Scheduler(deterministic=True, recording="a", recordings_dir=recordings_dir).add(node).run_sync(0.1)
    assert sql("SELECT max(list_max(data)) AS top, sum(len(xs))::INT AS n FROM cam") == [{"top": 39_999, "n": 30}]
    assert names("--topic", "cam", "--where", "max(data) == 39999 and any(xs == 0)") == ["a"]


def test_what_a_box_has_overwritten_is_said(recordings_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else tells what happened."""
    from horus_async.blackbox.reader import BlackBoxReader

    monkeypatch.setattr(BlackBoxReader, "lost", 7)
    folder = record(recordings_dir, "a", "late", blackbox_mb=1)
    assert "overwritten" not in find("--event", "DeadlineMiss").stderr
    kill(folder)
    assert "robot.hbb: 7 older events have been overwritten" in find("--event", "DeadlineMiss").stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM glob('/*')",
        "SELECT content FROM read_text('/etc/passwd')", "COPY battery TO 'out.csv'", "EXPORT DATABASE 'out'",
        "ATTACH 'out.db'", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true",
        "SELECT 1; COPY battery TO 'out.csv'", "CREATE TABLE x AS SELECT 1", "DROP VIEW battery",
        "SELECT * FROM sqlite_scan('x', 'y')", "SELECT * FROM runs", "SELECT * FROM main.battery2", "", ";", "SELEC",
        "SELECT * FROM read_parquet('https://example.com/x')", "PRAGMA database_list", "CALL pragma_version()",
        "SELECT getenv('HOME')", "SELECT " + "(" * 3000 + "1" + ")" * 3000,
    ],
)  # fmt: skip
def test_it_reads_nothing_else_and_changes_nothing(
    query: str, week: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file, no setting, no extension: wrong usage, in one line."""
    empty = tmp_path / "here"
    empty.mkdir()
    monkeypatch.chdir(empty)
    result = CliRunner().invoke(main, ["record", "sql", query])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("horus-async: ")
    assert result.stderr.count("\n") == 1
    assert not result.stdout
    assert not [*empty.iterdir()]


def test_forms_of_answers(week: Path) -> None:
    """A table, JSON lines, CSV; wrong names say which were meant."""
    call = CliRunner().invoke
    result = call(main, ["record", "sql", "SELECT nodes, 1.5 AS a, NULL AS b, 2 AS a FROM sessions LIMIT 1", "--csv"])
    assert result.stdout == 'nodes,a,b,a_2\n"[""arm""]",1.5,,2\n'
    result = call(main, ["record", "sql", "SELECT * FROM range(1500)"])
    assert len(result.stdout.splitlines()) == 1001
    assert "and more rows" in result.stderr
    assert "did you mean 'battery'?" in call(main, ["record", "sql", "SELECT * FROM batery"]).stderr
    assert "did you mean 'plain'?" in call(main, ["record", "sql", "plan", "SELECT 1"]).stderr
    assert call(main, ["record", "sql", "SELECT 1", "--csv", "--json"]).exit_code == 2


def test_damage_shows_in_the_answer(week: Path) -> None:
    """What could not be read is said, and in the exit code."""
    (path,) = (week / "late").glob("arm@*")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    result = CliRunner().invoke(main, ["record", "sql", "SELECT count(*) FROM battery"])
    assert result.exit_code == 2
    assert "not read: late: " in result.stderr


def test_names_are_completed_from_the_catalogue(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without opening a session, and without making a catalogue."""
    from click.shell_completion import ShellComplete

    def complete(option: str) -> set[str]:
        shell = ShellComplete(main, {}, "horus-async", "_X")
        return {item.value for item in shell.get_completions(["record", "find", option], "")}

    assert not complete("--node")
    assert not (week / CATALOGUE).exists()
    monkeypatch.setattr(folders, "_JUST_NOW_NS", -1)
    find()
    assert complete("--node") == {"arm"}
    assert complete("--topic") == {"battery"}
    assert {"DeadlineMiss", "Anomaly", "Log.WARNING"} <= complete("--event")
