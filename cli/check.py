"""``horus-async check``."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import attrs
import click
from attrs import frozen

from horus_async.determinism.certificate import Certificate
from horus_async.determinism.comparison import Comparison, RunDiedError
from horus_async.determinism.variants import Variant, variants
from horus_async.errors import AppError

from .support.errors import FOUND, USAGE
from .support.in_order import ended_in_order
from .support.own_namespace import own_namespace
from .support.render import print_json, progress
from .terminal import completion
from .terminal.states import say
from .terminal.text import tell, tell_text

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_DURATION = 10.0
DEFAULT_RUNS = 4
_OURS = "horus-async: "
_GRACE = 5.0
"""Seconds that a run has to end once it is told to."""


@click.command()
@click.argument("app", shell_complete=completion.app)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_DURATION,
    show_default=True,
    metavar="S",
    help="Seconds of virtual time.",
)
@click.option("--runs", type=click.IntRange(min=2), default=DEFAULT_RUNS, show_default=True, metavar="N", help="Runs.")
@click.option("--seed", type=int, metavar="N", help="Seed of the runs; by default the program's own.")
@click.option("--json", "as_json", is_flag=True, help="Print a certificate as JSON.")
def check(app: str, args: tuple[str, ...], *, duration: float, runs: int, seed: int | None, as_json: bool) -> None:
    """Does APP do the same each time? Run it several times under different conditions and compare every message.

    All runs are deterministic, each in a process of its own, with different PYTHONHASHSEEDs, memory layouts, CPU loads
    and orders of add, and are compared tick by tick as they go. Exit 0 when nothing differs and the guard finds no
    nondeterministic call, 1 when something differs or a node failed, 2 when nothing could be compared. APP is a script
    with a function build(args) or a Scheduler named scheduler, or FILE.py:NAME or MODULE:NAME. Everything after -- is
    passed as args.

    Example: horus-async check examples/bugs/set_order.py --duration 2
    """
    job = {"app": app, "args": list(args), "duration": duration, "seed": seed}
    certificate, failure = _run_all(job, variants(runs))
    if as_json:
        print_json(certificate.as_json() | {"failure": failure or None})
    else:
        _show(certificate)
    if failure:
        tell(f"horus-async: {app} failed in every run: {failure}", err=True)
    elif not certificate.messages and certificate.difference is None:
        tell(f"horus-async: nothing was compared: {app} sent no messages in {duration:g} s", err=True)
        raise SystemExit(USAGE)
    if failure or not certificate.replayable:
        raise SystemExit(FOUND)


def _show(certificate: Certificate) -> None:
    runs = len(certificate.runs)
    if certificate.first_tick is not None:
        tell(
            f"ticks {certificate.first_tick} to {certificate.last_tick} are the same in {runs} runs: "
            f"{certificate.messages} messages, digest {[*certificate.digests.values()][-1]}"
        )
    if certificate.difference is not None:
        tell(f"first difference: {certificate.difference}")
    for finding in certificate.findings:
        tell(f"not deterministic: {finding}")


def _run_all(job: dict[str, Any], runs: list[Variant]) -> tuple[Certificate, str]:
    """The certificate, and the error with which the program ends in every run, or an empty string."""
    compared = Comparison(runs)
    say(
        f"started: {len(runs)} runs of {job['app']}, each {job['duration']:g} s of virtual time, in a namespace of "
        "their own; Ctrl-C ends it"
    )
    with ExitStack() as stack:
        stack.enter_context(ended_in_order())
        stack.enter_context(own_namespace("check"))
        workers = [stack.enter_context(_worker(job, run)) for run in runs]
        try:
            with progress(f"{len(runs)} runs, second", math.ceil(job["duration"])) as bar:
                for tick in compared.read([worker.frames for worker in workers]):
                    bar.update(bar.task_ids[0], completed=tick / (compared.tick_rate or math.inf))
        except RunDiedError as error:
            raise workers[error.number].failure(job["app"]) from None
    certificate = Certificate(
        app=job["app"],
        args=tuple(job["args"]),
        seed=compared.seed,
        tick_rate=compared.tick_rate,
        ended=compared.ends[0].reason if compared.ends else "at the first difference",
        runs=tuple(runs),
        ticks=compared.ticks,
        messages=compared.messages,
        digests=compared.digests,
        first_tick=compared.first if compared.messages else None,
        last_tick=compared.last if compared.messages else None,
        difference=compared.difference,
        findings=tuple(compared.findings.values()),
    )
    return certificate, compared.ends[0].failure if compared.ends else ""


@frozen
class _Worker:
    """A process that runs the program once."""

    process: subprocess.Popen[bytes]
    frames: IO[bytes]
    errors: IO[bytes]

    def said(self) -> str:
        """What it wrote to its standard error, once it has ended."""
        self.process.wait()
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").rstrip()

    def failure(self, app: str) -> AppError:
        """Why it died: our own line about it, else the program ended itself. What it said before that is printed."""
        before, _, last = self.said().rpartition("\n")
        ours = last.startswith(_OURS)
        code = self.process.returncode
        said = before if ours else f"{before}\n{last}".strip()
        if said:
            tell_text(said, err=True)
        error = AppError(
            last.removeprefix(_OURS) if ours else f"{app}: a run of the check ended with exit code {code}, by itself"
        )
        error.failed = code not in (0, USAGE)
        return error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a run end by itself, so that it removes its shared memory."""
    process.terminate()
    try:
        process.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _worker(job: dict[str, Any], run: Variant) -> Iterator[_Worker]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=1 << 20) as frames, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # noqa: S603 - the same Python, our own module
                [
                    sys.executable,
                    "-m",
                    "horus_async.cli.support.check_worker",
                    json.dumps({**job, "variant": attrs.asdict(run), "frames": writing}),
                ],
                env={**os.environ, "PYTHONHASHSEED": str(run.hash_seed)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[writing],
            )
        finally:
            os.close(writing)
        try:
            yield _Worker(process, frames, errors)
        finally:
            frames.close()
            _end(process)
