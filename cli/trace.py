"""``horus-async trace``: look at policy traces, check them, export them, and replay them through another policy."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from horus_async.clock.system import NANOSECONDS, parse_iso_utc, wall_ns
from horus_async.policy import (
    Bucket,
    ExportFormat,
    Filter,
    TraceReader,
    export,
    find_traces,
    list_traces,
    matching,
    row_of,
    summarise,
)

from .support.errors import FOUND
from .support.traces import JSON, exits, print_json
from .terminal.commands import Group
from .terminal.table import print_table
from .trace_replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.policy import TraceRequest

_SINCE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))


class _Since(click.ParamType):  # type: ignore[type-arg]
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if found := _SINCE.fullmatch(value):
            return wall_ns() - int(float(found[1]) * _SECONDS[found[2]] * NANOSECONDS)
        try:
            return parse_iso_utc(value)
        except ValueError:
            self.fail(f"{value!r} is neither an age like 30m, 2h, 7d nor an ISO 8601 time", param, ctx)


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which requests are wanted."""
    for option in (
        click.option("--min-latency", "min_latency_ms", type=float, help="Only requests that took at least MS."),
        click.option("--status", help="success, failed, an HTTP status, or an error's slug."),
        click.option("--episode", help="Only requests of this episode."),
        click.option("--since", "since_ns", type=_Since(), help="An age (30m, 2h, 7d) or an ISO 8601 time."),
    ):
        command = option(command)
    return command


@click.group("trace", cls=Group)
def trace() -> None:
    """Look at, check, export and replay traces of a policy server."""


trace.add_command(replay)


@trace.command("list")
@_PATHS
@JSON
def list_command(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """List the traces in PATHS (files or folders; default: here)."""
    with exits():
        rows = list(list_traces(_here_if_none(paths)))
    if as_json:
        print_json(rows)
        return
    columns = ("file", "started_at", "model_hash", "embodiment", "requests", "errors", "bytes", "notes")
    _print_table([{**row, "notes": row.get("error") or "; ".join(row["notes"])} for row in rows], columns)


@trace.command()
@_PATHS
@_filters
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@JSON
def query(paths: tuple[Path, ...], *, as_json: bool, limit: int | None, **wanted: Any) -> None:
    """Show the requests in PATHS (files or folders; default: here) that match."""
    with exits():
        found = (row_of(*pair) for pair in matching(_here_if_none(paths), Filter(**wanted), _warn))
        rows = (row for row, _ in zip(found, range(limit), strict=False)) if limit else found
        if as_json:
            print_json(rows)
            return
        columns = ("timestamp", "seq", "episode", "instruction", "status", "http_status", "latency_ms", "error", "file")
        _print_table(rows, columns)


@trace.command()
@_PATHS
@_filters
@click.option("--by", type=click.Choice([bucket.value for bucket in Bucket]), default="day", show_default=True)
@JSON
def summary(paths: tuple[Path, ...], *, as_json: bool, by: str, **wanted: Any) -> None:
    """Count requests, failures and latencies in PATHS (files or folders; default: here)."""
    with exits():
        rows = summarise(_shown_progress(_here_if_none(paths), Filter(**wanted)), Bucket(by))
    if as_json:
        print_json(rows)
        return
    _print_table(rows, tuple(rows[0]) if rows else ())


@trace.command()
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def check(file: Path, *, as_json: bool) -> None:
    """Check a trace: 0 whole or merely cut at the end, 1 damaged, 2 not a trace."""
    with exits():
        reader = TraceReader(file)
    with reader, exits(FOUND):
        for _ in reader.requests():
            pass
    found = {"file": str(file), "requests": reader.count, "errors": reader.errors, "notes": reader.notes}
    if as_json:
        print_json([found])
        return
    click.echo(f"{file}: {reader.count} requests, {reader.errors} of them failed")
    for note in reader.notes:
        click.echo(f"  {note}")


@trace.command("export")
@_PATHS
@_filters
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice([form.value for form in ExportFormat]), default="npz")
def export_command(paths: tuple[Path, ...], output: Path, form: str, **wanted: Any) -> None:
    """Write the successful requests in PATHS as a training corpus: observations, actions, episodes."""
    with exits():
        count = export(_shown_progress(_here_if_none(paths), Filter(**wanted)), output, ExportFormat(form))
    click.echo(f"{count} requests written to {output}")


def _shown_progress(paths: list[Path], wanted: Filter) -> Iterator[tuple[TraceReader, TraceRequest]]:
    """What matches, with a progress bar of the bytes read on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    total = sum(path.stat().st_size for path in find_traces(paths))
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar, done, current = progress.add_task("reading", total=total), 0, None
        for trace, request in matching(paths, wanted, _warn):
            if trace is not current:
                done, current = done + (current.size if current else 0), trace
            progress.update(bar, completed=done + trace.position())
            yield trace, request


def _here_if_none(paths: Iterable[Path]) -> list[Path]:
    return list(paths) or [Path()]


def _warn(text: str) -> None:
    click.echo(f"passed over: {text}", err=True)


def _print_table(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Print a table on a terminal, tab-separated values into a pipe."""
    cells = ([_cell(row.get(column)) for column in columns] for row in rows)
    if sys.stdout.isatty():
        print_table(columns, cells)
        return
    for line in (columns, *cells):
        click.echo("\t".join(line))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("\t", " ").replace("\n", " ")
