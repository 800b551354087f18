"""Reads a recorded session for a page, once: what is counted and plotted. `kept` reads the details then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from horus_async.recorder.read.info import type_name
from horus_async.recorder.records import ExecutionRecord, GapRecord
from horus_async.view.parts.budget import Budget
from horus_async.view.parts.details import Channel, Channels, Message
from horus_async.view.parts.images import image_in
from horus_async.view.parts.incidents import BAD, INFO, WARNING, Incident, Incidents, LogLines
from horus_async.view.parts.lanes import Lane
from horus_async.view.parts.series import SeriesSet
from horus_async.view.parts.values import numbers

from .times import SessionTimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.recorder import Session

    Progress = Callable[[int], None]

_MEASURED = 32
_PARAMS = "params/reply"
_MOST_CHANGES = 500
_MOST_OUTSIDE = 40
"""Lanes of publishers that are no nodes."""


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
        self.notes: list[str] = []
        """What is missing, besides what is missing from the session."""
        self.remarks: list[str] = []
        """What is to be known besides."""
        self._start, self._stop = start, stop
        self._progress = progress or (lambda _: None)
        self.times = SessionTimes(session, start, stop)
        begin, end = self.times.begin_us, self.times.end_us
        width = max(1, -(-(end - begin) // self.budget.lane_buckets))
        self.lanes = {node: Lane(begin, width, self.budget.lane_buckets) for node in session.nodes}
        self.width_us = width
        self.outside: dict[str, Lane] = {}
        """The messages of publishers that are no nodes of the session, by their names."""
        self.params: list[dict[str, Any]] = []
        self._changes_left_out = 0
        self._last_params: dict[str, dict[str, Any]] = {}
        self.images: dict[int, list[tuple[str, int, int]]] = {}
        """By channel, where images are: node (empty for one from outside), tick and number."""
        self.cost: dict[int, float] = {}
        """By channel, about how many bytes a message takes."""
        self.notable: list[tuple[int, int]] = []
        """Rank and tick of moments whose surroundings go in one by one."""
        self._done = 0

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
            at = self.times.at(message.stamp_ns, message.tick, external=True)
            number = self.channels.number(message.topic, message.publisher, message.source)
            self.channels.all[number].external = True
            self._lane_outside(message.publisher).add(at, 0)
            self._message(number, Message(message.seq, at, message.tick, message.data), "")
        for line in self.session.log.select(start=self._start, stop=self._stop):
            at = self.times.at(line.now_ns, line.at_tick)
            self.log.add(line, at)
            if line.levelno >= 30:
                self.notable.append((3, line.at_tick))
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
                at = self.times.at(line.now_ns, line.tick)
                self._call(node, lane, line, at)
                if line.kind == "tick":
                    if period is not None and not first and line.dt_ns >= 1.5 * period:
                        lane.skipped += round(line.dt_ns / period) - 1
                    first = False
            for sent in line.outputs:
                number = self.channels.number(sent.topic, node)
                at = self.times.at(sent.stamp_ns, sent.tick)
                self._message(number, Message(sent.seq, at, sent.tick, sent.data), node)
            self._done += 1
            self._progress(self._done)

    def _lane_outside(self, publisher: str) -> Lane:
        lane = self.outside.get(publisher)
        if lane is None:
            lane = Lane(self.times.begin_us, self.width_us, self.budget.lane_buckets)
            if len(self.outside) < _MOST_OUTSIDE:
                self.outside[publisher] = lane
        return lane

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
        self.note(Incident(self.times.of_tick(line.tick), line.tick, node, "Gap", WARNING, text))

    def note(self, incident: Incident) -> None:
        """Something that happened."""
        self.incidents.add(incident)
        if incident.level == INFO:
            return
        if incident.node in self.lanes and incident.level == BAD:
            self.lanes[incident.node].note(incident.t)
        if incident.tick is not None and self.incidents.counts[incident.kind, incident.node or ""] <= 3:
            rank = 0 if incident.level == BAD else 2
            self.notable.append((rank, incident.tick))

    def mark(self, tick: int) -> None:
        """Let the surroundings of a tick go in one by one, before all else."""
        self.notable.append((-1, tick))

    def _message(self, number: int, message: Message, node: str) -> None:
        """Take a message into account; ``node`` is empty where it came from outside."""
        channel, data = self.channels.all[number], message.data
        self._measure(number, channel, data)
        channel.see(message.t)
        if channel.image and image_in(data) is not None:
            self.images.setdefault(number, []).append((node, message.tick, message.seq))
        if channel.topic == _PARAMS:
            self._changed(message.t, data)
        for field, value in numbers(data):
            self.series.add(number, field, message.t, value)

    def _measure(self, number: int, channel: Channel, data: Any) -> None:
        """Look at some messages of a channel: of what type they are, and how large."""
        if not channel.type and data is not None:
            channel.type = type_name(data)
        if channel.count % _MEASURED == 0:
            channel.image = channel.image or image_in(data) is not None
            size = len(orjson.dumps(data))
            known = self.cost.get(number, size)
            self.cost[number] = max(known, size) if channel.count < 4 * _MEASURED else known * 0.9 + size * 0.1

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
