"""Actions: goals that take a while, with feedback, and that can be given up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from attrs import frozen

from horus_async import (
    ActionError,
    ConfigurationError,
    ContextError,
    Goals,
    Node,
    Restart,
    ServiceError,
    action,
    elapsed,
    now_ns,
    sleep,
    tick,
)
from tests.interface.programs import both_modes, collector, count, run_and_verify, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


@frozen
class Way:
    """A goal."""

    steps: int


def arm(policy: Goals = Goals.REJECT, step: float = 0.02) -> Node:
    """A node with an action that counts, and ticks meanwhile that show the count."""

    class Arm(Node):
        name, rate = "arm", 50

        def init(self) -> None:
            self.at = 0
            self.cleaned = 0

        @action("move", goal=Way, feedback=int, result=str, policy=policy)
        async def move(self, goal: Way, handle: Any) -> str:
            try:
                for number in range(goal.steps):
                    await sleep(step)
                    self.at += 1
                    handle.feedback(number)
            finally:
                self.cleaned += 1
                self.send("cleaned", self.cleaned)
            if goal.steps == 13:
                raise ValueError("unlucky")
            if goal.steps == 14:
                raise ActionError("the way is blocked")
            return f"{goal.steps} steps"

        def tick(self) -> None:
            self.send("at", self.at)

    return Arm()


def giver(*scripts: Callable[[Node], Awaitable[Any]], at: int = 5, name: str = "giver") -> Node:
    """A node that carries out a script in its tick, and sends what comes of it."""

    async def give(node: Node) -> None:
        number, rest = divmod(count(node) - at, at)
        if not rest and 0 <= number < len(scripts):
            try:
                node.send("got", await scripts[number](node))
            except (ActionError, ServiceError) as error:
                node.send("got", [type(error).__name__, str(error), getattr(error, "state", None)])

    return Node(name, tick=give)


async def whole(node: Node) -> Any:
    """Give a goal, and see it through."""
    async with node.goal("move", Way(3), timeout=5.0) as move:
        seen = [number async for number in move]
        return [seen, await move.result(), move.state]


@both_modes
def test_a_goal_is_carried_out_with_feedback_beside_the_ticks(*, deterministic: bool, tmp_path: Path) -> None:
    """Recorded, and verified with no difference."""
    got: list[Any] = []

    def make() -> list[Node]:
        return [giver(whole), arm(), collector(got, "got")]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=0.5)
    assert got[0] == [[0, 1, 2], "3 steps", "succeeded"]
    assert (report.differences, report.compared > 30) == (0, True), report


async def given_up(node: Node) -> Any:
    """Give a goal, and give it up after two steps."""
    async with node.goal("move", Way(1000), timeout=5.0) as move:
        async for number in move:
            if number == 1:
                move.cancel()
        await move.result()


async def left(node: Node) -> Any:
    """Leave the block while the goal is being carried out."""
    async with node.goal("move", Way(1000), timeout=5.0):
        await sleep(0.05)
    return "left"


async def timed_out(node: Node) -> Any:
    """Be cancelled by a time-out around it."""
    with anyio.move_on_after(0.05):
        async with node.goal("move", Way(1000), timeout=5.0) as move:
            await move.result()
    return "timed out"


@both_modes
@pytest.mark.parametrize("script", [given_up, left, timed_out])
def test_a_goal_that_is_given_up_is_cancelled_and_cleans_up(
    script: Callable[[Node], Awaitable[Any]], *, deterministic: bool, tmp_path: Path
) -> None:
    """And the next one is carried out; bit for bit the same in a verification."""
    got: list[Any] = []
    cleaned: list[Any] = []

    def make() -> list[Node]:
        return [
            giver(script, whole, at=20),
            arm(),
            collector(got, "got"),
            collector(cleaned, "cleaned", name="c2"),
        ]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=0.8)
    assert got[1] == [[0, 1, 2], "3 steps", "succeeded"]
    assert cleaned[:2] == [1, 2]
    if script is given_up:
        assert got[0] == ["ActionError", "move: cancelled", "cancelled"]
    assert (report.differences, report.compared > 50) == (0, True), report


async def failing(node: Node) -> Any:
    """A goal that fails."""
    async with node.goal("move", Way(13), timeout=5.0) as move:
        return await move.result()


async def blocked(node: Node) -> Any:
    """A goal that says why it failed."""
    async with node.goal("move", Way(14), timeout=5.0) as move:
        return await move.result()


async def wrong(node: Node) -> Any:
    """A goal of another class."""
    async with node.goal("move", {"steps": 3}, timeout=5.0) as move:
        return await move.result()


async def lost(node: Node) -> Any:
    """A goal that nobody takes up."""
    async with node.goal("nobody", 1, timeout=0.05) as move:
        return await move.result()


@both_modes
def test_failures_come_back_and_the_node_goes_on(*, deterministic: bool, tmp_path: Path) -> None:
    """With the node's words."""
    got: list[Any] = []

    def make() -> list[Node]:
        return [
            giver(failing, blocked, wrong, lost, whole, at=40),
            arm(step=0.01),
            collector(got, "got"),
        ]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=4.0)
    assert got[:4] == [
        ["ActionError", "move: ValueError: unlucky", "failed"],
        ["ActionError", "move: the way is blocked", "failed"],
        ["ActionError", "move: topic 'move' carries tests.interface.test_actions.Way, not dict", "rejected"],
        [
            "ActionError",
            "nobody: nobody took the goal up within 0.05 s ('horus-async action list' shows who carries out what)",
            "lost",
        ],
    ]
    assert got[4][1] == "3 steps"
    assert report.differences == 0, report


@pytest.mark.parametrize(
    ("policy", "first", "second"),
    [
        (Goals.REJECT, "5 steps", "rejected"),
        (Goals.QUEUE, "5 steps", "5 steps"),
        (Goals.PREEMPT, "preempted", "5 steps"),
    ],
)
@both_modes
def test_a_further_goal_goes_by_the_policy(
    policy: Goals, first: str, second: str, *, deterministic: bool, tmp_path: Path
) -> None:
    """One is carried out at a time."""
    got: dict[str, Any] = {}

    def make() -> list[Node]:
        async def ask(node: Node) -> None:
            at = 3 if node.name == "first" else 8
            if count(node) == at:
                async with node.goal("move", Way(5), timeout=5.0) as move:
                    try:
                        node.send("got", await move.result())
                    except ActionError as error:
                        node.send("got", error.state)

        def keep(node: Node) -> None:
            while (message := node.recv_message("got")) is not None:
                got.setdefault(message.publisher, message.value)

        return [
            *(Node(name, tick=ask) for name in ("first", "second")),
            arm(policy),
            Node("keep", tick=keep),
        ]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=0.5)
    assert got == {"first": first, "second": second}
    assert report.differences == 0, report


def test_a_goal_that_waits_may_be_given_up() -> None:
    """It is never begun; the one before it goes on."""
    got: list[Any] = []

    async def ask(node: Node) -> None:
        if count(node) == 5:
            async with node.goal("move", Way(5)) as one, node.goal("move", Way(6)) as two:
                await sleep(0.03)
                two.cancel()
                with pytest.raises(ActionError, match="move: cancelled"):
                    await two.result()
                got.append((two.state, await one.result()))

    scheduler_of([Node("giver", tick=ask), arm(Goals.QUEUE)], deterministic=True).run_sync(0.5)
    assert got == [("cancelled", "5 steps")]


def test_a_goal_preempted_while_it_is_being_given_up() -> None:
    """It ends as what it was told first, and the next one is carried out."""
    got: list[Any] = []

    class Slow(Node):
        name, rate = "slow", 50

        @action("move", policy=Goals.PREEMPT)
        async def move(self, goal: Any, handle: Any) -> Any:
            try:
                await sleep(1.0 if goal == 1 else 0.05)
            finally:
                with anyio.CancelScope(shield=True):
                    await sleep(0.1)  # it takes a while to stop
            return goal

        def tick(self) -> None:
            """Nothing."""

    async def ask(node: Node) -> None:
        if count(node) == 5:
            async with node.goal("move", 1) as one:
                await sleep(0.05)
                one.cancel()
                await sleep(0.05)
                async with node.goal("move", 2) as two:
                    with pytest.raises(ActionError):
                        await one.result()
                    got.append((one.state, await two.result()))

    scheduler_of([Node("giver", tick=ask), Slow()], deterministic=True).run_sync(2.0)
    assert got == [("cancelled", 2)]


def test_a_goal_ends_where_its_node_begins_anew() -> None:
    """Its task is cancelled, and whoever gave it hears of that."""
    got: list[Any] = []

    class Fragile(Node):
        name, rate, failure_policy = "fragile", 50, Restart(backoff=0.01)

        @action("move")
        async def move(self, goal: Any, handle: Any) -> Any:
            await sleep(math.inf)

        def tick(self) -> None:
            if tick() == 20:
                raise ValueError("it breaks")

    async def ask(node: Node) -> None:
        if count(node) == 5:
            async with node.goal("move", 1) as one:
                with pytest.raises(ActionError) as caught:
                    await one.result()
                got.append((caught.value.state, str(caught.value)))

    scheduler_of([Node("giver", tick=ask), Fragile()], deterministic=True).run_sync(1.0)
    assert got == [("failed", "move: node fragile began anew")]


def test_the_end_of_the_run_ends_goals() -> None:
    """Nobody waits for them."""
    node = arm()

    async def ask(giver: Node) -> None:
        if count(giver) == 5:
            async with giver.goal("move", Way(10**9)) as move:
                await move.result()

    scheduler_of([Node("giver", tick=ask), node], deterministic=True).run_sync(0.3)
    assert node.cleaned == 1  # type: ignore[attr-defined]
    scheduler_of([Node("giver", tick=ask), node], deterministic=False).run_sync(0.3)
    assert node.cleaned == 1  # type: ignore[attr-defined] # of the second run


def test_mistakes_are_named_where_they_are_made() -> None:
    """By the class, not by the first goal."""
    with pytest.raises(ConfigurationError, match=r"policy='queue'; use Goals\.REJECT"):
        action("move", policy="queue")  # type: ignore[arg-type]

    class Plain(Node):
        """Its action cannot take a while."""

        def tick(self) -> None:
            """Nothing."""

        @action("move")
        def move(self, goal: Any, handle: Any) -> Any:
            """At once."""

    with pytest.raises(ConfigurationError, match=r"write 'async def move\(self, goal, handle\)'"):
        Plain()

    async def outside() -> None:
        goal = Node("n", tick=lambda _: None)
        with pytest.raises(ContextError, match="is not running"):
            goal.goal("move", 1)

    trio.run(outside)


def test_feedback_and_results_of_another_class_are_mistakes_of_the_node() -> None:
    """They end the goal with an error that says so; the node goes on."""
    got: list[Any] = []

    async def bad_feedback(self: Node, goal: Any, handle: Any) -> Any:
        handle.feedback("two")

    async def ask(node: Node) -> None:
        if count(node) == 5:
            for name in ("bad", "worse", "worst"):
                async with node.goal(name, 1) as move:
                    try:
                        await move.result()
                    except ActionError as error:
                        got.append(str(error))

    class Bad(Node):
        name = "bad"
        move = action("bad", feedback=int)(bad_feedback)

        @action("worse", result=int)
        async def worse(self, goal: Any, handle: Any) -> Any:
            return "two"

        @action("worst")
        async def worst(self, goal: Any, handle: Any) -> Any:
            return object()

        def tick(self) -> None:
            """Nothing."""

    scheduler_of([Node("giver", tick=ask), Bad()], deterministic=True).run_sync(0.5)
    assert got[0] == "bad: TopicTypeError: topic 'bad' carries int, not str"
    assert got[1] == "worse: TopicTypeError: topic 'worse' carries int, not str"
    assert "worst: ValueNotSupportedError: value['value'] is not supported: object" in got[2]


@both_modes
def test_a_goal_that_waits_for_a_thread_and_tells_the_time_is_verified(*, deterministic: bool, tmp_path: Path) -> None:
    """A thread takes no time in a verification, which once waited for it for ever; the task's time is the recorded."""

    def make() -> list[Node]:
        class Planner(Node):
            name, rate = "planner", 50

            @action("plan")
            async def plan(self, goal: Any, handle: Any) -> Any:
                for number in range(goal):
                    found = await anyio.to_thread.run_sync(sum, range(number + 2000))
                    handle.feedback([found, now_ns(), elapsed()])
                    await sleep(0.02)

            def tick(self) -> None:
                """Nothing."""

        async def ask(node: Node) -> None:
            if tick() == 5:
                async with node.goal("plan", 5, timeout=5.0) as plan:
                    node.send("got", [said async for said in plan])

        return [Node("giver", tick=ask), Planner()]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=0.5)
    assert (report.differences, report.compared > 8) == (0, True), report
