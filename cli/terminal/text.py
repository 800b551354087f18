"""The one way by which commands print: what others wrote is shown, and controls no terminal.

Names, values and errors come from files, topics and other processes. Ruff keeps ``click.echo`` out of the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from horus_async.spelling import printable_json, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

_AT_ONCE = 200


@frozen
class Styled:
    """A part of a line in a colour of ours; ``style`` is what `click.style` takes."""

    text: str
    style: dict[str, Any]


def styled(text: str, **style: Any) -> Styled:
    """A part of a line in a colour, or bold, or dim."""
    return Styled(text, style)


def tell(*parts: object, err: bool = False) -> None:
    """Print a line made of these parts, on standard error if ``err``. Of a text of several lines, each is one."""
    click.echo("".join(map(_shown, parts)), err=err)  # noqa: TID251 - here alone


def tell_lines(lines: Iterable[str]) -> None:
    """Print many lines, some at a time: to pass each on by itself takes longer than to make it.

    Where making one fails, those before it are printed.
    """
    waiting: list[str] = []
    try:
        for line in lines:
            waiting.append(line)
            if len(waiting) == _AT_ONCE:
                some, waiting = waiting, []
                tell("\n".join(some))
    finally:
        if waiting:
            tell("\n".join(waiting))


def tell_json(text: str, *, err: bool = False) -> None:
    """Print JSON text. Its values stay exactly what they are."""
    click.echo(printable_json(text), err=err)  # noqa: TID251 - here alone


def _shown(part: object) -> str:
    if isinstance(part, Styled):
        return click.style(printable_lines(part.text), **part.style)
    return printable_lines(str(part))
