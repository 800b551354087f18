"""Camera images: what it takes to get a recording of them into files for other tools."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from horus_async import Node, RecordingOptions, Scheduler, tick
from horus_async.clock.system import perf_ns

from .sampling import CannotMeasureError

if TYPE_CHECKING:
    from typing import Any

FRAMES = 1000
_DIFFERENT = 16
"""Images that are not the same; more would only take memory."""


def export(form: str, scale: float) -> list[float]:
    """Seconds that ``horus-async record export`` takes for VGA frames, including the start of Python."""
    path = _session(round(FRAMES * scale))
    command = [sys.executable, "-m", "horus_async", "record", "export", str(path)]
    start = perf_ns()
    done = subprocess.run(
        [*command, "--format", form, "--output", f"frames.{form}"], capture_output=True, text=True, check=False
    )
    took = perf_ns() - start
    if done.returncode:
        raise CannotMeasureError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return [took / 1e9]


def numpy_save(scale: float) -> list[float]:
    """Seconds that ``numpy.save`` takes for the same frames, a file each."""
    frames = _frames()
    folder = Path("frames")
    folder.mkdir()
    start = perf_ns()
    for number in range(round(FRAMES * scale)):
        np.save(folder / f"{number}.npy", frames[number % _DIFFERENT])
    return [(perf_ns() - start) / 1e9]


def _frames() -> list[np.ndarray[Any, Any]]:
    """Noise, which no compression makes smaller."""
    random = np.random.default_rng(7)
    return [random.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(_DIFFERENT)]


def _session(count: int) -> Path:
    """A recording of that many frames. Made once for all rounds."""
    folder = Path(os.environ["HORUS_BENCH_SHARED"])
    path = folder / f"frames_{count}"
    if path.exists():
        return path
    frames = _frames()

    def send(node: Node) -> None:
        node.send("image", {"data": frames[tick() % _DIFFERENT]})

    options = RecordingOptions(name=path.name)
    scheduler = Scheduler(tick_rate=10, deterministic=True, recording=options, recordings_dir=folder)
    scheduler.add(Node(name="camera", tick=send, pubs=["image"])).run_sync(count / 10)
    return path
