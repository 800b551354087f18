"""What happens when a node fails, or raises what ends the program."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import HorusError, Node, NodeFailure, sleep, tick
from tests.engine.programs import Log, both_modes, every_runner, run_nodes, run_script, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async import Scheduler


class Broken(Exception):  # noqa: N818 - a node that is broken raises it
    """What the nodes here fail with."""


def broken(kind: str = "tick", at: int = 2, *, suspended: bool = False) -> Any:
    """A node that raises in one of its callbacks."""

    async def fail(n: Node) -> None:
        if kind != "tick" or tick() == at:
            if suspended:
                await sleep(0.001)
            raise Broken(kind)

    def fine(n: Node) -> None: ...

    return {"tick": fine, kind: fail}


@both_modes
@every_runner
@pytest.mark.parametrize("suspended", [False, True])
def test_a_fatal_failure_comes_out_of_run(
    runner: Callable[[Scheduler, float], None], deterministic: bool, suspended: bool
) -> None:
    """As a group with the node's own exception and the node's name; every shutdown still runs (J.1-45)."""
    log = Log()

    async def shutdown(n: Node) -> None:
        await sleep(0.001)
        log(n.name)

    scheduler = scheduler_of(
        Node("bad", shutdown=shutdown, **broken(at=0, suspended=suspended)),
        *(Node(name, tick=lambda n: None, shutdown=shutdown) for name in "ab"),
        deterministic=deterministic,
    )
    with pytest.raises(NodeFailure, match="bad") as caught:
        runner(scheduler, 10.0)
    assert isinstance(caught.value, HorusError)
    assert isinstance(caught.value, ExceptionGroup)
    assert [type(error) for error in caught.value.exceptions] == [Broken]
    assert caught.value.node == "bad"
    assert sorted(log.lines) == ["a", "b", "bad"]
    assert scheduler.stats().nodes["bad"].errors == 1


def test_the_group_can_be_caught_by_except_star() -> None:
    """except* finds the node's own exception, and the part keeps the node's name."""
    caught: list[Any] = []
    try:
        run_nodes(Node("bad", **broken()))
    except* Broken as group:
        caught.append(group)
    assert [(group.node, group.tick) for group in caught] == [("bad", 2)]


def test_the_traceback_leads_to_the_node() -> None:
    """The exception's traceback ends in the node's function, and a note names node and tick."""
    with pytest.raises(NodeFailure) as caught:
        run_nodes(Node("bad", **broken()))
    error = caught.value.exceptions[0]
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    assert traceback is not None
    assert traceback.tb_frame.f_code.co_name == "fail"
    assert "bad" in " ".join(error.__notes__)


@both_modes
def test_a_failing_init_ends_the_run(deterministic: bool) -> None:
    """No node ticks; those that were initialised shut down; the error names the node."""
    log = Log()
    with pytest.raises(NodeFailure, match="bad"):
        run_nodes(
            Node("a", init=log.says("init a"), tick=log.says("tick"), shutdown=log.says("off a")),
            Node("bad", **broken("init")),
            Node("never", init=log.says("init never"), tick=log.says("tick")),
            deterministic=deterministic,
        )
    assert log.lines == ["init a", "off a"]


@both_modes
def test_failing_shutdowns_do_not_keep_others_from_theirs(deterministic: bool) -> None:
    """Each shutdown runs to its end, also an async one after a failed one; the failures come out."""
    log = Log()

    async def slow_shutdown(n: Node) -> None:
        await sleep(0.01)
        log(n.name)

    with pytest.raises(NodeFailure) as caught:
        run_nodes(
            Node("bad1", **broken("shutdown")),
            Node("a", tick=lambda n: None, shutdown=slow_shutdown),
            Node("bad2", **broken("shutdown", suspended=True)),
            Node("b", tick=lambda n: None, shutdown=slow_shutdown),
            duration=0.03,
            deterministic=deterministic,
        )
    assert log.lines == ["a", "b"]
    assert caught.value.node == "bad1"
    assert len(caught.value.exceptions) == 2


def test_a_failure_in_tick_and_in_shutdown_are_both_told() -> None:
    """The group holds the tick's exception first, then the shutdown's."""

    def shutdown(n: Node) -> None:
        raise ValueError("off")

    with pytest.raises(NodeFailure) as caught:
        run_nodes(Node("bad", shutdown=shutdown, **broken()))
    assert [type(error) for error in caught.value.exceptions] == [Broken, ValueError]


@both_modes
@pytest.mark.parametrize("kind", ["init", "tick", "shutdown"])
def test_on_error_is_told_and_swallows_nothing(kind: str, deterministic: bool) -> None:
    """A plain on_error and an async one hear of each exception; it ends the run all the same (J.1-44)."""
    log = Log()

    async def slow(n: Node, error: Exception) -> None:
        await sleep(0.002)
        log("slow", str(error))

    for on_error in (lambda n, error: log("plain", str(error)), slow):
        with pytest.raises(NodeFailure):
            run_nodes(Node("bad", on_error=on_error, **broken(kind, at=0)), duration=0.05, deterministic=deterministic)
    assert log.lines == [("plain", kind), ("slow", kind)]


def test_on_error_as_a_method() -> None:
    """A subclass writes it as a method."""
    log = Log()

    class Bad(Node):
        def tick(self) -> None:
            raise Broken("method")

        def on_error(self, error: Exception) -> None:
            log(self.name, str(error))

    with pytest.raises(NodeFailure):
        run_nodes(Bad())
    assert log.lines == [("Bad", "method")]


def test_an_on_error_that_fails_does_not_hide_the_error(caplog: pytest.LogCaptureFixture) -> None:
    """The node's exception comes out; that of on_error is logged."""

    def on_error(n: Node, error: Exception) -> None:
        raise ValueError("in on_error")

    with caplog.at_level(logging.ERROR), pytest.raises(NodeFailure) as caught:
        run_nodes(Node("bad", on_error=on_error, **broken()))
    assert isinstance(caught.value.exceptions[0], Broken)
    assert "in on_error" in caplog.text


def test_an_error_in_a_ticks_own_nursery_comes_out_as_raised() -> None:
    """A tick that opens a nursery may fail with a group; it is the node's own exception."""
    import trio

    async def child() -> None:
        raise Broken("child")

    async def parent(n: Node) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    with pytest.raises(NodeFailure) as caught:
        run_nodes(Node("bad", tick=parent))
    assert caught.value.subgroup(Broken) is not None
    assert caught.value.node == "bad"


def test_a_node_that_fails_ends_the_tick_of_the_others() -> None:
    """After a fatal failure no further node ticks."""
    log = Log()
    with pytest.raises(NodeFailure):
        run_nodes(Node("bad", **broken(at=0)), Node("late", tick=log.says("tick"), order=1))
    assert log.lines == []


@both_modes
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_ends_the_run(error: BaseException, deterministic: bool) -> None:
    """SystemExit and KeyboardInterrupt raised in a tick come out as they are, after every shutdown."""
    log = Log()

    def leave(n: Node) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_nodes(Node("n", tick=leave, shutdown=log.says("off")), deterministic=deterministic)
    assert caught.value is error
    assert log.lines == ["off"]


SCRIPT = """
from horus_async import Node, Scheduler, run
import asyncio, sys, trio
def tick(node):
    raise ValueError("broken arm")
scheduler = Scheduler(deterministic={deterministic})
scheduler.add(Node("arm", tick=tick, shutdown=lambda n: print("off", flush=True)))
{run}
"""


@both_modes
@pytest.mark.parametrize(
    "run", ["scheduler.run_sync(1)", "trio.run(scheduler.run, 1)", "asyncio.run(scheduler.run(1))"]
)
def test_a_fatal_failure_makes_the_exit_code_non_zero(run: str, deterministic: bool) -> None:
    """A script whose node fails exits with 1, its traceback names the node and the error (J.1-45)."""
    done = run_script(SCRIPT.format(run=run, deterministic=deterministic))
    assert done.returncode == 1
    assert done.stdout == "off\n"
    assert "arm" in done.stderr
    assert "broken arm" in done.stderr


def test_sys_exit_in_a_tick_gives_its_code() -> None:
    """sys.exit(7) in a tick makes the process exit with 7."""
    text = SCRIPT.replace('raise ValueError("broken arm")', "sys.exit(7)")
    done = run_script(text.format(run="scheduler.run_sync(1)", deterministic=True))
    assert (done.returncode, done.stdout) == (7, "off\n")
