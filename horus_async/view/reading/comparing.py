"""The difference of two sources of a page: two sessions, or what was recorded and what a program does now."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.recorder.read.diff import diff_sessions
from horus_async.topics.codec import to_json
from horus_async.value_diff import short, short_pair
from horus_async.view.parts.details import Channels, Details, Message
from horus_async.view.parts.series import SeriesSet
from horus_async.view.parts.values import numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Sent
    from horus_async.recorder.read.diff import MessageDifference
    from horus_async.recorder.records import RecordedOutput
    from horus_async.replay.verify.comparison import Difference, VerifyReport
    from horus_async.view.parts.budget import Budget

    from .recording import SessionReading

MOST_SHOWN = 300
_COUNTED = 5_000
"""So many differences of two sessions are told apart by topic."""


def compare_sessions(
    a: SessionReading, b: SessionReading, *, tolerance: float = 0.0, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """What a page has of the difference of two sessions. Lets the surroundings of the first one go in one by one."""
    found = diff_sessions(a.session, b.session, tolerance=tolerance, limit=_COUNTED, progress=progress)
    for one in found.shown[:3]:
        a.mark(one.tick)
        b.mark(one.tick)
    each = Counter(one.topic for one in found.shown)
    counted = found.differences == len(found.shown)
    return {
        "kind": "sessions",
        "a": a.session.name,
        "b": b.session.name,
        "compared": found.pairs,
        "differences": found.differences,
        "topics": [
            {"topic": topic, "compared": count, "differing": each[topic] if counted else None, "largest": None}
            for topic, count in sorted(found.compared.items())
        ],
        "only_a": sorted(found.only_a),
        "only_b": sorted(found.only_b),
        "missing_nodes": [],
        "notes": [] if found.pairs else ["nothing could be compared: they have no tick, node and topic in common"],
        "shown": [_row(a, one, *short_pair(one.a, one.b)) for one in found.shown[:MOST_SHOWN]],
        "tolerance": tolerance,
    }


def _row(reading: SessionReading, one: MessageDifference | Difference, a: str, b: str) -> dict[str, Any]:
    field, at = short(one.field, text=True), reading.times.of_tick(one.tick)
    return {"t": at, "tick": one.tick, "node": one.node, "topic": one.topic, "field": field, "a": a, "b": b}


class LiveMessages:
    """What live nodes sent in a verification: what differs is kept, and of topics with differences the plots.

    Pass `compared` as ``watch`` of `horus_async.replay.verify.run.verify`.
    """

    def __init__(self, budget: Budget, reading: SessionReading) -> None:
        self._budget = budget
        self.reading = reading
        """Whose clock counts."""
        self.channels = Channels()
        self.series = SeriesSet(self._budget.fields, self._budget.field_points)
        self._details = Details(self.channels, self._budget.detail_bytes, self._budget.value_bytes)
        self.differences: list[Difference] = []
        self._differing: set[int] = set()

    def compared(
        self, node: str, tick: int, recorded: RecordedOutput | None, live: Sent | None, found: Difference | None
    ) -> None:
        """A message was compared."""
        topic = recorded.topic if recorded is not None else live.topic if live is not None else ""
        number = self.channels.number(topic, node)
        if found is not None:
            self._differing.add(number)
            if len(self.differences) < MOST_SHOWN:
                self.differences.append(found)
        if live is None:
            return
        stamp, where = (live.stamp_ns, live.tick) if recorded is None else (recorded.stamp_ns, recorded.tick)
        at = self.reading.times.at(stamp, where)
        data = orjson.loads(to_json(live.payload))
        self.channels.all[number].see(at)
        for field, value in numbers(data):
            self.series.add(number, field, at, value)
        if found is not None:
            seq = live.seq if recorded is None else recorded.seq
            self._details.message(number, Message(seq, at, tick, data))

    def source(self, app: str) -> dict[str, Any]:
        """What the page has of the program."""
        for key in [key for key in self.series.series if key[0] not in self._differing]:
            del self.series.series[key]
        self.series.fit(self._budget.series_points // 2)
        return {
            "kind": "live",
            "name": app,
            "started_at": "",
            "mode": "live, given what was recorded",
            "tick_rate": self.reading.session.tick_rate,
            "seed": None,
            "begin": self.reading.times.begin_us,
            "end": self.reading.times.end_us,
            "wall": None,
            "ticks": [],
            "notes": [],
            "remarks": [],
            "nodes": [],
            "bucket": self.reading.width_us,
            "incidents": [],
            "incident_counts": [],
            "incidents_left_out": 0,
            "log": [],
            "log_counts": {},
            "log_left_out": 0,
            "channels": [channel.fields() for channel in self.channels.all],
            "calls": {},
            "detail": None,
            "series": self.series.rows(),
            "fields_left_out": len(self.series.left_out),
            "images": [],
            "params": [],
        }

    def comparison(self, report: VerifyReport, app: str, tolerance: float) -> dict[str, Any]:
        """What the page says of the verification."""
        shown = sorted(self.differences, key=lambda one: one.tick)
        if not shown and report.first_difference is not None:
            shown = [report.first_difference]
        notes = list(report.notes)
        if not report.compared:
            notes.insert(0, "nothing was compared: the program has no node of the session that sent anything")
        return {
            "kind": "verification",
            "a": self.reading.session.name,
            "b": app,
            "compared": report.compared,
            "differences": report.differences,
            "topics": [
                {"topic": row.topic, "compared": row.compared, "differing": row.differing, "largest": row.largest}
                for row in report.topics
            ],
            "only_a": [],
            "only_b": [],
            "missing_nodes": list(report.missing_nodes),
            "notes": notes,
            "shown": [_row(self.reading, one, *short_pair(one.recorded, one.live)) for one in shown],
            "tolerance": tolerance,
        }
