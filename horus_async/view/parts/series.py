"""The values of one field over time: all of them, or the least and the greatest of each so many. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

_Bucket = list[Any]
"""Time and value of the least, time and value of the greatest, and whether there was one that is no finite number."""


class Series:
    """Takes values in the order of their times. Memory is bounded; no spike is lost.

    Args:
        most: Points that are kept, 2 for each bucket.
    """

    __slots__ = ("_begun", "_buckets", "_most", "bad", "count", "last", "per")

    def __init__(self, most: int) -> None:
        self.count = 0
        self.bad = 0
        """How many were NaN or infinite."""
        self.per = 1
        """Values in a bucket."""
        self.last: float | None = None
        self._most = max(8, most)
        self._buckets: list[_Bucket] = []
        self._begun = 0

    def add(self, at_us: int, value: float) -> None:
        """One more value."""
        self.count += 1
        finite = value - value == 0  # neither NaN nor infinite
        if finite:
            self.last = value
        else:
            self.bad += 1
        if self._begun >= self.per and len(self._buckets) >= self._most:
            self._fold()
        if self._buckets and self._begun < self.per:
            self._begun += 1
            _widen(self._buckets[-1], at_us, value if finite else None)
            return
        shown = value if finite else None
        self._buckets.append([at_us, shown, at_us, shown, not finite])
        self._begun = 1

    def shrink(self, most: int) -> None:
        """Keep no more than so many points."""
        while self._points() > max(most, 8):
            self._fold()

    def _points(self) -> int:
        return len(self._buckets) * (1 if self.per == 1 else 2)

    def _fold(self) -> None:
        """Make one bucket of each two."""
        old = self._buckets
        folded = [_together(old[place], old[place + 1]) for place in range(0, len(old) - 1, 2)]
        if len(old) % 2:
            folded.append(old[-1])  # it is half full now
        else:
            self._begun += self.per
        self._buckets = folded
        self.per *= 2

    def points(self) -> dict[str, Any]:
        """What goes in the page: times as differences in µs, values with None where the line breaks off."""
        times: list[int] = []
        values: list[float | None] = []
        for low_at, low, high_at, high, broken in self._buckets:
            if low is None:
                times.append(low_at)
                values.append(None)
                continue
            ends = {(low_at, low), (high_at, high)}
            for at, value in sorted(ends):
                times.append(at)
                values.append(value)
            if broken:
                times.append(max(low_at, high_at))
                values.append(None)
        finite = [value for value in values if value is not None]
        return {
            "t": [after - before for before, after in pairwise([0, *times])],
            "v": values,
            "n": self.count,
            "per": self.per,
            "bad": self.bad,
            "min": min(finite, default=None),
            "max": max(finite, default=None),
            "last": self.last,
        }


def _widen(bucket: _Bucket, at_us: int, value: float | None) -> None:
    if value is None:
        bucket[4] = True
    elif bucket[1] is None:
        bucket[:4] = at_us, value, at_us, value
    elif value < bucket[1]:
        bucket[0], bucket[1] = at_us, value
    elif value > bucket[3]:
        bucket[2], bucket[3] = at_us, value


def _together(one: _Bucket, other: _Bucket) -> _Bucket:
    broken = one[4] or other[4]
    if one[1] is None or other[1] is None:
        return [*(other if one[1] is None else one)[:4], broken]
    low = one if one[1] <= other[1] else other
    high = one if one[3] >= other[3] else other
    return [low[0], low[1], high[2], high[3], broken]


class SeriesSet:
    """The series of all fields of a source.

    Args:
        most_fields: Further ones are counted, not kept.
        field_points: Points of one.
    """

    def __init__(self, most_fields: int, field_points: int) -> None:
        self._most_fields = most_fields
        self._field_points = field_points
        self.series: dict[tuple[int, str], Series] = {}
        """By number of the channel and path of the field."""
        self.left_out: set[tuple[int, str]] = set()

    def add(self, channel: int, field: str, at_us: int, value: float) -> None:
        """One more value of a field."""
        series = self.series.get((channel, field))
        if series is None:
            if len(self.series) >= self._most_fields:
                if len(self.left_out) < 100_000:
                    self.left_out.add((channel, field))
                return
            series = self.series[channel, field] = Series(self._field_points)
        series.add(at_us, value)

    def fit(self, points: int) -> None:
        """Keep no more than so many points of all together: long series give way first."""
        most = self._field_points
        while most > 64 and sum(min(series.count, most) for series in self.series.values()) > points:
            most //= 2
        for series in self.series.values():
            series.shrink(most)

    def rows(self) -> list[dict[str, Any]]:
        """What goes in the page."""
        return [{"channel": channel, "field": field, **one.points()} for (channel, field), one in self.series.items()]
