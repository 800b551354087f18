"""Runs that end in the midst of goals, calls and tasks: a verification ends them at the same point of their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Node, action, sleep
from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.recorder import open_session
from tests.interface.programs import both_modes, count, run_and_verify
from tests.interface.test_model import made_of, plans

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async import VerifyReport
    from tests.interface.test_model import Plan

durations = st.integers(1, 20).map(lambda ticks: ticks / 100)


def _check(robot: tuple[Plan, ...], folder: Path, duration: float, *, deterministic: bool) -> VerifyReport:
    report = run_and_verify(
        lambda: [made_of(plan, 1 if deterministic else 100) for plan in robot],
        folder,
        deterministic=deterministic,
        duration=duration if deterministic else duration / 4,
    )
    assert report.differences == 0, report
    return report


@settings(max_examples=40)
@given(robot=plans, duration=durations)
def test_a_run_that_ends_in_the_midst(
    robot: tuple[Plan, ...], duration: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In virtual time, at any tick; four in ten of these differed once."""
    _check(robot, tmp_path_factory.mktemp("robot"), duration, deterministic=True)


@both_modes
@pytest.mark.long
@settings(max_examples=300)
@given(robot=plans, duration=durations)
def test_many_runs_that_end_in_the_midst(
    robot: tuple[Plan, ...], duration: float, *, deterministic: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In both modes."""
    _check(robot, tmp_path_factory.mktemp("robot"), duration, deterministic=deterministic)


def counting(at_end: float) -> Node:
    """A node whose task counts every 20 ms, and whose last tick keeps the machine for a while and ends the run."""

    class Counting(Node):
        name, rate = "counting", 100

        def init(self) -> None:
            self.state = None
            self.way = 0
            self.background(self.beside)

        async def beside(self) -> None:
            while True:
                await sleep(0.02)
                self.way += 1
                self.send("way", self.way)

        def tick(self) -> None:
            self.send("at", self.way)
            if count(self) == 9:
                sleep_until_monotonic(monotonic_ns() + round(at_end * NANOSECONDS))
                self.request_stop()

    return Counting()


@pytest.mark.parametrize("at_end", [0.0, 0.05])
def test_a_task_that_wakes_as_the_run_ends(at_end: float, tmp_path: Path) -> None:
    """Its cancellation is recorded as one, and the verification does not let it wake instead."""
    report = run_and_verify(lambda: [counting(at_end)], tmp_path, deterministic=False, duration=2.0)
    assert (report.differences, report.compared > 12) == (0, True), report
    resumed = [one.cancelled for one in open_session(tmp_path / "run").resumed("counting")]
    assert resumed == [*([False] * (len(resumed) - 1)), True]


@both_modes
def test_whoever_waits_for_a_goal_as_the_run_ends(*, deterministic: bool, tmp_path: Path) -> None:
    """It waits for ever: that the provider's end fails the goal is not for it, which has ended before."""

    def make() -> list[Node]:
        class Arm(Node):
            name, rate = "arm", 50

            def init(self) -> None:
                self.background(self.beside)

            @action("move")
            async def move(self, goal: Any, handle: Any) -> None:
                try:
                    await sleep(1e9)
                finally:
                    self.send("cleaned", goal)

            async def give(self, goal: str) -> None:
                async with self.goal("move", goal, timeout=None) as move:
                    self.send("got", [said async for said in move])

            async def beside(self) -> None:
                await self.give("in a task")

            def tick(self) -> None:
                """Nothing."""

        return [Arm()]

    report = run_and_verify(make, tmp_path, deterministic=deterministic, duration=0.2)
    assert (report.differences, report.compared) == (0, 6), report
