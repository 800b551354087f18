"""``horus-async topic``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import attrs
import pytest
from click.testing import CliRunner, Result

from horus_async import Topic, messages
from horus_async.cli import main
from horus_async.messages import Imu, NavSatFix
from horus_async.topics import Bus
from horus_async.topics.ring import memory

COMMAND = [sys.executable, "-m", "horus_async", "topic"]


def call(*args: str) -> Result:
    """Run ``horus-async topic`` in this process."""
    return CliRunner().invoke(main, ["topic", *args])


def test_list_and_info_show_what_is_published() -> None:
    """Both name the topic, its publishers, its process and its messages; nothing is consumed."""
    with Topic("arm/joints") as topic:
        topic.send({"a": 1})
        listed = json.loads(call("list", "--json").stdout)
        info = json.loads(call("info", "arm/joints", "--json").stdout)
        assert "arm/joints" in call("list").stdout
        assert '{"a":1}' in call("info", "arm/joints").stdout
        assert topic.recv() == {"a": 1}

    assert [(ring["topic"], ring["pid"], ring["messages"], ring["live"]) for ring in listed] == [
        ("arm/joints", os.getpid(), 1, True)
    ]
    assert info["newest"]["value"] == {"a": 1}
    assert info["rings"][0]["publishers"] == [f"topic-{os.getpid()}"]


@pytest.mark.parametrize(
    "args", [["info", "nobody"], ["info", "/x"], ["echo", "a b"], ["pub", "t", "{"], ["list", "--namespace", "a/b"]]
)
def test_mistakes_are_one_line_and_code_2(args: list[str]) -> None:
    """Wrong names, what is not JSON and a topic that nobody publishes: one clear line, exit code 2, no traceback."""
    result = call(*args)

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_echo_hears_another_process_and_a_deterministic_run() -> None:
    """What a process publishes on an isolated bus is printed as JSON, as many messages as asked for."""
    with Bus(isolated=True) as bus:
        publisher = bus.publisher("t", "robot")
        with subprocess.Popen([*COMMAND, "echo", "t", "-n", "2", "--json"], stdout=subprocess.PIPE, text=True) as echo:
            number = 0
            while echo.poll() is None:
                number = publisher.publish(b"[1]", 5)
            assert echo.stdout is not None
            lines = [json.loads(line) for line in echo.stdout]
    assert [line["publisher"] for line in lines] == ["robot", "robot"]
    assert lines[1]["seq"] == lines[0]["seq"] + 1 <= number
    assert lines[0]["value"] == [1]


def test_pub_is_heard() -> None:
    """A value sent once from the command line arrives, although the command ends at once."""
    with Topic("t") as topic:
        subprocess.run([*COMMAND, "pub", "t", '{"v": [1, null]}', "-n", "3", "-r", "1000"], check=True)
        assert topic.recv() == {"v": [1, None]}
        assert len(topic.recv_all()) == 2


def test_hz_and_bw_measure() -> None:
    """Silence is 0, and ends after the asked number of windows."""
    assert json.loads(call("hz", "t", "--window", "0.05", "-n", "1", "--json").stdout)["hz"] == 0
    assert json.loads(call("bw", "t", "--window", "0.05", "-n", "1", "--json").stdout)["bytes_per_second"] == 0


def test_clean_removes_only_what_the_dead_left(namespace: str) -> None:
    """A killed process's memory is named by --dry-run and then removed; a live one's stays."""
    program = "from horus_async import Topic; import os; t = Topic('dead'); t.send(1); os.kill(os.getpid(), 9)"
    with Topic("alive") as topic:
        topic.send(1)
        subprocess.run([sys.executable, "-c", program], check=False)
        would = json.loads(call("clean", "--dry-run", "--json").stdout)["removed"]
        did = json.loads(call("clean", "--json").stdout)["removed"]
        left = [path.name for path in (memory.root() / namespace).iterdir()]

    assert sorted(would) == sorted(did)
    assert any(name.startswith("dead@") for name in did)
    assert any(name.startswith("alive@") for name in left)
    assert not any(name.startswith("dead@") for name in left)


@pytest.mark.parametrize("name", [name for name in messages.__all__ if attrs.has(getattr(messages, name))])
def test_each_of_our_messages_can_be_published(name: str) -> None:
    """With --type each message class is sent with its defaults, and arrives as what its constructor makes."""
    kind = getattr(messages, name)
    with Topic("t", kind) as topic:
        assert call("pub", "t", "{}", "--type", name).exit_code == 0
        assert topic.recv() == kind()


def test_an_object_is_made_field_by_field() -> None:
    """Nested fields, rows of numbers, enums and integers for floats are what the class says."""
    covariance = "[1, 0, 0, 0, 1, 0, 0, 0, 1]"
    text = (
        f'{{"header": {{"frame_id": "b"}}, "linear_acceleration": {{"z": 10}}, "orientation_covariance": {covariance}}}'
    )
    with Topic("t", Imu) as topic:
        assert call("pub", "t", text, "--type", "horus_async.messages.Imu").exit_code == 0
        arrived = topic.recv()
    assert (arrived.header.frame_id, arrived.orientation_covariance[4]) == ("b", 1.0)
    assert repr(arrived.linear_acceleration.z) == "10.0"
    with Topic("fix", NavSatFix) as topic:
        assert call("pub", "fix", '{"position_covariance_type": 2}', "--type", "NavSatFix").exit_code == 0
        assert topic.recv().position_covariance_type is messages.CovarianceType(2)


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ('{"linear": "fast"}', "CmdVel", "expected a number, not 'fast'"),
        ('{"speed": 1}', "CmdVel", "speed"),
        ('{"header": {"frame_id": 5}}', "Imu", "expected a string, not 5"),
        ('{"header": {"stamp": {"sec": 0.5}}}', "Imu", "expected an integer, not 0.5"),
        ('{"orientation_covariance": 7}', "Imu", "expected a list of numbers, not 7"),
        ("3", "CmdVel", "must be a JSON object, not 3"),
        ("{}", "NoSuch", "not an attrs class in horus_async.messages"),
        ("{}", "no_such_module.Class", "cannot import"),
        ("{}", "json.JSONDecoder", "not an attrs class in json"),
    ],
)
def test_what_does_not_fit_a_class_is_wrong_usage(text: str, kind: str, reason: str) -> None:
    """One line says which field of which class does not fit, and nothing is sent."""
    with Topic("t") as topic:
        result = call("pub", "t", text, "--type", kind)
        assert topic.recv() is None
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert reason in result.stderr
