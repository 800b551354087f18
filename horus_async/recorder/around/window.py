"""The files of the last seconds: all of them go on in new ones now and then, and old ones are taken away.

They do so together, by the ticks of the run and not by those of their lines: a callback that lasts for ever has lines
of the tick in which it began, and nodes that are silent have none. For the writer's thread, but for what is set from
the event loop's.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from horus_async.recorder.write.files import SessionFiles
    from horus_async.recorder.write.frame_file import EndedPart, FrameFile

    from .carried import Carried

PARTS = 8
"""About so many files hold ``before``."""
SHORTEST_PART = 1.0
"""Seconds of the run's time, at least, between two files."""


@frozen
class _Closed:
    part: EndedPart
    last_tick: int
    """No line in it is of a later one."""


class Window:
    """Keeps the files of a recording to what may still be needed.

    Args:
        before: Ticks that are always kept.
        tick_rate: Hz.
        carried: Takes what is still of use of files that are taken away.
    """

    def __init__(self, before: int, tick_rate: float, carried: Carried) -> None:
        self.tick = -1
        """The newest that is over."""
        self.kept_from: int | None = None
        """The oldest tick that is needed for a session; None for none but the last ``before``. Set before ``tick``."""
        self.still = 0
        """Nothing is taken away while this is not 0: somebody reads the files."""
        self._before = before
        self._part_ticks = max(1, before // PARTS, round(SHORTEST_PART * tick_rate))
        self._began = 0
        """The tick in which the current files were begun."""
        self._closed: dict[FrameFile, deque[_Closed]] = {}
        self._carried = carried

    def turn(self, files: SessionFiles, can_write: bool) -> None:  # noqa: FBT001 - a hook's
        """Behind a flush: go on in new files, if it is time, and take away old ones.

        Raises:
            OSError: The disk refused a new file.
        """
        tick = self.tick  # first: what is set later is for later ticks
        kept_from = self.kept_from
        if can_write and tick - self._began >= self._part_ticks:
            for file in files:
                part = file.end_part()
                if part is not None:
                    self._closed.setdefault(file, deque()).append(_Closed(part, tick + 1))
            self._began = tick
        oldest = tick - self._before
        if not self.still:
            self._take_away(oldest if kept_from is None else min(oldest, kept_from))

    def _take_away(self, oldest: int) -> None:
        """Of what is older, the newest file of each row stays: what was sent last before is in it, as a rule."""
        old: list[tuple[FrameFile, EndedPart]] = []
        for file, closed in self._closed.items():
            past = [one.part for one in closed if one.last_tick < oldest]
            for number, part in enumerate(past[:-1], 1):
                self._carried.take(part, past[number:], file)
                old.append((file, part))
                closed.popleft()
        with suppress(OSError):  # where the disk is full, it is tried again when there is room
            self._carried.write()
        for file, part in old:
            file.forget(part)
            with suppress(FileNotFoundError):
                part.path.unlink()
        self._carried.write()
