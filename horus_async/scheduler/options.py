"""What a scheduler was made with, and what a command line puts in its place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from horus_async.determinism.findings import Guard
from horus_async.errors import ConfigurationError
from horus_async.validators import is_not_negative, is_positive, is_whole, is_whole_from, option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from horus_async.recorder import RecordingOptions


_positive = option(is_positive, "give a number above 0")
_whole = option(is_whole, "give a whole number")
_count = option(is_whole_from(1), "give a whole number above 0")
_flag = option(lambda value: isinstance(value, bool), "give True or False")
_guard = option(lambda value: isinstance(value, Guard), "give Guard.WARN, Guard.ERROR or Guard.OFF")


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


@frozen(kw_only=True)
class SchedulerOptions:
    """The options of `Scheduler`, validated."""

    tick_rate: float = field(default=100.0, validator=_positive)
    deterministic: bool = field(default=False, validator=_flag)
    seed: int = field(default=0, validator=_whole)
    guard: Guard = field(default=Guard.WARN, validator=_guard)
    recording: bool | str | RecordingOptions = False
    recordings_dir: str | Path | None = None
    blackbox_mb: int = field(default=0, validator=_whole)
    blackbox_dir: str | Path | None = None
    watchdog: float | None = field(default=None, validator=attrs.validators.optional(_positive))
    max_deadline_misses: int | None = field(default=None, validator=attrs.validators.optional(_count))
    grace: float = field(default=2.0, validator=_positive)
    namespace: str = "default"
    name: str = "scheduler"


@frozen(kw_only=True)
class Overrides:
    """What the command line says in place of what a program wrote; None leaves it as it is."""

    deterministic: bool | None = None
    seed: int | None = None
    recording: str | None = None
    blackbox_mb: int | None = None
    blackbox_mb_by_default: int = 0
    """For a program that asked for no black box and was told nothing of it here."""
    duration: float | None = None
    on_made: Callable[[Any], None] = lambda _: None
    """Told of each scheduler that the program makes."""
    _applied: list[SchedulerOptions] = field(factory=list, init=False)

    def apply(self, options: SchedulerOptions) -> SchedulerOptions:
        """The options that a scheduler is to use which was made with ``options``.

        A recording's name goes to the first scheduler that a program makes: a second one would find it taken.
        """
        given = {"deterministic": self.deterministic, "seed": self.seed, "blackbox_mb": self.blackbox_mb}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if options.blackbox_mb == 0:
            changes.setdefault("blackbox_mb", self.blackbox_mb_by_default)
        if self.recording is not None and not self._applied:
            changes["recording"] = self.recording
        self._applied.append(options)
        return attrs.evolve(options, **changes)


_overrides: Overrides | None = None


def given_overrides() -> Overrides | None:
    """What is in force now."""
    return _overrides


@contextmanager
def overriding(overrides: Overrides) -> Iterator[None]:
    """Put ``overrides`` in force for every scheduler made meanwhile, from whichever thread."""
    global _overrides  # noqa: PLW0603 - a program's schedulers are made anywhere in it, and there is one program
    before, _overrides = _overrides, overrides
    try:
        yield
    finally:
        _overrides = before
