"""``log``: of a robot that runs, of a session, and of one that is being recorded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, Scheduler
from horus_async.recorder.read.tail import LogTail
from horus_async.remote.client import Client
from horus_async.remote.watching import LogWatch
from horus_async.testing import unique_namespace
from tests.engine.programs import environment
from tests.interface.programs import count, scheduler_of
from tests.watching.robots import PATIENCE, call, running, top_of

if TYPE_CHECKING:
    from pathlib import Path


def follow(*arguments: str, until: int, **more: str) -> list[dict[str, Any]]:
    """So many lines of ``log --follow --json``."""
    command = [sys.executable, "-m", "horus_async", "log", "--follow", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(**more)) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(until)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    return lines


def test_a_running_robot_is_followed(tmp_path: Path) -> None:
    """Its INFO lines come while somebody follows, each once and in order; what it kept of before comes first."""
    namespace = unique_namespace()
    with running(namespace, tmp_path):
        top_of(namespace, lambda said: said["nodes"])
        Client(namespace).call("arm.home", "now", timeout=60.0)
        lines = follow(until=60, HORUS_NAMESPACE=namespace)
        assert {"INFO", "WARNING"} <= {line["level"] for line in lines}
        numbers = [line["seq"] for line in lines]
        assert numbers == sorted(set(numbers))
        assert any(line["message"] == "going home: now" for line in lines)
        only = follow("--node", "arm", "--level", "INFO", until=3, HORUS_NAMESPACE=namespace)
        assert {line["node"] for line in only} == {"arm"}
        done = call("log", "--level", "warning", "--namespace", namespace)
    assert done.returncode == 0
    assert "[weak] WARNING: node 'weak' failed in tick: ValueError: no oil" in done.stdout


def test_nobody_hears_what_nobody_asks_for() -> None:
    """Before somebody follows, and once nobody has for a while, INFO costs a node nothing: nobody hears it."""
    heard = list[bool]()

    def tick(node: Node) -> None:
        number = count(node)
        heard.append(node.log.isEnabledFor(20))
        node.log.info("%d", number)
        if number == 20:
            watch.ask(20, 0.2)
        if number > 5 and len(heard) > 30 and heard[-1] is False:
            node.request_stop()

    scheduler = scheduler_of([Node("arm", tick=tick, rate=100)])
    with LogWatch(scheduler._options.namespace) as watch:
        scheduler.run_sync(60.0)
        lines = list(watch.lines())
    assert heard[5] is False
    assert heard[-1] is False
    assert True in heard
    assert watch.missed == 0
    assert [line["seq"] for line in lines] == list(range(lines[0]["seq"], lines[0]["seq"] + len(lines)))


def test_lines_that_come_too_fast_are_counted() -> None:
    """Received and missed together are all that was logged."""

    def tick(node: Node) -> None:
        number = count(node)
        if number == 0:
            watch.ask(20, 60.0)
        if number == 0:
            node.log.warning("kept")
        if number == 5:
            for line in range(3000):
                node.log.info("%d", line)
        if number == 40:
            node.log.info("last")
            node.request_stop()

    scheduler = scheduler_of([Node("arm", tick=tick, rate=100)])
    with LogWatch(scheduler._options.namespace) as watch:
        scheduler.run_sync(60.0)
        (kept,) = watch.kept()
        first = kept["seq"] + 1
        lines = list(watch.lines())
    assert lines[-1]["message"] == "last"
    assert watch.missed > 1000
    assert len(lines) + watch.missed == lines[-1]["seq"] - first + 1 >= 3001


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session with some lines."""

    def tick(node: Node) -> None:
        node.log.info("at %d", count(node))
        node.log.error("bad\nand worse")

    scheduler = Scheduler(deterministic=True, recording="s", recordings_dir=tmp_path)
    scheduler.add(Node("arm", tick=tick, rate=10)).add(Node("leg", tick=tick, rate=10)).run_sync(0.5)
    return tmp_path / "s"


def test_a_session_is_shown(session: Path) -> None:
    """By node and level, as text and as JSON, followed or not."""
    done = call("log", str(session), "--node", "arm", "--level", "error")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
    assert "[arm] ERROR: bad\n    and worse" in done.stdout
    plain = call("log", str(session), "--json")
    assert len(plain.stdout.splitlines()) == 20
    assert call("log", str(session), "--json", "--follow").stdout == plain.stdout


def test_a_session_is_followed_while_it_is_recorded(tmp_path: Path) -> None:
    """Each line comes once, whole and in order, and the end is noticed."""
    numbers = list[int]()
    begun, over = threading.Event(), threading.Event()

    def tick(node: Node) -> None:
        node.log.info("%d", count(node))
        begun.set()
        if over.is_set():
            node.request_stop()

    scheduler = scheduler_of([Node("arm", tick=tick)], recording="s", recordings_dir=tmp_path)
    thread = threading.Thread(target=scheduler.run_sync)
    thread.start()
    assert begun.wait(PATIENCE)
    tail = LogTail(tmp_path / "s")
    while not tail.ended:
        numbers += [int(line.message) for line in tail.new() if line.node == "arm"]
        if len(numbers) > 100:
            over.set()
    thread.join()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 100
    assert (tail.damaged, tail.dropped) == (0, 0)
