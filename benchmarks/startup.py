"""How long a fresh process takes to its first tick."""

from __future__ import annotations

import subprocess
import sys

from horus_async.clock.system import monotonic_ns

from .sampling import CannotMeasureError

_FIRST_TICK = """
from horus_async import Node, Scheduler
from horus_async.clock.system import monotonic_ns

async def tick(node):
    print(monotonic_ns())

Scheduler().add(Node(name="only", tick=tick)).run_sync(duration=0.001)
"""

_FIRST_WAKE_UP = """
import time
import trio

async def main():
    await trio.sleep(0)
    print(time.monotonic_ns())

trio.run(main)
"""


def first_tick(scale: float) -> list[float]:
    """Milliseconds from the start of a process to the first tick of a run in real time with one node."""
    return _until_it_prints(_FIRST_TICK, scale)


def first_wake_up(scale: float) -> list[float]:
    """The same to the end of the first sleep, of no length, in an event loop without us."""
    return _until_it_prints(_FIRST_WAKE_UP, scale)


def _until_it_prints(program: str, scale: float) -> list[float]:
    """Milliseconds to the time that the program prints: all processes share the monotonic clock."""
    samples = []
    for _ in range(1 + max(2, round(20 * scale))):
        start_ns = monotonic_ns()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotMeasureError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
        samples.append((int(done.stdout.split()[0]) - start_ns) / 1e6)
    return samples[1:]  # the first one may have compiled modules
