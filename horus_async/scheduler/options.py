"""What a scheduler was made with."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import attrs
from attrs import field, frozen

from horus_async.determinism.reaction import Guard
from horus_async.errors import ConfigurationError
from horus_async.validators import is_not_negative, is_positive, is_shown, is_whole, is_whole_from, option

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.realtime.options import Realtime
    from horus_async.recorder import RecordingOptions


class Gc(enum.Enum):
    """When Python's garbage collector runs, while nodes do. It looks for cycles only: most memory is freed without it.

    Wherever one of these is taken, its value is too, with hyphens or underscores for the blank.
    """

    AUTO = "auto"
    """Between ticks in a run with ``realtime``; else as Python has it, which is wherever objects are made."""
    BETWEEN_TICKS = "between ticks"
    """Where there is time before the next tick; inside one only above a bound, so that memory cannot grow for ever."""
    OFF = "off"
    """Never, so that memory grows with each cycle: for short runs, and for programs that make none."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        plain = value.replace("-", " ").replace("_", " ") if isinstance(value, str) else ""
        return next((policy for policy in cls if policy.value == plain), None)


def _gc_policy(value: Any) -> Gc:
    try:
        return Gc(value)
    except ValueError:
        raise ConfigurationError(
            f"gc={value!r}: give Gc.AUTO, Gc.BETWEEN_TICKS or Gc.OFF ('auto', 'between ticks', 'off')"
        ) from None


_positive = option(is_positive, "give a number above 0")
_whole = option(is_whole, "give a whole number")
_count = option(is_whole_from(1), "give a whole number above 0")
_flag = option(lambda value: isinstance(value, bool), "give True or False")
_guard = option(lambda value: isinstance(value, Guard), "give Guard.WARN, Guard.ERROR or Guard.OFF")


_name = option(
    lambda value: isinstance(value, str) and is_shown(value),
    "give a text without control characters, and without such as show nothing or turn the text round",
)


def _recording(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    del instance, attribute
    if not isinstance(value, (bool, str)):
        from horus_async.recorder import RecordingOptions  # which takes time, and few runs need

        if not isinstance(value, RecordingOptions):
            raise ConfigurationError(f"recording={value!r}: give True, a session's name or RecordingOptions(...)")


def _as_realtime(value: Any) -> Realtime | None:
    if value is None or value is False:
        return None
    from horus_async.realtime.options import realtime  # which few runs need

    return realtime(value)


def _as_params(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"params={value!r:.100}: give a dict, as in {{'arm.gain': 0.5}}")
    return dict(value)


def _realtime(instance: Any, attribute: attrs.Attribute[Any], value: Realtime | None) -> None:
    if value is not None and instance.deterministic:
        raise ConfigurationError(
            f"{attribute.name}={value}: a deterministic run has no use for it, as its time is virtual; leave out "
            "one of the two"
        )


def checked_duration(duration: float | None) -> float | None:
    """How long a run lasts, seconds; None and ``inf`` mean until it is stopped.

    Raises:
        ConfigurationError: It is no such number.
    """
    if duration is None or duration == float("inf"):
        return None
    if not is_not_negative(duration):
        raise ConfigurationError(f"duration={duration!r}: give seconds, 0 or more, or None")
    return float(duration)


@frozen(kw_only=True, eq=False, repr=False)
class SchedulerOptions:
    """The options of `Scheduler`, validated."""

    tick_rate: float = field(default=100.0, validator=_positive)
    deterministic: bool = field(default=False, validator=_flag)
    seed: int = field(default=0, validator=_whole)
    guard: Guard = field(default=Guard.WARN, validator=_guard)
    recording: bool | str | RecordingOptions = field(default=False, validator=_recording)
    recordings_dir: str | Path | None = None
    blackbox_mb: int = field(default=0, validator=_whole)
    blackbox_dir: str | Path | None = None
    watchdog: float | None = field(default=None, validator=attrs.validators.optional(_positive))
    max_deadline_misses: int | None = field(default=None, validator=attrs.validators.optional(_count))
    grace: float = field(default=2.0, validator=_positive)
    realtime: Realtime | None = field(default=None, converter=_as_realtime, validator=_realtime)
    gc: Gc = field(default=Gc.AUTO, converter=_gc_policy)
    params: Mapping[str, Any] = field(factory=dict, converter=_as_params)
    namespace: str = "default"
    name: str = field(default="scheduler", validator=_name)
    blackbox_wanted: bool = True
    """False for a black box that nobody asked for: the run begins without it where there is no place for one."""
