"""Fatal signals: ``faulthandler`` writes the stack into the room at the end of the box, where readers find it.

A process that is hit by a segmentation fault or aborts cannot run Python any more, so nothing can be recorded the
usual way. ``faulthandler`` needs nothing but a descriptor, and writes where that stands in its file.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import TYPE_CHECKING

from .events import NodeError, Record, SchedulerStop

if TYPE_CHECKING:
    from pathlib import Path

    from .layout import FileHeader

BEGINNING = b"Fatal Python error: "

_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}


class FatalSignals:
    """As long as it is open, fatal signals of this process leave their stack in the box.

    When there are several, it is the box that was opened last. Before and after, ``faulthandler`` is as it was: off, or
    on; then it writes to standard error again, as nobody can ask it where it wrote before.
    """

    def __init__(self, box: Path, header: FileHeader) -> None:
        if not _open:
            _before[:] = [faulthandler.is_enabled()]
        self.fd = os.open(box, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.lseek(self.fd, header.rest, os.SEEK_SET)
        _open.append(self)
        faulthandler.enable(self.fd, all_threads=False)  # one stack always fits

    def close(self) -> None:
        """Give the signals back to who had them before."""
        _open.remove(self)
        if _open:
            faulthandler.enable(_open[-1].fd, all_threads=False)
        elif _before[0] and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        else:
            faulthandler.disable()
        os.close(self.fd)


_open: list[FatalSignals] = []
_before = [False]


def fatal_records(text: bytes, header: FileHeader, last: Record | None) -> list[Record]:
    """What the text that ``faulthandler`` left says, as the last two events of the run: the stack, and the end.

    They bear the place of the event before them, as a dying process cannot tell the time; ``total_ticks`` is one more
    than that event's tick. Like all that is only text, they have no checksum.

    Args:
        text: The room behind the segments.
        header: The box's.
        last: The last event in the box.
    """
    if not text.startswith(BEGINNING):
        return []
    dump = text.partition(b"\0")[0].decode("utf-8", "replace")
    what = dump[len(BEGINNING) :].partition("\n")[0].strip()
    signal = _SIGNALS.get(what, what)
    seq, tick, time_ns = (0, 0, header.started_ns) if last is None else (last.seq + 1, last.tick, last.time_ns)
    error = NodeError(header.name, f"Fatal Python error: {what} ({signal})", dump)
    stop = SchedulerStop(f"signal {signal}", tick + 1)
    return [Record(seq + n, header.run, tick, time_ns, event) for n, event in enumerate((error, stop))]
