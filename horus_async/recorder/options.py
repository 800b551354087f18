"""The options of a recording."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import ConfigurationError, SessionNameError
from horus_async.validators import is_number, is_positive, is_whole_from

from .naming import check_session_name
from .triggers.around import Around

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_LONGEST_AROUND = 230
"""Characters of a name that gets ``-window-12`` or a number behind it."""


class Fsync(enum.Enum):
    """When what was written is synced to the disk itself. A killed process loses nothing written either way."""

    OFF = "off"
    """Never: the operating system decides. A power cut may take the last half minute."""
    INTERVAL = "interval"
    """After each flush: a power cut costs no more than ``kill -9`` does. Takes a disk write per interval and file."""


class Redact(enum.Enum):
    """What is recorded instead of a message's data. Topic, sequence number and stamp stay as they are."""

    DROP = "drop"
    """``None``."""
    HASH = "hash"
    """``"sha256:…"``, the SHA-256 of the JSON text that would have been recorded: equal values stay recognisable as
    equal. Where few values are possible, a hash can be guessed; use ``DROP`` there."""


@frozen(kw_only=True)
class RecordingOptions:
    """How a run is recorded.

    Patterns are those of ``fnmatch``, case-sensitive: ``*`` stands for anything, dots and slashes included, ``?`` for
    one character, ``[…]`` for one of several.

    Raises:
        ConfigurationError: an option that cannot work; the message names it.
        SessionNameError: a session name that cannot be a folder name.
    """

    name: str | None = None
    """The session's name; None for one made from the time, ``recording_20261121T031701.502_p1234``; a scheduler with
    a name gives it in the place of ``recording``."""
    interval: float = field(default=0.05)
    """Seconds between two flushes, 0.001 to 60. ``kill -9`` loses at most twice this."""
    fsync: Fsync = field(default=Fsync.OFF)
    memory_mb: float = field(default=64)
    """About how much may wait to be written, in MB of 2²⁰ bytes, before messages are dropped (in real time) or the
    run waits (in deterministic mode)."""
    nodes: tuple[str, ...] = ("*",)
    """Patterns of the nodes that are recorded."""
    exclude_nodes: tuple[str, ...] = ()
    """Patterns of nodes that are not recorded although ``nodes`` matches them. Such a node has no file."""
    topics: tuple[str, ...] = ("*",)
    """Patterns of the topics whose messages are recorded."""
    exclude_topics: tuple[str, ...] = ()
    """Patterns of topics that are not recorded although ``topics`` matches them. Footers count what was left out."""
    redact: Mapping[str, Redact | Callable[[Any], Any]] = field(factory=dict)
    """What happens to the data of messages before anything is kept, by patterns of their topics; the first match
    decides. A function gets the value and returns what is recorded for it. It runs in the event loop's thread, usually
    once per message, so it should be quick. If it fails, the message is recorded as with ``Redact.DROP``. Texts of
    exceptions are not redacted."""
    log: bool = True
    """Whether what is logged is recorded: by nodes (``node.log``), and by the runtime about the run."""
    log_level: int | None = None
    """Record what nodes log from this level on (``logging.DEBUG``), whatever their loggers let through, and nothing
    below it. None: what their loggers let through, and from INFO up everything unless the level of their loggers was
    set."""
    rotate_mb: float | None = None
    """A file of this size, in MB of 2²⁰ bytes, is closed and the next one begun; None: never. The size is checked
    between flushes, so a file may be larger by what one flush writes."""
    rotate_seconds: float | None = None
    """The same after this many seconds of the run's own time, which is its ticks divided by its rate."""
    keep_mb: float | None = None
    """When the recording begins and ends, the oldest sessions under the root are deleted until all of them together
    take no more than this, in MB of 2²⁰ bytes; never one that is being recorded, nor one that cannot be read."""
    keep_sessions: int | None = None
    """The same, until there are no more than this many sessions, this one included."""

    around: Around | None = None
    """Keep only the last seconds on disk, and make sessions of what is around certain moments; None: record it all.
    Their names are this one's with a number, ``NAME-1``; the last seconds are the session ``NAME-window`` meanwhile."""

    def __attrs_post_init__(self) -> None:
        if self.name is not None:
            check_session_name(self.name)
        if not is_number(self.interval) or not 0.001 <= self.interval <= 60:
            raise ConfigurationError(f"interval={self.interval!r} is not a number of seconds from 0.001 to 60")
        if not isinstance(self.fsync, Fsync):
            raise ConfigurationError(f"fsync={self.fsync!r} is neither Fsync.OFF nor Fsync.INTERVAL")
        if not is_number(self.memory_mb) or not 0.01 <= self.memory_mb <= 1 << 20:
            raise ConfigurationError(f"memory_mb={self.memory_mb!r} is not a number of MB from 0.01 to 1048576")
        for name in ("nodes", "exclude_nodes", "topics", "exclude_topics"):
            _check_patterns(name, getattr(self, name))
        _check_redaction(self.redact)
        _check_log(self.log, self.log_level)
        for name in ("rotate_mb", "rotate_seconds", "keep_mb"):
            value = getattr(self, name)
            if value is not None and not is_positive(value):
                raise ConfigurationError(f"{name}={value!r} is neither None nor a number above 0")
        keep = self.keep_sessions
        if keep is not None and not is_whole_from(1)(keep):
            raise ConfigurationError(f"keep_sessions={keep!r} is neither None nor a whole number from 1")
        self._check_around()

    def _check_around(self) -> None:
        if self.around is None:
            return
        if not isinstance(self.around, Around):
            raise ConfigurationError(f"around={self.around!r} is no Around(before=30, after=10, on=Anomaly)")
        if self.rotate_mb is not None or self.rotate_seconds is not None:
            raise ConfigurationError("around= has files of its own: leave out rotate_mb and rotate_seconds")
        if self.name is not None and len(self.name) > _LONGEST_AROUND:
            raise SessionNameError(
                f"name={self.name[:40]!r}… has more than {_LONGEST_AROUND} characters: with around= something follows"
            )


def _check_patterns(name: str, patterns: object) -> None:
    if not isinstance(patterns, tuple | list) or not all(isinstance(text, str) and text for text in patterns):
        raise ConfigurationError(f"{name}={patterns!r} is not a tuple of patterns, as in {name}=('camera.*',)")


def _check_log(log: object, level: object) -> None:
    if not isinstance(log, bool):
        raise ConfigurationError(f"log={log!r} is neither True nor False")
    if level is not None and not is_whole_from(0)(level):
        raise ConfigurationError(
            f"log_level={level!r} is neither None nor a level of logging, as in log_level=logging.WARNING"
        )


def _check_redaction(redact: object) -> None:
    if not hasattr(redact, "items"):
        raise ConfigurationError(f"redact={redact!r} is not a dict of patterns, as in redact={{'gps.*': Redact.DROP}}")
    for pattern, how in redact.items():
        if not isinstance(pattern, str) or not pattern:
            raise ConfigurationError(f"redact: {pattern!r} is not a pattern of topics")
        if not isinstance(how, Redact) and not callable(how):
            raise ConfigurationError(
                f"redact: {how!r} for {pattern!r} is none of Redact.DROP, Redact.HASH and a function of the value"
            )
