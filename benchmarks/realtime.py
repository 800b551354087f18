"""``python -m benchmarks.realtime [--seconds 60] [--load N] [--cpu N] [--only NAME ...]``: prints a Markdown table.

How late a 1 kHz node ticks while all cores are busy: plainly and with ``run --realtime``, beside a loop in C that does
nothing but wait, with and without the same priority. The sides run one after the other, each in a fresh process. The
most punctual tick of each is its zero. Exit code 1 if one of our own sides did not run.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import horus_async
from horus_async import Node, Realtime, Scheduler
from horus_async.clock.system import monotonic_ns

from .compare import in_fresh_process, percentile
from .cyclic import language
from .figures import Side
from .sampling import RATE, lateness_us

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIORITY = Realtime().priority


def lateness(realtime: int, cpu: int, seconds: float) -> list[float]:
    """One 1 kHz node that makes a little garbage, as nodes do; microseconds."""
    starts: list[tuple[int, int]] = []

    async def tick(node: Node) -> None:
        starts.append((horus_async.tick(), monotonic_ns()))
        node.state = circle = [starts[-1]]
        circle.append(circle)  # type: ignore[arg-type]

    wanted = Realtime(cpu=None if cpu < 0 else cpu) if realtime else None
    scheduler = Scheduler(tick_rate=RATE, realtime=wanted, watchdog=5.0)
    scheduler.add(Node(name="fast", tick=tick, rate=RATE)).run_sync(duration=seconds)
    return lateness_us(starts)


def _sides(cpu: int) -> dict[str, Side]:
    here = f"{__package__}.realtime"
    return {
        "ours": Side("horus-async", here, "lateness", (0, -1)),
        "ours-realtime": Side("horus-async --realtime", here, "lateness", (1, cpu)),
        "c": Side(f"{language()}, clock_nanosleep", f"{__package__}.cyclic", "lateness", (0,)),
        "c-fifo": Side(f"{language()}, clock_nanosleep, SCHED_FIFO", f"{__package__}.cyclic", "lateness", (PRIORITY,)),
        "trio": Side("trio.sleep_until", f"{__package__}.plain_trio", "lateness_for"),
        "horus": Side("HORUS 0.4.1", f"{__package__}.horus_peer", "lateness", (0,)),
        "horus-rt": Side("HORUS 0.4.1, rt=True", f"{__package__}.horus_peer", "lateness", (1,)),
    }


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> int:
    """Measure each side, and print its line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.realtime", description="Lateness under load.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each side (default 60)")
    parser.add_argument("--load", type=int, default=os.cpu_count(), help="busy processes (default: one a core)")
    parser.add_argument("--cpu", type=int, default=-1, help="where our side with --realtime runs (default: any)")
    parser.add_argument("--only", nargs="+", choices=list(_sides(-1)), default=list(_sides(-1)), metavar="SIDE")
    options = parser.parse_args()

    print(f"horus-async {horus_async.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"{options.seconds:g} s at {RATE} Hz a side, {os.cpu_count()} cores, {options.load} busy processes\n")
    print("| lateness, µs | p50 | p99 | p99.9 | max | ticks left out |\n|---|---|---|---|---|---|", flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="horus-bench-") as shared, _busy(options.load):
        for name in options.only:
            side = _sides(options.cpu)[name]
            samples = in_fresh_process(side, options.seconds, Path(shared))
            print(_row(side, samples, options.seconds), flush=True)
            failed = failed or (isinstance(samples, str) and name.startswith("ours"))
    return 1 if failed else 0


def _row(side: Side, samples: list[float] | str, seconds: float) -> str:
    if isinstance(samples, str):
        return f"| {side.label} | {samples} |||||"
    ordered = sorted(samples)
    tail = ordered[min(len(ordered) - 1, len(ordered) * 999 // 1000)]
    figures = (percentile(ordered, 50), percentile(ordered, 99), tail, ordered[-1])
    left_out = max(0, round(seconds * RATE * 0.9) - len(samples))  # the first tenth is not counted
    return f"| {side.label} | {' | '.join(f'{figure:,.0f}' for figure in figures)} | {left_out} |"


if __name__ == "__main__":
    sys.exit(main())
