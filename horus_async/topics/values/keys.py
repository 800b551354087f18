"""Keys of dicts and items of sets that messages make: none may be made so that they collide.

Python finds keys by their hash. That of texts and bytes nobody can foresee, but that of numbers, and of what consists
of numbers, anybody can: ten thousand integers of one hash take half a second, a hundred thousand a minute.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MOST_ALIKE = 64
"""So many keys of one hash may be in a dict or a set."""


def check(keys: Collection[Any]) -> None:
    """Refuse keys that were made to collide.

    Raises:
        ValueError: more than `MOST_ALIKE` have the same hash.
        TypeError: one of them has none.
    """
    if len(keys) > MOST_ALIKE:
        (_, count), *_ = Counter(map(hash, keys)).most_common(1)
        if count > MOST_ALIKE:
            raise ValueError(
                f"{count} keys that have the same hash, which would take very long; {MOST_ALIKE} are the most"
            )


def as_dict(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    """The dict of these keys and values.

    Raises:
        ValueError: two keys are equal, or too many have the same hash.
        TypeError: a key cannot be one.
    """
    check(keys)
    made = dict(zip(keys, values, strict=True))
    if len(made) != len(keys):
        raise ValueError("a dict with two equal keys")
    return made


def as_set(items: list[Any]) -> set[Any]:
    """The set of these items; raises as `as_dict` does."""
    check(items)
    made = set(items)
    if len(made) != len(items):
        raise ValueError("a set with two equal items")
    return made


def check_given(value: Any) -> None:
    """Refuse what validation would make dicts or sets of with keys that collide, numbers in texts among them.

    Raises:
        ValueError: as `check` does.
    """
    if isinstance(value, dict):
        given: Collection[Any] = value
        parts: Iterable[Any] = value.values()
    elif isinstance(value, list | tuple):
        given = parts = value
    else:
        return
    if len(given) > MOST_ALIKE:
        with suppress(TypeError):  # what has no hash becomes no key
            check([_number(one) if isinstance(one, str) else one for one in given])
    for part in parts:
        if isinstance(part, dict | list | tuple):
            check_given(part)


def _number(text: str) -> Any:
    """The number that a text may be taken for; else the text."""
    from decimal import Decimal  # late: few classes need it
    from uuid import UUID

    for kind in (Decimal, UUID):
        with suppress(ValueError, ArithmeticError):
            return kind(text)
    return text
