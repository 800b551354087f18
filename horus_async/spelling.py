"""Names that were meant: for errors about one that nobody knows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


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
