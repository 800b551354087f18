"""``horus-async trace``: look at policy traces, check them, export them, and replay them through another policy."""

from __future__ import annotations

import sys
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from horus_async.policy import (
    Bucket,
    DatasetOptions,
    ExportFormat,
    Filter,
    export,
    list_traces,
    matching,
    row_of,
    summarise,
)
from horus_async.policy.trace.finding import find_traces

from .support.errors import FOUND
from .support.traces import JSON, NumberRange, bar, check_files, exits, print_json, reading
from .terminal.commands import Group
from .terminal.options import Since
from .terminal.table import print_table
from .terminal.text import tell, tell_fields
from .trace_replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ROWS = 1000
"""Of a table on a terminal, whose columns are as wide as the widest of them: nobody waits for a million."""
_RATE = NumberRange(0, min_open=True, finite=True)
_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which requests are wanted."""
    for option in (
        click.option("--min-latency", "min_latency_ms", type=NumberRange(0), help="Only requests of at least MS."),
        click.option("--status", help="success, failed, an HTTP status, or an error's slug."),
        click.option("--episode", help="Only requests of this episode."),
        click.option("--since", "since_ns", type=Since(), help="An age (30m, 2h, 7d) or an ISO 8601 time."),
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
    """List the traces in PATHS (files or folders; default: here), with what each of them lacks.

    Example: horus-async trace list traces
    """
    with exits():
        chosen = _here_if_none(paths)
        with reading(chosen, silent=True) as watch:
            rows = list(list_traces(chosen, watch))
    if as_json:
        print_json(rows)
        return
    columns = ("file", "started_at", "model_hash", "embodiment", "requests", "errors", "dropped", "bytes", "notes")
    _print_table([{**row, "notes": row.get("error") or "; ".join(row["notes"])} for row in rows], columns)


@trace.command()
@_PATHS
@_filters
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@JSON
def query(paths: tuple[Path, ...], *, as_json: bool, limit: int | None, **wanted: Any) -> None:
    """Show the requests in PATHS (files or folders; default: here) that match.

    Exit code 1 when a trace in a folder is damaged, so that requests are missing.

    Example: horus-async trace query traces --status failed --since 2h
    """
    chosen = _here_if_none(paths)
    with exits(), reading(chosen, lines=True) as watch:
        found = (row_of(*pair) for pair in matching(chosen, Filter(**wanted), watcher=watch))
        rows = (row for row, _ in zip(found, range(limit), strict=False)) if limit else found
        if as_json:
            print_json(rows)
        else:
            columns = ("timestamp", "seq", "episode", "instruction", "status", "http_status", "latency_ms", "error")
            _print_table(rows, (*columns, "file"))
    watch.exit_if_damaged()


@trace.command()
@_PATHS
@_filters
@click.option("--by", type=click.Choice([bucket.value for bucket in Bucket]), default="day", show_default=True)
@JSON
def summary(paths: tuple[Path, ...], *, as_json: bool, by: str, **wanted: Any) -> None:
    """Count requests, failures and latencies in PATHS (files or folders; default: here).

    Exit code 1 when a trace in a folder is damaged, so that requests are missing.

    Example: horus-async trace summary traces --by episode
    """
    chosen = _here_if_none(paths)
    with exits(), reading(chosen) as watch:
        rows = summarise(matching(chosen, Filter(**wanted), watcher=watch), Bucket(by))
    if as_json:
        print_json(rows)
    else:
        _print_table(rows, tuple(rows[0]) if rows else ())
    watch.exit_if_damaged()


@trace.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@JSON
def check(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Read the traces in PATHS (files or folders) to their ends and say what they lack.

    Exit code 0 when they are whole or merely cut at the end, as after a kill; 1 when one is damaged, or lacks requests
    that the server could not record; 2 when one is no trace.

    Example: horus-async trace check traces
    """
    check_files(list(paths), as_json=as_json)


@trace.command("export")
@_PATHS
@_filters
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A file; for lerobot a new folder.")
@click.option("--format", "form", type=click.Choice([form.value for form in ExportFormat]), default="npz")
@click.option("--fps", type=_RATE, help="lerobot: frames a second (default: as recorded).")
@click.option("--robot-type", help="lerobot: the robot's name (default: the trace's embodiment).")
def export_command(
    paths: tuple[Path, ...], output: Path, form: str, fps: float | None, robot_type: str | None, **wanted: Any
) -> None:
    """Write the successful requests in PATHS as a training corpus: observations, actions, episodes.

    npz and parquet are tables, a row a request with every field of it. lerobot is a LeRobotDataset v3.0, a frame a
    step that was carried out. What is not in it is said; the exit code is 1 if that includes requests with actions,
    or when a trace in a folder is damaged.

    Example: horus-async trace export traces --format lerobot --output pick_cups --fps 30
    """
    if form != ExportFormat.LEROBOT.value and (fps is not None or robot_type is not None):
        raise click.UsageError(f"--fps and --robot-type are for --format lerobot, not {form}")
    chosen = _here_if_none(paths)
    with exits():
        if output.exists() and any(output.samefile(path) for path in find_traces(chosen)):
            raise click.UsageError(f"{output} is a trace that is to be exported, and would be overwritten")
    with exits(), bar("writing") as progress, reading(chosen) as watch:
        found = matching(chosen, Filter(**wanted), watcher=watch)
        exported = export(found, output, ExportFormat(form), DatasetOptions(fps, robot_type), progress)
    for line in exported.lines():
        tell(line, err=True)
    frames = "" if exported.frames is None else f"{exported.frames} frames in {exported.episodes} episodes of "
    tell(f"{frames}{exported.requests} requests written to {output}")
    if not exported.whole:
        sys.exit(FOUND)
    watch.exit_if_damaged()


def _here_if_none(paths: Iterable[Path]) -> list[Path]:
    return list(paths) or [Path()]


def _print_table(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Print a table on a terminal, a screenful of rows at a time; tab-separated values into a pipe."""
    cells = ([_cell(row.get(column)) for column in columns] for row in rows)
    if not sys.stdout.isatty():
        tell_fields(chain([columns], cells))
        return
    some = list(islice(cells, _ROWS))
    print_table(columns, some)
    while some := list(islice(cells, _ROWS)):
        tell()
        print_table(columns, some)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
