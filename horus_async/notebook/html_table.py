"""Tables for notebooks: plain HTML without a style of its own, so that light and dark themes both show it as theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.spelling import printable_html

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST = 80
"""Characters of a cell."""


def html_table(
    caption: str, head: Sequence[object], rows: Iterable[Sequence[object]], notes: Iterable[object] = ()
) -> str:
    """A table under its caption, and notes below it; every text in it is escaped, and long ones are shortened."""
    parts = [f"<p>{_text(caption, 4 * _LONGEST)}</p>", "<table><thead><tr>"]
    parts += [f"<th>{_text(cell)}</th>" for cell in head]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        parts += ["<tr>", *(f"<td>{_text(cell)}</td>" for cell in row), "</tr>"]
    parts.append("</tbody></table>")
    parts += [f"<p>{_text(note, 4 * _LONGEST)}</p>" for note in notes]
    return "".join(parts)


def _text(value: object, most: int = _LONGEST) -> str:
    if value is None:
        return ""
    text = f"{value:g}" if type(value) is float else str(value)
    return printable_html(text if len(text) <= most else text[: most - 1] + "…")
