"""``horus-async trace``: look at policy traces, check them, export them, and replay them through another policy."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from horus_async.clock.system import NANOSECONDS, parse_iso_utc, wall_ns
from horus_async.errors import HorusError, PolicyError
from horus_async.policy import (
    Bucket,
    DiffMode,
    ExportFormat,
    Filter,
    Replayed,
    ReplayOptions,
    ReplaySummary,
    Thresholds,
    TraceReader,
    export,
    find_traces,
    list_traces,
    load_policy,
    matching,
    report,
    row_of,
    shown,
    summarise,
)

from .support.errors import FOUND, USAGE, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.policy import LoadedPolicy, TraceRequest

FAIL_ON = 3
_SINCE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@contextmanager
def _exits(code: int = USAGE) -> Iterator[None]:
    """On an error of ours print one line and exit with ``code``; a policy that does not load is always wrong usage."""
    try:
        yield
    except PolicyError as error:
        fail(str(error), USAGE)
    except HorusError as error:
        fail(str(error), code)


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


@click.group("trace")
def trace() -> None:
    """Look at, check, export and replay traces of a policy server."""


@trace.command("list")
@_PATHS
@_JSON
def list_command(paths: tuple[Path, ...], *, as_json: bool) -> None:
    """List the traces in PATHS (files or folders; default: here)."""
    with _exits():
        rows = list(list_traces(_here_if_none(paths)))
    if as_json:
        _print_json(rows)
        return
    columns = ("file", "started_at", "model_hash", "embodiment", "requests", "errors", "bytes", "notes")
    _print_table([{**row, "notes": row.get("error") or "; ".join(row["notes"])} for row in rows], columns)


@trace.command()
@_PATHS
@_filters
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@_JSON
def query(paths: tuple[Path, ...], *, as_json: bool, limit: int | None, **wanted: Any) -> None:
    """Show the requests in PATHS (files or folders; default: here) that match."""
    with _exits():
        found = (row_of(*pair) for pair in matching(_here_if_none(paths), Filter(**wanted), _warn))
        rows = (row for row, _ in zip(found, range(limit), strict=False)) if limit else found
        if as_json:
            _print_json(rows)
            return
        columns = ("timestamp", "seq", "episode", "instruction", "status", "http_status", "latency_ms", "error", "file")
        _print_table(rows, columns)


@trace.command()
@_PATHS
@_filters
@click.option("--by", type=click.Choice([bucket.value for bucket in Bucket]), default="day", show_default=True)
@_JSON
def summary(paths: tuple[Path, ...], *, as_json: bool, by: str, **wanted: Any) -> None:
    """Count requests, failures and latencies in PATHS (files or folders; default: here)."""
    with _exits():
        rows = summarise(_shown_progress(_here_if_none(paths), Filter(**wanted)), Bucket(by))
    if as_json:
        _print_json(rows)
        return
    _print_table(rows, tuple(rows[0]) if rows else ())


@trace.command()
@click.argument("file", type=click.Path(path_type=Path))
@_JSON
def check(file: Path, *, as_json: bool) -> None:
    """Check a trace: 0 whole or merely cut at the end, 1 damaged, 2 not a trace."""
    with _exits():
        reader = TraceReader(file)
    with reader, _exits(FOUND):
        for _ in reader.requests():
            pass
    found = {"file": str(file), "requests": reader.count, "errors": reader.errors, "notes": reader.notes}
    if as_json:
        _print_json([found])
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
    with _exits():
        count = export(_shown_progress(_here_if_none(paths), Filter(**wanted)), output, ExportFormat(form))
    click.echo(f"{count} requests written to {output}")


@trace.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", help="The policy to replay through: an export folder or module:attr.")
@click.option("--diff", type=click.Choice([mode.value for mode in DiffMode]), default="actions", show_default=True)
@click.option("--n", "first", type=click.IntRange(0), default=0, help="Only the first N requests; 0: all.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write a JSON report.")
@click.option("--fail-on", type=click.Choice([mode.value for mode in DiffMode]), help="Exit 3 if any of these differ.")
@click.option("--no-replay", is_flag=True, help="Only read the trace.")
@click.option(
    "--image-dir", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Find images here by their hash."
)
@click.option("--min-cos", type=click.FloatRange(-1, 1), default=0.999, show_default=True)
@click.option("--max-abs", type=click.FloatRange(0), default=1e-3, show_default=True)
@click.option("--latency-pct", type=click.FloatRange(0), default=5.0, show_default=True)
@_JSON
def replay(file: Path, model: str | None, **options: Any) -> None:
    """Put the requests in the trace FILE to another policy and compare its answers with the recorded ones.

    Exit codes: 0 done, 1 the trace cannot be read, 2 the model does not load or wrong usage, 3 --fail-on triggered.
    """
    diff = DiffMode(options["diff"])
    fail_on = DiffMode(options["fail_on"]) if options["fail_on"] else None
    if fail_on is not None and not set(fail_on.parts()) <= set(diff.parts()):
        raise click.UsageError(f"--fail-on {fail_on.value} needs --diff {fail_on.value} or --diff all")
    if options["no_replay"]:
        if fail_on is not None:
            raise click.UsageError("--fail-on needs a replay; with --no-replay nothing is compared")
        _only_read(file, as_json=options["as_json"])
        return
    if model is None:
        raise click.UsageError("--model is missing; without one, --no-replay reads the trace")
    with _exits(FOUND):
        reader = TraceReader(file)
    with reader:
        with _exits():
            policy = load_policy(model)
        totals = ReplaySummary(diff, Thresholds(**_thresholds(options)))
        _replay(reader, policy, totals, options)
    if fail_on is not None and (reason := totals.fails(fail_on)):
        click.echo(f"--fail-on {fail_on.value}: {reason}", err=True)
        raise SystemExit(FAIL_ON)


def _thresholds(options: dict[str, Any]) -> dict[str, float]:
    return {
        "min_cosine": options["min_cos"],
        "max_abs": options["max_abs"],
        "latency_percent": options["latency_pct"],
    }


def _replay(reader: TraceReader, policy: LoadedPolicy, totals: ReplaySummary, options: dict[str, Any]) -> None:
    import trio

    from horus_async.policy import replay_trace

    as_json, output = options["as_json"], options["output"]
    results: list[Replayed] = []

    def tell(result: Replayed) -> None:
        totals.add(result)
        if as_json or output is not None:
            results.append(result)
        if not as_json:
            click.echo(f"  {shown(result)}")

    if not as_json:
        _print_header(reader, policy)
    chosen = ReplayOptions(
        diff=totals.diff, limits=totals.limits, first=options["first"], image_dir=options["image_dir"]
    )
    with _exits(FOUND):
        trio.run(replay_trace, reader, policy, chosen, tell)
    names = {"trace_file": str(reader.path), "model": policy.name}
    written = report(totals, results, header=reader.header, notes=reader.notes, **names)
    if output is not None:
        try:
            output.write_bytes(written + b"\n")
        except OSError as error:
            fail(f"cannot write the report: {error}", USAGE)
    if as_json:
        click.echo(written)
        return
    click.echo("Summary:")
    for line in [*totals.lines(), *(f"note: {note}" for note in reader.notes)]:
        click.echo(f"  {line}")


def _only_read(file: Path, *, as_json: bool) -> None:
    with _exits(FOUND), TraceReader(file) as reader:
        for _ in reader.requests():
            pass
        if as_json:
            _print_json(
                [{"header": reader.header, "requests": reader.count, "errors": reader.errors, "notes": reader.notes}]
            )
            return
        _print_header(reader, None)
        click.echo(f"requests: {reader.count} ({reader.errors} failed)")
        for note in reader.notes:
            click.echo(f"note: {note}")


def _print_header(reader: TraceReader, policy: LoadedPolicy | None) -> None:
    click.echo(f"Replay: {reader.path}")
    names = ("horus_version", "reflex_version", "model_hash", "config_hash", "model_type", "export_kind", "embodiment")
    for name in (*names, "redaction", "started_at"):
        if name in reader.header:
            click.echo(f"  {name}: {reader.header[name]}")
    if policy is None:
        return
    click.echo(f"Model: {policy.name}")
    for name in ("model_hash", "config_hash"):
        recorded, ours = reader.header.get(name), getattr(policy, name)
        if recorded and ours and recorded != ours:
            click.echo(f"  note: {name} is {ours}, the trace was recorded with {recorded}")


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


def _print_json(rows: Iterable[dict[str, Any]]) -> None:
    """Print a JSON array row by row, so that a long answer takes no memory."""
    from horus_async.policy.model.jsontext import encode

    separator = "["
    for row in rows:
        click.echo(separator + encode(row).decode())
        separator = ","
    click.echo("[]" if separator == "[" else "]")


def _print_table(rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Print a table on a terminal, tab-separated values into a pipe."""
    cells = ([_cell(row.get(column)) for column in columns] for row in rows)
    if not sys.stdout.isatty():
        for line in (columns, *cells):
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None)
    for line in cells:
        table.add_row(*line)
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("\t", " ").replace("\n", " ")
