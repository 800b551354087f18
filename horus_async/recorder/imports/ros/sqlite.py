"""The storage of ROS 2 bags in SQLite: one ``.db3`` file.

It is opened as a file that nobody writes, so nothing is written beside it. What its recorder had no time to put into it
(``-wal``, ``-journal``) SQLite reads only where it may write: then a copy is opened.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import define, field, frozen

from horus_async.errors import RecordingError
from horus_async.limits.open_files import why

from .definitions import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

MAGIC = b"SQLite format 3\0"


_FAILURES = (sqlite3.Error, MemoryError)
"""Of SQLite: where a damaged file says that something is huge, there is no memory, however much there is."""


@frozen
class Topic:
    """A row of the table of topics."""

    id: int
    name: str
    type: str
    encoding: str
    """Of its messages, ``cdr``."""
    form: str
    """How the definition is written; empty if there is none."""
    definition: str


_NUMBERED = "typeof(timestamp) = 'integer' AND typeof(topic_id) = 'integer'"
"""What SQLite does not ask of a row, as any column takes any value."""


_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
_READ = ("topics", "messages", "schema", "message_definitions")
_LONGEST = 3 << 26
"""Bytes of a cell; a message that a topic takes has 134 MB."""


@define
class Storage:
    """An open ``.db3`` file.

    Raises:
        RecordingError: It is no ROS 2 bag.
    """

    path: Path
    stack: ExitStack
    topics: dict[int, Topic] = field(init=False, factory=dict)
    distro: str = field(init=False, default="")
    """The ROS 2 distribution that wrote it, if it says."""
    flows: dict[int, tuple[int, int, int]] = field(init=False, factory=dict)
    """Of each topic with messages: how many, and the lowest and the highest stamp."""
    problems: list[str] = field(init=False, factory=list)
    _database: sqlite3.Connection = field(init=False)
    _saved: list[tuple[int, int, int]] | None = field(init=False, default=None)
    """Of a damaged file: stamp, row and topic of each message that can be found, by time."""
    _chosen: list[str] = field(init=False, factory=list)
    """Conditions that rows have to meet, as SQL."""

    def __attrs_post_init__(self) -> None:
        missing, torn = _missing_bytes(self.path)
        self._database = _open(self.path, self.stack, self.problems, torn)
        self.stack.callback(self._database.close)
        self._database.text_factory = as_text
        self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        if missing:
            self._database.execute("PRAGMA writable_schema = ON")  # else SQLite refuses it as a whole
        try:
            tables = {name for (name,) in self._database.execute(_TABLES)}
            if not {"topics", "messages"} <= tables:
                raise RecordingError(
                    f"{self.path} is an SQLite file, but no ROS 2 bag: it has no tables of topics and messages"
                )
            if odd := [table for table in _READ if table in tables and self._makes_columns(table)]:
                raise RecordingError(f"{self.path} is no ROS 2 bag: its table of {odd[0]} makes up columns")
            self._read_topics(tables)
        except _FAILURES as error:
            raise RecordingError(f"{self.path} cannot be read: {_reason(error)}") from error
        try:
            if missing:
                raise sqlite3.DatabaseError(f"{missing} bytes are missing")
            self._count()
        except _FAILURES as error:
            self._save(_reason(error))
        for number in self.flows.keys() - self.topics.keys():
            self.topics[number] = Topic(number, f"topic_{number}", "?", "cdr", "", "")

    def messages(self, wanted: set[int]) -> Iterator[tuple[Topic, int, bytes]]:
        """Topic, stamp and data of each message of the wanted topics, by time."""
        if self._saved is not None:
            yield from self._saved_messages([row for row in self._saved if row[2] in wanted])
            return
        some = [] if wanted >= self.flows.keys() else [f"topic_id IN ({','.join(map(str, wanted))})"]
        where = self._where(*some)
        read, topics = 0, self.topics
        try:
            for topic, stamp_ns, data in self._database.execute(
                f"SELECT topic_id, timestamp, data FROM messages {where} ORDER BY timestamp, id"  # noqa: S608 - numbers
            ):
                yield topics[topic], stamp_ns, data if type(data) is bytes else _bytes(data)
                read += 1
        except _FAILURES as error:
            lost = sum(count for topic, (count, _, _) in self.flows.items() if topic in wanted) - read
            self.problems.append(f"{self.path.name} is damaged ({_reason(error)}): its last {lost} messages are lost")

    def _read_topics(self, tables: set[str]) -> None:
        if "schema" in tables and "ros_distro" in self._columns("schema"):
            self.distro = next((row[0] for row in self._database.execute("SELECT ros_distro FROM schema")), "")
        definitions: dict[str, list[tuple[str, str, str]]] = {}
        if "message_definitions" in tables:
            for kind, digest, form, text in self._database.execute(
                "SELECT topic_type, type_description_hash, encoding, encoded_message_definition "
                "FROM message_definitions ORDER BY id"
            ):
                definitions.setdefault(kind, []).append((digest, form, text))
        digests = "type_description_hash" if "type_description_hash" in self._columns("topics") else "''"
        for number, name, kind, encoding, digest in self._database.execute(
            f"SELECT id, name, type, serialization_format, {digests} FROM topics"  # noqa: S608 - one of two words
        ):
            known = definitions.get(kind) or definitions.get(kind.removesuffix("_Event")) or []
            form, text = _definition_of(digest, known)
            self.topics[number] = Topic(number, name or f"topic_{number}", kind or "", encoding or "", form, text)

    def _makes_columns(self, table: str) -> bool:
        """Whether what stands in a row is computed when it is read, and may be anything of any size."""
        return any(hidden for *_, hidden in self._database.execute(f"PRAGMA table_xinfo({table})"))

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _count(self) -> None:
        query = f"SELECT COUNT(*) FROM messages WHERE NOT ({_NUMBERED})"  # noqa: S608 - our own words
        (odd,) = self._database.execute(query).fetchone()
        if odd:
            self._chosen = [_NUMBERED]
            self.problems.append(f"{self.path.name}: {odd} messages are left out, as their stamp or topic is no number")
        each = "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages"
        for topic, count, first_ns, last_ns in self._database.execute(f"{each} {self._where()} GROUP BY topic_id"):
            self.flows[topic] = count, first_ns, last_ns

    def _where(self, *more: str) -> str:
        conditions = [*self._chosen, *more]
        return f"WHERE {' AND '.join(conditions)}" if conditions else ""

    def _save(self, problem: str) -> None:
        """Find what messages of a damaged file can be read, in the order in which they were written."""
        self.flows.clear()
        self._saved = []
        try:
            for row, topic, stamp_ns in self._database.execute("SELECT id, topic_id, timestamp FROM messages"):
                if type(topic) is not int or type(stamp_ns) is not int:
                    continue
                self._saved.append((stamp_ns, row, topic))
                count, first_ns, last_ns = self.flows.get(topic, (0, stamp_ns, stamp_ns))
                self.flows[topic] = count + 1, min(first_ns, stamp_ns), max(last_ns, stamp_ns)
        except _FAILURES as error:
            problem = f"{problem}; {_reason(error)}" if _reason(error) not in problem else problem
        self._saved.sort()
        self.problems.append(
            f"{self.path.name} is cut off or damaged ({problem}): what comes after {len(self._saved)} messages is lost"
        )

    def _saved_messages(self, saved: list[tuple[int, int, int]]) -> Iterator[tuple[Topic, int, bytes]]:
        lost = 0
        for stamp_ns, row, topic in saved:
            try:
                data = self._database.execute("SELECT data FROM messages WHERE id = ?", (row,)).fetchone()[0]
            except (*_FAILURES, TypeError):
                lost += 1
                continue
            yield self.topics[topic], stamp_ns, _bytes(data)
        if lost:
            self.problems.append(f"{self.path.name}: the data of {lost} of these messages are lost, too")


def _definition_of(digest: str, known: list[tuple[str, str, str]]) -> tuple[str, str]:
    """Form and text of the definition with this digest, or of one where a digest is missing; never another's."""
    for wanted in ((digest,), ("",) if digest else [other for other, _, _ in known]):
        for other, form, text in known:
            if other in wanted:
                return form, text
    return "", ""


def _bytes(data: object) -> bytes:
    return data if isinstance(data, bytes) else str("" if data is None else data).encode()


def _open(path: Path, stack: ExitStack, problems: list[str], torn: int) -> sqlite3.Connection:
    real = path.resolve()
    beside = [other for other in (Path(f"{real}-wal"), Path(f"{real}-journal")) if _size(other)]
    if beside:
        problems.append(
            f"{path.name} was not closed: what is in {', '.join(file.name for file in beside)} is read, too"
        )
    elif not torn:
        return sqlite3.connect(f"file://{quote(os.fsencode(real))}?mode=ro&immutable=1", uri=True)
    try:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="horus-import-")))
        for file in (real, *beside):
            shutil.copyfile(file, folder / file.name)
        if torn and not beside:
            os.truncate(folder / real.name, real.stat().st_size - torn)
    except OSError as error:
        raise RecordingError(
            f"{path} was not closed and is read from a copy, which cannot be made in {gettempdir()} "
            f"({why(error)}): set TMPDIR to a folder with room"
        ) from error
    return sqlite3.connect(folder / real.name)


def _missing_bytes(path: Path) -> tuple[int, int]:
    """How many bytes of a database its file lacks, by its own head, and how many it has of its last, torn page.

    SQLite would fill that page up with zeros, and so would be the end of a message.
    """
    with path.open("rb") as file:
        head, there = file.read(32), file.seek(0, 2)
    page_size = int.from_bytes(head[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size or 512
    missing = max(0, int.from_bytes(head[28:32], "big") * page_size - there)
    return missing, there % page_size if missing else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _reason(error: Exception) -> str:
    return str(error) or "it says that something in it is larger than memory"
