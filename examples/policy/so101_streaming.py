"""A policy in a node of the robot that streams chunks: the arm moves on while the policy thinks, and never jumps.

    python so101_streaming.py [FOLDER]

The policy thinks for 0.08 s (four steps of the arm), as a large one would. It is told what large ones want to know of
real-time chunking: ``prev_chunk``, the actions that are still to be played, and ``inference_delay``, how many of them
will have been when the answer comes. A policy that cannot use these is helped by the player, which blends the old chunk
into the new one. The same run without blending shows the difference.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import trio
from so101_arm import RATE, Arm, Player
from so101_policy import make, observation, targets

from horus_async import Node, Scheduler, sleep
from horus_async.policy import LoadedPolicy, load_policy

if TYPE_CHECKING:
    from network import Array

DELAY = 4
EVERY = 5
SECONDS = 2.0
EPISODES = 4


class Thinker(Node):
    """Thinks about the next chunk while the arm plays the last one."""

    name, rate = "thinker", RATE / EVERY
    subs, pubs = ("arm.state",), ("arm.chunk",)

    def __init__(self, policy: LoadedPolicy, goals: Array) -> None:
        super().__init__()
        self.policy, self.goals = policy, goals

    def init(self) -> None:
        """Nothing has been played."""
        self.asked = 0
        self.last: dict[str, Any] = {"step": 0, "actions": []}

    async def tick(self) -> None:
        """One chunk. In real time the policy's own time passes here; in virtual time we say how long that is."""
        step = self.asked * EVERY
        goal = self.goals[min(int(step / RATE / SECONDS), len(self.goals) - 1)]
        asked = observation(self.latest("arm.state"), goal, "stream")
        asked["prev_chunk"] = self.last["actions"][step - self.last["step"] :]
        asked["inference_delay"] = DELAY
        actions = await trio.to_thread.run_sync(self.policy.act, asked)
        await sleep(DELAY / RATE)
        self.last = {"step": step, "actions": np.asarray(actions).tolist()}
        self.send("arm.chunk", self.last)
        self.asked += 1


class Watcher(Node):
    """Notes what the arm is told, and how near it comes to the last target."""

    name, rate = "watcher", RATE
    subs = ("arm.command", "arm.state")

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[Array] = []
        self.tip = np.zeros(3)

    def tick(self) -> None:
        """All that is new."""
        self.commands += map(np.array, self.recv_all("arm.command"))
        if (state := self.latest("arm.state")) is not None:
            self.tip = np.array(state["tip"])


def stream(policy: Path, *, blend: bool) -> tuple[float, float]:
    """Run once; returns the largest step of a joint from one command to the next, radians, and how far off it ends."""
    watcher, goals = Watcher(), targets(EPISODES)
    scheduler = Scheduler(deterministic=True, tick_rate=RATE)
    scheduler.add(Thinker(load_policy(policy), goals)).add(Player(blend=blend)).add(Arm()).add(watcher)
    scheduler.run_sync(EPISODES * SECONDS)
    jumps = [float(np.abs(after - before).max()) for before, after in pairwise(watcher.commands)]
    return max(jumps), float(np.linalg.norm(watcher.tip - goals[-1]))


def main(folder: Path) -> None:
    """Run with and without blending, with the policies in ``folder``."""
    whole, _ = make(folder)
    for blend in (False, True):
        jump, distance = stream(whole, blend=blend)
        name = "blended" if blend else "plain"
        print(f"{name}: largest step of a joint {jump:.3f} rad; the tip ends {1000 * distance:.0f} mm off")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
