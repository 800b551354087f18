"""Types of the standard library in messages: the tag of each, and how it is made again. See ``codec`` for the tags.

Modules that few programs use are not imported to encode: a value of one of their types is proof that they are there.
"""

from __future__ import annotations

import re
import sys
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    Tags = Callable[[Any], dict[str, Any]]

_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,3}")
"""The name of a time zone; a message cannot name any other file."""


def _tag_timedelta(value: timedelta) -> dict[str, Any]:
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


def _tag_date(value: date) -> dict[str, Any]:
    return {"$date": value.isoformat()}


def _tag_time(value: time) -> dict[str, Any]:
    return {"$time": value.isoformat(), **_beside(value, value.tzinfo)}


def _tag_datetime(value: datetime) -> dict[str, Any]:
    zone = value.tzinfo
    if value.fold == 0 and (zone is None or type(zone) is timezone):
        return {"$datetime": value.isoformat()}
    return {"$datetime": value.isoformat(), **_beside(value, zone)}


def _beside(value: datetime | time, zone: tzinfo | None) -> dict[str, Any]:
    """What the ISO text of a time leaves out: the name of its zone, and which of two equal readings of the clock.

    Raises:
        ValueError: it would come back as another moment.
    """
    beside: dict[str, Any] = {}
    if zone is not None and type(zone) is not timezone:
        known = sys.modules.get("zoneinfo")
        name = getattr(zone, "key", None) if known is not None and type(zone) is known.ZoneInfo else None
        if isinstance(name, str) and _ZONE.fullmatch(name):
            beside["zone"] = name
        elif value.replace(fold=1 - value.fold).utcoffset() != value.utcoffset():
            raise ValueError(
                f"a time in an hour that occurs twice in the zone {zone!s:.40}, which is no zoneinfo.ZoneInfo; "
                "send value.astimezone(datetime.timezone.utc)"
            )
    if value.fold:
        beside["fold"] = 1
    return beside


def _tag_path(value: Any) -> dict[str, Any]:
    return {"$path": str(value)}


def _tag_pure_path(kind: str) -> Tags:
    return lambda value: {"$path": str(value), "pure": kind}


def _tag_complex(value: complex) -> dict[str, Any]:
    return {"$complex": [value.real, value.imag]}


TAGS: dict[type, Tags] = {
    timedelta: _tag_timedelta,
    date: _tag_date,
    time: _tag_time,
    datetime: _tag_datetime,
    complex: _tag_complex,
}
"""By type: what its values become, of JSON's types and floats that JSON lacks."""

_LATER: dict[tuple[str, str], Tags] = {
    ("pathlib", "PosixPath"): _tag_path,
    ("pathlib", "WindowsPath"): _tag_path,
    ("pathlib", "PurePosixPath"): _tag_pure_path("posix"),
    ("pathlib", "PureWindowsPath"): _tag_pure_path("windows"),
    ("uuid", "UUID"): lambda value: {"$uuid": str(value)},
    ("decimal", "Decimal"): lambda value: {"$decimal": str(value)},
}


def tags_of(kind: type) -> Tags | None:
    """What tags the values of a type that is not among ``TAGS``; None for other types than the standard library's."""
    for (module, name), tags in _LATER.items():
        if getattr(sys.modules.get(module), name, None) is kind:
            return tags
    return None


# Back again. Whatever these raise is a damaged message.


def _to_timedelta(parts: Any, _: object) -> timedelta:
    days, seconds, microseconds = parts
    return timedelta(days, seconds, microseconds)


def _to_time(text: Any, whole: dict[str, Any]) -> time:
    value = time.fromisoformat(text)
    zone = _zone(whole.get("zone"))
    return value.replace(tzinfo=value.tzinfo if zone is None else zone, fold=whole.get("fold", 0))


def _to_datetime(text: Any, whole: dict[str, Any]) -> datetime:
    value = datetime.fromisoformat(text)
    if len(whole) == 1:
        return value
    value = value.replace(fold=whole.get("fold", 0))
    zone = _zone(whole.get("zone"))
    if zone is None:
        return value
    placed = value.replace(tzinfo=zone)
    # Where the zone's rules have changed since, the moment counts.
    return placed if placed.utcoffset() == value.utcoffset() else value


def _zone(name: Any) -> tzinfo | None:
    """The time zone of that name; None where this machine has none, and the offset has to do."""
    if not isinstance(name, str) or not _ZONE.fullmatch(name):
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return None


def _to_path(text: Any, whole: dict[str, Any]) -> Any:
    import pathlib

    if type(text) is not str:
        raise TypeError(f"not a path: {text!r:.40}")
    pure = whole.get("pure")
    kinds: dict[Any, Callable[[str], Any]] = {"posix": pathlib.PurePosixPath, "windows": pathlib.PureWindowsPath}
    return kinds.get(pure, pathlib.Path)(text)


def _to_uuid(text: Any, _: object) -> Any:
    from uuid import UUID

    return UUID(text)


def _to_decimal(text: Any, _: object) -> Any:
    from decimal import Decimal

    if type(text) is not str:
        raise TypeError(f"not a decimal number: {text!r:.40}")
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"not a decimal number: {text!r:.40}") from error


def _to_complex(parts: Any, _: object) -> complex:
    real, imaginary = parts
    return complex(real, imaginary)


MAKERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "$timedelta": _to_timedelta,
    "$date": lambda text, _: date.fromisoformat(text),
    "$time": _to_time,
    "$datetime": _to_datetime,
    "$path": _to_path,
    "$uuid": _to_uuid,
    "$decimal": _to_decimal,
    "$complex": _to_complex,
}
"""By tag: makes the value of the tag's content, without tags, and of the whole tagged object."""
