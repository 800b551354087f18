"""A session as files that other tools open: CSV, JSON lines and Parquet tables, one a topic; MCAP for all topics.

Two passes: the first finds the topics and the columns of each, the second writes. Neither holds more than a few
messages (for Parquet: a few thousand rows) at a time. Files appear under their names when they are complete. The three
kinds of tables are short and alike, so they stay together here.
"""

from __future__ import annotations

import csv
import enum
import json
import re
from contextlib import ExitStack, contextmanager
from math import isnan
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from horus_async.errors import RecordingError
from horus_async.json_text import encode, finite
from horus_async.recorder.read.messages import session_messages

from .flatten import FIXED, row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from horus_async.recorder.read.messages import Progress
    from horus_async.recorder.read.session import Session

    Row = dict[str, Any]

_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")
_PARQUET_ROWS = 4096
_INT64 = range(-(2**63), 2**63)


class ExportFormat(enum.Enum):
    """What ``record export`` writes."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    MCAP = "mcap"


@define
class Table:
    """What the first pass finds of a topic."""

    topic: str
    columns: dict[str, set[type]] = field(factory=dict)
    """Column to the types of its values; ``int`` only for those that fit 64 bits."""
    rows: int = 0

    def see(self, row: Row) -> None:
        """Take the columns of a row into account."""
        self.rows += 1
        for column, value in row.items():
            kind: type = type(value)
            if kind is int and value not in _INT64:
                kind = str
            self.columns.setdefault(column, set()).add(kind)


class _TableWriter(Protocol):
    def write(self, row: Row) -> None:
        """Add a row."""

    def close(self) -> None:
        """Write what is left."""


def export_session(
    session: Session,
    output: Path,
    form: ExportFormat,
    *,
    topic: str | None = None,
    progress: Progress | None = None,
) -> dict[Path, int]:
    """Write the messages of a session, decoded; the files made and how many messages each holds.

    MCAP is one file. The others are one flat table a topic: ``output`` itself if there is one topic, else
    ``<stem>.<topic><suffix>`` for each.

    Args:
        session: What to export.
        output: The file, or what the files' names are made from. An existing file is replaced.
        form: The format.
        topic: Only this one.
        progress: Told the tick reached, in each of the two passes.

    Raises:
        RecordingError: The session has no messages, or none of that topic; a file cannot be written; a package is
            missing.
    """
    if form is ExportFormat.MCAP:
        from .mcap_export import export_mcap

        return export_mcap(session, output, topic=topic, progress=progress)
    make = _maker(form)
    tables = _survey(session, topic, progress)
    paths = table_paths(output, [*tables])
    with ExitStack() as stack:
        writers: dict[str, _TableWriter] = {}
        for name, table in tables.items():
            part = stack.enter_context(replacing(paths[name]))
            writers[name] = make(part, table)
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of ``path`` when the block ends well, and is gone when it does not.

    Raises:
        RecordingError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            yield part
            part.replace(path)
        except OSError as error:
            raise RecordingError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def need(package: str, extra: str, what: str) -> RecordingError:
    """The error for a package that is not installed."""
    return RecordingError(f'{what} needs the package {package}: install it with  pip install "horus-async[{extra}]"')


def no_messages(session: Session, topic: str | None, topics: list[str]) -> RecordingError:
    """The error for a session of which nothing can be exported."""
    if topic is None:
        return RecordingError(f"session {session.name!r} has no messages: there is nothing to export")
    known = ", ".join(sorted(topics)) or "none"
    return RecordingError(f"session {session.name!r} has no messages of topic {topic!r}; it has {known}")


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
        raise no_messages(session, topic, [*others])
    return tables


# -- the formats -------------------------------------------------------------------------------------------------------


def _maker(form: ExportFormat) -> Callable[[Path, Table], _TableWriter]:
    if form is ExportFormat.CSV:
        return _Csv
    if form is ExportFormat.JSONL:
        return _JsonLines
    try:
        import pyarrow as _  # noqa: F401 - whether it is there, before anything is read
    except ImportError:
        raise need("pyarrow", "parquet", "--format parquet") from None
    return _Parquet


class _Csv:
    """Comma-separated values with a line of column names (RFC 4180, but with a plain newline)."""

    def __init__(self, path: Path, table: Table) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._columns = [*table.columns]
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(self._columns)

    def write(self, row: Row) -> None:
        self._writer.writerow([_cell(row.get(column)) for column in self._columns])

    def close(self) -> None:
        self._file.close()


def _cell(value: Any) -> Any:
    """A value as CSV has it; lists and the like are JSON text."""
    if isinstance(value, list | dict):
        return _strict_json(value).decode()
    return value


class _JsonLines:
    """One object a line; every line has every column, null where a message has no such field."""

    def __init__(self, path: Path, table: Table) -> None:
        self._file = path.open("wb")
        self._empty = dict.fromkeys(table.columns)

    def write(self, row: Row) -> None:
        self._file.write(_strict_json({**self._empty, **row}) + b"\n")

    def close(self) -> None:
        self._file.close()


def _strict_json(value: Any) -> bytes:
    """Strict JSON, which knows neither infinity (written as text, ``"inf"``) nor NaN (written as null)."""
    try:
        return encode(value, _as_text)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(finite(value, _as_text), separators=(",", ":"), ensure_ascii=False).encode()


def _as_text(value: float) -> str | None:
    return None if isnan(value) else str(value)


class _Parquet:
    """A Parquet file; a column whose values are of several kinds is JSON text."""

    def __init__(self, path: Path, table: Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa = pa
        self._kinds = {column: _parquet_kind(kinds) for column, kinds in table.columns.items()}
        types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
        self._schema = pa.schema(
            [pa.field(column, types.get(kind or str, pa.string())) for column, kind in self._kinds.items()]
        )
        self._writer = pq.ParquetWriter(str(path), self._schema)
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= _PARQUET_ROWS:
            self._flush()

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = {
            column: [_parquet_value(row.get(column), kind) for row in self._rows]
            for column, kind in self._kinds.items()
        }
        self._rows = []
        self._writer.write_table(self._pa.table(columns, schema=self._schema))


def _parquet_value(value: Any, kind: type | None) -> Any:
    if value is None or kind is None:
        return None if value is None else _strict_json(value).decode()
    return float(value) if kind is float else value


def _parquet_kind(kinds: set[type]) -> type | None:
    """The type of a column; None where that is JSON text."""
    kinds = kinds - {type(None)}
    if kinds == {int, float}:
        return float
    if len(kinds) == 1 and kinds <= {int, float, bool, str}:
        return next(iter(kinds))
    return str if not kinds else None
