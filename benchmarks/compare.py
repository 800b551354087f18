"""Runs both sides of a figure in turns, each time in a fresh process, and compares them round by round."""

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
    from collections.abc import Sequence

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
    """Ours / peer's, one a round, of the medians."""
    note: str = ""
    """Why a side is missing."""

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None where there is none or what it needs is missing."""
        figure = self.figure
        if figure.max_ours is not None and self.ours:
            return statistics.median(self.ours) <= figure.max_ours
        if figure.max_ratio is not None and self.ratios:
            return statistics.median(self.ratios) <= figure.max_ratio
        return None


def measure(figure: Figure, *, rounds: int, scale: float) -> Result:
    """Both sides of a figure, alternating, so that both see the same weather on the machine."""
    ours: list[float] = []
    peer: list[float] = []
    ratios = []
    note = ""
    for number in range(rounds):
        sides = [(figure.ours, ours), (figure.peer, peer)]
        medians = {}
        for side, samples in sides if number % 2 == 0 else reversed(sides):
            new = _in_fresh_process(side, scale)
            if isinstance(new, str):
                note = f"{side.label}: {new}"
            else:
                samples.extend(new)
                medians[side.label] = statistics.median(new)
        if len(medians) == 2:
            ratios.append(medians[figure.ours.label] / medians[figure.peer.label])
    return Result(figure, ours, peer, ratios, note)


def _in_fresh_process(side: Side, scale: float) -> list[float] | str:
    """The samples, or why there are none. The process has a home, a folder and a namespace of its own."""
    namespace = f"bench{uuid.uuid4().hex[:10]}"
    with tempfile.TemporaryDirectory(prefix="horus-bench-") as folder:
        own = {
            "HOME": folder,
            "HORUS_NAMESPACE": namespace,
            "HORUS_RECORDINGS_DIR": f"{folder}/recordings",
            "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        command = [sys.executable, "-m", "benchmarks.worker", side.module, side.function, str(scale)]
        done = subprocess.run(
            command, cwd=folder, env=os.environ | own, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    for left in Path("/dev/shm").glob(f"*{namespace}*"):  # noqa: S108 - what the process left in shared memory
        shutil.rmtree(left, ignore_errors=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return f"exit {done.returncode}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"
    answer = json.loads(lines[-1])
    return str(answer["missing"]) if isinstance(answer, dict) else [float(sample) for sample in answer]


def percentile(samples: Sequence[float], percent: int) -> float:
    """The sample that so many per cent do not exceed; 100 is the largest."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
