"""Names that were meant, for errors about one that nobody knows; and text of others, spelled out where it must be.

Text that others wrote is shown with escapes for what would control a terminal, or hide from the eye: control characters
(ESC, BEL, carriage return, C1 and the like), overrides of the direction of writing, characters without width, letters
that show nothing, halves of pairs. Everything else stays as it is: blanks of any script, emoji, and the joiners that
Persian words and many emoji are written with, where they join something. This is the one place where text from outside
becomes printable: what commands print goes through ``cli/terminal``, what stands in a page through `printable_html`.
Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

_HIDDEN = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"  # directions, characters without width
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # ends of lines and paragraphs, byte order, notes between the lines
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\U0001d173-\U0001d17a"  # letters that show nothing
    "\ud800-\udfff"  # halves of pairs
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"  # tags: ASCII that nobody sees
)
_JOINERS, _VARIANTS = "\u200c\u200d", "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_LETTER = f"[^\0-\u02ff{_HIDDEN.removeprefix(chr(0) + '-' + chr(0x1F))}{_JOINERS}{_VARIANTS}]"
"""Of scripts that have joiners and variants, emoji among them."""
_JOINED = f"(?:{_LETTER}[{_VARIANTS}]?(?:[{_JOINERS}](?={_LETTER}))?)+|[#*0-9]\ufe0f(?=\u20e3)"
_ANY = re.compile(f"{_JOINED}|([{_HIDDEN}{_JOINERS}{_VARIANTS}])")
_ANY_BUT_LINES = re.compile(f"{_JOINED}|(?![\n\t])([{_HIDDEN}{_JOINERS}{_VARIANTS}])")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name``; None if none is much like it."""
    from difflib import get_close_matches  # late: it is needed for errors alone

    others = sorted(set(known) - {name})
    found = [other for other in others if is_one_edit(name, other)] or get_close_matches(name, others, n=1)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'scan'?``, to follow a sentence about an unknown name; empty where none is like it."""
    found = nearest(name, known)
    return "" if found is None else f"; did you mean {found!r}?"


def free_name(wanted: str, taken: Container[str]) -> str:
    """The name itself; where it is taken, with the first free number behind it: ``name_2``."""
    name, number = wanted, 2
    while name in taken:
        name = f"{wanted}_{number}"
        number += 1
    return name


def is_one_edit(one: str, other: str) -> bool:
    """Whether one letter too many, missing, replaced, or two neighbours exchanged make one name of the other."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    shorter, longer = sorted((one, other), key=len)
    at = next((i for i, letter in enumerate(shorter) if letter != longer[i]), len(shorter))
    if len(shorter) < len(longer):
        return shorter[at:] == longer[at + 1 :]
    rest, other_rest = shorter[at:], longer[at:]
    return rest[1:] == other_rest[1:] or (rest[:2] == other_rest[1::-1] and rest[2:] == other_rest[2:])


def printable(text: str) -> str:
    r"""A text as one line: ``\x1b`` for an escape character, ``\n`` for a newline, ``\u202e`` for an override."""
    return text if _is_plain(text) else _ANY.sub(_escape, text)


def printable_lines(text: str) -> str:
    """A text of several lines, whose newlines and tabs stay."""
    return _ANY_BUT_LINES.sub(_escape, text)


def printable_json(text: str) -> str:
    """JSON text in which such characters are escapes of JSON: its values stay exactly what they are."""
    return text if _is_plain(text) else _ANY_BUT_LINES.sub(_json_escape, text)


def printable_html(text: str) -> str:
    """A text as the content or the quoted attribute of an HTML or SVG element."""
    from html import escape  # late: pages alone need it

    return escape(printable(text))


def _is_plain(text: str) -> bool:
    """Whether it surely is as it is shown: quickly, for the text that nearly all of it is."""
    return text.isascii() and text.isprintable()


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[1] is None else ascii(match[1])[1:-1]


def _json_escape(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    units = match[1].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
