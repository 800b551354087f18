"""What a command line puts in the place of what a scheduler was made with."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from horus_async.clock.event_loop import in_trio
from horus_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from horus_async.realtime.options import Realtime
    from horus_async.recorder import RecordingOptions
    from horus_async.recorder.triggers.around import Around

    from .options import Gc, SchedulerOptions

_log = logging.getLogger("horus_async")
_applying = threading.Lock()


@frozen(kw_only=True)
class Overrides:
    """What the command line says in place of what a program wrote, for its scheduler that runs first.

    None leaves an option as it is.
    """

    deterministic: bool | None = None
    seed: int | None = None
    recording: str | None = None
    around: Around | None = None
    """What ``recording`` is to be made around; None for all of the run."""
    recordings_dir: Path | None = None
    """Where it is recorded, whatever the program says."""
    blackbox_mb: int | None = None
    blackbox_mb_by_default: int = 0
    """For a program that asked for no black box and was told nothing of it here."""
    duration: float | None = None
    asyncio: bool | None = None
    """The event loop of `Scheduler.run_sync` is asyncio's."""
    realtime: Realtime | None = None
    gc: Gc | None = None
    params: Mapping[str, Any] = field(factory=dict)
    """Besides those that the program sets."""
    name: str = ""
    """For a scheduler that the program did not name."""
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

        Raises:
            ConfigurationError: They contradict what the program says.
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
            "recording": self._recording(),
            "recordings_dir": self.recordings_dir,
            "realtime": self.realtime,
            "gc": self.gc,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if options.blackbox_mb == 0 and self.blackbox_mb is None and self.blackbox_mb_by_default:
            changes |= {"blackbox_mb": self.blackbox_mb_by_default, "blackbox_wanted": False}
        if self.deterministic and self.realtime is None:
            changes["realtime"] = None  # what a program says of real time is for its runs in real time
        if self.params:
            changes["params"] = {**options.params, **self.params}
        if self.name and options.name == attrs.fields(type(options)).name.default:
            changes["name"] = self.name
        if self.realtime is not None and options.deterministic:
            raise ConfigurationError(
                f"--realtime: scheduler {name!r} is deterministic, and its time virtual; leave out deterministic=True"
            )
        return attrs.evolve(options, **changes)

    def _recording(self) -> str | RecordingOptions | None:
        if self.recording is None or self.around is None:
            return self.recording
        from horus_async.recorder import RecordingOptions  # late, as few runs need it

        return RecordingOptions(name=self.recording, around=self.around)

    def check_loop(self, options: SchedulerOptions, *, replays: bool) -> None:
        """Whether the run can be under asyncio, as it is to be.

        Raises:
            ConfigurationError: Its time is virtual, which is trio's, or the program has started trio by itself.
        """
        virtual = "replays" if replays else "is deterministic" if options.deterministic else ""
        if virtual:
            raise ConfigurationError(
                f"--asyncio: scheduler {options.name!r} {virtual}, and virtual time runs under trio; leave out "
                "--asyncio"
            )
        if in_trio() is not None:
            raise ConfigurationError(
                f"--asyncio: the program runs scheduler {options.name!r} under trio; let it call "
                "scheduler.run_sync(), or asyncio.run(scheduler.run())"
            )

    def _say(self, what: str) -> None:
        """Once a process: somebody who asked for a recording has to know what is in it."""
        asked = (
            *(self.deterministic, self.seed, self.recording, self.blackbox_mb, self.duration),
            *(self.asyncio, self.realtime, self.gc, self.params or None),
        )
        if os.getpid() in self._told or all(value is None for value in asked):
            return
        self._told.append(os.getpid())
        recorded = "" if self.recording is None else f" and is not in the recording {self.recording!r}"
        _log.warning("%s: it runs as the program made it, without the options of the command line%s", what, recorded)
