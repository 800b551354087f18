"""What being looked at takes of a robot's time: ``horus-async top`` looks twice a second, less where that is dear."""

from __future__ import annotations

import os
import subprocess
import sys

from horus_async.cli.watching.top import INTERVAL, paced
from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.remote.watching import Watch, number_of
from horus_async.testing import unique_namespace

_PROGRAM = """
import sys
from horus_async import Node, Scheduler

def tick(node):
    node.send(node.name, {"value": 1.0})

scheduler = Scheduler(tick_rate=100)
for number in range(int(sys.argv[1])):
    busy = number < 20
    scheduler.add(Node(f"node{number}", tick=tick if busy else lambda _: None, rate=100 if busy else 10))
print("up", flush=True)
scheduler.run_sync()
"""


def share(scale: float, nodes: int) -> list[float]:
    """Per cent of its time that a run of so many nodes spends on its answers, as the run itself has measured."""
    namespace = unique_namespace()
    command = [sys.executable, "-c", _PROGRAM, str(nodes)]
    environment = {**os.environ, "HORUS_NAMESPACE": namespace}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            return [_watched(namespace, max(4, round(20 * scale)))]
        finally:
            process.terminate()


def _watched(namespace: str, looks: int) -> float:
    seen, interval = list[tuple[float, float]](), INTERVAL
    with Watch(namespace) as watch:
        for _ in range(looks + 2):
            next_ns = monotonic_ns() + round(interval * NANOSECONDS)
            watch.ask("stats")
            sleep_until_monotonic(next_ns)
            watch.collect()
            heads = [answer.head for answer in watch.answers("stats").values()]
            seen += [(number_of(head["spent_ns"]), number_of(head["elapsed_ns"])) for head in heads]
            if len(seen) > 1:
                interval = paced(interval, _part(*seen[-2:]))
    return _part(seen[2], seen[-1])


def _part(before: tuple[float, float], after: tuple[float, float]) -> float:
    return 100 * (after[0] - before[0]) / max(1, after[1] - before[1])
