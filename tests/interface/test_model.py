"""Robots made at random whose nodes call, command and tune each other: what was recorded is what they do again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import ActionError, Goals, Node, Param, ServiceError, action, service, sleep
from tests.interface.programs import both_modes, count, run_and_verify

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a", "b", "c")


@frozen
class Step:
    """One thing that a node does in a tick of its, or in its background."""

    what: str
    whom: str
    number: int
    seconds: float
    timeout: float


@frozen
class Plan:
    """What one node is like."""

    name: str
    rate: int
    policy: Goals
    answers_in: float
    steps: tuple[Step, ...]
    background: tuple[Step, ...] = field(default=())


steps = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(["call", "goal", "leave", "cancel", "set", "send", "sleep"]),
        whom=st.sampled_from(NAMES),
        number=st.integers(0, 4),
        seconds=st.sampled_from([0.0, 0.005, 0.01, 0.02]),
        timeout=st.sampled_from([0.003, 0.01, 0.05]),
    ),
    max_size=6,
).map(tuple)
plans = st.tuples(
    *(
        st.builds(
            Plan,
            name=st.just(name),
            rate=st.sampled_from([20, 50, 100]),
            policy=st.sampled_from(Goals),
            answers_in=st.sampled_from([0.0, 0.0, 0.004]),
            steps=steps,
            background=steps,
        )
        for name in NAMES
    )
)


def made_of(plan: Plan, patience: int = 1) -> Node:  # noqa: C901 - a node with one of everything
    """A node that is like its plan; with so many times the patience."""

    class Planned(Node):
        name, rate = plan.name, plan.rate
        gain = Param(1, min=0, max=3)

        def init(self) -> None:
            self.state = None
            self.answered = 0
            self.way = 0
            self.background(self.beside)

        @service(f"{plan.name}.ask")
        async def answer(self, request: int) -> list[int]:
            if request == 4:
                raise ServiceError("not that")
            if plan.answers_in:
                await sleep(plan.answers_in)
            self.answered += 1
            return [request, self.answered, self.gain]

        @action(f"{plan.name}.go", policy=plan.policy)
        async def go(self, goal: int, handle: Any) -> int:
            for number in range(goal):
                await sleep(0.006)
                self.way += 1
                handle.feedback([number, self.way, self.gain])
            if goal == 4:
                raise ValueError("too far")
            return self.way

        async def tick(self) -> None:
            number = count(self)
            self.send(f"{plan.name}.state", [number, self.answered, self.way, self.gain])
            if number < len(plan.steps):
                await self.do(plan.steps[number])

        async def beside(self) -> None:
            for step in plan.background:
                await self.do(step)
                await sleep(0.004)

        async def do(self, step: Step) -> None:
            try:
                self.send(f"{plan.name}.got", [step.what, await self.outcome(step)])
            except (ServiceError, ActionError) as error:
                self.send(f"{plan.name}.got", [step.what, str(error)])

        async def outcome(self, step: Step) -> Any:
            if step.what == "call":
                return await self.call(f"{step.whom}.ask", step.number, timeout=patience * step.timeout)
            if step.what == "set":
                request = {"node": step.whom, "set": {"gain": step.number}}
                return await self.call("params", request, timeout=patience * step.timeout)
            if step.what in {"goal", "leave", "cancel"}:
                async with self.goal(f"{step.whom}.go", step.number, timeout=patience * step.timeout) as move:
                    if step.what != "goal":
                        await sleep(step.seconds)
                    if step.what == "leave":
                        return "left"
                    if step.what == "cancel":
                        move.cancel()
                    return [[value async for value in move], await move.result()]
            if step.what == "sleep":
                await sleep(step.seconds)
            return step.number

    return Planned()


@both_modes
@pytest.mark.long
@settings(max_examples=300)
@given(robot=plans)
def test_what_was_recorded_is_what_they_do_again(
    robot: tuple[Plan, ...], *, deterministic: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No reply, feedback, result or state differs, in both modes."""
    _check(robot, tmp_path_factory.mktemp("robot"), deterministic=deterministic)


@settings(max_examples=30)
@given(robot=plans)
def test_the_same_for_some_robots(robot: tuple[Plan, ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A short form of it, in virtual time."""
    _check(robot, tmp_path_factory.mktemp("robot"), deterministic=True)


def _check(robot: tuple[Plan, ...], folder: Path, *, deterministic: bool) -> None:
    report = run_and_verify(
        lambda: [made_of(plan, 1 if deterministic else 100) for plan in robot],  # else replies race with time-outs
        folder,
        deterministic=deterministic,
        duration=0.8 if deterministic else 0.25,
    )
    assert (report.differences, report.compared > 10) == (0, True), report
