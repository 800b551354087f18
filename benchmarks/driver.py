"""Kills the recording of a driver with a thread, a background task and an endless tick, and counts what it lost.

A lap for ``python -m benchmarks.soak driver --minutes N``; ``python -m benchmarks.driver --seconds 1800`` is one long
recording, of some gigabytes. The process reports each message that it has sent through a
pipe, with the time, and now and then its memory. It is ended by ``SIGKILL`` at a random moment. What is left must open
without repair, hold each topic's messages from the first one without a gap, and say that nothing was dropped.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from attrs import frozen

from horus_async import Node, Scheduler, sleep
from horus_async.clock.system import monotonic_ns
from horus_async.recorder import RecordingOptions, open_session
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.topics.external.leftovers import reclaim

SESSION = "driver"
TOPICS = ("thread", "task", "tick")
_SETTLED = 40
"""Reports of memory until which it may grow: buffers and caches fill."""
_REPORTED = 200
"""Messages of the tick between two reports of memory."""


class DriverError(AssertionError):
    """A recording does not hold what it must."""


@frozen
class Driven:
    """What one killed driver left."""

    sent: int
    recorded: int
    lost: int
    lost_ms: float
    """From the first message that is lost to the last that was sent; the worst of the topics."""
    grown_mb: float
    """Resident memory at the end, less what it was once it had settled."""


def kill_a_driver(root: Path, seed: int) -> dict[str, float]:
    """Run a lap; its figures."""
    lap = run_lap(root, seed)
    figures = {"sent": lap.sent, "recorded": lap.recorded, "lost": lap.lost, "lost_ms": lap.lost_ms}
    return {**figures, "MB more in all laps": lap.grown_mb}


def run_lap(root: Path, seed: int, seconds: float | None = None) -> Driven:
    """Start a driver, kill it after so many seconds, or at a random moment, and judge what it left under ``root``.

    Raises:
        DriverError: something is missing or wrong.
    """
    noise = random.Random(seed)
    command = [sys.executable, "-m", "benchmarks.driver", "--child", str(root), "--seed", str(seed)]
    namespace = f"driver{os.getpid()}"
    environment = {**os.environ, "HORUS_NAMESPACE": namespace}
    here = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here, env=environment) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        if not first:
            raise DriverError(f"lap {seed} did not begin")
        by_chance = noise.choice([0.3, 1.0, 3.0, 10.0, 30.0]) * noise.uniform(0.5, 1.5)
        timer = threading.Timer(by_chance if seconds is None else seconds, child.kill)
        timer.start()
        told = [first, *child.stdout.read().split(b"\n")[:-1]]  # a pipe outlives its writer; its last line may be torn
        child.wait()
        timer.join()
    reclaim(namespace, grace_ns=0)
    if child.returncode != -signal.SIGKILL:
        raise DriverError(f"lap {seed} ended by itself: {child.returncode}")
    return _judge(root, [line.split() for line in told])


def _judge(root: Path, told: list[list[bytes]]) -> Driven:
    sent: dict[str, dict[int, int]] = {topic: {} for topic in TOPICS}
    memory = []
    for words in told:
        if words[0] == b"memory":
            memory.append(int(words[1]))
        else:
            sent[words[0].decode()][int(words[1])] = int(words[2])
    session = open_session(SESSION, root)
    found: dict[str, list[int]] = {topic: [] for topic in TOPICS}
    for message in session_messages(session):
        found[message.topic].append(message.data["n"])
    lost, lost_ms = 0, 0.0
    for topic, numbers in found.items():
        if numbers != list(range(len(numbers))):
            raise DriverError(f"{topic}: a gap, or another order, among {len(numbers)} messages")
        missing = [at_ns for number, at_ns in sent[topic].items() if number >= len(numbers)]
        if missing:
            lost += len(missing)
            lost_ms = max(lost_ms, (max(sent[topic].values()) - min(missing)) / 1e6)
    checked = check_session(session)
    if checked.verdict is Verdict.DAMAGED or any(file.dropped for file in checked.files):
        raise DriverError(f"damaged, or something was dropped: {checked}")
    grown = (memory[-1] - memory[_SETTLED]) / 1e6 if len(memory) > _SETTLED else 0.0
    return Driven(sum(map(len, sent.values())), sum(map(len, found.values())), lost, lost_ms, grown)


# -- the process that is killed ----------------------------------------------------------------------------------------


class Driver(Node):
    """Sends from a thread, a background task and a tick that never ends, and reports what it has sent."""

    name = "driver"
    rate = 10

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    async def init(self) -> None:
        """Start the thread and the task."""
        self.in_thread(self._read)
        self.background(self._poll)

    def _read(self) -> None:
        noise, pause = random.Random(self._seed), threading.Event()
        for number in range(1 << 60):
            self._tell("thread", number, noise)
            pause.wait(0.001)

    async def _poll(self) -> None:
        noise = random.Random(self._seed + 1)
        for number in range(1 << 60):
            self._tell("task", number, noise)
            await sleep(0.002)

    async def tick(self) -> None:
        """Send for ever."""
        noise = random.Random(self._seed + 2)
        for number in range(1 << 60):
            self._tell("tick", number, noise)
            if number % _REPORTED == 0:
                os.write(1, b"memory %d\n" % _resident())
            await sleep(0.002)

    def _tell(self, topic: str, number: int, noise: random.Random) -> None:
        size = noise.choice([0, 10, 100, 1000]) if number % 97 else noise.choice([20_000, 200_000])
        self.send(topic, {"n": number, "noise": noise.randbytes(size)})
        os.write(1, b"%b %d %d\n" % (topic.encode(), number, monotonic_ns()))


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run the process that is killed, or one recording of so many seconds."""
    parser = argparse.ArgumentParser(description="A driver that is killed; benchmarks.soak starts and kills it.")
    parser.add_argument("--child", type=Path, help="The root for the recording of the process that is killed.")
    parser.add_argument("--seconds", type=float, metavar="S", help="Kill one after so long, and tell what it left.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.child is None:
        with tempfile.TemporaryDirectory(prefix="horus-driver-") as root:
            print(run_lap(Path(root), arguments.seed, arguments.seconds))
        return
    options = RecordingOptions(name=SESSION)
    scheduler = Scheduler(recording=options, recordings_dir=arguments.child).add(Driver(arguments.seed))
    scheduler.add(Node("listener", on="thread", tick=lambda node: node.recv("thread")))
    scheduler.run_sync()


if __name__ == "__main__":
    main()
