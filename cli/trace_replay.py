"""``horus-async trace replay``, and ``horus-async replay TRACE``: the requests of a trace, put to another policy."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import click

from horus_async.hints.installed import command
from horus_async.policy import (
    DiffMode,
    Replayed,
    ReplayOptions,
    ReplaySummary,
    Thresholds,
    TraceReader,
    load_policy,
    replay_trace,
    report,
    shown,
)

from .support.errors import FOUND, USAGE, fail
from .support.in_order import ended_in_order
from .support.traces import JSON, NumberRange, exits, print_json
from .terminal.states import has_room_for_a_bar
from .terminal.text import tell, tell_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.policy.replay.gathered import Gathered
    from horus_async.policy.replay.model_facts import ModelFacts

FAIL_ON = 3
_PAGES = (".html", ".htm")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", help="The policy to replay through: an export folder or module:attr.")
@click.option("--diff", type=click.Choice([mode.value for mode in DiffMode]), default="actions", show_default=True)
@click.option("--n", "first", type=click.IntRange(0), default=0, help="Only the first N requests; 0: all.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Replay in N processes, each with the policy loaded.")
@click.option("--output", type=_FILE, help="Write a JSON report; a page if FILE ends with .html.")
@click.option("--page", type=_FILE, help="Write the report as a page: plots, and the worst requests with their images.")
@click.option("--fail-on", type=click.Choice([mode.value for mode in DiffMode]), help="Exit 3 if any of these differ.")
@click.option("--no-replay", is_flag=True, help="Only read the trace.")
@click.option(
    "--image-dir", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Find images here by their hash."
)
@click.option("--min-cos", type=NumberRange(-1, 1), default=0.999, show_default=True)
@click.option("--max-abs", type=NumberRange(0), default=1e-3, show_default=True)
@click.option("--latency-pct", type=NumberRange(0), default=5.0, show_default=True)
@JSON
def replay(file: Path, model: str | None, **options: Any) -> None:
    """Put the requests in the trace FILE to another policy and compare its answers with the recorded ones.

    Exit codes: 0 done, 1 the trace cannot be read, 2 the model does not load or wrong usage, 3 --fail-on triggered. A
    trace that lacks requests triggers it too.

    Example: horus-async trace replay traces/FILE --model ./export/B --fail-on actions --page report.html
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
        usage = command(f"replay {shlex.quote(str(file))} --model POLICY")
        raise click.UsageError(
            f"--model is missing: {usage} puts the requests of this trace to POLICY, an export folder or module:attr; "
            "--no-replay only reads it"
        )
    outputs = _outputs(file, options)
    with exits(FOUND):
        reader = TraceReader(file)
    totals = ReplaySummary(diff, Thresholds(**_thresholds(options)))
    with reader, ended_in_order():
        _Replay(reader, model, totals, options, outputs).run()
    if fail_on is not None and (reason := totals.fails(fail_on)):
        tell(f"--fail-on {fail_on.value}: {reason}", err=True)
        raise SystemExit(FAIL_ON)


def _thresholds(options: dict[str, Any]) -> dict[str, float]:
    return {
        "min_cosine": options["min_cos"],
        "max_abs": options["max_abs"],
        "latency_percent": options["latency_pct"],
    }


@attrs.frozen
class _Outputs:
    report: Path | None
    page: Path | None


def _outputs(file: Path, options: dict[str, Any]) -> _Outputs:
    """The files to write, found out before hours of work: whether they can be."""
    report, page = options["output"], options["page"]
    if report is not None and report.suffix.lower() in _PAGES:
        if page is not None:
            raise click.UsageError(f"--output {report} is a page, and --page {page} another; give one of them")
        report, page = None, report
    for path in (report, page):
        if path is not None and not path.absolute().parent.is_dir():
            raise click.UsageError(f"cannot write {path}: there is no folder {path.parent}")
        if path is not None and path.exists() and file.exists() and path.samefile(file):
            raise click.UsageError(f"{path} is the trace itself, which the report would overwrite")
    if report is not None and page is not None and report.absolute() == page.absolute():
        raise click.UsageError(f"--output and --page are both {page}; give two files")
    return _Outputs(report, page)


@attrs.define
class _Replay:
    """One replay, and what it found."""

    reader: TraceReader
    model: str
    totals: ReplaySummary
    options: dict[str, Any]
    outputs: _Outputs
    results: list[Replayed] = attrs.Factory(list)
    gathered: Gathered | None = None

    def run(self) -> None:
        """Replay, and tell or write what came of it."""
        from horus_async.policy.replay.gathered import Gathered

        self.gathered = Gathered() if self.outputs.page is not None else None
        as_json = self.options["as_json"]
        # What a policy prints must not get into the JSON.
        with _bar(lines=not as_json) as bar, redirect_stdout(sys.stderr) if as_json else nullcontext():
            facts = self._replay(bar)
        self.totals.ended(self.reader)
        notes, jobs = self.reader.notes, self.options["jobs"]
        if facts.stateful and (part := self.reader.header.get("part")):
            notes.append(
                f"this is part {part} of a session, and the policy holds state: it lacks what it would remember of "
                "episodes that began in earlier parts; cat the parts, in order, into one file and replay that"
            )
        if jobs > 1 and DiffMode.LATENCY in self.totals.parts:
            notes.append(f"latencies are those of {jobs} policies at work side by side; --jobs 1 measures better")
        self._tell(facts, notes)

    def _replay(self, bar: _Bar) -> ModelFacts:
        options, found = self.options, list[Any]()
        chosen = ReplayOptions(
            diff=self.totals.diff, limits=self.totals.limits, first=options["first"], image_dir=options["image_dir"]
        )

        def loaded(facts: ModelFacts, total: int) -> None:
            found.append(facts)
            bar.total(total)
            if not options["as_json"]:
                _print_header(self.reader, facts)

        def take(result: Replayed) -> None:
            self._take(result)
            bar.step(self.reader)

        if options["jobs"] > 1:
            from horus_async.policy.replay.jobs import replay_in_jobs

            jobs, gathered = options["jobs"], self.gathered
            with exits(FOUND):
                replay_in_jobs(self.reader, self.model, chosen, jobs, loaded=loaded, tell=take, gathered=gathered)
        else:
            import trio

            from horus_async.policy.replay.model_facts import facts_of

            with exits():
                policy = load_policy(self.model)
            loaded(facts_of(policy), options["first"])
            with exits(FOUND):
                trio.run(replay_trace, self.reader, policy, chosen, take, self.gathered)
        return cast("ModelFacts", found[0])

    def _take(self, result: Replayed) -> None:
        self.totals.add(result)
        if self.options["as_json"] or self.outputs.report is not None:
            self.results.append(result)
        if not self.options["as_json"]:
            tell(f"  {shown(result)}")

    def _tell(self, facts: ModelFacts, notes: list[str]) -> None:
        file, header = str(self.reader.path), self.reader.header
        written = report(self.totals, self.results, trace_file=file, model=facts.name, header=header, notes=notes)
        if self.outputs.report is not None:
            _write(self.outputs.report, written + b"\n")
        if self.outputs.page is not None and self.gathered is not None:
            from horus_async.policy.replay.page import page

            text = page(self.totals, self.gathered, facts, trace_file=file, header=header, notes=notes)
            _write(self.outputs.page, text.encode())
        if self.options["as_json"]:
            tell_json(written.decode())
            return
        tell("Summary:")
        for line in [*self.totals.lines(), *(f"note: {note}" for note in notes)]:
            tell(f"  {line}")


class _Bar:
    """Progress in requests where their number is known, else in bytes of the trace."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task = progress.add_task("replaying", total=None)
        self._total = self._done = 0

    def total(self, requests: int) -> None:
        self._total = requests
        self._progress.update(self._task, total=requests or None)

    def step(self, reader: TraceReader) -> None:
        self._done += 1
        if self._total:
            self._progress.update(self._task, completed=self._done)
        elif not self._done & 15:
            self._progress.update(self._task, completed=reader.position(), total=reader.size)


@contextmanager
def _bar(*, lines: bool) -> Iterator[_Bar]:
    """A progress bar at the foot of the terminal. Lines that are printed meanwhile go where they would go anyway."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    # Rich prints above the bar what goes to the stream that it takes for its own; to another it would be lost.
    lines_too = sys.stdout.isatty()
    console = Console(file=sys.stdout if lines_too else sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    shown = has_room_for_a_bar(lines=lines)
    with Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=lines_too) as progress:
        yield _Bar(progress)


def _write(path: Path, data: bytes) -> None:
    from horus_async.errors import RecordingError
    from horus_async.recorder.exports.output import writing

    try:
        with writing(path) as stream:
            stream.write(data)
    except (OSError, RecordingError) as error:
        fail(f"the report: {error}", USAGE)


def _only_read(file: Path, *, as_json: bool) -> None:
    with exits(FOUND), TraceReader(file) as reader:
        for _ in reader.requests():
            pass
        if as_json:
            found = {"header": reader.header, "requests": reader.count, "errors": reader.errors}
            print_json([{**found, "dropped": reader.dropped, "notes": reader.notes}])
            return
        _print_header(reader, None)
        tell(f"requests: {reader.count} ({reader.errors} failed)")
        for note in reader.notes:
            tell(f"note: {note}")


def _print_header(reader: TraceReader, model: ModelFacts | None) -> None:
    tell(f"Replay: {reader.path}")
    names = ("horus_version", "reflex_version", "model_hash", "config_hash", "model_type", "export_kind", "embodiment")
    for name in (*names, "redaction", "started_at"):
        if name in reader.header:
            tell(f"  {name}: {reader.header[name]}")
    if model is None:
        return
    tell(f"Model: {model.name}")
    for name in ("model_hash", "config_hash"):
        recorded, ours = reader.header.get(name), getattr(model, name)
        if recorded and ours and recorded != ours:
            tell(f"  note: {name} is {ours}, the trace was recorded with {recorded}")
