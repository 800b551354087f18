"""What a recording can be told."""

from __future__ import annotations

import enum
from math import isfinite

from attrs import field, frozen

from horus_async.errors import ConfigurationError

from .naming import check_session_name


class Fsync(enum.Enum):
    """When the disk itself is asked to have what was written. A killed process loses nothing written either way."""

    OFF = "off"
    """Never: the operating system decides. A power cut may take the last half minute."""
    INTERVAL = "interval"
    """After each flush: a power cut takes no more than ``kill -9`` does. Costs a disk write an interval and file."""


@frozen(kw_only=True)
class RecordingOptions:
    """How a run is recorded.

    Raises:
        ConfigurationError: an interval, memory limit or fsync policy that cannot work.
        SessionNameError: a session name that cannot be a folder name.
    """

    name: str | None = None
    """The session's name; None for one made from the time, ``recording_20261121T031701.502_p1234``."""
    interval: float = field(default=0.05)
    """Seconds between two flushes, 0.001 to 60. ``kill -9`` loses at most twice this."""
    fsync: Fsync = field(default=Fsync.OFF)
    memory_mb: float = field(default=64)
    """About how much may wait to be written, in MB of 2²⁰ bytes, before messages are dropped (in real time) or the
    run waits (in deterministic mode)."""

    def __attrs_post_init__(self) -> None:
        if self.name is not None:
            check_session_name(self.name)
        if not _number(self.interval) or not 0.001 <= self.interval <= 60:
            raise ConfigurationError(f"interval={self.interval!r} is not a number of seconds from 0.001 to 60")
        if not isinstance(self.fsync, Fsync):
            raise ConfigurationError(f"fsync={self.fsync!r} is neither Fsync.OFF nor Fsync.INTERVAL")
        if not _number(self.memory_mb) or not 0.01 <= self.memory_mb <= 1 << 20:
            raise ConfigurationError(f"memory_mb={self.memory_mb!r} is not a number of MB from 0.01 to 1048576")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
