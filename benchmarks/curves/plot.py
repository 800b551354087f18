"""A picture of a curve: both axes logarithmic, so that the exponent is the slope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .growth import upper_half

if TYPE_CHECKING:
    from pathlib import Path

    from .measuring import Measured


def plot(measured: Measured, folder: Path) -> Path:
    """Write ``NAME.png`` of a curve, all sides and the slope that the work justifies; returns its path.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curve = measured.curve
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for line in measured.lines:
        if line.points:
            growth = "" if line.growth is None else f", exponent {line.growth:.2f}"
            width = 2.2 if line is measured.lines[0] else 1.2
            axes.plot(*zip(*line.points.items(), strict=True), "o-", lw=width, ms=4, label=f"{line.side.label}{growth}")
    half = upper_half(measured.lines[0].points)
    if half:
        begin = min(half)
        slope = [half[begin] * (size / begin) ** curve.work for size in half]
        axes.plot(list(half), slope, "k:", label=f"its work, exponent {curve.work:g}")
    axes.set(xscale="log", yscale="log", title=curve.title, xlabel=curve.of, ylabel=curve.unit)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small")
    path = folder / f"{curve.name}.png"
    figure.savefig(path)
    return path
