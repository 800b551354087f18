"""``record inject`` without ``--into``: recorded nodes play into the programs that are running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from horus_async import Topic
from horus_async.cli.support.listeners import Listeners, mapped_by_others
from tests.engine.programs import environment

from .sessions import call, call_json, make, robot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIVE = """
import signal, sys
from horus_async import Topic
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
with Topic("{topic}") as topic:
    print("ready", flush=True)
    heard = []
    while len(heard) < {count}:
        while (message := topic.recv_message()) is not None:
            heard.append([message.seq, message.publisher, message.value["value"]])
        sleep_until_monotonic(monotonic_ns() + 5_000_000)
    print(heard, flush=True)
    sys.stdin.read()
"""


@contextmanager
def live(topic: str, count: int, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A program that listens to a topic until it has so many messages, prints them, and waits."""
    program = LIVE.format(topic=topic, count=count)
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment(**more), stdin=-1, stdout=-1, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.terminate()


def test_a_running_program_hears_the_recorded_node(recordings_dir: Path) -> None:
    """All that it sent, once, in order, as from the recorded node; and that it was read is not worth a word."""
    robot(recordings_dir, "s", ticks=20)
    with live("sensor.reading", 20) as process:
        result = call("inject", "s", "--nodes", "sensor")
        assert result.exit_code == 0, result.output
        assert process.stdout is not None
        heard = json.loads(process.stdout.readline().replace("'", '"'))
    assert heard == [[tick, "sensor", tick * 0.1] for tick in range(20)]
    assert "nobody" not in result.stderr
    assert "no program" not in result.stderr
    assert result.stdout == "injected sensor of s to tick 19\n"


def test_it_is_said_when_nobody_reads_them(recordings_dir: Path) -> None:
    """At the start, as the recording may be long, and at the end, by topic."""
    robot(recordings_dir, "s", ticks=20)
    result = call("inject", "s", "--nodes", "sensor", "--namespace", "lonely")
    assert result.exit_code == 0
    assert "note: no program listens in namespace 'lonely' yet" in result.stderr
    assert "note: nobody read sensor.reading in namespace 'lonely'" in result.stderr


def test_what_is_read_and_what_is_not(recordings_dir: Path) -> None:
    """A program that listens to one of two topics; the other one is named."""
    sent = {tick: [("arm", "joints", {"value": tick}), ("arm", "force", tick)] for tick in range(30)}
    make(recordings_dir, "s", sent, ticks=30)
    with live("joints", 30, HORUS_NAMESPACE="arms") as process:
        found = call_json("inject", "s", "--nodes", "arm", "--namespace", "arms")
        assert process.stdout is not None
        assert process.stdout.readline()
    assert found["unheard"] == ["force"]
    assert found["node_ticks"] == {"arm": 30}


def test_a_live_publisher_of_the_same_topic_is_named(recordings_dir: Path) -> None:
    """It goes on, so whoever reads the topic hears both."""
    robot(recordings_dir, "s", ticks=3)
    with Topic("sensor.reading") as topic:
        topic.send({"value": 1})
        result = call("inject", "s", "--nodes", "sensor")
    assert result.exit_code == 0
    assert f"of process {os.getpid()} publishes sensor.reading too; its readers hear both" in result.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--", "x"), "arguments after -- belong to --into APP"),
        (("--into", "robot.py", "--namespace", "n"), "--namespace is for topics of running programs"),
        (("--namespace", "a/b"), "namespace 'a/b'"),
    ],
)
def test_options_that_do_not_go_together(recordings_dir: Path, options: tuple[str, ...], text: str) -> None:
    """Exit code 2 and a line."""
    robot(recordings_dir, "s", ticks=3)
    result = call("inject", "s", "--nodes", "sensor", *options)
    assert result.exit_code == 2
    assert text in result.stderr


def test_where_the_system_does_not_tell_any_listener_counts(tmp_path: Path, namespace: str) -> None:
    """As on macOS; better no word than a wrong one."""
    assert mapped_by_others(namespace, tmp_path) is None
    listeners = Listeners(namespace, ["sensor.reading"], processes=tmp_path)
    listeners.look()
    assert listeners.unheard == {"sensor.reading"}
    with live("another", 1):
        listeners.look()
    assert not listeners.unheard


READER = """
from horus_async import Node, Scheduler


async def tick(node):
    node.recv("{topic}")


def build(args):
    return Scheduler(deterministic={deterministic}, tick_rate=100).add(Node("reader", tick=tick, rate=100))
"""


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_program_that_does_not_read_them(recordings_dir: Path, tmp_path: Path, *, deterministic: bool) -> None:
    """With ``--into`` it is said too: the whole run shows nothing. And the summary is about that program."""
    robot(recordings_dir, "s", ticks=20)
    path = tmp_path / "deaf.py"
    path.write_text(READER.format(topic="another", deterministic=deterministic))
    result = call("inject", "s", "--nodes", "sensor", "--into", path)
    assert result.exit_code == 0, result.output
    assert f"note: nobody read sensor.reading: no node of {path}, and no other program" in result.stderr
    assert "\ndeaf: to tick " in result.stderr
    assert "\nscheduler: " not in result.stderr
    assert call_json("inject", "s", "--nodes", "sensor", "--into", path)["unheard"] == ["sensor.reading"]


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_program_that_reads_them(recordings_dir: Path, tmp_path: Path, *, deterministic: bool) -> None:
    """Undeclared or not, nothing is said of it."""
    robot(recordings_dir, "s", ticks=20)
    path = tmp_path / "app.py"
    path.write_text(READER.format(topic="sensor.reading", deterministic=deterministic))
    result = call("inject", "s", "--nodes", "sensor", "--into", path)
    assert result.exit_code == 0, result.output
    assert "nobody" not in result.stderr


def test_another_program_that_reads_them(recordings_dir: Path, tmp_path: Path) -> None:
    """It counts, if the program's own nodes do not."""
    robot(recordings_dir, "s", ticks=20)
    path = tmp_path / "deaf.py"
    path.write_text(READER.format(topic="another", deterministic=False))
    with live("sensor.reading", 20):
        result = call("inject", "s", "--nodes", "sensor", "--into", path)
    assert result.exit_code == 0, result.output
    assert "nobody" not in result.stderr
