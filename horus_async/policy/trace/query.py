"""Searches many traces: which files, which requests, how many of what, and how slow. Everything streams."""

from __future__ import annotations

import enum
from array import array
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, frozen

from horus_async.errors import TraceError

from .finding import find_traces
from .lines import DamagedDataError
from .reader import TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from .request import TraceRequest

_TASK_LENGTH = 60
_SELDOM = 255
"""Mask of the counts at which a watcher is told: often enough to see it move, and cheap."""


class Bucket(enum.Enum):
    """What a summary groups by."""

    EPISODE = "episode"
    MODEL = "model"
    DAY = "day"
    TASK = "task"


@frozen(kw_only=True)
class Filter:
    """Which requests are wanted; None means all.

    ``since_ns`` is in wall-clock nanoseconds, ``min_latency_ms`` in milliseconds; ``status`` is ``success``,
    ``failed``, an HTTP status or the slug of an error.
    """

    since_ns: int | None = None
    episode: str | None = None
    status: str | None = None
    min_latency_ms: float | None = None

    def matches(self, request: TraceRequest) -> bool:
        """Whether ``request`` is wanted. One that lacks a field that is filtered by is not."""
        if self.since_ns is not None and (request.timestamp_ns is None or request.timestamp_ns < self.since_ns):
            return False
        if self.episode is not None and request.episode != self.episode:
            return False
        if self.min_latency_ms is not None and not (request.latency_ms or 0.0) >= self.min_latency_ms:
            return False
        return self.status is None or self.status in _statuses(request)


def _statuses(request: TraceRequest) -> set[str]:
    if request.ok:
        return {"success", str(request.status)}
    return {"failed", str(request.status), str((request.error or {}).get("slug"))}


class Verdict(enum.Enum):
    """What a check found: a trace that is whole or merely cut at the end, one that lacks something, or none."""

    WHOLE = "whole"
    CUT = "cut"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    NO_TRACE = "no trace"


class Watcher:
    """Is told how the reading of many traces goes. This one passes on what is ``skipped``, if somebody wants it."""

    def __init__(self, skipped: Callable[[str], None] | None = None) -> None:
        self._skipped = skipped or (lambda _: None)

    def reading(self, trace: TraceReader) -> None:
        """Some more of ``trace`` has been read: its ``position()`` shows how much."""

    def read(self, trace: TraceReader) -> None:
        """``trace`` has been read to its end: its ``notes`` are complete."""

    def passed_over(self, reason: str) -> None:
        """A file in a folder is no trace, and was left out."""
        self._skipped(reason)

    def damaged(self, reason: str) -> None:
        """A trace in a folder could be read up to some place only."""
        self._skipped(reason)


def read_through(trace: TraceReader, watcher: Watcher, ends: dict[str, int]) -> Iterator[TraceRequest]:
    """All requests of one trace. ``ends`` has, for each session read so far, the number that comes next."""
    session = str(trace.header.get("session_id"))
    trace.follows = ends.pop(session, None) if trace.header.get("part") else None
    for request in trace.requests():
        if not trace.count & _SELDOM:
            watcher.reading(trace)
        yield request
    if trace.next_seq is not None:
        ends[session] = trace.next_seq
    watcher.reading(trace)
    watcher.read(trace)


def list_traces(paths: list[Path], watcher: Watcher | None = None) -> Iterator[dict[str, Any]]:
    """A row per trace file, which is read to its end.

    ``file, verdict, started_at, model_hash, embodiment, session_id, requests, errors, dropped, bytes, notes``;
    ``dropped`` is how many requests the server could not record, ``verdict`` one of `Verdict`. A file that is damaged
    or no trace is a row too, with the reason under ``error``.

    Raises:
        TraceError: a path that does not exist.
    """
    ends: dict[str, int] = {}
    for path in find_traces(paths):
        row: dict[str, Any] = {"file": str(path), "verdict": Verdict.NO_TRACE.value}
        try:
            with TraceReader(path) as trace:
                try:
                    for _ in read_through(trace, watcher or Watcher(), ends):
                        pass
                    row["verdict"] = _verdict(trace).value
                except TraceError:
                    row["verdict"] = Verdict.DAMAGED.value
                    raise
                finally:
                    row |= _described(trace)
        except TraceError as error:
            row["error"] = str(error)
            if isinstance(error, DamagedDataError):
                row = {"requests": 0, "errors": 0, "notes": [], **row, "verdict": Verdict.DAMAGED.value}
        yield row


def _verdict(trace: TraceReader) -> Verdict:
    return Verdict.INCOMPLETE if trace.losses else Verdict.CUT if trace.is_cut else Verdict.WHOLE


def _described(trace: TraceReader) -> dict[str, Any]:
    header = trace.header
    return {
        "started_at": header.get("started_at"),
        "model_hash": header.get("model_hash"),
        "embodiment": header.get("embodiment"),
        "session_id": header.get("session_id"),
        "requests": trace.count,
        "errors": trace.errors,
        "dropped": trace.dropped,
        "bytes": trace.size,
        "notes": trace.notes,
    }


def matching(
    paths: list[Path], wanted: Filter, skipped: Callable[[str], None] | None = None, *, watcher: Watcher | None = None
) -> Iterator[tuple[TraceReader, TraceRequest]]:
    """Every wanted request with the trace it is in.

    Of a folder, what is no trace is left out, and a damaged one ends where the damage is; ``skipped``, or the
    ``watcher``, is told.

    Raises:
        TraceError: a file that was named explicitly cannot be read.
    """
    watcher = watcher or Watcher(skipped)
    named = {path for path in paths if not path.is_dir()}
    ends: dict[str, int] = {}
    for path in find_traces(paths):
        tell = watcher.passed_over
        try:
            with TraceReader(path) as trace:
                tell = watcher.damaged
                for request in read_through(trace, watcher, ends):
                    if wanted.matches(request):
                        yield trace, request
        except TraceError as error:
            if path in named:
                raise
            tell = watcher.damaged if isinstance(error, DamagedDataError) else tell
            tell(str(error))


def row_of(trace: TraceReader, request: TraceRequest) -> dict[str, Any]:
    """A request as one flat row."""
    error = request.error or {}
    return {
        "file": str(trace.path),
        "seq": request.seq,
        "timestamp": request.line.get("timestamp"),
        "episode": request.episode,
        "instruction": request.instruction,
        "status": "success" if request.ok else "failed",
        "http_status": request.status,
        "latency_ms": request.latency_ms,
        "error": error.get("slug"),
        "message": error.get("message"),
        "request_id": request.line.get("request_id"),
        "trace_id": request.line.get("trace_id"),
    }


@define
class _Tally:
    count: int = 0
    failed: int = 0
    latencies: array[float] = Factory(lambda: array("d"))


def summarise(found: Iterable[tuple[TraceReader, TraceRequest]], by: Bucket) -> list[dict[str, Any]]:
    """One row per bucket: counts, success rate (0 to 1), latency percentiles of the successful requests (ms)."""
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    for trace, request in found:
        tally = tallies[_bucket(trace, request, by)]
        tally.count += 1
        if not request.ok:
            tally.failed += 1
        elif request.latency_ms is not None:
            tally.latencies.append(request.latency_ms)
    return [_summary_row(name, tallies[name]) for name in sorted(tallies)]


def _bucket(trace: TraceReader, request: TraceRequest, by: Bucket) -> str:
    if by is Bucket.EPISODE:
        return request.episode or "(none)"
    if by is Bucket.MODEL:
        return str(trace.header.get("model_hash") or "(unknown)")
    if by is Bucket.TASK:
        return request.instruction[:_TASK_LENGTH] or "(none)"
    return str(request.line.get("timestamp") or "(unknown)")[:10]


def _summary_row(name: str, tally: _Tally) -> dict[str, Any]:
    values = sorted(tally.latencies)
    good = tally.count - tally.failed
    return {
        "bucket": name,
        "count": tally.count,
        "success_count": good,
        "failed_count": tally.failed,
        "success_rate": round(good / tally.count, 4),
        "latency_p50_ms": percentile(values, 50),
        "latency_p95_ms": percentile(values, 95),
        "latency_p99_ms": percentile(values, 99),
        "latency_max_ms": values[-1] if values else None,
    }


def percentile(ordered: list[float], percent: float) -> float | None:
    """The percentile of sorted values, interpolated linearly; None if there are none."""
    if not ordered:
        return None
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
