"""What a scheduler was made with, and what a command line puts in its place."""

from __future__ import annotations

import logging
import os
import threading
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


_log = logging.getLogger("horus_async")
_applying = threading.Lock()

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
    blackbox_wanted: bool = True
    """False for a black box that nobody asked for: the run begins without it where there is no place for one."""


@frozen(kw_only=True)
class Overrides:
    """What the command line says in place of what a program wrote, for its scheduler that runs first.

    None leaves an option as it is.
    """

    deterministic: bool | None = None
    seed: int | None = None
    recording: str | None = None
    blackbox_mb: int | None = None
    blackbox_mb_by_default: int = 0
    """For a program that asked for no black box and was told nothing of it here."""
    duration: float | None = None
    on_made: Callable[[Any], None] = lambda _: None
    """Told of each scheduler that the program makes."""
    _process: int = field(factory=os.getpid, init=False)
    _first: list[object] = field(factory=list, init=False)
    _told: list[int] = field(factory=list, init=False)

    @property
    def used(self) -> bool:
        """Whether a scheduler has run."""
        return bool(self._first)

    def apply(self, scheduler: object, options: SchedulerOptions, name: str) -> SchedulerOptions | None:
        """The options for a scheduler that is about to run; None if these here are not for it.

        They are for the scheduler that runs first in the program's own process: children that it forks, and other
        schedulers, run as the program made them.
        """
        if os.getpid() != self._process:
            self._say(f"scheduler {name!r} runs in a forked process")
            return None
        with _applying:
            if not self._first:
                self._first.append(scheduler)
        if self._first[0] is not scheduler:
            self._say(f"scheduler {name!r} is not the first one that runs")
            return None
        given = {
            "deterministic": self.deterministic,
            "seed": self.seed,
            "blackbox_mb": self.blackbox_mb,
            "recording": self.recording,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if options.blackbox_mb == 0 and self.blackbox_mb is None and self.blackbox_mb_by_default:
            changes |= {"blackbox_mb": self.blackbox_mb_by_default, "blackbox_wanted": False}
        return attrs.evolve(options, **changes)

    def _say(self, what: str) -> None:
        """Once a process: somebody who asked for a recording has to know what is in it."""
        asked = (self.deterministic, self.seed, self.recording, self.blackbox_mb, self.duration)
        if os.getpid() in self._told or all(value is None for value in asked):
            return
        self._told.append(os.getpid())
        recorded = "" if self.recording is None else f" and is not in the recording {self.recording!r}"
        _log.warning("%s: it runs as the program made it, without the options of the command line%s", what, recorded)


_overrides: Overrides | None = None


def given_overrides() -> Overrides | None:
    """What is in force now."""
    return _overrides


@contextmanager
def overriding(overrides: Overrides) -> Iterator[None]:
    """Put ``overrides`` in force for what runs meanwhile, in whichever thread."""
    global _overrides  # noqa: PLW0603 - a program's schedulers are made anywhere in it, and there is one program
    before, _overrides = _overrides, overrides
    try:
        yield
    finally:
        _overrides = before
