"""However a run ends and whatever its nodes do meanwhile: it ends, in order, and nothing outlives it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
import trio
from attrs import define, field, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async import ContextError, EmergencyStop, Node, NodeFailure, Scheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GRACE = 0.15
HANGS = ("thread", "shield")
BEHAVIOURS = ("return", "return", "sleep", "forever", "swallow", "swallow twice", "clean up", "raise", "group", *HANGS)
LONG = ("forever", "swallow", "swallow twice", "clean up", "group", *HANGS)
"""What does not end before the run does."""


pytestmark = pytest.mark.usefixtures("quiet")
"""These nodes fail by the hundred."""


@frozen
class Robot:
    """What the callbacks of one node do, and what it starts."""

    init: str = "return"
    tick: str = "return"
    shutdown: str = "return"
    safe: str = "return"
    tasks: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Everything."""
        return (self.init, self.tick, self.shutdown, self.safe, *self.tasks)


IDLE = "Trio thread", "AnyIO worker"
"""How the names of threads begin that wait for a function to call."""


@define
class World:
    """One run, seen from outside."""

    release: threading.Event = field(factory=threading.Event)
    """Lets the threads that hang go on."""
    fail: bool = False
    log: list[tuple[str, str]] = field(factory=list)
    raised: int = 0
    """How many callbacks and tasks have failed."""

    async def behave(self, how: str) -> None:  # noqa: C901 - one line a behaviour
        """Do one of `BEHAVIOURS`."""
        if how == "sleep":
            await anyio.sleep(0.003)
        elif how == "forever":
            await anyio.sleep_forever()
        elif how.startswith("swallow"):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                if how.endswith("twice"):
                    await anyio.sleep_forever()
        elif how == "clean up":
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.002)
        elif how == "raise":
            self.raised += 1
            raise ValueError(how)
        elif how == "group":
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                await anyio.sleep_forever()
        elif how == "thread":
            await anyio.to_thread.run_sync(self.release.wait)
        elif how == "shield":
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()

    def thread(self, how: str) -> None:
        """The same in a thread of a node's own."""
        if how == "raise":
            self.raised += 1
            raise ValueError(how)
        if how == "thread":
            self.release.wait()

    def node(self, name: str, robot: Robot) -> Node:
        """A node that behaves so."""

        async def init(node: Node) -> None:
            self.log.append(("init", name))
            for how in robot.tasks:
                node.background(self.behave, how)
            for how in robot.threads:
                node.in_thread(self.thread, how)
            await self.behave(robot.init)

        def callback(kind: str, how: str) -> Callable[[Node], Awaitable[None]]:
            async def call(node: Node) -> None:
                if kind != "tick":
                    self.log.append((kind, node.name))
                await self.behave(how)

            return call

        return Node(
            name,
            init=init,
            tick=callback("tick", robot.tick),
            shutdown=callback("shutdown", robot.shutdown),
            enter_safe_state=callback("safe", robot.safe),
        )

    def controller(self) -> Node:
        """One that fails when it is told to, and is otherwise well."""

        def tick(node: Node) -> None:
            if self.fail:
                raise ZeroDivisionError

        return Node(
            "controller",
            tick=tick,
            init=lambda node: self.log.append(("init", node.name)),
            shutdown=lambda node: self.log.append(("shutdown", node.name)),
            enter_safe_state=lambda node: self.log.append(("safe", node.name)),
            order=1,
        )


robots = st.builds(
    Robot,
    init=st.sampled_from(("return", "return", "return", "return", *BEHAVIOURS)),
    tick=st.sampled_from(BEHAVIOURS),
    shutdown=st.sampled_from(BEHAVIOURS),
    safe=st.sampled_from(("return", "return", *BEHAVIOURS)),
    tasks=st.lists(st.sampled_from(BEHAVIOURS), max_size=2).map(tuple),
    threads=st.lists(st.sampled_from(("return", "raise", "thread")), max_size=1).map(tuple),
)
ENDS = ("duration", "stop", "emergency stop", "fatal", "cancel")
LOOPS = ("trio", "asyncio", "deterministic")


def can_end_so(how: str, loop: str, made: list[Robot]) -> bool:
    """Whether the ticks come so far: no ``init`` lasts for ever, virtual time does not stand still for a thread."""
    if any(robot.init in LONG for robot in made):
        return how not in ("duration", "fatal")
    stands = loop == "deterministic" and any("thread" in (robot.tick, *robot.tasks) for robot in made)
    return not stands or how not in ("duration", "fatal")


async def end_it(scheduler: Scheduler, world: World, how: str, scope: anyio.CancelScope) -> None:
    """End the run once it has been going on for a little."""
    while not world.log:  # noqa: ASYNC110 - the run may be in another event loop
        await anyio.sleep(0.001)
    await anyio.sleep(0.03)
    if how == "stop":
        scheduler.stop()
    elif how == "fatal":
        world.fail = True
    elif how == "cancel":
        scope.cancel()
    elif how == "emergency stop":
        try:
            scheduler.emergency_stop("button")
        except ContextError:
            return  # a node has failed before


def run_it(world: World, made: list[Robot], how: str, loop: str) -> tuple[BaseException | None, bool]:
    """Run to the end; gives what came out, and whether it was a cancellation."""
    scheduler = Scheduler(deterministic=loop == "deterministic", grace=GRACE)
    nodes = [world.node(f"n{number}", robot) for number, robot in enumerate(made)]
    for node in (*nodes, world.controller()):
        scheduler.add(node)
    came: list[BaseException] = []
    cancelled = False

    async def main() -> None:
        nonlocal cancelled
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(end_it, scheduler, world, how, scope)
                before = living()
                try:
                    await scheduler.run(0.06 if how == "duration" else None)
                except Exception as error:  # noqa: BLE001 - looked at below
                    came.append(error)
                assert living() <= before
            cancelled = scope.cancelled_caught
            group.cancel_scope.cancel()

    if loop == "asyncio":
        asyncio.run(main())
    else:
        trio.run(main)
    assert all(node._ports is None for node in nodes)
    return (came[0] if came else None), cancelled


def living() -> int:
    """Tasks of this event loop."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def check(world: World, made: list[Robot], how: str, loop: str) -> None:
    """The laws."""
    before = set(threading.enumerate())
    try:
        error, cancelled = run_it(world, made, how, loop)
        left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
        waiting = any("thread" in (*robot.all, *robot.threads) for robot in made)
        kept = [thread for thread in left if not thread.name.startswith(IDLE)]
        assert waiting or not kept, kept
    finally:
        world.release.set()
        for thread in set(threading.enumerate()) - before:  # they end, or are idle again, once they get a processor
            while thread.is_alive() and not thread.name.startswith(IDLE):
                thread.join(0.01)
    counts = Counter(world.log)
    began = [name for kind, name in world.log if kind == "init"]
    for name in began:
        assert counts["shutdown", name] == 1, (name, world.log)
    kinds = [kind for kind, _ in world.log]
    if type(error) is EmergencyStop or (isinstance(error, NodeFailure) and how == "fatal"):
        first = kinds.index("shutdown")
        assert sorted(name for kind, name in world.log if kind == "safe") == sorted([*names(made), "controller"])
        assert "safe" not in kinds[first:]
    if cancelled:
        assert error is None
    elif how == "emergency stop":
        assert type(error) is EmergencyStop or (isinstance(error, NodeFailure) and world.raised)
    elif how == "fatal" or world.raised:
        assert isinstance(error, NodeFailure)
        assert all(isinstance(one, ValueError | ZeroDivisionError) for one in error.exceptions)
    else:
        assert error is None
    if how == "cancel":
        assert cancelled or world.raised


def names(made: list[Robot]) -> list[str]:
    """Of the nodes."""
    return [f"n{number}" for number in range(len(made))]


@settings(
    max_examples=int(os.environ.get("HORUS_MODEL_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(robots, min_size=1, max_size=3), st.sampled_from(ENDS), st.sampled_from(LOOPS))
def test_every_run_ends_in_order(made: list[Robot], how: str, loop: str) -> None:
    """Every ``shutdown`` runs once, after safe states where it is not safe, and the right exception comes out."""
    if not can_end_so(how, loop, made):
        how = "stop"
    check(World(), made, how, loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["stop", "emergency stop", "cancel"])
@pytest.mark.parametrize("place", ["tick", "shutdown", "safe", "tasks"])
@pytest.mark.parametrize("hangs", HANGS)
def test_what_hangs_is_left_behind(hangs: str, place: str, how: str, loop: str) -> None:
    """In a thread, or shielded: the run ends without it."""
    robot = Robot(**{place: (hangs,) if place == "tasks" else hangs})  # type: ignore[arg-type]
    check(World(), [robot], how, loop)
