"""What the commands share that ask running nodes."""

from __future__ import annotations

import json
from typing import Any

import click
import orjson

from horus_async.cli.support.errors import clear_errors
from horus_async.cli.support.in_order import ended_in_order
from horus_async.cli.support.typed import structure
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.commands import Group
from horus_async.errors import TopicError
from horus_async.spelling import printable_json

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
NAMESPACE = click.option(
    "--namespace",
    metavar="N",
    shell_complete=completion.namespace,
    help="Namespace of the topics. Default: HORUS_NAMESPACE, else default.",
)
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for an answer.",
)


class AskingGroup(Group):
    """A group of such commands: their errors are one line, and Ctrl-C ends them in order."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call a command."""
        with clear_errors(), ended_in_order():
            return super().invoke(ctx)


def as_message(text: str | None, kind: str | None) -> Any:
    """The value of JSON, as an object of that class if one is given.

    Raises:
        TopicError: It is not JSON.
    """
    if text is None:
        value = None
    else:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise TopicError(f"{text!r:.60} is not JSON: {error}; text needs quotes: '\"text\"'") from None
    return value if kind is None else structure(kind, {} if value is None else value)


def shown(value: Any) -> str:
    """A value as JSON, with escapes for what controls a terminal."""
    return printable_json(orjson.dumps(value).decode())


def plain(cell: Any) -> str:
    """A cell of a table."""
    return "any" if cell is None else str(cell)
