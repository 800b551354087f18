"""Recordings of up to ten hours, in virtual time: making, looking into, seeking and replaying. In tenths of hours.

A robot's recording: two nodes at 100 Hz, in frames of 50 ms. One for each length is made, by whichever figure comes
first, which also notes what that took.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.sampling import CannotMeasureError
from benchmarks.sessions import RATE, hour
from horus_async import Scheduler
from horus_async.recorder import open_session

from .processor import used_by

_TICKS = 360 * RATE
"""Of a tenth of an hour."""
_PLAYED = 500
"""Ticks of a replay."""


def recording(tenths: int, scale: float) -> list[float]:
    """Seconds of the processor to record so long a run, less what its nodes take."""
    return [float(_notes(tenths, scale)["us"]) / 1e6]


def size(tenths: int, scale: float) -> list[float]:
    """Megabytes on the disk."""
    return [float(_notes(tenths, scale)["bytes"]) / 1e6]


def info(tenths: int, scale: float) -> list[float]:
    """Milliseconds of the processor for ``horus-async record info``, the start of Python included."""
    path = _session(tenths, scale)
    command = [sys.executable, "-m", "horus_async", "record", "info", str(path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise CannotMeasureError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return [1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)]


def seek(tenths: int, scale: float) -> list[float]:
    """Milliseconds of the processor to open a session and read one tick of each node, at several places."""
    path = _session(tenths, scale)
    samples = []
    for part in range(1, 10):
        wanted = (_ticks(tenths, scale) - 1) * part // 9
        samples.append(used_by(lambda tick=wanted: _read(path, tick)) / 1000)  # type: ignore[misc]
    return samples


def replay(tenths: int, scale: float) -> list[float]:
    """Milliseconds of the processor to replay the last five seconds."""
    path = _session(tenths, scale)
    last = _ticks(tenths, scale) - 1
    return [used_by(lambda: _play(path, last - min(last, _PLAYED), last)) / 1000 for _ in range(3)]


def memory(tenths: int, scale: float) -> list[float]:
    """Megabytes of memory that a process needs at most for that replay."""
    path = _session(tenths, scale)
    last = _ticks(tenths, scale) - 1
    _play(path, last - min(last, _PLAYED), last)
    return [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)]


def _read(path: Path, tick: int) -> None:
    session = open_session(path)
    for name in session.nodes:
        line = next(iter(session.executions(name, tick, tick)))
        if line.tick != tick:
            raise AssertionError(f"asked for tick {tick}, got {line.tick}")


def _play(path: Path, first: int, last: int) -> None:
    scheduler = Scheduler.replay_from(path).set_replay_speed(math.inf)
    scheduler.start_at_tick(first).stop_at_tick(last)
    scheduler.run_sync()
    if scheduler.stats().tick != last:
        raise AssertionError(f"the replay ended at tick {scheduler.stats().tick} and not at {last}")


def _session(tenths: int, scale: float) -> Path:
    return Path(_notes(tenths, scale)["path"])


def _notes(tenths: int, scale: float) -> dict[str, Any]:
    """Of the session of that length, which is made now if there is none."""
    file = Path(os.environ["HORUS_BENCH_SHARED"]) / f"hours_{tenths}.json"
    if not file.exists():  # in a process of its own, whose memory does not count
        command = [sys.executable, "-m", "benchmarks.curves.hours", str(file), str(_ticks(tenths, scale) // RATE)]
        subprocess.run(command, check=True)
    notes: dict[str, Any] = json.loads(file.read_text())
    return notes


def _ticks(tenths: int, scale: float) -> int:
    return max(RATE, round(_TICKS * tenths * min(1.0, scale)) // RATE * RATE)


def _make(file: Path, seconds: int) -> None:
    path: list[Path] = []
    took = used_by(lambda: path.append(hour(seconds, topics=1)))
    sizes = sum(part.stat().st_size for part in path[0].iterdir())
    file.write_text(json.dumps({"path": str(path[0]), "us": took, "bytes": sizes}))


if __name__ == "__main__":
    _make(Path(sys.argv[1]), int(sys.argv[2]))
