"""What the commands of ``horus-async trace`` share: the option ``--json``, JSON output, and exit codes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress

from horus_async.errors import HorusError, PolicyError

from .errors import USAGE, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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
    from horus_async.policy.model.jsontext import encode

    separator = "["
    for row in rows:
        click.echo(separator + encode(row).decode())
        separator = ","
    click.echo("[]" if separator == "[" else "]")


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, from the first time on that it is told how many of how many are done."""
    progress = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    task = progress.add_task(what, total=None)

    def show(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        progress.stop()
