"""What live code sends besides, how its threads and tasks fail, and how a verification ends."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from click.testing import CliRunner

from horus_async import Node, NodeFailure, Scheduler, sleep, tick
from horus_async.cli import main
from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.errors import ContextError
from horus_async.replay.verify.run import verify as verify_ticks
from tests.replay.sessions import record
from tests.replay.test_verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])


def source() -> Node:
    """Sends the tick."""
    return Node("src", tick=lambda n: n.send("s", tick()), rate=50, pubs="s")


def echo(*, also: str | None = None) -> Node:
    """A tick that never ends."""

    async def run(node: Node) -> None:
        async for value in node.subscribe("s"):
            node.send("e", value)
            if also is not None:
                node.send(also, value)

    return Node("echo", tick=run, subs="s")


def background(count: int = 20, pause: float = 0.003, at_end: Callable[[Node], Any] | None = None) -> Node:
    """A task that ends."""

    async def loop(node: Node) -> None:
        for number in range(count):
            node.send("b", number)
            await sleep(pause)
        if at_end is not None:
            at_end(node)

    return Node("b", tick=lambda n: None, init=lambda n: n.background(loop, n), rate=20)


def threaded(count: int | None = 20, at_end: Callable[[Node], Any] | None = None) -> Node:
    """A thread that ends, or does not."""
    pause = threading.Event()

    def loop(node: Node) -> None:
        number = 0
        while count is None or number < count:
            node.send("b", number)
            number += 1
            pause.wait(0.002)
        if at_end is not None:
            at_end(node)

    return Node("b", tick=lambda n: None, init=lambda n: n.in_thread(loop, n), rate=20)


def fail(node: Node) -> None:
    """Raise."""
    raise ValueError(f"{node.name} is gone")


def test_a_tick_that_the_end_of_the_run_cut_before_it_sent_anything() -> None:
    """The machine was busy: in the verification the tick comes further, and nobody knows what it would have sent."""

    async def wait_and_send(node: Node) -> None:
        for _ in range(3):
            await sleep(0.001)
        node.send("a", 1)

    def block(node: Node) -> None:
        node.send("b", 1)
        sleep_until_monotonic(monotonic_ns() + NANOSECONDS // 5)

    record("s", [Node("a", tick=wait_and_send), Node("b", tick=block)], duration=0.1, deterministic=False)
    report = verify("s", [Node("a", tick=wait_and_send), Node("b", tick=lambda n: n.send("b", 1))])
    assert report.passed
    assert (report.compared, report.differences) == (1, 0)
    assert report.notes == ("not compared: 1 message of node a after the recorded end",)


@MODES
def test_what_comes_before_a_recorded_message_is_one_too_many(deterministic: bool) -> None:
    """Also in a tick that was cut, and on a topic that the node never used, where no time could tell it."""

    def endless(*, more: bool) -> Node:
        async def tick(node: Node) -> None:
            for number in range(1000):
                await sleep(0.01)
                if more and number == 0:
                    node.send("other", 1)
                node.send("a", number)

        return Node("n", tick=tick)

    record("s", [endless(more=False)], duration=0.08, deterministic=deterministic)
    assert verify("s", [endless(more=False)]).passed
    assert verify("s", [endless(more=True)]).differences == 1


@MODES
def test_one_more_topic_of_an_endless_tick(deterministic: bool) -> None:
    """Each message on it is a difference."""
    record("s", [source(), echo()], duration=0.3, deterministic=deterministic)
    assert verify("s", [source(), echo()]).passed
    report = verify("s", [source(), echo(also="motor.cmd")])
    assert next(row for row in report.topics if row.topic == "motor.cmd").differing > 10


@MODES
@pytest.mark.parametrize("make", [background, threaded])
def test_a_task_or_thread_that_sends_more(make: Callable[..., Node], deterministic: bool) -> None:
    """More on its topic, or one message on another."""
    if make is threaded and deterministic:
        return
    record("s", [make()], duration=1.0, deterministic=deterministic)
    report = verify("s", [make()])
    assert report.passed
    assert report.notes == ()
    assert verify("s", [make(30)]).differences == 10
    assert verify("s", [make(at_end=lambda n: n.send("other", 1))]).differences == 1


def test_all_at_once() -> None:
    """In virtual time each message has its tick."""
    record("s", [background()], duration=0.3, deterministic=True)
    assert verify("s", [background(pause=0.0)]).differences > 10


@MODES
@pytest.mark.parametrize("make", [background, threaded])
def test_a_task_or_thread_that_raises(make: Callable[..., Node], deterministic: bool) -> None:
    """Is a failure, but not where the recorded one raised too."""
    if make is threaded and deterministic:
        return
    record("s", [make()], duration=1.0, deterministic=deterministic)
    with pytest.raises(NodeFailure, match="'b' failed"):
        verify("s", [make(at_end=fail)])
    with pytest.raises(NodeFailure):
        record("t", [make(at_end=fail)], duration=1.0, deterministic=deterministic)
    assert verify("t", [make(at_end=fail)]).passed


def test_an_endless_thread_ends(caplog: pytest.LogCaptureFixture) -> None:
    """It is not left behind."""
    record("s", [threaded(None)], duration=0.2, deterministic=False)
    caplog.clear()
    assert verify("s", [threaded(None)]).passed
    assert "left behind" not in caplog.text


@MODES
def test_shutdown_is_called_once_and_to_its_end(deterministic: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Though it waits."""
    ended: list[str] = []

    async def shutdown(node: Node) -> None:
        ended.append("begun")
        await sleep(0.02)
        node.send("a", "stopped")
        ended.append("ended")

    def node() -> Node:
        return Node("a", tick=lambda n: n.send("a", tick()), shutdown=shutdown, rate=10)

    record("s", [node()], duration=0.3, deterministic=deterministic)
    ended.clear()
    caplog.clear()
    assert verify("s", [node()]).passed
    assert ended == ["begun", "ended"]
    assert "left behind" not in caplog.text


@MODES
def test_the_same_failures_are_no_difference(deterministic: bool) -> None:
    """A tick that fails for good, and then its shutdown."""

    def fails(node: Node) -> None:
        node.send("a", tick())
        if tick() == 3:
            fail(node)

    def node() -> Node:
        return Node("a", tick=fails, shutdown=fail)

    with pytest.raises(NodeFailure):
        record("s", [node()], duration=0.2, deterministic=deterministic)
    assert verify("s", [node()]).passed


def test_a_thread_that_nobody_knows_is_named() -> None:
    """What it sends is compared by chance."""

    def node() -> Node:
        over = threading.Event()
        threads: list[threading.Thread] = []

        def loop(node: Node) -> None:
            with suppress(ContextError):  # the run may end before it looks again
                while not over.wait(0.002):
                    node.send("own", 1)

        def start(node: Node) -> None:
            threads.append(threading.Thread(target=loop, args=(node,), daemon=True))
            threads[0].start()

        def shutdown(_: Node) -> None:
            over.set()
            threads[0].join()

        return Node("own", tick=lambda n: None, init=start, shutdown=shutdown, rate=20)

    record("s", [node()], duration=0.2, deterministic=False)
    assert any("in_thread()" in note for note in verify("s", [node()]).notes)


def test_what_a_later_start_leaves_out_is_said() -> None:
    """Messages of a tick that began before."""
    record("s", [source(), echo()], duration=0.3, deterministic=True)
    report = trio.run(verify_ticks, "s", [source(), echo()], None, 10)
    assert report.notes == ("not compared: 10 messages of node echo in callbacks that began before tick 10",)


def test_overrides_do_not_go_with_verify() -> None:
    """It is said."""
    record("s", [source()], duration=0.1, deterministic=True)
    result = CliRunner().invoke(main, ["replay", "s", "--verify", "x.py", "--override", "src.s=1"])
    assert result.exit_code == 2
    assert "--override does not go with --verify" in result.output
    Scheduler.delete_recording("s")
