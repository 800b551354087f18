"""Runs both sides of a figure in turn, each time in a fresh process, and compares them round by round."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .figures import Figure, Side

_ROOT = Path(__file__).parent.parent
_TIMEOUT = 300.0


@frozen
class Result:
    """A measured figure."""

    figure: Figure
    ours: list[float] = field(factory=list)
    """The samples of all rounds."""
    peer: list[float] = field(factory=list)
    ratios: list[float] = field(factory=list)
    """Ours / peer's, one per round, of the medians."""
    note: str = ""
    """Why a side is missing."""

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None if there is none, or a side that it needs is missing."""
        figure = self.figure
        if figure.max_ours is not None and self.ours:
            return statistics.median(self.ours) <= figure.max_ours
        if figure.max_ratio is not None and self.ratios:
            return statistics.median(self.ratios) <= figure.max_ratio
        return None


def measure(
    figure: Figure, *, rounds: int, scale: float, shared: Path, advance: Callable[[], None] = lambda: None
) -> Result:
    """Measure both sides of a figure, alternating, so that both see the machine in the same mood.

    Args:
        figure: What is measured.
        rounds: How often each side runs.
        scale: 1.0 for as long as it takes to be exact.
        shared: A folder for what takes long to make, shared by all processes of this run.
        advance: Called after each process.
    """
    sides = [figure.ours] if figure.peer is None else [figure.ours, figure.peer]
    samples: dict[Side, list[float]] = {side: [] for side in sides}
    ratios = []
    notes: dict[Side, str] = {}
    for number in range(rounds):
        medians = {}
        for side in sides if number % 2 == 0 else reversed(sides):
            new = notes[side] if side in notes else in_fresh_process(side, scale, shared)
            advance()
            if isinstance(new, str):
                notes[side] = new
            else:
                samples[side].extend(new)
                medians[side] = statistics.median(new)
        if figure.peer is not None and len(medians) == 2:
            ratios.append(medians[figure.ours] / medians[figure.peer])
    note = "; ".join(f"{side.label}: {text}" for side, text in notes.items())
    peers = [] if figure.peer is None else samples[figure.peer]
    return Result(figure, samples[figure.ours], peers, ratios, note)


def in_fresh_process(
    side: Side, scale: float, shared: Path, *, first: tuple[int, ...] = (), timeout: float = _TIMEOUT
) -> list[float] | str:
    """The samples, or why there are none. The process gets its own home, folder and namespace.

    Args:
        side: What to call.
        scale: 1.0 for as long as it takes to be exact.
        shared: A folder for what takes long to make.
        first: Arguments before those of the side.
        timeout: Seconds until it is killed.

    Raises:
        subprocess.TimeoutExpired: It was killed.
    """
    namespace = f"bench{uuid.uuid4().hex[:10]}"
    with tempfile.TemporaryDirectory(prefix="horus-bench-") as folder:
        own = {
            "HOME": folder,
            "HORUS_NAMESPACE": namespace,
            "HORUS_RECORDINGS_DIR": f"{folder}/recordings",
            "HORUS_BENCH_SHARED": str(shared),
            "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        call = [side.module, side.function, json.dumps([*first, *side.arguments]), str(scale)]
        command = [sys.executable, "-m", "benchmarks.worker", *call]
        environment = os.environ | own
        if environment.pop("PYTHONDONTWRITEBYTECODE", ""):  # what is installed has bytecode: do not time the compiler
            environment.setdefault("PYTHONPYCACHEPREFIX", str(shared / "bytecode"))
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        finally:
            _clear(namespace)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return f"exit {done.returncode}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"
    answer = json.loads(lines[-1])
    return str(answer["missing"]) if isinstance(answer, dict) else [float(sample) for sample in answer]


def _clear(namespace: str) -> None:
    """Remove what killed processes left in shared memory, peers' too: gigabytes of it slow down whoever comes next."""
    for pattern in (f"*{namespace}*", f"horus-*/{namespace}*"):
        for left in Path("/dev/shm").glob(pattern):  # noqa: S108 - that is where they put it
            shutil.rmtree(left, ignore_errors=True)


def percentile(samples: Sequence[float], percent: int) -> float:
    """The sample that this many per cent do not exceed; 100 is the largest."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def number(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
