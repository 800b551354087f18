"""Running programs as a user does, in processes of their own, and a small log for the examples."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"

WALL_M, WIDTH_M, LIDAR_AHEAD_M, TICK_M = 3.0, 2.0, 0.145, 2 * math.pi * 0.077 / 2000


def python(*arguments: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter of the tests on this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def horus(*arguments: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command ``horus-async``."""
    return python("-m", "horus_async", *arguments, cwd=cwd, **env)


def write_log(path: Path, scans: int = 60, *, seconds: float = 5.0) -> list[tuple[int, float]]:
    """Write the log of a robot that drives along a corridor towards a wall, with uneven stamps.

    Returns:
        For each scan its stamp in microseconds from the first, and how far the lidar is from the wall, metres.
    """
    stamps = [round(1e6 * seconds * (n + 0.3 * math.sin(7 * n)) / scans) for n in range(scans)]
    found, lines = [], []
    for stamp in stamps:
        driven = 0.5 * stamp / 1e6
        ahead = WALL_M - LIDAR_AHEAD_M - driven
        wheel = round(driven / TICK_M)
        columns = [361431443 + stamp, 0, 234835 + wheel, 231727 + wheel, *[0] * 20, *_ranges_mm(ahead), 0]
        lines.append(" ".join(map(str, columns)))
        found.append((stamp, ahead))
    path.write_text("\n".join(lines) + "\n")
    return found


def _ranges_mm(ahead: float) -> Sequence[int]:
    ranges = []
    for beam in range(682):
        angle = math.radians(-120 + 240 * beam / 681)
        to_end = ahead / math.cos(angle) if math.cos(angle) > 0.01 else math.inf
        to_side = WIDTH_M / 2 / abs(math.sin(angle)) if abs(math.sin(angle)) > 0.01 else math.inf
        nearest = min(to_end, to_side)
        ranges.append(round(nearest * 1000) if nearest < 5.6 else 0)
    return ranges
