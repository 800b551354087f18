"""Flags in messages. Python keeps each combination of flags that was ever made, so messages must not make many."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from horus_async.errors import MessageDecodeError

if TYPE_CHECKING:
    from enum import Flag

MOST_COMBINATIONS = 4096
"""So many combinations of a ``Flag`` that the program never made are made of messages."""

_BITS = 64

_made: weakref.WeakKeyDictionary[type, int] = weakref.WeakKeyDictionary()


def flag(kind: type[Flag], value: Any) -> Any:
    """The flags of this value.

    A new combination of an ``IntFlag`` is equal to others by its number, and so need not be kept. One of a ``Flag`` is
    equal to itself alone.

    Raises:
        MessageDecodeError: there are no such flags, or too many combinations were made already.
    """
    if type(value) is not int or value < 0 or value.bit_length() > max(_BITS, kind._flag_mask_.bit_length()):  # type: ignore[attr-defined]
        raise _no_member(kind, value)
    kept: dict[Any, Any] = kind._value2member_map_
    known = kept.get(value)
    if known is not None:
        return known
    is_number = issubclass(kind, int)
    if not is_number and _made.get(kind, 0) >= MOST_COMBINATIONS:
        raise MessageDecodeError(
            f"{kind.__qualname__}({value}): {MOST_COMBINATIONS} combinations of it were made of messages, the most; "
            "make it an enum.IntFlag, or send a number"
        )
    try:
        made = kind(value)
    except (LookupError, ValueError, TypeError):
        raise _no_member(kind, value) from None
    if is_number:
        kept.pop(value, None)
    else:
        _made[kind] = _made.get(kind, 0) + 1
    return made


def _no_member(kind: type[Flag], value: Any) -> MessageDecodeError:
    return MessageDecodeError(f"{kind.__qualname__} has no member {value!r:.60}")
