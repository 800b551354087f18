"""``horus-async record find``: which runs had this happen, and where."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from horus_async.cli.support.errors import FOUND, USAGE
from horus_async.cli.support.render import print_json, progress, seldom
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import SINCE, UNTIL
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.finding.runs import Runs
    from horus_async.finding.search import Hit, Search

_COLUMNS = ("session", "started", "duration s", "program", "found", "first tick", "at s")
_MOST_NAMED = 10


@click.command("find")
@SINCE
@UNTIL
@click.option("--node", metavar="N", shell_complete=completion.known_node, help="With node N; its events.")
@click.option(
    "--event",
    metavar="E",
    shell_complete=completion.known_event,
    help="In which E happened: DeadlineMiss, NodeError, Anomaly, Gap, Killed, WARNING, …",
)
@click.option("--topic", metavar="T", shell_complete=completion.known_topic, help="With messages of topic T.")
@click.option("--where", metavar="PREDICATE", help="With such messages of --topic: 'volts < 11 and pose.x > 0'.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, each as it is found.")
def find(
    *,
    since_ns: int | None,
    until_ns: int | None,
    node: str | None,
    event: str | None,
    topic: str | None,
    where: str | None,
    as_json: bool,
) -> None:
    """Find the sessions, and the runs in black boxes, of which all of this is true, oldest first.

    What only asks for times, nodes, events and topics is answered from the catalogue beside the recordings, at once.
    --where reads the messages of the sessions that are left.

    Exit code 0 when something was found, 1 when nothing was, 2 when something could not be read, which is said.

    Example: horus-async record find --since 7d --node arm --event DeadlineMiss

    Example: horus-async record find --since 7d --topic battery --where 'volts < 11'
    """
    from horus_async.finding.search import Query, Search
    from horus_async.predicates.predicate import Predicate

    if where is not None and topic is None:
        raise click.UsageError("--where needs the --topic whose messages it is about")
    query = Query(since_ns, until_ns, node, event, topic, None if where is None else Predicate(where))
    search = Search.of(query, read_runs())
    shown = _show(search, as_json=as_json)
    tell_what_is_wrong(search.notes, search.problems)
    if not shown and not search.problems:
        tell("nothing was found", err=True)
    if search.problems:
        raise SystemExit(USAGE)
    if not shown:
        raise SystemExit(FOUND)


def read_runs() -> Runs:
    """All runs, with a progress bar where many have to be read first."""
    from horus_async.finding.runs import all_runs

    with progress("reading sessions", None) as bar:
        return all_runs(progress=lambda done, total: bar.update(bar.task_ids[0], completed=done, total=total))


def tell_what_is_wrong(notes: list[str], problems: list[str]) -> None:
    """Say on standard error what the answer may lack."""
    for note in notes:
        tell(f"note: {note}", err=True)
    for problem in problems[:_MOST_NAMED]:
        tell(f"not read: {problem}", err=True)
    if len(problems) > _MOST_NAMED:
        tell(f"not read: and {len(problems) - _MOST_NAMED} more", err=True)
    if problems:
        tell(f"{len(problems)} things could not be read: the answer may lack something", err=True)


def _show(search: Search, *, as_json: bool) -> int:
    """Print what is found; how many that is."""
    if search.tally is None and not as_json:
        hits = list(search.hits())
        if hits:
            print_table(_COLUMNS, map(_row, hits))
        return len(hits)
    count = 0
    with _bar(search) as (report, paused):
        for hit in search.hits(report):
            with paused():
                if as_json:
                    print_json(_fields(hit))
                else:
                    _print_line(search, hit, first=not count)
            count += 1
    return count


@contextmanager
def _bar(search: Search) -> Iterator[tuple[Callable[[int, int], None] | None, Callable[[], Any]]]:
    """A bar over the messages that are read, which makes room for each line that is printed on the same terminal."""
    if search.tally is None:
        yield None, _nothing
        return
    with progress("reading messages", None, printing=True) as bar:
        update = seldom(lambda done: bar.update(bar.task_ids[0], completed=done, total=total[0]))
        total = [0]

        def report(done: int, of: int) -> None:
            total[0] = of
            update(done)

        @contextmanager
        def paused() -> Iterator[None]:
            if not sys.stdout.isatty() or not sys.stderr.isatty():
                yield
                return
            bar.stop()
            yield
            bar.start()

        yield report, paused


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _row(hit: Hit) -> list[Any]:
    run, facts = hit.run, hit.run.facts
    state = "" if run.state == "closed" else f" ({run.state})"
    duration, seconds = f"{facts.duration:.2f}", hit.first_seconds
    at = None if seconds is None else f"{seconds:.3f}"
    return [f"{run.name}{state}", facts.started_at or None, duration, facts.program, hit.count, hit.first_tick, at]


def _print_line(search: Search, hit: Hit, *, first: bool) -> None:
    """A row of the table as soon as it is known: as wide as the widest that may come."""
    widths = [len(column) for column in _COLUMNS]
    for candidate in search.candidates:
        widths = [max(width, len(str(cell))) for width, cell in zip(widths, _row(candidate), strict=True)]
    for row in ([_COLUMNS] if first else []) + [tuple(_row(hit))]:
        cells = ["-" if cell is None else str(cell) for cell in row]
        left = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
        right = [cells[2].rjust(widths[2]), cells[3].ljust(widths[3])]
        right += [cell.rjust(width) for cell, width in zip(cells[4:], widths[4:], strict=True)]
        tell("  ".join([*left, *right]).rstrip())


def _fields(hit: Hit) -> dict[str, Any]:
    run, facts = hit.run, hit.run.facts
    return {
        "session": run.name if run.is_session else None,
        "blackbox": run.box or None,
        "path": str(run.path),
        "state": run.state,
        "started_at": facts.started_at or None,
        "duration": facts.duration,
        "program": facts.program,
        "reason": facts.reason or None,
        "found": hit.count,
        "first_tick": hit.first_tick,
        "first_at": hit.first_seconds,
        "events": [row._asdict() for row in hit.happened],
        "messages": hit.messages,
    }
