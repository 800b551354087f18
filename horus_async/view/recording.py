"""What a page has of a recorded session. Reads it twice: once for what is counted and plotted, once for the details."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.errors import DamagedRecordingError, RecordingError
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.read.info import session_notes, type_name
from horus_async.recorder.records import ExecutionRecord, GapRecord, SendsRecord

from .budget import Budget
from .details import Channels, Details
from .images import image_in, picture
from .incidents import BAD, INFO, WARNING, Incident, Incidents, LogLines
from .lanes import Lane
from .series import SeriesSet
from .values import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.recorder import Session

    Progress = Callable[[int], None]

_BEFORE, _MEASURED = 0.7, 32
_MOST_WINDOWS = 10
_SAMPLE_BYTES = 800
_PARAMS = "params/reply"
_MOST_CHANGES = 500


class SessionReading:
    """Reads a session, or a range of its ticks, for a page.

    Args:
        session: The session.
        start: The first tick, None for that of the session; ``stop`` is the last one.
        stop: See there.
        budget: How much of it goes in.
        progress: Told how many callbacks were read.
    """

    def __init__(
        self,
        session: Session,
        start: int | None = None,
        stop: int | None = None,
        *,
        budget: Budget | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.session = session
        self.budget = budget or Budget()
        self.incidents = Incidents(self.budget.events)
        self.log = LogLines(self.budget.log_lines)
        self.channels = Channels()
        self.series = SeriesSet(self.budget.fields, self.budget.field_points)
        self.details = Details(self.channels, self.budget.detail_bytes, self.budget.value_bytes)
        self.notes: list[str] = []
        """What the page says besides what is missing from the session."""
        self._start, self._stop = start, stop
        self._progress = progress or (lambda _: None)
        self._fixed_origin = session.start_ns if session.deterministic or session.scheduler is None else None
        if self._fixed_origin is None and not session.clock.was_set:
            self._fixed_origin = session.clock.origin_ns(0)
        self._ticks: list[int] = []
        self._times: list[int] = []
        self._read_ticks()
        self.begin_us, self.end_us = self._span()
        width = max(1, -(-(self.end_us - self.begin_us) // self.budget.lane_buckets))
        self.lanes = {node: Lane(self.begin_us, width, self.budget.lane_buckets) for node in session.nodes}
        self.width_us = width
        self.params: list[dict[str, Any]] = []
        self._changes_left_out = 0
        self._images: dict[int, list[tuple[str, int, int]]] = {}
        self._last_params: dict[str, dict[str, Any]] = {}
        self._cost: dict[int, float] = {}
        self._notable: list[tuple[int, int]] = []
        """Rank and tick of moments whose surroundings go in one by one."""
        self._done = 0

    # -- time ----------------------------------------------------------------------------------------------------------

    def at(self, ns: int, tick: int, *, external: bool = False) -> int:
        """µs since the run began, of a time of day in a tick."""
        if self._fixed_origin is not None:
            return (ns - self._fixed_origin) // 1000
        return self.session.clock.sent_ns(ns, tick, external=external) // 1000

    def tick_at(self, tick: int) -> int:
        """µs since the run began, of a tick."""
        place = bisect_left(self._ticks, tick)
        if place < len(self._ticks):
            return self._times[place]
        rate = self.session.tick_rate or 1.0
        last = (self._ticks[-1], self._times[-1]) if self._ticks else (0, 0)
        return last[1] + round((tick - last[0]) * 1e6 / rate)

    def _read_ticks(self) -> None:
        deterministic = self.session.deterministic
        for line in self.session.scheduler_ticks(self._start, self._stop):
            if self._ticks and line.tick <= self._ticks[-1]:
                continue  # a repeated replay starts over
            ns = self.session.clock.elapsed_of(line) if not deterministic else line.now_ns - self.session.start_ns
            self._ticks.append(line.tick)
            self._times.append(ns // 1000)

    def _span(self) -> tuple[int, int]:
        if self._ticks:
            last = round(1e6 / (self.session.tick_rate or 1.0))
            return self._times[0], max(self._times[-1] + last, self._times[0] + 1)
        first = self.session.first_tick if self._start is None else self._start
        last_tick = self.session.last_tick if self._stop is None else self._stop
        begin, end = self.tick_at(first or 0), self.tick_at((last_tick or 0) + 1)
        return begin, max(end, begin + 1)

    # -- the first pass ------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read everything once.

        Raises:
            DamagedRecordingError: A file became unreadable meanwhile.
        """
        for node, info in self.session.nodes.items():
            for name, value in info.params.items():
                self._last_params.setdefault(node, {})[name] = value
                self.params.append({"node": node, "name": name, "t": None, "value": value})
            self._read_node(node, info.rate)
        for message in self.session.external(self._start, self._stop):
            at = self.at(message.stamp_ns, message.tick, external=True)
            number = self.channels.number(message.topic, message.publisher, message.source)
            self.channels.all[number].external = True
            self._message(number, message.seq, at, message.tick, message.data, "")
        for line in self.session.log.select(start=self._start, stop=self._stop):
            at = self.at(line.now_ns, line.at_tick)
            self.log.add(line, at)
            if line.levelno >= 30:
                self._notable.append((3, line.at_tick))
        if self._changes_left_out:
            self.notes.append(f"{self._changes_left_out} later changes of parameters are not on this page")

    def _read_node(self, node: str, rate: float | None) -> None:
        lane = self.lanes[node]
        period = None if rate is None else 1e9 / rate
        first = True
        for line in self.session.executions(node, self._start, self._stop):
            if isinstance(line, GapRecord):
                self._gap(node, line)
                continue
            if isinstance(line, ExecutionRecord):
                at = self.at(line.now_ns, line.tick)
                self._call(node, lane, line, at)
                if line.kind == "tick":
                    if period is not None and not first and line.dt_ns >= 1.5 * period:
                        lane.skipped += round(line.dt_ns / period) - 1
                    first = False
            for sent in line.outputs:
                number = self.channels.number(sent.topic, node)
                self._message(number, sent.seq, self.at(sent.stamp_ns, sent.tick), sent.tick, sent.data, node)
            self._done += 1
            self._progress(self._done)

    def _call(self, node: str, lane: Lane, line: ExecutionRecord, at: int) -> None:
        took = line.duration_ns // 1000
        lane.add(at, took)
        if line.kind == "tick":
            lane.ticks += 1
            if took > lane.longest or lane.longest_at is None:
                lane.longest, lane.longest_at = took, at
        if line.error is not None and not line.was_cut:
            lane.errors += 1
            self.note(Incident(at + took, line.tick, node, "NodeError", BAD, f"{line.kind} failed: {line.error}"))
        if line.kind == "safe_state":
            self.note(Incident(at, line.tick, node, "SafeState", WARNING, "entered its safe state"))

    def _gap(self, node: str, line: GapRecord) -> None:
        text = f"{line.dropped} messages or lines are missing here: {line.reason}"
        self.note(Incident(self.tick_at(line.tick), line.tick, node, "Gap", WARNING, text))

    def note(self, incident: Incident) -> None:
        """Something that happened."""
        self.incidents.add(incident)
        if incident.level == INFO:
            return
        if incident.node in self.lanes and incident.level == BAD:
            self.lanes[incident.node].note(incident.t)
        if incident.tick is not None and self.incidents.counts[incident.kind, incident.node or ""] <= 3:
            rank = 0 if incident.level == BAD else 2
            self._notable.append((rank, incident.tick))

    def mark(self, tick: int) -> None:
        """Let the surroundings of a tick go in one by one, before all else."""
        self._notable.append((-1, tick))

    def _message(self, number: int, seq: int, at: int, tick: int, data: Any, node: str) -> None:
        channel = self.channels.all[number]
        count = channel.count
        channel.see(at)
        if not channel.type and data is not None:
            channel.type = type_name(data)
        if count % _MEASURED == 0:
            channel.image = channel.image or (type(data) is dict and image_in(data) is not None)
            size = len(orjson.dumps(data))
            known = self._cost.get(number, size)
            self._cost[number] = max(known, size) if count < 4 * _MEASURED else known * 0.9 + size * 0.1
        if channel.image and image_in(data) is not None:
            self._images.setdefault(number, []).append((node, tick, seq))
        if channel.topic == _PARAMS:
            self._changed(at, data)
        for field, value in numbers(data):
            self.series.add(number, field, at, value)

    def _changed(self, at: int, data: Any) -> None:
        """What the reply to a change of parameters says."""
        if not isinstance(data, dict) or not isinstance(data.get("value"), dict):
            return
        node = str(data.get("node"))
        known = self._last_params.setdefault(node, {})
        for name, value in data["value"].items():
            if name in known and known[name] == value:
                continue
            known[name] = value
            if len(self.params) < _MOST_CHANGES:
                self.params.append({"node": node, "name": name, "t": at, "value": value})
            else:
                self._changes_left_out += 1

    # -- the second pass -----------------------------------------------------------------------------------------------

    def read_details(self) -> list[list[int]]:
        """Read what goes in one by one; returns the spans of time, in µs, that it covers."""
        windows = self._windows()
        covered = []
        for first, last in windows:
            if self.details.room <= 0:
                break
            self._read_window(first, last)
            covered.append([self.tick_at(first), self.tick_at(last + 1)])
        if not self._is_all(windows):
            self._read_samples()
        return [] if self._is_all(windows) else sorted(covered)

    def _bounds(self) -> tuple[int, int]:
        first = self.session.first_tick if self._start is None else self._start
        last = self.session.last_tick if self._stop is None else self._stop
        return first or 0, max(last or 0, first or 0)

    def _is_all(self, windows: list[tuple[int, int]]) -> bool:
        return windows == [self._bounds()]

    def _windows(self) -> list[tuple[int, int]]:
        """Ranges of ticks, the most notable ones first; one of all ticks where there is room for them."""
        first, last = self._bounds()
        most = self.budget.value_bytes
        messages = sum((min(self._cost.get(n, 0), most) + 24) * c.count for n, c in enumerate(self.channels.all))
        total = messages + sum(lane.calls * 60 for lane in self.lanes.values())
        if total <= self.budget.detail_bytes:
            return [(first, last)]
        moments: list[int] = []
        for _, tick in sorted(set(self._notable)):
            if first <= tick <= last and tick not in moments:
                moments.append(tick)
        moments = [*moments[: _MOST_WINDOWS - 2], first, last]
        span = max(4, round(self.budget.detail_bytes * 0.8 / len(moments) * (last - first + 1) / total))
        spans = []
        for tick in moments:
            begin = max(first, tick - round(span * _BEFORE))
            spans.append((begin, min(last, begin + span)))
        return _merged(spans)

    def _read_window(self, first: int, last: int) -> None:
        for node in self.session.nodes:
            for line in self.session.executions(node, first, last):
                if isinstance(line, ExecutionRecord):
                    if not first <= line.tick <= last:
                        continue
                    call = self.details.call(node, line, self.at(line.now_ns, line.tick))
                    self._keep(node, line, call)
                elif isinstance(line, SendsRecord):
                    self._keep(node, line, None)
        for message in self.session.external(first, last):
            number = self.channels.number(message.topic, message.publisher, message.source)
            at = self.at(message.stamp_ns, message.tick, external=True)
            self.details.message(number, message.seq, at, message.tick, message.data)

    def _keep(self, node: str, line: ExecutionRecord | SendsRecord, call: int | None) -> None:
        for sent in line.outputs:
            number = self.channels.number(sent.topic, node)
            at = self.at(sent.stamp_ns, sent.tick)
            kept = self.details.message(number, sent.seq, at, sent.tick, sent.data, call)
            if kept and call is None and line.tick is not None:
                self.details.sent_during(node, line.tick, number, sent.seq)

    def _read_samples(self) -> None:
        """Some messages of each topic that are there in any case, spread over the time."""
        first, last = self._bounds()
        many = self.budget.samples
        room = self.budget.detail_bytes // 4
        of_topics = max(1, len(self.channels.all))
        many = max(2, min(many, room // (of_topics * 300)))
        step = max(1, (last - first + 1) // many)
        reach = max(1, min(step, round(self.session.tick_rate)))
        for begin in range(first, last + 1, step):
            for node in self.session.nodes:
                seen: set[str] = set()
                for line in self.session.executions(node, begin, begin + reach - 1):
                    for sent in getattr(line, "outputs", ()):
                        if sent.topic in seen:
                            continue
                        seen.add(sent.topic)
                        number = self.channels.number(sent.topic, node)
                        at = self.at(sent.stamp_ns, sent.tick)
                        self.details.message(number, sent.seq, at, sent.tick, sent.data, forced=True)

    def read_images(self) -> list[dict[str, Any]]:
        """Some images of each topic, spread over the time."""
        found = []
        room = self.budget.image_bytes // max(1, len(self._images))
        for number, places in self._images.items():
            channel = self.channels.all[number]
            left = room
            shown: list[dict[str, Any]] = []
            for node, tick, seq in _spread(places, self.budget.images):
                made = self._image(node, channel.topic, channel.publisher, tick, seq)
                if made is None:
                    continue
                left -= len(made[2])
                if left < 0:
                    break
                shown.append({"seq": seq, "t": made[0], "tick": tick, "said": made[1], "src": made[2]})
            found.append({"channel": number, "count": len(places), "images": shown})
        return found

    def _image(self, node: str, topic: str, publisher: str, tick: int, seq: int) -> tuple[int, str, str] | None:
        messages: Iterable[Any]
        if node:
            messages = (s for line in self.session.executions(node, tick, tick) for s in getattr(line, "outputs", ()))
        else:
            messages = (m for m in self.session.external(tick, tick) if m.publisher == publisher)
        for message in messages:
            if message.topic == topic and message.seq == seq:
                image = image_in(message.data)
                made = None if image is None else picture(image, self.budget.image_side)
                return None if made is None else (self.at(message.stamp_ns, message.tick), made[1], made[0])
        return None


def session_source(reading: SessionReading) -> dict[str, Any]:
    """What a page has of a session: reads what is left to be read, and puts it together.

    Raises:
        RecordingError: Nothing of it can be read.
    """
    session, budget = reading.session, reading.budget
    spans = reading.read_details()
    images = reading.read_images()
    reading.series.fit(budget.series_points)
    is_wall = not session.deterministic
    return {
        "kind": "session",
        "name": session.name,
        "started_at": session.started_at,
        "mode": "virtual time" if session.deterministic else "real time",
        "tick_rate": session.tick_rate,
        "seed": session.seed,
        "begin": reading.begin_us,
        "end": reading.end_us,
        "wall": _wall_us(session) if is_wall else None,
        "ticks": _tick_map(reading),
        "notes": [*_warnings(session), *reading.notes],
        "nodes": [_node(reading, node) for node in session.nodes],
        "bucket": reading.width_us,
        "incidents": reading.incidents.rows(),
        "incident_counts": reading.incidents.count_rows(),
        "incidents_left_out": reading.incidents.left_out,
        "log": reading.log.rows(),
        "log_counts": dict(reading.log.counts),
        "log_left_out": reading.log.left_out,
        "channels": [channel.fields() for channel in reading.channels.all],
        "calls": {node: calls.fields() for node, calls in reading.details.calls.items()},
        "detail": spans,
        "series": reading.series.rows(),
        "fields_left_out": len(reading.series.left_out),
        "images": images,
        "params": reading.params,
    }


def _wall_us(session: Session) -> int:
    return session.start_ns // 1000


def _tick_map(reading: SessionReading) -> list[list[int]]:
    """Some ticks and their times, between which the page reckons."""
    ticks, times = reading._ticks, reading._times  # noqa: SLF001 - the same module
    if not ticks:
        return []
    step = max(1, len(ticks) // 1000)
    places = sorted({*range(0, len(ticks), step), len(ticks) - 1})
    each = 1e6 / (reading.session.tick_rate or 1.0)
    if all(abs(times[place] - times[0] - (ticks[place] - ticks[0]) * each) <= 1 for place in places):
        places = [0, len(ticks) - 1]
    return [[ticks[place], times[place]] for place in places]


def _node(reading: SessionReading, node: str) -> dict[str, Any]:
    info, lane = reading.session.nodes[node], reading.lanes[node]
    return {
        "name": node,
        "rate": info.rate,
        "on": list(info.on),
        "subs": list(info.subs),
        "pubs": list(info.pubs),
        "calls": lane.calls,
        "ticks": lane.ticks,
        "errors": lane.errors,
        "skipped": lane.skipped if info.rate is not None else None,
        "longest": lane.longest,
        "longest_at": lane.longest_at,
        "lane": lane.fields(),
    }


def _warnings(session: Session) -> list[str]:
    """What is missing from the session, or was changed, in words."""
    notes = session_notes(session)
    notes += [f"{node}: {why}" for node, why in session.missing_nodes.items()]
    try:
        manifest = read_manifest(session.path) or {}
    except (DamagedRecordingError, RecordingError):
        manifest = {}
    redacted = manifest.get("redacted")
    if isinstance(redacted, dict):
        each = ", ".join(f"{pattern} ({how})" for pattern, how in redacted.items())
        notes.append(f"redacted when it was recorded, and so on this page: {each}")
    if session.filtered:
        chosen = manifest.get("filter") or {}
        each = "; ".join(f"{name}: {', '.join(map(str, value))}" for name, value in chosen.items())
        notes.append(f"only a part was recorded, as it was told to: {each}")
    excluded = sum(file.footer.excluded for file in session.all_files() if file.footer is not None)
    if excluded:
        notes.append(f"{excluded} messages were left out, as the recording was told to")
    return list(dict.fromkeys(notes))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of which no two touch, in the order in which the first of each came."""
    ranked = {span: rank for rank, span in reversed(list(enumerate(spans)))}
    merged: list[tuple[int, int, int]] = []
    for begin, end in sorted(ranked):
        rank = ranked[begin, end]
        if merged and begin <= merged[-1][1] + 1:
            before = merged.pop()
            merged.append((before[0], max(before[1], end), min(before[2], rank)))
        else:
            merged.append((begin, end, rank))
    return [(begin, end) for begin, end, _ in sorted(merged, key=lambda span: span[2])]


def _spread(places: list[Any], most: int) -> Iterator[Any]:
    if len(places) <= most:
        yield from places
        return
    chosen = sorted({round(number * (len(places) - 1) / max(1, most - 1)) for number in range(most)})
    yield from (places[place] for place in chosen)
