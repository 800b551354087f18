"""The one way by which commands print: what others wrote is shown, and controls no terminal.

Names, values and errors come from files, topics and other processes, and none of them makes a line of its own: `tell`
prints one line, whatever is in it. Ruff keeps ``click.echo`` out of the commands.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from horus_async.spelling import printable, printable_json, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

_AT_ONCE = 200
_BELOW = "    "


@frozen
class Styled:
    """A part of a line in a colour of ours; ``style`` is what `click.style` takes."""

    text: str
    style: dict[str, Any]


def styled(text: str, **style: Any) -> Styled:
    """A part of a line in a colour, or bold, or dim."""
    return Styled(text, style)


def tell(*parts: object, err: bool = False) -> None:
    """Print one line made of these parts, on standard error if ``err``."""
    _print("".join(map(_shown, parts)), err=err)


def tell_lines(lines: Iterable[str], *, err: bool = False) -> None:
    """Print many lines, some at a time: to pass each on by itself takes longer than to make it.

    Where making one fails, those before it are printed.
    """
    _print_some_at_a_time(map(printable, lines), err=err)


def tell_fields(rows: Iterable[Iterable[str]]) -> None:
    """Print lines of fields with tabs between them."""
    _print_some_at_a_time(("\t".join(map(printable, row)) for row in rows), err=False)


def tell_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines, as a program said it."""
    _print(printable_lines(text), err=err)


def tell_json(text: str, *, err: bool = False) -> None:
    """Print JSON text. Its values stay exactly what they are."""
    _print(printable_json(text), err=err)


def tell_traceback(error: BaseException) -> None:
    """Print it on standard error. What an error's own text has on further lines is indented."""
    _print("".join(map(below, traceback.format_exception(error))).rstrip(), err=True)


def ask(question: str) -> bool:
    """Ask somebody at the terminal; no by default."""
    return click.confirm(printable(question))  # noqa: TID251 - here alone


def below(text: str) -> str:
    """A text whose further lines are indented, so that none of them can pass for something else."""
    first, *others = printable_lines(text).split("\n")
    return "\n".join([first, *(f"{_BELOW}{line}" if line[:1].strip() else line for line in others)])


def _print_some_at_a_time(lines: Iterable[str], *, err: bool) -> None:
    waiting: list[str] = []
    try:
        for line in lines:
            waiting.append(line)
            if len(waiting) == _AT_ONCE:
                some, waiting = waiting, []
                _print("\n".join(some), err=err)
    finally:
        if waiting:
            _print("\n".join(waiting), err=err)


def _print(text: str, *, err: bool = False) -> None:
    click.echo(text, err=err)  # noqa: TID251 - here alone


def _shown(part: object) -> str:
    if isinstance(part, Styled):
        return click.style(printable(part.text), **part.style)
    return printable(str(part))
