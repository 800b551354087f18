"""``horus-async blackbox``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from horus_async.blackbox import (
    BlackBox,
    Custom,
    DeadlineMiss,
    FailurePolicy,
    NodeTick,
    SchedulerStart,
    SchedulerStop,
)
from horus_async.cli.blackbox import blackbox

if TYPE_CHECKING:
    from pathlib import Path

AT_3_17 = 1_777_000_621_502_999_999  # 03:17:01.502 UTC
COMMAND = "from horus_async.cli.blackbox import blackbox; blackbox()"


def call(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(blackbox, [str(argument) for argument in arguments])


@pytest.fixture
def path(blackbox_dir: Path) -> Path:
    """A box with two nodes and ten ticks, in the default folder."""
    with BlackBox.create(name="arm", size_mb=1, run="run-1") as box:
        box.record(SchedulerStart.of(("a", "collision_checker"), 500.0), 0, AT_3_17)
        for tick in range(10):
            box.record(NodeTick("a", tick, True), tick, AT_3_17)
        box.record(DeadlineMiss("collision_checker", 1900, 4200), 9, AT_3_17)
        box.record(SchedulerStop("duration", 10), 9, AT_3_17)
        return box.path


def test_format(path: Path) -> None:
    """J.1-33: an event is one line with its time of day, name and fields; without --anomalies the exit code is 0."""
    result = call(path, "--utc", "--event", "DeadlineMiss")

    assert result.output == (
        '[03:17:01.502] DeadlineMiss { name: "collision_checker", deadline_us: 1900, actual_us: 4200 }\n'
    )
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("rate", "shown"), [(500.0, "500Hz"), (100, "100Hz"), (33.3, "33.3Hz"), (1e6, "1000000Hz"), (0.5, "0.5Hz")]
)
def test_the_start_of_a_run_is_printed_short(blackbox_dir: Path, rate: float, shown: str) -> None:
    """How many nodes, and the rate with its unit; their names are in the JSON."""
    with BlackBox.create(name="arm", size_mb=1) as box:
        box.record(SchedulerStart.of("abcd", rate), 0, AT_3_17)

    assert call("--utc").output == f"[03:17:01.502] SchedulerStart {{ nodes: 4, rate: {shown} }}\n"
    found = json.loads(call("--json").output)
    assert (found["nodes"], found["names"], found["rate"]) == (4, ["a", "b", "c", "d"], rate)


def test_local_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are local without --utc."""
    environment = {**os.environ, "TZ": "Asia/Kolkata"}
    command = [sys.executable, "-c", COMMAND, str(path), "--last", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == '[08:47:01.502] SchedulerStop { reason: "duration", total_ticks: 10 }\n'


@pytest.mark.parametrize(
    ("options", "ticks"),
    [
        (["--node", "a", "--last", 2], [8, 9]),
        (["--tick", "4"], [4]),
        (["--tick", "3-5"], [3, 4, 5]),
        (["--event", "nodetick", "--tick", "8-99"], [8, 9]),
        (["--last", 1], [9]),
        (["--last", 0], []),
        (["--node", "nobody"], []),
    ],
)
def test_filters(path: Path, options: list[object], ticks: list[int]) -> None:
    """J.1-33: filters hold together, and --last counts after them."""
    result = call(path, "--json", *options)

    assert [json.loads(line)["tick"] for line in result.output.splitlines()] == ticks
    assert result.exit_code == 0


def test_anomalies(path: Path, tmp_path: Path) -> None:
    """J.1-33: with --anomalies the exit code is 1 when there are any, and 0 when there are none."""
    found = call(path, "--anomalies", "--json")
    none = call(path, "--anomalies", "--node", "a")

    assert [json.loads(line)["event"] for line in found.output.splitlines()] == ["DeadlineMiss"]
    assert (found.exit_code, none.exit_code, none.output) == (1, 0, "")
    assert call(path, "--anomalies", "--event", "NodeTick").exit_code == 0


def test_json_is_the_flat_object(path: Path) -> None:
    """--json prints the objects of the file."""
    result = call(path, "--json", "--event", "DeadlineMiss")

    assert json.loads(result.output) == {
        "seq": 11,
        "run": "run-1",
        "tick": 9,
        "time_ns": AT_3_17,
        "event": "DeadlineMiss",
        "name": "collision_checker",
        "deadline_us": 1900,
        "actual_us": 4200,
    }


def test_default_is_the_newest_box(path: Path, blackbox_dir: Path) -> None:
    """Without a path, or with a folder, the newest box is shown; boxes of earlier runs come last."""
    with BlackBox.create(name="zzz", size_mb=1) as box:
        box.custom("the", "newest")

    assert '"newest"' in call().output
    assert call(blackbox_dir).output == call().output
    BlackBox.create(name="zzz", size_mb=1).close()
    assert call(blackbox_dir / "zzz~1.hbb").output.count("newest") == 1
    assert call().output == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--event", "Miss"], "SchedulerStart, SchedulerStop, NodeAdded"),
        (["--tick", "x"], "neither a tick"),
        (["--tick", "5-3"], "ends before it begins"),
        (["--last", "-1"], "x>=0"),
        (["/nowhere.hbb"], "there is no /nowhere.hbb"),
        (["/dev/null"], "not a black box"),
        (["/usr/lib"], "no black box in /usr/lib"),
    ],
)
def test_wrong_usage_and_unreadable_input(options: list[str], words: str) -> None:
    """J.1-33: both are exit code 2 with one clear line; an unknown kind lists the kinds."""
    result = call(*options)

    assert result.exit_code == 2
    assert words in result.output.splitlines()[-1]
    assert "Traceback" not in result.output


def test_a_node_that_the_box_does_not_know(path: Path) -> None:
    """A misspelt name is no pass of ``--anomalies``, and else is said; a node that the box knows is neither."""
    result = call("--anomalies", "--node", "colision_checker")
    assert result.exit_code == 2
    assert "no event about a node 'colision_checker'; did you mean 'collision_checker'?" in result.output
    result = call("--node", "lidar")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "it has events about a, collision_checker" in result.stderr
    assert call("--anomalies", "--node", "a").exit_code == 0


def test_nothing_there_is_said(blackbox_dir: Path) -> None:
    """An empty default folder is exit code 2 with a hint."""
    result = call()

    assert result.exit_code == 2
    assert "blackbox_mb" in result.output


def test_damage_and_loss_are_said_on_standard_error(path: Path) -> None:
    """What is missing is never passed over, and does not get into the JSON."""
    data = bytearray(path.read_bytes())
    spot = data.index(b'"tick":4,')
    data[spot] ^= 1
    path.write_bytes(data)
    result = call(path, "--json")

    assert len(result.stdout.splitlines()) == 12
    assert result.stderr.splitlines() == [
        "damaged: segment 0: 1 line fails its checksum",
        "damaged: event 5 is missing",
    ]


def test_text_in_events_cannot_break_the_output(blackbox_dir: Path) -> None:
    """Line ends and control characters are escaped, other languages are not; ``from`` is shown as such."""
    with BlackBox.create(name="arm", size_mb=1) as box:
        box.record(Custom("ä", "two\nlines \x1b[31m\x9b", {}), 0, AT_3_17)
        box.record(FailurePolicy("a", "Skip", "on", "off"), 0, AT_3_17)
    lines = call("--utc").output.splitlines()

    assert lines[0] == r'[03:17:01.502] Custom { category: "ä", message: "two\nlines \u001b[31m\u009b", data: {} }'
    assert lines[1] == '[03:17:01.502] FailurePolicy { name: "a", policy: "Skip", from: "on", to: "off" }'


def test_colours_on_a_terminal_only(path: Path) -> None:
    """A pipe gets plain text, a terminal colours."""
    plain = call(path)
    coloured = CliRunner().invoke(blackbox, [str(path)], color=True)

    assert "\x1b[" not in plain.output
    assert "\x1b[" in coloured.output


def test_help_has_an_example() -> None:
    """The help shows how it is used."""
    assert "Example: horus-async blackbox --anomalies" in " ".join(call("--help").output.split())


def test_follow(blackbox_dir: Path) -> None:
    """J.1-33: --follow prints what is added, goes on with the box of the next run, and ends with 130 at Ctrl-C."""
    first = BlackBox.create(name="arm", size_mb=1, run="one")
    first.custom("n", "0")
    command = [sys.executable, "-u", "-c", COMMAND, "--follow", "--json", "--event", "Custom"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        seen = [json.loads(process.stdout.readline())]
        first.record(NodeTick("a", 1, True), 1, 1)
        first.custom("n", "1")
        seen.append(json.loads(process.stdout.readline()))
        first.custom("n", "2")
        first.close()
        second = BlackBox.create(name="arm", size_mb=1, run="two")
        second.custom("n", "3")
        seen.extend(json.loads(process.stdout.readline()) for _ in range(2))
        second.close()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    assert [(line["run"], line["message"]) for line in seen] == [("one", "0"), ("one", "1"), ("one", "2"), ("two", "3")]
