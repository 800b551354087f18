"""Compares one recorded answer with one replayed answer, in numbers and a verdict."""

from __future__ import annotations

import enum
import math
from typing import Any

from attrs import asdict, field, frozen, validators

from .cosine import cosine


class DiffMode(enum.Enum):
    """What is compared."""

    ACTIONS = "actions"
    LATENCY = "latency"
    CACHE = "cache"
    ALL = "all"

    def parts(self) -> tuple[DiffMode, ...]:
        """The individual comparisons that this mode stands for."""
        return (DiffMode.ACTIONS, DiffMode.LATENCY, DiffMode.CACHE) if self is DiffMode.ALL else (self,)


@frozen(kw_only=True)
class Thresholds:
    """What still counts as alike: minimum cosine, limit of the largest difference, latency within ± percent."""

    min_cosine: float = field(default=0.999, validator=[validators.ge(-1.0), validators.le(1.0)])
    max_abs: float = field(default=1e-3, validator=validators.ge(0.0))
    latency_percent: float = field(default=5.0, validator=validators.ge(0.0))


@frozen
class ActionsDiff:
    """Two chunks of actions: cosine of the flattened chunks, largest absolute difference, and that per dimension."""

    cosine: float
    max_abs_diff: float
    passed: bool
    per_dim_max_abs: list[float]
    note: str | None = None


@frozen
class LatencyDiff:
    """Two latencies in milliseconds; ``passed`` is None if there is no recorded one to compare with."""

    recorded_total_ms: float | None
    replayed_total_ms: float
    delta_ms: float | None
    delta_pct: float | None
    passed: bool | None
    note: str | None = None


@frozen
class CacheDiff:
    """Two cache statuses; ``passed`` is None if neither side has one."""

    recorded_status: str
    replayed_status: str
    passed: bool | None


def compare_actions(recorded: list[Any], replayed: list[Any], limits: Thresholds) -> ActionsDiff:
    """Compare two chunks (rows of numbers).

    They are alike if cosine ≥ ``min_cosine`` and the largest difference < ``max_abs``. Chunks of different shapes never
    are, nor is anything with NaN or infinity; the cosine of two all-zero chunks is 1.
    """
    if _shape(recorded) != _shape(replayed):
        note = f"shape {_shown_shape(recorded)} became {_shown_shape(replayed)}"
        return ActionsDiff(0.0, math.inf, False, [], note)
    first, second = _flat(recorded), _flat(replayed)
    if first is None or second is None:
        return ActionsDiff(math.nan, math.nan, False, [], "not all of it is numbers")
    differences = [abs(a - b) for a, b in zip(first, second, strict=True)]
    largest = _largest(differences)
    similarity = cosine(first, second)
    dims = len(recorded[0]) if recorded else 0
    per_dim = [_largest(differences[dim::dims]) for dim in range(dims)]
    # NaN compares false with everything, so it can only fail.
    passed = bool(first) and similarity >= limits.min_cosine and largest < limits.max_abs
    return ActionsDiff(similarity, largest, passed, per_dim, None if first else "no actions")


def compare_latency(recorded: float | None, replayed: float, limits: Thresholds) -> LatencyDiff:
    """Compare two latencies (ms). Faster by more than the limit is a difference, too."""
    if recorded is None or not recorded > 0 or math.isinf(recorded):
        return LatencyDiff(recorded, replayed, None, None, None, "no recorded latency to compare with")
    delta = replayed - recorded
    percent = 100 * delta / recorded
    return LatencyDiff(recorded, replayed, delta, percent, abs(percent) <= limits.latency_percent)


def compare_cache(recorded: str | None, replayed: str | None) -> CacheDiff:
    """Compare two cache statuses, which have to be equal; a missing one is ``n/a``."""
    if recorded is None and replayed is None:
        return CacheDiff("n/a", "n/a", None)
    first, second = recorded or "n/a", replayed or "n/a"
    return CacheDiff(first, second, first == second)


def as_dict(diff: ActionsDiff | LatencyDiff | CacheDiff) -> dict[str, Any]:
    """The comparison as JSON values; an empty note is left out."""
    return asdict(diff, filter=lambda attribute, value: attribute.name != "note" or value is not None)


def _largest(values: list[float]) -> float:
    """The largest value; NaN if any is (the result of ``max`` would depend on the order)."""
    return math.nan if any(map(math.isnan, values)) else max(values, default=0.0)


def _shape(rows: list[Any]) -> list[int]:
    return [len(row) if isinstance(row, list) else -1 for row in rows]


def _shown_shape(rows: list[Any]) -> str:
    widths = sorted(set(_shape(rows)))
    return f"{len(rows)}x{'/'.join(map(str, widths)) or 0}"


def _flat(rows: list[Any]) -> list[float] | None:
    values: list[Any] = [value for row in rows for value in (row if isinstance(row, list) else [None])]
    if not all(isinstance(value, int | float) for value in values):
        return None
    try:
        return [float(value) for value in values]
    except OverflowError:
        return None
