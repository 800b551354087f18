"""``horus-async record sql``: questions about sessions, as tables."""

from __future__ import annotations

import csv
import itertools
import json
import math
import sys
from typing import TYPE_CHECKING, Any

import click

from horus_async.cli.support.errors import USAGE
from horus_async.cli.support.render import print_json, progress
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import SINCE, UNTIL
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.errors import SessionNotFoundError
from horus_async.spelling import did_you_mean

from .find import read_runs, tell_what_is_wrong

if TYPE_CHECKING:
    from collections.abc import Iterable

    from horus_async.finding.runs import Run
    from horus_async.finding.sql.database import Answer

_ROWS = 1000
"""Of a table, whose columns are as wide as the widest of them: nobody waits for a million."""


@click.command("sql")
@click.argument("sessions", nargs=-1, metavar="[SESSION]...", shell_complete=completion.session)
@click.argument("query", metavar="QUERY")
@SINCE
@UNTIL
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def sql(
    *,
    sessions: tuple[str, ...],
    query: str,
    since_ns: int | None,
    until_ns: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Ask sessions as tables: QUERY is a SELECT of SQL. Of all sessions, or of those named, in the recordings.

    Each topic is a table: session, tick, stamp_ns, seq, publisher, and its fields with dots ("pose.x"). Besides there
    are sessions, topics and events, which the catalogue knows; ticks, log and messages. Only tables that the query
    names are read. It can read nothing else, and change nothing. Needs the extra sql.

    Exit code 2 when the query is wrong, or something could not be read, which is said.

    Example: horus-async record sql --since 7d 'SELECT session, min(volts) FROM battery GROUP BY session'

    Example: horus-async record sql monday 'SELECT node, max(duration_ns) FROM ticks GROUP BY node' --json
    """
    from horus_async.finding.sql.database import Question

    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both")
    found = read_runs()
    runs = [run for run in _chosen(found.runs, sessions) if _is_in_time(run, since_ns, until_ns)]
    problems = [f"{run.name}: {problem}" for run in runs for problem in run.facts.problems]
    question = Question(query, runs, problems if sessions else [*found.problems, *problems])
    with (
        progress("reading", None, printing=True) as bar,
        question.answer(lambda done: bar.update(bar.task_ids[0], completed=done)) as answer,
    ):
        bar.stop()
        _print(answer, as_json=as_json, as_csv=as_csv)
    tell_what_is_wrong(list(found.notes), question.problems)
    if question.problems:
        raise SystemExit(USAGE)


def _chosen(runs: Iterable[Run], names: tuple[str, ...]) -> list[Run]:
    """The sessions that are named; the name of a set is all of its programs.

    Raises:
        SessionNotFoundError: one is not there.
    """
    runs = [run for run in runs if run.is_session or not names]
    if not names:
        return runs
    chosen: dict[str, Run] = {}
    for name in names:
        meant = [run for run in runs if run.name == name or run.name.startswith(f"{name}/")]
        if not meant:
            known = {run.name for run in runs}
            raise SessionNotFoundError(f"no session {name!r} in the recordings{did_you_mean(name, known)}")
        chosen.update({run.name: run for run in meant})
    return list(chosen.values())


def _is_in_time(run: Run, since_ns: int | None, until_ns: int | None) -> bool:
    started = run.facts.started_ns
    if since_ns is None and until_ns is None:
        return True
    return (
        started is not None and (since_ns is None or started >= since_ns) and (until_ns is None or started < until_ns)
    )


def _print(answer: Answer, *, as_json: bool, as_csv: bool) -> None:
    names = _unique(answer.columns)
    if as_json:
        for row in answer.rows():
            print_json(dict(zip(names, map(_json_value, row), strict=True)))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(map(_cell, names))
        writer.writerows([_cell(value) for value in row] for row in answer.rows())
    else:
        rows = answer.rows()
        first = [[_shown(value) for value in row] for row in itertools.islice(rows, _ROWS)]
        print_table(names, first)
        if next(rows, None) is not None:
            tell(f"and more rows: --json and --csv print all, or LIMIT them (this shows {_ROWS})", err=True)


def _unique(names: list[str]) -> list[str]:
    """Columns of one name are told apart, as an object of JSON has each name once."""
    found: list[str] = []
    for name in names:
        number, one = 2, name
        while one in found:
            one, number = f"{name}_{number}", number + 1
        found.append(one)
    return found


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): _json_value(one) for name, one in value.items()}
    return [_json_value(one) for one in value] if isinstance(value, list | tuple) else value


def _cell(value: Any) -> Any:
    """Of CSV: on a terminal without what would control it."""
    text = (
        ""
        if value is None
        else json.dumps(_json_value(value), default=str)
        if isinstance(value, list | dict)
        else str(value)
    )
    if not sys.stdout.isatty():
        return text
    from horus_async.spelling import printable

    return printable(text)


def _shown(value: Any) -> Any:
    """A cell of a table; a number with all its digits."""
    return f"{value:.10g}" if isinstance(value, float) else value
