"""What the commands share that ask running nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import orjson

from horus_async.cli.support.render import print_json
from horus_async.cli.support.typed import parse_message
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.spelling import printable_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from horus_async.remote.client import Client

TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for an answer.",
)
TYPE = click.option(
    "--type",
    "kind",
    metavar="CLASS",
    help="Send an object of it: module.Class, or of horus_async.messages. Default: what its node announces.",
)


def as_message(text: str | None, kind: str | None, client: Client, name: str) -> Any:
    """The value of JSON that may be left out, as an object of that class if one is given, else of the announced one.

    Raises:
        TopicError: It is not JSON, or does not fit the class.
    """
    if text is None:
        text = "null" if kind is None else "{}"
    value = parse_message(text, kind)
    return client.request_of(name, value) if kind is None else value


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
    return printable_json(orjson.dumps(value).decode())
