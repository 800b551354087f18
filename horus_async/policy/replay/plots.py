"""Small plots as SVG text: two lines, what was recorded and what was replayed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from horus_async.spelling import printable_html

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH, HEIGHT = 340, 110
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 6, 6, 18
_COLUMNS = 240
"""Where there are more values than this, each column of the plot spans those that fall into it."""


def plot(recorded: Sequence[float], replayed: Sequence[float], *, first: str, last: str, label: str) -> str:
    """An SVG of two rows of values. ``first`` and ``last`` stand below its ends; NaN is a gap.

    ``label`` is read out where the picture is not seen.
    """
    finite = [value for value in (*recorded, *replayed) if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:
        low, high = low - max(abs(low) / 10, 1e-9), high + max(abs(high) / 10, 1e-9)
    lines = [
        f'<path class="{name}" d="{_path(values, low, high)}"/>'
        for name, values in (("recorded", recorded), ("replayed", replayed))
    ]
    texts = [
        _text(_LEFT - 4, _TOP + 8, "end", f"{high:.4g}"),
        _text(_LEFT - 4, HEIGHT - _BOTTOM, "end", f"{low:.4g}"),
        _text(_LEFT, HEIGHT - 5, "start", first),
        _text(WIDTH - _RIGHT, HEIGHT - 5, "end", last),
    ]
    frame = (
        f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{WIDTH - _LEFT - _RIGHT}" '
        f'height="{HEIGHT - _TOP - _BOTTOM}"/>'
    )
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{printable_html(label)}">'
    return "".join([head, frame, *lines, *texts, "</svg>"])


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{printable_html(text)}</text>'


def _path(values: Sequence[float], low: float, high: float) -> str:
    """The points of a line. A point without neighbours is a short stroke, which its round ends make a dot."""
    steps = max(len(values) - 1, 1)
    across, up = (WIDTH - _LEFT - _RIGHT) / steps, (HEIGHT - _TOP - _BOTTOM)
    parts, pen = [], "M"
    for place, value in _thinned(values):
        if not math.isfinite(value):
            pen = "M"
            continue
        # Halves, so that the span of two huge values of opposite signs does not overflow.
        height = (value / 2 - low / 2) / (high / 2 - low / 2)
        parts.append(f"{pen}{_LEFT + place * across:.1f} {_TOP + (1 - height) * up:.1f}{'h0' if pen == 'M' else ''}")
        pen = "L"
    return "".join(parts)


def _thinned(values: Sequence[float]) -> Iterator[tuple[int, float]]:
    """Places and values: all of them, or of each column the least and the greatest, and a gap where it has any."""
    if len(values) <= 2 * _COLUMNS:
        yield from enumerate(values)
        return
    for column in range(_COLUMNS):
        start, end = (len(values) * edge // _COLUMNS for edge in (column, column + 1))
        finite = [place for place in range(start, end) if math.isfinite(values[place])]
        if len(finite) < end - start:
            yield start, math.nan
        if finite:
            ends = {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
            yield from ((place, values[place]) for place in sorted(ends))
