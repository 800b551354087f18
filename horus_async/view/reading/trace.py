"""What a page has of a policy server's trace: requests as ticks of a lane, latencies and actions as plots."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horus_async.policy.trace.reader import TraceReader, is_trace
from horus_async.view.parts.budget import Budget
from horus_async.view.parts.details import Calls, Channels
from horus_async.view.parts.images import picture
from horus_async.view.parts.incidents import BAD, Incident, Incidents
from horus_async.view.parts.lanes import Lane
from horus_async.view.parts.series import SeriesSet
from horus_async.view.parts.values import ELEMENTS, numbers, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.policy.trace.request import TraceRequest

LANE = "policy"
_ROOM_OF_REQUEST = 60
_HEADER = ("model_hash", "embodiment", "session_id", "horus_version", "reflex_version", "started_at", "redaction")


def is_trace_file(name: str) -> bool:
    """Whether a word of a command line is the trace of a policy server."""
    try:
        return Path(name).is_file() and is_trace(name)
    except (OSError, ValueError):
        return False


def trace_source(
    path: str, budget: Budget | None = None, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """What a page has of a trace.

    Raises:
        TraceError: It is none, or a line in its middle is damaged.
    """
    budget = budget or Budget()
    begin_ns, end_ns, count = _span(path)
    width = max(1, -(-max(1, (end_ns - begin_ns) // 1000) // budget.lane_buckets))
    found = _Requests(begin_ns, width, budget, count)
    with TraceReader(path) as trace:
        for number, request in enumerate(trace.requests(), 1):
            found.add(request)
            if progress is not None:
                progress(number)
        notes = list(trace.notes)
        header = {name: trace.header.get(name) for name in _HEADER if trace.header.get(name) is not None}
    found.series.fit(budget.series_points)
    return {
        "kind": "trace",
        "name": Path(path).name,
        "started_at": str(header.get("started_at") or ""),
        "mode": "policy trace",
        "tick_rate": None,
        "seed": None,
        "begin": 0,
        "end": max(1, (end_ns - begin_ns) // 1000 + 1),
        "wall": begin_ns // 1000,
        "ticks": [],
        "notes": [*notes, *found.notes()],
        "remarks": [],
        "nodes": [found.node()],
        "bucket": width,
        "incidents": found.incidents.rows(),
        "incident_counts": found.incidents.count_rows(),
        "incidents_left_out": found.incidents.left_out,
        "log": [],
        "log_counts": {},
        "log_left_out": 0,
        "channels": [channel.fields() for channel in found.channels.all],
        "calls": {LANE: found.calls.fields()},
        "detail": found.covered(),
        "series": found.series.rows(),
        "fields_left_out": len(found.series.left_out),
        "images": found.images(),
        "params": [{"node": LANE, "name": name, "t": None, "value": value} for name, value in header.items()],
    }


def _span(path: str) -> tuple[int, int, int]:
    """From when to when its requests were answered, and how many they are."""
    times: list[int] = []
    count = 0
    with TraceReader(path) as trace:
        for request in trace.requests():
            count += 1
            if request.timestamp_ns is not None:
                took = round((request.latency_ms or 0) * 1e6)
                times += [request.timestamp_ns - took, request.timestamp_ns]
    return (min(times), max(times), count) if times else (0, count * 1_000_000, count)


class _Requests:
    """The requests of a trace, as they are read."""

    def __init__(self, begin_ns: int, width: int, budget: Budget, count: int) -> None:
        self._begin, self._budget = begin_ns, budget
        self._lane = Lane(0, width, budget.lane_buckets)
        self.incidents = Incidents(budget.events)
        self.channels = Channels()
        self._asked = self.channels.number("request", "client")
        self._answered = self.channels.number("answer", LANE)
        self.calls = Calls()
        self.series = SeriesSet(budget.fields, budget.field_points)
        self._room = budget.detail_bytes
        self._every = max(1, count // max(1, budget.images))
        self._image_room = budget.image_bytes
        self._images: dict[int, list[dict[str, Any]]] = {}
        self._image_counts: dict[int, int] = {}
        self._whole_until: int | None = None
        self._last_at = 0
        self._untimed = 0

    def add(self, request: TraceRequest) -> None:
        """One more request."""
        took = round((request.latency_ms or 0) * 1000)
        stamp = request.timestamp_ns
        if stamp is None:
            self._untimed += 1
            at = self._last_at + 1
        else:
            at = (stamp - self._begin) // 1000 - took
        self._last_at = max(at, self._last_at)
        self._lane.add(at, took)
        self._lane.ticks += 1
        if took > self._lane.longest or self._lane.longest_at is None:
            self._lane.longest, self._lane.longest_at = took, at
        self.channels.all[self._asked].see(at)
        self.channels.all[self._answered].see(at + took)
        if not request.ok:
            self._failed(request, at + took)
        self._plot(request, at, took)
        self._keep(request, at, took)
        self._pictures(request, at)

    def _failed(self, request: TraceRequest, at: int) -> None:
        error = request.error or {}
        self._lane.errors += 1
        self._lane.note(at)
        text = f"request {request.seq} failed: {error.get('slug') or 'error'}: {error.get('message') or ''}"
        self.incidents.add(Incident(at, request.seq, LANE, "RequestError", BAD, text))

    def _plot(self, request: TraceRequest, at: int, took: int) -> None:
        if request.latency_ms is not None:
            self.series.add(self._answered, "latency_ms", at + took, float(request.latency_ms))
        first = request.actions[0] if request.actions else None
        row = first if isinstance(first, list) else request.actions
        for place, value in enumerate(row[:ELEMENTS]):
            if isinstance(value, int | float):
                self.series.add(self._answered, f"actions[0][{place}]", at + took, float(value))
        for field, value in numbers({"state": request.request.get("state")}):
            self.series.add(self._asked, field, at, value)

    def _keep(self, request: TraceRequest, at: int, took: int) -> None:
        if self._room <= 0:
            self._whole_until = at if self._whole_until is None else self._whole_until
            if request.ok:
                return
        call = len(self.calls.rows)
        fields = request.request.items()
        asked = {name: value for name, value in fields if not name.endswith("_b64") and name != "image"}
        shown = shortened({**asked, "episode": request.episode}, self._budget.value_bytes)
        answer = shortened({"actions": request.actions, "error": request.error}, self._budget.value_bytes)
        self._room -= len(str(shown)) + len(str(answer)) + _ROOM_OF_REQUEST
        self.channels.all[self._asked].rows[request.seq] = at, request.seq, None, shown
        self.channels.all[self._answered].rows[request.seq] = at + took, request.seq, call, answer
        error = None if request.ok else str((request.error or {}).get("message"))
        named = [self._asked, request.seq]
        self.calls.rows.append(
            {"tick": request.seq, "t": at, "dur": took, "kind": 0, "in": named, "saw": [], "error": error}
        )

    def _pictures(self, request: TraceRequest, at: int) -> None:
        for name, text in request.images().items():
            number = self.channels.number(f"request.{name}", "client")
            channel = self.channels.all[number]
            channel.see(at)
            self._image_counts[number] = self._image_counts.get(number, 0) + 1
            if (self._image_counts[number] - 1) % self._every or self._image_room <= 0 or not isinstance(text, str):
                continue
            try:
                head = text.partition(",")[2] if text.startswith("data:") else text
                base64.b64decode(head, validate=True)
            except (binascii.Error, ValueError):
                continue
            made = picture({"$bytes": head}, self._budget.image_side)
            if made is not None:
                self._image_room -= len(made[0])
                row = {"seq": request.seq, "t": at, "tick": request.seq, "said": made[1], "src": made[0]}
                self._images.setdefault(number, []).append(row)

    def covered(self) -> list[list[int]] | None:
        """The span in which every request is there; None if all are."""
        return None if self._whole_until is None else [[0, self._whole_until]]

    def notes(self) -> list[str]:
        """What is to be known of it."""
        return [f"{self._untimed} requests have no time, and stand one after the other"] if self._untimed else []

    def images(self) -> list[dict[str, Any]]:
        """Those that are in the page."""
        return [
            {"channel": number, "count": count, "images": self._images.get(number, [])}
            for number, count in self._image_counts.items()
        ]

    def node(self) -> dict[str, Any]:
        """The policy, as a node of the time line."""
        lane = self._lane
        return {
            "name": LANE, "rate": None, "on": ["request"], "subs": [], "pubs": ["answer"], "calls": lane.calls,
            "ticks": lane.ticks, "errors": lane.errors, "skipped": None, "longest": lane.longest,
            "longest_at": lane.longest_at, "lane": lane.fields(),
        }  # fmt: skip
