"""The tables that there are besides those of topics: sessions, topics, events, ticks, log, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from horus_async.recorder.messages import session_messages
from horus_async.recorder.records import ExecutionRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.finding.runs import Run
    from horus_async.recorder.read.session import Session

    Row = dict[str, Any]


def session_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row a run."""
    for run in runs:
        facts = run.facts
        yield {
            "session": run.name,
            "program": facts.program,
            "state": run.state,
            "started_at": facts.started_at,
            "ended_at": facts.ended_at,
            "duration": facts.duration,
            "tick_rate": facts.tick_rate,
            "mode": "deterministic" if facts.deterministic else "real time",
            "seed": facts.seed,
            "first_tick": facts.first_tick,
            "last_tick": facts.last_tick,
            "nodes": list(facts.nodes),
            "messages": facts.messages,
            "reason": facts.reason,
            "path": str(run.path),
            "blackbox": run.box,
        }


def topic_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row for each session, topic and publisher."""
    for run in runs:
        for topic in run.facts.topics:
            yield {
                "session": run.name,
                "topic": topic.topic,
                "publisher": topic.publisher,
                "messages": topic.count,
                "first_tick": topic.first_tick,
                "last_tick": topic.last_tick,
            }


def event_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row for each session, event and node: what happened, how often, and when first."""
    for run in runs:
        for row in run.facts.happenings:
            yield {"session": run.name, **row._asdict(), "first_at": run.facts.seconds(row.first_tick)}


def tick_rows(name: str, session: Session) -> Iterator[Row]:
    """A row for each callback of a node."""
    for node in session.nodes:
        for line in session.executions(node):
            if isinstance(line, ExecutionRecord):
                yield {
                    "session": name,
                    "node": node,
                    "tick": line.tick,
                    "kind": line.kind,
                    "now_ns": line.now_ns,
                    "dt_ns": line.dt_ns,
                    "duration_ns": line.duration_ns,
                    "inputs": len(line.inputs),
                    "outputs": len(line.outputs),
                    "error": line.error,
                }


def log_rows(name: str, session: Session) -> Iterator[Row]:
    """A row for each line of the log."""
    for line in session.log:
        yield {
            "session": name,
            "tick": line.at_tick,
            "now_ns": line.now_ns,
            "node": line.node,
            "level": line.level,
            "levelno": line.levelno,
            "message": line.message,
            "exception": line.exception,
            "extra": orjson.dumps(line.data).decode() if line.data else None,
        }


def all_message_rows(name: str, session: Session) -> Iterator[Row]:
    """A row for each message, with its data as JSON text."""
    for message in session_messages(session):
        yield {
            "session": name,
            "topic": message.topic,
            "tick": message.tick,
            "stamp_ns": message.stamp_ns,
            "seq": message.seq,
            "publisher": message.publisher,
            "data": orjson.dumps(message.data).decode(),
        }


OF_RUNS: dict[str, Callable[[Iterable[Run]], Iterator[Row]]] = {
    "sessions": session_rows,
    "topics": topic_rows,
    "events": event_rows,
}
"""Tables that the catalogue knows."""
OF_SESSIONS: dict[str, Callable[[str, Session], Iterator[Row]]] = {
    "ticks": tick_rows,
    "log": log_rows,
    "messages": all_message_rows,
}
"""Tables for which sessions are read."""
COLUMNS = {
    "sessions": (
        *("session", "program", "state", "started_at", "ended_at", "duration", "tick_rate", "mode", "seed"),
        *("first_tick", "last_tick", "nodes", "messages", "reason", "path", "blackbox"),
    ),
    "topics": ("session", "topic", "publisher", "messages", "first_tick", "last_tick"),
    "events": ("session", "event", "node", "times", "first_tick", "last_tick", "first_at"),
    "ticks": (*("session", "node", "tick", "kind", "now_ns", "dt_ns", "duration_ns", "inputs", "outputs", "error"),),
    "log": ("session", "tick", "now_ns", "node", "level", "levelno", "message", "exception", "extra"),
    "messages": ("session", "topic", "tick", "stamp_ns", "seq", "publisher", "data"),
}
"""Those of a table without rows."""
