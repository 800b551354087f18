"""Checks of options: numbers, and the attrs validators made of them.

The functions that begin with ``is_`` take anything and say whether it fits. The validators raise `ConfigurationError`
with the option, its value and what to give instead: ``tick_rate=-1: give a number above 0``.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import attrs

    Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


class Fits(NamedTuple):
    """In an annotation, ``Annotated[…, Fits(…)]``: what its values have to be, where types cannot say it."""

    fits: Callable[[Any], bool]
    text: str
    """The same, for people: "has to be" goes before it."""


NODE_NAME_LIMIT = 200
"""Bytes of UTF-8 in the name of a node."""

_NOT_IN_NODE_NAMES = frozenset("@\\\0")
_INVISIBLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that show nothing, though they count as printable: one name would look like another."""


def is_shown(text: str) -> bool:
    """Whether a name is what it looks like: no control or format characters (U+202E, U+200B), no unseen letters."""
    return text.isprintable() and _INVISIBLE.search(text) is None


def is_node_name_character(character: str) -> bool:
    """Whether it may be in the name of a node."""
    return is_shown(character) and character not in _NOT_IN_NODE_NAMES


def is_node_name(value: Any) -> bool:
    """Whether a node may have this name."""
    if not isinstance(value, str) or not all(map(is_node_name_character, value)):
        return False
    return len(value.encode()) <= NODE_NAME_LIMIT and not value.startswith("/") and ".." not in value


def is_number(value: Any) -> bool:
    """Whether it is an int or a float, infinite and NaN included; bool is not a number here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    """Whether it is a finite number above 0."""
    return is_number(value) and 0 < value < inf


def is_not_negative(value: Any) -> bool:
    """Whether it is a finite number, 0 or more."""
    return is_number(value) and 0 <= value < inf


def is_whole(value: Any) -> bool:
    """Whether it is an int; bool is not one here."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_whole_from(lowest: int) -> Callable[[Any], bool]:
    """A check for an int of ``lowest`` or more."""
    return lambda value: is_whole(value) and value >= lowest


def option(fits: Callable[[Any], bool], advice: str) -> Validator:
    """A validator that raises ``name=value: advice`` unless the value fits."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        del instance
        if not fits(value):
            raise ConfigurationError(f"{attribute.name}={value!r}: {advice}")

    return validate


def argument(fits: Callable[[Any], bool], advice: str) -> Validator:
    """A validator that names the class too: ``Class(name=value): advice``."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not fits(value):
            raise ConfigurationError(f"{type(instance).__name__}({attribute.name}={value!r}): {advice}")

    return validate
