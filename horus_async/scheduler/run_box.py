"""The box of a scheduler: there from the beginning, but opened only by its first event, or by the run.

To look at `Scheduler.blackbox` must neither push the evidence of earlier runs aside nor keep other programs out.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from horus_async.blackbox.file import BlackBox
from horus_async.errors import BlackBoxError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from horus_async.blackbox.events import Event, Record
    from horus_async.blackbox.reader import Kinds, Ticks

_log = logging.getLogger("horus_async.blackbox")
_MOST_BESIDE = 9
"""How many programs of one name have boxes side by side."""


class RunBox:
    """A `BlackBox` that is opened when it is needed.

    Args:
        folder: As for `BlackBox.create`.
        name: The scheduler's.
        size_mb: MiB.
        wanted: False for a box that nobody asked for. Where another run has the box of this name, that one is called
            ``<name>-2``, or ``<name>-3`` and so on, and a log line says so.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, *, name: str, size_mb: int, wanted: bool = True) -> None:
        self._most = 1 if wanted else _MOST_BESIDE
        self._folder = folder
        self._name = name
        self._size_mb = size_mb
        self._box: BlackBox | None = None
        self._opening = threading.RLock()

    def open(self) -> BlackBox:
        """The box itself; made now if this is the first time.

        Raises:
            BlackBoxError: It cannot be made.
        """
        with self._opening:
            if self._box is None:
                self._box = self._make()
            return self._box

    @property
    def is_open(self) -> bool:
        """Whether it has been opened, also if it is closed by now."""
        return self._box is not None

    @property
    def path(self) -> Path | None:
        """The file; None before there is one."""
        return None if self._box is None else self._box.path

    @property
    def run(self) -> str | None:
        """The id of the run; None before the box is opened."""
        return None if self._box is None else self._box.run

    @property
    def lost(self) -> int:
        """How many events have been overwritten by later ones."""
        return 0 if self._box is None else self._box.lost

    @property
    def sync_error(self) -> str | None:
        """As `BlackBox.sync_error`."""
        return None if self._box is None else self._box.sync_error

    def custom(self, category: str, message: str, /, **data: Any) -> None:
        """Record an event of your own; see `BlackBox.custom`."""
        self.open().custom(category, message, **data)

    def record(self, event: Event, tick: int, time_ns: int) -> None:
        """Record an event; see `BlackBox.record`."""
        self.open().record(event, tick, time_ns)

    def events(
        self, kind: Kinds = None, node: str | None = None, ticks: Ticks = None, last: int | None = None
    ) -> list[Record]:
        """What the box holds, oldest first; see `BlackBox.events`. Nothing before it is opened."""
        return [] if self._box is None else self._box.events(kind, node, ticks, last)

    def anomalies(self) -> list[Record]:
        """The events that say something went wrong, oldest first."""
        return [] if self._box is None else self._box.anomalies()

    def close(self) -> None:
        """Close the box if it is open. Idempotent."""
        if self._box is not None:
            self._box.close()

    def _make(self) -> BlackBox:
        name, why = self._name, ""
        for number in range(2, self._most + 2):
            try:
                box = BlackBox.create(self._folder, name=name, size_mb=self._size_mb)
            except BlackBoxError as error:
                if not error.in_use or number > self._most:
                    raise
                name, why = f"{self._name}-{number}", str(error).partition(";")[0]
                continue
            if why:
                _log.warning("%s: the events of this run are in %s", why, box.path)
            return box
        raise AssertionError("the last error was raised")
