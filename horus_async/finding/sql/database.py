"""A question in SQL: which tables it names, and the answer, by DuckDB, which is kept from everything else."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async.errors import ConfigurationError, RecordingError
from horus_async.limits.open_files import why
from horus_async.recorder.exports.output import need
from horus_async.recorder.read.session import Session
from horus_async.spelling import did_you_mean

from .topics import Progress, arrow_table, message_rows
from .views import COLUMNS, OF_RUNS, OF_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from horus_async.finding.runs import Run

    Row = dict[str, Any]

TOPICS = "topic"
"""The schema that topics are in, where their names are those of other tables: ``topic.log``."""
MEMORY = "1GiB"
"""That DuckDB may take; what is beyond goes to no disk, and is an error."""
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": MEMORY,
    "threads": "2",
}
_SYSTEM = frozenset({"information_schema", "pg_catalog"})


@define
class Question:
    """A query about runs."""

    text: str
    runs: Sequence[Run]
    problems: list[str] = field(factory=list)
    """What could not be read, so that the answer may lack something."""

    @contextmanager
    def answer(self, progress: Callable[[int], None] = lambda _: None) -> Iterator[Answer]:
        """Read the tables that the query names, and ask.

        Args:
            progress: Told how many messages were read.

        Raises:
            ConfigurationError: The query is not one, is not a SELECT, or names what there is not.
            RecordingError: DuckDB is missing, or there is no room for the tables.
        """
        try:
            import duckdb
            import pyarrow as _  # noqa: F401 - whether it is there
        except ImportError as error:
            raise need(error.name or "duckdb", "sql", "record sql") from None
        with ExitStack() as stack:
            connection = stack.enter_context(duckdb.connect(config=_CONFIGURATION))
            connection.execute("SET temp_directory = ''")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET python_enable_replacements = false")
            try:
                names = _tables_in(self.text, connection)
                self._make_tables(names, connection, Progress(progress))
                connection.execute("SET lock_configuration = true")
                found = connection.execute(self.text)
                yield Answer([column[0] for column in found.description or ()], found)
            except duckdb.Error as error:
                raise ConfigurationError(_said(error)) from None

    def _make_tables(self, names: Iterable[tuple[str, str]], connection: Any, progress: Progress) -> None:
        topics = {topic.topic for run in self.runs for topic in run.facts.topics}
        by_case = {topic.casefold(): topic for topic in sorted(topics, reverse=True)}
        connection.execute(f"CREATE SCHEMA {TOPICS}")
        for number, (schema, name) in enumerate(sorted(set(names))):
            built_in = name.casefold()
            if schema in {"", "main"} and built_in in COLUMNS:
                table, where = self._built_in(built_in, progress), f"main.{built_in}"
            elif schema in {"", TOPICS} and name.casefold() in by_case:
                topic = name if name in topics else by_case[name.casefold()]
                table, where = self._topic(topic, progress), f'{TOPICS}."{name.replace(chr(34), chr(34) * 2)}"'
            elif schema in _SYSTEM:
                continue
            else:
                raise self._unknown(name, topics)
            connection.register(f"_horus_{number}", table)
            connection.execute(f"CREATE OR REPLACE VIEW {where} AS SELECT * FROM _horus_{number}")  # noqa: S608 - quoted
        connection.execute(f"SET search_path = 'main,{TOPICS}'")

    def _unknown(self, name: str, topics: set[str]) -> ConfigurationError:
        known = [*COLUMNS, *sorted(topics)]
        some = ", ".join(known[:40]) + (", …" if len(known) > 40 else "")
        return ConfigurationError(f"there is no table {name!r}; there are {some}{did_you_mean(name, known)}")

    def _built_in(self, name: str, progress: Progress) -> Any:
        if name in OF_RUNS:
            return arrow_table(lambda: OF_RUNS[name](self.runs), COLUMNS[name])
        make = OF_SESSIONS[name]
        return arrow_table(lambda: self._rows_of(lambda run, session: make(run.name, session), progress), COLUMNS[name])

    def _topic(self, topic: str, progress: Progress) -> Any:
        def rows(run: Run, session: Session) -> Iterator[Row]:
            return message_rows(run.name, session, topic, None)

        of = [run for run in self.runs if any(one.topic == topic for one in run.facts.topics)]
        return arrow_table(lambda: self._rows_of(rows, progress, of))

    def _rows_of(
        self, rows: Callable[[Run, Session], Iterator[Row]], progress: Progress, runs: Sequence[Run] | None = None
    ) -> Iterator[Row]:
        """Of all sessions, one after the other; one that cannot be read is noted."""
        for run in self.runs if runs is None else runs:
            if not run.is_session or not run.facts.readable:
                continue
            try:
                session = Session(Path(run.path))
                for count, row in enumerate(rows(run, session)):
                    if not count & 255:
                        progress.see(count)
                    yield row
                progress.next()
                for pieces in session.damage.values():
                    self._note(f"{run.name}: {pieces[0]}")
            except RecordingError as error:
                self._note(f"{run.name}: {error}")
            except OSError as error:
                self._note(f"{run.name}: {why(error)}")

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


@define
class Answer:
    """Rows, as they come."""

    columns: list[str]
    _found: Any

    def rows(self, some: int = 1000) -> Iterator[tuple[Any, ...]]:
        """All of them.

        Raises:
            ConfigurationError: The rest cannot be computed.
        """
        import duckdb

        try:
            while found := self._found.fetchmany(some):
                yield from found
        except duckdb.Error as error:
            raise ConfigurationError(_said(error)) from None


def _tables_in(text: str, connection: Any) -> list[tuple[str, str]]:
    """Schema and name of each table that a query names, by DuckDB's own parser; not those that it makes by ``WITH``.

    Raises:
        ConfigurationError: It is not one SELECT.
    """
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        raise ConfigurationError(f"one query is asked for, and these are {len(statements)}")
    (row,) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()
    try:
        tree = json.loads(row[0])
    except (ValueError, RecursionError):
        raise ConfigurationError("the query cannot be read: it is too deep") from None
    if tree.get("error"):
        raise ConfigurationError(f"only a SELECT can be asked: {tree.get('error_message')}")
    found: list[tuple[str, str]] = []
    own: set[str] = set()
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                found.append((str(node.get("schema_name", "")), str(node.get("table_name", ""))))
            own.update(str(one["key"]).casefold() for one in (node.get("cte_map") or {}).get("map", ()))
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return [(schema, name) for schema, name in found if schema or name.casefold() not in own]


def _said(error: Exception) -> str:
    """What DuckDB says, in a line."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not set(line) <= set("^~ ")]
    place = next((index for index, line in enumerate(kept) if line.startswith("LINE ")), None)
    kept = kept[:place]
    return " ".join(kept)[:600]
