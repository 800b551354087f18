"""What the kit for users' tests asks of nodes: calls, goals and parameters at ticks."""

from __future__ import annotations

from typing import Any

import pytest

from horus_async import ActionError, ConfigurationError, Node, Param, ServiceError, action, service, sleep
from horus_async.testing import Call, Give, SetParam, run_nodes


class Arm(Node):
    """Has one of everything."""

    name, rate = "arm", 100
    gain = Param(1.0, max=2.0)

    @service("arm.home")
    async def home(self, request: Any) -> Any:
        """Answers, or does not."""
        if request is None:
            raise ServiceError("where to?")
        return [request, self.gain]

    @action("arm.move")
    async def move(self, goal: int, handle: Any) -> str:
        """Takes a tick a step."""
        for number in range(goal):
            await sleep(0.01)
            handle.feedback(number)
        return "there"

    def tick(self) -> None:
        """Shows its gain."""
        self.send("gain", self.gain)


def test_calls_goals_and_parameters_at_ticks() -> None:
    """Each has its answer, in the order of asking."""
    captured = run_nodes(
        Arm(),
        ticks=30,
        params={"arm.gain": 0.5},
        asks=[
            Call(2, "arm.home", "up"),
            Call(3, "arm.home"),
            SetParam(4, "arm.gain", 1.5),
            SetParam(5, "arm.gain", 9),
            Give(6, "arm.move", 3),
            Give(15, "arm.move", 100, give_up=20),
            Call(29, "arm.home", "late"),
            Give(29, "arm.move", 100),
        ],
    )
    answers = captured.answers
    assert answers[0].value == ["up", 0.5]
    with pytest.raises(ServiceError, match="where to"):
        _ = answers[1].value
    assert answers[2].value == 1.5
    with pytest.raises(ServiceError, match=r"at most 2\.0, not 9"):
        _ = answers[3].value
    assert (answers[4].value, answers[4].feedback) == ("there", [0, 1, 2])
    with pytest.raises(ActionError, match="cancelled"):
        _ = answers[5].value
    assert answers[5].feedback[:4] == [0, 1, 2, 3]
    assert answers[6].value == ["late", 1.5]
    with pytest.raises(ConfigurationError, match="the run ended before"):
        _ = answers[7].value
    assert captured.values("gain")[:7] == [0.5] * 5 + [1.5] * 2  # between ticks 4 and 5


def test_mistakes_in_what_is_asked_are_named() -> None:
    """A tick that the run does not have, and what is no question."""
    with pytest.raises(ConfigurationError, match=r"is for tick 9; the run has ticks 0 to 4"):
        run_nodes(Arm(), ticks=5, asks=[Call(9, "arm.home")])
    with pytest.raises(ConfigurationError, match=r"give Call"):
        run_nodes(Arm(), ticks=5, asks=["arm.home"])  # type: ignore[list-item]
    for name in ("arm", ".gain", "arm.", ""):  # nobody would answer, and that only after the time-out
        with pytest.raises(ConfigurationError, match=r"give NODE.PARAMETER, such as 'arm.gain'"):
            run_nodes(Arm(), ticks=5, asks=[SetParam(1, name, 0.5)])
