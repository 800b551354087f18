"""What a replay found: lines for people, a report for machines (schema version 1), the verdict of ``--fail-on``.

The report's names are those of the v1 tools (``summary``, ``header``, ``per_request_diffs``), with ``schema_version``
and more statistics on top. A number that JSON lacks (NaN, infinity) is written as ``{"$float": "nan"}``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import Factory, define

from horus_async.policy.model.jsontext import encode_read
from horus_async.policy.trace.query import percentile

from .actions import ActionsDiff, CacheDiff, DiffMode, LatencyDiff, Thresholds, as_dict

if TYPE_CHECKING:
    from horus_async.policy.trace.reader import TraceReader

    from .results import Replayed

REPORT_SCHEMA_VERSION = 1


@define
class PartSummary:
    """One kind of comparison over all requests.

    Percentiles are taken of ``values``: the largest action difference of each request, or the size of its latency
    change in percent.
    """

    compared: int = 0
    passed: int = 0
    first_failed_seq: int | None = None
    worst_seq: int | None = None
    worst: float = -1.0
    values: list[float] = Factory(list)

    def add(self, seq: int, diff: ActionsDiff | LatencyDiff | CacheDiff) -> None:
        """Count one comparison."""
        if diff.passed is None:
            return
        self.compared += 1
        self.passed += diff.passed
        if not diff.passed and self.first_failed_seq is None:
            self.first_failed_seq = seq
        value = _badness(diff)
        if value is None:
            return
        self.values.append(value)
        # NaN is the worst of all, so it must not lose a comparison.
        ranked = math.inf if math.isnan(value) else value
        if ranked > self.worst:
            self.worst, self.worst_seq = ranked, seq

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        finite = sorted(value for value in self.values if math.isfinite(value))
        shown = {f"p{percent}": percentile(finite, percent) for percent in (50, 95, 99)}
        first, worst = self.first_failed_seq, self.worst_seq
        return {
            "compared": self.compared,
            "passed": self.passed,
            "first_failed_seq": first,
            "worst_seq": worst,
            **shown,
        }


def _badness(diff: ActionsDiff | LatencyDiff | CacheDiff) -> float | None:
    if isinstance(diff, ActionsDiff):
        return diff.max_abs_diff
    if isinstance(diff, LatencyDiff):
        return None if diff.delta_pct is None else abs(diff.delta_pct)
    return None


@define
class ReplaySummary:
    """Counts over a whole replay."""

    diff: DiffMode
    limits: Thresholds
    replayed: int = 0
    diffed: int = 0
    skipped: int = 0
    raised: int = 0
    unlike: int = 0
    lacking: int = 0
    dropped: int = 0
    losses: list[str] = Factory(list)
    first_raised_seq: int | None = None
    parts: dict[DiffMode, PartSummary] = Factory(lambda self: {part: PartSummary() for part in self.diff.parts()}, True)
    min_cosine: float = math.inf
    per_dim_max_abs: list[float] = Factory(list)

    def add(self, result: Replayed) -> None:
        """Count one request."""
        self.skipped += result.skipped is not None
        self.unlike += result.unlike is not None
        self.lacking += bool(result.lacking)
        self.replayed += result.skipped is None
        if result.raised is not None:
            self.raised += 1
            self.first_raised_seq = result.seq if self.first_raised_seq is None else self.first_raised_seq
        diffs = {mode: diff for mode in self.parts if (diff := result.part(mode)) is not None}
        self.diffed += any(diff.passed is not None for diff in diffs.values())
        for mode, diff in diffs.items():
            self.parts[mode].add(result.seq, diff)
        if result.actions is not None:
            self.min_cosine = _smaller(self.min_cosine, result.actions.cosine)
            longer = [0.0] * (len(result.actions.per_dim_max_abs) - len(self.per_dim_max_abs))
            self.per_dim_max_abs += longer
            for dim, value in enumerate(result.actions.per_dim_max_abs):
                self.per_dim_max_abs[dim] = -_smaller(-self.per_dim_max_abs[dim], -value)

    def ended(self, trace: TraceReader) -> None:
        """Note what the trace lacks, once it has been read."""
        self.dropped, self.losses = trace.dropped, trace.losses

    def fails(self, mode: DiffMode) -> str | None:
        """Why ``--fail-on mode`` is triggered, or None.

        A difference triggers it, and so does a request that could not be replayed or that the policy now fails on,
        one that the trace lacks, as nobody knows what the policy would have done, or a kind of comparison that
        compared nothing.
        """
        if self.raised:
            return f"the policy failed on {self.raised} requests, the first seq {self.first_raised_seq}"
        if self.skipped:
            return f"{self.skipped} requests could not be replayed"
        if self.losses:
            return f"the trace lacks requests, which nobody compared: {'; '.join(self.losses)}"
        for part in mode.parts():
            summary = self.parts[part]
            if summary.compared == 0:
                return f"{part.value}: nothing was compared"
            if summary.passed < summary.compared:
                differing = summary.compared - summary.passed
                return (
                    f"{part.value}: {differing} of {summary.compared} differ, the first seq {summary.first_failed_seq}"
                )
        return None

    def lines(self) -> list[str]:
        """The summary for people."""
        lines = [f"replayed: {self.replayed}", f"diffed: {self.diffed}"]
        counted = {"skipped": self.skipped, "policy failed": self.raised, "without counterpart": self.unlike}
        counted["replayed without their cameras, of which the trace kept nothing"] = self.lacking
        counted["dropped when the trace was recorded, so not compared"] = self.dropped
        lines += [f"{name}: {count}" for name, count in counted.items() if count]
        for part, summary in self.parts.items():
            lines.append(
                f"{part.value}: {summary.passed}/{summary.compared} pass ({self._rule(part)}){_worst(part, summary)}"
            )
        if self.per_dim_max_abs and DiffMode.ACTIONS in self.parts:
            lines.append(
                "largest difference per dimension: " + " ".join(f"{value:.2e}" for value in self.per_dim_max_abs)
            )
        return lines

    def _rule(self, part: DiffMode) -> str:
        if part is DiffMode.ACTIONS:
            return f"cos>={self.limits.min_cosine:g}, max_abs<{self.limits.max_abs:g}"
        if part is DiffMode.LATENCY:
            return f"within ±{self.limits.latency_percent:g}% of recorded total_ms"
        return "status match"

    def as_dict(self, *, trace_file: str, model: str) -> dict[str, Any]:
        """The report's ``summary``."""
        counts = {f"n_pass_{part.value}": None for part in DiffMode.ALL.parts()}
        counts |= {f"n_pass_{part.value}": summary.passed for part, summary in self.parts.items()}  # type: ignore[misc]
        return {
            "trace_file": trace_file,
            "model": model,
            "diff_mode": self.diff.value,
            "n_replayed": self.replayed,
            "n_diffed": self.diffed,
            **counts,
            "n_skipped": self.skipped,
            "n_raised": self.raised,
            "n_without_counterpart": self.unlike,
            "n_without_cameras": self.lacking,
            "n_dropped": self.dropped,
            "min_cosine": self.min_cosine if self.min_cosine != math.inf else None,
            "per_dim_max_abs": self.per_dim_max_abs,
            "thresholds": {
                "cos": self.limits.min_cosine,
                "max_abs": self.limits.max_abs,
                "latency_pct": self.limits.latency_percent,
            },
            **{part.value: summary.as_dict() for part, summary in self.parts.items()},
        }


def report(
    summary: ReplaySummary,
    results: list[Replayed],
    *,
    trace_file: str,
    model: str,
    header: dict[str, Any],
    notes: list[str],
) -> bytes:
    """The machine-readable report, one JSON object."""
    return encode_read(
        {
            "schema_version": REPORT_SCHEMA_VERSION,
            "summary": summary.as_dict(trace_file=trace_file, model=model),
            "header": header,
            "notes": notes,
            "per_request_diffs": [_result_dict(result, summary.limits) for result in results],
        }
    )


def _result_dict(result: Replayed, limits: Thresholds) -> dict[str, Any]:
    shown: dict[str, Any] = {"seq": result.seq}
    if result.actions is not None:
        thresholds = {"threshold_cos": limits.min_cosine, "threshold_max_abs": limits.max_abs}
        shown["actions"] = {**as_dict(result.actions), **thresholds}
    if result.latency is not None:
        shown["latency"] = {**as_dict(result.latency), "threshold_pct": limits.latency_percent}
    if result.cache is not None:
        shown["cache"] = as_dict(result.cache)
    if result.lacking:
        shown["without_cameras"] = list(result.lacking)
    shown |= {name: text for name in ("skipped", "raised", "unlike") if (text := getattr(result, name)) is not None}
    return shown


def shown(result: Replayed) -> str:
    """One request for people."""
    start = f"seq={result.seq:4d}"
    if result.skipped or result.raised or result.unlike:
        word = "SKIP" if result.skipped else "FAIL" if result.raised else "----"
        return f"{start}  {result.skipped or result.raised or result.unlike} [{word}]"
    parts = [start]
    if (actions := result.actions) is not None:
        note = f" ({actions.note})" if actions.note else ""
        parts.append(
            f"actions: cos={actions.cosine:.6f} max_abs={actions.max_abs_diff:.2e}{note} {_word(actions.passed)}"
        )
    if (latency := result.latency) is not None:
        change = latency.note if latency.delta_pct is None else f"{latency.delta_pct:+.1f}%"
        times = f"{_ms(latency.recorded_total_ms)}→{_ms(latency.replayed_total_ms)}ms"
        parts.append(f"latency: {times} ({change}) {_word(latency.passed)}")
    if (cache := result.cache) is not None:
        parts.append(f"cache: {cache.recorded_status}→{cache.replayed_status} {_word(cache.passed)}")
    return "  ".join(parts)


def _word(passed: bool | None) -> str:  # noqa: FBT001
    return "[----]" if passed is None else "[PASS]" if passed else "[FAIL]"


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"


def _worst(part: DiffMode, summary: PartSummary) -> str:
    finite = sorted(value for value in summary.values if math.isfinite(value))
    text = ""
    if summary.worst_seq is not None and finite:
        unit = "%" if part is DiffMode.LATENCY else ""
        middle, high = (f"{percentile(finite, percent):.2e}{unit}" for percent in (50, 99))
        text = f", p50 {middle}, p99 {high}, worst seq {summary.worst_seq}"
    if summary.first_failed_seq is not None:
        text += f", first failing seq {summary.first_failed_seq}"
    return text


def _smaller(first: float, second: float) -> float:
    """The smaller one; NaN if either is."""
    return math.nan if math.isnan(first) or math.isnan(second) else min(first, second)
