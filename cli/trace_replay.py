"""``horus-async trace replay``: the requests of a trace, put to another policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from horus_async.policy import (
    DiffMode,
    Replayed,
    ReplayOptions,
    ReplaySummary,
    Thresholds,
    TraceReader,
    load_policy,
    report,
    shown,
)

from .support.errors import FOUND, USAGE, fail
from .support.traces import JSON, exits, print_json

if TYPE_CHECKING:
    from horus_async.policy import LoadedPolicy

FAIL_ON = 3


@click.command()
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
@JSON
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
    with exits(FOUND):
        reader = TraceReader(file)
    with reader:
        with exits():
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
    with exits(FOUND):
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
    with exits(FOUND), TraceReader(file) as reader:
        for _ in reader.requests():
            pass
        if as_json:
            print_json(
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
