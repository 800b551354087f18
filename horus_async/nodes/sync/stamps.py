"""When a message was measured: what its header says, what a function says of it, or when it was sent."""

from __future__ import annotations

import enum
import math
import operator
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.topics import Message

_MISSING = object()


class SyncBy(enum.Enum):
    """What messages are matched by."""

    HEADER = enum.auto()
    """``header.stamp``, or ``stamp_ns``; a message that has neither is left out."""
    SENT = enum.auto()
    """When they were sent, whatever their headers say."""


def stamp_function(by: SyncBy | Callable[[Any], Any] | None) -> Callable[[Message], int | None]:
    """What gives the stamp of a message, ns; None for one that has none.

    Args:
        by: Where to look; None for the header of each message that has one, else for when it was sent.
    """
    if by is SyncBy.SENT:
        return operator.attrgetter("stamp_ns")
    if by is None or by is SyncBy.HEADER:
        otherwise = by is None

        def look(message: Message) -> int | None:
            stamp = _header_stamp(message.value)
            if stamp is _MISSING:
                return message.stamp_ns if otherwise else None
            return to_ns(stamp)

        return look
    return lambda message: to_ns(by(message.value))  # a function, then


def to_ns(stamp: Any) -> int | None:
    """Nanoseconds of what programs use for a stamp; None for what is none.

    Args:
        stamp: A `horus_async.messages.Time` or a dict of its shape, an int (nanoseconds) or a float (seconds).
    """
    sec = _get(stamp, "sec")
    if sec is not _MISSING:
        sec, nanosec = _whole(sec), _whole(_get(stamp, "nanosec"))
        return None if sec is None or nanosec is None else sec * NANOSECONDS + nanosec
    whole = _whole(stamp)
    if whole is not None:
        return whole
    if isinstance(stamp, bool) or not hasattr(stamp, "__float__"):
        return None
    try:
        seconds = float(stamp)
    except (TypeError, ValueError):  # an array
        return None
    return round(seconds * NANOSECONDS) if math.isfinite(seconds) else None


def _whole(number: Any) -> int | None:
    if isinstance(number, bool):
        return None
    try:
        return operator.index(number)  # NumPy's too
    except TypeError:
        return None


def _header_stamp(value: Any) -> Any:
    """What a message says of when it was measured; ``_MISSING`` if it says nothing."""
    if isinstance(value, dict) and "$type" in value:  # of a class that this program does not know
        value = value.get("value")
    header = _get(value, "header")
    if header is not _MISSING:
        stamp = _get(header, "stamp")
        if stamp is not _MISSING:
            return stamp
    return _get(value, "stamp_ns")


def _get(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name, _MISSING)
    return getattr(value, name, _MISSING)
