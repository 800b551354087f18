"""Mistakes that used to be silent: each gets a sentence that says what is wrong and what to do."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import threading
import types
import warnings
from typing import Any

import anyio
import pytest
import trio

from horus_async import (
    ConfigurationError,
    ContextError,
    Ignore,
    Node,
    NodeFailure,
    Scheduler,
    dt,
    now_ns,
    sleep,
    tick,
)
from horus_async.errors import HorusError
from horus_async.nodes.node import callback_of
from tests.engine.programs import both_modes, run_nodes, scheduler_of


def failure_of(*nodes: Node, deterministic: bool = True, duration: float = 0.05) -> BaseException:
    """What a run of nodes fails with."""
    with pytest.raises(NodeFailure) as caught:
        run_nodes(*nodes, deterministic=deterministic, duration=duration)
    return caught.value.exceptions[0]


# Generators


async def _async_generator(node: Node) -> Any:
    yield node


def _generator(node: Node) -> Any:
    yield node


@pytest.mark.parametrize("callback", ["init", "tick", "shutdown", "on_error", "enter_safe_state"])
@pytest.mark.parametrize("function", [_async_generator, _generator])
def test_a_yield_in_a_callback(callback: str, function: Any) -> None:
    """It makes a generator of it, which nobody would run: an error when the node is made (nodes/14)."""
    with pytest.raises(ConfigurationError, match=f"a 'yield' in its {callback}"):
        Node("n", **{"tick": print, callback: function})
    with pytest.raises(ConfigurationError, match=f"a 'yield' in its {callback}"):
        type("Robot", (Node,), {"tick": lambda _: None, callback: function})()


ARGUMENTS = [
    ("tick", lambda: None, r"cannot be called with \(node\): .*; write 'def tick\(node\)'"),
    ("init", lambda node, more: None, r"cannot be called with \(node\): .*'more'; write 'def init\(node\)'"),
    ("on_error", lambda node: None, r"cannot be called with \(node, error\): .*; write 'def on_error\(node, error\)'"),
    ("shutdown", lambda node, *, slow: None, r"cannot be called with \(node\): missing .*'slow'"),
]


@pytest.mark.parametrize(("callback", "function", "says"), ARGUMENTS)
def test_a_callback_that_takes_other_arguments(callback: str, function: Any, says: str) -> None:
    """An error when the node is made, not one of the engine's code in its first tick."""
    with pytest.raises(ConfigurationError, match=f"node 'n': its {callback} {says}"):
        Node("n", **{"tick": print, callback: function})


def test_a_method_that_takes_other_arguments() -> None:
    """The same, with what a method takes."""
    with pytest.raises(ConfigurationError, match=r"cannot be called with \(\): .*'node'; write 'def tick\(self\)'"):
        type("Robot", (Node,), {"tick": lambda _self, node: node})()
    with pytest.raises(ConfigurationError, match=r"with \(error\): .*; write 'def on_error\(self, error\)'"):
        type("Robot", (Node,), {"tick": lambda _: None, "on_error": lambda _: None})()


class _Callable:
    def __call__(self, node: Node) -> None:
        node.send("ticked", 1)


@pytest.mark.parametrize(
    "function",
    [_Callable(), _Callable().__call__, functools.partial(lambda x, node: node.send("ticked", x), 1), dict, id],
)
def test_whatever_takes_a_node_is_a_callback(function: Any) -> None:
    """Also what has no signature, and what takes more that has a default."""
    node = Node("n", tick=lambda _: None, shutdown=function) if function is dict else Node("n", tick=function)
    assert callback_of(node, "tick") is not None


@both_modes
def test_a_generator_that_a_callback_returns(deterministic: bool) -> None:
    """One that only the call shows fails the node."""

    def returns_one(node: Node) -> Any:
        return _async_generator(node)

    error = failure_of(Node("n", tick=returns_one), deterministic=deterministic)
    assert isinstance(error, ConfigurationError)
    assert "async generator" in str(error)


def test_an_old_style_coroutine_is_none() -> None:
    """A generator that Python takes for a coroutine is one."""
    done = []

    @types.coroutine
    def old_style(node: Node) -> Any:
        yield from sleep(0.001).__await__()
        done.append(node.name)

    run_nodes(Node("n", tick=old_style), duration=0.01)
    assert done == ["n"]


def test_callbacks_are_functions() -> None:
    """Anything else is an error when the node is made."""
    with pytest.raises(ConfigurationError, match="tick=5; give a function"):
        Node("n", tick=5)  # type: ignore[arg-type]


# Coroutines that were not awaited


async def helper() -> None:
    """A node's own coroutine function."""


def _forgets_sleep(_: Node) -> Any:
    async def tick_(node: Node) -> None:
        sleep(0.1)  # type: ignore[unused-coroutine]  # the mistake
        node.name  # noqa: B018

    return tick_(_)


async def _forgets_own(_: Node) -> None:
    helper()  # type: ignore[unused-coroutine]


async def _forgets_and_keeps(node: Node) -> None:
    kept = node.receive("x")
    del kept


async def _forgets_and_keeps_longer(node: Node) -> None:
    kept: Any = node.receive("x")
    assert kept is not None


async def _returns_it(node: Node) -> Any:
    return node.receive("x")


def _plain(_: Node) -> None:
    helper()  # type: ignore[unused-coroutine]


async def _after_waiting(_: Node) -> None:
    await sleep(0.001)
    helper()  # type: ignore[unused-coroutine]


async def _in_a_task(_: Node) -> None:
    async def forgets() -> None:
        await sleep(0.001)
        helper()  # type: ignore[unused-coroutine]

    async with anyio.create_task_group() as group:
        group.start_soon(forgets)


FORGETFUL = [
    (_forgets_sleep, "sleep"),
    (_forgets_own, "helper"),
    (_forgets_and_keeps, "receive"),
    (_forgets_and_keeps_longer, "receive"),
    (_returns_it, "receive"),
    (_plain, "helper"),
    (_after_waiting, "helper"),
    (_in_a_task, "helper"),
]


@both_modes
@pytest.mark.parametrize(("forgets", "what"), FORGETFUL, ids=lambda value: getattr(value, "__name__", ""))
def test_a_forgotten_await(forgets: Any, what: str, deterministic: bool) -> None:
    """The node fails with an error that names node, tick, call and line (user/forgot_await_*)."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = failure_of(Node("robot", tick=forgets), deterministic=deterministic)
    assert isinstance(error, ConfigurationError)
    text = str(error)
    assert text.startswith("node 'robot', tick 0: ")
    assert f"{what}() did nothing" in text
    assert f"write 'await {what}(...)'" in text
    assert f"{__file__}:" in text


@pytest.mark.parametrize("kind", ["init", "shutdown"])
def test_in_other_callbacks(kind: str) -> None:
    """The same there."""
    callbacks: dict[str, Any] = {"tick": lambda _: None, kind: _forgets_own}
    error = failure_of(Node("robot", **callbacks))
    assert str(error).startswith(f"node 'robot', {kind}: helper() did nothing")


def test_every_time_it_is_forgotten() -> None:
    """A node that ignores its failures fails in each tick of these."""
    scheduler = run_nodes(Node("robot", tick=_forgets_own, failure_policy=Ignore()), duration=0.05)
    assert scheduler.stats().nodes["robot"].errors == 5


def test_a_failure_of_its_own_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    """A tick that fails anyway keeps its own exception, and the forgotten await is logged."""

    async def both(_: Node) -> None:
        helper()  # type: ignore[unused-coroutine]
        raise ZeroDivisionError

    assert isinstance(failure_of(Node("robot", tick=both)), ZeroDivisionError)
    assert "node 'robot', tick 0: helper() did nothing" in caplog.text


def test_used_as_its_value() -> None:
    """A TypeError over a coroutine says that an await is missing (user/forgot_await_receive)."""

    async def uses(node: Node) -> None:
        message: Any = node.receive("x")
        try:
            message["v"]
        finally:
            message.close()

    error = failure_of(Node("robot", tick=uses))
    assert isinstance(error, TypeError)
    assert any("write 'await' before the call" in note for note in error.__notes__)


def test_collected_as_garbage_it_is_logged_where_it_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can say whose tick a cycle was made in: no node fails for it, and it is logged."""

    async def cycle(_: Node) -> None:
        loop: list[Any] = [helper()]
        loop.append(loop)
        del loop
        gc.collect()

    run_nodes(Node("robot", tick=cycle), duration=0.01)
    assert "a coroutine of it, defined at" in caplog.text
    assert "helper() did nothing" in caplog.text


def test_outside_of_nodes_python_warns_as_before() -> None:
    """What is no node's is Python's business, during a run and after it."""

    def outside(_: Node) -> None:
        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()

    with pytest.warns(RuntimeWarning, match="helper"):
        run_nodes(Node("robot", tick=outside), duration=0.01)
    with pytest.warns(RuntimeWarning, match="helper"):
        helper()  # type: ignore[unused-coroutine]


# Changes during a run


@both_modes
@pytest.mark.parametrize(
    ("option", "value"),
    [("rate", 1), ("on", "x"), ("pubs", ["y"]), ("subs", ["y"]), ("order", 5), ("deadline", 1.0), ("name", "other")],
)
def test_options_are_fixed_while_it_runs(option: str, value: Any, deterministic: bool) -> None:
    """Setting one raises and changes nothing; before and after the run they can be set (nodes/15)."""
    told: list[str] = []
    other = Node("other", tick=lambda _: None, rate=10)

    def change(_: Node) -> None:
        with pytest.raises(ContextError, match=rf"'other' is running: its {option} cannot be changed") as caught:
            setattr(other, option, value)
        told.append(str(caught.value))
        with pytest.raises(ContextError):
            delattr(other, option)

    before = getattr(other, option)
    run_nodes(other, Node("changer", tick=change, rate=10), duration=0.15, deterministic=deterministic)
    assert told
    assert getattr(other, option) == before
    if option != "on":
        setattr(other, option, value)


def test_between_runs_options_are_checked() -> None:
    """A value that is not possible is refused when it is set, and the old one stays; topics may be given as a text."""
    node = Node("n", tick=lambda _: None, rate=10)
    for option, value in [("rate", "fast"), ("rate", -1), ("budget", 0), ("on", "scan"), ("pubs", 5), ("on_miss", 1)]:
        before = getattr(node, option)
        with pytest.raises(HorusError):
            setattr(node, option, value)
        assert getattr(node, option) == before
    node.subs = "scan"
    assert tuple(node.subs) == ("scan",)
    node.rate = 50
    scheduler = run_nodes(node, duration=0.2)
    assert scheduler.stats().nodes["n"].ticks == 10
    node.rate = 20
    assert scheduler.stats().nodes["n"].rate == 50  # in force in that run


def test_a_class_has_its_options_as_values() -> None:
    """Defaults, a subclass's own, and one set for a single node."""

    class Arm(Node):
        rate = 50
        pubs = ("a",)

        def tick(self) -> None: ...

    class Fast(Arm):
        rate = 90

    arm = Arm()
    arm.rate = 20
    assert (Node.rate, Arm.rate, Fast.rate, Arm().rate, Fast().rate, arm.rate) == (None, 50, 90, 50, 90, 20)
    del arm.rate
    assert arm.rate == 50
    assert Arm.pubs == ("a",)


@both_modes
def test_no_node_is_added_to_a_running_scheduler(deterministic: bool) -> None:
    """It would not take part, and so it is refused; afterwards it can be."""
    late = Node("late", tick=lambda _: None)

    def add(_: Node) -> None:
        with pytest.raises(ContextError, match="the scheduler is running: <Node 'late'> would not take part"):
            scheduler.add(late)

    scheduler = scheduler_of(Node("n", tick=add), deterministic=deterministic)
    scheduler.run_sync(0.03)
    scheduler.add(late).run_sync(0.03)
    assert scheduler.stats().nodes["late"].ticks


@pytest.mark.trio
async def test_no_node_is_added_between_single_ticks() -> None:
    """The same between calls of tick_once()."""
    async with scheduler_of(Node("n", tick=lambda _: None)) as scheduler:
        await scheduler.tick_once()
        with pytest.raises(ContextError, match="tick_once"):
            scheduler.add(Node("late", tick=lambda _: None))


# Topics


def test_a_topic_that_nobody_sends(caplog: pytest.LogCaptureFixture) -> None:
    """A deterministic run hears no other process: it warns, with the nearest name (user/on_typo, wrong_topic_name)."""
    sender = Node("a", tick=lambda node: node.send("scan", 1), pubs="scan")
    run_nodes(sender, Node("b", tick=print, on="scann"), Node("c", tick=lambda n: n.recv("odom"), subs="scan"))
    assert "topic 'scann' is read by 'b', and nobody sends on it; did you mean 'scan'?" in caplog.messages
    assert "topic 'odom' is read by 'c', and nobody sends on it" in caplog.messages
    assert len(caplog.messages) == 2


def test_topics_that_somebody_sends_or_may(caplog: pytest.LogCaptureFixture) -> None:
    """No word where it is declared, sent undeclared, or in real time, where other processes may send it."""
    nodes = [
        Node("a", tick=lambda node: node.send("undeclared", 1)),
        Node("b", tick=lambda _: None, pubs="declared"),
        Node("c", tick=lambda node: node.recv("undeclared"), subs="declared"),
    ]
    run_nodes(*nodes)
    run_nodes(Node("d", tick=lambda _: None, subs="nobody"), deterministic=False, duration=0.02)
    assert caplog.messages == []


@both_modes
def test_an_undeclared_topic(caplog: pytest.LogCaptureFixture, deterministic: bool) -> None:
    """A node that declares topics and sends on another is told of, once, with the nearest (user/undeclared_topic)."""
    node = Node("a", tick=lambda node: node.send("odometry", 1), pubs=["odom", "scan"])
    run_nodes(node, deterministic=deterministic)
    assert [message for message in caplog.messages if "held up" not in message] == [  # by a busy machine
        "node 'a' sends on 'odometry', which is not among its pubs (odom, scan); did you mean 'odom'?"
    ]


def test_who_uses_a_topic() -> None:
    """A scheduler says who sends and who reads, as declared and as done."""
    nodes = [
        Node("a", tick=lambda node: node.send("x", 1), pubs="y"),
        Node("b", tick=lambda node: node.recv("x"), subs="y"),
    ]
    scheduler = scheduler_of(*nodes)
    assert scheduler.topics() == {}
    scheduler.run_sync(0.01)
    assert {topic: (use.writers, use.readers) for topic, use in scheduler.topics().items()} == {
        "x": (("a",), ("b",)),
        "y": (("a",), ("b",)),
    }


# Waiting for what cannot come


async def _wait(node: Node) -> None:
    await node.receive("x")


async def _wait_in_a_loop(node: Node) -> None:
    async for _ in node.subscribe("x"):
        pass


RUNNERS = {
    "run_sync": lambda scheduler: scheduler.run_sync(0.02),
    "trio.run": lambda scheduler: trio.run(scheduler.run, 0.02),
    "asyncio.run": lambda scheduler: asyncio.run(scheduler.run(0.02)),
}


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("kind", ["init", "shutdown"])
@pytest.mark.parametrize("wait", [_wait, _wait_in_a_loop])
def test_a_message_that_cannot_come(runner: Any, kind: str, wait: Any) -> None:
    """In virtual time no node sends before the first tick or after the last: the wait fails at once, with a word."""
    scheduler = scheduler_of(Node("n", tick=lambda _: None, **{kind: wait}))
    with pytest.raises(NodeFailure) as caught:
        runner(scheduler)
    assert isinstance(caught.value.exceptions[0], ContextError)
    assert "node 'n' waits for a message on 'x' before the first tick" in str(caught.value.exceptions[0])


def test_a_message_that_can_come() -> None:
    """From the node's own tasks and threads, from an earlier init: it is waited for."""
    got: list[Any] = []

    async def from_a_task(node: Node) -> None:
        async def later() -> None:
            await sleep(3)
            node.send("task", 1)

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            got.append(await node.receive("task"))

    async def from_a_worker(node: Node) -> None:
        def work() -> None:
            node.send("worker", 2)

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, work)
            got.append(await node.receive("worker"))

    async def from_a_thread(node: Node) -> None:
        def work() -> None:
            node.send("thread", 3)

        thread = threading.Timer(0.05, work)
        thread.start()
        got.append(await node.receive("thread"))
        await anyio.to_thread.run_sync(thread.join)

    async def from_a_file(node: Node) -> None:
        read, write = os.pipe()

        async def later() -> None:
            await trio.lowlevel.wait_readable(read)
            node.send("file", 4)

        threading.Timer(0.05, os.write, (write, b"x")).start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            got.append(await node.receive("file"))
        os.close(read)
        os.close(write)

    nodes = [
        Node(f"n{i}", tick=lambda _: None, init=init)
        for i, init in enumerate((from_a_task, from_a_worker, from_a_thread, from_a_file))
    ]
    early = Node("early", tick=lambda _: None, init=lambda node: node.send("early", 5), order=-1)

    async def from_another(node: Node) -> None:
        got.append(await node.receive("early"))

    run_nodes(early, *nodes, Node("last", tick=lambda _: None, init=from_another, order=1), duration=0.01)
    assert sorted(got) == [1, 2, 3, 4, 5]


# Event loops


async def _asyncio_sleep(_: Node) -> None:
    await asyncio.sleep(0.01)


async def _asyncio_yield(_: Node) -> None:
    await asyncio.sleep(0)


async def _asyncio_loop(_: Node) -> None:
    asyncio.get_running_loop()


async def _asyncio_queue(_: Node) -> None:
    await asyncio.Queue().get()


async def _asyncio_in_a_task(_: Node) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(asyncio.sleep, 0.01)


@both_modes
@pytest.mark.parametrize("uses", [_asyncio_sleep, _asyncio_yield, _asyncio_loop, _asyncio_queue, _asyncio_in_a_task])
def test_asyncio_under_trio(uses: Any, deterministic: bool) -> None:
    """The error says which loop the run is under, and what to do (nodes/20, user/asyncio_sleep_in_node)."""
    error = failure_of(Node("n", tick=uses), deterministic=deterministic)
    notes = " ".join(error.__notes__)
    assert "asyncio.run(scheduler.run())" in notes
    assert "trio-asyncio" in notes
    assert ("virtual time (deterministic=True" in notes) == deterministic


def test_asyncio_in_virtual_time_under_asyncio() -> None:
    """The run is under trio there, too."""
    with pytest.raises(NodeFailure) as caught:
        asyncio.run(scheduler_of(Node("n", tick=_asyncio_sleep)).run(0.05))
    assert any("virtual time" in note for note in caught.value.exceptions[0].__notes__)


def test_asyncio_in_real_time_under_asyncio() -> None:
    """There it works."""
    scheduler = scheduler_of(Node("n", tick=_asyncio_yield), deterministic=False)
    asyncio.run(scheduler.run(0.05))
    assert scheduler.stats().nodes["n"].errors == 0


def test_ordinary_errors_have_no_advice() -> None:
    """A RuntimeError or TypeError of the node's own is left alone."""

    def fail(_: Node) -> None:
        raise RuntimeError("the motor is running hot")

    assert failure_of(Node("n", tick=fail)).__notes__ == ["in tick of node 'n', tick 0"]


@both_modes
def test_run_sync_inside_trio(deterministic: bool) -> None:
    """An error of ours that says to await run()."""

    async def main() -> None:
        with pytest.raises(ContextError, match=r"inside a trio run: write 'await scheduler\.run"):
            run_nodes(Node("n", tick=print), deterministic=deterministic)

    trio.run(main)


def test_run_sync_inside_asyncio(caplog: pytest.LogCaptureFixture) -> None:
    """It runs, as in a notebook; in real time it says that the loop stands still (user/run_sync_in_running_asyncio)."""

    async def main(*, deterministic: bool) -> int:
        return run_nodes(Node("n", tick=lambda _: dt()), deterministic=deterministic).stats().nodes["n"].ticks

    assert asyncio.run(main(deterministic=True)) == 10
    assert caplog.messages == []
    assert asyncio.run(main(deterministic=False))
    assert "run_sync() holds up the asyncio loop" in caplog.messages[0]


# The log


def test_log_records_have_tick_and_time(caplog: pytest.LogCaptureFixture) -> None:
    """And what the user passes as extra=, which LoggerAdapter would drop before Python 3.13 (nodes/25)."""

    def log(node: Node) -> None:
        node.log.info("moved", extra={"joint": 3, "tick": "mine"})
        times.append((tick(), now_ns()))

    times: list[tuple[int, int]] = []
    node = Node("arm", tick=log, init=lambda node: node.log.warning("begins"), rate=50)
    with caplog.at_level(logging.INFO):
        run_nodes(node, duration=0.05)
        node.log.info("over", extra={"joint": 4})
    records: list[Any] = caplog.records
    assert [(record.node, record.tick, record.now_ns) for record in records[1:-1]] == [("arm", *at) for at in times]
    assert [(record.joint, record.tick_) for record in records[1:-1]] == [(3, "mine")] * 3
    assert (records[0].tick, records[0].now_ns, records[0].node) == (None, 0, "arm")
    assert (records[-1].tick, records[-1].joint) == (None, 4)
    assert records[-1].now_ns > times[-1][1]


def test_a_node_is_not_held_to_names_of_other_schedulers() -> None:
    """Two schedulers in one process, one inside a tick of the other's thread, do not see each other's mistakes."""

    def inner() -> None:
        run_nodes(Node("twin", tick=_forgets_own, failure_policy=Ignore()), duration=0.01)

    async def outer(_: Node) -> None:
        await anyio.to_thread.run_sync(inner)

    scheduler = Scheduler(deterministic=True).add(Node("twin", tick=outer))
    scheduler.run_sync(0.01)
    assert scheduler.stats().nodes["twin"].errors == 0


# The end


@both_modes
@pytest.mark.parametrize("closed", [False, True])
def test_ticks_that_nobody_ends(closed: bool, deterministic: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A scheduler that was run tick by tick and forgotten says that no shutdown ran."""

    async def main() -> None:
        scheduler = scheduler_of(Node("n", tick=lambda _: None), deterministic=deterministic, name="arm")
        await scheduler.tick_once()
        if closed:
            await scheduler.aclose()

    trio.run(main)
    gc.collect()
    said = [message for message in caplog.messages if "was run tick by tick and never ended" in message]
    assert len(said) == (not closed)
    assert not said or "scheduler 'arm'" in said[0]


@pytest.mark.parametrize("recording", [{"name": "day"}, 1, None, b"day"])
def test_a_recording_that_is_none(recording: Any) -> None:
    """An error when the scheduler is made, not when it runs."""
    with pytest.raises(ConfigurationError, match=r"recording=.*give True, a session's name or RecordingOptions"):
        Scheduler(recording=recording)
