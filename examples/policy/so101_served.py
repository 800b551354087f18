"""The SO-101 driven by a policy server: run and recorded, and the server's trace put to the policy's quantised twin.

    python so101_served.py [FOLDER]

How the two policies differ is also written as a page with plots, ``so101-difference.html``, to the current folder.

The arm and its nodes run in real time, as the server, which is outside of the program, takes its own. The run is
recorded, too, as the session ``so101`` in FOLDER/recordings.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import trio
from main import compare, serve_and_record
from so101_arm import RATE, Arm, Player
from so101_policy import make, observation, targets

from horus_async import Node, Scheduler

if TYPE_CHECKING:
    from network import Array

EPISODES = 4
SECONDS = 2.0
EXECUTED = 8
"""Steps of each chunk that are carried out, out of 16; then the arm asks again."""


class Client(Node):
    """Asks the server for the next chunk; it waits for the answer in a thread of its own."""

    name, rate, compute = "client", RATE / EXECUTED, True
    subs, pubs = ("arm.state",), ("arm.chunk",)

    def __init__(self, url: str, goals: Array) -> None:
        super().__init__()
        self.url, self.goals = url, goals
        self.distances: list[float] = []

    def init(self) -> None:
        """The first chunk is the next one."""
        self.asked = 0

    def tick(self) -> None:
        """Ask for one chunk."""
        step, state = self.asked * EXECUTED, self.latest("arm.state")
        episode = min(int(step / RATE / SECONDS), len(self.goals) - 1)
        if state is not None:
            self.distances[episode:] = [float(np.linalg.norm(np.array(state["tip"]) - self.goals[episode]))]
        asked = observation(state, self.goals[episode], f"reach-{episode}")
        body = json.dumps(asked | {"executed": EXECUTED}).encode()
        request = urllib.request.Request(f"{self.url}/act", body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request) as response:  # noqa: S310
            answer = json.load(response)
        self.send("arm.chunk", {"step": step, "actions": answer["actions"]})
        self.asked += 1


def drive(folder: Path, url: str) -> list[float]:
    """Reach for each target, recorded to ``folder``; returns how far the tip ended from them, metres."""
    client = Client(url, targets(EPISODES))
    scheduler = Scheduler(tick_rate=RATE, recording="so101", recordings_dir=folder)
    scheduler.add(client).add(Player(blend=False)).add(Arm()).run_sync(EPISODES * SECONDS)
    return client.distances


def main(folder: Path) -> None:
    """Run everything, with its files in ``folder``."""
    whole, small = make(folder)
    distances = trio.run(serve_and_record, whole, folder / "traces", partial(drive, folder / "recordings"))
    print(
        f"reached for {EPISODES} targets; the tip ends", *(f"{1000 * distance:.0f}" for distance in distances), "mm off"
    )
    (trace,) = (folder / "traces").iterdir()
    compare(trace, whole)
    compare(trace, small)
    page = Path("so101-difference.html").absolute()
    command = [sys.executable, "-m", "horus_async", "trace", "replay", str(trace), "--model", str(small)]
    subprocess.run([*command, "--page", str(page)], stdout=subprocess.DEVNULL, check=True)
    print(f"\nlook at {page}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
