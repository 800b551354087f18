"""What a page has of a black box: alone, or with the session of its run, on whose time line its events are put."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horus_async.blackbox import ANOMALIES, BlackBoxReader, open_blackbox
from horus_async.blackbox.events import (
    LOG,
    BudgetViolation,
    Custom,
    DeadlineMiss,
    EmergencyStop,
    Event,
    FailurePolicy,
    NodeAdded,
    NodeError,
    NodeTick,
    Record,
    SchedulerStart,
    SchedulerStop,
    Watchdog,
)
from horus_async.blackbox.layout import PAGE, read_file_header
from horus_async.blackbox.reader import Filter, node_of
from horus_async.clock.system import iso_utc, parse_iso_utc
from horus_async.errors import BlackBoxError
from horus_async.recorder.log_lines import LEVELS, LogLine
from horus_async.view.parts.budget import Budget
from horus_async.view.parts.incidents import BAD, INFO, Incident, Incidents, LogLines
from horus_async.view.parts.lanes import Lane

if TYPE_CHECKING:
    from horus_async.recorder import Session

    from .recording import SessionReading

SUFFIX = ".hbb"
_APART_NS = 10_000_000_000
"""A box is begun when its run is, and so is the recording: at most so long apart, in ns."""
_MOST_CALLS = 12_000


def is_box(name: str) -> bool:
    """Whether a word of a command line is a black box: a file that begins as one, or is called like one."""
    path = Path(name)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(15) == b"HORUS-BLACKBOX " or path.suffix == SUFFIX
    except (OSError, ValueError):
        return False


def box_of(session: Session, folder: Path) -> Path | None:
    """The black box of the run that a session recorded, among those in a folder; None if there is none.

    It began within seconds of the recording, and its nodes are the recorded ones. Of several the nearest counts.
    """
    try:
        started_ns = parse_iso_utc(session.started_at)
    except ValueError:
        return None
    near = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            with path.open("rb") as file:
                header, _ = read_file_header(file.read(PAGE))
        except (OSError, ValueError):
            continue
        apart = abs(header.started_ns - started_ns)
        if apart <= _APART_NS:
            near.append((apart, path))
    for _, path in sorted(near):
        try:
            with open_blackbox(path) as box:
                if is_of_run(box, session):
                    return path
        except BlackBoxError:
            continue
    return None


def is_of_run(box: BlackBoxReader, session: Session) -> bool:
    """Whether a box and a session are of one run, as far as its start and its nodes tell."""
    try:
        started_ns = parse_iso_utc(session.started_at)
    except ValueError:
        return False
    if abs(box.header.started_ns - started_ns) > _APART_NS:
        return False
    names = {name for record in box.iterate(Filter.of((SchedulerStart, NodeAdded))) for name in _names(record)}
    return not names or set(session.nodes) <= names


def _names(record: Record) -> tuple[str, ...]:
    event = record.event
    return event.names if isinstance(event, SchedulerStart) else (event.name,) if isinstance(event, NodeAdded) else ()


def join_box(reading: SessionReading, box: BlackBoxReader) -> None:
    """Put what a box says of a run on the time line of its session: by ticks, as a virtual clock is not the wall's."""
    failed = [(one.node, one.tick or 0) for one in reading.incidents.kept() if one.kind == "NodeError"]
    wanted = Filter.of((*ANOMALIES, Custom, SchedulerStop))
    times = reading.times
    for record in box.iterate(wanted):
        if not times.first <= record.tick <= times.last + 1:
            continue
        if reading.session.deterministic:
            at = times.of_tick(record.tick)
        else:
            at = times.at(record.time_ns, record.tick)
        event = record.event
        if isinstance(event, NodeError) and any(n == event.name and 0 <= record.tick - t <= 1 for n, t in failed):
            reading.incidents.tell_more(event.name, record.tick, event.traceback or "")
            continue  # the session has it, too
        incident = incident_of(record, at)
        if incident is not None:
            reading.note(incident)
    reading.remarks.append(
        f"Deadline misses, overruns, changes of policies and tracebacks are from {box.path.name}, the black box of the "
        "same run."
    )
    oldest = next(box.iterate(Filter()), None)
    if box.lost and oldest is not None:
        reading.notes.append(
            f"the black box {box.path.name} has overwritten its oldest {box.lost:,} events: misses, overruns and "
            f"changes of policies before tick {oldest.tick:,} are not known"
        )
    reading.notes += [f"{box.path.name}: damaged: {note}" for note in box.damage]


def incident_of(record: Record, at_us: int) -> Incident | None:
    """An event as the page shows it; None for what is no incident, as ticks and logs are."""
    event = record.event
    said = _said(event)
    if said is None:
        return None
    more = {NodeError: "traceback", Watchdog: "stack"}.get(type(event))
    text = "" if more is None else getattr(event, more) or ""
    level = BAD if record.is_anomaly else INFO
    return Incident(at_us, record.tick, node_of(event), record.kind, level, said, text)


def _said(event: Event) -> str | None:
    said: str | None
    match event:
        case DeadlineMiss():
            said = f"missed its deadline: {_ms(event.actual_us)} instead of {_ms(event.deadline_us)}"
        case BudgetViolation():
            said = f"took longer than its budget: {_ms(event.actual_us)} instead of {_ms(event.budget_us)}"
        case NodeError():
            said = f"failed: {event.error}"
        case FailurePolicy():
            said = f"failure policy {event.policy}: {event.from_} → {event.to}"
        case Watchdog():
            said = f"watchdog, {event.stage}: one tick takes far too long"
        case EmergencyStop():
            said = f"emergency stop: {event.reason}"
        case SchedulerStop():
            said = f"the run ended: {event.reason}"
        case SchedulerStart():
            said = f"the run began: {event.nodes} nodes"
        case Custom() if event.category != LOG:
            said = f"{event.category}: {event.message}"
        case _:
            said = None
    return said


def _ms(us: Any) -> str:
    return f"{us / 1000:g} ms" if isinstance(us, int | float) else str(us)


def box_source(box: BlackBoxReader, budget: Budget | None = None) -> dict[str, Any]:
    """What a page has of a black box alone. Times are the wall clock's, from the first event that it still has.

    Raises:
        BlackBoxError: It cannot be read, or holds nothing.
    """
    budget = budget or Budget()
    records = list(box.iterate(Filter()))
    if not records:
        raise BlackBoxError(f"{box.path} holds no events")
    origin = min(record.time_ns for record in records)
    begins = [r.time_ns - r.event.duration_us * 1000 for r in records if isinstance(r.event, NodeTick)]
    origin = min([origin, *begins]) // 1000 * 1000
    end = max(1, (max(record.time_ns for record in records) - origin) // 1000 + 1)
    width = max(1, -(-end // budget.lane_buckets))
    found = _Found(origin, width, budget, skipped=max(0, len(begins) - _MOST_CALLS))
    for record in records:
        found.add(record)
    notes = [f"damaged: {note}" for note in box.damage]
    if box.lost:
        notes.append(f"{box.lost} older events have been overwritten: the page begins with event {records[0].seq}")
    if not any(isinstance(record.event, SchedulerStop) for record in records):
        notes.append("the box has no end of the run: it still runs, or its process was killed")
    ticks = [[records[0].tick, (records[0].time_ns - origin) // 1000], [records[-1].tick, end]]
    return {
        "kind": "blackbox",
        "name": box.path.name,
        "started_at": iso_utc(box.header.started_ns),
        "mode": "black box",
        "tick_rate": next((r.event.rate for r in records if isinstance(r.event, SchedulerStart)), None),
        "seed": None,
        "begin": 0,
        "end": end,
        "wall": origin // 1000,
        "ticks": ticks,
        "notes": notes,
        "remarks": [],
        "nodes": found.nodes(),
        "bucket": width,
        "incidents": found.incidents.rows(),
        "incident_counts": found.incidents.count_rows(),
        "incidents_left_out": found.incidents.left_out,
        "log": found.log.rows(),
        "log_counts": dict(found.log.counts),
        "log_left_out": found.log.left_out,
        "channels": [],
        "calls": found.calls,
        "detail": found.covered(end),
        "series": [],
        "fields_left_out": 0,
        "images": [],
        "params": [],
    }


class _Found:
    """What a box holds, as it is read."""

    def __init__(self, origin_ns: int, width: int, budget: Budget, *, skipped: int) -> None:
        self._origin, self._width, self._budget = origin_ns, width, budget
        self._lanes: dict[str, Lane] = {}
        self.incidents = Incidents(budget.events)
        self.log = LogLines(budget.log_lines)
        self.calls: dict[str, dict[str, list[Any]]] = {}
        self._skip = skipped
        """So many ticks are not there one by one, as the last ones are worth more."""
        self._whole_from: int | None = None if skipped else 0

    def add(self, record: Record) -> None:
        """One more event."""
        at, event, node = (record.time_ns - self._origin) // 1000, record.event, node_of(record.event)
        for name in (*_names(record), *([node] if node else [])):
            if name not in self._lanes:
                self._lanes[name] = Lane(0, self._width, self._budget.lane_buckets)
        if isinstance(event, NodeTick):
            self._tick(record, event, at)
        elif isinstance(event, Custom) and event.category == LOG:
            self._log(record, event, node, at)
        else:
            incident = incident_of(record, at)
            if incident is not None:
                self.incidents.add(incident)
                if node in self._lanes and incident.level == BAD:
                    self._lanes[node].note(at)
                    self._lanes[node].errors += incident.kind == "NodeError"

    def _log(self, record: Record, event: Custom, node: str | None, at: int) -> None:
        level, more = str(event.data.get("level") or "WARNING"), event.data.get("exception")
        line = LogLine(
            tick=record.tick,
            now_ns=record.time_ns,
            node=node,
            level=level,
            message=str(event.message),
            at_tick=record.tick,
            levelno=LEVELS.get(level, logging.WARNING),
            exception=str(more) if more else None,
        )
        self.log.add(line, at)

    def _tick(self, record: Record, event: NodeTick, at: int) -> None:
        took = event.duration_us or 0
        lane = self._lanes[event.name]
        lane.add(at - took, took)
        lane.ticks += 1
        if took > lane.longest or lane.longest_at is None:
            lane.longest, lane.longest_at = took, at - took
        if self._skip > 0:
            self._skip -= 1
            return
        if self._whole_from is None:
            self._whole_from = at
        columns = {"tick": record.tick, "t": at - took, "dur": took, "kind": 0, "in": [], "saw": []}
        columns["error"] = None if event.success else "failed"
        for name, value in columns.items():
            self.calls.setdefault(event.name, {}).setdefault(name, []).append(value)

    def covered(self, end: int) -> list[list[int]] | None:
        """The spans in which every tick is there; None if all are."""
        return [[self._whole_from, end]] if self._whole_from else None

    def nodes(self) -> list[dict[str, Any]]:
        """Its nodes, with their time lines."""
        return [
            {
                "name": name, "rate": None, "on": [], "subs": [], "pubs": [], "calls": lane.calls, "ticks": lane.ticks,
                "errors": lane.errors, "skipped": None, "longest": lane.longest, "longest_at": lane.longest_at,
                "lane": lane.fields(),
            }
            for name, lane in self._lanes.items()
        ]  # fmt: skip
