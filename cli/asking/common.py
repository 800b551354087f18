"""What the commands share that ask running nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from horus_async.cli.support.render import json_line, print_json
from horus_async.cli.support.typed import parse_message
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.spelling import printable_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for an answer.",
)
TYPE = click.option(
    "--type", "kind", metavar="CLASS", help="Send an object of it, module.Class; of horus_async.messages it is known."
)


def as_message(text: str | None, kind: str | None, announced: Callable[[Any], Any]) -> Any:
    """The value of JSON that may be left out, as an object of that class.

    Args:
        text: The JSON.
        kind: The class, if the user names one.
        announced: Makes an object of the value by what is announced, otherwise.

    Raises:
        TopicError: It is not JSON, or does not fit the class.
    """
    if kind is not None:
        return parse_message("{}" if text is None else text, kind)
    return announced(parse_message("null" if text is None else text, None))


def show_offered(rows: Sequence[dict[str, Any]], columns: Sequence[str], namespace: str, *, as_json: bool) -> None:
    """Print what nodes offer: the first column says what that is."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        tell(f"no node with {columns[0]}s runs in namespace {namespace!r}", err=True)
    print_table(columns, [tuple("any" if cell is None else str(cell) for cell in row.values()) for row in rows])


def shown(value: Any) -> str:
    """A value as JSON, with escapes for what controls a terminal."""
    return printable_json(json_line(value))
