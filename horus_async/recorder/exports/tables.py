"""A session as flat tables, one per topic; the writers of CSV and JSON lines."""

from __future__ import annotations

import csv
import json
import re
from contextlib import ExitStack
from math import isnan
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from horus_async.json_text import encode, finite
from horus_async.recorder.read.messages import session_messages

from .flatten import FIXED, row_of
from .output import no_messages, replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.recorder.read.messages import Progress
    from horus_async.recorder.read.session import Session

    Row = dict[str, Any]

_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")
_INT64 = range(-(2**63), 2**63)


@define
class Table:
    """What the first pass finds out about a topic."""

    topic: str
    columns: dict[str, set[type]] = field(factory=dict)
    """The types of each column's values; ``int`` only for those that fit 64 bits."""
    rows: int = 0

    def see(self, row: Row) -> None:
        """Take the columns of a row into account."""
        self.rows += 1
        for column, value in row.items():
            kind: type = type(value)
            if kind is int and value not in _INT64:
                kind = str
            self.columns.setdefault(column, set()).add(kind)


class TableWriter(Protocol):
    """Writes the rows of one table."""

    def write(self, row: Row) -> None:
        """Add a row."""

    def close(self) -> None:
        """Write what is left."""


def export_tables(
    writer: Callable[[Path, Table], TableWriter],
    session: Session,
    output: Path,
    *,
    topic: str | None = None,
    progress: Progress | None = None,
) -> dict[Path, int]:
    """Write a table per topic; returns the files and how many rows each holds.

    Raises:
        RecordingError: There is nothing to write, or it cannot be written.
    """
    tables = _survey(session, topic, progress)
    paths = table_paths(output, [*tables])
    with ExitStack() as stack:
        writers: dict[str, TableWriter] = {}
        for name, table in tables.items():
            part = stack.enter_context(replacing(paths[name]))
            writers[name] = writer(part, table)
            stack.callback(writers[name].close)
        for message in session_messages(session, topic, progress):
            writers[message.topic].write(row_of(message))
    return {paths[name]: table.rows for name, table in tables.items()}


def table_paths(output: Path, topics: list[str]) -> dict[str, Path]:
    """The file of each topic; no two share one."""
    if len(topics) == 1:
        return {topics[0]: output}
    found: dict[str, Path] = {}
    for topic in topics:
        stem = f"{output.stem}.{_UNSAFE.sub('_', topic)}"
        path = output.with_name(stem + output.suffix)
        number = 2
        while path in found.values():
            path = output.with_name(f"{stem}_{number}{output.suffix}")
            number += 1
        found[topic] = path
    return found


def _survey(session: Session, topic: str | None, progress: Progress | None) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    others: set[str] = set()
    for message in session_messages(session, None, progress):
        if topic is not None and message.topic != topic:
            others.add(message.topic)
            continue
        table = tables.get(message.topic)
        if table is None:
            table = tables[message.topic] = Table(message.topic, {column: {int} for column in FIXED})
            table.columns["publisher"] = {str}
        table.see(row_of(message))
    if not tables:
        raise no_messages(session, topic, others)
    return tables


class Csv:
    """Comma-separated values under a line of column names (RFC 4180, but with plain newlines)."""

    def __init__(self, path: Path, table: Table) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._columns = [*table.columns]
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(self._columns)

    def write(self, row: Row) -> None:
        """Add a row."""
        self._writer.writerow([_cell(row.get(column)) for column in self._columns])

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def _cell(value: Any) -> Any:
    """A value as a CSV cell; lists and dicts are JSON text."""
    if isinstance(value, list | dict):
        return json_text(value).decode()
    return value


class JsonLines:
    """One object per line; each has every column, null where a message has no such field."""

    def __init__(self, path: Path, table: Table) -> None:
        self._file = path.open("wb")
        self._empty = dict.fromkeys(table.columns)

    def write(self, row: Row) -> None:
        """Add a row."""
        self._file.write(json_text({**self._empty, **row}) + b"\n")

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def json_text(value: Any) -> bytes:
    """Strict JSON, which knows neither infinity (written as text, ``"inf"``) nor NaN (written as null)."""
    try:
        return encode(value, _as_text)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(finite(value, _as_text), separators=(",", ":"), ensure_ascii=False).encode()


def _as_text(value: float) -> str | None:
    return None if isnan(value) else str(value)
