"""What the commands that read traces share: the option ``--json``, JSON output, exit codes, progress, the check."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import click

from horus_async.cli.terminal.states import has_room_for_a_bar
from horus_async.cli.terminal.text import tell, tell_lines
from horus_async.errors import HorusError, PolicyError
from horus_async.policy import Verdict, Watcher, find_traces, list_traces
from horus_async.spelling import printable_json

from .errors import FOUND, USAGE, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from horus_async.policy import TraceReader

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class NumberRange(click.FloatRange):
    """As `click.FloatRange`, but without NaN, and without infinity if the number must be ``finite``."""

    def __init__(self, low: float, high: float | None = None, *, min_open: bool = False, finite: bool = False) -> None:
        super().__init__(low, high, min_open=min_open)
        self.finite = finite

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number.

        Raises:
            click.BadParameter: it is none, or not in the range.
        """
        number = super().convert(value, param, ctx)
        if math.isnan(number) or (self.finite and math.isinf(number)):
            self.fail(f"{value} is no number that fits here", param, ctx)
        return number


@contextmanager
def exits(code: int = USAGE) -> Iterator[None]:
    """On an error of ours print one line and exit with ``code``; a policy that does not load is always wrong usage."""
    try:
        yield
    except PolicyError as error:
        fail(str(error), USAGE)
    except HorusError as error:
        fail(str(error), code)


def print_json(rows: Iterable[dict[str, Any]]) -> None:
    """Print a JSON array row by row, so that a long answer takes no memory."""
    from horus_async.policy.model.jsontext import encode_read

    beginnings = chain(["["], repeat(","))
    texts = (begin + printable_json(encode_read(row).decode()) for begin, row in zip(beginnings, rows, strict=False))
    first = next(texts, None)
    tell_lines(["[]"] if first is None else chain([first], texts, ["]"]))


class Watch(Watcher):
    """Moves a progress bar, and says on standard error what the traces lack."""

    def __init__(self, show: Callable[[int], None], *, silent: bool) -> None:
        super().__init__()
        self._show = show
        self._silent = silent
        self._before = 0
        self._damaged = False

    def reading(self, trace: TraceReader) -> None:
        """Move the bar."""
        self._show(self._before + trace.position())

    def read(self, trace: TraceReader) -> None:
        """Say what is worth knowing of a trace."""
        self._before += trace.size
        for note in () if self._silent else trace.notes:
            tell(f"note: {trace.path}: {note}", err=True)

    def passed_over(self, reason: str) -> None:
        """Say what was left out."""
        tell(f"passed over: {reason}", err=True)

    def damaged(self, reason: str) -> None:
        """Say what was read in part."""
        self._damaged = True
        tell(f"damaged, and read up to there only: {reason}", err=True)

    def exit_if_damaged(self) -> None:
        """Exit with a code that shows that the answer lacks something."""
        if self._damaged:
            raise SystemExit(FOUND)


@contextmanager
def reading(paths: list[Path], *, lines: bool = False, silent: bool = False) -> Iterator[Watch]:
    """Watch the reading of the traces in ``paths``, with a progress bar of their bytes on a terminal.

    ``lines`` if the command prints meanwhile, ``silent`` if it tells what the traces lack itself.
    """
    from rich.console import Console
    from rich.progress import Progress

    total = sum(path.stat().st_size for path in find_traces(paths))
    shown = has_room_for_a_bar(lines=lines) and not (lines and sys.stdout.isatty())
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not shown, redirect_stdout=False) as progress:
        task = progress.add_task("reading", total=total)

        def show(done: int) -> None:
            progress.update(task, completed=done)
            if done >= total:
                progress.stop()  # what comes next may have a bar of its own

        yield Watch(show, silent=silent)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, from the first time on that it is told how many of how many are done."""
    from rich.console import Console
    from rich.progress import Progress

    shown = has_room_for_a_bar(lines=False)
    progress = Progress(console=Console(file=sys.stderr), transient=True, disable=not shown, redirect_stdout=False)
    task = progress.add_task(what, total=None)

    def show(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        progress.stop()


def check_files(paths: list[Path], *, as_json: bool) -> None:
    """Check all traces in ``paths``: a line each, and what they lack. Exits with 0, 1 or 2 as ``trace check`` says."""
    with exits(), reading(paths, silent=True) as watch:
        rows = list(list_traces(paths, watch))
    if as_json:
        print_json(rows)
    if not rows:
        fail(f"no trace in {', '.join(map(str, paths))}", USAGE)
    for row in () if as_json else rows:
        _tell_check(row)
    verdicts = {Verdict(row["verdict"]) for row in rows}
    if verdicts & {Verdict.DAMAGED, Verdict.INCOMPLETE}:
        raise SystemExit(FOUND)
    if Verdict.NO_TRACE in verdicts:
        raise SystemExit(USAGE)


_MEANS = {
    Verdict.WHOLE: "is whole",
    Verdict.CUT: "is cut off at its end, and whole up to there",
    Verdict.INCOMPLETE: "is intact, but requests are missing",
    Verdict.DAMAGED: "is damaged",
}


def _tell_check(row: dict[str, Any]) -> None:
    verdict = Verdict(row["verdict"])
    if verdict is Verdict.NO_TRACE:
        tell(f"horus-async: {row['error']}", err=True)
        return
    tell(f"{row['file']} {_MEANS[verdict]}: {row['requests']} requests can be read, {row['errors']} of them failed")
    for note in [*filter(None, [row.get("error")]), *row["notes"]]:
        tell(f"  {note}")
