"""What a page has of a recorded session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.errors import RecordingError
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.read.info import session_notes

from .kept import KeptMessages

if TYPE_CHECKING:
    from horus_async.recorder import Session
    from horus_async.view.parts.lanes import Lane

    from .recording import SessionReading


def session_source(reading: SessionReading) -> dict[str, Any]:
    """What a page has of a session: reads what is left to be read, and puts it together.

    Raises:
        RecordingError: Nothing of it can be read.
    """
    session, budget, times = reading.session, reading.budget, reading.times
    kept = KeptMessages(reading)
    spans = kept.read_details()
    images = kept.read_images()
    reading.series.fit(budget.series_points)
    return {
        "kind": "session",
        "name": session.name,
        "started_at": session.started_at,
        "mode": "virtual time" if session.deterministic else "real time",
        "tick_rate": session.tick_rate,
        "seed": str(session.seed),
        "begin": times.begin_us,
        "end": times.end_us,
        "wall": None if session.deterministic else session.start_ns // 1000,
        "ticks": times.map(),
        "notes": [*_warnings(session), *reading.notes],
        "remarks": reading.remarks,
        "nodes": [
            *(_node(reading, node) for node in session.nodes),
            *(_publisher(name, lane) for name, lane in reading.outside.items()),
        ],
        "bucket": reading.width_us,
        "incidents": reading.incidents.rows(),
        "incident_counts": reading.incidents.count_rows(),
        "incidents_left_out": reading.incidents.left_out,
        "log": reading.log.rows(),
        "log_counts": dict(reading.log.counts),
        "log_left_out": reading.log.left_out,
        "channels": [channel.fields() for channel in reading.channels.all],
        "calls": {node: calls.fields() for node, calls in kept.details.calls.items()},
        "detail": spans,
        "series": reading.series.rows(),
        "fields_left_out": len(reading.series.left_out),
        "images": images,
        "params": reading.params,
    }


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


def _publisher(name: str, lane: Lane) -> dict[str, Any]:
    """A publisher outside of the session, as a node of which nothing but its messages is known."""
    return {
        "name": name, "outside": True, "rate": None, "on": [], "subs": [], "pubs": [], "calls": 0, "ticks": 0,
        "errors": 0, "skipped": None, "longest": 0, "longest_at": None, "lane": lane.fields(),
    }  # fmt: skip


def _warnings(session: Session) -> list[str]:
    """What is missing from the session, or was changed, in words."""
    notes = session_notes(session)
    notes += [f"{node}: {why}" for node, why in session.missing_nodes.items()]
    try:
        manifest = read_manifest(session.path) or {}
    except RecordingError:
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
