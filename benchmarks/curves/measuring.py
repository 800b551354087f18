"""Measures curves, point by point, each in a fresh process, and judges how they grow."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from rich.console import Console
from rich.progress import Progress

from benchmarks.compare import in_fresh_process, number

from .growth import TOLERANCE, exponent, upper_half

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.figures import Side

    from .catalogue import Curve

_WITHIN, _OTHERS_WITHIN = 3600.0, 120.0
"""Seconds for a point: ours is waited for, as the longest first makes a recording of ten hours; others not for long."""


@frozen
class Line:
    """One side of a curve, as measured."""

    side: Side
    points: dict[int, float] = field(factory=dict)
    """What it took, by size."""
    note: str = ""
    """Why it ends early, or has no points at all."""

    @property
    def growth(self) -> float | None:
        """The exponent over the upper half of its sizes; None where too few were measured."""
        return exponent(self.points)


@frozen
class Measured:
    """A curve, as measured: ours first."""

    curve: Curve
    lines: list[Line]
    sizes: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether our side was measured at every size."""
        return len(self.lines[0].points) == len(self.sizes)

    @property
    def within(self) -> bool | None:
        """Whether ours grows no faster than its work; None if it could not be told."""
        growth = self.lines[0].growth
        return None if growth is None or not self.whole else growth <= self.curve.work + TOLERANCE


def measure_all(curves: Sequence[Curve], *, quick: bool, told: Callable[[Measured], None]) -> list[Measured]:
    """Measure curves; ``told`` is called with each as soon as it is there.

    Args:
        curves: Which.
        quick: Only the small sizes, and short.
        told: Called with each.
    """
    found = []
    console = Console(file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="horus-curves-") as shared,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=sum(len(c.some(quick=quick)) * len(c.sides) for c in curves))
        for curve in curves:
            progress.update(task, description=curve.name)
            sizes = curve.some(quick=quick)
            lines = [
                _line(
                    side,
                    sizes,
                    Path(shared),
                    lambda: progress.advance(task),
                    scale=0.02 if quick else 1.0,
                    within=_WITHIN if side is curve.sides[0] and not quick else _OTHERS_WITHIN,
                )
                for side in curve.sides
            ]
            found.append(Measured(curve, lines, sizes))
            told(found[-1])
    return found


def _line(
    side: Side, sizes: Sequence[int], shared: Path, advance: Callable[[], None], *, scale: float, within: float
) -> Line:
    """One side over all sizes, up to the first that it cannot do."""
    points: dict[int, float] = {}
    for size in sizes:
        try:
            samples = in_fresh_process(side, scale, shared, first=(size,), timeout=within)
        except subprocess.TimeoutExpired:
            samples = f"not done within {within:.0f} s"
        advance()
        if isinstance(samples, str):
            return Line(side, points, f"ends before {size:,}: {samples}")
        points[size] = statistics.median(samples)
    return Line(side, points)


HEAD = """\
| what | of | side | smallest | largest | exponent | its work |
|---|---|---|---|---|---|---|"""


def rows(measured: Measured) -> list[str]:
    """The rows of the table for a curve: one for each side."""
    curve = measured.curve
    table = []
    for line in measured.lines:
        ours = line is measured.lines[0]
        growth = "-" if line.growth is None else f"{line.growth:.2f}"
        ends = [f"{size:,}: {number(line.points[size])} {curve.unit}" for size in sorted(line.points)]
        first, last = (ends[0], ends[-1]) if ends else ("-", "-")
        work = _verdict(measured) if ours else "-"
        note = f" ({line.note})" if line.note else ""
        what = f"{curve.name}: {curve.title}" if ours else ""
        table.append(
            f"| {what} | {curve.of if ours else ''} | {line.side.label}{note} | {first} | {last} | {growth} | {work} |"
        )
    return table


def _verdict(measured: Measured) -> str:
    said = {True: "met", False: "**grows faster**", None: "cannot tell"}[measured.within]
    return f"≤ {measured.curve.work:g} + {TOLERANCE}: {said}"


def as_json(measured: Measured) -> dict[str, object]:
    """Every point of a curve."""
    curve = measured.curve
    return {
        "name": curve.name,
        "unit": curve.unit,
        "of": curve.of,
        "work": curve.work,
        "within": measured.within,
        "sides": [
            {
                "label": line.side.label,
                "points": {str(size): cost for size, cost in line.points.items()},
                "exponent": line.growth,
                "over": sorted(upper_half(line.points)),
                "note": line.note,
            }
            for line in measured.lines
        ],
    }
