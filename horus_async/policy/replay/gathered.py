"""What a page about a replay shows, gathered while it goes on: the first action of each request, the worst requests."""

from __future__ import annotations

import heapq
import math
from array import array
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.policy.trace.request import TraceRequest

    from .results import Replayed, Rows

DIMENSIONS = 32
"""How many dimensions of an action are kept."""
WORST = 12
"""How many requests are kept with everything."""


@frozen
class Sample:
    """One request, what became of it, and the rows that were answered now."""

    request: TraceRequest
    result: Replayed
    answered: Rows


@define
class Series:
    """One dimension of the first action of each request: recorded and replayed, NaN where there is none."""

    recorded: array[float] = Factory(lambda: array("d"))
    replayed: array[float] = Factory(lambda: array("d"))


@define
class Gathered:
    """Grows by a few numbers a request; ``worst`` are the ``WORST`` worst."""

    seqs: array[int] = Factory(lambda: array("q"))
    series: list[Series] = Factory(list)
    more_dimensions: int = 0
    _worst: list[tuple[float, int, Sample]] = Factory(list)

    def add(self, request: TraceRequest, result: Replayed, answered: Rows) -> None:
        """Take one request in."""
        recorded, replayed = _first(request.actions), _first(answered)
        width = max(len(recorded), len(replayed))
        self.more_dimensions = max(self.more_dimensions, width - DIMENSIONS)
        for _ in range(len(self.series), min(width, DIMENSIONS)):
            gap = array("d", [math.nan]) * len(self.seqs)
            self.series.append(Series(gap, gap[:]))
        self.seqs.append(request.seq)
        for dim, series in enumerate(self.series):
            series.recorded.append(recorded[dim] if dim < len(recorded) else math.nan)
            series.replayed.append(replayed[dim] if dim < len(replayed) else math.nan)
        badness = _badness(result)
        if badness > 0:
            self._keep((badness, -request.seq, Sample(request, result, answered)))

    def merge(self, other: Gathered) -> None:
        """Take in what another process has gathered, of other requests."""
        for _, _, sample in other._worst:
            self._keep((_badness(sample.result), -sample.request.seq, sample))
        self.more_dimensions = max(self.more_dimensions, other.more_dimensions)
        seqs = self.seqs + other.seqs
        order = sorted(range(len(seqs)), key=seqs.__getitem__)
        columns = max(len(self.series), len(other.series))
        mine, theirs = (list(_padded(one, columns)) for one in (self, other))
        self.seqs = array("q", map(seqs.__getitem__, order))
        self.series = [
            Series(*(array("d", map((a + b).__getitem__, order)) for a, b in zip(first, second, strict=True)))
            for first, second in zip(mine, theirs, strict=True)
        ]

    @property
    def worst(self) -> list[Sample]:
        """The requests that differ most, the worst first."""
        return [sample for _, _, sample in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)]

    def _keep(self, entry: tuple[float, int, Sample]) -> None:
        # The pairs before the samples are never equal, unless a trace repeats a number.
        if any(entry[:2] == other[:2] for other in self._worst):
            return
        if len(self._worst) < WORST:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)


def _padded(gathered: Gathered, columns: int) -> Iterator[tuple[array[float], array[float]]]:
    gap = array("d", [math.nan]) * len(gathered.seqs)
    yield from ((series.recorded, series.replayed) for series in gathered.series)
    yield from ((gap, gap) for _ in range(columns - len(gathered.series)))


def _first(rows: Rows) -> list[float]:
    """The first action, as far as it is numbers."""
    row = rows[0] if rows and isinstance(rows[0], list) else []
    return [float(value) if isinstance(value, float) or _is_small(value) else math.nan for value in row]


def _is_small(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < 1 << 63


def _badness(result: Replayed) -> float:
    """How bad a result is: a policy that fails is worse than any difference; 0: no difference at all."""
    if result.raised is not None:
        return math.inf
    if (actions := result.actions) is not None:
        return 1e308 if math.isnan(actions.max_abs_diff) else min(1e308, actions.max_abs_diff)
    if (latency := result.latency) is not None:
        return abs(latency.delta_pct or 0.0)
    return float(result.cache is not None and result.cache.passed is False)
