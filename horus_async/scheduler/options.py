"""What a scheduler was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from horus_async.determinism.reaction import Guard
from horus_async.errors import ConfigurationError
from horus_async.realtime.options import Gc, Realtime, gc_policy, realtime
from horus_async.validators import is_not_negative, is_positive, is_shown, is_whole, is_whole_from, option

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder import RecordingOptions


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
    realtime: Realtime | None = field(default=None, converter=realtime, validator=_realtime)
    gc: Gc = field(default=Gc.AUTO, converter=gc_policy)
    namespace: str = "default"
    name: str = field(default="scheduler", validator=_name)
    blackbox_wanted: bool = True
    """False for a black box that nobody asked for: the run begins without it where there is no place for one."""
