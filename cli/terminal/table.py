"""Text that fits the terminal: tables and lines that are folded between words, never within one."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, TextIO

from horus_async.spelling import printable

from .text import tell_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

GAP = 2
"""Blanks between columns; one where that makes a table fit."""
LEAST = 12
"""Characters that a column of words keeps when others need the room, unless it is narrower anyway."""


def width_of(stream: TextIO) -> int | None:
    """Columns of what a stream is shown on: ``COLUMNS``, else those of the terminal; None into a file or a pipe.

    Into a pipe ``COLUMNS`` counts only if somebody asked for it: GNU readline sets it too, and ``LINES`` with it, for
    all that a program starts.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0 and (stream.isatty() or "LINES" not in os.environ):
        return int(given)
    return shutil.get_terminal_size().columns if stream.isatty() else None


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, err: bool = False) -> None:
    """Print a plain table; columns of numbers are right-aligned.

    Where it is too wide, cells of several words are folded. Where that is not enough, what is left of the columns comes
    in further tables below, each of which begins with the first column; and where not even that fits, a row comes as
    lines of a column each.
    """
    texts = [[_text(cell) for cell in row] for row in rows]
    tell_lines(lines_of(columns, texts, width_of(sys.stderr if err else sys.stdout)), err=err)


def lines_of(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """The lines of a table that is at most so wide, unless a single word is wider."""
    table = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = [all(map(_is_number, column)) for column in zip(*rows, strict=True)] or [False] * len(columns)
    gap = GAP
    if width is not None and _total(widths, gap) > width:
        gap = 1
        words = [max(map(_longest_word, column)) for column in zip(*table, strict=True)]
        if widths[0] + gap + max(words[1:], default=0) > width:
            for row in rows:
                yield from _block(columns, row, width)
            return
        widths = _narrowed(widths, words, width)
    for number, shown in enumerate(_groups(widths, gap, width)):
        if number:
            yield ""
        for row in table:
            yield from _row([(row[index], widths[index], right[index]) for index in shown], gap)


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _narrowed(widths: Sequence[int], words: Sequence[int], width: int) -> list[int]:
    """Taken from the widest columns, until they fit side by side; else each such that it fits beside the first."""
    least = [max(word, min(LEAST, whole)) for word, whole in zip(words, widths, strict=True)]
    narrowed = list(widths)
    while _total(narrowed, 1) > width:
        able = [index for index in range(len(widths)) if narrowed[index] > least[index]]
        if not able:
            room = width - widths[0] - 1
            return [
                widths[0],
                *(min(whole, max(room, word)) for whole, word in zip(widths[1:], words[1:], strict=True)),
            ]
        narrowed[max(able, key=narrowed.__getitem__)] -= 1
    return narrowed


def _groups(widths: Sequence[int], gap: int, width: int | None) -> Iterator[list[int]]:
    """The columns, by number, of each table."""
    group = [0]
    for index in range(1, len(widths)):
        if width is not None and len(group) > 1 and _total([widths[i] for i in (*group, index)], gap) > width:
            yield group
            group = [0]
        group.append(index)
    yield group


def _block(columns: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    """A row as lines of a column each, below its first cell."""
    yield from _folded(row[0], width)
    label = max(map(len, columns[1:]), default=0) + GAP
    for column, cell in zip(columns[1:], row[1:], strict=True):
        beside = label + GAP + _longest_word(cell) <= width
        lines = _folded(cell, width - GAP - (label if beside else 0))
        if beside:
            yield f"{' ' * GAP}{column.ljust(label)}{lines[0]}".rstrip()
        else:
            yield from (f"{' ' * GAP}{line}" for line in _folded(column, width - GAP))
        yield from (f"{' ' * (GAP + (label if beside else 0))}{line}" for line in lines[beside:])


def _row(cells: Sequence[tuple[str, int, bool]], gap: int) -> Iterator[str]:
    folded = [_folded(text, width) for text, width, _ in cells]
    for number in range(max(map(len, folded))):
        parts = [lines[number] if number < len(lines) else "" for lines in folded]
        yield (
            (" " * gap)
            .join(
                part.rjust(width) if right else part.ljust(width)
                for part, (_, width, right) in zip(parts, cells, strict=True)
            )
            .rstrip()
        )


def _folded(text: str, width: int) -> list[str]:
    if len(text) <= width or not text.strip():
        return [text]
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)


def fold(text: str, *, indent: int, err: bool = False) -> list[str]:
    """A line of words as several that fit; those after the first are indented. One, into a file or a pipe."""
    text = printable(text)
    stream = sys.stderr if err else sys.stdout
    width = width_of(stream) if stream.isatty() else None
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=" " * min(indent, width // 3),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:.1f}" if isinstance(cell, float) else printable(str(cell))


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace(",", "").lstrip("-").isdigit() or text == "-"


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)
