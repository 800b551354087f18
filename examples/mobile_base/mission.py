"""What the robot is to do: goals, one after the other. Any node or program could give them, also the command line."""

from __future__ import annotations

import anyio

from horus_async import ActionError, Node, sleep
from horus_async.messages import Pose2D

TOUR = ((1.2, 2.6), (6.8, 2.4), (7.5, -1.0), (0.0, 0.0))
SILENCE = 5.0
"""Seconds without a word of the navigator, after which a goal is given again: perhaps its program was started anew."""


class Mission(Node):
    """Sends ``mission``: a text for each goal that has ended. At the end, the program does, too."""

    name, rate = "mission", 1
    pubs = {"mission": str}  # noqa: RUF012 - options of a node

    def __init__(self, goals: tuple[tuple[float, float], ...]) -> None:
        """Points on the map, metres."""
        super().__init__()
        self.goals = goals

    async def init(self) -> None:
        """Begin."""
        self.background(self.drive)

    async def tick(self) -> None:
        """The task does it."""

    async def drive(self) -> None:
        """All goals; one that fails is said, and the next one begun."""
        for x, y in self.goals:
            try:
                reached = await self.go_to(Pose2D(x, y))
            except ActionError as error:
                self.send("mission", f"not at {x:g}, {y:g}: {error}")
            else:
                self.send("mission", f"at {reached.x:.1f}, {reached.y:.1f}")
        await sleep(0.5)
        self.request_stop()

    async def go_to(self, goal: Pose2D) -> Pose2D:
        """See one goal through, whatever becomes of the program that carries it out."""
        while True:
            try:
                async with self.goal("base.go_to", goal, timeout=30.0) as drive:
                    while drive.state in {"asked", "queued", "accepted"}:
                        with anyio.fail_after(SILENCE):
                            await anext(drive, None)
                    reached: Pose2D = await drive.result()
                    return reached
            except TimeoutError:
                self.log.warning("nothing heard of the navigator for %g s: the goal is given again", SILENCE)
